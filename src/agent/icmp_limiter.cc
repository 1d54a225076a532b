// SPDX-License-Identifier: Apache-2.0
#include "agent/icmp_limiter.h"

#include <algorithm>

namespace plexus::agent {

using namespace std::chrono_literals;

namespace {

constexpr Duration kIdle = 60s;
/// What is saved up is never worth more: a bucket that was not used for so long is as good as a new one.
constexpr Duration kFull = 1s;
/// Stands for the ports that have no share of their own.
constexpr uint32_t kOthers = UINT32_MAX;

datapath::TokenBucket bucket_of(uint32_t rate) {
  const Duration interval = Duration(1s) / rate;
  return {interval, interval * std::max(1u, rate / 10)};
}

}  // namespace

bool IcmpLimiter::allows(const model::Snapshot& snapshot, const sim::Generated& made,
                         DpPort entered_by, MonoTime now) {
  if (!sim::rate_limited(made.kind)) return true;
  const model::Router* router = snapshot.router(made.router);
  const uint32_t rate = router != nullptr ? router->icmp_rate : model::kDefaultIcmpRate;
  if (rate == 0) return false;
  const std::pair key(made.router, made.kind);
  auto found = budgets_.find(key);
  if (found == budgets_.end() || found->second.rate != rate)
    found = budgets_.insert_or_assign(key, Budget{rate, {bucket_of(rate), now}}).first;
  Budget& budget = found->second;
  budget.whole.last = now;
  if (made.kind == sim::GeneratedKind::dhcp) return budget.whole.bucket.take(now);
  // What a share refuses costs the others nothing, what the whole refuses nothing of the share.
  Share& share = share_of(budget, entered_by, now);
  datapath::TokenBucket then = share.bucket;
  if (!then.take(now) || !budget.whole.bucket.take(now)) return false;
  share.bucket = then;
  return true;
}

IcmpLimiter::Share& IcmpLimiter::share_of(Budget& budget, DpPort port, MonoTime now) {
  auto found = budget.shares.find(port.number);
  if (found == budget.shares.end()) {
    if (budget.shares.size() >= kMaxShares)
      std::erase_if(budget.shares, [&](const auto& one) { return now - one.second.last > kFull; });
    const uint32_t number = budget.shares.size() >= kMaxShares ? kOthers : port.number;
    const Share fresh{bucket_of(std::max(1u, budget.rate / 4)), now};
    found = budget.shares.try_emplace(number, fresh).first;
  }
  found->second.last = now;
  return found->second;
}

void IcmpLimiter::forget_idle(MonoTime now) {
  const auto idle = [&](const Share& share) { return now - share.last > kIdle; };
  std::erase_if(budgets_, [&](const auto& entry) { return idle(entry.second.whole); });
  for (auto& [key, budget] : budgets_)
    std::erase_if(budget.shares, [&](const auto& one) { return idle(one.second); });
}

size_t IcmpLimiter::shares() const {
  size_t out = 0;
  for (const auto& [key, budget] : budgets_) out += budget.shares.size();
  return out;
}

}  // namespace plexus::agent
