// SPDX-License-Identifier: Apache-2.0
#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace plexus {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid:
      return "invalid";
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::exists:
      return "exists";
    case ErrorCode::conflict:
      return "conflict";
    case ErrorCode::in_use:
      return "in_use";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::unavailable:
      return "unavailable";
    case ErrorCode::no_space:
      return "no_space";
    case ErrorCode::denied:
      return "denied";
    case ErrorCode::internal:
      return "internal";
  }
  return "internal";
}

Error errno_error(std::string_view what, int errno_value) {
  ErrorCode code = ErrorCode::internal;
  switch (errno_value) {
    case EINVAL:
      code = ErrorCode::invalid;
      break;
    case ENOENT:
    case ENODEV:
    case ESRCH:
      code = ErrorCode::not_found;
      break;
    case EEXIST:
      code = ErrorCode::exists;
      break;
    case EBUSY:
      code = ErrorCode::in_use;
      break;
    case ENOTSUP:
    case ENOSYS:
      code = ErrorCode::unsupported;
      break;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case ETIMEDOUT:
    case EAGAIN:
      code = ErrorCode::unavailable;
      break;
    case ENOSPC:
    case EDQUOT:
    case E2BIG:
      code = ErrorCode::no_space;
      break;
    case EACCES:
    case EPERM:
      code = ErrorCode::denied;
      break;
    default:
      break;
  }
  // strerror_r's GNU form returns the text and never fails.
  char buffer[128];
  return Error{code, std::string(what) + ": " + strerror_r(errno_value, buffer, sizeof buffer)};
}

}  // namespace plexus
