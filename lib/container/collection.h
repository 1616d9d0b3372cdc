// Model collections: several models that an app downloads together, each in variants for different devices. On disk a
// directory with manifest.json and one .mlarchive per variant.
//
// The source is a JSON file that a person writes; paths are relative to it:
//   {"identifier": "Camera",
//    "models": [{"identifier": "detector",
//                "variants": [{"model": "large.mlpackage",
//                              "when": {"deviceClass": ["mac", "ipad"], "osVersion": {"atLeast": "17.0", "below": "20"},
//                                       "region": ["DE", "AT"], "language": ["de"], "appVersion": {"atLeast": "2.1"}}},
//                             {"model": "small.mlpackage"}]}]}
// The keys of "when" are what Apple's model deployment could tell devices apart by. All of them must hold; of a list,
// one entry. The first variant that fits is the device's; one without "when" fits every device.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace mlt {

struct VersionRange {
  std::string at_least, below;  // empty: no bound; below is excluded
};

struct TargetingRule {
  std::vector<std::string> device_classes, regions, languages;  // empty: any
  VersionRange os_version, app_version;
  bool any() const;  // fits every device
};

struct CollectionVariant {
  std::string path;  // source: of the model; packed: the archive's name in the directory
  TargetingRule rule;
  std::string sha256;  // packed: of the archive, hexadecimal
  uint64_t bytes = 0;  // packed
};

struct CollectionModel {
  std::string identifier;
  std::vector<CollectionVariant> variants;
};

struct Collection {
  std::string identifier;
  std::vector<CollectionModel> models;
};

// What a rule asks a device; empty: not known, and a rule about it does not fit.
struct DeviceFacts {
  std::string device_class, os_version, region, language, app_version;
};

// kInput: not JSON, unknown keys, versions or classes that are none, a variant that nothing can reach, two models of one
// identifier. `packed`: the manifest of a directory, else the source.
Result<Collection> parse_collection(std::string_view text, bool packed);
// The manifest of a packed collection.
std::string collection_manifest(const Collection& collection);
// "detector-0.mlarchive"
std::string archive_name(const CollectionModel& model, size_t variant);

// Sets a fact by its name in rules ("osVersion"); kUsage for another name or a value that is none.
Status set_fact(DeviceFacts& device, std::string_view name, std::string_view value);
// Why a variant is not for a device, one reason per key; empty when it is.
std::vector<std::string> mismatches(const TargetingRule& rule, const DeviceFacts& device);
// Index of the variant that a device gets.
std::optional<size_t> variant_for(const CollectionModel& model, const DeviceFacts& device);

// A directory with the manifest of a collection; nullopt for anything else, kInput for one that is damaged.
Result<std::optional<Collection>> open_collection(const std::string& directory);
// Archives that are not there, or not what the manifest says, one line each.
Result<std::vector<std::string>> check_archives(const Collection& collection, const std::string& directory);

// The models, their variants and rules.
std::string collection_text(const Collection& collection);
// Which archive of every model a device gets, and why not those before it.
std::string selection_text(const Collection& collection, const DeviceFacts& device);
std::string selection_json(const Collection& collection, const std::string& directory, const DeviceFacts& device);

// SHA-256 of bytes as 64 hexadecimal digits.
class ArchiveDigest {
 public:
  ArchiveDigest();
  ~ArchiveDigest();
  ArchiveDigest(const ArchiveDigest&) = delete;
  void update(const void* data, size_t size);
  std::string finish();

 private:
  struct State;
  State* state_;
};

}  // namespace mlt
