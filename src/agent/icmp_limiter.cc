// SPDX-License-Identifier: Apache-2.0
#include "agent/icmp_limiter.h"

#include <algorithm>

namespace plexus::agent {

using namespace std::chrono_literals;

namespace {

constexpr Duration kIdle = 60s;

datapath::TokenBucket bucket_of(uint32_t rate) {
  const Duration interval = Duration(1s) / rate;
  return {interval, interval * std::max(1u, rate / 10)};
}

}  // namespace

bool IcmpLimiter::allows(const model::Snapshot& snapshot, const sim::Generated& made,
                         MonoTime now) {
  if (!sim::rate_limited(made.kind)) return true;
  const model::Router* router = snapshot.router(made.router);
  const uint32_t rate = router != nullptr ? router->icmp_rate : model::kDefaultIcmpRate;
  if (rate == 0) return false;
  const std::pair key(made.router, made.kind);
  auto found = budgets_.find(key);
  if (found == budgets_.end() || found->second.rate != rate)
    found = budgets_.insert_or_assign(key, Budget{rate, bucket_of(rate), now}).first;
  found->second.last = now;
  return found->second.bucket.take(now);
}

void IcmpLimiter::forget_idle(MonoTime now) {
  std::erase_if(budgets_, [&](const auto& entry) { return now - entry.second.last > kIdle; });
}

}  // namespace plexus::agent
