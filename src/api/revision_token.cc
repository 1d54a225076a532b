// SPDX-License-Identifier: Apache-2.0
#include "api/revision_token.h"

#include <charconv>

namespace plexus::api {
namespace {

constexpr size_t kLifeLength = 8;

}  // namespace

std::string revision_token(store::Revision revision, const std::optional<Uuid>& life) {
  std::string out = std::to_string(revision.value);
  if (life) out += "." + life->str().substr(0, kLifeLength);
  return out;
}

bool RevisionToken::is_of(const std::optional<Uuid>& other) const {
  return life.empty() || !other || other->str().substr(0, kLifeLength) == life;
}

std::optional<RevisionToken> parse_revision_token(std::string_view text) {
  RevisionToken out;
  const size_t dot = text.find('.');
  const std::string_view digits = text.substr(0, dot);
  const char* end = digits.data() + digits.size();
  const auto [at, error] = std::from_chars(digits.data(), end, out.revision.value);
  if (error != std::errc() || at != end || out.revision.value < 0) return std::nullopt;
  if (dot != std::string_view::npos) {
    out.life = text.substr(dot + 1);
    if (out.life.size() != kLifeLength) return std::nullopt;
  }
  return out;
}

}  // namespace plexus::api
