// SPDX-License-Identifier: Apache-2.0
// Any bytes as a small topology, sensible or not, and a frame that enters it: the simulation ends, tells a trace without being
// changed by it, keeps the promises of its outcome, answers every frame in the mask that it gives alike, and allocates no more than a bound.
#include <algorithm>
#include <random>
#include <set>

#include "allocated.h"
#include "flow/match_text.h"
#include "fuzz.h"
#include "packet/text.h"
#include "seed_frames.h"
#include "sim/simulate.h"
#include "sim/test_cloud.h"
#include "sim/test_filters.h"
#include "sim/test_services.h"
#include "sim/test_translations.h"

namespace plexus::sim {
namespace {

constexpr size_t kCloudBytes = 48;

/// Reads decisions from the input; zeros behind its end.
class Decisions {
 public:
  explicit Decisions(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  unsigned below(unsigned n) { return next() % n; }
  bool yes() { return (next() & 1) != 0; }
  bool rarely() { return next() > 0xe0; }

 private:
  uint8_t next() { return at_ < bytes_.size() ? bytes_[at_++] : uint8_t{0}; }
  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
};

std::string v4(unsigned net, unsigned host) {
  return "10.0." + std::to_string(net) + "." + std::to_string(host);
}
std::string v6(unsigned net, unsigned host) {
  return "fd00:" + std::to_string(net) + "::" + std::to_string(host);
}
std::string mac(unsigned kind, unsigned n) {
  return MacAddr{{2, 0, 0, 0, static_cast<uint8_t>(kind), static_cast<uint8_t>(n)}}.str();
}

/// The last two bytes of the cloud are the seed of its filters; zeros: none.
class FilterDice {
 public:
  explicit FilterDice(uint32_t seed) : random_(seed) {}
  uint64_t below(uint64_t n) { return random_() % n; }
  bool one_in(uint64_t n) { return below(n) == 0; }
  uint8_t byte() { return static_cast<uint8_t>(random_()); }

 private:
  std::mt19937_64 random_;
};

void add_filters_of(std::span<const uint8_t> bytes, TestCloud& cloud) {
  if (bytes.size() < kCloudBytes) return;
  const auto seed = static_cast<uint32_t>(bytes[kCloudBytes - 2] << 8 | bytes[kCloudBytes - 1]);
  if (seed == 0) return;
  FilterDice dice(seed);
  add_filters(cloud, dice);
  for (uint64_t n = dice.below(4); n > 0; --n) mutate_filters(cloud, dice);
  if (dice.one_in(2)) add_services(cloud, dice);
  if (dice.one_in(2) || cloud.routers.empty()) return;
  add_translations(cloud, dice);
  for (uint64_t n = dice.below(4); n > 0; --n) change_translations(cloud, dice);
}

/// The byte before those is a set of things to say about DHCP; zero: there is none.
void add_dhcp_of(std::span<const uint8_t> bytes, TestCloud& cloud) {
  if (bytes.size() < kCloudBytes || bytes[kCloudBytes - 3] == 0) return;
  const unsigned what = bytes[kCloudBytes - 3];
  const auto has = [what](unsigned bit) { return (what >> bit & 1) != 0; };
  const BridgeId bridge = TestCloud::bridge_id("b0");
  auto& four = cloud.dhcp_subnet("four", bridge, "10.0.0.0/24");
  four.gateway = IpAddr::parse(v4(0, 200));
  if (has(0)) four.server_address = IpAddr::parse(v4(0, 250));
  if (has(1)) four.admin_up = false;
  if (has(2)) four.unreadable = true;
  if (has(3)) four.options = {{43, std::vector<uint8_t>(600, 1)}, {121, {}}, {53, {9}}};
  if (has(4)) four.routes = {{*IpPrefix::parse("10.9.0.0/17"), *four.gateway}};
  if (has(5)) cloud.dhcp_subnet("all", bridge, "0.0.0.0/0").lease_time = ~0u;
  auto& six = cloud.dhcp_subnet("six", bridge, has(6) ? "::/0" : "fd00:0::/64");
  six.domain = has(7) ? "a..b" : "a.example";
  six.dns_servers = {*IpAddr::parse(v6(0, 53)), *IpAddr::parse(v4(0, 53))};
  six.ntp_servers = six.dns_servers;
  if (has(3)) six.options = {{59, std::vector<uint8_t>(2000, 1)}, {1, {1}}};
}

struct Cloud {
  TestCloud records;
  HostId self;
  std::vector<PortId> here;
};

Cloud cloud_of(Decisions& d) {
  Cloud out;
  TestCloud& c = out.records;
  const HostId h0 = c.host("h0", "192.0.2.1"), h1 = c.host("h1", "192.0.2.2");
  out.self = h0;
  std::vector<BridgeId> bridges;
  std::vector<RouterId> routers;
  std::vector<PortId> all, router_ports;
  for (unsigned i = 0, n = 1 + d.below(3); i < n; ++i)
    bridges.push_back(c.bridge("b" + std::to_string(i)));
  for (unsigned i = 0, n = d.below(3); i < n; ++i)
    routers.push_back(c.router("r" + std::to_string(i)));
  for (unsigned i = 0, n = 1 + d.below(5); i < n; ++i) {
    const unsigned net = d.below(static_cast<unsigned>(bridges.size()));
    const std::vector<std::string> addresses =
        d.rarely() ? std::vector<std::string>{} : std::vector{v4(net, i + 1), v6(net, i + 1)};
    const PortId id =
        c.vm("v" + std::to_string(i), bridges[net], d.yes() ? h1 : h0, mac(1, i), addresses);
    all.push_back(id);
    if (i == 0) c.bind(id, h0);
    if (c.bindings[id].host == h0) out.here.push_back(id);
  }
  for (const RouterId router : routers) {
    for (unsigned net = 0; net < bridges.size(); ++net) {
      if (d.rarely()) continue;
      const unsigned n = static_cast<unsigned>(router_ports.size());
      const PortId id = c.router_port("rp" + std::to_string(n), router, mac(2, n),
                                      {v4(net, 200 + n) + "/24", v6(net, 200 + n) + "/64"});
      router_ports.push_back(id);
      all.push_back(id);
      c.plug(bridges[net], id);
    }
  }
  for (unsigned i = 0, n = router_ports.empty() ? 0 : d.below(4); i < n; ++i) {
    const bool six = d.yes();
    const unsigned net = d.below(4), hop = d.below(4);
    static constexpr unsigned kLengths4[] = {0, 8, 24, 32}, kLengths6[] = {0, 32, 64, 128};
    const IpAddr to = *IpAddr::parse(six ? v6(net, 1) : v4(net, 1));
    const unsigned length = six ? kLengths6[d.below(4)] : kLengths4[d.below(4)];
    const IpPrefix prefix = IpPrefix{to, static_cast<uint8_t>(length)}.network();
    c.route("route" + std::to_string(i), routers[d.below(static_cast<unsigned>(routers.size()))],
            prefix.str(), router_ports[d.below(static_cast<unsigned>(router_ports.size()))],
            d.yes() ? (six ? v6(hop, 201) : v4(hop, 201)) : "", d.below(2),
            static_cast<model::RouteKind>(d.below(3)));
  }
  for (unsigned i = 0, n = d.below(4); i < n; ++i) {  // sometimes for the worse
    const PortId port = all[d.below(static_cast<unsigned>(all.size()))];
    switch (d.below(7)) {
      case 0:
        c.ports[port].admin_up = false;
        break;
      case 1:
        c.ports[port].unreadable = true;
        break;
      case 2:
        c.ports[port].peer = all[d.below(static_cast<unsigned>(all.size()))];
        break;
      case 3:
        c.bridges[bridges[0]].admin_up = false;
        break;
      case 4:
        c.bindings.erase(port);
        break;
      case 5:
        c.hosts[h1].tunnel_addresses.clear();
        break;
      default:
        c.ports.erase(port);
    }
  }
  return out;
}

std::string told(std::span<const uint8_t> frame, const Trace& trace) {
  return format_frame(frame) + "\n" + trace.text();
}

/// What an outcome promises, whatever it says.
void check_outcome(const Outcome& o, const Packet& packet, const std::string& story) {
  FUZZ_CHECK((o.verdict == Verdict::forward) == !o.actions.drops(), story);
  FUZZ_CHECK((o.verdict == Verdict::drop) == (o.reason != DropReason::none), story);
  FUZZ_CHECK((o.verdict == Verdict::postpone) == !o.missing.empty(), story);
  FUZZ_CHECK(!o.cacheable || o.verdict == Verdict::forward || o.verdict == Verdict::drop, story);
  const std::set<Dependency> dependencies(o.dependencies.begin(), o.dependencies.end());
  FUZZ_CHECK(dependencies.size() == o.dependencies.size(), story);
  FUZZ_CHECK(packet.parsed.error == ParseError::none || !o.cacheable, story);
  for (const Generated& made : o.generated)
    FUZZ_CHECK(parse_packet(made.frame).error == ParseError::none && !made.actions.drops(), story);
}

/// What one simulation of these clouds may allocate, whatever comes in: lists of its outcome and of the ways through 32 devices at
/// most, and frames that devices make of it. Several times what is ever seen; a loop that grows a list would pass it at once.
constexpr uint64_t kMostAllocations = 500, kMostBytes = 64 * 1024, kMostBytesPerByte = 64;

void check_allocated(const fuzz::Allocated& before, const Packet& packet,
                     const std::string& story) {
  const uint64_t times = fuzz::allocated.times - before.times,
                 bytes = fuzz::allocated.bytes - before.bytes;
  FUZZ_CHECK(
      times <= kMostAllocations && bytes <= kMostBytes + kMostBytesPerByte * packet.frame.size(),
      story + std::to_string(times) + " allocations of " + std::to_string(bytes) + " bytes");
}

/// Records of the packet's connection, or of its reverse, in the zone of each device, with any facts; by the seed of the filters.
void add_records(std::span<const uint8_t> bytes, const Packet& packet, const Cloud& cloud,
                 MonoTime now, state::ConnectionTable& table) {
  if (bytes.size() < kCloudBytes || packet.parsed.error != ParseError::none) return;
  FilterDice dice(static_cast<uint32_t>(bytes[kCloudBytes - 2] << 8 | bytes[kCloudBytes - 1]) + 1);
  const state::Sighting s = state::sighting_of(packet.parsed, packet.frame);
  if (s.kind == state::SightingKind::untracked || s.tuple.src.is_none()) return;
  const auto add = [&](const Uuid& device) {
    if (dice.one_in(4)) return;
    state::Connection c;
    c.original = dice.one_in(2) ? s.tuple : s.tuple.reversed();
    c.zone = c.reply_zone = {device};
    if (!cloud.here.empty()) c.port = c.reply_port = cloud.here[dice.below(cloud.here.size())];
    if (dice.one_in(3)) {
      state::Translation t{device, {}, state::TranslationKind::source, c.original};
      t.after.src.bytes[3] = dice.byte();
      if (t.after != c.original) c.translations.push_back(t);
    }
    c.seen = {static_cast<uint8_t>(dice.byte() | state::seen::kPacket), dice.byte()};
    c.last_seen = now;
    (void)table.commit(c, now);
  };
  for (const auto& [id, bridge] : cloud.records.bridges) add(id.uuid);
  for (const auto& [id, router] : cloud.records.routers) add(id.uuid);
}

/// Frames that differ from this one in a byte and are in the same class get the same answer.
void check_class(const Outcome& o, const Packet& packet, const model::Snapshot& snapshot,
                 const ConnectionView& known, MonoTime now, const std::string& story) {
  const Match match = match_of(packet.key, o.mask);
  fuzz::Bytes other(packet.frame.begin(), packet.frame.end());
  for (size_t at = other.size() % 5; at < std::min<size_t>(other.size(), 80); at += 5) {
    const uint8_t before = other[at];
    other[at] = static_cast<uint8_t>(before ^ (1u << at % 8));
    const Packet near = packet_of(other, DpPort{packet.key.in_port}, packet.key.tunnel_key);
    if (near.parsed.error == ParseError::none && match.covers(near.key) &&
        fits(o.actions, near.parsed, other, 0)) {
      Outcome again;
      simulate(near, snapshot, known, now, again);
      FUZZ_CHECK(again.cacheable && again.begins.has_value() == o.begins.has_value() &&
                     again.belongs.has_value() == o.belongs.has_value() &&
                     again.actions == o.actions && again.reason == o.reason,
                 story + "but " + format_frame(other) + ": " + format(again.actions));
    }
    other[at] = before;
  }
}

uint64_t run(std::span<const uint8_t> bytes) {
  const size_t cut = std::min(bytes.size(), kCloudBytes);
  Decisions d(bytes.first(cut));
  Cloud cloud = cloud_of(d);
  add_filters_of(bytes.first(cut), cloud.records);
  add_dhcp_of(bytes.first(cut), cloud.records);
  const auto snapshot = cloud.records.snapshot(cloud.self);
  const auto frame = bytes.subspan(cut);

  // By each port here, and from the fabric with the key of one port and of one bridge.
  std::vector<std::pair<DpPort, uint32_t>> ways;
  for (const PortId port : cloud.here) ways.emplace_back(cloud.records.dp_port(port), 0);
  for (const auto& [port, binding] : cloud.records.bindings)
    if (binding.host == cloud.self) ways.emplace_back(kTunnelPort, binding.tunnel_key);
  for (const auto& [bridge, key] : cloud.records.hosts.at(cloud.self).flood_keys)
    ways.emplace_back(kTunnelPort, key);
  uint64_t reached = 0;
  constexpr size_t kMostWays = 3;
  for (size_t n = 0; n < std::min(ways.size(), kMostWays); ++n) {
    const auto& [port, key] = ways[(n + bytes.size()) % ways.size()];
    const Packet packet = packet_of(frame, port, key);
    Trace trace;
    const MonoTime now = MonoTime{} + std::chrono::seconds(100);
    state::ConnectionTable table(state::ConnectionLimits{});
    add_records(bytes.first(cut), packet, cloud, now, table);
    const ConnectionView known{
        &table, bytes.size() % 2 == 0 ? state::Midstream::refuse : state::Midstream::take_up};
    Outcome outcome, untold;
    simulate(packet, *snapshot, known, now, outcome, &trace);
    const std::string story = told(frame, trace);
    check_outcome(outcome, packet, story);
    FUZZ_CHECK(outcome.verdict == Verdict::forward ||
                   (!outcome.begins && !outcome.belongs && outcome.tell.empty()),
               story);
    FUZZ_CHECK(!outcome.begins || state::is_sound(outcome.begins->record), story);
    const fuzz::Allocated before = fuzz::allocated;
    simulate(packet, *snapshot, known, now, untold);
    check_allocated(before, packet, story);
    FUZZ_CHECK(untold.verdict == outcome.verdict && untold.actions == outcome.actions &&
                   untold.mask == outcome.mask && untold.dependencies == outcome.dependencies,
               story);
    const Outcome last = simulate_last_try(packet, *snapshot, now, nullptr, known);
    FUZZ_CHECK(last.verdict != Verdict::postpone, story);
    if (outcome.cacheable) check_class(outcome, packet, *snapshot, known, now, story);
    reached = reached * 41 + (static_cast<uint64_t>(outcome.verdict) << 16 |
                              static_cast<uint64_t>(outcome.reason) << 8 |
                              std::min<size_t>(trace.steps().size(), 31) << 3 |
                              std::min<size_t>(outcome.actions.copies.size(), 7));
  }
  return reached;
}

}  // namespace
}  // namespace plexus::sim

int main(int argc, char** argv) {
  using namespace plexus;
  fuzz::Subject subject{.seeds = {}, .words = {}, .run = sim::run};
  // Clouds of one bridge, of two with a router, and of three with two; frames to a neighbour, to a gateway, to everybody.
  const fuzz::Bytes clouds[] = {{0, 0, 2, 0, 0, 0, 0, 1, 1, 0, 0, 0},
                                {1, 1, 3, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 1},
                                {2, 2, 4, 0, 0, 0, 1, 0, 1, 2, 0, 1, 1, 0, 0, 0, 0, 0, 0, 3}};
  std::vector<std::string> texts{
      "eth 02:00:00:00:01:00 > 02:00:00:00:01:01 | ipv4 10.0.0.1 > 10.0.0.2 | udp 1 > 2",
      "eth 02:00:00:00:01:00 > 02:00:00:00:02:00 | ipv4 10.0.0.1 > 10.0.1.2 ttl 2 | udp 1 > 2",
      "eth 02:00:00:00:01:00 > 02:00:00:00:02:00 | ipv6 fd00:0::1 > fd00:1::2 | tcp 1 > 2",
      "eth 02:00:00:00:01:00 > ff:ff:ff:ff:ff:ff | arp request who 10.0.0.200 tell 10.0.0.1",
      "ipv6 fd00:0::1 > ff02::1:ff00:200 | nd solicit target fd00:0::200"};
  for (const std::string_view text :
       {fuzz::kSeedFrames[3], fuzz::kSeedFrames[6], fuzz::kSeedFrames[9], fuzz::kSeedFrames[15]})
    texts.emplace_back(text);
  for (const fuzz::Bytes& cloud : clouds) {
    for (const std::string& text : texts) {
      const Result<Frame> frame = parse_frame(text);
      FUZZ_CHECK(frame.ok(), text);
      fuzz::Bytes seed = cloud;
      seed.resize(sim::kCloudBytes);
      // Every other one with filters.
      if (subject.seeds.size() % 2 == 1) seed.back() = static_cast<uint8_t>(subject.seeds.size());
      seed.insert(seed.end(), frame->begin(), frame->end());
      subject.seeds.push_back(std::move(seed));
    }
  }
  for (const std::string_view text :
       {"eth 02:00:00:00:01:00 > ff:ff:ff:ff:ff:ff | ipv4 0.0.0.0 > 255.255.255.255 | udp 68 > 67 "
        "| "
        "dhcp discover mac 02:00:00:00:01:00 parameters 1,3,6,121 client-id 01 max-message 1500 "
        "size "
        "0",
        "eth 02:00:00:00:01:00 > 02:00:00:00:02:00 | ipv4 10.0.0.1 > 10.0.0.200 | udp 68 > 67 | "
        "dhcp "
        "request mac 02:00:00:00:01:00 client 10.0.0.1 size 0",
        "eth 02:00:00:00:01:00 > 33:33:00:01:00:02 | ipv6 fe80::1 > ff02::1:2 | udp 546 > 547 | "
        "dhcp6 "
        "solicit client-id 01 rapid-commit ia 1 0 0 address fd00::1 1 1 parameters 23,24,56",
        "eth 02:00:00:00:01:00 > 33:33:00:01:00:02 | ipv6 fe80::1 > ff02::1:2 | udp 546 > 547 | "
        "dhcp6 "
        "rebind client-id 01 ia 1 0 0 address fd00::9 1 1 ia 2 0 0 option 25 "
        "000000010000000000000000",
        "eth 02:00:00:00:01:00 > ff:ff:ff:ff:ff:ff | arp request who 10.0.0.250 tell 10.0.0.1"}) {
    const Result<Frame> frame = parse_frame(text);
    FUZZ_CHECK(frame.ok(), std::string(text));
    for (const uint8_t what : {uint8_t{0x80}, uint8_t{0x39}}) {
      fuzz::Bytes seed = clouds[1];
      seed.resize(sim::kCloudBytes);
      seed[sim::kCloudBytes - 3] = what;
      seed.insert(seed.end(), frame->begin(), frame->end());
      subject.seeds.push_back(std::move(seed));
    }
  }
  return fuzz::fuzz_main(argc, argv, subject);
}
