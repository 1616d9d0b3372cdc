#include "lib/crypt/stream.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "lib/base/threads.h"

namespace mlt::crypt {
namespace {

constexpr size_t kBatch = 32;  // chunks in memory at a time: 2 MiB in, 2 MiB out

Nonce chunk_nonce(uint64_t number, bool last) {
  Nonce nonce{};
  for (int i = 0; i < 8; ++i)
    nonce[static_cast<size_t>(10 - i)] = static_cast<std::byte>(number >> (8 * i) & 0xff);
  nonce[11] = static_cast<std::byte>(last ? 1 : 0);
  return nonce;
}

Key payload_key(const FileKey& file_key, ByteSpan nonce) { return hkdf_sha256(file_key, nonce, "payload"); }

// Seals the chunks of `plain`, the first of which has number `first`; ended says that the last one is the
// last of all.
void seal_chunks(const Key& key, ByteSpan plain, uint64_t first, bool ended, std::byte* out) {
  size_t count = std::max<size_t>(1, (plain.size() + kChunkSize - 1) / kChunkSize);
  parallel_for(static_cast<int64_t>(count), 4, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      ByteSpan chunk = plain.subspan(i * kChunkSize, std::min(kChunkSize, plain.size() - i * kChunkSize));
      aead_seal(key, chunk_nonce(first + i, ended && i + 1 == count), chunk, out + i * kSealedChunkSize);
    }
  });
}

// What is not authentic to its last byte cannot be opened, as with a wrong key.
Error broken(const char* why) { return make_error(Code::kKey, why); }

struct Opened {
  size_t size = 0;  // bytes of authentic content at the head of the output
  const char* error = nullptr;
};

// The reverse. Room for sealed.size() bytes in out is enough. sealed is not empty.
Opened open_chunks(const Key& key, ByteSpan sealed, uint64_t first, bool ended, std::byte* out) {
  size_t count = (sealed.size() + kSealedChunkSize - 1) / kSealedChunkSize;
  size_t tail = sealed.size() - (count - 1) * kSealedChunkSize;
  const char* tail_error = nullptr;
  if (tail < kTagSize)
    tail_error = "file ends early";
  else if (tail == kTagSize && first + count > 1)
    tail_error = "the last chunk is empty";
  size_t whole = tail_error != nullptr ? count - 1 : count;
  std::atomic<size_t> failed{whole};
  parallel_for(static_cast<int64_t>(whole), 4, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      ByteSpan chunk = sealed.subspan(i * kSealedChunkSize,
                                      std::min(kSealedChunkSize, sealed.size() - i * kSealedChunkSize));
      if (aead_open(key, chunk_nonce(first + i, ended && i + 1 == count), chunk, out + i * kChunkSize))
        continue;
      size_t before = failed.load();
      while (i < before && !failed.compare_exchange_weak(before, i)) {
      }
    }
  });
  size_t good = failed.load();
  if (good < whole)
    return {good * kChunkSize, "authentication failed: the file is damaged, truncated or was changed"};
  if (tail_error != nullptr) return {good * kChunkSize, tail_error};
  return {sealed.size() - count * kTagSize, nullptr};
}

// Memory for opened content: page aligned, not in core dumps, given back to the system at once when done
// with.
class Pages {
 public:
  static Result<std::shared_ptr<Pages>> create(size_t size) {
    auto pages = std::make_shared<Pages>();
    pages->size_ = std::max<size_t>(size, 1);
    void* address = ::mmap(nullptr, pages->size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED) return resource_error("not enough memory for the opened file");
    pages->address_ = address;
    (void)::madvise(address, pages->size_, MADV_DONTDUMP);
    return pages;
  }
  Pages() = default;
  Pages(const Pages&) = delete;
  ~Pages() {
    if (address_ != nullptr) ::munmap(address_, size_);
  }
  std::byte* data() { return static_cast<std::byte*>(address_); }

 private:
  void* address_ = nullptr;
  size_t size_ = 0;
};

}  // namespace

PayloadSealer::PayloadSealer(const FileKey& file_key, Sink sink)
    : sink_(std::move(sink)), in_(kBatch * kChunkSize), out_(kBatch * kSealedChunkSize) {
  random_bytes(nonce_.data(), nonce_.size());
  key_ = payload_key(file_key, nonce_);
}

Status PayloadSealer::flush(bool last) {
  if (!started_) MLT_TRY(sink_(nonce_));
  started_ = true;
  size_t count = std::max<size_t>(1, (held_ + kChunkSize - 1) / kChunkSize);
  seal_chunks(key_, ByteSpan(in_).first(held_), number_, last, out_.data());
  number_ += count;
  size_t size = held_ + count * kTagSize;
  held_ = 0;
  return sink_(ByteSpan(out_).first(size));
}

Status PayloadSealer::write(ByteSpan plain) {
  while (!plain.empty()) {
    // A full buffer waits for what follows it: only then is it known not to hold the last chunk.
    if (held_ == in_.size()) MLT_TRY(flush(false));
    size_t n = std::min(plain.size(), in_.size() - held_);
    std::memcpy(in_.data() + held_, plain.data(), n);
    held_ += n;
    plain = plain.subspan(n);
  }
  return {};
}

Status PayloadSealer::finish() { return flush(true); }

Status open_payload(const FileKey& file_key, Buffered& sealed, const Sink& sink) {
  std::array<std::byte, kPayloadNonceSize> nonce;
  MLT_ASSIGN(size_t nonce_size, sealed.read_full(nonce));
  if (nonce_size != nonce.size()) return broken("file ends early");
  Key key = payload_key(file_key, nonce);
  Bytes in(kBatch * kSealedChunkSize + 1), out(kBatch * kChunkSize);
  size_t held = 0;
  for (uint64_t number = 0;; number += kBatch) {
    MLT_ASSIGN(size_t n, sealed.read_full(std::span(in).subspan(held)));
    held += n;
    if (held == 0) return broken("file ends early");
    bool ended = held < in.size();
    size_t size = std::min(held, in.size() - 1);
    Opened opened = open_chunks(key, ByteSpan(in).first(size), number, ended, out.data());
    if (opened.size != 0) MLT_TRY(sink(ByteSpan(out).first(opened.size)));
    if (opened.error != nullptr) return broken(opened.error);
    if (ended) break;
    in[0] = in[size];
    held = 1;
  }
  return {};
}

Result<Blob> open_payload_bytes(const FileKey& file_key, ByteSpan sealed) {
  if (sealed.size() < kPayloadNonceSize + kTagSize) return broken("file ends early");
  Key key = payload_key(file_key, sealed.first(kPayloadNonceSize));
  sealed = sealed.subspan(kPayloadNonceSize);
  MLT_ASSIGN(std::shared_ptr<Pages> pages, Pages::create(sealed.size()));
  Opened opened = open_chunks(key, sealed, 0, true, pages->data());
  if (opened.error != nullptr) return broken(opened.error);
  ByteSpan content(pages->data(), opened.size);
  return Blob(std::move(pages), content);
}

Result<std::shared_ptr<const RandomAccess>> open_payload_random(const FileKey& file_key, Blob sealed) {
  class Reader : public RandomAccess {
   public:
    Reader(Key key, Blob chunks, uint64_t size) : key_(std::move(key)), chunks_(std::move(chunks)), size_(size) {}
    uint64_t size() const override { return size_; }
    Result<Blob> read(uint64_t offset, uint64_t size) const override {
      if (offset > size_ || size > size_ - offset) return input_error("file ends early");
      if (size == 0) return Blob();
      uint64_t first = offset / kChunkSize, end = (offset + size - 1) / kChunkSize + 1;
      MLT_ASSIGN(std::shared_ptr<Pages> pages, chunks(first, end));
      ByteSpan part(pages->data() + (offset - first * kChunkSize), size);
      return Blob(std::move(pages), part);
    }
    Result<std::shared_ptr<Pages>> chunks(uint64_t first, uint64_t end) const {
      uint64_t from = first * kSealedChunkSize;
      uint64_t to = std::min<uint64_t>(end * kSealedChunkSize, chunks_.size());
      MLT_ASSIGN(std::shared_ptr<Pages> pages, Pages::create(to - from));
      ByteSpan part = chunks_.bytes().subspan(from, to - from);
      Opened opened = open_chunks(key_, part, first, to == chunks_.size(), pages->data());
      if (opened.error != nullptr) return broken(opened.error);
      return pages;
    }

   private:
    Key key_;
    Blob chunks_;
    uint64_t size_;
  };
  MLT_ASSIGN(uint64_t size, content_size(sealed.size()));
  Key key = payload_key(file_key, sealed.bytes().first(kPayloadNonceSize));
  auto reader = std::make_shared<Reader>(std::move(key), sealed.sub(kPayloadNonceSize, sealed.size() - kPayloadNonceSize), size);
  uint64_t count = size == 0 ? 1 : (size + kChunkSize - 1) / kChunkSize;
  MLT_TRY(reader->chunks(count - 1, count));
  return std::shared_ptr<const RandomAccess>(std::move(reader));
}

Result<uint64_t> content_size(uint64_t payload_size) {
  if (payload_size < kPayloadNonceSize + kTagSize) return broken("file ends early");
  uint64_t sealed = payload_size - kPayloadNonceSize;
  uint64_t count = (sealed + kSealedChunkSize - 1) / kSealedChunkSize;
  uint64_t tail = sealed - (count - 1) * kSealedChunkSize;
  if (tail < kTagSize) return broken("file ends early");
  if (tail == kTagSize && count > 1) return broken("the last chunk is empty");
  return sealed - count * kTagSize;
}

}  // namespace mlt::crypt
