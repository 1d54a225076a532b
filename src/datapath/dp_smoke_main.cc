// SPDX-License-Identifier: Apache-2.0
// plexus-dp-smoke: the eBPF datapath with flows from the command line, without an agent: for smoke tests and benchmarks. Works on
// the network namespace that it is started in, and leaves the datapath forwarding when it ends.
//
//   plexus-dp-smoke RUN_DIR [tunnel=LOCAL,PEER...] [port=NUMBER,INTERFACE]... [flow=FROM>TO[,REWRITE...]]...
//   plexus-dp-smoke RUN_DIR destroy | show
//
//   FROM: a port's number, or tunnel/KEY     TO: a port's number, or ADDRESS/KEY
//   REWRITE: eth.src=MAC  eth.dst=MAC  ip.src=ADDRESS  ip.dst=ADDRESS  ttl-N      several flow= with one FROM: several copies
#include <fmt/format.h>

#include <charconv>
#include <string_view>
#include <vector>

#include "datapath/ebpf/ebpf_datapath.h"

namespace plexus::datapath {
namespace {

Error usage(std::string_view word) {
  return {ErrorCode::invalid,
          fmt::format("cannot read \"{}\"; the usage is at the head of dp_smoke_main.cc", word)};
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> out;
  for (size_t from = 0; from <= text.size();) {
    const size_t to = std::min(text.find(at, from), text.size());
    out.push_back(text.substr(from, to - from));
    from = to + 1;
  }
  return out;
}

std::optional<uint32_t> number(std::string_view text) {
  uint32_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return out;
}

Result<void> add_rewrite(std::string_view word, Rewrite& rewrite) {
  const size_t equals = word.find('=');
  const std::string_view name = word.substr(0, equals);
  const std::string_view value = equals == std::string_view::npos ? "" : word.substr(equals + 1);
  if (word.starts_with("ttl-")) {
    const auto n = number(word.substr(4));
    if (!n || *n > 255) return usage(word);
    rewrite.ttl_decrement = static_cast<uint8_t>(*n);
    return {};
  }
  if (name == "eth.src" || name == "eth.dst") {
    const auto mac = MacAddr::parse(value);
    if (!mac) return usage(word);
    (name == "eth.src" ? rewrite.eth_src : rewrite.eth_dst) = mac;
    return {};
  }
  const auto address = IpAddr::parse(value);
  if (!address || (name != "ip.src" && name != "ip.dst")) return usage(word);
  (name == "ip.src" ? rewrite.ip_src : rewrite.ip_dst) = address;
  return {};
}

/// "16>17,ttl-1", "tunnel/5>16", "16>192.0.2.2/5": added to the flow that has the same FROM.
Result<void> add_flow(std::string_view text, std::vector<Flow>& flows) {
  const auto words = split(text, ',');
  const size_t arrow = words[0].find('>');
  if (arrow == std::string_view::npos) return usage(text);
  const auto from = split(words[0].substr(0, arrow), '/');
  const auto to = split(words[0].substr(arrow + 1), '/');

  FlowKey key, mask;
  mask.in_port = mask.tunnel_key = UINT32_MAX;
  const bool from_tunnel = from[0] == "tunnel" && from.size() == 2;
  const auto in = from_tunnel ? kTunnelPort.number : number(from[0]);
  const auto in_key = from_tunnel ? number(from[1]) : 0;
  if (!in || !in_key) return usage(text);
  key.in_port = *in;
  key.tunnel_key = *in_key;

  Copy copy;
  if (to.size() == 2) {
    const auto remote = IpAddr::parse(to[0]);
    const auto out_key = number(to[1]);
    if (!remote || !out_key) return usage(text);
    copy.output = TunnelOutput{*remote, *out_key};
  } else {
    const auto out = number(to[0]);
    if (!out) return usage(text);
    copy.output = LocalOutput{DpPort{*out}};
  }
  for (size_t i = 1; i < words.size(); ++i)
    if (auto r = add_rewrite(words[i], copy.rewrite); !r) return r;

  const Match match = match_of(key, mask);
  for (Flow& flow : flows) {
    if (!(flow.match == match)) continue;
    flow.actions.copies.push_back(copy);
    return {};
  }
  flows.push_back({match, {{copy}}, 0});
  return {};
}

Result<void> set_up(EbpfDatapath& datapath, const std::vector<std::string_view>& words) {
  std::vector<Flow> flows;
  for (const std::string_view word : words) {
    if (word.starts_with("tunnel=")) {
      TunnelSpec tunnel;
      for (const std::string_view text : split(word.substr(7), ',')) {
        const auto address = IpAddr::parse(text);
        if (!address) return usage(word);
        if (tunnel.local.is_none())
          tunnel.local = *address;
        else
          tunnel.peers.push_back(*address);
      }
      if (auto r = datapath.set_tunnel(tunnel); !r) return r;
    } else if (word.starts_with("port=")) {
      const auto parts = split(word.substr(5), ',');
      const auto n = number(parts[0]);
      if (!n || parts.size() != 2) return usage(word);
      if (auto r = datapath.add_port({DpPort{*n}, std::string(parts[1])}); !r) return r;
    } else if (word.starts_with("flow=")) {
      if (auto r = add_flow(word.substr(5), flows); !r) return r;
    } else {
      return usage(word);
    }
  }
  for (const Flow& flow : flows)
    if (auto r = datapath.put_flow(flow); !r) return r;
  return {};
}

void show(const EbpfDatapath& datapath) {
  for (const PortSpec& port : datapath.ports()) {
    const auto s = datapath.port_stats(port.number).value_or({});
    fmt::print("port {} {}: in {} packets {} bytes, out {} packets {} bytes, dropped {}\n",
               port.number.number, port.interface, s.rx_packets, s.rx_bytes, s.tx_packets,
               s.tx_bytes, s.drops);
  }
  const auto flows = datapath.dump_flows().value_or({});
  for (const FlowEntry& e : flows)
    fmt::print("flow in_port {} tunnel_key {}: {} packets {} bytes: {}\n", e.flow.match.key.in_port,
               e.flow.match.key.tunnel_key, e.stats.packets, e.stats.bytes, format(e.flow.actions));
  const Counters c = datapath.counters();
  fmt::print("hits {} misses {} upcalls {} limited {} lost {}\n", c.flow_hits, c.flow_misses,
             c.upcalls, c.upcalls_limited, c.upcalls_lost);
  for (const auto& [reason, n] : c.drops) fmt::print("dropped {}: {}\n", reason, n);
}

Result<void> run(const std::vector<std::string_view>& arguments) {
  if (arguments.empty()) return usage("");
  EbpfOptions options;
  options.run_dir = std::string(arguments[0]);
  auto datapath = EbpfDatapath::open(options);
  if (!datapath) return datapath.error();
  const std::vector<std::string_view> words(arguments.begin() + 1, arguments.end());
  if (words == std::vector<std::string_view>{"destroy"}) return (*datapath)->destroy();
  if (words != std::vector<std::string_view>{"show"})
    if (auto done = set_up(**datapath, words); !done) return done;
  show(**datapath);
  return {};
}

}  // namespace
}  // namespace plexus::datapath

int main(int argc, char** argv) {
  const auto done = plexus::datapath::run({argv + 1, argv + argc});
  if (!done) fmt::print(stderr, "plexus-dp-smoke: {}\n", done.error().message);
  return done.ok() ? 0 : 1;
}
