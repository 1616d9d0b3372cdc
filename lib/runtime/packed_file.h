// Weights prepared for an instruction set, kept beside a compiled model: a file "mltools.packed-<instruction set>" in its
// directory. It may be deleted at any time. A file of another model, another instruction set or another revision of this
// library is not used.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "lib/container/file_tree.h"
#include "lib/kernels/packed_forms.h"

namespace mlt {

inline constexpr std::string_view kPackedPrefix = "mltools.packed-";

// Forms for the instruction set in use that belong to the compiled model in `files`; null when there are none. Reads all
// of the model's files once, to compare what they contain.
std::shared_ptr<PackedForms> open_packed(const FileTree& files);

// Prepares what a prediction at the default shapes needs, for the instruction set in use, and writes the file into the
// compiled model's directory. The number of forms; kUnsupported when the model is no single program or network.
Result<size_t> write_packed(const std::string& directory);

}  // namespace mlt
