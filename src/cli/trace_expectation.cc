// SPDX-License-Identifier: Apache-2.0
#include "cli/trace_expectation.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "cli/drop_reason_words.h"
#include "codec/nearest.h"

namespace plexus::cli {
namespace {

using codec::Node;

std::string text_of(const Node& node, std::string_view key) {
  const Node* found = node.find(key);
  return found != nullptr ? found->text : std::string();
}

std::string described(const Node& step) {
  const std::string name = text_of(step, "name");
  return fmt::format("{}{}{}: {}", text_of(step, "kind"), name.empty() ? "" : " ", name,
                     text_of(step, "text"));
}

std::string on_host(const Hop& hop) {
  return hop.host.empty() ? "" : fmt::format(" (on host {})", hop.host);
}

/// A port that the packet comes out of.
struct Arrival {
  std::string port, id, host;
  [[nodiscard]] std::string str() const {
    return "port " + (port.empty() ? id : port) + (host.empty() ? "" : " at host " + host);
  }
};

/// By a copy that leaves one hop: where the next one was asked, its word counts. What mirrors have does not.
std::vector<Arrival> arrivals_of(const std::vector<Hop>& hops) {
  std::vector<Arrival> out;
  for (const Hop& hop : hops) {
    const Node* outputs = hop.trace.find("outputs");
    if (outputs == nullptr || hop.mirror) continue;
    for (const Node& output : outputs->items) {
      if (output.find("mirror") != nullptr) continue;
      const std::string host = text_of(output, "host"), port = text_of(output, "port");
      if (output.find("tunnel_key") == nullptr) {
        if (output.find("answer") == nullptr)
          out.push_back({port, text_of(output, "id"), hop.host});
        continue;
      }
      const bool asked = std::any_of(hops.begin(), hops.end(), [&](const Hop& other) {
        return other.host == host && !other.mirror;
      });
      if (!asked && (!port.empty() || output.find("bridge") != nullptr))
        out.push_back({port.empty() ? "(those of bridge " + text_of(output, "bridge") + ")" : port,
                       text_of(output, "id"), host});
    }
  }
  return out;
}

/// The hop whose drop decides: the first that dropped, whatever mirrors have of it.
const Hop* dropped_at(const std::vector<Hop>& hops) {
  const auto found = std::find_if(hops.begin(), hops.end(), [](const Hop& hop) {
    return !hop.mirror &&
           (text_of(hop.trace, "verdict") == "drop" || hop.trace.find("reason") != nullptr);
  });
  return found != hops.end() ? &*found : nullptr;
}

const Hop& last_hop(const std::vector<Hop>& hops) {
  return *std::find_if(hops.rbegin(), std::prev(hops.rend()),
                       [](const Hop& hop) { return !hop.mirror; });
}

/// The last step that did something, which is where a packet that went elsewhere was sent there.
std::string last_stage(const Hop& hop) {
  const Node* steps = hop.trace.find("steps");
  if (steps == nullptr) return "";
  for (auto step = steps->items.rbegin(); step != steps->items.rend(); ++step)
    if (text_of(*step, "kind") != "outcome") return described(*step) + on_host(hop);
  return "";
}

void blame_drop(const Hop& hop, Judgement& judgement) {
  const Node* blame = hop.trace.find("blame");
  judgement.stage = blame != nullptr ? described(*blame) + on_host(hop) : last_stage(hop);
  judgement.change = text_of(hop.trace, "advice");
}

std::string listed(const std::vector<Arrival>& arrivals) {
  std::string out;
  for (const Arrival& arrival : arrivals) out += (out.empty() ? "" : ", ") + arrival.str();
  return out;
}

}  // namespace

Result<Expectation> parse_expectation(std::string_view text) {
  if (text == "delivered") return Expectation{Expectation::Kind::delivered, ""};
  if (text == "dropped") return Expectation{Expectation::Kind::dropped, ""};
  const size_t colon = text.find(':');
  if (colon != std::string_view::npos && colon + 1 < text.size()) {
    const std::string what(text.substr(colon + 1));
    if (text.substr(0, colon) == "dropped") {
      const std::vector<std::string>& known = drop_reason_words();
      if (std::find(known.begin(), known.end(), what) != known.end())
        return Expectation{Expectation::Kind::dropped, what};
      return Error{
          ErrorCode::invalid,
          fmt::format("--expect: there is no drop reason {}; did you mean {}?",
                      codec::in_quotes(what), codec::in_quotes(codec::nearest(what, known)))};
    }
    if (text.substr(0, colon) == "port") return Expectation{Expectation::Kind::port, what};
  }
  return Error{ErrorCode::invalid, "--expect: " + codec::in_quotes(std::string(text)) +
                                       " is none of delivered, dropped, dropped:REASON, port:NAME"};
}

Judgement judge(const Expectation& expectation, const std::vector<Hop>& hops) {
  Judgement out;
  if (hops.empty()) return out;
  const Hop& first = hops.front();
  const std::string verdict = text_of(first.trace, "verdict");
  const auto arrivals = arrivals_of(hops);
  const Hop* drop = dropped_at(hops);
  const std::string reason = drop != nullptr ? text_of(drop->trace, "reason") : "";
  if (!arrivals.empty()) {
    out.found = "delivered to " + listed(arrivals);
  } else if (drop != nullptr) {
    out.found = "dropped: " + reason;
  } else if (verdict == "postpone") {
    out.found = "waiting for a neighbour to answer";
  } else {
    out.found = "ended at the topology itself, which answers it or learns from it";
  }

  switch (expectation.kind) {
    case Expectation::Kind::delivered:
      out.met = !arrivals.empty();
      break;
    case Expectation::Kind::port:
      out.met = std::any_of(arrivals.begin(), arrivals.end(), [&](const Arrival& a) {
        return a.port == expectation.what || a.id == expectation.what;
      });
      break;
    case Expectation::Kind::dropped:
      out.met = arrivals.empty() && drop != nullptr &&
                (expectation.what.empty() || expectation.what == reason);
      if (out.met) return out;
      // Whatever let it pass, or dropped it for another reason.
      if (arrivals.empty() && drop != nullptr) {
        blame_drop(*drop, out);
        out.change = "";
      } else {
        out.stage = last_stage(last_hop(hops));
      }
      return out;
  }
  if (out.met) return out;
  // Other copies may have arrived elsewhere; the one that was lost is to blame.
  if (drop != nullptr) {
    blame_drop(*drop, out);
  } else {
    out.stage = last_stage(last_hop(hops));
    if (verdict == "postpone")
      out.change =
          "have a machine with that address up, which answers ARP or neighbour solicitations";
  }
  return out;
}

}  // namespace plexus::cli
