// SPDX-License-Identifier: Apache-2.0
#include "agent/rule_log.h"

#include "agent/shortened.h"
#include "base/log.h"
#include "packet/text.h"

namespace plexus::agent {

using namespace std::chrono_literals;

std::optional<uint64_t> RuleLog::admit(const RuleId& rule, MonoTime now) {
  auto [at, fresh] = rules_.try_emplace(rule);
  OfRule& r = at->second;
  if (fresh || now - r.second >= 1s) {
    r.second = now;
    r.lines = 0;
  }
  if (r.lines >= kLinesPerSecond) {
    ++r.left_out;
    ++left_out_;
    return std::nullopt;
  }
  ++r.lines;
  return std::exchange(r.left_out, 0);
}

void RuleLog::write(const sim::Packet& packet, const sim::Outcome& outcome,
                    const model::Snapshot& snapshot, MonoTime now) {
  for (const sim::MetRule& met : outcome.met) {
    if (!met.log) continue;
    const RuleId rule{met.rule};
    const ChainId chain{met.holder};
    const auto left_out = admit(rule, now);
    if (!left_out) continue;
    const auto name_of = [](const auto* record, const auto& id) {
      return record == nullptr || record->name.empty() ? id.str() : record->name;
    };
    std::string line = fmt::format(
        "chain {} rule {}: {}: {}", name_of(snapshot.chain(chain), chain),
        name_of(snapshot.rule(rule), rule),
        outcome.verdict == sim::Verdict::drop ? fmt::format("drop {}", to_string(outcome.reason))
                                              : std::string(to_string(outcome.verdict)),
        shortened(format_frame(packet.frame)));
    if (*left_out > 0) line += fmt::format(" ({} more were not logged)", *left_out);
    log_line(LogLevel::info, "rules", line);
  }
}

void RuleLog::forget_idle(const model::Snapshot& snapshot, MonoTime now) {
  std::erase_if(rules_, [&](const auto& entry) {
    const auto& [rule, of_rule] = entry;
    return now - of_rule.second >= 60s && (of_rule.left_out == 0 || snapshot.rule(rule) == nullptr);
  });
}

}  // namespace plexus::agent
