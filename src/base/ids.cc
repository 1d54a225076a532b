// SPDX-License-Identifier: Apache-2.0
#include "base/ids.h"

#include <sys/random.h>

#include "base/check.h"

namespace plexus {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool hyphen_at(size_t i) {
  return i == 8 || i == 13 || i == 18 || i == 23;
}

uint64_t fnv1a(uint64_t hash, std::string_view text) {
  for (char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3ULL;
  return hash;
}

uint64_t mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ULL;
  return x ^ (x >> 33);
}

void stamp_version(Uuid& u, uint8_t version) {
  u.bytes[6] = static_cast<uint8_t>((u.bytes[6] & 0x0f) | (version << 4));
  u.bytes[8] = static_cast<uint8_t>((u.bytes[8] & 0x3f) | 0x80);
}

}  // namespace

std::string Uuid::str() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(36);
  for (uint8_t byte : bytes) {
    if (hyphen_at(out.size())) out += '-';
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::optional<Uuid> Uuid::parse(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  Uuid u;
  size_t n = 0;
  for (size_t i = 0; i < text.size();) {
    if (hyphen_at(i)) {
      if (text[i++] != '-') return std::nullopt;
      continue;
    }
    const int hi = hex_value(text[i]), lo = hex_value(text[i + 1]);
    if (hi < 0 || lo < 0) return std::nullopt;
    u.bytes[n++] = static_cast<uint8_t>(hi << 4 | lo);
    i += 2;
  }
  return u;
}

Uuid Uuid::random() {
  Uuid u;
  PLEXUS_CHECK(getrandom(u.bytes.data(), u.bytes.size(), 0) == 16, "the kernel gives random bytes");
  stamp_version(u, 4);
  return u;
}

std::optional<Uuid> Uuid::from_bytes(std::string_view raw) {
  if (raw.size() != 16) return std::nullopt;
  Uuid u;
  std::memcpy(u.bytes.data(), raw.data(), 16);
  return u;
}

Uuid Uuid::derived(std::string_view space, std::string_view name) {
  const uint64_t a = mix(fnv1a(fnv1a(fnv1a(0xcbf29ce484222325ULL, space), "/"), name));
  const uint64_t b = mix(a ^ fnv1a(0x84222325cbf29ce4ULL, name));
  Uuid u;
  std::memcpy(u.bytes.data(), &a, 8);
  std::memcpy(u.bytes.data() + 8, &b, 8);
  stamp_version(u, 8);
  return u;
}

}  // namespace plexus
