// Whole-file compression as joblib writes it. Internal to lib/convert/pickle.
#pragma once
#include "lib/base/file.h"

namespace mlt::foreign::pickle {

enum class Compression { kNone, kZlib, kGzip, kBzip2, kLzma, kXz, kLz4, kOldJoblib };
Compression compression_of(ByteSpan bytes);
// The bytes themselves when they are not compressed. kResource above 4 GiB.
Result<Blob> decompress(const Blob& bytes);

}  // namespace mlt::foreign::pickle
