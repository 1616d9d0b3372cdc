// Prepared weights beside a compiled model: used when they belong to it, and only then.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "lib/container/compile.h"
#include "lib/container/open.h"
#include "lib/container/save.h"
#include "lib/kernels/target.h"
#include "lib/runtime/packed_file.h"
#include "lib/runtime/predictor.h"

using namespace mlt;
namespace fs = std::filesystem;

namespace {

// Hands out what it is given, and counts.
class Counting : public PackedForms {
 public:
  explicit Counting(std::shared_ptr<PackedForms> forms) : forms_(std::move(forms)) {}
  const std::byte* find(const std::string& name, size_t size, std::shared_ptr<const void>* owner) override {
    const std::byte* kept = forms_->find(name, size, owner);
    (kept != nullptr ? found : missed) += 1;
    return kept;
  }
  Status made(const std::string& name, const AlignedBuffer& form) override { return forms_->made(name, form); }
  int found = 0, missed = 0;

 private:
  std::shared_ptr<PackedForms> forms_;
};

std::string numbers(int count, double scale) {
  std::string text;
  for (int i = 0; i < count; ++i) text += (i ? ", " : "") + std::to_string(scale * ((i * 7919) % 101 - 50) / 50);
  return text;
}
// Rows of `columns` numbers each, as nested brackets.
std::string nested(std::vector<int> dims, double scale) {
  if (dims.size() == 1) return "[" + numbers(dims[0], scale) + "]";
  std::string text = "[";
  for (int i = 0; i < dims[0]; ++i) text += (i ? ", " : "") + nested({dims.begin() + 1, dims.end()}, scale * (1 + 0.1 * i));
  return text + "]";
}

struct Compiled {
  std::string root, path;
  Compiled() {
    root = (fs::temp_directory_path() / "mlt-packed-XXXXXX").string();
    REQUIRE(::mkdtemp(root.data()) != nullptr);
    path = root + "/m.mlmodelc";
    const std::string program =
        "program(1.3)\n{\n    func main<ios18>(tensor<fp32, [1, 16, 12, 12]> x) {\n"
        "            tensor<fp32, [16, 16, 3, 3]> w1 = const()[name = string(\"w1\"), val = tensor<fp32, [16, 16, 3, 3]>(" + nested({16, 16, 3, 3}, 0.1) + ")];\n"
        "            tensor<fp16, [24, 16, 1, 1]> w2 = const()[name = string(\"w2\"), val = tensor<fp16, [24, 16, 1, 1]>(" + nested({24, 16, 1, 1}, 0.2) + ")];\n"
        "            tensor<fp32, [5, 24]> w3 = const()[name = string(\"w3\"), val = tensor<fp32, [5, 24]>(" + nested({5, 24}, 0.3) + ")];\n"
        "            tensor<fp32, [5]> b3 = const()[name = string(\"b3\"), val = tensor<fp32, [5]>([1, 2, 3, 4, 5])];\n"
        "            tensor<fp32, [1, 16, 12, 12]> c1 = conv(x = x, weight = w1, pad_type = string(\"same\"), strides = tensor<int32, [2]>([1, 1]), pad = tensor<int32, [4]>([0, 0, 0, 0]), dilations = tensor<int32, [2]>([1, 1]), groups = int32(1))[name = string(\"c1\")];\n"
        "            tensor<fp16, [1, 16, 12, 12]> h = cast(x = c1, dtype = string(\"fp16\"))[name = string(\"h\")];\n"
        "            tensor<fp16, [1, 24, 12, 12]> c2 = conv(x = h, weight = w2, pad_type = string(\"valid\"), strides = tensor<int32, [2]>([1, 1]), pad = tensor<int32, [4]>([0, 0, 0, 0]), dilations = tensor<int32, [2]>([1, 1]), groups = int32(1))[name = string(\"c2\")];\n"
        "            tensor<fp32, [1, 24, 12, 12]> f = cast(x = c2, dtype = string(\"fp32\"))[name = string(\"f\")];\n"
        "            tensor<fp32, [1, 24]> m = reduce_mean(x = f, axes = tensor<int32, [2]>([2, 3]), keep_dims = bool(false))[name = string(\"m\")];\n"
        "            tensor<fp32, [1, 5]> y = linear(x = m, weight = w3, bias = b3)[name = string(\"y\")];\n"
        "        } -> (y);\n}\n";
    auto model = open_memory(Blob(Bytes(as_bytes(program).begin(), as_bytes(program).end())), "m");
    REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().to_string()));
    auto files = compile_model(*model, {});
    REQUIRE_MESSAGE(files.ok(), (files.ok() ? "" : files.error().to_string()));
    REQUIRE(save_tree(files->tree, path).ok());
  }
  ~Compiled() { fs::remove_all(root); }
  std::string packed() const { return path + "/" + std::string(kPackedPrefix) + kernel_target(); }
  std::shared_ptr<PackedForms> open() const { return open_packed(FileTree::from_directory(path)); }
  Tensor predict(std::shared_ptr<PackedForms> forms) const {
    auto model = open_model(path);
    REQUIRE(model.ok());
    PredictOptions options;
    options.exec.packed = std::move(forms);
    auto predictor = Predictor::create(*model, options);
    REQUIRE_MESSAGE(predictor.ok(), (predictor.ok() ? "" : predictor.error().to_string()));
    Tensor x = Tensor::zeros(DType::kF32, {1, 16, 12, 12});
    for (int64_t i = 0; i < x.size(); ++i) x.mutable_data<float>()[i] = static_cast<float>(i % 23) / 23 - 0.5f;
    auto out = (*predictor)->predict({{"x", x}});
    REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().to_string()));
    return std::get<Tensor>(out->at("y"));
  }
};

void edit(const std::string& path, size_t at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(at));
  const char old = static_cast<char>(file.get());
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(old ^ 1));
}

size_t index_at(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  unsigned char header[16] = {};
  file.read(reinterpret_cast<char*>(header), sizeof header);
  size_t at = 0;
  for (int i = 0; i < 8; ++i) at |= size_t{header[8 + i]} << (8 * i);
  return at;
}

}  // namespace

TEST_CASE("packed: every prepared constant is found, and the answers are the same") {
  for (const std::string& target : kernel_targets()) {
    CAPTURE(target);
    select_kernel_target(target);
    Compiled compiled;
    CHECK(compiled.open() == nullptr);
    const Tensor plain = compiled.predict(nullptr);
    auto forms = write_packed(compiled.path);
    REQUIRE_MESSAGE(forms.ok(), (forms.ok() ? "" : forms.error().to_string()));
    CHECK(*forms == 3);
    auto kept = compiled.open();
    REQUIRE(kept != nullptr);
    auto counting = std::make_shared<Counting>(kept);
    const Tensor quick = compiled.predict(counting);
    CHECK(counting->found == 3);
    CHECK(counting->missed == 0);
    CHECK(std::equal(plain.bytes().begin(), plain.bytes().end(), quick.bytes().begin(), quick.bytes().end()));
  }
  select_kernel_target("");
}

TEST_CASE("packed: files of other models, other instruction sets and damaged ones are not used") {
  Compiled compiled;
  REQUIRE(write_packed(compiled.path).ok());
  REQUIRE(compiled.open() != nullptr);
  const std::vector<std::string> targets = kernel_targets();
  // Another instruction set looks for a file of its own, and a file of another's under that name is none.
  if (targets.size() > 1) {
    const std::string mine = compiled.packed();
    select_kernel_target("scalar");
    CHECK(compiled.open() == nullptr);
    fs::copy_file(mine, compiled.packed());
    CHECK(compiled.open() == nullptr);
    fs::remove(compiled.packed());
    select_kernel_target("");
  }
  // Every truncation, and a change of each byte of header and index.
  const auto size = static_cast<size_t>(fs::file_size(compiled.packed()));
  const std::string copy = compiled.root + "/copy";
  fs::copy_file(compiled.packed(), copy);
  for (size_t keep : {size_t{0}, size_t{8}, size_t{63}, size_t{64}, size / 2, size - 1}) {
    CAPTURE(keep);
    fs::resize_file(compiled.packed(), keep);
    CHECK(compiled.open() == nullptr);
    fs::copy_file(copy, compiled.packed(), fs::copy_options::overwrite_existing);
  }
  std::vector<size_t> places = {0, 8, 16, 24};
  for (size_t at = index_at(compiled.packed()); at < size; at += 7) places.push_back(at);
  places.push_back(size - 1);
  for (size_t at : places) {
    CAPTURE(at);
    edit(compiled.packed(), at);
    CHECK(compiled.open() == nullptr);
    edit(compiled.packed(), at);
  }
  CHECK(compiled.open() != nullptr);
  // The program or its weights have changed since.
  for (const char* file : {"/model.mil", "/coremldata.bin"}) {
    const auto last = static_cast<size_t>(fs::file_size(compiled.path + file)) - 1;
    edit(compiled.path + file, last);
    CHECK(compiled.open() == nullptr);
    edit(compiled.path + file, last);
  }
  CHECK(compiled.open() != nullptr);
}

TEST_CASE("packed: a form that is damaged is made anew") {
  Compiled compiled;
  const Tensor plain = compiled.predict(nullptr);
  REQUIRE(write_packed(compiled.path).ok());
  for (size_t at : {size_t{64}, index_at(compiled.packed()) - kSlack - kAlignment}) {
    CAPTURE(at);
    edit(compiled.packed(), at);
    auto kept = compiled.open();
    REQUIRE(kept != nullptr);
    auto counting = std::make_shared<Counting>(kept);
    const Tensor answer = compiled.predict(counting);
    CHECK(counting->missed == 1);
    CHECK(counting->found == 2);
    CHECK(std::equal(plain.bytes().begin(), plain.bytes().end(), answer.bytes().begin(), answer.bytes().end()));
    CHECK_FALSE(renew_packed(compiled.path));
    edit(compiled.packed(), at);
    CHECK(renew_packed(compiled.path));
  }
}

TEST_CASE("packed: file times save reading everything, until one of them differs") {
  Compiled compiled;
  const timespec odd[2] = {{1'000'000'000, 123'456'789}, {1'000'000'000, 123'456'789}};
  struct stat kept_times;
  const std::string mil = compiled.path + "/model.mil";
  if (::utimensat(AT_FDCWD, mil.c_str(), odd, 0) != 0 || ::stat(mil.c_str(), &kept_times) != 0 || kept_times.st_mtim.tv_nsec != odd[1].tv_nsec) {
    MESSAGE("skipped: this file system keeps no nanoseconds");
    return;
  }
  REQUIRE(write_packed(compiled.path).ok());
  auto compared = [&] {  // whether a change that leaves the file's time alone is noticed
    struct stat info;
    REQUIRE(::stat(compiled.packed().c_str(), &info) == 0);
    const timespec times[2] = {info.st_atim, info.st_mtim};
    auto change = [&] {
      edit(compiled.packed(), 64);
      REQUIRE(::utimensat(AT_FDCWD, compiled.packed().c_str(), times, 0) == 0);
    };
    change();
    auto kept = compiled.open();
    REQUIRE(kept != nullptr);
    auto counting = std::make_shared<Counting>(kept);
    compiled.predict(counting);
    change();
    return counting->missed == 1;
  };
  CHECK_FALSE(compared());
  // Other files of the model, rewritten with what they contain, and the file itself, copied.
  const std::string model = compiled.path + "/model.mil", copy = compiled.root + "/copy";
  fs::copy_file(model, copy);
  fs::rename(copy, model);
  CHECK(compared());
  CHECK(renew_packed(compiled.path));
  CHECK_FALSE(compared());
  fs::copy_file(compiled.packed(), copy);
  fs::rename(copy, compiled.packed());
  CHECK(compared());
  CHECK(renew_packed(compiled.path));
  CHECK_FALSE(compared());
  fs::last_write_time(model, fs::last_write_time(model) - std::chrono::hours(1));
  CHECK(compared());
}

TEST_CASE("packed: the same model gives the same bytes") {
  auto bytes = [] {
    Compiled compiled;
    REQUIRE(write_packed(compiled.path).ok());
    std::ifstream file(compiled.packed(), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  CHECK(bytes() == bytes());
}

TEST_CASE("packed: what is prepared for AVX-512 serves machines with its eight-bit products, too") {
  if (kernel_target() != "avx3_dl") return;
  Compiled compiled;
  const Tensor plain = compiled.predict(nullptr);
  select_kernel_target("avx3");
  auto forms = write_packed(compiled.path);
  select_kernel_target("");
  REQUIRE(forms.ok());
  auto kept = compiled.open();
  REQUIRE(kept != nullptr);
  auto counting = std::make_shared<Counting>(kept);
  const Tensor quick = compiled.predict(counting);
  CHECK(counting->found == 3);
  CHECK(counting->missed == 0);
  CHECK(std::equal(plain.bytes().begin(), plain.bytes().end(), quick.bytes().begin(), quick.bytes().end()));
}
