// A tensor cut into equal blocks: what has a scale, or a table, of its own.
#pragma once
#include <algorithm>

#include "lib/tensor/tensor.h"

namespace mlt::compress {

class Grid {
 public:
  // blocks: the extent of a block on every axis, 0 for the whole axis; each divides its axis (checked by the caller).
  Grid(const Dims& dims, const Dims& blocks) : dims_(dims) {
    if (dims_.empty()) dims_ = {1};
    for (size_t i = 0; i < dims_.size(); ++i) {
      int64_t block = i < blocks.size() && blocks[i] != 0 ? blocks[i] : dims_[i];
      block = std::max<int64_t>(block, 1);
      blocks_.push_back(block);
      counts_.push_back(std::max<int64_t>(1, dims_[i] / block));
    }
    strides_ = row_major_strides(dims_);
    count_strides_ = row_major_strides(counts_);
    // Axes behind `split_` belong to a block as a whole: runs are as long as they can be.
    split_ = dims_.size() - 1;
    while (split_ > 0 && counts_[split_] == 1) --split_;
    run_ = blocks_[split_] * strides_[split_];
  }
  int64_t count() const { return counts_[0] * count_strides_[0]; }
  const Dims& counts() const { return counts_; }
  int64_t block_size() const {
    int64_t size = 1;
    for (int64_t b : blocks_) size *= b;
    return size;
  }

  // f(begin, end) for each stretch of elements that belongs to the block, ascending.
  template <typename F>
  void runs(int64_t block, F f) const {
    int64_t origin = 0, rest = block;
    for (size_t i = 0; i < dims_.size(); ++i) {
      origin += rest / count_strides_[i] * blocks_[i] * strides_[i];
      rest %= count_strides_[i];
    }
    Dims at(split_, 0);
    for (;;) {
      int64_t begin = origin;
      for (size_t i = 0; i < split_; ++i) begin += at[i] * strides_[i];
      f(static_cast<size_t>(begin), static_cast<size_t>(begin + run_));
      size_t axis = split_;
      while (axis > 0 && ++at[axis - 1] == blocks_[axis - 1]) at[--axis] = 0;
      if (axis == 0) return;
    }
  }

  // f(block, begin, end) for each stretch of [begin, end) that lies in one block, ascending.
  template <typename F>
  void stretches(size_t begin, size_t end, F f) const {
    auto at = static_cast<int64_t>(begin), stop = static_cast<int64_t>(end);
    while (at < stop) {
      int64_t block = 0, rest = at;
      for (size_t i = 0; i <= split_; ++i) {
        block += rest / strides_[i] / blocks_[i] * count_strides_[i];
        rest %= strides_[i];
      }
      // Along the split axis blocks follow each other.
      int64_t along = at / strides_[split_] % dims_[split_], row_end = at - at % strides_[split_] + (dims_[split_] - along) * strides_[split_];
      int64_t next = at - at % run_ + run_;
      for (; at < std::min(row_end, stop); ++block, next += run_) {
        int64_t upto = std::min({next, row_end, stop});
        f(block, static_cast<size_t>(at), static_cast<size_t>(upto));
        at = upto;
      }
    }
  }

 private:
  Dims dims_, blocks_, counts_, strides_, count_strides_;
  size_t split_ = 0;
  int64_t run_ = 1;
};

}  // namespace mlt::compress
