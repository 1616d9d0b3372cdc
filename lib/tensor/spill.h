// Bounded memory while models larger than memory are converted: what was computed and is not needed soon lies in a file.
#pragma once
#include "lib/tensor/tensor.h"

namespace mlt {

// t with its bytes in an unlinked temporary file (in TMPDIR), mapped; t itself when it is small, or no file can be had.
Tensor spilled(const Tensor& t);
// t will not be read soon: pages that a file holds as well may leave memory. Does nothing for small tensors.
void release_pages(const Tensor& t);

}  // namespace mlt
