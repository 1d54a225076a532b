// SPDX-License-Identifier: Apache-2.0
#include "allocations.h"

#include <cstdlib>
#include <new>

uint64_t plexus::bench::allocations = 0;

// Counts; otherwise what the standard library does. Not inlined: GCC would see malloc() meet delete and warn.
[[gnu::noinline]] void* operator new(size_t size) {
  ++plexus::bench::allocations;
  if (void* p = std::malloc(size != 0 ? size : 1)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
  std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept {
  std::free(p);
}
