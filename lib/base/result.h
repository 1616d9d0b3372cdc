// Result<T>: a value or an Error (std::expected is C++23). Library functions return it and never throw across their
// boundary.
//
//   Result<Model> read(...) {
//     MLT_ASSIGN(auto bytes, read_file(path));   // declares bytes, or returns the error
//     MLT_TRY(check(bytes));                     // Result<void>, or returns the error
//     if (bytes.empty()) return input_error("file is empty");
//     return Model{...};
//   }
#pragma once
#include <cassert>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "lib/base/error.h"

namespace mlt {

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)
  template <typename U>
    requires(std::is_convertible_v<U &&, T> && !std::is_same_v<std::remove_cvref_t<U>, T> &&
             !std::is_same_v<std::remove_cvref_t<U>, Error> && !std::is_same_v<std::remove_cvref_t<U>, Result<T>>)
  Result(U&& value) : state_(std::in_place_index<0>, std::forward<U>(value)) {}  // NOLINT

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() & { return assert(ok()), *std::get_if<0>(&state_); }
  const T& value() const& { return assert(ok()), *std::get_if<0>(&state_); }
  T&& value() && { return assert(ok()), std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  Error& error() & { return assert(!ok()), *std::get_if<1>(&state_); }
  const Error& error() const& { return assert(!ok()), *std::get_if<1>(&state_); }
  Error&& error() && { return assert(!ok()), std::move(*std::get_if<1>(&state_)); }

  // Adds an outer place to the error's context chain; no effect on a value.
  Result<T> in(std::string place) && {
    if (!ok()) error().context.push_back(std::move(place));
    return std::move(*this);
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)
  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  Error& error() & { return *error_; }
  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }
  Result<void> in(std::string place) && {
    if (error_) error_->context.push_back(std::move(place));
    return std::move(*this);
  }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

inline Error make_error(Code code, std::string message, std::string hint = {}) {
  return Error{code, std::move(message), {}, std::move(hint)};
}
inline Error input_error(std::string message, std::string hint = {}) {
  return make_error(Code::kInput, std::move(message), std::move(hint));
}
inline Error usage_error(std::string message, std::string hint = {}) {
  return make_error(Code::kUsage, std::move(message), std::move(hint));
}
inline Error unsupported_error(std::string message, std::string hint = {}) {
  return make_error(Code::kUnsupported, std::move(message), std::move(hint));
}
inline Error resource_error(std::string message, std::string hint = {}) {
  return make_error(Code::kResource, std::move(message), std::move(hint));
}

}  // namespace mlt

#define MLT_CONCAT_INNER(a, b) a##b
#define MLT_CONCAT(a, b) MLT_CONCAT_INNER(a, b)
// Returns the error of a Result from the enclosing function.
#define MLT_TRY(expr)                                                    \
  do {                                                                   \
    if (auto mlt_status_ = (expr); !mlt_status_.ok()) [[unlikely]]       \
      return std::move(mlt_status_).error();                             \
  } while (0)
// MLT_ASSIGN(auto x, f()): x is f()'s value, or the enclosing function returns the error.
#define MLT_ASSIGN(lhs, expr) MLT_ASSIGN_INNER(MLT_CONCAT(mlt_result_, __LINE__), lhs, expr)
#define MLT_ASSIGN_INNER(tmp, lhs, expr)                          \
  auto tmp = (expr);                                              \
  if (!tmp.ok()) [[unlikely]] return std::move(tmp).error();      \
  lhs = std::move(tmp).value()
