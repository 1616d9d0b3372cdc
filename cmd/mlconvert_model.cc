#include "cmd/mlconvert_model.h"

#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/container/program.h"
#include "lib/container/save.h"
#include "lib/convert/network.h"
#include "lib/convert/to_onnx/to_onnx.h"
#include "lib/coreml/mil_write.h"
#include "lib/ir/text.h"

namespace mlt {
namespace {

// Writes a package whose weights and model `build` makes.
template <typename F>
Status write(const Target& t, F build) {
  if (cli::is_standard(t.output) || t.seal.given()) {
    MLT_ASSIGN(auto out, cli::SealedOutput::plan(t.output, {t.source}, t.seal));
    MLT_ASSIGN(auto writer, PackageWriter::to_zip([&](ByteSpan bytes) { return out.write(bytes); }));
    MLT_TRY(build(*writer));
    return out.finish();
  }
  MLT_TRY(cli::check_output(t.output, cli::Content::kBinary, {t.source}));
  MLT_ASSIGN(auto writer, PackageWriter::to_directory(t.output));
  return build(*writer);
}

Status write_file(const Target& t, cli::Content content, ByteSpan bytes) {
  if (t.seal.given()) {
    MLT_ASSIGN(auto sealed, cli::SealedOutput::plan(t.output, {t.source}, t.seal));
    MLT_TRY(sealed.write(bytes));
    return sealed.finish();
  }
  MLT_ASSIGN(cli::Output out, cli::Output::plan(t.output, content, {t.source}));
  MLT_TRY(out.write(bytes));
  return out.finish();
}

Status write_mil(const Target& t, const ir::Program& program, int version) {
  std::string text = ir::print(program, {.version = version >= 9 ? "1.3" : "1.0"});
  return write_file(t, cli::Content::kText, as_bytes(text));
}

Status store(const Target& t, coreml::Model& model, const ir::Program& program) {
  return write(t, [&](PackageWriter& writer) -> Status {
    BlobWriter* weights = nullptr;
    if (foreign::has_file_weights(program, model.spec_version())) {
      MLT_ASSIGN(weights, writer.weights());
    }
    MLT_TRY(coreml::store_program(model, program, weights));
    return writer.finish(model);
  });
}

// Constants written out, so that the text needs no weight file.
Status inline_weights(ir::Program& program) {
  Status status;
  auto own = [&](ir::LiteralPtr& literal) {
    if (!literal || !literal->blob) return;
    if (!literal->tensor.valid()) status = input_error("weight file \"" + literal->blob->file + "\" is missing");
    auto copy = std::make_shared<ir::Literal>(*literal);
    copy->blob.reset();
    literal = copy;
  };
  for (auto& function : program.functions)
    function->for_each_op([&](ir::Op& op) {
      for (auto& [name, literal] : op.attributes) own(literal);
      for (ir::Arg& arg : op.args)
        for (ir::Operand& operand : arg.operands) own(operand.literal);
    });
  return status;
}

Status to_onnx(const OpenedModel& opened, const ir::Program* program, const foreign::Request& request, const Target& t) {
  foreign::to_onnx::Options options;
  MLT_ASSIGN(options.input_dims, foreign::network_dims(request));
  options.opset = t.opset;
  options.float32 = t.precision == "float32";
  options.function = t.function.value_or("");
  bool file = !cli::is_standard(t.output) && !t.seal.given();  // weights in a second file would not be sealed with it
  if (file) options.data_name = t.output.substr(t.output.rfind('/') + 1) + ".data";
  std::vector<std::unique_ptr<ir::Program>> stages;
  if (coreml::is_pipeline(opened.model.kind())) {
    MLT_ASSIGN(stages, load_programs(opened));
  }
  MLT_ASSIGN(auto exported, foreign::to_onnx::export_onnx(opened.model, program, stages, options));
  for (const std::string& w : exported.warnings) cli::print_warning(cli::printable(w));
  if (!exported.data.empty()) {
    MLT_ASSIGN(cli::Output data, cli::Output::plan(t.output + ".data", cli::Content::kBinary, {t.source}));
    for (const Blob& blob : exported.data) MLT_TRY(data.write(blob.bytes()));
    MLT_TRY(data.finish());
  }
  return write_file(t, cli::Content::kBinary, exported.model);
}

}  // namespace

Status write_text(const Target& t, const ir::Program& program, int version) { return write_mil(t, program, version); }

Status write_package(const foreign::Conversion& conversion, const foreign::Request& request, const Target& t) {
  MLT_ASSIGN(coreml::Model model, foreign::make_model(conversion, request));
  return store(t, model, *conversion.converted.program);
}

Status convert_model(OpenedModel& opened, foreign::Request& request, const Target& t) {
  coreml::ModelKind kind = opened.model.kind();
  bool program_kind = kind == coreml::ModelKind::kMlProgram, network = coreml::is_neural_network(kind);
  std::unique_ptr<ir::Program> program;
  if (program_kind) {
    MLT_ASSIGN(program, load_program(opened));
  }
  if (t.to == "onnx") return to_onnx(opened, program.get(), request, t);
  if (t.to == "mlmodel") {
    if (program_kind) return unsupported_error("an ML program needs a package: .mlmodel files hold no weights beside them", "use --to mlpackage");
    if (opened.compiled) return unsupported_error("a compiled model does not hold what a .mlmodel needs");
    MLT_ASSIGN(Bytes bytes, opened.model.serialize());
    return write_file(t, cli::Content::kBinary, bytes);
  }
  if (network) {
    if (opened.compiled) return unsupported_error("a compiled network: convert the .mlmodel it was made from");
    MLT_ASSIGN(auto conversion, foreign::convert_network(opened.model, request));
    for (const std::string& w : conversion.converted.warnings) cli::print_warning(cli::printable(w));
    if (t.to == "mil") return write_mil(t, *conversion.converted.program, foreign::spec_version(conversion.opset));
    return write_package(conversion, request, t);
  }
  if (t.to == "mil") {
    if (!program_kind) return unsupported_error("a " + opened.model.kind_name() + " is no ML program, so it has no MIL text");
    MLT_TRY(inline_weights(*program));
    return write_mil(t, *program, opened.model.spec_version());
  }
  if (program_kind) return store(t, opened.model, *program);
  if (opened.compiled) return unsupported_error("a compiled model does not hold what a package needs");
  return write(t, [&](PackageWriter& writer) { return writer.finish(opened.model); });
}

}  // namespace mlt
