// SPDX-License-Identifier: Apache-2.0
#include "agent/rule_log.h"

#include <iterator>

#include "agent/shortened.h"
#include "base/log.h"
#include "packet/text.h"

namespace plexus::agent {

using namespace std::chrono_literals;

RuleLog::RuleLog(std::function<void(std::string_view)> sink)
    : sink_(sink ? std::move(sink)
                 : [](std::string_view line) { log_line(LogLevel::info, "rules", line); }) {}

void RuleLog::add(const RuleId& rule, MonoTime now, const std::function<std::string()>& line) {
  write_waiting(now);
  auto [at, fresh] = rules_.try_emplace(rule);
  OfRule& r = at->second;
  if (fresh || now - r.second >= 1s) {
    r.second = now;
    r.lines = 0;
  }
  if (r.lines >= kLinesPerSecond) return leave_out(r);
  // Who waits is first, whatever room there is.
  if (waiting_.empty() && lines_ < kLinesOfHost) return put(r, line(), now);
  if (r.waits.empty() && waiting_.size() == kWaiting) {
    const auto last = std::prev(waiting_.end());
    if (last->first > r.wrote) {
      OfRule& heard = rules_.at(last->second);
      heard.waits.clear();
      waiting_.erase(last);
      leave_out(heard);
      ++left_out_for_all_;
    }
  }
  if (!r.waits.empty() || waiting_.size() == kWaiting) {
    ++left_out_for_all_;
    return leave_out(r);
  }
  r.waits = line();
  waiting_.emplace(r.wrote, rule);
}

void RuleLog::write_waiting(MonoTime now) {
  if (now - second_ >= 1s) {
    second_ = now;
    lines_ = 0;
    if (left_out_for_all_ > 0 && now - said_ >= 10s) {
      said_ = now;
      sink_(
          fmt::format("{} packets that rules log have no line: this host writes {} a second for "
                      "all rules; rules that have not been heard of for longest come first",
                      std::exchange(left_out_for_all_, 0), kLinesOfHost));
    }
  }
  while (!waiting_.empty() && lines_ < kLinesOfHost) {
    OfRule& r = rules_.at(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
    put(r, std::exchange(r.waits, {}), now);
  }
}

void RuleLog::put(OfRule& rule, std::string line, MonoTime now) {
  ++lines_;
  ++rule.lines;
  rule.wrote = now;
  if (rule.left_out > 0)
    line += fmt::format(" ({} more were not logged)", std::exchange(rule.left_out, 0));
  sink_(line);
}

void RuleLog::leave_out(OfRule& rule) {
  ++rule.left_out;
  ++left_out_;
}

void RuleLog::write(const sim::Packet& packet, const sim::Outcome& outcome,
                    const model::Snapshot& snapshot, MonoTime now) {
  const sim::Outcome::Itself itself = outcome.itself();
  std::string frame;  // once for all rules, and only for those that have a line
  for (const sim::MetRule& met : outcome.met) {
    if (!met.log) continue;
    const RuleId rule{met.rule};
    const ChainId chain{met.holder};
    const auto name_of = [](const auto* record, const auto& id) {
      return record == nullptr || record->name.empty() ? id.str() : record->name;
    };
    add(rule, now, [&] {
      if (frame.empty()) frame = shortened(format_frame(packet.frame));
      return fmt::format("chain {} rule {}: {}: {}", name_of(snapshot.chain(chain), chain),
                         name_of(snapshot.rule(rule), rule),
                         itself.verdict == sim::Verdict::drop
                             ? fmt::format("drop {}", to_string(itself.reason))
                             : std::string(to_string(itself.verdict)),
                         frame);
    });
  }
}

void RuleLog::tick(const model::Snapshot& snapshot, MonoTime now) {
  write_waiting(now);
  std::erase_if(rules_, [&](const auto& entry) {
    const auto& [rule, of_rule] = entry;
    return now - of_rule.second >= 60s && of_rule.waits.empty() &&
           (of_rule.left_out == 0 || snapshot.rule(rule) == nullptr);
  });
}

}  // namespace plexus::agent
