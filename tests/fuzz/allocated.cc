// SPDX-License-Identifier: Apache-2.0
#include "allocated.h"

#include <cstdlib>
#include <new>

plexus::fuzz::Allocated plexus::fuzz::allocated;

// Counts; otherwise what the standard library does, by the malloc() that the sanitizers watch. Not inlined: GCC would see
// malloc() meet delete and warn.
[[gnu::noinline]] void* operator new(size_t size) {
  ++plexus::fuzz::allocated.times;
  plexus::fuzz::allocated.bytes += size;
  if (void* p = std::malloc(size != 0 ? size : 1)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
  std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept {
  std::free(p);
}
