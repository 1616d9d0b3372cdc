#include "lib/container/open.h"

#include <fmt/core.h>
#include <zstd.h>

#include <algorithm>
#include <set>

namespace mlt {
namespace {

// age of a zstd of a zip of a model, and nothing deeper.
constexpr int kMaxWrappings = 6;
// More than enough for the signature of an archive.
constexpr uint64_t kDetectSize = 4096;

struct Opener {
  const OpenOptions& options;
  std::string name;    // for messages
  bool sealed = false;
  int wrappings = 0;

  OpenedModel make(FileKind kind) const {
    OpenedModel out;
    out.kind = kind;
    out.sealed = sealed;
    out.origin = name;
    out.name = model_base_name(name);
    return out;
  }

  // `beside`: the directory the file lies in, for weights next to a bare model.
  Result<OpenedModel> bytes(const Blob& blob, const FileTree& beside) {
    if (++wrappings > kMaxWrappings) return input_error("is wrapped too many times").in_path(name);
    switch (FileKind kind = detect_bytes(blob.bytes())) {
      case FileKind::kAge: {
        if (!options.unseal)
          return make_error(Code::kKey, "is sealed", "give the key with --identity").in_path(name);
        MLT_ASSIGN(std::shared_ptr<const RandomAccess> opened, options.unseal(blob).in(name));
        sealed = true;
        // Of an archive only what is asked for is opened.
        MLT_ASSIGN(Blob head, opened->read(0, std::min<uint64_t>(opened->size(), kDetectSize)).in(name));
        if (detect_bytes(head.bytes()) == FileKind::kZip) {
          MLT_ASSIGN(FileTree tree, read_zip(opened, name, options.zip));
          return this->tree(tree);
        }
        MLT_ASSIGN(Blob content, opened->read(0, opened->size()).in(name));
        return bytes(content, {});
      }
      case FileKind::kZstd: {
        MLT_ASSIGN(Blob opened, decompress_zstd(blob, options.max_decompressed).in(name));
        return bytes(opened, {});
      }
      case FileKind::kZip: {
        MLT_ASSIGN(FileTree tree, read_zip(blob, name, options.zip));
        return this->tree(tree);
      }
      case FileKind::kModel: {
        OpenedModel out = make(kind);
        MLT_ASSIGN(out.model, coreml::Model::parse(blob, options.parse).in(name));
        out.files = beside;
        out.weights = std::make_shared<TreeWeights>(beside);
        return out;
      }
      case FileKind::kMilText: {
        OpenedModel out = make(kind);
        out.mil_text = blob;
        out.files = beside;
        out.weights = std::make_shared<TreeWeights>(beside);
        return out;
      }
      case FileKind::kOnnx:
        return input_error("is an ONNX model, not a Core ML model", "convert it first: mlconvert").in_path(name);
      default:
        if (blob.size() == 0) return input_error("is empty").in_path(name);
        if (blob.text().starts_with("version https://git-lfs"))
          return input_error("is only a Git LFS pointer", "fetch the content with git lfs pull").in_path(name);
        return input_error("is not a Core ML model", "known are .mlmodel, .mlpackage, .mlmodelc, MIL text, a zip or "
                                                     ".zst of one, and sealed ones").in_path(name);
    }
  }

  Result<OpenedModel> tree(const FileTree& tree) {
    if (++wrappings > kMaxWrappings) return input_error("is wrapped too many times").in_path(name);
    switch (FileKind kind = detect_tree(tree)) {
      case FileKind::kPackage: {
        OpenedModel out = make(kind);
        MLT_ASSIGN(out.package, open_package(tree).in(name));
        MLT_ASSIGN(Blob model, tree.open(out.package->model_path));
        if (detect_bytes(model.bytes()) != FileKind::kModel)
          return input_error(model.text().starts_with("version https://git-lfs") ? "is only a Git LFS pointer"
                                                                                : "is not a Core ML model")
              .in_path(out.package->model_path)
              .in_path(name);
        MLT_ASSIGN(out.model, coreml::Model::parse(model, options.parse).in(out.package->model_path).in(name));
        out.files = out.package->model_dir;
        out.weights = std::make_shared<TreeWeights>(out.files);
        return out;
      }
      case FileKind::kCompiled: {
        OpenedModel out = make(kind);
        MLT_ASSIGN(CompiledModel compiled, open_compiled(tree).in(name));
        out.model = std::move(compiled.model);
        out.mil_text = compiled.mil_text;
        out.files = tree;
        out.weights = std::make_shared<TreeWeights>(tree);
        out.compiled = std::move(compiled);
        return out;
      }
      default: break;
    }
    // A package inside its own directory (an archive made of Foo.mlpackage/), or one file.
    MLT_ASSIGN(std::vector<std::string> names, tree.names());
    std::set<std::string> tops;
    for (const std::string& file : names)
      if (!file.starts_with(".")) tops.insert(file.substr(0, file.find('/')));
    if (tops.size() == 1) {
      const std::string& top = *tops.begin();
      if (tree.has(top)) {
        MLT_ASSIGN(Blob blob, tree.open(top));
        return bytes(blob, tree);
      }
      return this->tree(tree.subtree(top));
    }
    return input_error("holds no Core ML model", "a package has a Manifest.json, a compiled model a coremldata.bin")
        .in_path(name);
  }
};

std::string parent_of(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == path.npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Result<OpenedModel> open_model(const std::string& path, const OpenOptions& options) {
  Opener opener{options, path};
  switch (path_kind(path)) {
    case PathKind::kMissing: return input_error("no such file or directory").in_path(path);
    case PathKind::kDirectory: {
      FileTree tree = FileTree::from_directory(path);
      // A directory that is no model itself is not searched: naming it was a mistake.
      if (detect_tree(tree) == FileKind::kUnknown)
        return input_error("is a directory, but neither a model package nor a compiled model").in_path(path);
      return opener.tree(tree);
    }
    default: break;
  }
  MLT_ASSIGN(Blob blob, map_file(path));
  return opener.bytes(blob, FileTree::from_directory(parent_of(path)));
}

Result<OpenedModel> open_memory(const Blob& bytes, const std::string& name, const OpenOptions& options) {
  return Opener{options, name}.bytes(bytes, {});
}

Result<OpenedModel> open_tree(const FileTree& tree, const std::string& name, const OpenOptions& options) {
  return Opener{options, name}.tree(tree);
}

struct ZstdWriter::State {
  ByteSink sink;
  std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context{ZSTD_createCCtx(), ZSTD_freeCCtx};
  Bytes out = Bytes(ZSTD_CStreamOutSize());
};

ZstdWriter::ZstdWriter(ByteSink sink, int level) : state_(std::make_unique<State>()) {
  state_->sink = std::move(sink);
  if (state_->context) {
    ZSTD_CCtx_setParameter(state_->context.get(), ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(state_->context.get(), ZSTD_c_checksumFlag, 1);
  }
}
ZstdWriter::~ZstdWriter() = default;
Status ZstdWriter::write(ByteSpan bytes) { return step(bytes, false); }
Status ZstdWriter::finish() { return step({}, true); }

Status ZstdWriter::step(ByteSpan bytes, bool last) {
  if (!state_->context) return resource_error("out of memory");
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  for (size_t left = 1; in.pos < in.size || (last && left != 0);) {
    ZSTD_outBuffer out{state_->out.data(), state_->out.size(), 0};
    left = ZSTD_compressStream2(state_->context.get(), &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
    if (ZSTD_isError(left)) return resource_error(std::string("cannot compress: ") + ZSTD_getErrorName(left));
    if (out.pos != 0) MLT_TRY(state_->sink(ByteSpan(state_->out).first(out.pos)));
  }
  return {};
}

Result<Blob> decompress_zstd(const Blob& bytes, uint64_t limit) {
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  if (!context) return resource_error("out of memory");
  // Windows up to 128 MiB, zstd's own default limit: what a stream may ask for is what its reader must allocate.
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, 27);
  Bytes out;
  size_t used = 0, state = 1;
  ZSTD_inBuffer in{bytes.bytes().data(), bytes.size(), 0};
  while (in.pos < in.size || state != 0) {
    if (used == out.size()) {
      if (used > limit) return resource_error(fmt::format("decompresses to more than {} bytes", limit));
      out.resize(std::max<size_t>(used * 2, 1 << 17));
    }
    ZSTD_outBuffer buffer{out.data(), out.size(), used};
    size_t before = in.pos;
    state = ZSTD_decompressStream(context.get(), &buffer, &in);
    if (ZSTD_isError(state)) return input_error(std::string("damaged zstd file: ") + ZSTD_getErrorName(state));
    if (buffer.pos == used && in.pos == before && in.pos == in.size) return input_error("truncated zstd file");
    used = buffer.pos;
  }
  if (used > limit) return resource_error(fmt::format("decompresses to more than {} bytes", limit));
  out.resize(used);
  return Blob(std::move(out));
}

std::string model_base_name(const std::string& path) {
  std::string name = path;
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  name.erase(0, name.rfind('/') + 1);
  for (bool again = true; again;) {
    again = false;
    for (std::string_view extension : {".age", ".zst", ".zip", ".mlarchive", ".mlmodel", ".mlpackage", ".mlmodelc", ".mil"}) {
      if (name.size() <= extension.size() || !name.ends_with(extension)) continue;
      name.resize(name.size() - extension.size());
      again = true;
    }
  }
  return name;
}

}  // namespace mlt
