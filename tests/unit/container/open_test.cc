#include "lib/container/open.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "lib/container/save.h"
#include "tests/unit/container/damage.h"
#include "tests/unit/corpus.h"

namespace {

using namespace mlt;
using test::same;
using test::text_blob;
namespace fs = std::filesystem;

struct TempDir {
  std::string path;
  TempDir() {
    std::string name = (fs::temp_directory_path() / "mlt_test.XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~TempDir() { fs::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(path), fs::directory_iterator{}));
  }
};

coreml::Model sample() {
  coreml::Model model;
  model.set_spec_version(4);
  coreml::Description description;
  description.inputs.push_back({"x", "", coreml::FeatureType::float64()});
  description.outputs.push_back({"y", "", coreml::FeatureType::float64()});
  model.set_description(description);
  return model;
}

// zstd frame with one raw block.
Blob zstd_of(ByteSpan bytes) {
  REQUIRE(bytes.size() < 256);
  ByteWriter out;
  out.write<uint32_t>(0xFD2FB528);
  out.write<uint8_t>(0x20);  // single segment, one-byte content size
  out.write<uint8_t>(static_cast<uint8_t>(bytes.size()));
  uint32_t header = static_cast<uint32_t>(bytes.size()) << 3 | 1;  // last block, raw
  for (int i = 0; i < 3; i++) out.write<uint8_t>(static_cast<uint8_t>(header >> (8 * i)));
  out.append(bytes);
  return Blob(out.release());
}

Blob package_zip(const coreml::Model& model) {
  Bytes out;
  auto writer = *PackageWriter::to_zip([&](ByteSpan bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
    return Status{};
  });
  BlobWriter* weights = *writer->weights();
  CHECK(*weights->add(DType::kI8, 3, as_bytes("abc")) == 64);
  REQUIRE(writer->finish(model).ok());
  return Blob(std::move(out));
}

TEST_CASE("kinds are found by content") {
  Blob model(*sample().serialize());
  CHECK(detect_bytes(model.bytes()) == FileKind::kModel);
  CHECK(detect_bytes(model.bytes().first(5)) == FileKind::kModel);  // truncated, still a model
  CHECK(detect_bytes(as_bytes("program(1.0)\n{}")) == FileKind::kMilText);
  CHECK(detect_bytes(as_bytes("// note\n  program (1.3)")) == FileKind::kMilText);
  CHECK(detect_bytes(as_bytes("programs are fun")) == FileKind::kUnknown);
  CHECK(detect_bytes(package_zip(sample()).bytes()) == FileKind::kZip);
  CHECK(detect_bytes(zstd_of(model.bytes()).bytes()) == FileKind::kZstd);
  CHECK(detect_bytes(as_bytes("age-encryption.org/v1\n-> X25519")) == FileKind::kAge);
  CHECK(detect_bytes(as_bytes("-----BEGIN AGE ENCRYPTED FILE-----\n")) == FileKind::kAge);
  CHECK(detect_bytes(as_bytes(std::string_view("\x08\x08\x12\x07pytorch:\x00", 13))) == FileKind::kOnnx);
  CHECK(detect_bytes({}) == FileKind::kUnknown);
  CHECK(detect_bytes(as_bytes("hello")) == FileKind::kUnknown);
}

TEST_CASE("one model, every wrapping") {
  TempDir dir;
  coreml::Model model = sample();
  Bytes bytes = *model.serialize();
  REQUIRE(save_model_file(model, dir / "plain.mlmodel").ok());
  auto writer = *PackageWriter::to_directory(dir / "pack.mlpackage");
  REQUIRE((*writer->weights())->add(DType::kI8, 3, as_bytes("abc")).ok());
  REQUIRE(writer->finish(model).ok());
  REQUIRE(write_file(dir / "pack.mlarchive", package_zip(model).bytes()).ok());
  REQUIRE(write_file(dir / "plain.mlmodel.zst", zstd_of(bytes).bytes()).ok());
  REQUIRE(write_file(dir / "sealed.age", as_bytes("age-encryption.org/v1\n...")).ok());

  OpenOptions options;
  options.unseal = [&](const Blob&) -> Result<std::shared_ptr<const RandomAccess>> { return random_access(zstd_of(bytes)); };
  struct Expected {
    const char* file;
    FileKind kind;
    const char* name;
    bool weights;
  };
  for (const Expected& expected : {Expected{"plain.mlmodel", FileKind::kModel, "plain", false},
                                   {"pack.mlpackage", FileKind::kPackage, "pack", true},
                                   {"pack.mlpackage/", FileKind::kPackage, "pack", true},
                                   {"pack.mlpackage/Data/com.apple.CoreML/model.mlmodel", FileKind::kModel, "model", true},
                                   {"pack.mlarchive", FileKind::kPackage, "pack", true},
                                   {"plain.mlmodel.zst", FileKind::kModel, "plain", false},
                                   {"sealed.age", FileKind::kModel, "sealed", false}}) {
    CAPTURE(expected.file);
    auto opened = open_model(dir / expected.file, options);
    if (!opened.ok()) MESSAGE(opened.error().to_string());
    REQUIRE(opened.ok());
    CHECK(opened->kind == expected.kind);
    CHECK(opened->name == expected.name);
    CHECK(same(*opened->model.serialize(), bytes));
    CHECK(opened->sealed == (std::string(expected.file) == "sealed.age"));
    auto blob = opened->weights->read("@model_path/weights/weight.bin", 64);
    CHECK(blob.ok() == expected.weights);
    if (blob.ok()) CHECK(blob->data.text() == "abc");
  }
  auto sealed = open_model(dir / "sealed.age");
  REQUIRE_FALSE(sealed.ok());
  CHECK(sealed.error().code == Code::kKey);
}

TEST_CASE("an archive made around the package's directory opens too") {
  Bytes out;
  auto files = *make_package(Blob(*sample().serialize()), {});
  std::map<std::string, Blob> below;
  for (auto& [name, blob] : files) below.emplace("Foo.mlpackage/" + name, blob);
  REQUIRE(write_zip(FileTree::from_blobs(below), [&](ByteSpan bytes) {
            out.insert(out.end(), bytes.begin(), bytes.end());
            return Status{};
          }).ok());
  CHECK(open_memory(Blob(out), "Foo.zip")->kind == FileKind::kPackage);
}

TEST_CASE("what cannot be opened says so") {
  TempDir dir;
  auto code = [&](const std::string& path) {
    auto opened = open_model(path);
    REQUIRE_FALSE(opened.ok());
    CHECK(opened.error().to_string().find(path) != std::string::npos);
    return opened.error().code;
  };
  CHECK(code(dir / "missing") == Code::kInput);
  CHECK(code(dir.path) == Code::kInput);
  REQUIRE(write_file(dir / "text", as_bytes("hello")).ok());
  CHECK(code(dir / "text") == Code::kInput);
  REQUIRE(write_file(dir / "empty", {}).ok());
  CHECK(code(dir / "empty") == Code::kInput);
  REQUIRE(write_file(dir / "cut.zst", zstd_of(as_bytes("abcdef")).bytes().first(12)).ok());
  CHECK(code(dir / "cut.zst") == Code::kInput);
}

TEST_CASE("both ways of writing give the same package, twice the same bytes") {
  TempDir dir;
  auto writer = *PackageWriter::to_directory(dir / "a.mlpackage");
  REQUIRE((*writer->weights())->add(DType::kI8, 3, as_bytes("abc")).ok());
  REQUIRE(writer->finish(sample()).ok());
  Blob first = package_zip(sample()), second = package_zip(sample());
  CHECK(same(first.bytes(), second.bytes()));
  FileTree archive = *read_zip(first, "a.zip"), directory = FileTree::from_directory(dir / "a.mlpackage");
  std::vector<std::string> names = *archive.names();
  REQUIRE(names == *directory.names());
  for (const std::string& name : names) CHECK(same(archive.open(name)->bytes(), directory.open(name)->bytes()));
}

TEST_CASE("an unfinished package leaves nothing") {
  TempDir dir;
  {
    auto writer = *PackageWriter::to_directory(dir / "a.mlpackage");
    REQUIRE((*writer->weights())->add(DType::kI8, 3, as_bytes("abc")).ok());
    CHECK_FALSE(writer->add_file("../escape", text_blob("x")).ok());
  }
  CHECK(dir.entries() == 0);
}

TEST_CASE("links out of a package: to files yes, to directories no") {
  TempDir dir;
  REQUIRE(write_file(dir / "outside", as_bytes("weights")).ok());
  fs::create_directories(dir / "p/Data");
  fs::create_symlink(dir / "outside", dir / "p/Data/weight.bin");
  fs::create_directory_symlink(dir.path, dir / "p/loop");
  FileTree tree = FileTree::from_directory(dir / "p");
  CHECK(tree.open("Data/weight.bin")->text() == "weights");
  CHECK_FALSE(tree.open("loop/outside").ok());
  CHECK(*tree.names() == std::vector<std::string>{"Data/weight.bin"});
}

TEST_CASE("every package and model of the corpus opens and round-trips") {
  std::vector<std::string> paths = test::corpus_files("mlpackage", ".mlpackage");
  for (const char* folder : {"mlpackage-graph"})
    for (const std::string& path : test::corpus_files(folder, ".mlpackage")) paths.push_back(path);
  for (const std::string& path : test::corpus_files("mlmodel", ".mlmodel")) paths.push_back(path);
  int exact = 0;
  for (const std::string& path : paths) {
    CAPTURE(path);
    auto opened = open_model(path);
    if (!opened.ok()) MESSAGE(opened.error().to_string());
    REQUIRE(opened.ok());
    const Blob& source = opened->model.source();
    Bytes once = *opened->model.serialize();
    CHECK(once.size() == source.size());
    exact += same(once, source.bytes());
    CHECK(same(once, *coreml::Model::parse(Blob(once))->serialize()));
  }
  if (!paths.empty()) MESSAGE(paths.size() << " opened, " << exact << " byte for byte");
}

TEST_CASE("every file of testdata/bad-models is refused as EXPECT says") {
  const std::string root = std::string(MLT_SOURCE_DIR) + "/testdata/bad-models/";
  std::ifstream expect(root + "EXPECT");
  std::string line;
  int cases = 0;
  while (std::getline(expect, line)) {
    if (line.starts_with("#")) continue;
    size_t first = line.find('\t'), second = line.find('\t', first + 1);
    REQUIRE(second != line.npos);
    std::string name = line.substr(0, first);
    CAPTURE(name);
    auto opened = open_model(root + name);
    REQUIRE_FALSE(opened.ok());
    CHECK(exit_status(opened.error().code) == std::stoi(line.substr(first + 1)));
    CHECK_MESSAGE(opened.error().to_string().find(line.substr(second + 1)) != std::string::npos, opened.error().to_string());
    CHECK(opened.error().to_string().find(root + name) != std::string::npos);
    cases++;
  }
  CHECK(cases > 20);
}

TEST_CASE("damaged wrappings") {
  Blob archive = package_zip(sample());
  auto visit = [](const Blob& blob) { (void)open_memory(blob, "damaged"); };
  test::for_each_damage(archive.bytes(), visit, 512, 500);
  test::for_each_damage(zstd_of(*sample().serialize()).bytes(), visit);
  test::for_each_damage(*sample().serialize(), visit);
}

}  // namespace
