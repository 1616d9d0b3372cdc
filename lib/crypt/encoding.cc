#include "lib/crypt/encoding.h"

#include <array>

#include "lib/crypt/primitives.h"

namespace mlt::crypt {
namespace {

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kBech32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

constexpr std::array<int8_t, 256> reversed(std::string_view alphabet) {
  std::array<int8_t, 256> table{};
  table.fill(-1);
  for (size_t i = 0; i < alphabet.size(); ++i)
    table[static_cast<unsigned char>(alphabet[i])] = static_cast<int8_t>(i);
  return table;
}
constexpr auto kBase64Value = reversed(kBase64);
constexpr auto kBech32Value = reversed(kBech32);

uint32_t polymod_step(uint32_t checksum, uint8_t value) {
  uint32_t top = checksum >> 25;
  checksum = (checksum & 0x1ffffff) << 5 ^ value;
  constexpr uint32_t kGenerator[5] = {0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3};
  for (int i = 0; i < 5; ++i)
    if (top >> i & 1) checksum ^= kGenerator[i];
  return checksum;
}

uint32_t prefix_checksum(std::string_view prefix) {
  uint32_t checksum = 1;
  for (char c : prefix)
    checksum = polymod_step(checksum, static_cast<uint8_t>(static_cast<unsigned char>(c) >> 5));
  checksum = polymod_step(checksum, 0);
  for (char c : prefix) checksum = polymod_step(checksum, static_cast<uint8_t>(c) & 31);
  return checksum;
}

}  // namespace

std::string base64_encode(ByteSpan bytes, Padding padding) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  uint32_t accumulator = 0;
  int bits = 0;
  for (std::byte b : bytes) {
    accumulator = accumulator << 8 | std::to_integer<uint32_t>(b);
    for (bits += 8; bits >= 6; bits -= 6) out += kBase64[accumulator >> (bits - 6) & 63];
  }
  if (bits > 0) out += kBase64[accumulator << (6 - bits) & 63];
  while (padding == Padding::kRequired && out.size() % 4 != 0) out += '=';
  return out;
}

Result<Bytes> base64_decode(std::string_view text, Padding padding) {
  size_t pads = 0;
  if (padding == Padding::kRequired) {
    if (text.size() % 4 != 0) return input_error("base64 without its padding");
    while (pads < 2 && text.ends_with('=')) {
      text.remove_suffix(1);
      ++pads;
    }
  }
  if (text.size() % 4 == 1 || (padding == Padding::kRequired && (text.size() + pads) % 4 != 0))
    return input_error("base64 of impossible length");
  Bytes out;
  out.reserve(text.size() * 3 / 4);
  uint32_t accumulator = 0;
  int bits = 0;
  for (char c : text) {
    int value = kBase64Value[static_cast<unsigned char>(c)];
    if (value < 0) return input_error("character that is not base64");
    accumulator = accumulator << 6 | static_cast<uint32_t>(value);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out.push_back(static_cast<std::byte>(accumulator >> bits & 0xff));
    }
  }
  if ((accumulator & ((1u << bits) - 1)) != 0) return input_error("base64 is not canonical");
  return out;
}

std::string bech32_encode(std::string_view prefix, ByteSpan bytes, bool upper) {
  std::string out;
  out.reserve(prefix.size() + bytes.size() * 2 + 16);  // may be a secret: no copies left by growing
  out = std::string(prefix) + "1";
  uint32_t checksum = prefix_checksum(prefix);
  uint32_t accumulator = 0;
  int bits = 0;
  auto put = [&](uint32_t value) {
    checksum = polymod_step(checksum, static_cast<uint8_t>(value));
    out += kBech32[value];
  };
  for (std::byte b : bytes) {
    accumulator = accumulator << 8 | std::to_integer<uint32_t>(b);
    for (bits += 8; bits >= 5; bits -= 5) put(accumulator >> (bits - 5) & 31);
  }
  if (bits > 0) put(accumulator << (5 - bits) & 31);
  for (int i = 0; i < 6; ++i) checksum = polymod_step(checksum, 0);
  checksum ^= 1;
  for (int i = 5; i >= 0; --i) out += kBech32[checksum >> (5 * i) & 31];
  if (upper)
    for (char& c : out)
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

Result<Bech32> bech32_decode(std::string_view text) {
  std::string lower(text);
  struct Wipe {  // it may be a secret
    std::string& text;
    ~Wipe() { wipe(text.data(), text.size()); }
  } wiped{lower};
  bool has_lower = false, has_upper = false;
  for (char& c : lower) {
    if (c < 33 || c > 126) return input_error("invalid character");
    has_lower |= c >= 'a' && c <= 'z';
    if (c >= 'A' && c <= 'Z') {
      has_upper = true;
      c = static_cast<char>(c - 'A' + 'a');
    }
  }
  if (has_lower && has_upper) return input_error("mixed upper and lower case");
  size_t separator = lower.rfind('1');
  if (separator == lower.npos || separator == 0 || lower.size() - separator - 1 < 6)
    return input_error("too short");
  Bech32 out{.prefix = lower.substr(0, separator), .bytes = {}, .upper = has_upper};
  uint32_t checksum = prefix_checksum(out.prefix);
  uint32_t accumulator = 0;
  int bits = 0;
  for (size_t i = separator + 1; i < lower.size(); ++i) {
    int value = kBech32Value[static_cast<unsigned char>(lower[i])];
    if (value < 0) return input_error("invalid character");
    checksum = polymod_step(checksum, static_cast<uint8_t>(value));
    if (i + 6 >= lower.size()) continue;  // the checksum itself
    accumulator = accumulator << 5 | static_cast<uint32_t>(value);
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      out.bytes.push_back(static_cast<std::byte>(accumulator >> bits & 0xff));
    }
  }
  if (checksum != 1) return input_error("wrong checksum (a character is mistyped or missing)");
  if (bits >= 5 || (accumulator & ((1u << bits) - 1)) != 0) return input_error("wrong padding");
  return out;
}

}  // namespace mlt::crypt
