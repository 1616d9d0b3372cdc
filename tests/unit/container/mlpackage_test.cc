#include "lib/container/mlpackage.h"

#include <doctest/doctest.h>

#include "tests/unit/container/damage.h"
#include "tests/unit/corpus.h"

namespace {

using namespace mlt;
using test::same;
using test::text_blob;

const char kManifest[] = R"({
    "fileFormatVersion": "1.0.0",
    "itemInfoEntries": {
        "C8158591-3230-4B52-A1CE-B5FC629828E5": {
            "author": "com.apple.CoreML",
            "description": "CoreML Model Specification",
            "name": "model.mlmodel",
            "path": "com.apple.CoreML/model.mlmodel"
        }
    },
    "rootModelIdentifier": "C8158591-3230-4B52-A1CE-B5FC629828E5"
}
)";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  size_t at = text.find(from);
  REQUIRE(at != text.npos);
  return text.replace(at, from.size(), to);
}

TEST_CASE("a manifest is read, and written in the same form") {
  Manifest manifest = *parse_manifest(as_bytes(kManifest));
  REQUIRE(manifest.root());
  CHECK(manifest.root()->path == "com.apple.CoreML/model.mlmodel");
  CHECK(write_manifest(manifest) == kManifest);
}

TEST_CASE("manifests that break a rule are refused") {
  auto code = [](const std::string& text) {
    auto manifest = parse_manifest(as_bytes(text));
    REQUIRE_FALSE(manifest.ok());
    return manifest.error().code;
  };
  for (const char* version : {"1.0", "1.0.0.0", "-1.0.0", "a.b.c", "", "1.0.x"})
    CHECK(code(replaced(kManifest, "\"1.0.0\"", "\"" + std::string(version) + "\"")) == Code::kInput);
  for (const char* version : {"2.0.0", "1.1.0", "1.0.1"})
    CHECK(code(replaced(kManifest, "\"1.0.0\"", "\"" + std::string(version) + "\"")) == Code::kUnsupported);
  for (const char* key : {"author", "description", "name", "path"})
    CHECK(code(replaced(kManifest, "\"" + std::string(key) + "\"", "\"x\"")) == Code::kInput);
  for (const char* path : {"../secret", "/etc/passwd", "a//b", "com.apple.CoreML/../../x"})
    CHECK(code(replaced(kManifest, "com.apple.CoreML/model.mlmodel", path)) == Code::kInput);
  CHECK(code(replaced(kManifest, "\"\n}\n", "\"\n")) == Code::kInput);
  CHECK(code("[]") == Code::kInput);
  CHECK(code(std::string(100'000, '[')) == Code::kInput);
  CHECK(parse_manifest(as_bytes(replaced(kManifest, "1.0.0", "0.9.3"))).ok());
}

TEST_CASE("the root model must be there, other items need not") {
  auto files = *make_package(text_blob("model"), {{"weights/weight.bin", text_blob("w")}});
  Package package = *open_package(FileTree::from_blobs(files));
  CHECK(package.model_path == "Data/com.apple.CoreML/model.mlmodel");
  CHECK(package.model_dir.open("weights/weight.bin")->text() == "w");
  CHECK(package.manifest.items.size() == 2);
  files.erase("Data/com.apple.CoreML/weights/weight.bin");
  CHECK(open_package(FileTree::from_blobs(files)).ok());
  files.erase("Data/com.apple.CoreML/model.mlmodel");
  CHECK_FALSE(open_package(FileTree::from_blobs(files)).ok());
}

TEST_CASE("item ids derive from the content") {
  auto id = [](const char* model) { return parse_manifest(as_bytes(make_manifest(as_bytes(model), {})))->root_id; };
  CHECK(id("a") == id("a"));
  CHECK(id("a") != id("b"));
  CHECK(id("a").size() == 36);
  CHECK(id("a")[14] == '8');
}

TEST_CASE("damaged manifests") {
  test::for_each_damage(as_bytes(kManifest), [](const Blob& blob) { (void)parse_manifest(blob.bytes()); });
}

TEST_CASE("manifests of the corpus are written in this form") {
  for (const char* folder : {"mlpackage", "mlpackage-graph"}) {
    for (const std::string& path : test::corpus_files(folder, ".mlpackage")) {
      CAPTURE(path);
      Blob file = *map_file(path + "/Manifest.json");
      auto manifest = parse_manifest(file.bytes());
      REQUIRE(manifest.ok());
      auto again = parse_manifest(as_bytes(write_manifest(*manifest)));
      REQUIRE(again.ok());
      CHECK(again->items.size() == manifest->items.size());
      if (path.find("mathletema") == path.npos && path.find("heoblitz") == path.npos)
        CHECK(write_manifest(*manifest) == file.text());
    }
  }
}

}  // namespace
