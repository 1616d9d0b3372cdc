// The file: a header of 64 bytes (magic, then offset and size of the index as little-endian 64-bit numbers), forms at
// multiples of 64 bytes with kSlack bytes behind each, and an index in JSON: what the file is for, and for each form its
// name, offset and size.
#include "lib/runtime/packed_file.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
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

constexpr std::string_view kMagic = "mltpack1";
constexpr uint64_t kHeader = 64;

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

class KeptForms : public PackedForms {
 public:
  struct Place {
    uint64_t offset = 0, size = 0;
  };
  KeptForms(Blob blob, std::map<std::string, Place, std::less<>> places) : blob_(std::move(blob)), places_(std::move(places)) {}
  const std::byte* find(const std::string& name, size_t size, std::shared_ptr<const void>* owner) override {
    auto it = places_.find(name);
    if (it == places_.end() || it->second.size != size) return nullptr;
    *owner = blob_.owner();
    return blob_.bytes().data() + it->second.offset;
  }
  Status made(const std::string&, const AlignedBuffer&) override { return {}; }

 private:
  Blob blob_;
  std::map<std::string, Place, std::less<>> places_;
};

class FormWriter : public PackedForms {
 public:
  explicit FormWriter(AtomicFile& out) : out_(out) {}
  const std::byte* find(const std::string&, size_t, std::shared_ptr<const void>*) override { return nullptr; }
  Status made(const std::string& name, const AlignedBuffer& form) override {
    const uint64_t hash = XXH3_64bits(form.data<std::byte>(), form.bytes());
    auto [it, added] = forms_.try_emplace(name, Form{{end_, form.bytes()}, hash});
    if (!added) {
      // Two constants of one name: neither is told from the other.
      if (it->second.hash != hash || it->second.place.size != form.bytes()) ambiguous_.insert(name);
      return {};
    }
    MLT_TRY(out_.write_at(end_, {form.data<std::byte>(), form.bytes()}));
    end_ += align_up(form.bytes() + kSlack);
    return {};
  }
  Result<size_t> finish(const std::string& contents) {
    nlohmann::ordered_json index{{"revision", kPackedRevision}, {"target", kernel_target()}, {"contents", contents}, {"forms", nlohmann::ordered_json::array()}};
    size_t count = 0;
    for (const auto& [name, form] : forms_) {
      if (ambiguous_.contains(name)) continue;
      index["forms"].push_back({name, form.place.offset, form.place.size});
      ++count;
    }
    const std::string text = index.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    std::string header(kHeader, '\0');
    const uint64_t place[2] = {end_, text.size()};
    std::memcpy(header.data(), kMagic.data(), kMagic.size());
    for (size_t i = 0; i < 16; ++i) header[8 + i] = static_cast<char>(place[i / 8] >> (8 * (i % 8)));
    MLT_TRY(out_.write_at(0, as_bytes(header)));
    MLT_TRY(out_.write_at(end_, as_bytes(text)));
    return count;
  }

 private:
  struct Form {
    KeptForms::Place place;
    uint64_t hash;
  };
  AtomicFile& out_;
  uint64_t end_ = kHeader;
  std::map<std::string, Form> forms_;
  std::set<std::string> ambiguous_;
};

uint64_t number_at(ByteSpan bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value |= std::to_integer<uint64_t>(bytes[at + i]) << (8 * i);
  return value;
}

}  // namespace

namespace {

std::shared_ptr<PackedForms> open_for(const FileTree& files, const std::string& target) {
  const std::string name = std::string(kPackedPrefix) + target;
  if (!files.has(name)) return nullptr;
  auto blob = files.open(name);
  if (!blob) return nullptr;
  const ByteSpan bytes = blob->bytes();
  // Kernels need the alignment, which an archive does not give.
  if (bytes.size() < kHeader || blob->text().substr(0, 8) != kMagic || reinterpret_cast<uintptr_t>(bytes.data()) % kAlignment != 0) return nullptr;
  const uint64_t at = number_at(bytes, 8), size = number_at(bytes, 16);
  if (at < kHeader || at > bytes.size() || size != bytes.size() - at) return nullptr;
  try {
    const auto index = nlohmann::json::parse(blob->text().substr(at, size), nullptr, false);
    auto text = [&](const char* key) {
      auto it = index.find(key);
      return it != index.end() && it->is_string() ? it->get<std::string>() : std::string();
    };
    if (!index.is_object() || text("revision") != kPackedRevision || text("target") != target) return nullptr;
    auto forms = index.find("forms");
    if (forms == index.end() || !forms->is_array()) return nullptr;
    std::map<std::string, KeptForms::Place, std::less<>> places;
    for (const auto& form : *forms) {
      if (!form.is_array() || form.size() != 3 || !form[0].is_string() || !form[1].is_number_unsigned() || !form[2].is_number_unsigned()) return nullptr;
      const KeptForms::Place place{form[1].get<uint64_t>(), form[2].get<uint64_t>()};
      if (place.offset < kHeader || place.offset % kAlignment != 0 || place.offset > at || place.size > at - place.offset || at - place.offset - place.size < kSlack) return nullptr;
      if (!places.emplace(form[0].get<std::string>(), place).second) return nullptr;
    }
    auto contents = contents_of(files);
    if (!contents || text("contents") != *contents) return nullptr;
    return std::make_shared<KeptForms>(*blob, std::move(places));
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

Result<size_t> write_packed(const std::string& directory) {
  MLT_ASSIGN(OpenedModel model, open_model(directory));
  MLT_ASSIGN(std::string contents, contents_of(model.files));  // before there is a file more
  MLT_ASSIGN(AtomicFile file, AtomicFile::create(directory + "/" + std::string(kPackedPrefix) + kernel_target()));
  auto writer = std::make_shared<FormWriter>(file);
  PredictOptions options;
  options.exec.packed = writer;
  MLT_ASSIGN(auto predictor, Predictor::create(model, options));
  if (Status ready = predictor->prepare(); !ready) return std::move(ready).error().in_path(model.origin);
  MLT_ASSIGN(size_t forms, writer->finish(contents));
  MLT_TRY(file.commit());
  return forms;
}

}  // namespace mlt
