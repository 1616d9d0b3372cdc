// Weights as kernels want them, kept from one run of a program to the next.
#pragma once
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/kernels/aligned.h"
#include "lib/kernels/packed_memory.h"

namespace mlt {

class PackedForms {
 public:
  virtual ~PackedForms() = default;
  // The `size` bytes of a form made earlier, aligned to kAlignment, with kSlack readable bytes behind them, alive as long
  // as `owner`. Null when there are none of this name and size.
  virtual const std::byte* find(const std::string& name, size_t size, std::shared_ptr<const void>* owner) = 0;
  // Is shown every form that was not found and has been made.
  virtual Status made(const std::string& name, const AlignedBuffer& form) = 0;
};

// Where one constant's forms are found. `name` tells the constant; what else a form's bytes depend on (method, tile shapes)
// its maker adds, but for the instruction set, which is the same for all forms of one PackedForms.
struct PackedName {
  PackedForms* forms = nullptr;
  std::string name{};
  PackedMemory* memory = nullptr;  // for forms that are made now
};

// A form's name: how it is made, and the numbers that its bytes depend on.
inline std::string form_name(std::string_view method, std::initializer_list<int64_t> numbers) {
  std::string name(method);
  for (int64_t n : numbers) {
    name += ' ';
    name += std::to_string(n);
  }
  return name;
}

// Fills `buffer` with `size` bytes: those that are kept, or what `make` (Status()) writes there. When it fails its memory is free.
template <typename Make>
Status prepare_form(AlignedBuffer& buffer, size_t size, const PackedName& where, const std::string& form, Make&& make) {
  std::string name;
  if (where.forms != nullptr) {
    name = where.name;
    name += '\n';
    name += form;
    std::shared_ptr<const void> owner;
    if (const std::byte* kept = where.forms->find(name, size, &owner)) {
      buffer.adopt(kept, size, std::move(owner));
      return {};
    }
  }
  std::shared_ptr<const void> owner;
  std::byte* const at = where.memory != nullptr ? where.memory->take(size, &owner) : nullptr;
  if (at != nullptr) {
    buffer.adopt(at, size, std::move(owner));
  } else if (!buffer.reset(size)) {
    return resource_error("out of memory for packed weights");
  }
  if (Status status = make(); !status) {
    buffer = {};
    if (at != nullptr) where.memory->give_back(size);
    return status;
  }
  return where.forms != nullptr ? where.forms->made(name, buffer) : Status();
}

}  // namespace mlt
