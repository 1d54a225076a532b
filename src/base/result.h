// SPDX-License-Identifier: Apache-2.0
// Result<T>: a value or an Error. Used for everything the environment can refuse (files, sockets,
// the kernel, the store, user input). Bad packets are not errors: they are verdicts with a
// DropReason.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/check.h"

namespace plexus {

/// What kind of failure: decides exit codes, HTTP status and whether trying again can help.
enum class ErrorCode : uint8_t {
  invalid,      ///< the input is wrong; the message names field and remedy
  not_found,    ///< the named thing does not exist
  exists,       ///< the thing exists already, or a unique value is taken
  conflict,     ///< a version check failed: read again and retry
  in_use,       ///< something still refers to it
  unsupported,  ///< this build, kernel or record version cannot do it
  unavailable,  ///< the peer, store or daemon cannot be reached now
  no_space,     ///< disk, table or quota is full
  denied,       ///< no permission
  internal,     ///< the environment did something that should not happen
};

[[nodiscard]] std::string_view to_string(ErrorCode code);

/// One failure. `message` is a sentence for a person and names the thing, the field and the remedy.
struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;

  /// The same error seen one layer up: "loading host h1: <message>".
  [[nodiscard]] Error in(std::string_view where) const {
    return Error{code, std::string(where) + ": " + message};
  }
};

/// Error of a failed system call: maps errno to a code and appends its text.
[[nodiscard]] Error errno_error(std::string_view what, int errno_value);

struct Ok {};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : v_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit by design
  Result(Error error) : v_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  [[nodiscard]] bool ok() const { return v_.index() == 0; }
  explicit operator bool() const { return ok(); }

  [[nodiscard]] T& value() & {
    PLEXUS_CHECK(ok(), "value() of a failed Result");
    return std::get<0>(v_);
  }
  [[nodiscard]] const T& value() const& {
    PLEXUS_CHECK(ok(), "value() of a failed Result");
    return std::get<0>(v_);
  }
  [[nodiscard]] T&& value() && {
    PLEXUS_CHECK(ok(), "value() of a failed Result");
    return std::get<0>(std::move(v_));
  }
  [[nodiscard]] T& operator*() & { return value(); }
  [[nodiscard]] const T& operator*() const& { return value(); }
  [[nodiscard]] T&& operator*() && { return std::move(*this).value(); }
  [[nodiscard]] T* operator->() { return &value(); }
  [[nodiscard]] const T* operator->() const { return &value(); }

  [[nodiscard]] const Error& error() const {
    PLEXUS_CHECK(!ok(), "error() of a successful Result");
    return std::get<1>(v_);
  }
  [[nodiscard]] T value_or(T other) const { return ok() ? value() : std::move(other); }

 private:
  std::variant<T, Error> v_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Ok) {}                                      // NOLINT: implicit by design
  Result(Error error) : error_(std::move(error)) {}  // NOLINT

  [[nodiscard]] bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  [[nodiscard]] const Error& error() const {
    PLEXUS_CHECK(error_.has_value(), "error() of a successful Result");
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

}  // namespace plexus
