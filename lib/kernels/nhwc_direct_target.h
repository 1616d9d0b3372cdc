// Internal: one instruction set's loops of nhwc_direct.h.
#pragma once
#include <cstdint>

#include "lib/kernels/elementwise.h"

namespace mlt {

// What the vectors of a row's outputs multiply their weights with.
enum class DirectInput {
  kShared,    // all the same float of the window
  kSeparate,  // each vector a float of its own, `lanes` floats behind the one of the vector before
  kPermuted,  // each lane of a vector one of the floats of a vector of inputs, those of vector v at v * lanes
};

// Some outputs of one row of a picture, for one or two vectors of output channels.
struct DirectRow {
  DirectInput input = DirectInput::kShared;
  int vectors = 1;
  int block = 0;              // of DirectTarget::blocks
  const float* in = nullptr;  // the first output's window. Windows are read for whole blocks of outputs
  int64_t step = 0;           // floats from one output's window to the next one's
  const int64_t* offsets = nullptr;  // `segments`: a window is so many runs of `length` floats (kPermuted: vectors of inputs)
  int64_t segments = 0, length = 0;
  const int32_t* indices = nullptr;  // kPermuted: [length][lanes]
  const float* weights = nullptr;    // [segments * length][vectors][lanes]
  const float* bias = nullptr;       // [vectors][lanes]
  float* out = nullptr;              // `count` pixels, `pitch` floats apart; vector v's `valid[v]` channels at v * out_step
  int64_t pitch = 0, count = 0, out_step = 0;
  int64_t valid[2] = {0, 0};
  const float* residual = nullptr;  // as out, `residual_pitch` apart, or null
  int64_t residual_pitch = 0;
  Activation f{};
  // Memory to fetch meanwhile: so many times 16 floats at each segment of each block.
  const float* ahead = nullptr;
  int64_t ahead_lines = 0;
};

struct DirectTarget {
  void (*row)(const DirectRow& r) noexcept;
  // `pixels` times `slots` runs of `length` floats, the last one of `last` floats, that lie one behind the other, pixels
  // `pitch` apart; each goes to the start of `slot` floats of `out`, of which whole vectors are written.
  void (*gather)(const float* in, int64_t pitch, int64_t pixels, int64_t slots, int64_t length, int64_t last, int64_t slot, float* out) noexcept;
  int lanes;
  int blocks[6];  // numbers of outputs that can be worked on at a time, descending
};

const DirectTarget& direct_target() noexcept;

}  // namespace mlt
