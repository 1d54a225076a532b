// SPDX-License-Identifier: Apache-2.0
#include "api/places.h"

namespace plexus::api {

std::optional<Places::Place> Places::take(const Caller& caller) {
  if (caller.token.is_nil()) return Place();
  // A name may look like an id.
  const std::string who =
      caller.limited() ? "tenant " + caller.tenant : "token " + caller.token.str();
  {
    const std::lock_guard lock(taken_->mutex);
    unsigned& count = taken_->of[who];
    if (count >= kEach) return std::nullopt;
    ++count;
  }
  return Place(taken_.get(), [taken = taken_, who](void*) {
    const std::lock_guard lock(taken->mutex);
    const auto at = taken->of.find(who);
    if (--at->second == 0) taken->of.erase(at);
  });
}

}  // namespace plexus::api
