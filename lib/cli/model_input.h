// How tools take the model (or the foreign model) that the user names: a path or "-", sealed or not.
#pragma once
#include <string>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/cli/keys.h"
#include "lib/container/open.h"

namespace mlt::cli {

// Any Core ML model: .mlmodel, package, compiled model, MIL text, zip, .zst, sealed file, or stdin for "-".
Result<OpenedModel> read_model(const std::string& path, const KeyOptions& keys, OpenOptions options = {});

// The bytes of any one file ("-": stdin), unsealed and decompressed: for foreign models and data files.
// Sealing and compression are recognised by content.
Result<Blob> read_plain(const std::string& path, const KeyOptions& keys);

}  // namespace mlt::cli
