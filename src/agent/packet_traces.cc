// SPDX-License-Identifier: Apache-2.0
#include "agent/packet_traces.h"

#include <algorithm>
#include <type_traits>
#include <utility>
#include <variant>

#include "agent/shortened.h"
#include "base/log.h"
#include "packet/text.h"

namespace plexus::agent {
namespace {

std::vector<std::string> lines_of(const std::string& text, size_t most) {
  std::vector<std::string> out;
  size_t left = 0;
  for (size_t from = 0; from < text.size();) {
    const size_t end = std::min(text.find('\n', from), text.size());
    if (out.size() < most)
      out.push_back(shortened(text.substr(from, end - from), PacketTraces::kMaxLine));
    else
      ++left;
    from = end + 1;
  }
  if (left > 0) out.push_back(fmt::format("... and {} more", left));
  return out;
}

std::string text_of(const sim::Outcome& outcome) {
  const sim::Outcome::Itself itself = outcome.itself();
  std::string out(to_string(itself.verdict));
  if (itself.verdict == sim::Verdict::drop) out += " " + std::string(to_string(itself.reason));
  return out;
}

size_t bytes_of(const PacketTraces::Entry& entry) {
  size_t out = entry.packet.size();
  for (const std::string& step : entry.steps) out += step.size();
  return out;
}

Uuid owner_of(const model::TraceRequest& request, const model::Snapshot& snapshot) {
  return std::visit(
      [&](const auto& at) -> Uuid {
        using At = std::decay_t<decltype(at)>;
        if constexpr (std::is_same_v<At, std::monostate>) {
          return {};
        } else {
          if constexpr (std::is_same_v<At, PortId>) {
            const model::Port* port = snapshot.port(at);
            if (port != nullptr && !port->tenant.empty())
              return Uuid::derived("tenant", port->tenant);
          }
          return at.uuid;
        }
      },
      request.at);
}

/// The key that has the most.
template <typename Id>
Id greediest(const std::map<Id, size_t>& shares) {
  return std::max_element(shares.begin(), shares.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

}  // namespace

void PacketTraces::publish(const model::Snapshot& snapshot) {
  std::erase_if(requests_, [&](const auto& entry) {
    const model::TraceRequest* now = snapshot.trace_request(entry.first);
    return now == nullptr || !(*now == entry.second.record);
  });
  std::erase_if(spent_, [&](TraceRequestId id) { return !requests_.contains(id); });
}

void PacketTraces::follow(const sim::Packet& packet, const sim::Outcome& outcome,
                          const model::Snapshot& snapshot, const sim::ConnectionView& view,
                          MonoTime now, bool last_try) {
  opened_ = 0;
  sim::Trace trace;
  sim::Outcome again;
  if (last_try)
    again = sim::simulate_last_try(packet, snapshot, now, &trace, view);
  else
    sim::simulate(packet, snapshot, view, now, again, &trace);
  for (const TraceRequestId id : outcome.traced) {
    const model::TraceRequest* record = snapshot.trace_request(id);
    if (record == nullptr) continue;
    OfRequest& request = requests_.try_emplace(id, OfRequest{*record}).first->second;
    if (request.packets >= record->limit) continue;
    if (++request.packets == record->limit)
      spent_.insert(std::lower_bound(spent_.begin(), spent_.end(), id), id);
    kept_.push_back({.number = ++number_,
                     .request = id,
                     .owner = owner_of(*record, snapshot),
                     .name = record->name,
                     .packets = request.packets,
                     .limit = record->limit,
                     .at = now,
                     .packet = shortened(format_frame(packet.frame), kMaxLine),
                     .outcome = text_of(again),
                     .steps = lines_of(trace.text(), kMaxSteps)});
    bytes_ += bytes_of(kept_.back());
    ++opened_;
  }
}

void PacketTraces::amend(const std::string& outcome, const std::string& step) {
  for (size_t i = kept_.size() - opened_; i < kept_.size(); ++i) {
    kept_[i].outcome = outcome;
    kept_[i].steps.push_back("agent: " + step);
    bytes_ += kept_[i].steps.back().size();
  }
}

void PacketTraces::dropped(sim::DropReason reason) {
  if (opened_ == 0) return;
  const std::string name(to_string(reason));
  amend("drop " + name, "drop: " + name);
}

void PacketTraces::waits_for_first() {
  if (opened_ == 0) return;
  amend(std::string(to_string(sim::Verdict::postpone)), "waits for its first fragment");
}

void PacketTraces::goes_like_first(const sim::Outcome& outcome) {
  if (opened_ == 0) return;
  std::string how(to_string(outcome.verdict));
  if (outcome.verdict == sim::Verdict::drop) how += ": " + std::string(to_string(outcome.reason));
  if (outcome.verdict == sim::Verdict::forward) how += ": " + format(outcome.actions);
  amend(text_of(outcome), "as with its first fragment: " + how);
}

void PacketTraces::conclude() {
  for (size_t i = kept_.size() - opened_; i < kept_.size(); ++i) log(kept_[i]);
  opened_ = 0;
  while (kept_.size() > kKept || (bytes_ > kMaxBytes && kept_.size() > 1)) drop_one();
}

void PacketTraces::log(const Entry& entry) {
  using namespace std::chrono_literals;
  if (entry.at - second_ >= 1s) {
    second_ = entry.at;
    lines_.clear();
    if (left_out_ > 0)
      log_info("traces", "{} more have no line; they were kept", std::exchange(left_out_, 0));
  }
  unsigned& lines = lines_[entry.owner];
  if (lines >= kLinesPerSecond) {
    ++left_out_;
    return;
  }
  ++lines;
  log_line(LogLevel::info, "traces",
           fmt::format("request {} ({} of {}): {}: {}", entry.name, entry.packets, entry.limit,
                       entry.outcome, shortened(entry.packet)));
}

/// By what there is too much of: traces, or their texts.
void PacketTraces::drop_one() {
  const auto size_of = [&](const Entry& entry) {
    return kept_.size() > kKept ? size_t{1} : bytes_of(entry);
  };
  std::map<Uuid, size_t> of_owner;
  for (const Entry& entry : kept_) of_owner[entry.owner] += size_of(entry);
  const Uuid owner = greediest(of_owner);
  std::map<TraceRequestId, size_t> of_request;
  for (const Entry& entry : kept_) {
    if (entry.owner == owner) of_request[entry.request] += size_of(entry);
  }
  const TraceRequestId request = greediest(of_request);
  const auto oldest = std::find_if(kept_.begin(), kept_.end(), [&](const Entry& entry) {
    return entry.owner == owner && entry.request == request;
  });
  bytes_ -= bytes_of(*oldest);
  kept_.erase(oldest);
}

codec::Node traces_document(const PacketTraces& traces, MonoTime now) {
  using codec::Node;
  std::vector<Node> list;
  for (const PacketTraces::Entry& entry : traces.kept()) {
    Node one = Node::map_of({});
    one.add("number", Node::of_number(entry.number));
    one.add("request", Node::of_text(entry.name));
    one.add("request_id", Node::of_text(entry.request.str()));
    const int64_t age = (now - entry.at).count() / 1'000'000;
    one.add("age_ms", Node::of_number(static_cast<uint64_t>(std::max<int64_t>(0, age))));
    one.add("packet", Node::of_text(entry.packet));
    one.add("outcome", Node::of_text(entry.outcome));
    std::vector<Node> steps;
    for (const std::string& step : entry.steps) steps.push_back(Node::of_text(step));
    one.add("steps", Node::list_of(std::move(steps)));
    list.push_back(std::move(one));
  }
  Node out = Node::map_of({});
  out.add("traces", Node::list_of(std::move(list)));
  return out;
}

}  // namespace plexus::agent
