// SPDX-License-Identifier: Apache-2.0
#include "agent/packet_traces.h"

#include <algorithm>

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
      out.push_back(text.substr(from, end - from));
    else
      ++left;
    from = end + 1;
  }
  if (left > 0) out.push_back(fmt::format("... and {} more", left));
  return out;
}

size_t bytes_of(const PacketTraces::Entry& entry) {
  size_t out = entry.packet.size();
  for (const std::string& step : entry.steps) out += step.size();
  return out;
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
                          MonoTime now) {
  sim::Trace trace;
  sim::Outcome again;
  sim::simulate(packet, snapshot, view, now, again, &trace);
  for (const TraceRequestId id : outcome.traced) {
    const model::TraceRequest* record = snapshot.trace_request(id);
    if (record == nullptr) continue;
    OfRequest& request = requests_.try_emplace(id, OfRequest{*record}).first->second;
    if (request.packets >= record->limit) continue;
    if (++request.packets == record->limit)
      spent_.insert(std::lower_bound(spent_.begin(), spent_.end(), id), id);
    Entry entry{.number = ++number_,
                .request = id,
                .name = record->name,
                .at = now,
                .packet = format_frame(packet.frame),
                .outcome = std::string(to_string(again.verdict)),
                .steps = lines_of(trace.text(), kMaxSteps)};
    if (again.verdict == sim::Verdict::drop)
      entry.outcome += " " + std::string(to_string(again.reason));
    log_line(LogLevel::info, "traces",
             fmt::format("request {} ({} of {}): {}: {}", entry.name, request.packets,
                         record->limit, entry.outcome, entry.packet));
    bytes_ += bytes_of(entry);
    kept_.push_back(std::move(entry));
    while (kept_.size() > kKept || (bytes_ > kMaxBytes && kept_.size() > 1)) {
      bytes_ -= bytes_of(kept_.front());
      kept_.pop_front();
    }
  }
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
