// The file: a header of 64 bytes (magic, then offset, size and hash of the index as little-endian 64-bit numbers), forms
// at multiples of 64 bytes with kSlack bytes behind each, and an index in JSON: what the file is for, and for each form
// its name, offset, size and hash.
#include "lib/runtime/packed_file.h"

#define XXH_INLINE_ALL
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/mapped.h"
#include "lib/base/threads.h"
#include "lib/container/open.h"
#include "lib/kernels/target.h"
#include "lib/runtime/packed_revision.h"
#include "lib/runtime/predictor.h"

namespace mlt {
namespace {

constexpr std::string_view kMagic = "mltpack2";
constexpr uint64_t kHeader = 64;
constexpr int64_t kSecond = 1'000'000'000;  // in nanoseconds

// Of pieces, on all threads. Of weights that are read for nothing else no more stays in memory than a piece of each.
XXH128_hash_t hash_of(ByteSpan bytes) {
  constexpr size_t kPiece = size_t{4} << 20;
  std::vector<XXH128_hash_t> pieces((bytes.size() + kPiece - 1) / kPiece);
  parallel_for(static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const ByteSpan piece = bytes.subspan(i * kPiece, std::min(kPiece, bytes.size() - i * kPiece));
      pieces[i] = XXH3_128bits(piece.data(), piece.size());
      if (pieces.size() > 1) forget_mapped(piece);
    }
  });
  return XXH3_128bits(pieces.data(), pieces.size() * sizeof(XXH128_hash_t));
}

uint64_t number_at(ByteSpan bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value |= std::to_integer<uint64_t>(bytes[at + i]) << (8 * i);
  return value;
}

void put_number(std::string& bytes, size_t at, uint64_t value) {
  for (size_t i = 0; i < 8; ++i) bytes[at + i] = static_cast<char>(value >> (8 * i));
}

// Of the index and of what the header says of it.
uint64_t index_hash(ByteSpan header, std::string_view index) { return XXH3_64bits_withSeed(index.data(), index.size(), XXH3_64bits(header.data(), 24)); }

// Names, sizes and hashes of all files but those that hold forms.
Result<std::string> contents_of(const FileTree& files) {
  MLT_ASSIGN(std::vector<std::string> names, files.names());
  std::string text;
  for (const std::string& name : names) {
    if (name.starts_with(kPackedPrefix)) continue;
    MLT_ASSIGN(Blob blob, files.open(name));
    const XXH128_hash_t hash = hash_of(blob.bytes());
    text += name + " " + std::to_string(blob.size()) + " " + std::to_string(hash.high64) + " " + std::to_string(hash.low64) + "\n";
  }
  const XXH128_hash_t all = XXH3_128bits(text.data(), text.size());
  return std::to_string(all.high64) + " " + std::to_string(all.low64);
}

// Sizes and times of the same files. Nothing where files have no times: in an archive, in memory.
std::optional<std::string> stamps_of(const FileTree& files) {
  auto names = files.names();
  if (!names) return std::nullopt;
  std::string text;
  for (const std::string& name : *names) {
    if (name.starts_with(kPackedPrefix)) continue;
    auto blob = files.open(name);
    if (!blob) return std::nullopt;
    FileStamp stamp;
    if (blob->size() > 0) {
      const std::optional<FileStamp> known = stamp_of_mapped(blob->bytes());
      if (!known) return std::nullopt;
      stamp = *known;
    }
    text += name + " " + std::to_string(stamp.size) + " " + std::to_string(stamp.modified) + " " + std::to_string(stamp.changed) + "\n";
  }
  return text;
}

// The nanoseconds that say that a file with this index, and the files with these stamps, are as they were.
int64_t seal_of(uint64_t index, const std::string& stamps) {
  return static_cast<int64_t>(XXH3_64bits_withSeed(stamps.data(), stamps.size(), index) % kSecond);
}

// Without success where somebody else owns the file: then it serves as it is.
void set_seal(int fd, int64_t nanoseconds) {
  struct stat info;
  if (::fstat(fd, &info) != 0) return;
  const bool later = nanoseconds > info.st_mtim.tv_nsec;  // a time that has not come yet makes others complain
  const timespec times[2] = {info.st_atim, {info.st_mtim.tv_sec - (later ? 1 : 0), static_cast<long>(nanoseconds)}};
  ::futimens(fd, times);
}

struct FormPlace {
  uint64_t offset = 0, size = 0, hash = 0;
};

class KeptForms : public PackedForms {
 public:
  // With `compare`, the contents are read and compared before they are used.
  KeptForms(Blob blob, std::map<std::string, FormPlace, std::less<>> places, uint64_t index, bool compare)
      : blob_(std::move(blob)), places_(std::move(places)), index_(index), compare_(compare) {}
  const std::byte* find(const std::string& name, size_t size, std::shared_ptr<const void>* owner) override {
    auto it = places_.find(name);
    if (it == places_.end() || it->second.size != size || (compare_ && !whole(it->second))) return nullptr;
    *owner = blob_.owner();
    return blob_.bytes().data() + it->second.offset;
  }
  Status made(const std::string&, const AlignedBuffer&) override { return {}; }
  bool all_whole() const {
    return std::all_of(places_.begin(), places_.end(), [&](const auto& place) { return whole(place.second); });
  }
  uint64_t index() const { return index_; }

 private:
  bool whole(const FormPlace& place) const { return XXH3_64bits(blob_.bytes().data() + place.offset, place.size) == place.hash; }
  Blob blob_;
  std::map<std::string, FormPlace, std::less<>> places_;
  uint64_t index_;
  bool compare_;
};

class FormWriter : public PackedForms {
 public:
  explicit FormWriter(AtomicFile& out) : out_(out) {}
  const std::byte* find(const std::string&, size_t, std::shared_ptr<const void>*) override { return nullptr; }
  Status made(const std::string& name, const AlignedBuffer& form) override {
    const uint64_t hash = XXH3_64bits(form.data<std::byte>(), form.bytes());
    auto [it, added] = forms_.try_emplace(name, FormPlace{end_, form.bytes(), hash});
    if (!added) {
      // Two constants of one name: neither is told from the other.
      if (it->second.hash != hash || it->second.size != form.bytes()) ambiguous_.insert(name);
      return {};
    }
    MLT_TRY(out_.write_at(end_, {form.data<std::byte>(), form.bytes()}));
    end_ += align_up(form.bytes() + kSlack);
    return {};
  }
  Result<size_t> finish(const std::string& contents, const std::optional<std::string>& stamps) {
    nlohmann::ordered_json index{{"revision", kPackedRevision}, {"target", kernel_target()}, {"contents", contents}, {"forms", nlohmann::ordered_json::array()}};
    size_t count = 0;
    for (const auto& [name, form] : forms_) {
      if (ambiguous_.contains(name)) continue;
      index["forms"].push_back({name, form.offset, form.size, form.hash});
      ++count;
    }
    const std::string text = index.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    std::string header(kHeader, '\0');
    std::memcpy(header.data(), kMagic.data(), kMagic.size());
    put_number(header, 8, end_);
    put_number(header, 16, text.size());
    const uint64_t hash = index_hash(as_bytes(header), text);
    put_number(header, 24, hash);
    MLT_TRY(out_.write_at(0, as_bytes(header)));
    MLT_TRY(out_.write_at(end_, as_bytes(text)));
    if (stamps) set_seal(out_.fd(), seal_of(hash, *stamps));
    return count;
  }

 private:
  AtomicFile& out_;
  uint64_t end_ = kHeader;
  std::map<std::string, FormPlace> forms_;
  std::set<std::string> ambiguous_;
};

std::shared_ptr<KeptForms> open_for(const FileTree& files, const std::string& target, bool compare = false) {
  const std::string name = std::string(kPackedPrefix) + target;
  if (!files.has(name)) return nullptr;
  auto blob = files.open(name);
  if (!blob) return nullptr;
  const ByteSpan bytes = blob->bytes();
  // Kernels need the alignment, which an archive does not give.
  if (bytes.size() < kHeader || blob->text().substr(0, 8) != kMagic || reinterpret_cast<uintptr_t>(bytes.data()) % kAlignment != 0) return nullptr;
  const uint64_t at = number_at(bytes, 8), size = number_at(bytes, 16);
  if (at < kHeader || at > bytes.size() || size != bytes.size() - at) return nullptr;
  const uint64_t hash = number_at(bytes, 24);
  if (hash != index_hash(bytes.first(kHeader), blob->text().substr(at))) return nullptr;
  try {
    const auto index = nlohmann::json::parse(blob->text().substr(at), nullptr, false);
    auto text = [&](const char* key) {
      auto it = index.find(key);
      return it != index.end() && it->is_string() ? it->get<std::string>() : std::string();
    };
    if (!index.is_object() || text("revision") != kPackedRevision || text("target") != target) return nullptr;
    auto forms = index.find("forms");
    if (forms == index.end() || !forms->is_array()) return nullptr;
    std::map<std::string, FormPlace, std::less<>> places;
    for (const auto& form : *forms) {
      if (!form.is_array() || form.size() != 4 || !form[0].is_string()) return nullptr;
      for (size_t i = 1; i < 4; ++i)
        if (!form[i].is_number_unsigned()) return nullptr;
      const FormPlace place{form[1].get<uint64_t>(), form[2].get<uint64_t>(), form[3].get<uint64_t>()};
      if (place.offset < kHeader || place.offset % kAlignment != 0 || place.offset > at || place.size > at - place.offset || at - place.offset - place.size < kSlack) return nullptr;
      if (!places.emplace(form[0].get<std::string>(), place).second) return nullptr;
    }
    const std::optional<FileStamp> stamp = stamp_of_mapped(bytes);
    const std::optional<std::string> stamps = stamp ? stamps_of(files) : std::nullopt;
    if (!stamps || seal_of(hash, *stamps) != (stamp->modified % kSecond + kSecond) % kSecond) compare = true;
    if (compare) {
      auto contents = contents_of(files);
      if (!contents || text("contents") != *contents) return nullptr;
    }
    return std::make_shared<KeptForms>(*blob, std::move(places), hash, compare);
  } catch (const std::exception&) {  // memory
    return nullptr;
  }
}

}  // namespace

std::shared_ptr<PackedForms> open_packed(const FileTree& files) {
  const std::string target = kernel_target();
  std::shared_ptr<PackedForms> forms = open_for(files, target);
  // Of the families whose forms are kept only low-bit products are compiled for avx3_dl (target.cc), under names of their
  // own: the others' are those of avx3.
  if (forms == nullptr && target == "avx3_dl") forms = open_for(files, "avx3");
  return forms;
}

bool renew_packed(const std::string& directory) {
  const FileTree files = FileTree::from_directory(directory);
  const std::string target = kernel_target();
  auto forms = open_for(files, target, true);
  if (forms == nullptr || !forms->all_whole()) return false;
  const std::optional<std::string> stamps = stamps_of(files);
  const int fd = ::open((directory + "/" + std::string(kPackedPrefix) + target).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd >= 0 && stamps) set_seal(fd, seal_of(forms->index(), *stamps));
  if (fd >= 0) ::close(fd);
  return true;
}

Result<size_t> write_packed(const std::string& directory) {
  MLT_ASSIGN(OpenedModel model, open_model(directory));
  // Before there is a file more.
  MLT_ASSIGN(std::string contents, contents_of(model.files));
  const std::optional<std::string> stamps = stamps_of(model.files);
  MLT_ASSIGN(AtomicFile file, AtomicFile::create(directory + "/" + std::string(kPackedPrefix) + kernel_target()));
  auto writer = std::make_shared<FormWriter>(file);
  PredictOptions options;
  options.exec.packed = writer;
  MLT_ASSIGN(auto predictor, Predictor::create(model, options));
  if (Status ready = predictor->prepare(); !ready) return std::move(ready).error().in_path(model.origin);
  MLT_ASSIGN(size_t forms, writer->finish(contents, stamps));
  MLT_TRY(file.commit());
  return forms;
}

}  // namespace mlt
