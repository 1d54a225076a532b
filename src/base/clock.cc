// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <ctime>

namespace plexus {

MonoTime mono_now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return MonoTime{int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec};
}

}  // namespace plexus
