// SPDX-License-Identifier: Apache-2.0
// How many allocations the program has made by operator new.
#pragma once

#include <cstdint>

namespace plexus::bench {
extern uint64_t allocations;
}  // namespace plexus::bench
