// Uncompressed zip, written front to back (a pipe cannot seek, which libzip's writer needs). Layout from PKWARE's
// APPNOTE 6.3: local header and data per entry, central directory, zip64 records where a number needs them.
#include "lib/base/bytes.h"
#include "lib/container/crc32.h"
#include "lib/container/tree_state.h"
#include "lib/container/zip.h"

namespace mlt {
namespace {

constexpr uint64_t kAlign = 64;
constexpr uint16_t kPaddingId = 0xd935;  // extra field that Android's zipalign defined for this purpose
constexpr uint16_t kDosDate = 0x0021;    // 1 January 1980: no clock in the output
constexpr uint32_t kNarrow = 0xffffffff;
constexpr uint16_t kUtf8 = 0x0800;

struct Written {
  std::string name;
  uint32_t crc;
  uint64_t size, offset;
  bool wide() const { return size >= kNarrow || offset >= kNarrow; }
};

// version needed, flags, method (stored), time, date, crc
void put_common(ByteWriter& out, const Written& entry, bool wide) {
  out.write<uint16_t>(wide ? 45 : 20);
  out.write<uint16_t>(kUtf8);
  out.write<uint16_t>(0);
  out.write<uint16_t>(0);
  out.write<uint16_t>(kDosDate);
  out.write<uint32_t>(entry.crc);
}

ByteWriter local_header(const Written& entry) {
  bool wide = entry.size >= kNarrow;
  ByteWriter extra;
  if (wide) {
    extra.write<uint16_t>(1);
    extra.write<uint16_t>(16);
    extra.write<uint64_t>(entry.size);
    extra.write<uint64_t>(entry.size);
  }
  // Id, length, alignment, then zeros up to the boundary.
  uint64_t start = entry.offset + 30 + entry.name.size() + extra.size() + 6;
  auto padding = static_cast<size_t>((kAlign - start % kAlign) % kAlign);
  extra.write<uint16_t>(kPaddingId);
  extra.write<uint16_t>(static_cast<uint16_t>(2 + padding));
  extra.write<uint16_t>(kAlign);
  extra.append(Bytes(padding));

  ByteWriter out;
  out.write<uint32_t>(0x04034b50u);
  put_common(out, entry, wide);
  uint32_t size = wide ? kNarrow : static_cast<uint32_t>(entry.size);
  out.write(size);
  out.write(size);
  out.write(static_cast<uint16_t>(entry.name.size()));
  out.write(static_cast<uint16_t>(extra.size()));
  out.append(entry.name);
  out.append(extra.data());
  return out;
}

void central_header(ByteWriter& out, const Written& entry) {
  ByteWriter extra;
  bool wide_size = entry.size >= kNarrow, wide_offset = entry.offset >= kNarrow;
  if (entry.wide()) {
    extra.write<uint16_t>(1);
    extra.write<uint16_t>(static_cast<uint16_t>((wide_size ? 16 : 0) + (wide_offset ? 8 : 0)));
    if (wide_size) {
      extra.write<uint64_t>(entry.size);
      extra.write<uint64_t>(entry.size);
    }
    if (wide_offset) extra.write<uint64_t>(entry.offset);
  }
  out.write<uint32_t>(0x02014b50u);
  out.write<uint16_t>(3 << 8 | 45);  // made by: Unix
  put_common(out, entry, entry.wide());
  uint32_t size = wide_size ? kNarrow : static_cast<uint32_t>(entry.size);
  out.write(size);
  out.write(size);
  out.write(static_cast<uint16_t>(entry.name.size()));
  out.write(static_cast<uint16_t>(extra.size()));
  out.write<uint16_t>(0);                   // comment
  out.write<uint16_t>(0);                   // disk
  out.write<uint16_t>(0);                   // internal attributes
  out.write<uint32_t>(uint32_t{0100644} << 16);  // regular file, rw-r--r--
  out.write<uint32_t>(wide_offset ? kNarrow : static_cast<uint32_t>(entry.offset));
  out.append(entry.name);
  out.append(extra.data());
}

void end_records(ByteWriter& out, uint64_t count, uint64_t start, uint64_t size) {
  bool wide = count >= 0xffff || start >= kNarrow || size >= kNarrow;
  if (wide) {
    out.write<uint32_t>(0x06064b50u);
    out.write<uint64_t>(44);
    out.write<uint16_t>(3 << 8 | 45);
    out.write<uint16_t>(45);
    out.write<uint32_t>(0);
    out.write<uint32_t>(0);
    out.write(count);
    out.write(count);
    out.write(size);
    out.write(start);
    out.write<uint32_t>(0x07064b50u);
    out.write<uint32_t>(0);
    out.write<uint64_t>(start + size);
    out.write<uint32_t>(1);
  }
  auto narrow16 = [&](uint64_t value) { return wide ? uint16_t{0xffff} : static_cast<uint16_t>(value); };
  auto narrow32 = [&](uint64_t value) { return wide ? kNarrow : static_cast<uint32_t>(value); };
  out.write<uint32_t>(0x06054b50u);
  out.write<uint16_t>(0);
  out.write<uint16_t>(0);
  out.write(narrow16(count));
  out.write(narrow16(count));
  out.write(narrow32(size));
  out.write(narrow32(start));
  out.write<uint16_t>(0);
}

}  // namespace

ByteSink fd_sink(int fd, std::string name) {
  return [fd, name = std::move(name)](ByteSpan bytes) { return write_fd(fd, bytes, name); };
}

Status write_zip(const FileTree& tree, const ByteSink& sink) {
  MLT_ASSIGN(std::vector<std::string> names, tree.names());
  MLT_TRY(check_tree_names(names));
  uint64_t offset = 0;
  std::vector<Written> all;
  for (const std::string& name : names) {
    if (name.size() > 0xffff) return usage_error("file name is too long for a zip archive");
    MLT_ASSIGN(Blob content, tree.open(name));
    Written entry{name, crc32(content.bytes()), content.size(), offset};
    ByteWriter header = local_header(entry);
    MLT_TRY(sink(header.data()));
    MLT_TRY(sink(content.bytes()));
    offset += header.size() + content.size();
    all.push_back(std::move(entry));
  }
  ByteWriter directory;
  for (const Written& entry : all) central_header(directory, entry);
  uint64_t size = directory.size();
  end_records(directory, all.size(), offset, size);
  return sink(directory.data());
}

}  // namespace mlt
