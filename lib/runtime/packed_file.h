// Weights prepared for an instruction set, kept beside a compiled model: a file "mltools.packed-<instruction set>" in its
// directory. It may be deleted at any time. A file of another model, another instruction set or another revision of this
// library is not used, nor are forms that are not what was written.
//
// To know that means reading all of the model and of the forms, which takes longer than a prediction. It is not read when
// file times say that nothing was changed: the nanoseconds of the file's time of modification are made from a hash of its
// index and of the sizes, times of modification and times of change of all other files of the model. Whoever writes to the
// file gives it another time; whoever writes to the others, replaces or copies them, changes theirs. Then, and where a file
// system keeps no nanoseconds, everything is read and compared: forms as they are asked for, the rest at once. The file's
// bytes know of no times: the same model gives the same file.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "lib/container/file_tree.h"
#include "lib/kernels/packed_forms.h"

namespace mlt {

inline constexpr std::string_view kPackedPrefix = "mltools.packed-";

// Forms for the instruction set in use that belong to the compiled model in `files`; null when there are none.
std::shared_ptr<PackedForms> open_packed(const FileTree& files);

// Compares what the file for the instruction set in use and the model contain, as open_packed() does when times differ, and
// gives the file the time that saves this. False when there is none that belongs to the model, or it is damaged.
bool renew_packed(const std::string& directory);

// Prepares what a prediction at the default shapes needs, for the instruction set in use, and writes the file into the
// compiled model's directory. The number of forms; kUnsupported when the model is no single program or network.
Result<size_t> write_packed(const std::string& directory);

}  // namespace mlt
