// Source code for programs that use a model: a class with typed inputs and outputs, as Xcode makes one. Swift and
// Objective-C use Core ML and have the interface of Xcode's classes (its names are what applications call; the text is
// our own); C++ uses libmltools (mltools.hpp); Python uses coremltools, on Linux with our adapter for it.
//
// Names in models are free text: identifiers are made of them (anything but ASCII letters, digits and '_' becomes '_',
// keywords and collisions are told apart), and the names themselves appear in escaped string literals only.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/result.h"
#include "lib/container/open.h"

namespace mlt::codegen {

enum class Language { kSwift, kObjectiveC, kCpp, kPython };
// "swift", "objc" ("Objective-C"), "c++", "python"; in any case of letters.
std::optional<Language> language_of(std::string_view name);

// A system that the code is for: "ios" and "15.0". Raises what @available says of that system.
struct Platform {
  std::string name, version;
};

struct Options {
  Language language = Language::kSwift;
  std::string class_name;      // empty: the model's name
  std::string file_name;       // without extension; empty: the class's or the model's name
  bool public_access = false;  // Swift: public
  bool global_module = false;  // Swift: @objc classes below NSObject
  std::optional<Platform> platform;
};

struct SourceFile {
  std::string name;  // "MobileNet.swift"
  std::string text;
};

// kUnsupported: a model without an interface (no outputs, a feature without a type; all of them are listed). kUsage: a
// class name that is no identifier, a platform that is none. kMilText has to be completed before (complete_mil_text).
Result<std::vector<SourceFile>> generate(const OpenedModel& model, const Options& options);
// Extensions of the files that generate() gives, in its order: {".h", ".m"}.
std::vector<std::string> extensions(Language language);

// Least versions of the systems whose Core ML opens a specification version: {"macOS", "12.0"}, {"iOS", "15.0"}, ...;
// from Apple's documentation of MLModel and coremltools' targets.
std::vector<std::pair<std::string, std::string>> systems_of(int spec_version);
// "ios" -> "iOS", "maccatalyst" -> "macCatalyst", ...: the names that coremlcompiler's --platform takes; else none.
std::optional<std::string> system_name(std::string_view platform);

}  // namespace mlt::codegen
