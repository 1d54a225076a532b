// SPDX-License-Identifier: Apache-2.0
// PLEXUS_CHECK: a broken invariant of our own ends the process, with the place and the reason.
// Never used for input from packets, the store, the kernel or users.
#pragma once

#include <string_view>

namespace plexus {
[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               std::string_view why);
}  // namespace plexus

#define PLEXUS_CHECK(condition, why)                                 \
  do {                                                               \
    if (!(condition)) [[unlikely]]                                   \
      ::plexus::check_failed(__FILE__, __LINE__, #condition, (why)); \
  } while (false)
