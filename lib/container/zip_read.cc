// The only user of libzip. libzip does not tell where a stored entry's bytes are, so the central directory is read a
// second time for that alone; when the two disagree, the entry is copied through libzip.
#include <fmt/core.h>
#include <zip.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "lib/container/crc32.h"
#include "lib/container/tree_state.h"
#include "lib/container/zip.h"

namespace mlt {
namespace {

// Stored entries up to this size are checked against their CRC when opened; larger ones are mapped unread.
constexpr uint64_t kCheckBytes = uint64_t{256} << 20;

struct Entry {
  zip_uint64_t index = 0;
  uint64_t size = 0, packed = 0;
  uint32_t crc = 0;
  bool stored = false;
  std::optional<Blob> in_place;  // stored entries whose place is known
};

struct ArchiveCloser {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};

struct ZipState : FileTree::State {
  Blob bytes;  // libzip reads from it
  std::unique_ptr<zip_t, ArchiveCloser> archive;
  std::map<std::string, Entry> entries;
  mutable std::mutex mutex;
  mutable std::map<std::string, Blob> loaded;

  bool has(const std::string& name) const override { return entries.count(name) > 0; }
  Result<std::vector<std::string>> names(const std::string& prefix) const override {
    std::vector<std::string> all;
    for (auto it = entries.lower_bound(prefix); it != entries.end() && it->first.starts_with(prefix); ++it)
      all.push_back(it->first);
    return all;
  }
  Result<Blob> open(const std::string& name) const override {
    auto it = entries.find(name);
    if (it == entries.end()) return input_error("no such file").in_path(origin + "/" + name);
    std::lock_guard lock(mutex);
    if (auto done = loaded.find(name); done != loaded.end()) return done->second;
    MLT_ASSIGN(Blob blob, load(it->second).in(origin + "/" + name));
    loaded.emplace(name, blob);
    return blob;
  }
  Result<Blob> load(const Entry& entry) const {
    if (entry.in_place) {
      if (entry.size <= kCheckBytes && crc32(entry.in_place->bytes()) != entry.crc)
        return input_error("archive entry is damaged: checksum differs");
      return *entry.in_place;
    }
    zip_file_t* file = zip_fopen_index(archive.get(), entry.index, 0);
    if (!file) return input_error(std::string("cannot read archive entry: ") + zip_strerror(archive.get()));
    std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> closer(file, zip_fclose);
    // Grows with what is really there, not with what the directory claims.
    Bytes out;
    while (true) {
      size_t used = out.size();
      out.resize(std::min<uint64_t>(std::max<uint64_t>(used * 2, 1 << 16), entry.size + 1));
      zip_int64_t n = zip_fread(file, out.data() + used, out.size() - used);
      if (n < 0) return input_error(std::string("archive entry is damaged: ") + zip_file_strerror(file));
      out.resize(used + static_cast<size_t>(n));
      if (n == 0) break;
      if (out.size() > entry.size) return input_error("archive entry is longer than its directory says");
    }
    if (out.size() != entry.size) return input_error("archive entry is shorter than its directory says");
    return Blob(std::move(out));
  }
};

template <typename T>
T at(ByteSpan bytes, uint64_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

struct Central {
  ByteSpan name;
  uint64_t size = 0, packed = 0, local = 0;
  uint16_t method = 0;
};

// Entries of the central directory in order; empty when it cannot be understood.
std::vector<Central> read_central(ByteSpan bytes) {
  constexpr size_t kEnd = 22, kHead = 46;
  if (bytes.size() < kEnd) return {};
  size_t lowest = bytes.size() > kEnd + 65535 ? bytes.size() - kEnd - 65535 : 0;
  size_t end = bytes.size() - kEnd;
  while (at<uint32_t>(bytes, end) != 0x06054b50u) {
    if (end == lowest) return {};
    end--;
  }
  uint64_t count = at<uint16_t>(bytes, end + 10), offset = at<uint32_t>(bytes, end + 16);
  if (end >= 20 && at<uint32_t>(bytes, end - 20) == 0x07064b50u) {  // zip64 locator
    auto wide = at<uint64_t>(bytes, end - 12);
    if (bytes.size() < 56 || wide > bytes.size() - 56 || at<uint32_t>(bytes, wide) != 0x06064b50u) return {};
    count = at<uint64_t>(bytes, wide + 32);
    offset = at<uint64_t>(bytes, wide + 48);
  }
  std::vector<Central> all;
  for (uint64_t i = 0; i < count; i++) {
    if (offset > bytes.size() || bytes.size() - offset < kHead || at<uint32_t>(bytes, offset) != 0x02014b50u) return {};
    Central entry;
    entry.method = at<uint16_t>(bytes, offset + 10);
    entry.packed = at<uint32_t>(bytes, offset + 20);
    entry.size = at<uint32_t>(bytes, offset + 24);
    size_t name = at<uint16_t>(bytes, offset + 28), extra = at<uint16_t>(bytes, offset + 30);
    size_t comment = at<uint16_t>(bytes, offset + 32);
    entry.local = at<uint32_t>(bytes, offset + 42);
    if (bytes.size() - offset - kHead < name + extra + comment) return {};
    entry.name = bytes.subspan(offset + kHead, name);
    ByteSpan fields = bytes.subspan(offset + kHead + name, extra);
    while (fields.size() >= 4) {
      auto id = at<uint16_t>(fields, 0);
      size_t size = at<uint16_t>(fields, 2);
      if (size > fields.size() - 4) break;
      ByteSpan data = fields.subspan(4, size);
      if (id == 1) {  // zip64: only the values that did not fit, in this order
        for (auto [narrow, wide] : {std::pair{uint64_t{0xffffffff}, &entry.size}, {0xffffffff, &entry.packed}, {0xffffffff, &entry.local}}) {
          if (*wide != narrow || data.size() < 8) continue;
          *wide = at<uint64_t>(data, 0);
          data = data.subspan(8);
        }
      }
      fields = fields.subspan(4 + size);
    }
    all.push_back(entry);
    offset += kHead + name + extra + comment;
  }
  return all;
}

std::optional<Blob> place_of(const Blob& archive, const Central& entry) {
  ByteSpan bytes = archive.bytes();
  constexpr size_t kHead = 30;
  if (entry.method != 0 || entry.size != entry.packed) return std::nullopt;
  if (entry.local > bytes.size() || bytes.size() - entry.local < kHead) return std::nullopt;
  if (at<uint32_t>(bytes, entry.local) != 0x04034b50u) return std::nullopt;
  uint64_t start = entry.local + kHead + at<uint16_t>(bytes, entry.local + 26) + at<uint16_t>(bytes, entry.local + 28);
  if (start > bytes.size() || entry.size > bytes.size() - start) return std::nullopt;
  return archive.sub(start, entry.size);
}

}  // namespace

Result<FileTree> read_zip(const Blob& archive, const std::string& name, const ZipLimits& limits) {
  auto bad = [&](std::string message) { return input_error(std::move(message)).in_path(name); };
  auto state = std::make_shared<ZipState>();
  state->bytes = archive;
  state->origin = name;
  zip_error_t error;
  zip_error_init(&error);
  auto why = [&] {
    std::string text = zip_error_strerror(&error);
    zip_error_fini(&error);
    return text;
  };
  zip_source_t* source = zip_source_buffer_create(archive.bytes().data(), archive.size(), 0, &error);
  if (!source) return bad("cannot read archive: " + why());
  state->archive.reset(zip_open_from_source(source, ZIP_RDONLY, &error));
  if (!state->archive) {
    zip_source_free(source);
    return bad("not a zip archive, or a damaged one: " + why());
  }
  zip_t* zip = state->archive.get();
  auto count = static_cast<uint64_t>(std::max<zip_int64_t>(zip_get_num_entries(zip, 0), 0));
  if (count > limits.max_entries)
    return resource_error(fmt::format("archive has {} entries, more than {}", count, limits.max_entries)).in_path(name);
  std::vector<Central> central = read_central(archive.bytes());
  if (central.size() != count) central.clear();

  uint64_t unpacked = 0;
  std::vector<std::string> names;
  for (uint64_t i = 0; i < count; i++) {
    zip_stat_t info;
    if (zip_stat_index(zip, i, 0, &info) != 0) return bad(std::string("damaged archive: ") + zip_strerror(zip));
    constexpr zip_uint64_t kNeeded = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_CRC;
    if ((info.valid & kNeeded) != kNeeded) return bad("archive entry without a name or size");
    std::string entry_name = info.name;
    if (entry_name.starts_with("__MACOSX/") || entry_name.ends_with("/.DS_Store") || entry_name == ".DS_Store") continue;
    bool directory = entry_name.ends_with("/");
    if (directory) entry_name.pop_back();
    if (!is_safe_relative_path(entry_name)) return bad(fmt::format("entry \"{}\" leaves the archive", entry_name));
    if (directory) continue;
    if ((info.valid & ZIP_STAT_ENCRYPTION_METHOD) && info.encryption_method != ZIP_EM_NONE)
      return unsupported_error(fmt::format("entry \"{}\" is encrypted", entry_name)).in_path(name);
    zip_uint8_t system = 0;
    zip_uint32_t attributes = 0;
    if (zip_file_get_external_attributes(zip, i, 0, &system, &attributes) == 0 && system == ZIP_OPSYS_UNIX &&
        (attributes >> 16 & 0170000) == 0120000)
      return bad(fmt::format("entry \"{}\" is a symbolic link", entry_name));

    Entry entry{i, info.size, info.comp_size, info.crc, info.comp_method == ZIP_CM_STORE, std::nullopt};
    if (entry.stored) {
      if (!central.empty() && as_text(central[i].name) == info.name && central[i].size == info.size)
        entry.in_place = place_of(archive, central[i]);
      if (entry.packed > archive.size()) return bad(fmt::format("entry \"{}\" is larger than the archive", entry_name));
    } else if (info.size / limits.max_ratio > info.comp_size) {
      return resource_error(fmt::format("entry \"{}\" is compressed beyond {}:1", entry_name, limits.max_ratio)).in_path(name);
    }
    if (!entry.in_place) {
      if (!checked_add(unpacked, info.size, &unpacked) || unpacked > limits.max_unpacked)
        return resource_error(fmt::format("archive unpacks to more than {} bytes", limits.max_unpacked)).in_path(name);
    }
    if (!state->entries.emplace(entry_name, std::move(entry)).second)
      return bad(fmt::format("two entries have the name \"{}\"", entry_name));
    names.push_back(entry_name);
  }
  std::sort(names.begin(), names.end());
  MLT_TRY(check_tree_names(names).in(name));
  return FileTree(std::move(state));
}

}  // namespace mlt
