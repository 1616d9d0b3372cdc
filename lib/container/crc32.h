// CRC-32 of zip (IEEE 802.3, reflected).
#pragma once
#include <cstdint>

#include "lib/base/bytes.h"

namespace mlt {

uint32_t crc32(ByteSpan bytes);

}  // namespace mlt
