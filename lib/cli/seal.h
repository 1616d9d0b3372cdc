// Sealing and opening whole inputs as tools do it: recipients from options, packages packed on the way in and
// unpacked on the way out.
#pragma once
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/cli/io.h"
#include "lib/cli/keys.h"
#include "lib/crypt/age.h"

namespace mlt::cli {

// Recipients given directly ("age1...") and in files, one a line ("-": stdin). Errors name the option or the
// file.
Result<std::vector<crypt::Recipient>> read_recipients(const std::vector<std::string>& recipients,
                                                      const std::vector<std::string>& files);

// A stream over a file or stdin ("-"). Errors: kInput.
Result<std::unique_ptr<crypt::Source>> input_source(const std::string& path);

// Seals the file, stdin ("-") or model directory `input` into `output` and finishes it. A directory must be a
// package or a compiled model, and is sealed as an uncompressed zip.
Status seal_input(const std::string& input, const std::vector<crypt::Recipient>& recipients, crypt::Form form,
                  Output output);

// Opens the sealed file `input` into the path `output` (nullopt or "-": stdout). An output whose name ends in
// .mlpackage or .mlmodelc becomes a directory when the content is an archive of one.
Status open_input(const std::string& input, Keyring& keys, const std::optional<std::string>& output);

}  // namespace mlt::cli
