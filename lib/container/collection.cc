#include "lib/container/collection.h"

#include <fmt/core.h>
#include <sodium.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/base/file.h"
#include "lib/base/versions.h"

namespace mlt {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kMaxManifest = 4 << 20;
constexpr size_t kMaxVariants = 1000;
constexpr const char* kDeviceClasses[] = {"iphone", "ipad", "ipod", "mac", "appletv", "applewatch", "vision"};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// "de" takes "de" and "de-AT"; "de-AT" takes itself.
bool language_fits(std::string_view wanted, std::string_view given) {
  std::string a = lower(wanted), b = lower(given);
  std::replace(a.begin(), a.end(), '_', '-');
  std::replace(b.begin(), b.end(), '_', '-');
  return a == b || b.starts_with(a + "-");
}

Status check_keys(const json& object, std::initializer_list<const char*> known, const std::string& where) {
  if (!object.is_object()) return input_error(where + " is no object");
  for (const auto& item : object.items())
    if (std::none_of(known.begin(), known.end(), [&](const char* key) { return item.key() == key; }))
      return input_error(fmt::format("{}: unknown key \"{}\"", where, item.key()));
  return {};
}

Result<std::string> text_at(const json& object, const char* key, const std::string& where) {
  auto it = object.find(key);
  if (it == object.end() || !it->is_string() || it->get_ref<const std::string&>().empty()) return input_error(fmt::format("{}: \"{}\" is no text, or missing", where, key));
  return it->get<std::string>();
}

Status read_list(const json& rule, const char* key, const std::string& where, std::vector<std::string>& out) {
  auto it = rule.find(key);
  if (it == rule.end()) return {};
  json list = it->is_string() ? json::array({*it}) : *it;
  if (!list.is_array() || list.empty()) return input_error(fmt::format("{}: \"{}\" is no list", where, key));
  for (const json& item : list) {
    if (!item.is_string()) return input_error(fmt::format("{}: \"{}\" holds something else than text", where, key));
    out.push_back(item.get<std::string>());
  }
  return {};
}

Status read_range(const json& rule, const char* key, const std::string& where, VersionRange& out) {
  auto it = rule.find(key);
  if (it == rule.end()) return {};
  std::string at = fmt::format("{}: \"{}\"", where, key);
  MLT_TRY(check_keys(*it, {"atLeast", "below"}, at));
  if (it->empty()) return input_error(at + " has no bound");
  for (auto [name, target] : {std::pair{"atLeast", &out.at_least}, std::pair{"below", &out.below}}) {
    if (!it->contains(name)) continue;
    MLT_ASSIGN(*target, text_at(*it, name, at));
    if (!compare_versions(*target, "0")) return input_error(fmt::format("{}: \"{}\" is no version", at, *target));
  }
  if (!out.at_least.empty() && !out.below.empty() && compare_versions(out.at_least, out.below) >= 0) return input_error(at + ": no version fits");
  return {};
}

Result<TargetingRule> read_rule(const json& rule, const std::string& where) {
  TargetingRule out;
  MLT_TRY(check_keys(rule, {"deviceClass", "osVersion", "region", "language", "appVersion"}, where));
  MLT_TRY(read_list(rule, "deviceClass", where, out.device_classes));
  MLT_TRY(read_list(rule, "region", where, out.regions));
  MLT_TRY(read_list(rule, "language", where, out.languages));
  MLT_TRY(read_range(rule, "osVersion", where, out.os_version));
  MLT_TRY(read_range(rule, "appVersion", where, out.app_version));
  for (std::string& name : out.device_classes) {
    name = lower(name);
    if (std::find(std::begin(kDeviceClasses), std::end(kDeviceClasses), name) == std::end(kDeviceClasses))
      return input_error(fmt::format("{}: \"{}\" is no device class", where, name), "iphone, ipad, ipod, mac, appletv, applewatch or vision");
  }
  return out;
}

bool is_archive_name(const std::string& name) { return is_safe_relative_path(name) && name.find('/') == name.npos; }

Result<Collection> read_collection(const json& document, bool packed) {
  Collection out;
  if (packed) {
    MLT_TRY(check_keys(document, {"schema", "version", "identifier", "models"}, "the manifest"));
    if (document.value("schema", json()) != "mltools.collection") return input_error("is not the manifest of a model collection");
    if (document.value("version", json()) != 1) return unsupported_error("is a model collection of a later version");
  } else {
    MLT_TRY(check_keys(document, {"identifier", "models"}, "the collection"));
  }
  MLT_ASSIGN(out.identifier, text_at(document, "identifier", "the collection"));
  auto models = document.find("models");
  if (models == document.end() || !models->is_array() || models->empty()) return input_error("\"models\" is no list, or empty");
  std::set<std::string> taken;
  size_t count = 0;
  for (const json& item : *models) {
    CollectionModel model;
    std::string where = fmt::format("model {}", out.models.size());
    MLT_TRY(check_keys(item, {"identifier", "variants"}, where));
    MLT_ASSIGN(model.identifier, text_at(item, "identifier", where));
    where = fmt::format("model \"{}\"", model.identifier);
    // Part of file names.
    if (!is_archive_name(model.identifier)) return input_error(where + ": the identifier cannot be part of a file name");
    if (!taken.insert(lower(model.identifier)).second) return input_error(where + " is there twice");
    auto variants = item.find("variants");
    if (variants == item.end() || !variants->is_array() || variants->empty()) return input_error(where + ": \"variants\" is no list, or empty");
    for (const json& entry : *variants) {
      if (++count > kMaxVariants) return resource_error(fmt::format("more than {} variants", kMaxVariants));
      CollectionVariant variant;
      std::string at = fmt::format("{}, variant {}", where, model.variants.size());
      if (!model.variants.empty() && model.variants.back().rule.any()) return input_error(at + " is never reached: the one before it fits every device");
      if (packed) {
        MLT_TRY(check_keys(entry, {"archive", "bytes", "sha256", "when"}, at));
        MLT_ASSIGN(variant.path, text_at(entry, "archive", at));
        MLT_ASSIGN(variant.sha256, text_at(entry, "sha256", at));
        if (!is_archive_name(variant.path)) return input_error(fmt::format("{}: \"{}\" leaves the collection", at, variant.path));
        if (!entry.contains("bytes") || !entry["bytes"].is_number_unsigned()) return input_error(at + ": \"bytes\" is no number");
        variant.bytes = entry["bytes"].get<uint64_t>();
      } else {
        MLT_TRY(check_keys(entry, {"model", "when"}, at));
        MLT_ASSIGN(variant.path, text_at(entry, "model", at));
      }
      if (entry.contains("when")) {
        MLT_ASSIGN(variant.rule, read_rule(entry["when"], at));
      }
      model.variants.push_back(std::move(variant));
    }
    out.models.push_back(std::move(model));
  }
  return out;
}

ordered_json range_json(const VersionRange& range) {
  ordered_json out = ordered_json::object();
  if (!range.at_least.empty()) out["atLeast"] = range.at_least;
  if (!range.below.empty()) out["below"] = range.below;
  return out;
}

ordered_json rule_json(const TargetingRule& rule) {
  ordered_json out = ordered_json::object();
  if (!rule.device_classes.empty()) out["deviceClass"] = rule.device_classes;
  if (!range_json(rule.os_version).empty()) out["osVersion"] = range_json(rule.os_version);
  if (!rule.regions.empty()) out["region"] = rule.regions;
  if (!rule.languages.empty()) out["language"] = rule.languages;
  if (!range_json(rule.app_version).empty()) out["appVersion"] = range_json(rule.app_version);
  return out;
}

std::string dumped(const ordered_json& document) { return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n"; }

std::string joined(const std::vector<std::string>& items) {
  std::string out;
  for (const std::string& item : items) out += (out.empty() ? "" : ", ") + item;
  return out;
}

template <typename Fits>
void check_list(const char* key, const std::vector<std::string>& wanted, const std::string& given, Fits fits, std::vector<std::string>& out) {
  if (wanted.empty()) return;
  if (given.empty()) out.push_back(fmt::format("{} is not known", key));
  else if (std::none_of(wanted.begin(), wanted.end(), [&](const std::string& one) { return fits(one, given); }))
    out.push_back(fmt::format("{} {} is not {}", key, given, joined(wanted)));
}

void check_range(const char* key, const VersionRange& range, const std::string& given, std::vector<std::string>& out) {
  if (range.at_least.empty() && range.below.empty()) return;
  if (given.empty()) out.push_back(fmt::format("{} is not known", key));
  else if (!range.at_least.empty() && compare_versions(given, range.at_least) < 0) out.push_back(fmt::format("{} {} is less than {}", key, given, range.at_least));
  else if (!range.below.empty() && compare_versions(given, range.below) >= 0) out.push_back(fmt::format("{} {} is not below {}", key, given, range.below));
}

bool same_text(const std::string& a, const std::string& b) { return lower(a) == lower(b); }

}  // namespace

bool TargetingRule::any() const {
  return device_classes.empty() && regions.empty() && languages.empty() && os_version.at_least.empty() && os_version.below.empty() &&
         app_version.at_least.empty() && app_version.below.empty();
}

Result<Collection> parse_collection(std::string_view text, bool packed) {
  if (text.size() > kMaxManifest) return resource_error(fmt::format("the description of a collection has more than {} bytes", kMaxManifest));
  // Nested deeper than any rule is; a parser that recurses is not asked.
  int depth = 0;
  auto limit = [&](int at, json::parse_event_t, json&) { return depth = std::max(depth, at), at < 20; };
  json document = json::parse(text, limit, false);
  if (document.is_discarded() || depth >= 20) return input_error("is no JSON");
  return read_collection(document, packed);
}

std::string collection_manifest(const Collection& collection) {
  ordered_json out = {{"schema", "mltools.collection"}, {"version", 1}, {"identifier", collection.identifier}, {"models", ordered_json::array()}};
  for (const CollectionModel& model : collection.models) {
    ordered_json variants = ordered_json::array();
    for (const CollectionVariant& variant : model.variants) {
      ordered_json row = {{"archive", variant.path}, {"bytes", variant.bytes}, {"sha256", variant.sha256}};
      if (!variant.rule.any()) row["when"] = rule_json(variant.rule);
      variants.push_back(std::move(row));
    }
    out["models"].push_back({{"identifier", model.identifier}, {"variants", std::move(variants)}});
  }
  return dumped(out);
}

std::string archive_name(const CollectionModel& model, size_t variant) { return fmt::format("{}-{}.mlarchive", model.identifier, variant); }

Status set_fact(DeviceFacts& device, std::string_view name, std::string_view value) {
  if (value.empty()) return usage_error(fmt::format("{} has no value", name));
  if (name == "deviceClass") {
    device.device_class = lower(value);
    if (std::find(std::begin(kDeviceClasses), std::end(kDeviceClasses), device.device_class) == std::end(kDeviceClasses))
      return usage_error(fmt::format("\"{}\" is no device class", value), "iphone, ipad, ipod, mac, appletv, applewatch or vision");
  } else if (name == "osVersion" || name == "appVersion") {
    if (!compare_versions(value, "0")) return usage_error(fmt::format("{}: \"{}\" is no version", name, value));
    (name == "osVersion" ? device.os_version : device.app_version) = value;
  } else if (name == "region") {
    device.region = value;
  } else if (name == "language") {
    device.language = value;
  } else {
    return usage_error(fmt::format("\"{}\" is nothing that rules ask for", name), "deviceClass, osVersion, region, language or appVersion");
  }
  return {};
}

std::vector<std::string> mismatches(const TargetingRule& rule, const DeviceFacts& device) {
  std::vector<std::string> out;
  check_list("deviceClass", rule.device_classes, device.device_class, same_text, out);
  check_range("osVersion", rule.os_version, device.os_version, out);
  check_list("region", rule.regions, device.region, same_text, out);
  check_list("language", rule.languages, device.language, language_fits, out);
  check_range("appVersion", rule.app_version, device.app_version, out);
  return out;
}

std::optional<size_t> variant_for(const CollectionModel& model, const DeviceFacts& device) {
  for (size_t i = 0; i < model.variants.size(); ++i)
    if (mismatches(model.variants[i].rule, device).empty()) return i;
  return std::nullopt;
}

Result<std::optional<Collection>> open_collection(const std::string& directory) {
  std::string manifest = directory + "/manifest.json";
  // A package's is Manifest.json, which is the same file where case does not count.
  if (path_kind(directory) != PathKind::kDirectory || path_kind(manifest) != PathKind::kFile) return std::optional<Collection>{};
  MLT_ASSIGN(Blob text, map_file(manifest));
  if (text.text().substr(0, 4096).find("mltools.collection") == std::string_view::npos) return std::optional<Collection>{};
  MLT_ASSIGN(Collection collection, parse_collection(text.text(), true).in(manifest));
  return std::optional<Collection>(std::move(collection));
}

Result<std::vector<std::string>> check_archives(const Collection& collection, const std::string& directory) {
  std::vector<std::string> out;
  for (const CollectionModel& model : collection.models)
    for (const CollectionVariant& variant : model.variants) {
      std::string path = directory + "/" + variant.path;
      if (path_kind(path) != PathKind::kFile) {
        out.push_back(variant.path + ": missing");
        continue;
      }
      MLT_ASSIGN(Blob content, map_file(path));
      ArchiveDigest digest;
      digest.update(content.bytes().data(), content.size());
      if (content.size() != variant.bytes || digest.finish() != variant.sha256) out.push_back(variant.path + ": is not the archive that the manifest describes");
    }
  return out;
}

std::string collection_text(const Collection& collection) {
  std::string out = fmt::format("{}: a collection of {} model{}\n", collection.identifier, collection.models.size(), collection.models.size() == 1 ? "" : "s");
  for (const CollectionModel& model : collection.models) {
    out += fmt::format("{}\n", model.identifier);
    for (const CollectionVariant& variant : model.variants)
      out += fmt::format("  {} ({} bytes): {}\n", variant.path, variant.bytes, variant.rule.any() ? "every device" : rule_json(variant.rule).dump(-1, ' ', false, json::error_handler_t::replace));
  }
  return out;
}

std::string selection_text(const Collection& collection, const DeviceFacts& device) {
  std::string out;
  for (const CollectionModel& model : collection.models) {
    auto chosen = variant_for(model, device);
    out += fmt::format("{}: {}\n", model.identifier, chosen ? model.variants[*chosen].path : "none");
    for (size_t i = 0; i < chosen.value_or(model.variants.size()); ++i)
      out += fmt::format("  not {}: {}\n", model.variants[i].path, joined(mismatches(model.variants[i].rule, device)));
  }
  return out;
}

std::string selection_json(const Collection& collection, const std::string& directory, const DeviceFacts& device) {
  ordered_json out = {{"schema", "mlinspect-device"}, {"schema_version", 1}, {"file", directory}, {"identifier", collection.identifier}, {"models", ordered_json::array()}};
  for (const CollectionModel& model : collection.models) {
    auto chosen = variant_for(model, device);
    ordered_json passed = ordered_json::array();
    for (size_t i = 0; i < chosen.value_or(model.variants.size()); ++i)
      passed.push_back({{"archive", model.variants[i].path}, {"reasons", mismatches(model.variants[i].rule, device)}});
    out["models"].push_back({{"identifier", model.identifier}, {"archive", chosen ? ordered_json(model.variants[*chosen].path) : ordered_json()}, {"passed_over", std::move(passed)}});
  }
  return dumped(out);
}

struct ArchiveDigest::State {
  crypto_hash_sha256_state sha;
};
ArchiveDigest::ArchiveDigest() : state_(new State) { crypto_hash_sha256_init(&state_->sha); }
ArchiveDigest::~ArchiveDigest() { delete state_; }
void ArchiveDigest::update(const void* data, size_t size) { crypto_hash_sha256_update(&state_->sha, static_cast<const unsigned char*>(data), size); }
std::string ArchiveDigest::finish() {
  unsigned char digest[crypto_hash_sha256_BYTES];
  crypto_hash_sha256_final(&state_->sha, digest);
  std::string out;
  for (unsigned char byte : digest) out += fmt::format("{:02x}", byte);
  return out;
}

}  // namespace mlt
