// SPDX-License-Identifier: Apache-2.0
#include "store/topology/filter_rules.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <functional>

#include "store/topology/layout.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kTcp = "\x06", kUdp = "\x11", kIcmp = "\x01", kIcmpv6 = "\x3a";
const std::string kIpv4("\x08\x00", 2), kArp = "\x08\x06", kIpv6 = "\x86\xdd", kLldp = "\x88\xcc";
const std::string kSsh("\x00\x16\x00\x16", 4);

struct RuleCase {
  std::string refused;  ///< what the error says; "": it is taken
  std::function<void(v1::Rule&)> edit;
};

class FilterRulesTest : public TopologyTest {
 protected:
  FilterRulesTest() : chain_(create(named<v1::Chain>("chain"))) {}
  v1::Rule rule_in(const v1::Chain& chain) {
    v1::Rule rule;
    rule.set_chain(chain.id());
    rule.set_position(1);
    rule.set_action(v1::Rule::DROP);
    return rule;
  }
  v1::Rule jump(const v1::Chain& from, const v1::Chain& to) {
    auto rule = rule_in(from);
    rule.set_action(v1::Rule::JUMP);
    rule.set_jump_chain(to.id());
    return rule;
  }
  template <typename M>
  std::string refused(const M& wanted) {
    auto created = writer_->create(wanted);
    EXPECT_FALSE(created.ok());
    return created.ok() ? "" : created.error().message;
  }
  std::vector<v1::Chain> chains(size_t count) {
    std::vector<v1::Chain> all;
    for (size_t i = 0; i < count; ++i)
      all.push_back(create(named<v1::Chain>(("c" + std::to_string(i)).c_str())));
    return all;
  }
  std::vector<std::string> problems() { return check_store(*store_)->problems; }

  v1::Chain chain_;
};

TEST_F(FilterRulesTest, ConditionsThatNeverHoldTogetherAreRefused) {
  const std::vector<RuleCase> cases = {
      {"", [](v1::Rule&) {}},
      {"jump_chain: is required with action jump",
       [](v1::Rule& r) { r.set_action(v1::Rule::JUMP); }},
      {"jump_chain: is for action jump", [&](v1::Rule& r) { r.set_jump_chain(chain_.id()); }},
      {"destination_ports: needs protocol tcp, udp or sctp",
       [](v1::Rule& r) { r.add_destination_ports(kSsh); }},
      {"source_ports: needs protocol",
       [](v1::Rule& r) {
         r.add_source_ports(kSsh);
         r.set_protocol(kIcmp);
       }},
      {"destination_ports: needs protocol",
       [](v1::Rule& r) {
         r.add_destination_ports(kSsh);
         r.set_protocol(kTcp);
         r.add_inverted(v1::Rule::PROTOCOL);
       }},
      {"",
       [](v1::Rule& r) {
         r.add_destination_ports(kSsh);
         r.set_protocol(kTcp);
         r.set_tcp_flags("\x02\x12");
         r.add_inverted(v1::Rule::DESTINATION_PORTS);
       }},
      {"tcp_flags: needs protocol tcp",
       [](v1::Rule& r) {
         r.set_protocol(kUdp);
         r.set_tcp_flags("\x02\x02");
       }},
      {"icmp_type: needs protocol icmp or icmpv6", [](v1::Rule& r) { r.set_icmp_type(8); }},
      {"icmp_code: needs protocol",
       [](v1::Rule& r) {
         r.set_icmp_code(0);
         r.set_protocol(kTcp);
       }},
      {"destination: is for IPv6, but source is for IPv4",
       [](v1::Rule& r) {
         r.set_source(prefix_raw("10.0.0.0/8"));
         r.set_destination(prefix_raw("fd00::/8"));
       }},
      {"",
       [](v1::Rule& r) {
         r.set_source(prefix_raw("10.0.0.0/8"));
         r.set_destination(prefix_raw("fd00::/8"));
         r.add_inverted(v1::Rule::DESTINATION);
       }},
      {"ethertype: is for IPv6, but protocol is for IPv4",
       [](v1::Rule& r) {
         r.set_protocol(kIcmp);
         r.set_ethertype(kIpv6);
       }},
      {"protocol: is for IPv6, but source is for IPv4",
       [](v1::Rule& r) {
         r.set_protocol(kIcmpv6);
         r.set_source(prefix_raw("10.0.0.0/8"));
       }},
      {"",
       [](v1::Rule& r) {
         r.set_ethertype(kArp);
         r.set_source(prefix_raw("10.0.0.0/8"));
       }},
      {"ethertype: is for IPv4, but source is for IPv6",
       [](v1::Rule& r) {
         r.set_ethertype(kArp);
         r.set_source(prefix_raw("fd00::/8"));
       }},
      {"protocol: is for IP packets",
       [](v1::Rule& r) {
         r.set_ethertype(kArp);
         r.set_protocol(kTcp);
       }},
      {"dscp: is for IP packets",
       [](v1::Rule& r) {
         r.set_ethertype(kLldp);
         r.set_dscp(46);
       }},
      {"source: is for IP and ARP",
       [](v1::Rule& r) {
         r.set_ethertype(kLldp);
         r.set_source(prefix_raw("10.0.0.0/8"));
       }},
      {"",
       [](v1::Rule& r) {
         r.set_ethertype(kArp);
         r.add_inverted(v1::Rule::ETHERTYPE);
         r.set_protocol(kTcp);
       }},
      {"destination_ports: later fragments have none",
       [](v1::Rule& r) {
         r.set_fragment(v1::Rule::LATER);
         r.set_protocol(kTcp);
         r.add_destination_ports(kSsh);
       }},
      {"",
       [](v1::Rule& r) {
         r.set_fragment(v1::Rule::ANY_FRAGMENT);
         r.set_protocol(kTcp);
         r.add_destination_ports(kSsh);
       }},
      {"inverted: src_mac is not given", [](v1::Rule& r) { r.add_inverted(v1::Rule::SRC_MAC); }},
      {"inverted: the same value is there twice",
       [](v1::Rule& r) {
         r.set_dscp(1);
         r.add_inverted(v1::Rule::DSCP);
         r.add_inverted(v1::Rule::DSCP);
       }},
      {"protocol: want one byte", [](v1::Rule& r) { r.set_protocol("tcp"); }},
      {"dscp: 64 is not within", [](v1::Rule& r) { r.set_dscp(64); }},
      {"src_mac: want a MAC address and its mask", [](v1::Rule& r) { r.set_src_mac("short"); }},
  };
  for (const RuleCase& c : cases) {
    auto rule = rule_in(chain_);
    c.edit(rule);
    std::string text;
    google::protobuf::TextFormat::PrintToString(rule, &text);
    SCOPED_TRACE(text);
    if (c.refused.empty()) {
      create(rule);
    } else {
      EXPECT_THAT(refused(rule), HasSubstr(c.refused));
    }
  }
  // An update is held to the same.
  auto rule = create(rule_in(chain_));
  rule.add_destination_ports(kSsh);
  EXPECT_FALSE(writer_->update(rule).ok());
}

TEST_F(FilterRulesTest, SecurityRulesToo) {
  const auto group = create(named<v1::SecurityGroup>("web"));
  const auto rule = [&](const std::function<void(v1::SecurityRule&)>& edit) {
    v1::SecurityRule r;
    r.set_security_group(group.id());
    r.set_direction(v1::SecurityRule::INGRESS);
    edit(r);
    return r;
  };
  create(rule([](auto&) {}));
  create(rule([](auto& r) {
    r.set_protocol(kTcp);
    r.set_ports(kSsh);
    r.set_remote_prefix(prefix_raw("fd00::/8"));
    r.set_ethertype(kIpv6);
  }));
  EXPECT_THAT(refused(rule([](auto& r) { r.set_ports(kSsh); })),
              HasSubstr("ports: needs protocol"));
  EXPECT_THAT(refused(rule([](auto& r) { r.set_ethertype(kArp); })),
              HasSubstr("ethertype: a security group is about IP"));
  EXPECT_THAT(refused(rule([](auto& r) { r.set_icmp_type(8); })),
              HasSubstr("icmp_type: needs protocol"));
  EXPECT_THAT(refused(rule([](auto& r) {
                r.set_protocol(kIcmp);
                r.set_icmp_code(0);
              })),
              HasSubstr("icmp_code: needs icmp_type"));
  EXPECT_THAT(refused(rule([](auto& r) {
                r.set_ethertype(kIpv4);
                r.set_remote_prefix(prefix_raw("fd00::/8"));
              })),
              HasSubstr("ethertype: is for IPv4, but remote_prefix is for IPv6"));
  EXPECT_THAT(refused(rule([&](auto& r) {
                r.set_remote_prefix(prefix_raw("fd00::/8"));
                r.set_remote_group(group.id());
              })),
              HasSubstr("exclude each other"));
}

TEST_F(FilterRulesTest, PortsAllowWhatSomebodyCanSend) {
  const auto blue = bridge("blue");
  const auto with_pair = [&](const std::string& pair) {
    auto port = port_on(blue, "vm");
    port.add_allowed_pairs(pair);
    return port;
  };
  EXPECT_THAT(refused(with_pair(prefix_raw("224.0.0.0/4"))),
              HasSubstr("allowed_pairs: 224.0.0.0/4"));
  EXPECT_THAT(refused(with_pair(prefix_raw("10.0.0.0/8") + std::string(6, '\xff'))),
              HasSubstr("allowed_pairs: ff:ff:ff:ff:ff:ff"));
  EXPECT_THAT(refused(with_pair("x")), HasSubstr("allowed_pairs: want a network"));
  create(with_pair(prefix_raw("0.0.0.0/0")));
  auto foot = port_on(router("core"), "foot");
  foot.set_port_security(true);
  EXPECT_THAT(refused(foot), HasSubstr("port_security: is for bridge ports"));
}

TEST_F(FilterRulesTest, NoChainLeadsBackToItself) {
  const auto c = chains(4);
  EXPECT_THAT(refused(jump(c[0], c[0])), HasSubstr("jump_chain: it leads back"));
  create(jump(c[0], c[1]));
  create(jump(c[1], c[2]));
  create(jump(c[1], c[3]));
  create(jump(c[2], c[3]));
  EXPECT_THAT(refused(jump(c[3], c[0])), HasSubstr("jump_chain: it leads back"));
  EXPECT_THAT(refused(jump(c[2], c[1])), HasSubstr("jump_chain: it leads back"));
  // A rule that begins to jump; one that no longer does.
  auto rule = create(rule_in(c[3]));
  rule.set_action(v1::Rule::JUMP);
  rule.set_jump_chain(c[1].id());
  EXPECT_FALSE(writer_->update(rule).ok());
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(FilterRulesTest, TheCheckFindsACircleThatIsThereAllTheSame) {
  const auto c = chains(3);
  create(jump(c[0], c[1]));
  create(jump(c[2], c[0]));
  const auto rule = create(rule_in(c[1]));
  const std::string path = object_path("rule", *Uuid::from_bytes(rule.id()));
  const auto record = *store_->get(path);
  auto back = rule;
  back.set_action(v1::Rule::JUMP);
  back.set_jump_chain(c[0].id());
  ASSERT_TRUE(store_->transact({Set{path, back.SerializeAsString(), record->version}}).ok());
  std::vector<std::string> circles;
  for (const std::string& problem : problems()) {
    if (problem.find("circle of chains") != std::string::npos) circles.push_back(problem);
  }
  EXPECT_EQ(circles.size(), 3u) << "its two chains, and the one that leads there";
  ASSERT_TRUE(store_->transact({Set{path, record->value, record->version + 1}}).ok());
}

TEST_F(FilterRulesTest, NotInOneBatchEither) {
  const auto c = chains(2);
  std::vector<Operation> operations(2);
  operations[0].resource = std::make_unique<v1::Rule>(jump(c[0], c[1]));
  operations[1].resource = std::make_unique<v1::Rule>(jump(c[1], c[0]));
  const auto done = writer_->batch(operations);
  ASSERT_FALSE(done.ok());
  EXPECT_THAT(done.error().message, HasSubstr("it leads back"));
  // A jump that goes makes room for one the other way in the same batch.
  auto there = create(jump(c[0], c[1]));
  std::vector<Operation> turned(2);
  turned[0].kind = Operation::Kind::remove;
  turned[0].type = v1::Rule::descriptor();
  turned[0].id = *Uuid::from_bytes(there.id());
  turned[1].resource = std::make_unique<v1::Rule>(jump(c[1], c[0]));
  const auto again = writer_->batch(turned);
  EXPECT_TRUE(again.ok()) << again.error().message;
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(FilterRulesTest, EightJumpsFollowEachOtherAtMost) {
  const auto c = chains(12);
  for (size_t i = 0; i < 8; ++i) create(jump(c[i], c[i + 1]));
  EXPECT_THAT(refused(jump(c[8], c[9])), HasSubstr("more than 8 jumps")) << "at the end";
  EXPECT_THAT(refused(jump(c[10], c[0])), HasSubstr("more than 8 jumps")) << "at the beginning";
  create(jump(c[10], c[1]));
  create(jump(c[7], c[9]));
  // Two lines of four jumps, joined.
  const auto d = [&](const char* name) { return create(named<v1::Chain>(name)); };
  std::vector<v1::Chain> left, right;
  for (const char* name : {"l0", "l1", "l2", "l3", "l4"}) left.push_back(d(name));
  for (const char* name : {"r0", "r1", "r2", "r3", "r4"}) right.push_back(d(name));
  for (size_t i = 0; i < 4; ++i) {
    create(jump(left[i], left[i + 1]));
    create(jump(right[i], right[i + 1]));
  }
  EXPECT_THAT(refused(jump(left[4], right[0])), HasSubstr("more than 8 jumps"));
  create(jump(left[3], right[0]));
  create(jump(left[4], right[1]));
}

TEST_F(FilterRulesTest, AnAddressGroupHoldsFortyThousandNetworks) {
  auto group = named<v1::AddressGroup>("big");
  for (uint32_t i = 0; i < 40'000; ++i)
    group.add_prefixes(IpPrefix{IpAddr::v4(0x0a000000 + (i << 8)), 24}.raw());
  const auto made = create(group);
  EXPECT_EQ(get<v1::AddressGroup>(made.id()).prefixes_size(), 40'000);
  group.set_name("bigger");
  group.add_prefixes(prefix_raw("fd00::/8"));
  EXPECT_THAT(refused(group), HasSubstr("40001 entries; at most 40000"));
  auto wide = named<v1::AddressGroup>("wide");
  for (uint32_t i = 0; i < 30'000; ++i) {
    std::array<uint8_t, 16> wire{0xfd};
    wire[6] = static_cast<uint8_t>(i >> 8);
    wire[7] = static_cast<uint8_t>(i);
    wide.add_prefixes(IpPrefix{IpAddr::v6(wire), 64}.raw());
  }
  EXPECT_THAT(refused(wide), HasSubstr("is too large: at most 520000 bytes"));
  auto wrong = named<v1::AddressGroup>("wrong");
  wrong.add_prefixes(prefix_raw("10.0.0.1/8"));
  EXPECT_THAT(refused(wrong), HasSubstr("meant is 10.0.0.0/8"));
}

TEST_F(FilterRulesTest, TenantsHaveQuotas) {
  auto acme = named<v1::Tenant>("acme");
  acme.set_max_rules(1);
  acme.set_max_security_groups(0);
  create(acme);
  auto rule = rule_in(chain_);
  rule.set_tenant("acme");
  create(rule);
  EXPECT_THAT(refused(rule), HasSubstr("tenant acme may have 1 rules"));
  auto group = named<v1::SecurityGroup>("web");
  group.set_tenant("acme");
  EXPECT_THAT(refused(group), HasSubstr("may have 0 security-groups"));
}

}  // namespace
}  // namespace plexus::store
