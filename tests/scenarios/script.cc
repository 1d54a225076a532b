// SPDX-License-Identifier: Apache-2.0
#include "scenarios/script.h"

#include <charconv>
#include <istream>
#include <ostream>
#include <sstream>

#include "packet/text.h"

namespace plexus::scenario {
namespace {

/// Longer than anything a scenario waits for; every second of it is played.
constexpr int kLongestWait = 24 * 3600;

constexpr std::string_view kIndent = "  ";

/// Splits off the first word.
std::pair<std::string, std::string> first_word(const std::string& text) {
  const size_t space = text.find(' ');
  if (space == std::string::npos) return {text, ""};
  const size_t rest = text.find_first_not_of(' ', space);
  return {text.substr(0, space), rest == std::string::npos ? "" : text.substr(rest)};
}

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out += line + "\n";
  return out;
}

std::pair<std::string, std::string> place(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos) return {text, ""};
  return {text.substr(0, slash), text.substr(slash + 1)};
}

Result<std::vector<uint8_t>> frame_of(const std::string& text) {
  auto frame = parse_frame(text);
  if (!frame) return frame.error();
  return std::vector<uint8_t>(frame->begin(), frame->end());
}

}  // namespace

Script read_script(std::istream& in) {
  Script script;
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    while (!line.empty() && line.back() == ' ') line.pop_back();
    if (line.starts_with(kIndent) && !script.statements.empty()) {
      script.statements.back().block.push_back(line.substr(kIndent.size()));
    } else if (script.statements.empty() && (line.empty() || line.front() == '#')) {
      script.header.push_back(line);
    } else {
      script.statements.push_back({number, line, {}});
    }
  }
  return script;
}

void write_script(const Script& script, std::ostream& out) {
  for (const std::string& line : script.header) out << line << '\n';
  for (const Statement& s : script.statements) {
    out << s.text << '\n';
    for (const std::string& line : s.block) out << kIndent << line << '\n';
  }
}

Result<void> Run::step(Statement& statement, bool update) {
  const auto [verb, rest] = first_word(statement.text);
  if (verb.empty() || verb[0] == '#') return {};
  if (verb == "topology" || verb == "apply") return cloud_.apply(joined(statement.block));
  if (verb == "delete") {
    const auto [type, name] = first_word(rest);
    return cloud_.remove(type, name);
  }
  if (verb == "newer") {
    const auto [type, name] = first_word(rest);
    return cloud_.make_newer(type, name);
  }
  if (verb == "unplug" || verb == "plug") {
    const auto [host, interface] = place(rest);
    return cloud_.plug(host, interface, verb == "plug");
  }
  if (verb == "underlay") {
    const auto [family, mtu_text] = first_word(rest);
    uint32_t mtu = 0;
    std::from_chars(mtu_text.data(), mtu_text.data() + mtu_text.size(), mtu);
    if ((family != "ipv4" && family != "ipv6") || mtu_text != std::to_string(mtu))
      return Error{ErrorCode::invalid, "'" + rest + "' is no underlay: write ipv4 1500"};
    return cloud_.set_underlay(family == "ipv4" ? IpFamily::v4 : IpFamily::v6, mtu);
  }
  if (verb == "messages") {  // messages FROM TO on|lost|held
    const auto [from, behind] = first_word(rest);
    const auto [to, what] = first_word(behind);
    if (what != "on" && what != "lost" && what != "held")
      return Error{ErrorCode::invalid, "'" + rest + "': write messages h1 h2 lost (or held, on)"};
    return cloud_.set_peer_link(from, to,
                                what == "on"     ? PeerLink::on
                                : what == "lost" ? PeerLink::lost
                                                 : PeerLink::held);
  }
  if (verb == "limits") {  // limits ALL UNANSWERED OF-PORT UNANSWERED-OF-PORT [OF-TENANT]
    std::istringstream words(rest);
    state::ConnectionLimits limits;
    if (!(words >> limits.total >> limits.embryonic >> limits.port >> limits.port_embryonic))
      return Error{ErrorCode::invalid,
                   "'" + rest + "': write limits 100 50 20 10 (and 30: of a tenant)"};
    if (!(words >> std::ws).eof() && !(words >> limits.tenant))
      return Error{ErrorCode::invalid, "'" + rest + "': the fifth number is that of a tenant"};
    cloud_.set_limits(limits);
    return {};
  }
  if (verb == "restart") {  // restart HOST, restart HOST empty
    const auto [host, how] = first_word(rest);
    if (!how.empty() && how != "empty")
      return Error{ErrorCode::invalid, "'" + rest + "': write restart h1 (or h1 empty)"};
    return cloud_.restart(host, how == "empty");
  }
  std::vector<std::string> shown;
  if (const auto done = show(verb, rest, shown); !done) return done.error();
  if (update) {
    statement.block = shown;
    return {};
  }
  if (shown == statement.block) return {};
  std::string message = "expected:\n";
  for (const auto& l : statement.block) message += "    " + l + "\n";
  message += "  seen:\n";
  for (const auto& l : shown) message += "    " + l + "\n";
  return Error{ErrorCode::invalid, message};
}

Result<void> Run::show(const std::string& verb, const std::string& rest,
                       std::vector<std::string>& shown) {
  if (verb == "send" || verb == "trace") {
    auto [where, text] = first_word(rest);
    const auto [host, interface] = place(where);
    datapath::Offload offload;
    if (const auto [word, behind] = first_word(text); word == "gso") {
      const auto [size, packet] = first_word(behind);
      std::from_chars(size.data(), size.data() + size.size(), offload.gso_size);
      if (verb != "send" || offload.gso_size == 0 || size != std::to_string(offload.gso_size))
        return Error{ErrorCode::invalid, "'" + behind + "': write send h1/tap1 gso 1400 PACKET"};
      offload.partial_checksum = true;
      text = packet;
    }
    const auto frame = frame_of(text);
    if (!frame) return frame.error();
    if (verb == "trace") {
      auto lines = cloud_.trace(host, interface, *frame);
      if (!lines) return lines.error();
      shown = std::move(*lines);
      return {};
    }
    if (const auto sent = cloud_.send(host, interface, *frame, offload); !sent) return sent.error();
  } else if (verb == "tunnel") {  // tunnel HOST FROM KEY PACKET
    const auto [host, r1] = first_word(rest);
    const auto [from_text, r2] = first_word(r1);
    const auto [key_text, text] = first_word(r2);
    const auto from = IpAddr::parse(from_text);
    uint32_t key = 0;
    std::from_chars(key_text.data(), key_text.data() + key_text.size(), key);
    const auto frame = frame_of(text);
    if (!from) return Error{ErrorCode::invalid, "'" + from_text + "' is not an address"};
    if (!frame) return frame.error();
    if (const auto sent = cloud_.send_tunnel(host, *from, key, *frame); !sent) return sent.error();
  } else if (verb == "after") {
    int seconds = 0;
    std::from_chars(rest.data(), rest.data() + rest.size(), seconds);
    if (seconds <= 0 || seconds > kLongestWait || rest != std::to_string(seconds) + "s") {
      return Error{ErrorCode::invalid, "'" + rest + "' is not a time up to a day: write 5s"};
    }
    if (const auto passed = cloud_.pass(std::chrono::seconds(seconds)); !passed)
      return passed.error();
  } else if (verb == "flows") {
    auto lines = cloud_.flows(rest);
    if (!lines) return lines.error();
    shown = std::move(*lines);
    return {};
  } else if (verb == "traces") {
    auto lines = cloud_.traces(rest);
    if (!lines) return lines.error();
    shown = std::move(*lines);
    if (shown.empty()) shown = {"nothing"};
    return {};
  } else if (verb == "rules") {
    auto lines = cloud_.rules(rest);
    if (!lines) return lines.error();
    shown = std::move(*lines);
    if (shown.empty()) shown = {"nothing"};
    return {};
  } else if (verb == "connections") {
    auto lines = cloud_.connections(rest);
    if (!lines) return lines.error();
    shown = std::move(*lines);
    if (shown.empty()) shown = {"nothing"};
    return {};
  } else if (verb != "results") {
    return Error{ErrorCode::invalid,
                 "unknown statement '" + verb +
                     "': expected topology, apply, delete, newer, plug, "
                     "unplug, underlay, messages, limits, restart, send, tunnel, after, results, "
                     "trace, traces, flows, rules or connections"};
  }
  shown = cloud_.take_results();
  if (shown.empty()) shown = {"nothing"};
  return {};
}

}  // namespace plexus::scenario
