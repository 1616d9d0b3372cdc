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
  kPairs,     // across only: lanes 2 o and 2 o + 1 of vector v, whose sum is its output o, two floats at v * lanes / 2
  kQuads,     // four vectors with the same vector of inputs: four lanes' sum in vector v is output v of these four lanes' channels
};

// Some outputs of one row of a picture, for one or two vectors of output channels (kQuads: four of sums).
struct DirectRow {
  DirectInput input = DirectInput::kShared;
  int vectors = 1;
  int block = 0;              // of DirectTarget::blocks
  const float* in = nullptr;  // the first output's window. Windows are read for whole blocks of outputs
  int64_t step = 0;           // floats from one output's window to the next one's
  const int64_t* offsets = nullptr;  // `segments`: a window is so many runs of `length` floats (kPermuted: vectors of inputs)
  int64_t segments = 0, length = 0;
  // 0, or the stride of windows three pixels wide, 1 or 2, whose inputs serve neighbours as well (kSeparate, kPairs): a segment is
  // then a row of three pixels, 2 * lanes (kPairs: lanes) floats apart, of `length` floats (kPairs: pairs), and weights are
  // [segments][length][3][vectors][lanes].
  int64_t across = 0;
  const int32_t* indices = nullptr;  // kPermuted: [length][lanes]
  const float* weights = nullptr;    // [segments * length][vectors][lanes]
  const float* bias = nullptr;       // [vectors][lanes]
  // `count` pixels, `pitch` floats apart; vector v's `valid[v]` channels at v * out_step (kPairs, kQuads: the first's are those of all).
  float* out = nullptr;
  int64_t pitch = 0, count = 0, out_step = 0;
  int64_t valid[2] = {0, 0};
  const float* residual = nullptr;  // as out, `residual_pitch` apart, or null
  int64_t residual_pitch = 0;
  Activation f{};
  // Memory to fetch meanwhile: so many times 16 floats at each segment of each block.
  const float* ahead = nullptr;
  int64_t ahead_lines = 0;
};

// `pixels` times `slots` runs of `length` floats, the last one of `last` floats, that lie one behind the other, pixels `pitch`
// apart. Each goes to the start of `slot` floats, of which whole vectors may be written where `slot` has them; pixels are `pixel`
// floats apart there.
struct DirectGather {
  int64_t pixels = 0, slots = 1, length = 0, last = 0, pitch = 0, slot = 0, pixel = 0;
};

struct DirectTarget {
  void (*row)(const DirectRow& r) noexcept;
  void (*gather)(const DirectGather& g, const float* in, float* out) noexcept;
  int lanes;
  int blocks[6];  // numbers of outputs that can be worked on at a time, descending
  int across[4];  // the same where DirectRow::across; 0 where there are none
  int quads[3];   // kQuads; 0 where there are none
};

const DirectTarget& direct_target() noexcept;

}  // namespace mlt
