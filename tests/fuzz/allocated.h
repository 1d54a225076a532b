// SPDX-License-Identifier: Apache-2.0
// What the program has allocated by operator new so far. For programs that are linked with allocated.cc.
#pragma once

#include <cstdint>

namespace plexus::fuzz {

struct Allocated {
  uint64_t times = 0, bytes = 0;
};
extern Allocated allocated;

}  // namespace plexus::fuzz
