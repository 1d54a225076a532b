// SPDX-License-Identifier: Apache-2.0
// The revision of a store as clients see it: an opaque token. It names the store's life too, so that a token from before
// a restore is noticed: revisions begin again then. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "store/store.h"

namespace plexus::api {

/// "1234.5f3a9c1e": the revision and the beginning of the life's id; without a life "1234".
[[nodiscard]] std::string revision_token(store::Revision revision, const std::optional<Uuid>& life);

struct RevisionToken {
  store::Revision revision;
  std::string life;  ///< empty: not said

  /// Nothing contradicts that it is of this life.
  [[nodiscard]] bool is_of(const std::optional<Uuid>& other) const;
};
[[nodiscard]] std::optional<RevisionToken> parse_revision_token(std::string_view text);

}  // namespace plexus::api
