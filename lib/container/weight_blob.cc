#include "lib/container/weight_blob.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "lib/base/bytes.h"
#include "lib/tensor/deferred.h"

namespace mlt {
namespace {

constexpr uint64_t kAlign = 64;
constexpr uint32_t kSentinel = 0xDEADBEEF;
constexpr size_t kRecordSize = 64;

struct Header {
  uint32_t count, version;
  uint64_t reserved[7];
};
struct Record {
  uint32_t sentinel, code;
  uint64_t size, offset, padding_bits;
  uint64_t reserved[4];
};
static_assert(sizeof(Header) == 64 && sizeof(Record) == kRecordSize);

struct TypeCode {
  uint32_t code;
  DType dtype;
};
constexpr TypeCode kCodes[] = {
    {1, DType::kF16}, {2, DType::kF32},  {3, DType::kU8},   {4, DType::kI8},      {5, DType::kBF16},    {6, DType::kI16},
    {7, DType::kU16}, {8, DType::kI4},   {9, DType::kU1},   {10, DType::kU2},     {11, DType::kU4},     {12, DType::kU3},
    {13, DType::kU6}, {14, DType::kI32}, {15, DType::kU32}, {16, DType::kF8E4M3FN}, {17, DType::kF8E5M2},
};

uint64_t align_up(uint64_t offset) { return (offset + kAlign - 1) / kAlign * kAlign; }

}  // namespace

std::optional<DType> blob_dtype(uint32_t code) {
  for (const TypeCode& entry : kCodes)
    if (entry.code == code) return entry.dtype;
  return std::nullopt;
}

std::optional<uint32_t> blob_code(DType dtype) {
  for (const TypeCode& entry : kCodes)
    if (entry.dtype == dtype) return entry.code;
  return std::nullopt;
}

Result<BlobFile> BlobFile::open(Blob file) {
  if (file.text().starts_with("version https://git-lfs"))
    return input_error("weight file is only a Git LFS pointer", "fetch the content with git lfs pull");
  if (file.size() < sizeof(Header)) return input_error("weight file is shorter than its header");
  Header header;
  std::memcpy(&header, file.bytes().data(), sizeof header);
  if (header.version != 2)
    return input_error(fmt::format("weight file has version {}, expected 2", header.version));
  BlobFile out;
  out.file_ = std::move(file);
  out.count_ = header.count;
  return out;
}

Result<BlobRecord> BlobFile::record(uint64_t record_offset) const {
  auto damaged = [&](std::string what) {
    return input_error(fmt::format("blob at offset {}: {}", record_offset, what));
  };
  if (record_offset < sizeof(Header) || record_offset % kAlign != 0) return damaged("offset is not that of a record");
  if (record_offset > file_.size() || file_.size() - record_offset < kRecordSize)
    return damaged(fmt::format("lies beyond the end of the weight file ({} bytes)", file_.size()));
  Record raw;
  std::memcpy(&raw, file_.bytes().data() + record_offset, sizeof raw);
  if (raw.sentinel != kSentinel) return damaged("has no record sentinel");
  std::optional<DType> dtype = blob_dtype(raw.code);
  if (!dtype) return damaged(fmt::format("unknown element type code {}", raw.code));
  if (raw.offset % kAlign != 0) return damaged("data is not aligned");
  if (raw.offset > file_.size() || raw.size > file_.size() - raw.offset)
    return damaged(fmt::format("data of {} bytes lies beyond the end of the weight file ({} bytes)", raw.size,
                               file_.size()));
  // Files older than iOS 18 may hold anything in the padding field of whole-byte types.
  auto bits = static_cast<uint64_t>(dtype_bits(*dtype));
  uint64_t padding = is_sub_byte(*dtype) ? raw.padding_bits : 0;
  uint64_t total = raw.size * 8;  // size is below 2^60: it fits the file
  if (padding >= 8 || padding > total) return damaged(fmt::format("{} padding bits", padding));
  if ((total - padding) % bits != 0) return damaged("size is not a whole number of elements");
  if (8 % bits == 0 && padding % bits != 0) return damaged(fmt::format("{} padding bits", padding));
  return BlobRecord{record_offset, raw.offset, raw.size, *dtype, (total - padding) / bits};
}

Result<WeightBlob> BlobFile::read(uint64_t record_offset) const {
  MLT_ASSIGN(BlobRecord found, record(record_offset));
  return WeightBlob{found.dtype, found.elements, file_.sub(found.data_offset, found.bytes)};
}

Result<std::vector<BlobRecord>> BlobFile::records() const {
  if (count_ > file_.size() / kRecordSize) return input_error(fmt::format("weight file claims {} blobs", count_));
  std::vector<BlobRecord> all;
  uint64_t offset = sizeof(Header);
  for (uint32_t i = 0; i < count_; i++) {
    MLT_ASSIGN(BlobRecord found, record(offset));
    // Data follows its record, so the walk goes forward.
    if (found.data_offset < offset + kRecordSize) return input_error(fmt::format("blob at offset {}: data precedes its record", offset));
    offset = align_up(found.data_offset + found.bytes);
    all.push_back(found);
  }
  return all;
}

Result<EspressoWeights> EspressoWeights::open(Blob file) {
  ByteReader in(file.bytes());
  MLT_ASSIGN(uint64_t count, in.read<uint64_t>());
  if (count > in.remaining() / 16) return input_error(fmt::format("weight file claims {} blobs", count));
  std::vector<std::pair<uint64_t, uint64_t>> sizes;
  for (uint64_t i = 0; i < count; i++) {
    MLT_ASSIGN(uint64_t id, in.read<uint64_t>());
    MLT_ASSIGN(uint64_t size, in.read<uint64_t>());
    sizes.emplace_back(id, size);
  }
  EspressoWeights out;
  for (auto [id, size] : sizes) {
    size_t start = in.offset();
    MLT_TRY(in.take(size).in(fmt::format("blob {}", id)));
    if (!out.blobs_.emplace(id, file.sub(start, size)).second)
      return input_error(fmt::format("two blobs have the id {}", id));
  }
  return out;
}

Result<Blob> EspressoWeights::read(uint64_t id) const {
  auto it = blobs_.find(id);
  if (it == blobs_.end()) return input_error(fmt::format("weight file has no blob {}", id));
  return it->second;
}

Result<std::string> resolve_weight_path(std::string_view name) {
  constexpr std::string_view kRoot = "@model_path/";
  std::string_view rest = name;
  if (rest.starts_with(kRoot)) rest.remove_prefix(kRoot.size());
  if (!is_safe_relative_path(rest))
    return input_error(fmt::format("weight file name \"{}\" leaves the model's directory", name));
  return std::string(rest);
}

Result<BlobFile> TreeWeights::file(std::string_view name) const {
  MLT_ASSIGN(std::string path, resolve_weight_path(name));
  std::lock_guard lock(mutex_);
  auto it = open_.find(path);
  if (it != open_.end()) return it->second;
  MLT_ASSIGN(Blob blob, tree_.open(path));
  MLT_ASSIGN(BlobFile opened, BlobFile::open(std::move(blob)).in(path));
  open_.emplace(path, opened);
  return opened;
}

Result<WeightBlob> TreeWeights::read(std::string_view name, uint64_t offset) const {
  MLT_ASSIGN(BlobFile opened, file(name));
  return opened.read(offset).in(std::string(name));
}

bool TreeWeights::has(std::string_view name) const {
  auto path = resolve_weight_path(name);
  // A name that leaves the model is there, for read() to refuse.
  return !path.ok() || tree_.has(*path);
}

Result<std::unique_ptr<BlobWriter>> BlobWriter::create(const std::string& path, bool deduplicate) {
  std::unique_ptr<BlobWriter> writer(new BlobWriter);
  writer->path_ = path;
  writer->deduplicate_ = deduplicate;
  writer->fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (writer->fd_ < 0) return resource_error(std::string("cannot create: ") + std::strerror(errno)).in_path(path);
  return writer;
}

Result<std::unique_ptr<BlobWriter>> BlobWriter::create_temporary(bool deduplicate) {
  const char* directory = std::getenv("TMPDIR");
  std::string path = std::string(directory && *directory ? directory : "/tmp") + "/mltools.XXXXXX";
  std::unique_ptr<BlobWriter> writer(new BlobWriter);
  writer->deduplicate_ = deduplicate;
  writer->fd_ = ::mkostemp(path.data(), O_CLOEXEC);
  if (writer->fd_ < 0) return resource_error(std::string("cannot create: ") + std::strerror(errno)).in_path(path);
  ::unlink(path.c_str());
  writer->path_ = "temporary weight file";
  return writer;
}

BlobWriter::~BlobWriter() {
  if (fd_ >= 0) ::close(fd_);
}

Status BlobWriter::put(uint64_t offset, ByteSpan bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return resource_error(std::string("cannot write: ") + std::strerror(errno)).in_path(path_);
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Result<bool> BlobWriter::equals(uint64_t offset, ByteSpan data) {
  Bytes buffer(std::min<size_t>(data.size(), 1 << 20));
  while (!data.empty()) {
    ssize_t n = ::pread(fd_, buffer.data(), std::min(buffer.size(), data.size()), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return resource_error("cannot read back").in_path(path_);
    if (std::memcmp(buffer.data(), data.data(), static_cast<size_t>(n)) != 0) return false;
    offset += static_cast<uint64_t>(n);
    data = data.subspan(static_cast<size_t>(n));
  }
  return true;
}

Result<uint64_t> BlobWriter::add(DType dtype, uint64_t elements, ByteSpan data) {
  return store(dtype, elements, data.size(), deduplicate_ ? fingerprint(dtype, data) : 0, [&](uint64_t at) { return equals(at, data); },
             [&](uint64_t at) { return put(at, data); });
}

Result<uint64_t> BlobWriter::add_tensor(const Tensor& t) {
  if (!t.deferred()) return add(t.dtype(), static_cast<uint64_t>(t.size()), t.bytes());
  return store(t.dtype(), static_cast<uint64_t>(t.size()), static_cast<uint64_t>(t.nbytes()), deduplicate_ ? fingerprint(t) : 0,
             [&](uint64_t at) { return equals_deferred(at, t); }, [&](uint64_t at) { return put_deferred(at, t); });
}

Result<uint64_t> BlobWriter::store(DType dtype, uint64_t elements, uint64_t bytes, uint64_t hash, FunctionRef<Result<bool>(uint64_t)> equal,
                                 FunctionRef<Status(uint64_t)> write) {
  constexpr int kTries = 32;  // what only looks equal shall not be compared for ever
  std::optional<uint32_t> code = blob_code(dtype);
  if (!code) return unsupported_error(fmt::format("blob storage has no code for {}", dtype_name(dtype)));
  uint64_t bits = 0;
  if (!checked_mul(elements, static_cast<uint64_t>(dtype_bits(dtype)), &bits) || (bits + 7) / 8 != bytes)
    return usage_error(fmt::format("{} elements of {} do not take {} bytes", elements, dtype_name(dtype), bytes));
  if (fd_ < 0) return usage_error("weight file is finished");
  int tries = 0;
  for (auto [it, end] = seen_.equal_range(hash); deduplicate_ && it != end && tries < kTries; ++it) {
    const Seen& old = it->second;
    if (old.dtype != dtype || old.elements != elements) continue;
    MLT_ASSIGN(bool same, equal(old.record_offset + kRecordSize));
    if (same) return old.record_offset;
    ++tries;
  }
  uint64_t at = align_up(end_);
  Record record{kSentinel, *code, bytes, at + kRecordSize, is_sub_byte(dtype) ? bytes * 8 - bits : 0, {}};
  MLT_TRY(put(at, std::as_bytes(std::span(&record, 1))));
  MLT_TRY(write(at + kRecordSize));
  end_ = at + kRecordSize + bytes;
  count_++;
  if (deduplicate_) seen_.emplace(hash, Seen{dtype, elements, bytes, at});
  return at;
}

namespace {

// Elements of a deferred tensor that are made at once: whole pieces, about a megabyte.
int64_t step_of(const Tensor& t) {
  int64_t piece = std::max<int64_t>(t.deferred()->piece(), 1), width = dtype_bits(t.dtype()) / 8;
  return std::max<int64_t>(1, (1 << 20) / (piece * width)) * piece;
}

}  // namespace

// Threads make pieces and write them where they belong: while one copies into the file, another computes.
Status BlobWriter::put_deferred(uint64_t offset, const Tensor& t) {
  int64_t step = step_of(t), steps = (t.size() + step - 1) / step;
  auto width = static_cast<uint64_t>(dtype_bits(t.dtype()) / 8);
  std::mutex mutex;
  Status status;
  parallel_for(steps, 1, [&](int64_t from, int64_t to) {
    Bytes buffer(static_cast<size_t>(std::min(step, t.size())) * width);
    for (int64_t i = from; i < to; ++i) {
      int64_t begin = i * step, end = std::min(t.size(), begin + step);
      read_elements(t, begin, end, buffer.data());
      Status written = put(offset + static_cast<uint64_t>(begin) * width, ByteSpan(buffer.data(), static_cast<size_t>(end - begin) * width));
      if (written.ok()) continue;
      std::lock_guard lock(mutex);
      status = std::move(written);
      return;
    }
  });
  return status;
}

Result<bool> BlobWriter::equals_deferred(uint64_t offset, const Tensor& t) {
  int64_t step = step_of(t);
  auto width = static_cast<uint64_t>(dtype_bits(t.dtype()) / 8);
  Bytes buffer(static_cast<size_t>(std::min(step, t.size())) * width);
  for (int64_t begin = 0; begin < t.size(); begin += step) {
    int64_t end = std::min(t.size(), begin + step);
    read_elements(t, begin, end, buffer.data());
    MLT_ASSIGN(bool same, equals(offset + static_cast<uint64_t>(begin) * width, ByteSpan(buffer.data(), static_cast<size_t>(end - begin) * width)));
    if (!same) return false;
  }
  return true;
}

Result<Blob> BlobWriter::finish() {
  if (fd_ < 0) return usage_error("weight file is finished");
  Header header{count_, 2, {}};
  MLT_TRY(put(0, std::as_bytes(std::span(&header, 1))));
  // Through /proc, because a temporary file has no name.
  MLT_ASSIGN(Blob mapped, map_file("/proc/self/fd/" + std::to_string(fd_)));
  if (::close(std::exchange(fd_, -1)) != 0)
    return resource_error(std::string("cannot write: ") + std::strerror(errno)).in_path(path_);
  return mapped;
}

}  // namespace mlt
