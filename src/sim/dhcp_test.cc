// SPDX-License-Identifier: Apache-2.0
#include "packet/dhcp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "flow/flow_table.h"
#include "packet/build.h"
#include "packet/checksum.h"
#include "packet/dhcp6.h"
#include "packet/text.h"
#include "packet/text_reader.h"
#include "sim/simulate.h"
#include "sim/simulation.h"
#include "sim/test_cloud.h"

namespace plexus::sim {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

class DhcpAnswers : public testing::Test {
 protected:
  DhcpAnswers() {
    h1 = cloud.host("h1", "192.0.2.1");
    red = cloud.bridge("red");
    const RouterId rt = cloud.router("rt");
    port = cloud.router_port("rt-red", rt, "02:00:00:00:01:fe", {"10.0.1.1/24", "fd00:1::1/64"});
    cloud.plug(red, port);
    vm1 = cloud.vm("vm1", red, h1, "02:00:00:00:01:01", {"10.0.1.11", "fd00:1::11"});
    vm2 = cloud.vm("vm2", red, h1, "02:00:00:00:01:02", {"10.0.1.12", "fd00:1::12"});
    auto& four = cloud.dhcp_subnet("four", red, "10.0.1.0/24");
    four.gateway = IpAddr::parse("10.0.1.1");
    auto& six = cloud.dhcp_subnet("six", red, "fd00:1::/64");
    six.dns_servers = {*IpAddr::parse("fd00::53")};
    four_id = four.id;
    six_id = six.id;
  }

  model::DhcpSubnet& four() { return cloud.dhcp_subnets[four_id]; }
  model::DhcpSubnet& six() { return cloud.dhcp_subnets[six_id]; }

  Outcome send(const Frame& f) {
    snapshot = cloud.snapshot(h1);
    trace = Trace();
    const Packet packet = packet_of(f, cloud.dp_port(vm1));
    Outcome out = simulate(packet, *snapshot, {}, &trace);
    EXPECT_EQ(simulate(packet, *snapshot, {}).generated, out.generated)
        << "a trace changes nothing";
    return out;
  }
  /// From vm1, to all; the layers behind Ethernet.
  Outcome send4(const std::string& message) {
    return send(
        *parse_frame("eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff | ipv4 0.0.0.0 > "
                     "255.255.255.255 | udp 68 > 67 | dhcp " +
                     message + " mac 02:00:00:00:01:01"));
  }
  Outcome send6(const std::string& message) {
    return send(
        *parse_frame("eth 02:00:00:00:01:01 > 33:33:00:01:00:02 | ipv6 fe80::ff:fe00:101 > "
                     "ff02::1:2 | udp 546 > 547 | dhcp6 " +
                     message));
  }
  /// The one answer, which goes back by vm1's port alone; what stands in it from `layer` on.
  std::string answer(const Outcome& out, std::string_view layer) {
    EXPECT_EQ(out.verdict, Verdict::consumed) << trace.text();
    EXPECT_FALSE(out.cacheable);
    EXPECT_THAT(out.generated, SizeIs(1)) << trace.text();
    if (out.generated.size() != 1) return {};
    const Generated& made = out.generated.front();
    EXPECT_EQ(made.kind, GeneratedKind::dhcp);
    EXPECT_EQ(made.router.uuid, vm1.uuid);
    EXPECT_THAT(made.actions.copies, ElementsAre(Copy{{}, LocalOutput{cloud.dp_port(vm1)}}));
    EXPECT_TRUE(transport_checksum_ok(parse_packet(made.frame), made.frame));
    const std::string text = format_frame(made.frame);
    const size_t at = text.find(layer);
    EXPECT_NE(at, text.npos) << text;
    return text.substr(std::min(at, text.size()));
  }
  std::string answer4(const std::string& message) { return answer(send4(message), "dhcp "); }
  std::string answer6(const std::string& message) { return answer(send6(message), "dhcp6 "); }
  void expect_silence(const Outcome& out, const std::string& why) {
    EXPECT_EQ(out.verdict, Verdict::consumed) << trace.text();
    EXPECT_THAT(out.generated, IsEmpty());
    EXPECT_THAT(trace.text(), HasSubstr(why));
  }

  TestCloud cloud;
  HostId h1;
  BridgeId red;
  PortId port, vm1, vm2;
  DhcpSubnetId four_id, six_id;
  std::shared_ptr<const model::Snapshot> snapshot;
  Trace trace;
};

TEST_F(DhcpAnswers, OffersAndGives) {
  EXPECT_EQ(answer(send4("discover xid 7 broadcast"), "eth "),
            "eth 02:00:00:00:01:fe > ff:ff:ff:ff:ff:ff | ipv4 10.0.1.1 > 255.255.255.255 ttl 64 | "
            "udp 67 > 68 | dhcp offer xid 7 broadcast your 10.0.1.11 mac 02:00:00:00:01:01 "
            "server-id 10.0.1.1 lease 86400 mask 255.255.255.0 t1 43200 t2 75600 router 10.0.1.1 "
            "broadcast-address 10.0.1.255");
  EXPECT_THAT(trace.text(), HasSubstr("DHCP subnet four: discover from 02:00:00:00:01:01: offers "
                                      "10.0.1.11 for 86400 s"));
  // Who takes unicast gets it.
  EXPECT_THAT(answer(send4("discover"), "eth "),
              StartsWith("eth 02:00:00:00:01:fe > 02:00:00:00:01:01 | ipv4 10.0.1.1 > 10.0.1.11 "));
  EXPECT_THAT(answer4("request requested 10.0.1.11 server-id 10.0.1.1"),
              StartsWith("dhcp ack your 10.0.1.11 "));
  EXPECT_THAT(answer4("request requested 10.0.1.11"), StartsWith("dhcp ack your 10.0.1.11 "))
      << "after a restart of the machine";
}

TEST_F(DhcpAnswers, RefusesWhatIsNotTheMachines) {
  EXPECT_EQ(answer(send4("request xid 9 requested 10.0.1.12 server-id 10.0.1.1"), "eth "),
            "eth 02:00:00:00:01:fe > ff:ff:ff:ff:ff:ff | ipv4 10.0.1.1 > 255.255.255.255 ttl 64 | "
            "udp 67 > 68 | dhcp nak xid 9 mac 02:00:00:00:01:01 server-id 10.0.1.1 message \"not "
            "the address of this machine\"");
  EXPECT_THAT(answer4("request requested 192.168.0.5"), StartsWith("dhcp nak "));
  EXPECT_THAT(answer4("request client 10.0.1.99"), StartsWith("dhcp nak "));
  cloud.ports[vm1].addresses.clear();
  EXPECT_THAT(answer4("request client 10.0.1.11"), StartsWith("dhcp nak "))
      << "it has lost its address";
  expect_silence(send4("discover"), "the port has no address in it");
}

TEST_F(DhcpAnswers, IsSilent) {
  expect_silence(send4("request requested 10.0.1.11 server-id 10.0.1.2"), "another server");
  expect_silence(send4("discover relay 10.0.1.9"), "relayed");
  expect_silence(send4("request"), "names no address");
  expect_silence(send4("release client 10.0.1.11"), "taken note of");
  expect_silence(send4("decline requested 10.0.1.11"), "somebody else uses 10.0.1.11");
  expect_silence(send4("offer"), "none of a client's");
  const std::string start =
      "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff | ipv4 0.0.0.0 > 255.255.255.255 | udp 68 > 67 ";
  expect_silence(send(*parse_frame(start + "| dhcp discover mac 02:00:00:00:01:02")),
                 "another MAC than the port's");
  expect_silence(send(*parse_frame(start + "| payload 300 bytes")), "malformed");
  expect_silence(send(*parse_frame(start)), "malformed");
  expect_silence(send(*parse_frame(start + "sum 0x1234 | dhcp discover mac 02:00:00:00:01:01")),
                 "damaged");
  EXPECT_THAT(
      send(*parse_frame(start + "sum partial | dhcp discover mac 02:00:00:00:01:01")).generated,
      SizeIs(1))
      << "a guest leaves the checksum to its network card";
  auto other = *parse_frame(start + "| dhcp discover mac 02:00:00:00:01:01");
  other[11] = 9;
  expect_silence(send(other), "not come from the port's MAC");
}

TEST_F(DhcpAnswers, RenewsByUnicast) {
  const std::string renewal =
      "eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ipv4 10.0.1.11 > 10.0.1.1 | udp 68 > 67 | dhcp "
      "request client 10.0.1.11 mac 02:00:00:00:01:01";
  EXPECT_THAT(answer(send(*parse_frame(renewal)), "eth "),
              StartsWith("eth 02:00:00:00:01:fe > 02:00:00:00:01:01 | ipv4 10.0.1.1 > 10.0.1.11 "
                         "ttl 64 | udp 67 > 68 | dhcp ack client 10.0.1.11 your 10.0.1.11 "));
  // A server of its own has a MAC of its own, and says so when asked.
  four().server_address = IpAddr::parse("10.0.1.2");
  const MacAddr mac = dhcp_mac_of(four());
  EXPECT_FALSE(mac.is_multicast());
  EXPECT_EQ(mac.bytes[0] & 2, 2);
  const Outcome arp = send(*parse_frame(
      "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff | arp request who 10.0.1.2 tell 10.0.1.11"));
  EXPECT_THAT(arp.actions.copies,
              ElementsAre(Copy{{}, NeighbourAnswer{mac, *IpAddr::parse("10.0.1.2"), false}}));
  EXPECT_TRUE(arp.cacheable);
  EXPECT_THAT(
      answer(send(*parse_frame("eth 02:00:00:00:01:01 > " + mac.str() +
                               " | ipv4 10.0.1.11 > 10.0.1.2 | udp 68 > 67 | dhcp request client "
                               "10.0.1.11 mac 02:00:00:00:01:01")),
             "eth "),
      StartsWith("eth " + mac.str() + " > 02:00:00:00:01:01 | ipv4 10.0.1.2 > 10.0.1.11 "));
  EXPECT_EQ(send(*parse_frame(renewal)).verdict, Verdict::drop) << "the router's to refuse";
  EXPECT_THAT(trace.text(), Not(HasSubstr("DHCP subnet")));
}

TEST_F(DhcpAnswers, Informs) {
  EXPECT_EQ(answer(send4("inform client 10.0.1.77"), "ipv4 "),
            "ipv4 10.0.1.1 > 10.0.1.77 ttl 64 | udp 67 > 68 | dhcp ack client 10.0.1.77 mac "
            "02:00:00:00:01:01 server-id 10.0.1.1 mask 255.255.255.0 router 10.0.1.1 "
            "broadcast-address 10.0.1.255");
  expect_silence(send4("inform client 10.9.9.9"), "not of the subnet");
  // Of the subnet that its address is in, whichever the port's are of.
  auto& second = cloud.dhcp_subnet("second", red, "10.0.2.0/24");
  second.gateway = IpAddr::parse("10.0.2.1");
  EXPECT_THAT(answer4("inform client 10.0.2.77"), HasSubstr(" server-id 10.0.2.1 "));
  EXPECT_THAT(answer4("inform client 10.0.1.77"), HasSubstr(" server-id 10.0.1.1 "));
  cloud.ports[vm1].addresses.clear();
  EXPECT_THAT(answer4("inform client 10.0.2.77"), HasSubstr(" server-id 10.0.2.1 "));
  expect_silence(send4("inform client 10.0.2.77 server-id 10.0.1.1"), "not of the subnet");
}

TEST_F(DhcpAnswers, TellsBootFirmwareWhereItLooks) {
  const auto boots = [&](std::vector<model::DhcpOption> options) {
    four().options = std::move(options);
    const std::string text = answer4("discover");
    return text.substr(0, text.find(" server-id"));
  };
  const auto words = [](std::string_view text) {
    return std::vector<uint8_t>(text.begin(), text.end());
  };
  const std::string offer = "dhcp offer your 10.0.1.11";
  const std::string mac = " mac 02:00:00:00:01:01";
  EXPECT_EQ(boots({{66, words("10.0.1.99")}, {67, words("pxe.img")}}),
            offer + " server 10.0.1.99" + mac + " file \"pxe.img\"");
  EXPECT_EQ(boots({{150, {10, 0, 5, 6, 10, 0, 5, 7}}}), offer + " server 10.0.5.6" + mac);
  EXPECT_EQ(boots({{66, words("10.0.1.99")}, {150, {10, 0, 5, 6}}}),
            offer + " server 10.0.1.99" + mac);
  EXPECT_EQ(boots({{66, words("tftp.example.net")}, {150, {10, 0, 5, 6}}}),
            offer + " server 10.0.5.6" + mac)
      << "a name is for those who can ask for its address";
  EXPECT_EQ(boots({{66, words("fd00::1")}, {67, {'a', 0, 'b'}}}), offer + mac + " file \"a\"");
  EXPECT_EQ(boots({{150, {10, 0}}, {67, std::vector<uint8_t>(128, 'x')}}), offer + mac)
      << "the option has room for it";
  boots({{66, words("10.0.1.99")}});
  EXPECT_THAT(answer4("request requested 10.0.1.99"), Not(HasSubstr(" server 10")));
}

TEST_F(DhcpAnswers, APriorityTagIsNoVlan) {
  const std::string ether = "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff ";
  const std::string discover =
      "| ipv4 0.0.0.0 > 255.255.255.255 | udp 68 > 67 | dhcp discover mac "
      "02:00:00:00:01:01";
  EXPECT_THAT(answer(send(*parse_frame(ether + "| vlan 0 pcp 5 " + discover)), "eth "),
              StartsWith("eth 02:00:00:00:01:fe > 02:00:00:00:01:01 | ipv4 10.0.1.1 > 10.0.1.11 "));
  EXPECT_EQ(send(*parse_frame(ether + "| vlan 0 | vlan 5 " + discover)).verdict, Verdict::forward);
  EXPECT_EQ(send(*parse_frame(ether + "| vlan 5 " + discover)).verdict, Verdict::forward);
}

TEST_F(DhcpAnswers, Options) {
  auto& s = four();
  s.dns_servers = {*IpAddr::parse("10.0.0.53"), *IpAddr::parse("fd00::53"),
                   *IpAddr::parse("10.0.0.54")};
  s.ntp_servers = {*IpAddr::parse("10.0.0.123")};
  s.domain = "cloud.example";
  s.mtu = 1400;
  s.lease_time = 1000;
  s.routes = {{*IpPrefix::parse("10.1.0.0/16"), *IpAddr::parse("10.0.1.9")}};
  const std::string lease = "server-id 10.0.1.1 lease 1000 mask 255.255.255.0 t1 500 t2 875";
  EXPECT_EQ(answer4("discover parameters 1,121,3,6,15,26,42"),
            "dhcp offer your 10.0.1.11 mac 02:00:00:00:01:01 " + lease +
                " routes 0.0.0.0/0>10.0.1.1,10.1.0.0/16>10.0.1.9 router 10.0.1.1 dns "
                "10.0.0.53,10.0.0.54 domain \"cloud.example\" mtu 1400 ntp 10.0.0.123");
  EXPECT_THAT(answer4("discover parameters 26,6"), HasSubstr(lease + " mtu 1400 dns 10.0.0.53"))
      << "in the order of the request";
  EXPECT_THAT(answer4("discover parameters 249"),
              HasSubstr(lease + " option 249 000a000101100a010a000109"));
  EXPECT_THAT(answer4("discover"), Not(HasSubstr("option 249")));
  EXPECT_THAT(answer4("discover parameters 6 client-id 0102"),
              HasSubstr("server-id 10.0.1.1 client-id 0102 lease"))
      << "RFC 6842";

  s.options = {{42, {10, 0, 0, 1}}, {66, {'t'}}, {54, {1, 2, 3, 4}}, {51, {0, 0, 0, 1}}};
  cloud.ports[vm1].dhcp_options = {{15, {'v', 'm'}}, {66, {'p'}}, {300, {1}}};
  const std::string given = answer4("discover parameters 6,15");
  EXPECT_THAT(given, HasSubstr(lease + " dns 10.0.0.53,10.0.0.54 domain \"vm\" ntp 10.0.0.1 option "
                                       "66 70"))
      << "the port's before the subnet's; asked for or not";
  EXPECT_THAT(given, Not(HasSubstr("1.2.3.4"))) << "the exchange depends on it";
}

TEST_F(DhcpAnswers, OptionsAsManyAsFit) {
  four().options = {
      {100, std::vector<uint8_t>(250, 1)}, {101, std::vector<uint8_t>(250, 2)}, {102, {3}}};
  const auto has = [](const Outcome& out) {
    const Frame& frame = out.generated.at(0).frame;
    std::vector<uint8_t> codes;
    for (const auto& [code, value] :
         DhcpView::of(*udp_payload(parse_packet(frame), frame))->message().options)
      if (code >= 100) codes.push_back(code);
    return codes;
  };
  const Outcome small = send4("discover");
  EXPECT_THAT(has(small), ElementsAre(100, 102));
  EXPECT_LE(parse_packet(small.generated.at(0).frame).length, 14u + 576u);
  EXPECT_THAT(trace.text(), HasSubstr("left out, since it takes no more: option 101"));
  EXPECT_THAT(has(send4("discover max-message 1400")), ElementsAre(100, 101, 102));
  EXPECT_THAT(has(send4("discover max-message 10")), ElementsAre(100, 102));
  four().options.push_back({103, std::vector<uint8_t>(60000, 1)});
  EXPECT_LE(send4("discover max-message 65535").generated.at(0).frame.size(), 1514u);
}

TEST_F(DhcpAnswers, OfTwoSubnets) {
  auto& second = cloud.dhcp_subnet("second", red, "10.0.2.0/24");
  second.gateway = IpAddr::parse("10.0.2.1");
  cloud.ports[vm1].addresses = {*IpAddr::parse("10.0.2.5"), *IpAddr::parse("10.0.1.11"),
                                *IpAddr::parse("10.0.1.12")};
  EXPECT_THAT(answer4("discover"), HasSubstr("your 10.0.2.5 ")) << "the port's first address";
  EXPECT_THAT(answer4("discover requested 10.0.1.11"),
              HasSubstr("your 10.0.1.11 mac 02:00:00:00:01:01 server-id 10.0.1.1 "));
  EXPECT_THAT(answer4("request requested 10.0.1.11 server-id 10.0.1.1"),
              HasSubstr("ack your 10.0.1.11 "));
  EXPECT_THAT(answer4("request requested 10.0.1.11 server-id 10.0.2.1"),
              HasSubstr("nak mac 02:00:00:00:01:01 server-id 10.0.2.1 "));
  EXPECT_THAT(answer4("request client 10.0.1.12"), HasSubstr("nak "))
      << "only the first address of a subnet is given";
}

TEST_F(DhcpAnswers, OnlyWhereAndWhenTheyAreMeant) {
  const std::string discover = "discover mac 02:00:00:00:01:01";
  four().admin_up = false;
  EXPECT_EQ(send4("discover").verdict, Verdict::forward) << "to whoever else serves";
  EXPECT_EQ(send6("information-request").verdict, Verdict::consumed) << "the other family goes on";
  four().unreadable = true;
  Outcome out = send4("discover");
  EXPECT_EQ(out.verdict, Verdict::drop);
  EXPECT_EQ(out.reason, DropReason::newer_schema);
  cloud.dhcp_subnets.clear();
  EXPECT_EQ(send4("discover").verdict, Verdict::forward);
  EXPECT_EQ(send6("solicit client-id 01").verdict, Verdict::forward);
}

TEST_F(DhcpAnswers, PassesSecurity) {
  cloud.ports[vm1].port_security = true;
  cloud.ports[vm1].security_groups = {cloud.security_group("nothing")};
  EXPECT_THAT(answer4("discover broadcast"), StartsWith("dhcp offer "));
  EXPECT_THAT(answer6("solicit client-id 01"), StartsWith("dhcp6 advertise "));
  // Rules see the request as all else.
  const ChainId chain = cloud.chain("no-dhcp");
  auto& rule = cloud.rule("drop", chain, 1, model::RuleAction::drop);
  rule.protocol = 17;
  cloud.ports[vm1].in_chain = chain;
  EXPECT_EQ(send4("discover").reason, DropReason::filtered_by_rule);
  cloud.ports[vm1].in_chain.reset();
  cloud.ports[vm1].out_chain = chain;
  expect_silence(send4("discover"), "filtered_by_rule");
  // Nobody else's datagrams pass so.
  cloud.ports[vm1].out_chain.reset();
  four().admin_up = false;
  EXPECT_EQ(send4("discover").reason, DropReason::filtered_by_security_group);
}

TEST_F(DhcpAnswers, WhoAsksFromAnAddressThatIsNotItsOwnIsTold) {
  cloud.ports[vm1].port_security = true;
  const auto request = [&](const std::string& to, const std::string& mac) {
    return send(*parse_frame("eth " + mac + " > " + to +
                             " | udp 68 > 67 | dhcp request client "
                             "10.0.1.99 mac 02:00:00:00:01:01"));
  };
  const std::string own = "02:00:00:00:01:01";
  EXPECT_THAT(answer(request("ff:ff:ff:ff:ff:ff | ipv4 10.0.1.99 > 255.255.255.255", own), "dhcp "),
              StartsWith("dhcp nak "));
  EXPECT_THAT(answer(request("02:00:00:00:01:fe | ipv4 10.0.1.99 > 10.0.1.1", own), "dhcp "),
              StartsWith("dhcp nak "));
  // Its MAC is its own all the same, and what nobody answers must be from its address.
  EXPECT_EQ(
      request("ff:ff:ff:ff:ff:ff | ipv4 10.0.1.99 > 255.255.255.255", "02:00:00:00:01:09").reason,
      DropReason::spoofed_source);
  EXPECT_EQ(request("02:00:00:00:01:02 | ipv4 10.0.1.99 > 10.0.1.12", own).reason,
            DropReason::spoofed_source);
  const auto solicit = *parse_frame(
      "eth 02:00:00:00:01:01 > 33:33:00:01:00:02 | ipv6 fe80::a1b2:c3d4:e5f6:1 > ff02::1:2 | udp "
      "546 > 547 | dhcp6 solicit client-id 01 ia 1 0 0");
  EXPECT_THAT(answer(send(solicit), "dhcp6 "), StartsWith("dhcp6 advertise "))
      << "not every machine makes its link-local address of its MAC";
  cloud.dhcp_subnets.clear();
  EXPECT_EQ(request("ff:ff:ff:ff:ff:ff | ipv4 10.0.1.99 > 255.255.255.255", own).reason,
            DropReason::spoofed_source);
  EXPECT_EQ(send(solicit).reason, DropReason::spoofed_source);
}

TEST_F(DhcpAnswers, ChangesReachFlows) {
  const Frame frame = *parse_frame(
      "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff | ipv4 0.0.0.0 > 255.255.255.255 | udp 68 > 67 | "
      "dhcp discover mac 02:00:00:00:01:01");
  cloud.dhcp_subnets.clear();
  const Outcome before = send(frame);
  ASSERT_TRUE(before.cacheable);
  model::Topology topology(h1);
  topology.apply(cloud.changes(h1));
  auto& again = cloud.dhcp_subnet("four", red, "10.0.1.0/24");
  const std::vector<model::Change> change = {model::DhcpSubnetChange{again.id, again}};
  const auto delta = topology.apply(change);
  const auto tags = tags_of(delta);
  EXPECT_TRUE(std::any_of(tags.begin(), tags.end(), [&](const TagChange& c) {
    return std::any_of(before.dependencies.begin(), before.dependencies.end(),
                       [&](const Dependency& d) { return d.tag == c.tag; }) &&
           (!c.region || c.region->covers(packet_of(frame, cloud.dp_port(vm1)).key));
  }));
}

constexpr const char* kMe = "client-id 00030001020000000101";

TEST_F(DhcpAnswers, Version6) {
  const std::string mac = dhcp_mac_of(six()).str(),
                    server = "server-id " + format_hex(dhcp6::duid_of(dhcp_mac_of(six())));
  const std::string me = kMe;
  EXPECT_EQ(
      answer(send6("solicit xid 5 " + me + " ia 7 0 0 parameters 23"), "eth "),
      "eth " + mac + " > 02:00:00:00:01:01 | ipv6 " + link_local_of(dhcp_mac_of(six())).str() +
          " > fe80::ff:fe00:101 ttl 64 | udp 547 > 546 | dhcp6 advertise xid 5 " + me + " " +
          server + " preference 255 ia 7 43200 69120 address fd00:1::11 86400 86400 dns fd00::53");
  EXPECT_EQ(answer6("solicit rapid-commit " + me + " ia 7 0 0 parameters 24"),
            "dhcp6 reply " + me + " " + server +
                " rapid-commit ia 7 43200 69120 address fd00:1::11 86400 86400");
  const std::string its = " ia 7 43200 69120 address fd00:1::11 86400 86400";
  const std::string other = " ia 7 0 0 address fd00:1::99 1 1",
                    afar = " ia 7 0 0 address fd00:9::9 1 1";
  const std::string reply = "dhcp6 reply " + me + " " + server;
  const std::string known = me + " " + server, none = " parameters 1000";
  EXPECT_EQ(answer6("request " + known + other + none), reply + its);
  EXPECT_EQ(answer6("request " + known + afar + none), reply + " ia 7 0 0 ia-status 4");
  EXPECT_EQ(
      answer6("request " + known + " ia 7 0 0 ia 8 0 0 option 25 000000090000000000000000" + none),
      reply + its + " ia 8 0 0 ia-status 2 option 25 000000090000000000000000000d00020006");
  EXPECT_EQ(answer6("renew " + known + other + none), reply + its + " address fd00:1::99 0 0");
  EXPECT_EQ(answer6("renew " + known + " ia 6 0 0 ia 7 0 0 address fd00:1::11 1 1" + none),
            reply + " ia 6 0 0 ia-status 3" + its);
  EXPECT_EQ(answer6("rebind " + me + afar + none), reply + its + " address fd00:9::9 0 0");
  EXPECT_EQ(answer6("confirm " + me + other), reply + " status 0");
  EXPECT_EQ(answer6("confirm " + me + afar), reply + " status 4");
  EXPECT_EQ(answer6("release " + known + other), reply + " status 0 ia 7 0 0 ia-status 3");
  EXPECT_EQ(answer6("release " + known + " ia 7 0 0 address fd00:1::11 1 1"), reply + " status 0");
  EXPECT_EQ(answer6("decline " + known + " ia 7 0 0 address fd00:1::11 1 1"), reply + " status 0");
  EXPECT_EQ(answer6("information-request parameters 23,32"),
            "dhcp6 reply " + server + " dns fd00::53 refresh 86400");
  EXPECT_EQ(answer6("information-request " + known), reply + " dns fd00::53 refresh 86400");
}

TEST_F(DhcpAnswers, Version6IsSilent) {
  const std::string me = kMe;
  expect_silence(send6("solicit ia 1 0 0"), "does not say who asks");
  expect_silence(send6("solicit server-id 01 " + me), "where it must not");
  expect_silence(send6("request " + me), "names no server where it must");
  expect_silence(send6("request server-id 00030001020000000000 " + me), "another server");
  expect_silence(send6("information-request ia 1 0 0"), "asks for none");
  expect_silence(send6("confirm " + me + " ia 1 0 0"), "names no address");
  expect_silence(send6("reply " + me), "none of a client's");
  expect_silence(send6("solicit option 3 0102 " + me), "an option of the message is malformed");
  std::string many = "solicit " + me;
  for (int i = 0; i < 9; ++i) many += " ia " + std::to_string(i) + " 0 0";
  expect_silence(send6(many), "an option of the message is malformed");
  const std::string start = "eth 02:00:00:00:01:01 > 33:33:00:01:00:02 | ipv6 ";
  expect_silence(
      send(*parse_frame(start + "fd00:1::11 > ff02::1:2 | udp 546 > 547 | dhcp6 solicit " + me)),
      "link-local");
  expect_silence(send(*parse_frame(start + "fe80::1 > ff02::1:2 | udp 546 > 547 | payload hex 01")),
                 "malformed");
  EXPECT_EQ(send(*parse_frame(start + "fe80::1 > ff02::1:3 | udp 546 > 547")).verdict,
            Verdict::forward)
      << "another group with that MAC";
}

TEST_F(DhcpAnswers, Version6WithoutAnAddress) {
  cloud.ports[vm1].addresses = {*IpAddr::parse("10.0.1.11")};
  const std::string me = kMe,
                    server = " server-id " + format_hex(dhcp6::duid_of(dhcp_mac_of(six())));
  EXPECT_EQ(answer6("solicit rapid-commit " + me + " ia 7 0 0 parameters 1000"),
            "dhcp6 advertise " + me + server + " preference 255 ia 7 0 0 ia-status 2");
  EXPECT_EQ(answer6("renew " + me + server + " ia 7 0 0 address fd00:1::11 1 1 parameters 1000"),
            "dhcp6 reply " + me + server + " ia 7 0 0 ia-status 3");
  EXPECT_EQ(answer6("rebind " + me + " ia 7 0 0 address fd00:1::11 1 1 parameters 1000"),
            "dhcp6 reply " + me + server + " ia 7 0 0 address fd00:1::11 0 0");
  EXPECT_THAT(answer6("information-request"), HasSubstr("dns fd00::53"));
}

TEST_F(DhcpAnswers, Version6Options) {
  six().domain = "cloud.example";
  six().ntp_servers = {*IpAddr::parse("fd00::7b")};
  six().lease_time = ~0u;
  six().options = {{59, {'u'}}, {3, {1}}};
  cloud.ports[vm1].dhcp_options = {{59, {1}}, {300, {2}}};
  const std::string text = answer6(std::string("solicit ia 1 0 0 parameters 23,24,31,56 ") + kMe);
  EXPECT_THAT(text,
              HasSubstr(" ia 1 4294967295 4294967295 address fd00:1::11 4294967295 4294967295 "
                        "dns fd00::53 option 24 05636c6f7564076578616d706c6500 sntp fd00::7b "
                        "option 56 00010010fd00000000000000000000000000007b option 59 75 "
                        "option 300 02"))
      << text;
  six().server_address = IpAddr::parse("fe80::5");
  EXPECT_THAT(answer(send6(std::string("solicit ") + kMe), "ipv6 "), StartsWith("ipv6 fe80::5 > "));
}

}  // namespace
}  // namespace plexus::sim
