#include "lib/tensor/spill.h"

#include <doctest/doctest.h>

#include <cstdlib>

using namespace mlt;

TEST_CASE("spill: a large tensor keeps its bytes in a file, a small one stays where it is") {
  Tensor large = Tensor::uninitialized(DType::kF32, {1 << 10, 1 << 11});
  for (int64_t i = 0; i < large.size(); ++i) large.mutable_data<float>()[i] = static_cast<float>(i % 977);
  Tensor moved = spilled(large);
  CHECK(moved.bytes().data() != large.bytes().data());
  CHECK(moved.dims() == large.dims());
  CHECK(same_bytes(moved, large));
  release_pages(moved);
  release_pages(large);
  CHECK(same_bytes(moved, large));  // nothing is lost
  Tensor small = Tensor::from<float>({2}, {1, 2});
  CHECK(spilled(small).bytes().data() == small.bytes().data());
}

TEST_CASE("spill: without a place for the file the tensor stays in memory") {
  const char* old = std::getenv("TMPDIR");
  std::string saved = old ? old : "";
  ::setenv("TMPDIR", "/nonexistent", 1);
  Tensor large = Tensor::zeros(DType::kF32, {1 << 21});
  CHECK(spilled(large).bytes().data() == large.bytes().data());
  if (old) ::setenv("TMPDIR", saved.c_str(), 1);
  else ::unsetenv("TMPDIR");
}
