// Records of every format, read by a description with a feature of each kind, and written again. The first byte chooses
// the format; npz and safetensors are split by their first axis too.
#include <cstdint>
#include <cstdlib>

#include "lib/runtime/predictor.h"
#include "lib/runtime/records.h"

using namespace mlt;

namespace {

std::vector<coreml::FeatureDescription> features() {
  std::vector<coreml::FeatureDescription> list;
  auto add = [&](const char* name, coreml::FeatureKind kind) -> coreml::FeatureDescription& {
    auto& feature = list.emplace_back();
    feature.name = name;
    feature.type.kind = kind;
    return feature;
  };
  add("i", coreml::FeatureKind::kInt64);
  add("d", coreml::FeatureKind::kDouble);
  add("s", coreml::FeatureKind::kString);
  add("x", coreml::FeatureKind::kMultiArray).type.array.shape = {2, 2};
  add("m", coreml::FeatureKind::kDictionary);
  add("q", coreml::FeatureKind::kSequence);
  auto& image = add("p", coreml::FeatureKind::kImage).type.image;
  image.width = image.height = 2;
  image.color_space = coreml::ColorSpace::kRgb;
  return list;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  static const auto described = features();
  constexpr RecordFormat kFormats[] = {RecordFormat::kNpz, RecordFormat::kSafetensors, RecordFormat::kJsonl, RecordFormat::kCsv};
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  Blob file(Bytes(bytes + 1, bytes + size));
  (void)record_format("", file.bytes());
  auto reader = read_records(file, kFormats[data[0] % 4], described, (data[0] & 4) != 0);
  if (!reader.ok()) return 0;
  auto nowhere = [](ByteSpan) { return Status(); };
  auto lines = write_records(RecordFormat::kJsonl, nowhere), table = write_records(RecordFormat::kCsv, nowhere),
       arrays = write_records(RecordFormat::kNpz, nowhere), tensors = write_records(RecordFormat::kSafetensors, nowhere);
  for (int count = 0; count < 100; ++count) {
    auto record = (*reader)->next();
    if (!record.ok() || !*record) break;
    for (const auto& feature : described)
      if (auto it = (*record)->find(feature.name); it != (*record)->end()) (void)conform_feature(it->second, feature, Fit::kPad);
    for (RecordWriter* writer : {lines.get(), table.get(), arrays.get(), tensors.get()}) (void)writer->write(**record);
    if (!compare_records(**record, **record, 0, 0).agree()) std::abort();
  }
  (void)arrays->finish();
  (void)tensors->finish();
  return 0;
}
