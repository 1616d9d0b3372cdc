#include "lib/tune/candidate.h"

#include <algorithm>

#include "lib/container/program.h"
#include "lib/container/weight_blob.h"

namespace mlt::tune {
namespace {

class OneFile : public coreml::WeightSource {
 public:
  OneFile(BlobFile file, std::string name) : file_(std::move(file)), name_(std::move(name)) {}
  Result<WeightBlob> read(std::string_view, uint64_t offset) const override { return file_.read(offset); }
  bool has(std::string_view file) const override { return file == name_; }

 private:
  BlobFile file_;
  std::string name_;
};

// What a package has beside its model, Manifest.json; about.
constexpr uint64_t kManifest = 700;

class Discard : public coreml::WeightSink {
 public:
  Result<uint64_t> add(DType, uint64_t, ByteSpan) override { return uint64_t{64}; }
  std::string file_name() const override { return "@model_path/weights/weight.bin"; }
};

}  // namespace

Result<Candidate> make_candidate(const OpenedModel& original, const compress::Config& config, const compress::ActivationPlan* activations) {
  Candidate out;
  MLT_ASSIGN(auto programs, load_programs(original));
  bool has_program = std::any_of(programs.begin(), programs.end(), [](const auto& program) { return program != nullptr; });
  out.model.kind = FileKind::kModel;
  out.model.name = original.name;
  out.model.origin = original.origin;
  out.model.model = original.model.clone();
  std::unique_ptr<BlobWriter> writer;
  if (has_program) { MLT_ASSIGN(writer, BlobWriter::create_temporary()); }
  compress::Report inserted;
  if (activations != nullptr) {
    for (auto& program : programs)
      if (program) MLT_TRY(compress::quantize_activations(*program, *activations, &inserted));
  }
  MLT_ASSIGN(out.report, compress::compress(out.model.model, programs, config, writer.get()));
  out.report.notes.insert(out.report.notes.begin(), inserted.notes.begin(), inserted.notes.end());
  if (writer) {
    std::string name = writer->file_name();
    MLT_ASSIGN(out.weights, writer->finish());
    MLT_ASSIGN(BlobFile file, BlobFile::open(out.weights));
    out.model.weights = std::make_shared<OneFile>(std::move(file), std::move(name));
  }
  MLT_ASSIGN(Bytes message, out.model.model.serialize());
  out.bytes = message.size() + out.weights.size() + (has_program ? kManifest : 0);
  return out;
}

Result<compress::Report> try_config(const OpenedModel& original, const compress::Config& config) {
  MLT_ASSIGN(auto programs, load_programs(original));
  coreml::Model model = original.model.clone();
  Discard sink;
  return compress::compress(model, programs, config, &sink);
}

}  // namespace mlt::tune
