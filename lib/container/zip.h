// Zip archives as trees of files. Reading goes through libzip, with limits; stored entries of a mapped archive are mapped
// too, not copied. Writing is uncompressed, streamed, byte-reproducible, with every file's data on a 64-byte boundary.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>

#include "lib/base/file.h"
#include "lib/base/random_access.h"
#include "lib/base/result.h"
#include "lib/container/file_tree.h"

namespace mlt {

struct ZipLimits {
  uint64_t max_entries = 100'000;
  uint64_t max_unpacked = uint64_t{16} << 30;  // sum of the sizes of compressed entries
  uint64_t max_ratio = 1100;                   // unpacked / packed of one entry (deflate's own bound is 1032)
};
// kInput: damaged, encrypted, two entries of one name, a name that leaves the tree. kResource: over a limit.
Result<FileTree> read_zip(const Blob& archive, const std::string& name, const ZipLimits& limits = {});
// The same of an archive that is read where it is needed: its directory now, its entries when they are opened.
Result<FileTree> read_zip(std::shared_ptr<const RandomAccess> archive, const std::string& name, const ZipLimits& limits = {});

using ByteSink = std::function<Status(ByteSpan)>;
ByteSink fd_sink(int fd, std::string name);
Status write_zip(const FileTree& tree, const ByteSink& sink);

}  // namespace mlt
