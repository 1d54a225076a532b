// SPDX-License-Identifier: Apache-2.0
// What must hold for every connection through random clouds with all that remembers and translates: the answer to a packet that
// arrived, and an ICMP error about it, come back to the port that sent it, as if nothing had been translated; no two
// connections look alike where they arrive; all hosts that know a connection answer alike; what a tenant sends stays with it,
// but for what others have put outside. The seed of a failure is printed; PLEXUS_SEED=n runs one seed alone, with
// traces; PLEXUS_TEST_TIMES=n so many times as many seeds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "packet/build.h"
#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/headers.h"
#include "packet/text.h"
#include "sim/simulate.h"
#include "sim/test_connected_cloud.h"
#include "state/icmp_error.h"
#include "state/tracking.h"

namespace plexus::sim {
namespace {

constexpr uint8_t kFin = 1, kSyn = 2, kRst = 4, kPsh = 8, kAck = 16, kEsp = 50, kSctp = 132;
constexpr size_t kIpAt = 14;

struct Arrival {
  PortId port;
  HostId host;
  Frame frame;
  bool made = false;  ///< by a device: an error, a rejection, an echo reply
};

struct Counts {
  size_t packets = 0, begun = 0, arrived = 0, answers = 0, errors = 0, translated = 0, twice = 0,
         alike = 0, other_uplinks = 0, expired = 0, across = 0, refused = 0, others = 0, moves = 0;
};

state::Tuple tuple_of(const Frame& frame) {
  return state::sighting_of(parse_packet(frame), frame).tuple;
}

/// The IP packet in a frame, with this TTL.
Frame ip_with_ttl(const Frame& frame, uint8_t ttl) {
  Frame out(frame.begin() + kIpAt, frame.end());
  if (out[0] >> 4 == 6) {
    out[7] = ttl;
    return out;
  }
  out[8] = ttl;
  put_be16(out, 10, 0);
  put_be16(out, 10, internet_checksum(std::span(out).first(20)));
  return out;
}
uint8_t ttl_of(const Frame& frame) {
  return frame[kIpAt] >> 4 == 6 ? frame[kIpAt + 7] : frame[kIpAt + 8];
}
/// The IP packet that an ICMP error quotes.
Frame quote_of(const Frame& error) {
  const size_t at = kIpAt + (error[kIpAt] >> 4 == 6 ? 40 : 20) + 8;
  return {error.begin() + static_cast<std::ptrdiff_t>(at), error.end()};
}

/// One cloud, its hosts' tables, and the connections that have been seen to arrive.
class Story {
 public:
  Story(Dice& dice, Counts& counts) : dice_(dice), counts_(counts), cloud_(dice) {
    if (dice.one_in(3)) cloud_.midstream = state::Midstream::refuse;
  }

  void step() {
    now_ = now_ + std::chrono::milliseconds(10);
    if (dice_.one_in(250)) change();
    if (live_.empty() || dice_.one_in(3)) return ask();
    Live& live = live_[dice_.below(live_.size())];
    switch (dice_.below(6)) {
      case 0:
      case 1:
        return answer(live);
      case 2:
        return tell_error(live);
      case 3:
        return expire(live);
      default:
        return go_on(live);
    }
  }

 private:
  struct Live {
    const Station* from = nullptr;
    Frame sent, got;
    PortId to;
  };

  struct Sent {
    Outcome outcome;
    std::vector<Arrival> arrivals;
    std::string story;
  };

  // ---- what a cloud does with a packet

  Sent send(PortId port, const Frame& frame) {
    const HostId host = cloud_.host_of(port);
    state::ConnectionTable& table = *cloud_.tables.at(host);
    Sent s;
    ++counts_.packets;
    for (int tries = 0; tries < 3; ++tries) {
      Trace trace;
      s.outcome.clear();
      simulate(packet_of(frame, cloud_.cloud.dp_port(port)), *cloud_.snapshots.at(host),
               cloud_.view(host), now_, s.outcome, tells_ ? &trace : nullptr);
      if (tells_) s.story = format_frame(frame) + "\n" + trace.text();
      if (!s.outcome.begins) break;
      check_alike(port, frame, s);
      const auto done = table.commit(s.outcome.begins->record, now_);
      if (done.refusal != state::Refusal::none) {
        ++counts_.refused;
        s.outcome.verdict = Verdict::drop;
        return s;
      }
      if (!done.outdated && done.direction == state::Direction::original) break;
    }
    if (!tell(host, s.outcome)) {
      s.outcome.verdict = Verdict::drop;
      return s;
    }
    if (s.outcome.verdict == Verdict::forward)
      follow(host, frame, s.outcome.actions, false, s.arrivals);
    for (const Generated& made : s.outcome.generated)
      if (made.kind != GeneratedKind::neighbours)
        follow(host, made.frame, made.actions,
               made.kind != GeneratedKind::translated && made.kind != GeneratedKind::fragment,
               s.arrivals);
    return s;
  }

  /// As agents do: to those who have to know at once; news to the other end sooner or later, or never. False when somebody has
  /// another connection in its place.
  bool tell(HostId host, const Outcome& o) {
    state::ConnectionTable& table = *cloud_.tables.at(host);
    state::Connection record;
    if (o.begins) {
      record = o.begins->record;
    } else if (o.belongs && !o.belongs->error) {
      (void)table.saw(o.belongs->number, o.belongs->direction, o.belongs->segment, now_);
      record = table.connection(o.belongs->number);
    } else {
      return true;
    }
    for (const HostId other : o.tell) {
      const auto done = cloud_.tables.at(other)->commit(record, now_);
      if (done.refusal == state::Refusal::none) continue;
      // Of protocols without ports hosts lease whole addresses, several the same.
      const bool whole_address =
          record.original.protocol == kEsp || record.original.protocol == kSctp;
      EXPECT_TRUE(o.begins && whole_address && done.refusal == state::Refusal::tuple_taken)
          << to_string(done.refusal) << ": " << record.original.str() << " as "
          << record.final_tuple().str();
      if (const auto ours = table.find(record.zone, record.original, now_))
        table.erase(ours->number);
      ++counts_.refused;
      return false;
    }
    if (dice_.one_in(3)) return true;
    for (const PortId end : {record.port, record.reply_port})
      if (cloud_.cloud.bindings.contains(end) && cloud_.host_of(end) != host)
        (void)cloud_.tables.at(cloud_.host_of(end))->commit(record, now_);
    return true;
  }

  void follow(HostId host, const Frame& frame, const Actions& actions, bool made,
              std::vector<Arrival>& out) {
    for (const Copy& copy : actions.copies) {
      const Frame after = rewritten(copy.rewrite, parse_packet(frame), frame);
      if (const auto* local = std::get_if<LocalOutput>(&copy.output)) {
        arrive({*cloud_.snapshots.at(host)->local_port(local->port), host, after, made}, out);
      } else if (const auto* tunnel = std::get_if<TunnelOutput>(&copy.output)) {
        for (const auto& [id, there] : cloud_.cloud.hosts) {
          if (there.tunnel_addresses.front() != tunnel->remote) continue;
          Outcome egress;
          simulate(packet_of(after, kTunnelPort, tunnel->key), *cloud_.snapshots.at(id),
                   cloud_.view(id), now_, egress);
          for (const Copy& last : egress.actions.copies)
            arrive({*cloud_.snapshots.at(id)->local_port(std::get<LocalOutput>(last.output).port),
                    id, rewritten(last.rewrite, parse_packet(after), after), made},
                   out);
        }
      }
    }
  }

  void arrive(Arrival arrival, std::vector<Arrival>& out) {
    const ParsedPacket parsed = parse_packet(arrival.frame);
    ASSERT_EQ(parsed.error, ParseError::none);
    Frame completed = arrival.frame;
    if (parsed.key.is_ip()) {
      (void)complete_checksum(parsed, completed);
      ASSERT_EQ(arrival.frame, completed)
          << "wrong transport checksum: " << format_frame(arrival.frame);
      const Frame ip = ip_with_ttl(arrival.frame, ttl_of(arrival.frame));
      ASSERT_TRUE(std::equal(ip.begin(), ip.end(), arrival.frame.begin() + kIpAt))
          << "wrong header checksum: " << format_frame(arrival.frame);
    }
    out.push_back(std::move(arrival));
  }

  // ---- what stations send

  Frame packet(const Station& from, const IpAddr& to, uint8_t protocol, uint16_t src_port,
               uint16_t dst_port, uint8_t flags) {
    const PacketSpec spec{.eth_src = from.mac,
                          .eth_dst = cloud_.next_of(from, to),
                          .src = from.address[to.is_v6()],
                          .dst = to,
                          .ttl = static_cast<uint8_t>(20 + dice_.below(200)),
                          .tos = dice_.byte(),
                          .ipv4_id = static_cast<uint16_t>(dice_.below(65536))};
    std::vector<uint8_t> payload(4 * dice_.below(8));
    for (uint8_t& b : payload) b = dice_.byte();
    switch (protocol) {
      case ip_proto::kTcp:
        return tcp_packet(spec, src_port, dst_port, flags, 1, payload);
      case ip_proto::kUdp:
        return udp_packet(spec, src_port, dst_port, payload);
      case ip_proto::kIcmp:
      case ip_proto::kIcmpv6:
        return icmp_echo(spec, false, src_port, dst_port, payload);
      default:
        payload.resize(24);
        return ip_packet(spec, protocol, payload);
    }
  }

  void ask() {
    const Station& from = dice_.of(cloud_.stations);
    const bool six = dice_.one_in(2);
    IpAddr to;
    uint8_t protocol = 0;
    uint16_t port = 0;
    if (dice_.one_in(3)) {
      const Station& other = dice_.of(cloud_.stations);
      // Of another tenant's only what is outside.
      if (other.tenant != Station::kNobodys && other.tenant != from.tenant) return;
      to = other.address[six];
    } else {
      const ConnectedTenant& t = dice_.of(cloud_.tenants);
      const bool own = from.tenant != Station::kNobodys &&
                       &t == &cloud_.tenants[static_cast<size_t>(from.tenant)];
      const auto& all = own && !t.inside.empty() && dice_.one_in(2) ? t.inside : t.outside;
      const auto& service = dice_.of(all);
      to = service.address;
      protocol = service.protocol;
      port = service.port;
    }
    if (from.address[to.is_v6()] == to || cloud_.next_of(from, to) == MacAddr()) return;
    if (protocol == 0 || dice_.one_in(10)) {
      const std::vector<uint8_t> all{ip_proto::kTcp, ip_proto::kUdp,
                                     to.is_v6() ? ip_proto::kIcmpv6 : ip_proto::kIcmp, 50, 132};
      protocol = dice_.of(all);
    }
    if (port == 0 || dice_.one_in(10)) port = static_cast<uint16_t>(dice_.one_in(2) ? 80 : 8080);
    const auto source = static_cast<uint16_t>(1000 + dice_.below(4));
    const Frame frame = packet(from, to, protocol, source, port, kSyn);
    const Sent s = send(from.port, frame);
    check_tenants(from, frame, s);
    if (s.outcome.verdict != Verdict::forward) return;
    if (s.arrivals.size() != 1) return;
    const Arrival& a = s.arrivals.front();
    // It may be an answer, or of a connection that is known.
    if (s.outcome.belongs) return;
    check_unchanged(frame, a.frame, s.story);
    ++counts_.arrived;
    counts_.begun += s.outcome.begins.has_value();
    counts_.others +=
        !state::has_ports(protocol) && protocol != ip_proto::kIcmp && protocol != ip_proto::kIcmpv6;
    const size_t stages = s.outcome.begins ? s.outcome.begins->record.translations.size() : 0;
    counts_.translated += stages > 0 || tuple_of(frame) != tuple_of(a.frame);
    counts_.twice += stages > 1;
    const auto end = std::pair(zone_of(a.port), tuple_of(a.frame).reversed());
    const auto begin = std::pair(zone_of(from.port), tuple_of(frame));
    // One that was over begins anew, with what is chosen now.
    std::erase_if(live_, [&](const Live& old) {
      if (std::pair(zone_of(old.from->port), tuple_of(old.sent)) != begin) return false;
      ends_.erase({zone_of(old.to), tuple_of(old.got).reversed()});
      return true;
    });
    // And one that was over has made room for one with the same answers.
    std::erase_if(live_, [&](const Live& old) {
      if (std::pair(zone_of(old.to), tuple_of(old.got).reversed()) != end) return false;
      const PortId at = old.from->port;
      if (cloud_.tables.at(cloud_.host_of(at))
              ->find(state::Zone{zone_of(at)}, tuple_of(old.sent), now_))
        return false;
      ends_.erase(end);
      return true;
    });
    const auto [known, fresh] = ends_.emplace(end, begin);
    ASSERT_TRUE(fresh || known->second == begin)
        << known->second.second.str() << " and " << begin.second.str() << " are both "
        << end.second.reversed().str() << "\n"
        << s.story;
    live_.push_back({&from, frame, a.frame, a.port});
  }

  /// A machine moves, or pools share otherwise: known connections go on as they were.
  void change() {
    moved_.clear();
    if (dice_.one_in(2)) return cloud_.change_shares();
    const Station& machine = dice_.of(cloud_.stations);
    if (!cloud_.cloud.bridges.contains(BridgeId{machine.device})) return;  // behind a gateway
    cloud_.move(machine, dice_.of(cloud_.hosts), now_);
    ++counts_.moves;
  }

  /// More of the same, to the same; whatever the segment, but a SYN, which may begin anew.
  void go_on(const Live& live) {
    const std::vector<uint8_t> flags{kAck, kAck, kAck | kPsh, kAck | kFin, kRst};
    const Frame frame = again(live, dice_.of(flags));
    const Sent s = send(live.from->port, frame);
    check_tenants(*live.from, frame, s);
    ASSERT_TRUE(s.arrivals.size() == 1 && same_place(s.arrivals[0].port, live.to))
        << where(s) << " instead of " << name_of(live.to) << "\n"
        << s.story;
    ASSERT_EQ(tuple_of(s.arrivals[0].frame), tuple_of(live.got)) << s.story;
    check_unchanged(frame, s.arrivals[0].frame, s.story);
    check_alike(live.from->port, frame, s);
  }

  void answer(const Live& live) {
    const std::vector<uint8_t> flags{kSyn | kAck, kAck, kAck | kPsh, kAck | kFin, kAck | kRst};
    Frame frame = answer_to(live.got, dice_.of(flags));
    if (frame.empty()) return;
    PortId at = live.to;
    if (const auto other = other_uplink(live)) {
      at = *other;
      for (const Station& beyond : cloud_.stations) {
        if (beyond.port != at) continue;
        put_bytes(frame, 0, beyond.gateway.bytes);
        put_bytes(frame, 6, beyond.mac.bytes);
      }
      ++counts_.other_uplinks;
    }
    const Sent s = send(at, frame);
    ASSERT_TRUE(s.arrivals.size() == 1 && same_place(s.arrivals[0].port, live.from->port))
        << where(s) << " instead of " << name_of(live.from->port) << "\n"
        << "sent " << format_frame(live.sent) << "\ngot " << format_frame(live.got) << "\n"
        << s.story;
    ASSERT_EQ(tuple_of(s.arrivals[0].frame), tuple_of(live.sent).reversed()) << s.story;
    check_unchanged(frame, s.arrivals[0].frame, s.story);
    ++counts_.answers;
    check_alike(at, frame, s);
    // Whoever asked may refuse the answer.
    if (at == live.to && dice_.one_in(4))
      check_error(s.arrivals[0].port, parse_packet(s.arrivals[0].frame).key.dst_ip(),
                  s.arrivals[0].frame, at, frame);
  }

  /// The machine that got the packet refuses it; or, beyond a gateway, a router on the way.
  void tell_error(const Live& live) {
    IpAddr from = parse_packet(live.got).key.dst_ip();
    std::optional<IpAddr> router;
    if (!cloud_.cloud.bridges.contains(BridgeId{zone_of(live.to)}) && dice_.one_in(2))
      from = *(router = *IpAddr::parse(from.is_v4() ? "192.0.2.77" : "2001:db8:77::1"));
    check_error(live.to, from, live.got, live.from->port, live.sent, router);
  }

  /// An error about `got`, which had been sent as `sent` from `back`, as told at `at`: it comes back and quotes what was sent. From a
  /// router on the way it is from that one, else from whom the sender asked.
  void check_error(PortId at, const IpAddr& teller, const Frame& got, PortId back,
                   const Frame& sent, const std::optional<IpAddr>& router = {}) {
    static const std::vector<IcmpErrorKind> kKinds{
        IcmpErrorKind::port_unreachable, IcmpErrorKind::admin_prohibited,
        IcmpErrorKind::host_unreachable, IcmpErrorKind::packet_too_big};
    const ParsedPacket parsed = parse_packet(got);
    const auto error = icmp_error({.kind = dice_.of(kKinds),
                                   .from_mac = parsed.key.dst_mac(),
                                   .to_mac = parsed.key.src_mac(),
                                   .from_ip = teller,
                                   .mtu = 1300},
                                  parsed, got);
    if (!error) return;
    const Sent s = send(at, *error);
    ASSERT_TRUE(s.arrivals.size() == 1 && same_place(s.arrivals[0].port, back))
        << where(s) << " instead of " << name_of(back) << "\n"
        << "sent " << format_frame(sent) << "\ngot " << format_frame(got) << "\n"
        << s.story;
    const Arrival& a = s.arrivals[0];
    const FlowKey asked = parse_packet(sent).key, told = parse_packet(a.frame).key;
    ASSERT_EQ(told.dst_ip(), asked.src_ip()) << s.story;
    ASSERT_EQ(told.src_ip(), router.value_or(asked.dst_ip())) << s.story;
    ASSERT_EQ(quote_of(a.frame), ip_with_ttl(sent, ttl_of(got)))
        << format_frame(sent) << "\ntold: " << format_frame(a.frame) << "\n"
        << s.story;
    ++counts_.errors;
  }

  /// Whatever router says that a packet lived too long, a question or an answer, it says it of the packet that was sent.
  void expire(const Live& live) {
    const bool back = dice_.one_in(2);
    Frame frame = back ? answer_to(live.got, kAck) : again(live, kAck);
    if (frame.empty()) return;
    const PortId at = back ? live.to : live.from->port;
    const auto ttl = static_cast<uint8_t>(1 + dice_.below(4));
    const Frame ip = ip_with_ttl(frame, ttl);
    std::copy(ip.begin(), ip.end(), frame.begin() + kIpAt);
    const Sent s = send(at, frame);
    for (const Arrival& a : s.arrivals) {
      if (!a.made) continue;
      ASSERT_TRUE(same_place(a.port, at)) << name_of(a.port) << "\n" << s.story;
      ASSERT_EQ(parse_packet(a.frame).key.dst_ip(), parse_packet(frame).key.src_ip()) << s.story;
      const Frame quoted = quote_of(a.frame);
      ASSERT_EQ(quoted, ip_with_ttl(frame, quoted[0] >> 4 == 6 ? quoted[7] : quoted[8]))
          << format_frame(frame) << "\ntold: " << format_frame(a.frame) << "\n"
          << s.story;
      ++counts_.expired;
    }
  }

  // ---- what must hold

  /// Nothing but what translations and routers are for.
  static void check_unchanged(const Frame& before, const Frame& after, const std::string& story) {
    const ParsedPacket b = parse_packet(after);
    Frame back = after;
    Rewrite undo = state::rewrite_between(tuple_of(after), tuple_of(before));
    if (!undo.empty()) back = rewritten(undo, b, after);
    ASSERT_EQ(back.size(), before.size()) << story;
    ASSERT_LE(ttl_of(after), ttl_of(before)) << story;
    ASSERT_GE(ttl_of(after) + 5, ttl_of(before)) << story;
    ASSERT_EQ(Frame(back.begin() + kIpAt, back.end()), ip_with_ttl(before, ttl_of(after)))
        << format_frame(before) << "\nthere: " << format_frame(after) << "\n"
        << story;
  }

  /// Another host with the same records answers alike, also about what begins; of leases each host has its own.
  void check_alike(PortId at, const Frame& frame, const Sent& s) {
    const Outcome& here = s.outcome;
    if (!dice_.one_in(4) || (!here.belongs && !here.begins)) return;
    // An answer of a member, to a question that no router had to remember: send() has compared it before it was stored.
    if (here.begins && cloud_.tables.at(cloud_.host_of(at))
                           ->find(here.begins->record.zone, here.begins->record.original, now_))
      return;
    if (here.begins && std::any_of(here.begins->commit.stages.begin(),
                                   here.begins->commit.stages.end(), [](const state::Stage& stage) {
                                     return std::holds_alternative<state::LeasePort>(stage);
                                   }))
      return;
    const HostId host = cloud_.host_of(at), other = dice_.of(cloud_.hosts);
    if (other == host) return;
    auto& there = moved_[{at, other}];
    if (!there) there = cloud_.snapshot(other, {{at, other}});
    Outcome o;
    Trace trace;
    simulate(packet_of(frame, cloud_.cloud.dp_port(at)), *there, cloud_.view(host), now_, o,
             tells_ ? &trace : nullptr);
    const std::string story = s.story + "\nthere:\n" + trace.text();
    ASSERT_EQ(o.verdict, here.verdict) << story;
    ASSERT_EQ(o.mask, here.mask) << story;
    ASSERT_EQ(o.begins.has_value(), here.begins.has_value()) << story;
    if (o.begins) {
      ASSERT_EQ(o.begins->record.translations, here.begins->record.translations) << story;
      ASSERT_EQ(o.begins->record.reply_port, here.begins->record.reply_port) << story;
    }
    ASSERT_EQ(o.actions.copies.size(), here.actions.copies.size()) << story;
    for (size_t i = 0; i < o.actions.copies.size(); ++i)
      ASSERT_EQ(o.actions.copies[i].rewrite, here.actions.copies[i].rewrite) << story;
    ++counts_.alike;
  }

  /// What arrives is at the sender's, or nobody's, or was sent to what another has put outside.
  void check_tenants(const Station& from, const Frame& frame, const Sent& s) {
    if (from.tenant == Station::kNobodys) return;
    for (const Arrival& a : s.arrivals) {
      const int tenant = tenant_of(a.port);
      if (tenant == Station::kNobodys || tenant == from.tenant) continue;
      ++counts_.across;
      const IpAddr to = parse_packet(frame).key.dst_ip();
      ASSERT_TRUE(cloud_.is_public_of(tenant, to)) << name_of(a.port) << "\n" << s.story;
    }
  }

  // ---- small ones

  Frame again(const Live& live, uint8_t flags) {
    Frame frame = live.sent;
    const ParsedPacket parsed = parse_packet(frame);
    if (parsed.key.ip_proto == ip_proto::kTcp) {
      frame[parsed.l4_offset + 13] = flags;
      (void)complete_checksum(parse_packet(frame), frame);
    }
    return frame;
  }
  /// What the machine that got it says; nothing for what nobody answers.
  static Frame answer_to(const Frame& got, uint8_t flags) {
    const ParsedPacket parsed = parse_packet(got);
    const FlowKey& k = parsed.key;
    const PacketSpec spec{
        .eth_src = k.dst_mac(), .eth_dst = k.src_mac(), .src = k.dst_ip(), .dst = k.src_ip()};
    switch (k.ip_proto) {
      case ip_proto::kTcp:
        return tcp_packet(spec, k.tp_dst.host(), k.tp_src.host(), flags);
      case ip_proto::kUdp:
        return udp_packet(spec, k.tp_dst.host(), k.tp_src.host(), text_bytes("yes"));
      case ip_proto::kIcmp:
      case ip_proto::kIcmpv6: {
        const auto reply = echo_reply(parsed, got);
        return reply.value_or(Frame());
      }
      default: {
        const auto at = static_cast<std::ptrdiff_t>(kIpAt + (k.is_ipv6() ? 40 : 20));
        std::vector<uint8_t> payload(got.begin() + at, got.end());
        if (state::has_ports(k.ip_proto)) {  // SCTP
          std::swap(payload[0], payload[2]);
          std::swap(payload[1], payload[3]);
        }
        return ip_packet(spec, k.ip_proto, payload);
      }
    }
  }
  [[nodiscard]] Uuid zone_of(PortId port) const {
    for (const Station& s : cloud_.stations)
      if (s.port == port) return s.device;
    return {};
  }
  [[nodiscard]] int tenant_of(PortId port) const {
    for (const Station& s : cloud_.stations)
      if (s.port == port) return s.tenant;
    return Station::kNobodys;
  }
  [[nodiscard]] std::string name_of(PortId port) const { return cloud_.cloud.ports.at(port).name; }
  [[nodiscard]] std::string where(const Sent& s) const {
    std::string out(to_string(s.outcome.verdict));
    for (const Arrival& a : s.arrivals) out += " " + name_of(a.port) + " " + format_frame(a.frame);
    return out;
  }
  /// Any gateway of a router is as good as another.
  [[nodiscard]] bool same_place(PortId a, PortId b) const {
    if (a == b) return true;
    return std::any_of(cloud_.tenants.begin(), cloud_.tenants.end(), [&](const auto& t) {
      const auto has = [&](PortId p) {
        return std::find(t.uplinks.begin(), t.uplinks.end(), p) != t.uplinks.end();
      };
      return has(a) && has(b);
    });
  }
  std::optional<PortId> other_uplink(const Live& live) {
    if (!dice_.one_in(2)) return std::nullopt;
    for (const ConnectedTenant& t : cloud_.tenants)
      if (t.uplinks.size() == 2 && same_place(live.to, t.uplinks[0]))
        return live.to == t.uplinks[0] ? t.uplinks[1] : t.uplinks[0];
    return std::nullopt;
  }

  /// Traces cost more than all the rest: a seed alone has them.
  const bool tells_ = std::getenv("PLEXUS_SEED") != nullptr;
  Dice& dice_;
  Counts& counts_;
  ConnectedCloud cloud_;
  std::vector<Live> live_;
  std::map<std::pair<Uuid, state::Tuple>, std::pair<Uuid, state::Tuple>> ends_;
  std::map<std::pair<PortId, HostId>, std::shared_ptr<const model::Snapshot>> moved_;
  MonoTime now_ = MonoTime{} + std::chrono::seconds(1000);
};

/// Seeds in parts, which may run at once.
constexpr uint64_t kParts = 8;
class ConnectionProperty : public testing::TestWithParam<uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Part, ConnectionProperty, testing::Range<uint64_t>(0, kParts));

TEST_P(ConnectionProperty, AnswersAndErrorsComeBackThroughTranslations) {
  Counts n;
  for (const uint64_t seed : seeds(500)) {
    if (seed % kParts != GetParam()) continue;
    SCOPED_TRACE("PLEXUS_SEED=" + std::to_string(seed));
    Dice dice(seed + 4000000);
    Story story(dice, n);
    for (int i = 0; i < 200; ++i) {
      story.step();
      if (HasFatalFailure()) return;
    }
  }
  std::printf(
      "%zu packets, %zu connections (%zu with records, %zu translated, %zu twice or more, %zu of "
      "other protocols)\n",
      n.packets, n.arrived, n.begun, n.translated, n.twice, n.others);
  std::printf("%zu answers (%zu by another gateway), %zu errors, %zu of them of routers\n",
              n.answers, n.other_uplinks, n.errors + n.expired, n.expired);
  std::printf(
      "%zu asked at another host, %zu to what another tenant has outside, %zu conflicts, %zu "
      "machines moved\n",
      n.alike, n.across, n.refused, n.moves);
  if (std::getenv("PLEXUS_SEED") != nullptr) return;
  EXPECT_GT(n.arrived, n.packets / 20);
  EXPECT_GT(n.translated, n.arrived / 3);
  EXPECT_GT(n.twice, n.arrived / 10);
  EXPECT_GT(n.others, n.arrived / 50);
  EXPECT_GT(n.answers, n.packets / 10);
  EXPECT_GT(n.other_uplinks, n.answers / 1000);
  EXPECT_GT(n.errors, n.packets / 20);
  EXPECT_GT(n.expired, n.packets / 200);
  EXPECT_GT(n.alike, n.packets / 50);
  EXPECT_GT(n.across, n.packets / 1000);
  EXPECT_GT(n.moves, n.packets / 5000);
  EXPECT_LT(n.refused, n.packets / 500);
}

}  // namespace
}  // namespace plexus::sim
