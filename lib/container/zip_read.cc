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
  std::optional<uint64_t> local;  // of stored entries whose place is known: where their local header is
};

struct ArchiveCloser {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};

// An archive as libzip reads it: through a window, since what is sealed opens in pieces of 64 KiB at least.
class Window {
 public:
  explicit Window(std::shared_ptr<const RandomAccess> bytes) : bytes_(std::move(bytes)) { zip_error_init(&error_); }
  ~Window() { zip_error_fini(&error_); }
  Window(const Window&) = delete;
  static zip_int64_t call(void* self, void* data, zip_uint64_t size, zip_source_cmd_t command) {
    return static_cast<Window*>(self)->answer(data, size, command);
  }

 private:
  static constexpr uint64_t kWindow = 1 << 20;
  zip_int64_t answer(void* data, zip_uint64_t size, zip_source_cmd_t command) {
    switch (command) {
      case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT,
                                              ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, -1);
      case ZIP_SOURCE_OPEN: position_ = 0; return 0;
      case ZIP_SOURCE_CLOSE:
      case ZIP_SOURCE_FREE: return 0;
      case ZIP_SOURCE_TELL: return static_cast<zip_int64_t>(position_);
      case ZIP_SOURCE_ERROR: return zip_error_to_data(&error_, data, size);
      case ZIP_SOURCE_STAT: {
        if (size < sizeof(zip_stat_t)) return fail(ZIP_ER_INVAL);
        auto* out = static_cast<zip_stat_t*>(data);
        zip_stat_init(out);
        out->valid = ZIP_STAT_SIZE;
        out->size = bytes_->size();
        return sizeof(zip_stat_t);
      }
      case ZIP_SOURCE_SEEK: {
        zip_int64_t to = zip_source_seek_compute_offset(position_, bytes_->size(), data, size, &error_);
        if (to < 0) return -1;
        position_ = static_cast<uint64_t>(to);
        return 0;
      }
      case ZIP_SOURCE_READ: return read(static_cast<std::byte*>(data), size);
      default: return fail(ZIP_ER_OPNOTSUPP);
    }
  }
  zip_int64_t read(std::byte* out, uint64_t size) {
    if (position_ >= bytes_->size()) return 0;
    if (position_ < start_ || position_ >= start_ + window_.size()) {
      auto part = bytes_->read(position_, std::min<uint64_t>(kWindow, bytes_->size() - position_));
      if (!part.ok()) return fail(ZIP_ER_READ);
      window_ = std::move(*part);
      start_ = position_;
    }
    ByteSpan there = window_.bytes().subspan(position_ - start_);
    size = std::min<uint64_t>(size, there.size());
    std::memcpy(out, there.data(), size);
    position_ += size;
    return static_cast<zip_int64_t>(size);
  }
  zip_int64_t fail(int code) {
    zip_error_set(&error_, code, 0);
    return -1;
  }

  std::shared_ptr<const RandomAccess> bytes_;
  uint64_t position_ = 0, start_ = 0;
  Blob window_;
  zip_error_t error_;
};

template <typename T>
T at(ByteSpan bytes, uint64_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

struct ZipState : FileTree::State {
  std::shared_ptr<const RandomAccess> bytes;
  std::unique_ptr<Window> window;  // libzip reads from it
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
    if (entry.local) {
      constexpr uint64_t kHead = 30;
      MLT_ASSIGN(Blob head, bytes->read(*entry.local, kHead));
      if (at<uint32_t>(head.bytes(), 0) == 0x04034b50u) {
        uint64_t start = *entry.local + kHead + at<uint16_t>(head.bytes(), 26) + at<uint16_t>(head.bytes(), 28);
        MLT_ASSIGN(Blob content, bytes->read(start, entry.size));
        if (entry.size <= kCheckBytes && crc32(content.bytes()) != entry.crc)
          return input_error("archive entry is damaged: checksum differs");
        return content;
      }
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

struct Central {
  std::string name;
  uint64_t size = 0, packed = 0, local = 0;
  uint16_t method = 0;
};

// Entries of the central directory in order; empty when it cannot be understood (libzip decides then).
Result<std::vector<Central>> read_central(const RandomAccess& archive) {
  using All = std::vector<Central>;
  constexpr uint64_t kEnd = 22, kHead = 46, kLocator = 20, kMaxComment = 65535, kMaxDirectory = uint64_t{256} << 20;
  if (archive.size() < kEnd) return All{};
  uint64_t base = archive.size() - std::min(archive.size(), kLocator + kEnd + kMaxComment);
  MLT_ASSIGN(Blob tail_bytes, archive.read(base, archive.size() - base));
  ByteSpan tail = tail_bytes.bytes();
  size_t end = tail.size() - kEnd;
  while (at<uint32_t>(tail, end) != 0x06054b50u) {
    if (end == 0) return All{};
    end--;
  }
  uint64_t count = at<uint16_t>(tail, end + 10), size = at<uint32_t>(tail, end + 12), offset = at<uint32_t>(tail, end + 16);
  if (end >= kLocator && at<uint32_t>(tail, end - kLocator) == 0x07064b50u) {  // zip64 locator
    auto wide = at<uint64_t>(tail, end - 12);
    if (archive.size() < 56 || wide > archive.size() - 56) return All{};
    MLT_ASSIGN(Blob record, archive.read(wide, 56));
    if (at<uint32_t>(record.bytes(), 0) != 0x06064b50u) return All{};
    count = at<uint64_t>(record.bytes(), 32);
    size = at<uint64_t>(record.bytes(), 40);
    offset = at<uint64_t>(record.bytes(), 48);
  }
  if (size > kMaxDirectory || offset > archive.size() || size > archive.size() - offset) return All{};
  MLT_ASSIGN(Blob directory, archive.read(offset, size));
  ByteSpan bytes = directory.bytes();
  All all;
  for (uint64_t i = 0; i < count; i++) {
    if (bytes.size() < kHead || at<uint32_t>(bytes, 0) != 0x02014b50u) return All{};
    Central entry;
    entry.method = at<uint16_t>(bytes, 10);
    entry.packed = at<uint32_t>(bytes, 20);
    entry.size = at<uint32_t>(bytes, 24);
    size_t name = at<uint16_t>(bytes, 28), extra = at<uint16_t>(bytes, 30), comment = at<uint16_t>(bytes, 32);
    entry.local = at<uint32_t>(bytes, 42);
    if (bytes.size() - kHead < name + extra + comment) return All{};
    entry.name = as_text(bytes.subspan(kHead, name));
    ByteSpan fields = bytes.subspan(kHead + name, extra);
    while (fields.size() >= 4) {
      auto id = at<uint16_t>(fields, 0);
      size_t length = at<uint16_t>(fields, 2);
      if (length > fields.size() - 4) break;
      ByteSpan data = fields.subspan(4, length);
      if (id == 1) {  // zip64: only the values that did not fit, in this order
        for (uint64_t* value : {&entry.size, &entry.packed, &entry.local}) {
          if (*value != 0xffffffff || data.size() < 8) continue;
          *value = at<uint64_t>(data, 0);
          data = data.subspan(8);
        }
      }
      fields = fields.subspan(4 + length);
    }
    all.push_back(std::move(entry));
    bytes = bytes.subspan(kHead + name + extra + comment);
  }
  return all;
}

}  // namespace

Result<FileTree> read_zip(const Blob& archive, const std::string& name, const ZipLimits& limits) {
  return read_zip(random_access(archive), name, limits);
}

Result<FileTree> read_zip(std::shared_ptr<const RandomAccess> archive, const std::string& name, const ZipLimits& limits) {
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
  state->window = std::make_unique<Window>(archive);
  zip_source_t* source = zip_source_function_create(&Window::call, state->window.get(), &error);
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
  MLT_ASSIGN(std::vector<Central> central, read_central(*archive).in(name));
  if (central.size() != count) central.clear();

  uint64_t unpacked = 0, stored = 0;
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
      if (!central.empty() && central[i].name == info.name && central[i].size == info.size &&
          central[i].packed == info.size && central[i].method == 0)
        entry.local = central[i].local;
      if (entry.packed > archive->size()) return bad(fmt::format("entry \"{}\" is larger than the archive", entry_name));
    } else if (info.size / limits.max_ratio > info.comp_size) {
      return resource_error(fmt::format("entry \"{}\" is compressed beyond {}:1", entry_name, limits.max_ratio)).in_path(name);
    }
    if (entry.local) {
      stored += entry.size;  // at most 2^17 times the archive's size
      if (stored > archive->size()) return bad("archive entries overlap");
    } else {
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
