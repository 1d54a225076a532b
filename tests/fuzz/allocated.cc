// SPDX-License-Identifier: Apache-2.0
#include "allocated.h"

#include <cstdlib>
#include <new>

plexus::fuzz::Allocated plexus::fuzz::allocated;

// Counts; otherwise what the standard library does, by the malloc() that the sanitizers watch. All forms whose memory goes back by
// the same delete, or the sanitizers would see theirs meet ours. Not inlined: GCC would see malloc() meet delete and warn.
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  ++plexus::fuzz::allocated.times;
  plexus::fuzz::allocated.bytes += size;
  return std::malloc(size != 0 ? size : 1);
}
[[gnu::noinline]] void* operator new(size_t size) {
  if (void* p = operator new(size, std::nothrow)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
  std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept {
  std::free(p);
}
