#include "lib/convert/pickle/decompress.h"

#include <lzma.h>
#include <zlib.h>

namespace mlt::foreign::pickle {
namespace {

constexpr uint64_t kMaxSize = uint64_t{4} << 30;
constexpr size_t kChunk = size_t{1} << 20;

bool starts(ByteSpan bytes, std::string_view prefix) { return as_text(bytes).starts_with(prefix); }

Result<Blob> inflate_all(ByteSpan in) {
  z_stream stream{};
  if (inflateInit2(&stream, 15 + 32) != Z_OK) return resource_error("not enough memory");
  struct End {
    z_stream* s;
    ~End() { inflateEnd(s); }
  } end{&stream};
  Bytes out;
  size_t at = 0;
  int code = Z_OK;
  while (code != Z_STREAM_END) {
    if (stream.avail_in == 0) {
      if (at == in.size()) return input_error("compressed data ends too early");
      size_t n = std::min<size_t>(in.size() - at, kChunk);
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data() + at));
      stream.avail_in = static_cast<uInt>(n);
      at += n;
    }
    size_t before = out.size();
    if (before > kMaxSize) return resource_error("decompresses to more than 4 GiB");
    out.resize(before + kChunk);
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + before);
    stream.avail_out = static_cast<uInt>(kChunk);
    code = inflate(&stream, Z_NO_FLUSH);
    out.resize(before + kChunk - stream.avail_out);
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) return input_error("compressed data is damaged");
    if (code == Z_BUF_ERROR && stream.avail_in == 0 && at == in.size()) return input_error("compressed data ends too early");
  }
  return Blob(std::move(out));
}

Result<Blob> decode_lzma(ByteSpan in) {
  lzma_stream stream = LZMA_STREAM_INIT;
  if (lzma_auto_decoder(&stream, uint64_t{256} << 20, 0) != LZMA_OK) return resource_error("not enough memory");
  struct End {
    lzma_stream* s;
    ~End() { lzma_end(s); }
  } end{&stream};
  stream.next_in = reinterpret_cast<const uint8_t*>(in.data());
  stream.avail_in = in.size();
  Bytes out;
  for (lzma_ret code = LZMA_OK; code != LZMA_STREAM_END;) {
    size_t before = out.size();
    if (before > kMaxSize) return resource_error("decompresses to more than 4 GiB");
    out.resize(before + kChunk);
    stream.next_out = reinterpret_cast<uint8_t*>(out.data() + before);
    stream.avail_out = kChunk;
    code = lzma_code(&stream, LZMA_FINISH);
    out.resize(before + kChunk - stream.avail_out);
    if (code == LZMA_BUF_ERROR) return input_error("compressed data ends too early");
    if (code == LZMA_MEM_ERROR || code == LZMA_MEMLIMIT_ERROR) return resource_error("not enough memory to decompress");
    if (code != LZMA_OK && code != LZMA_STREAM_END) return input_error("compressed data is damaged");
  }
  return Blob(std::move(out));
}

}  // namespace

Compression compression_of(ByteSpan bytes) {
  using namespace std::literals;
  if (bytes.size() < 6) return Compression::kNone;
  if (starts(bytes, "\x1f\x8b"sv)) return Compression::kGzip;
  if (starts(bytes, "BZh"sv)) return Compression::kBzip2;
  if (starts(bytes, "\xfd" "7zXZ\0"sv)) return Compression::kXz;
  if (starts(bytes, "\x5d\0\0"sv)) return Compression::kLzma;
  if (starts(bytes, "\x04\x22\x4d\x18"sv)) return Compression::kLz4;
  if (starts(bytes, "ZF0x"sv)) return Compression::kOldJoblib;
  auto a = static_cast<unsigned>(bytes[0]), b = static_cast<unsigned>(bytes[1]);
  if (a == 0x78 && (a * 256 + b) % 31 == 0) return Compression::kZlib;
  return Compression::kNone;
}

Result<Blob> decompress(const Blob& bytes) {
  switch (compression_of(bytes.bytes())) {
    case Compression::kNone: return bytes;
    case Compression::kZlib:
    case Compression::kGzip: return inflate_all(bytes.bytes());
    case Compression::kXz:
    case Compression::kLzma: return decode_lzma(bytes.bytes());
    case Compression::kBzip2: return unsupported_error("a joblib file compressed with bzip2", "decompress it with bunzip2 first");
    case Compression::kLz4: return unsupported_error("a joblib file compressed with LZ4", "decompress it with lz4 first");
    case Compression::kOldJoblib: return unsupported_error("a compressed joblib file of before 0.10", "write it again with today's joblib");
  }
  return bytes;
}

}  // namespace mlt::foreign::pickle
