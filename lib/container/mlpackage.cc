#include "lib/container/mlpackage.h"

#include <fmt/core.h>
#include <sodium.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

namespace mlt {
namespace {

using nlohmann::json;

constexpr const char* kAuthor = "com.apple.CoreML";
constexpr size_t kMaxManifest = 4 << 20;  // a parsed document takes some 25 times its text

// "major.minor.patch" of non-negative numbers, not newer than 1.0.0.
Status check_version(const std::string& text) {
  uint32_t parts[3] = {};
  const char* at = text.data();
  const char* end = at + text.size();
  for (int i = 0; i < 3; i++) {
    if (i > 0 && (at == end || *at++ != '.')) return input_error("file format version is not major.minor.patch");
    auto [next, error] = std::from_chars(at, end, parts[i]);
    if (error != std::errc{}) return input_error("file format version is not major.minor.patch");
    at = next;
  }
  if (at != end) return input_error("file format version is not major.minor.patch");
  if (parts[0] > 1 || (parts[0] == 1 && (parts[1] > 0 || parts[2] > 0)))
    return unsupported_error("file format version " + text + " is newer than 1.0.0");
  return {};
}

Result<std::string> string_at(const json& object, const char* key) {
  auto it = object.find(key);
  if (it == object.end()) return input_error(fmt::format("key \"{}\" is missing", key));
  if (!it->is_string()) return input_error(fmt::format("key \"{}\" is not a string", key));
  return it->get<std::string>();
}

// A UUID that is the same for the same content (version 8 of RFC 9562: bits of our own choice).
std::string content_uuid(const crypto_hash_sha256_state& base, std::string_view salt) {
  crypto_hash_sha256_state state = base;
  crypto_hash_sha256_update(&state, reinterpret_cast<const unsigned char*>(salt.data()), salt.size());
  unsigned char digest[crypto_hash_sha256_BYTES];
  crypto_hash_sha256_final(&state, digest);
  digest[6] = static_cast<unsigned char>((digest[6] & 0x0f) | 0x80);
  digest[8] = static_cast<unsigned char>((digest[8] & 0x3f) | 0x80);
  std::string text;
  for (int i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02X}", digest[i]);
  }
  return text;
}

}  // namespace

const PackageItem* Manifest::find(std::string_view id) const {
  for (const PackageItem& item : items)
    if (item.id == id) return &item;
  return nullptr;
}

Result<Manifest> parse_manifest(ByteSpan bytes) {
  auto bad = [](std::string message) { return input_error(std::move(message)).in_path("Manifest.json"); };
  if (bytes.size() > kMaxManifest) return bad("is larger than 4 MiB");
  std::string_view text = as_text(bytes);
  json root = json::parse(text.begin(), text.end(), nullptr, false);
  if (root.is_discarded()) return bad("is not valid JSON");
  if (!root.is_object()) return bad("is not a JSON object");
  Manifest manifest;
  MLT_ASSIGN(manifest.version, string_at(root, "fileFormatVersion").in("Manifest.json"));
  MLT_TRY(check_version(manifest.version).in("Manifest.json"));
  std::set<std::pair<std::string, std::string>> names;
  if (auto entries = root.find("itemInfoEntries"); entries != root.end()) {
    if (!entries->is_object()) return bad("itemInfoEntries is not an object");
    for (const auto& [id, entry] : entries->items()) {
      std::string place = "item " + id;
      if (!entry.is_object()) return input_error("is not an object").in_path(place).in_path("Manifest.json");
      PackageItem item;
      item.id = id;
      MLT_ASSIGN(item.path, string_at(entry, "path").in(place).in("Manifest.json"));
      MLT_ASSIGN(item.name, string_at(entry, "name").in(place).in("Manifest.json"));
      MLT_ASSIGN(item.author, string_at(entry, "author").in(place).in("Manifest.json"));
      MLT_ASSIGN(item.description, string_at(entry, "description").in(place).in("Manifest.json"));
      if (!is_safe_relative_path(item.path))
        return input_error(fmt::format("path \"{}\" leaves the package", item.path)).in_path(place).in_path("Manifest.json");
      if (!names.emplace(item.name, item.author).second)
        return input_error(fmt::format("a second item has the name \"{}\" and author \"{}\"", item.name, item.author))
            .in_path(place)
            .in_path("Manifest.json");
      manifest.items.push_back(std::move(item));
    }
  }
  if (auto id = root.find("rootModelIdentifier"); id != root.end()) {
    if (!id->is_string()) return bad("rootModelIdentifier is not a string");
    manifest.root_id = id->get<std::string>();
  }
  return manifest;
}

std::string write_manifest(const Manifest& manifest) {
  json entries = json::object();
  for (const PackageItem& item : manifest.items)
    entries[item.id] = {{"author", item.author}, {"description", item.description}, {"name", item.name}, {"path", item.path}};
  json root = {{"fileFormatVersion", manifest.version}, {"itemInfoEntries", std::move(entries)}};
  if (!manifest.root_id.empty()) root["rootModelIdentifier"] = manifest.root_id;
  // Names come from our callers and may be any bytes; JSON must stay valid.
  return root.dump(4, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<Package> open_package(const FileTree& tree) {
  Package package;
  package.tree = tree;
  MLT_ASSIGN(Blob json, tree.open("Manifest.json"));
  MLT_ASSIGN(package.manifest, parse_manifest(json.bytes()));
  const PackageItem* root = package.manifest.root();
  if (!root)
    return input_error(package.manifest.root_id.empty() ? "package has no root model"
                                                        : "root model is not among the items")
        .in_path("Manifest.json");
  package.model_path = "Data/" + root->path;
  if (!tree.has(package.model_path)) return input_error("root model does not exist").in_path(package.model_path);
  package.model_dir = tree.subtree(package.model_path.substr(0, package.model_path.rfind('/')));
  return package;
}

std::string make_manifest(ByteSpan model, const std::map<std::string, uint64_t>& file_sizes) {
  crypto_hash_sha256_state state;
  crypto_hash_sha256_init(&state);
  crypto_hash_sha256_update(&state, reinterpret_cast<const unsigned char*>(model.data()), model.size());
  // Sizes stand for the content of weights: hashing them would read gigabytes for an id that only has to be stable.
  for (const auto& [name, size] : file_sizes) {
    std::string line = fmt::format("\n{} {}", name, size);
    crypto_hash_sha256_update(&state, reinterpret_cast<const unsigned char*>(line.data()), line.size());
  }
  Manifest manifest;
  auto add = [&](const std::string& name, const char* description) {
    std::string path = std::string(kAuthor) + "/" + name;
    manifest.items.push_back({content_uuid(state, path), path, name, kAuthor, description});
    return manifest.items.back().id;
  };
  manifest.root_id = add("model.mlmodel", "CoreML Model Specification");
  std::set<std::string> tops;
  for (const auto& [name, size] : file_sizes) tops.insert(name.substr(0, name.find('/')));
  for (const std::string& top : tops) add(top, top == "weights" ? "CoreML Model Weights" : "");
  return write_manifest(manifest);
}

Result<std::map<std::string, Blob>> make_package(const Blob& model, const std::map<std::string, Blob>& files) {
  std::map<std::string, uint64_t> sizes;
  std::map<std::string, Blob> out;
  const std::string base = std::string("Data/") + kAuthor + "/";
  out.emplace(base + "model.mlmodel", model);
  for (const auto& [name, content] : files) {
    if (!is_safe_relative_path(name) || name == "model.mlmodel" || name.starts_with("model.mlmodel/"))
      return usage_error(fmt::format("\"{}\" cannot be a file of a package", name));
    sizes.emplace(name, content.size());
    out.emplace(base + name, content);
  }
  std::string manifest = make_manifest(model.bytes(), sizes);
  ByteSpan text = as_bytes(manifest);
  out.emplace("Manifest.json", Blob(Bytes(text.begin(), text.end())));
  return out;
}

}  // namespace mlt
