// SPDX-License-Identifier: Apache-2.0
// What writing costs a store: few round trips, whatever the number of operations, and on the usual
// ways no check that a record is absent (in ZooKeeper that is a create and a delete).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/topology/counting_store.h"
#include "store/topology/layout.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::IsEmpty;

class WriterCostTest : public TopologyTest {
 protected:
  void SetUp() override {
    tenant_ = create(named<v1::Tenant>("acme"));
    blue_ = bridge("blue");
    core_ = router("core");
    h1_ = host("h1");
    h2_ = host("h2");
  }
  v1::Port vm(uint32_t number) {
    auto port = on_host(port_on(blue_, ("vm" + std::to_string(number)).c_str()), h1_,
                        ("tap" + std::to_string(number)).c_str());
    port.set_tenant("acme");
    port.set_mac(
        MacAddr{{2, 0, 0, 0, static_cast<uint8_t>(number >> 8), static_cast<uint8_t>(number)}}
            .raw());
    port.add_addresses(IpAddr::v4(0x0a000001 + number).raw());
    return port;
  }
  static Operation creating(const google::protobuf::Message& wanted) {
    Operation operation;
    operation.resource.reset(wanted.New());
    operation.resource->CopyFrom(wanted);
    return operation;
  }
  static Operation on(Operation::Kind kind, const google::protobuf::Message& resource) {
    Operation operation;
    operation.kind = kind;
    operation.type = resource.GetDescriptor();
    operation.id = id_of(resource);
    return operation;
  }
  /// Runs it and tells how often it read.
  size_t reads_of(std::vector<Operation> operations) {
    counting_.reads = counting_.commits = 0;
    auto done = counted_.batch(operations);
    EXPECT_TRUE(done.ok()) << done.error().message;
    EXPECT_EQ(counting_.commits, 1u);
    EXPECT_THAT(counting_.checks_of_absence(), IsEmpty());
    last_.clear();
    for (auto& resource : done->resources) last_.push_back(std::move(resource.message));
    return counting_.reads;
  }

  CountingStore counting_{*store_};
  TopologyWriter counted_{counting_};
  std::vector<std::unique_ptr<google::protobuf::Message>> last_;
  v1::Tenant tenant_;
  v1::Bridge blue_;
  v1::Router core_;
  v1::Host h1_, h2_;
};

TEST_F(WriterCostTest, ABatchOfManyPortsIsAHandfulOfRoundTrips) {
  std::vector<Operation> creates;
  for (uint32_t i = 0; i < 200; ++i) creates.push_back(creating(vm(i)));
  // Two more than usual: each index of the bridge and the host is split once.
  EXPECT_LE(reads_of(std::move(creates)), 6u);
  std::vector<v1::Port> ports;
  for (const auto& message : last_) ports.push_back(static_cast<const v1::Port&>(*message));

  std::vector<Operation> moves;
  for (const auto& port : ports) {
    moves.push_back(on(Operation::Kind::modify, port));
    moves.back().edit = [this](google::protobuf::Message& message) -> Result<void> {
      static_cast<v1::Port&>(message).set_host(h2_.id());
      return Ok{};
    };
  }
  EXPECT_LE(reads_of(std::move(moves)), 6u);

  std::vector<Operation> removals;
  for (const auto& port : ports) removals.push_back(on(Operation::Kind::remove, port));
  EXPECT_LE(reads_of(std::move(removals)), 6u);
}

TEST_F(WriterCostTest, ABatchOfManyLinksAndRoutesIsAHandfulOfRoundTrips) {
  std::vector<Operation> ports;
  for (uint32_t i = 0; i < 60; ++i) {
    auto inside = port_on(blue_, ("in" + std::to_string(i)).c_str());
    inside.set_id(Uuid::random().raw());
    auto foot = port_on(core_, ("foot" + std::to_string(i)).c_str());
    foot.add_networks(IpPrefix{IpAddr::v4(0x0a000001 + (i << 8)), 24}.raw());
    foot.set_peer(inside.id());
    ports.push_back(creating(inside));
    ports.push_back(creating(foot));
  }
  EXPECT_LE(reads_of(std::move(ports)), 5u);
  std::vector<v1::Port> feet;
  for (size_t i = 1; i < last_.size(); i += 2) feet.push_back(static_cast<v1::Port&>(*last_[i]));
  std::vector<Operation> routes;
  for (uint32_t i = 0; i < 60; ++i) {
    auto r = route(core_, feet[i], "10.0.0.0/8");
    r.set_destination(IpPrefix{IpAddr::v4(0x14000000 + (i << 8)), 24}.raw());
    routes.push_back(creating(r));
  }
  EXPECT_LE(reads_of(std::move(routes)), 5u);
  // Their removal takes the routes along.
  std::vector<Operation> removals;
  for (const auto& foot : feet) removals.push_back(on(Operation::Kind::remove, foot));
  EXPECT_LE(reads_of(std::move(removals)), 12u);
  EXPECT_TRUE(writer_->list(*v1::Route::descriptor())->empty());
}

TEST_F(WriterCostTest, TheUsualOperationsCheckNoAbsence) {
  const auto once = [&](const char* what, Operation operation, size_t most) {
    SCOPED_TRACE(what);
    std::vector<Operation> one;
    one.push_back(std::move(operation));
    EXPECT_LE(reads_of(std::move(one)), most);
    return std::move(last_[0]);
  };
  const auto edited = [&](const google::protobuf::Message& resource, auto edit) {
    auto operation = on(Operation::Kind::modify, resource);
    operation.edit = [edit](google::protobuf::Message& message) -> Result<void> {
      edit(message);
      return Ok{};
    };
    return operation;
  };
  const auto as_port = [](google::protobuf::Message& m) -> v1::Port& {
    return static_cast<v1::Port&>(m);
  };
  once("bridge", creating(named<v1::Bridge>("green")), 2);
  auto red = once("bridge of a tenant without an object", creating([] {
                    auto b = named<v1::Bridge>("red");
                    b.set_tenant("nobody");
                    return b;
                  }()),
                  2);
  once("rename", edited(*red, [](auto& m) { static_cast<v1::Bridge&>(m).set_name("rose"); }), 2);
  once("remove an unused bridge", on(Operation::Kind::remove, *red), 3);
  auto router = once("router", creating(named<v1::Router>("edge")), 2);
  once("remove an unused router", on(Operation::Kind::remove, *router), 3);

  auto first = once("port", creating(vm(1)), 3);
  auto second = once("second port", creating(vm(2)), 3);
  once("admin", edited(*first, [&](auto& m) { as_port(m).set_admin_up(false); }), 2);
  once("move", edited(*first, [&](auto& m) { as_port(m).set_host(h2_.id()); }), 4);
  once("migrate", edited(*first, [&](auto& m) { as_port(m).set_migrating_to(h1_.id()); }), 4);
  once("unplug",
       edited(*first,
              [&](auto& m) {
                as_port(m).clear_host();
                as_port(m).clear_migrating_to();
              }),
       4);
  auto bare = once("bare port", creating(port_on(blue_, "bare")), 3);
  once("plug",
       edited(*bare,
              [&](auto& m) {
                as_port(m).set_host(h2_.id());
                as_port(m).set_interface("tap9");
              }),
       4);
  once("remove a port", on(Operation::Kind::remove, *second), 4);
  once("remove an unplugged port", on(Operation::Kind::remove, *first), 4);
  auto plain = once("plain port", creating(port_on(blue_, "plain")), 3);

  auto foot = once("router port", creating([&] {
                     auto p = port_on(core_, "foot", "10.0.0.1/24");
                     p.set_peer(plain->GetReflection()->GetString(
                         *plain, plain->GetDescriptor()->FindFieldByName("id")));
                     return p;
                   }()),
                   3);
  const auto& foot_port = as_port(*foot);
  auto r1 = once("route", creating(route(core_, foot_port, "10.9.0.0/16", "10.0.0.9")), 3);
  once("metric", edited(*r1, [](auto& m) { static_cast<v1::Route&>(m).set_metric(3); }), 3);
  once("network",
       edited(*foot, [&](auto& m) { as_port(m).add_networks(prefix_raw("fd00::1/64")); }), 6);
  once("remove a route", on(Operation::Kind::remove, *r1), 4);
  once("remove a router port", on(Operation::Kind::remove, *foot), 5);
  once("remove a linked port", on(Operation::Kind::remove, *plain), 4);
  once("remove a host", on(Operation::Kind::remove, h2_), 6);
}

TEST_F(WriterCostTest, FiltersCheckNoAbsenceEither) {
  const auto once = [&](const char* what, Operation operation, size_t most) {
    SCOPED_TRACE(what);
    std::vector<Operation> one;
    one.push_back(std::move(operation));
    EXPECT_LE(reads_of(std::move(one)), most);
    return std::move(last_[0]);
  };
  const auto chain = once("chain", creating(named<v1::Chain>("first")), 2);
  const auto next = once("another chain", creating(named<v1::Chain>("next")), 2);
  const auto rule_in = [&](const google::protobuf::Message& in) {
    v1::Rule rule;
    rule.set_chain(id_of(in).raw());
    rule.set_position(1);
    rule.set_action(v1::Rule::DROP);
    return rule;
  };
  auto rule = once("rule", creating(rule_in(*chain)), 3);
  auto jump = rule_in(*chain);
  jump.set_action(v1::Rule::JUMP);
  jump.set_jump_chain(id_of(*next).raw());
  once("rule that jumps to an empty chain", creating(jump), 6);
  once("another", creating(jump), 6);
  once("remove a rule", on(Operation::Kind::remove, *rule), 4);

  const auto web = once("security group", creating(named<v1::SecurityGroup>("web")), 2);
  const auto racks = once("port group", creating(named<v1::PortGroup>("racks")), 2);
  auto grouped = vm(1);
  grouped.add_security_groups(id_of(*web).raw());
  grouped.add_port_groups(id_of(*racks).raw());
  grouped.set_in_chain(id_of(*chain).raw());
  const auto port = once("port in groups", creating(grouped), 3);
  auto moved = on(Operation::Kind::modify, *port);
  moved.edit = [](google::protobuf::Message& message) -> Result<void> {
    static_cast<v1::Port&>(message).clear_addresses();
    return Ok{};
  };
  once("its addresses", std::move(moved), 4);
  once("remove a port group", on(Operation::Kind::remove, *racks), 5);
  once("remove a port in groups", on(Operation::Kind::remove, *port), 4);
  once("remove a security group", on(Operation::Kind::remove, *web), 4);
  once("remove a chain and its rules", on(Operation::Kind::remove, *chain), 6);
}

}  // namespace
}  // namespace plexus::store
