// SPDX-License-Identifier: Apache-2.0
// On a bridge each address is answered for by one router, or is one machine's.
#include "store/topology/outside_addresses.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "store/topology/counting_store.h"
#include "store/topology/index.h"
#include "store/topology/layout.h"
#include "store/topology/mend.h"
#include "store/topology/rover.h"
#include "store/topology/schema.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// Lets somebody else be faster: right before a commit.
class RivalStore : public CountingStore {
 public:
  using CountingStore::CountingStore;
  std::function<void()> rival;
  /// Changes something while all is read: objects are read before, unique values after.
  std::function<void()> scan_rival;
  Result<std::vector<std::pair<std::string, Record>>> scan(std::string_view directory) override {
    auto before = CountingStore::scan(directory);
    if (!scan_rival || !before.ok()) return before;
    std::exchange(scan_rival, nullptr)();
    auto after = CountingStore::scan(directory);
    if (!after.ok()) return after;
    const auto is_late = [](const auto& record) { return record.first >= "/p1/u"; };
    std::erase_if(*before, is_late);
    std::erase_if(*after, [&](const auto& record) { return !is_late(record); });
    before->insert(before->end(), after->begin(), after->end());
    return before;
  }
  Result<Revision> transact(const std::vector<Step>& wanted) override {
    if (rival) std::exchange(rival, nullptr)();
    return CountingStore::transact(wanted);
  }
};

/// Two tenants' routers at one provider's bridge.
class OutsideAddressesTest : public TopologyTest {
 protected:
  OutsideAddressesTest()
      : provider_(bridge("provider")),
        red_(router_of("red-edge", "red")),
        blue_(router_of("blue-edge", "blue")),
        red_up_(uplink(red_, "red-up", "203.0.113.1/24")),
        blue_up_(uplink(blue_, "blue-up", "203.0.113.2/24")) {}

  v1::Router router_of(const char* name, const char* tenant) {
    return create(made<v1::Router>(name, [&](auto& r) { r.set_tenant(tenant); }));
  }
  v1::Port plug(const char* name) { return create(port_on(provider_, name)); }
  /// A port of the router with this network, wired to the provider's bridge.
  v1::Port uplink(const v1::Router& router, const char* name, const char* network) {
    auto port = port_on(router, name, network);
    port.set_tenant(router.tenant());
    port.set_peer(plug(("to-" + std::string(name)).c_str()).id());
    return create(port);
  }
  static v1::FloatingIp floating(const v1::Router& router, const char* address) {
    v1::FloatingIp f;
    if (router.has_tenant()) f.set_tenant(router.tenant());
    f.set_router(router.id());
    f.set_address(ip_raw(address));
    return f;
  }
  static v1::SnatPool pool(const v1::Router& router, const char* name, const char* address) {
    return made<v1::SnatPool>(name, [&](auto& p) {
      if (router.has_tenant()) p.set_tenant(router.tenant());
      p.set_router(router.id());
      p.add_addresses(ip_raw(address));
    });
  }
  struct Service {
    v1::LoadBalancer balancer;
    v1::Pool pool;
  };
  Service service(const v1::Router& router, const char* name) {
    Service s;
    s.balancer = create(made<v1::LoadBalancer>(name, [&](auto& b) { b.set_router(router.id()); }));
    s.pool = create(made<v1::Pool>(name, [&](auto& p) { p.set_load_balancer(s.balancer.id()); }));
    return s;
  }
  static v1::Vip vip(const Service& service, const char* name, const char* address,
                     uint32_t port = 80) {
    return made<v1::Vip>(name, [&](auto& v) {
      v.set_load_balancer(service.balancer.id());
      v.set_pool(service.pool.id());
      v.set_address(ip_raw(address));
      v.set_protocol("\x06");
      v.set_port(port);
    });
  }
  v1::Port machine(const char* name, const char* address) const {
    auto port = port_on(provider_, name);
    port.add_addresses(ip_raw(address));
    return port;
  }
  template <typename M>
  std::string change(M message, const std::function<void(M&)>& edit) {
    edit(message);
    auto done = writer_->update(message);
    return done.ok() ? "" : done.error().message;
  }
  std::string wire(const v1::Port& port, const v1::Port& to) {
    return change<v1::Port>(port, [&](auto& p) { p.set_peer(to.id()); });
  }
  std::string unwire(const v1::Port& port) {
    return change<v1::Port>(port, [](auto& p) { p.clear_peer(); });
  }
  std::string claim_of(const char* address) const {
    return claim_path("bridge.address", Uuid::from_bytes(provider_.id())->str(), address);
  }
  [[nodiscard]] bool claimed(const char* address) {
    auto record = store_->get(claim_of(address));
    EXPECT_TRUE(record.ok());
    return record->has_value();
  }
  static Operation creating(const google::protobuf::Message& wanted) {
    Operation operation;
    operation.resource.reset(wanted.New());
    operation.resource->CopyFrom(wanted);
    return operation;
  }
  static Operation on(Operation::Kind kind, const google::protobuf::Message& resource,
                      Edit edit = {}) {
    Operation operation;
    operation.kind = kind;
    operation.type = resource.GetDescriptor();
    operation.id = id_of(resource);
    operation.edit = std::move(edit);
    return operation;
  }
  std::string batch(std::vector<Operation> operations, size_t* failed = nullptr) {
    auto done = writer_->batch(operations, failed);
    return done.ok() ? "" : done.error().message;
  }
  std::vector<std::string> problems() { return check_store(*store_)->problems; }

  v1::Bridge provider_;
  v1::Router red_, blue_;
  v1::Port red_up_, blue_up_;
};

TEST_F(OutsideAddressesTest, AnAddressIsOneRoutersOnABridge) {
  const auto web = create(made<v1::FloatingIp>("web", [&](auto& f) {
    f.CopyFrom(floating(red_, "203.0.113.10"));
    f.set_name("web");
  }));
  const std::string other =
      "203.0.113.10 on bridge provider (" + Uuid::from_bytes(provider_.id())->str() +
      "), by port blue-up (" + Uuid::from_bytes(blue_up_.id())->str() +
      "), belongs to floating-ip web (" + Uuid::from_bytes(web.id())->str() +
      ") of router red-edge (" + Uuid::from_bytes(red_.id())->str() + "): choose another";
  EXPECT_THAT(refusal(floating(blue_, "203.0.113.10")),
              AllOf(HasSubstr("floating-ip "), HasSubstr(": address: the address " + other)));
  EXPECT_THAT(refusal(pool(blue_, "out", "203.0.113.10")),
              AllOf(HasSubstr("snat-pool out"), HasSubstr(": addresses: the address " + other)));
  EXPECT_THAT(refusal(vip(service(blue_, "s"), "v", "203.0.113.10")),
              AllOf(HasSubstr("vip v"), HasSubstr(": address: the address " + other)));
  // The port's own address counts, and is counted.
  EXPECT_THAT(refusal(floating(blue_, "203.0.113.1")), HasSubstr("belongs to port red-up"));
  EXPECT_THAT(
      change<v1::Port>(blue_up_, [](auto& p) { p.set_networks(0, prefix_raw("203.0.113.10/24")); }),
      AllOf(HasSubstr("port blue-up"), HasSubstr(": networks: the address 203.0.113.10 on"),
            HasSubstr("belongs to floating-ip web")));
  // A machine has none of them, either way.
  EXPECT_THAT(
      refusal(machine("vm", "203.0.113.10")),
      AllOf(HasSubstr("port vm"), HasSubstr(": addresses: "), HasSubstr("floating-ip web")));
  const auto vm = create(machine("vm", "203.0.113.77"));
  EXPECT_THAT(refusal(floating(red_, "203.0.113.77")), HasSubstr("belongs to port vm"));
  remove<v1::Port>(vm.id());
  EXPECT_THAT(refusal(floating(red_, "203.0.113.77")), IsEmpty());
  remove<v1::FloatingIp>(web.id());
  EXPECT_THAT(refusal(floating(blue_, "203.0.113.10")), IsEmpty());
}

TEST_F(OutsideAddressesTest, WhatNobodyAnswersForIsFree) {
  // In no network of a port: a route must lead to the router.
  create(floating(red_, "198.51.100.1"));
  create(floating(blue_, "198.51.100.1"));
  // At other bridges.
  const auto inside = create(port_on(bridge("red-inside"), "to-red"));
  auto foot = port_on(red_, "red-in", "10.0.0.1/24");
  foot.set_peer(inside.id());
  create(foot);
  create(floating(red_, "10.0.0.9"));
  uplink(blue_, "blue-ten", "10.0.0.2/24");
  create(floating(blue_, "10.0.0.9"));
  // A router does not answer for the broadcast address.
  create(floating(red_, "203.0.113.255"));
  create(floating(blue_, "203.0.113.255"));
  EXPECT_TRUE(claimed("10.0.0.9"));
  EXPECT_FALSE(claimed("198.51.100.1"));
  EXPECT_FALSE(claimed("203.0.113.255"));
}

TEST_F(OutsideAddressesTest, AFloatingAddressHasItToItselfAtItsRouter) {
  // Not on a bridge, nor of any port: the router alone decides.
  const char *sources = "198.51.100.70", *virtual_one = "198.51.100.71", *free = "198.51.100.72";
  const auto out = create(pool(red_, "out", sources));
  const auto s = service(red_, "s");
  const auto http = create(vip(s, "http", virtual_one)),
             https = create(vip(s, "https", virtual_one, 443)),
             shared = create(vip(s, "shared", sources));
  EXPECT_THAT(refusal(floating(red_, sources)),
              AllOf(HasSubstr(": address: the address 198.51.100.70 at this router belongs to "),
                    HasSubstr("to snat-pool out ("), HasSubstr("of router red-edge")));
  EXPECT_THAT(refusal(floating(red_, virtual_one)),
              AllOf(HasSubstr("belongs to vip http"), HasSubstr("of router red-edge")));
  EXPECT_EQ(refusal(floating(blue_, virtual_one)), "");
  const auto web = create(floating(red_, free));
  EXPECT_THAT(refusal(vip(s, "late", free)),
              HasSubstr("the address 198.51.100.72 at this router belongs to floating-ip " +
                        id_of(web).str()));
  EXPECT_THAT(refusal(pool(red_, "late", free)), HasSubstr("belongs to floating-ip"));
  EXPECT_THAT(change<v1::FloatingIp>(web, [&](auto& f) { f.set_address(ip_raw(sources)); }),
              HasSubstr("belongs to snat-pool out"));
  EXPECT_THAT(problems(), IsEmpty());

  // With the last of those that share it, it is free.
  remove<v1::Vip>(http.id());
  EXPECT_THAT(refusal(floating(red_, virtual_one)), HasSubstr("belongs to vip https"));
  remove<v1::Vip>(https.id());
  EXPECT_EQ(refusal(floating(red_, virtual_one)), "");
  remove<v1::SnatPool>(out.id());
  EXPECT_THAT(refusal(floating(red_, sources)), HasSubstr("belongs to vip shared"));
  remove<v1::Vip>(shared.id());
  EXPECT_EQ(refusal(floating(red_, sources)), "");
  remove<v1::FloatingIp>(web.id());
  EXPECT_EQ(refusal(vip(s, "late", free)), "");
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(OutsideAddressesTest, CheckNamesWhatAnEarlierProgramLetShareWithAFloatingAddress) {
  const char* address = "198.51.100.70";
  const auto out = create(pool(red_, "out", address));
  const std::string claim =
      claim_path("router.outside-address", Uuid::from_bytes(red_.id())->str(), address);
  const auto forget = [&] {
    auto record = store_->get(claim);
    ASSERT_TRUE(record.ok() && *record);
    ASSERT_TRUE(store_->transact({Delete{claim, (*record)->version}}).ok());
  };
  forget();
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("is missing; snat-pool out (")));
  const auto web = create(floating(red_, address));
  EXPECT_THAT(problems(),
              Contains(AllOf(HasSubstr("floating-ip"), HasSubstr("both claim the addre"),
                             HasSubstr(" 198.51.100.70 at this router"))));
  remove<v1::FloatingIp>(web.id());
  remove<v1::SnatPool>(out.id());
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(OutsideAddressesTest, WiringTakesAllAlong) {
  ASSERT_EQ(unwire(blue_up_), "");
  const auto plug_of_blue = get<v1::Port>(blue_up_.peer());
  create(floating(red_, "203.0.113.10"));
  const auto web = create(floating(blue_, "203.0.113.10"));
  create(pool(blue_, "out", "203.0.113.2"));
  const auto s = service(blue_, "s");
  create(vip(s, "v", "203.0.113.20"));
  const auto both = AllOf(HasSubstr("port blue-up"),
                          HasSubstr(": peer: the address 203.0.113.10 of floating-ip " +
                                    id_of(web).str() + " on bridge provider"),
                          HasSubstr("belongs to floating-ip"), HasSubstr("of router red-edge"),
                          HasSubstr("change or remove one of the two first"));
  EXPECT_THAT(wire(blue_up_, plug_of_blue), both);
  EXPECT_THAT(wire(plug_of_blue, blue_up_), both);
  remove<v1::FloatingIp>(web.id());
  EXPECT_FALSE(claimed("203.0.113.20"));
  EXPECT_THAT(wire(plug_of_blue, blue_up_), IsEmpty());
  EXPECT_TRUE(claimed("203.0.113.20"));
  EXPECT_THAT(problems(), IsEmpty());
  EXPECT_THAT(refusal(floating(red_, "203.0.113.20")), HasSubstr("belongs to vip v"));
  EXPECT_THAT(refusal(floating(red_, "203.0.113.2")), HasSubstr("belongs to port blue-up"));

  // Networks that change, too.
  const auto elsewhere = [&](const char* network) {
    return change<v1::Port>(get<v1::Port>(blue_up_.id()),
                            [&](auto& p) { p.set_networks(0, prefix_raw(network)); });
  };
  EXPECT_EQ(elsewhere("203.0.113.130/25"), "");
  EXPECT_FALSE(claimed("203.0.113.20"));
  const auto between = create(floating(red_, "203.0.113.20"));
  EXPECT_THAT(elsewhere("203.0.113.2/24"),
              HasSubstr(": networks: the address 203.0.113.20 of vip v"));
  remove<v1::FloatingIp>(between.id());
  EXPECT_EQ(elsewhere("203.0.113.2/24"), "");
  EXPECT_TRUE(claimed("203.0.113.20"));
  // The other end may go, or the port itself.
  remove<v1::Port>(plug_of_blue.id());
  EXPECT_FALSE(claimed("203.0.113.20"));
  EXPECT_EQ(wire(get<v1::Port>(blue_up_.id()), plug("again")), "");
  EXPECT_TRUE(claimed("203.0.113.20"));
  remove<v1::Port>(blue_up_.id());
  EXPECT_FALSE(claimed("203.0.113.20"));
  EXPECT_TRUE(claimed("203.0.113.10"));
}

TEST_F(OutsideAddressesTest, ThoseOfOneRouterShare) {
  const char* address = "203.0.113.1";  // the port's own
  const auto out = create(pool(red_, "out", address));
  const auto s = service(red_, "s"), other = service(red_, "other");
  const auto http = create(vip(s, "http", address)),
             https = create(vip(other, "https", address, 443));
  EXPECT_THAT(problems(), IsEmpty());
  EXPECT_THAT(refusal(pool(blue_, "out", address)), HasSubstr("belongs to port red-up"));
  EXPECT_EQ(
      change<v1::Port>(red_up_, [](auto& p) { p.set_networks(0, prefix_raw("203.0.113.100/24")); }),
      "");
  EXPECT_THAT(refusal(pool(blue_, "out", address)), HasSubstr("belongs to snat-pool out"));
  remove<v1::SnatPool>(out.id());
  remove<v1::Vip>(http.id());
  EXPECT_THAT(refusal(pool(blue_, "out", address)), HasSubstr("belongs to vip https"));
  // With its load balancer.
  remove<v1::LoadBalancer>(other.balancer.id());
  EXPECT_FALSE(claimed(address));
  EXPECT_EQ(refusal(pool(blue_, "out", address)), "");
}

TEST_F(OutsideAddressesTest, BatchesAreLookedAtAsAWhole) {
  const auto at_red = create(floating(red_, "203.0.113.10"));
  const auto at_blue = create(floating(blue_, "203.0.113.11"));
  const auto becomes = [](const char* address) {
    return [address](google::protobuf::Message& m) -> Result<void> {
      static_cast<v1::FloatingIp&>(m).set_address(ip_raw(address));
      return Ok{};
    };
  };
  std::vector<Operation> swap;
  swap.push_back(on(Operation::Kind::modify, at_red, becomes("203.0.113.11")));
  swap.push_back(on(Operation::Kind::modify, at_blue, becomes("203.0.113.10")));
  EXPECT_EQ(batch(std::move(swap)), "");
  EXPECT_THAT(problems(), IsEmpty());

  // A router comes with its port and addresses, in any order.
  const auto fresh = [&](const char* address) {
    auto edge = made<v1::Router>("green-edge", [](auto& r) { r.set_id(Uuid::random().raw()); });
    auto to = port_on(provider_, "to-green");
    to.set_id(Uuid::random().raw());
    auto up = port_on(edge, "green-up", "203.0.113.3/24");
    up.set_peer(to.id());
    std::vector<Operation> operations;
    operations.push_back(creating(floating(edge, "203.0.113.30")));
    operations.push_back(creating(floating(edge, address)));
    operations.push_back(creating(edge));
    operations.push_back(creating(up));
    operations.push_back(creating(to));
    return operations;
  };
  size_t failed = 0;
  EXPECT_THAT(batch(fresh("203.0.113.10"), &failed), HasSubstr("of router blue-edge"));
  EXPECT_EQ(failed, 1u);
  auto operations = fresh("203.0.113.31");
  auto done = writer_->batch(operations);
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_TRUE(claimed("203.0.113.30"));
  EXPECT_THAT(problems(), IsEmpty());
  // It goes, and another takes its address, in one.
  std::vector<Operation> change;
  change.push_back(creating(floating(red_, "203.0.113.30")));
  change.push_back(on(Operation::Kind::remove, *done->resources[3].message));
  change.push_back(on(Operation::Kind::remove, *done->resources[2].message));
  EXPECT_EQ(batch(std::move(change)), "");
  EXPECT_FALSE(claimed("203.0.113.31"));

  // One that stays moves with the port; one that comes in the same batch, and one that goes, not.
  const auto goes = create(floating(blue_, "203.0.113.40"));
  create(floating(blue_, "203.0.113.41"));
  std::vector<Operation> moves;
  moves.push_back(on(Operation::Kind::modify, blue_up_, [](auto& m) -> Result<void> {
    static_cast<v1::Port&>(m).clear_peer();
    return Ok{};
  }));
  moves.push_back(on(Operation::Kind::remove, goes));
  moves.push_back(creating(floating(blue_, "203.0.113.42")));
  moves.push_back(creating(floating(red_, "203.0.113.41")));
  EXPECT_EQ(batch(std::move(moves)), "");
}

TEST_F(OutsideAddressesTest, TenantsLearnNothingOfOthers) {
  create(made<v1::FloatingIp>("secret", [&](auto& f) {
    f.CopyFrom(floating(red_, "203.0.113.10"));
    f.set_name("secret");
  }));
  TopologyWriter of_blue(*store_, Author{"token blue", "r1", "blue"});
  const auto told = [&](const google::protobuf::Message& wanted) {
    auto done = of_blue.create(wanted);
    return done.ok() ? "" : done.error().message;
  };
  // Before an administrator lets it take any, it is told the same of all.
  for (const char* address : {"203.0.113.10", "203.0.113.99"})
    EXPECT_THAT(told(floating(blue_, address)),
                HasSubstr("not in outside_networks of tenant blue"));
  create(made<v1::Tenant>("blue",
                          [](auto& t) { t.add_outside_networks(prefix_raw("203.0.113.0/24")); }));
  EXPECT_THAT(told(floating(blue_, "203.0.113.10")),
              AllOf(HasSubstr("the address 203.0.113.10 on a bridge that is not this tenant's, by "
                              "port blue-up ("),
                    HasSubstr("belongs to a router that is not this tenant's: choose another"),
                    Not(HasSubstr("secret")), Not(HasSubstr("red")), Not(HasSubstr("provider")),
                    Not(HasSubstr(Uuid::from_bytes(red_.id())->str()))));
  EXPECT_THAT(
      told(floating(blue_, "203.0.113.1")),
      AllOf(HasSubstr("belongs to a port that is not this tenant's"), Not(HasSubstr("red"))));
  // Of its own it is told.
  create(floating(blue_, "203.0.113.12"));
  auto second = router_of("blue-second", "blue");
  uplink(second, "second-up", "203.0.113.4/24");
  EXPECT_THAT(told(floating(second, "203.0.113.12")), HasSubstr("of router blue-edge"));
}

/// As an earlier program left it.
TEST_F(OutsideAddressesTest, AnOldStoreIsMended) {
  const auto web = create(floating(red_, "203.0.113.10"));
  create(pool(red_, "out", "203.0.113.1"));
  const auto s = service(red_, "s");
  create(vip(s, "v", "203.0.113.20"));
  const auto forget = [&] {
    auto all = store_->scan("/p1");
    ASSERT_TRUE(all.ok());
    for (const auto& [path, record] : *all) {
      if (path.find("/bridge.address/") != std::string::npos) {
        v1::UniqueClaim claim, old;
        ASSERT_TRUE(claim.ParseFromString(record.value));
        old.set_id(claim.id());
        const Step step = claim.has_id() ? Step{Set{path, old.SerializeAsString(), record.version}}
                                         : Step{Delete{path, record.version}};
        ASSERT_TRUE(store_->transact({step}).ok());
      }
      for (const char* index :
           {"/floating-ip.router/0", "/snat-pool.router/0", "/vip.load_balancer/0"}) {
        v1::RefBucket bucket;
        if (!path.ends_with(index) || !bucket.ParseFromString(record.value)) continue;
        for (auto& entry : *bucket.mutable_entries()) entry.clear_addresses();
        ASSERT_TRUE(store_->transact({Set{path, bucket.SerializeAsString(), record.version}}).ok());
      }
    }
  };
  forget();
  // Nobody sees that it is taken; the check does.
  const auto twice = create(floating(blue_, "203.0.113.10"));
  EXPECT_THAT(problems(), Contains(AllOf(HasSubstr("floating-ip"),
                                         HasSubstr("both claim the address 203.0.113.10"))));
  EXPECT_THAT(problems(), Contains(HasSubstr("is missing; vip v")));
  EXPECT_THAT(problems(), Contains(HasSubstr("what it says of")));
  auto mended = mend_store(*store_);
  ASSERT_TRUE(mended.ok()) << mended.error().message;
  // Two that claim one address are not for a program to part. (Whoever is second in the store says so.)
  EXPECT_THAT(mended->left.problems, Contains(HasSubstr("both claim the address 203.0.113.10")));
  for (const std::string& problem : mended->left.problems)
    EXPECT_THAT(problem, HasSubstr(id_of(web).str()));
  EXPECT_THAT(refusal(floating(blue_, "203.0.113.20")), HasSubstr("belongs to vip v"));
  remove<v1::FloatingIp>(twice.id());
  ASSERT_TRUE(mend_store(*store_).ok());
  EXPECT_THAT(problems(), IsEmpty());
  EXPECT_THAT(refusal(floating(blue_, "203.0.113.10")), HasSubstr("belongs to floating-ip"));
  EXPECT_EQ(mend_store(*store_)->records, 0u);

  // Without facts the addresses are read from the objects: what moves is whole without a mending.
  forget();
  EXPECT_EQ(unwire(red_up_), "");
  EXPECT_EQ(wire(get<v1::Port>(red_up_.id()), plug("again")), "");
  EXPECT_TRUE(claimed("203.0.113.10"));
  EXPECT_TRUE(claimed("203.0.113.20"));
  EXPECT_THAT(refusal(pool(blue_, "out", "203.0.113.1")), HasSubstr("belongs to port red-up"));
  ASSERT_TRUE(mend_store(*store_).ok());
}

TEST_F(OutsideAddressesTest, MendTouchesNothingThatItDoesNotKnow) {
  create(floating(red_, "203.0.113.10"));
  const auto record = store_->get(claim_of("203.0.113.10"));
  ASSERT_TRUE(store_
                  ->transact({Delete{claim_of("203.0.113.10"), (*record)->version},
                              Create{"/p1/o/newthing/00/x", "y"}})
                  .ok());
  auto mended = mend_store(*store_);
  ASSERT_TRUE(mended.ok());
  EXPECT_EQ(mended->records, 0u);
  EXPECT_TRUE(mended->left.foreign);
  ASSERT_TRUE(store_->transact({Delete{"/p1/o/newthing/00/x", 1}}).ok());
  EXPECT_EQ(mend_store(*store_)->records, 1u);
}

TEST_F(OutsideAddressesTest, MendTouchesNothingOfANewerProgram) {
  create(floating(red_, "203.0.113.10"));
  const auto record = store_->get(claim_of("203.0.113.10"));
  ASSERT_TRUE(store_->transact({Delete{claim_of("203.0.113.10"), (*record)->version}}).ok());
  const auto mends_nothing = [&](const char* what) {
    auto mended = mend_store(*store_);
    ASSERT_TRUE(mended.ok()) << what << ": " << mended.error().message;
    EXPECT_EQ(mended->records, 0u) << what;
    EXPECT_TRUE(mended->left.foreign) << what;
  };
  // Values that this program does not know of, of resources that it knows all of.
  v1::UniqueClaim claim;
  claim.set_id(red_up_.id());
  const std::string other = claim_path("router.shadow", Uuid::from_bytes(red_.id())->str(), "x");
  ASSERT_TRUE(store_->transact({Create{other, claim.SerializeAsString()}}).ok());
  mends_nothing("another value");
  ASSERT_TRUE(store_->transact({Delete{other, 1}}).ok());
  // Another part of one that it knows.
  const std::string own = claim_of("203.0.113.1");
  const auto stored = store_->get(own);
  ASSERT_TRUE((*stored).has_value());
  claim.GetReflection()->MutableUnknownFields(&claim)->AddVarint(1000, 1);
  ASSERT_TRUE(store_->transact({Set{own, claim.SerializeAsString(), (*stored)->version, {}}}).ok());
  mends_nothing("another part");
  EXPECT_THAT(problems(), Contains(HasSubstr("203.0.113.1: has parts that this program does not")));
  ASSERT_TRUE(store_->transact({Set{own, (*stored)->value, (*stored)->version + 1, {}}}).ok());
  // A cloud that is at a level that it does not know.
  ASSERT_TRUE(store_->transact({Create{level_path(), std::to_string(kSchemaLevel + 1)}}).ok());
  mends_nothing("a higher level");
  ASSERT_TRUE(store_->transact({Delete{level_path(), 1}}).ok());
  EXPECT_EQ(mend_store(*store_)->records, 1u);
}

TEST_F(OutsideAddressesTest, ADamagedValueIsMended) {
  create(floating(red_, "203.0.113.10"));
  for (const std::string& path : {claim_of("203.0.113.10"), claim_of("203.0.113.77")}) {
    const auto record = store_->get(path);
    const Step step = *record ? Step{Set{path, "\x0a\x10half", (*record)->version, {}}}
                              : Step{Create{path, "\x0a\x10half"}};
    ASSERT_TRUE(store_->transact({step}).ok());
  }
  EXPECT_THAT(problems(), Contains(HasSubstr("203.0.113.10: cannot be decoded; floating-ip")));
  EXPECT_THAT(problems(), Contains(HasSubstr("203.0.113.77: cannot be decoded; nobody")));
  EXPECT_EQ(mend_store(*store_)->records, 2u);
  EXPECT_THAT(problems(), IsEmpty());
  EXPECT_FALSE(claimed("203.0.113.77"));
}

TEST_F(OutsideAddressesTest, MendGivesWayToWhoeverWrites) {
  RivalStore rivals(*store_);
  // The value is seen, the object is not: it must not be taken for nobody's.
  rivals.scan_rival = [&] { create(floating(red_, "203.0.113.10")); };
  auto mended = mend_store(rivals);
  ASSERT_FALSE(mended.ok());
  EXPECT_EQ(mended.error().code, ErrorCode::conflict) << mended.error().message;
  EXPECT_TRUE(claimed("203.0.113.10"));
  EXPECT_THAT(problems(), IsEmpty());
  // What is missing has been written by somebody else.
  const auto record = store_->get(claim_of("203.0.113.10"));
  ASSERT_TRUE(store_->transact({Delete{claim_of("203.0.113.10"), (*record)->version}}).ok());
  rivals.rival = [&] {
    ASSERT_TRUE(store_->transact({Create{claim_of("203.0.113.10"), (*record)->value}}).ok());
  };
  mended = mend_store(rivals);
  ASSERT_FALSE(mended.ok());
  EXPECT_EQ(mended.error().code, ErrorCode::conflict) << mended.error().message;
  EXPECT_EQ(mend_store(rivals)->records, 0u);
}

/// Each of these pairs would leave a claim too few or too many if the one did not see the other.
TEST_F(OutsideAddressesTest, RivalsSeeEachOther) {
  RivalStore rivals(*store_);
  TopologyWriter slow(rivals);
  const auto done = [](const auto& result) { return result.ok() ? "" : result.error().message; };
  const auto edit = [](auto change) {
    return [change](google::protobuf::Message& m) -> Result<void> {
      change(static_cast<v1::Port&>(m));
      return Ok{};
    };
  };
  const auto clear = edit([](v1::Port& p) { p.clear_peer(); });
  const auto up = [&] { return get<v1::Port>(blue_up_.id()); };
  const std::string peer = blue_up_.peer();
  const auto set = edit([&](v1::Port& p) { p.set_peer(peer); });
  const Uuid up_id = id_of(blue_up_);
  const auto& port_type = *v1::Port::descriptor();

  // A port is unwired while its router gets the first address that it ever had; and wired again.
  rivals.rival = [&] { create(floating(blue_, "203.0.113.50")); };
  EXPECT_EQ(done(slow.modify(port_type, up_id, clear)), "");
  EXPECT_THAT(problems(), IsEmpty());
  EXPECT_FALSE(claimed("203.0.113.50"));
  rivals.rival = [&] { create(floating(blue_, "203.0.113.51")); };
  EXPECT_EQ(done(slow.modify(port_type, up_id, set)), "");
  EXPECT_TRUE(claimed("203.0.113.51"));
  EXPECT_THAT(problems(), IsEmpty());

  // The other way round.
  rivals.rival = [&] { EXPECT_EQ(unwire(up()), ""); };
  EXPECT_EQ(done(slow.create(floating(blue_, "203.0.113.52"))), "");
  EXPECT_THAT(problems(), IsEmpty());
  EXPECT_FALSE(claimed("203.0.113.52"));
  rivals.rival = [&] { EXPECT_EQ(wire(up(), get<v1::Port>(peer)), ""); };
  auto changed = get<v1::FloatingIp>(
      id_of(*writer_->list(*v1::FloatingIp::descriptor())->front().message).raw());
  changed.set_address(ip_raw("203.0.113.53"));
  EXPECT_EQ(done(slow.update(changed)), "");
  EXPECT_TRUE(claimed("203.0.113.53"));
  EXPECT_THAT(problems(), IsEmpty());

  // Two routers, one address.
  std::string rivals_error;
  rivals.rival = [&] { create(floating(red_, "203.0.113.60")); };
  EXPECT_THAT(done(slow.create(floating(blue_, "203.0.113.60"))), HasSubstr("of router red-edge"));
  rivals.rival = [&] { create(machine("vm", "203.0.113.61")); };
  EXPECT_THAT(done(slow.create(floating(blue_, "203.0.113.61"))), HasSubstr("belongs to port vm"));
  rivals.rival = [&] { create(floating(blue_, "203.0.113.62")); };
  EXPECT_THAT(done(slow.create(machine("vm2", "203.0.113.62"))), HasSubstr("of router blue-edge"));

  // A network comes to a router without any.
  const auto bare = router_of("bare", "bare");
  rivals.rival = [&] { uplink(bare, "bare-up", "203.0.113.5/24"); };
  EXPECT_EQ(done(slow.create(floating(bare, "203.0.113.70"))), "");
  EXPECT_TRUE(claimed("203.0.113.70"));
  EXPECT_THAT(problems(), IsEmpty());

  // A claim that is made again is back at version 1.
  const auto s = service(red_, "s");
  const auto first = create(vip(s, "first", "203.0.113.80"));
  rivals.rival = [&] {
    remove<v1::Vip>(first.id());
    create(vip(s, "second", "203.0.113.80", 81));
  };
  EXPECT_EQ(done(slow.create(pool(red_, "third", "203.0.113.80"))), "");
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(OutsideAddressesTest, ManyMoveAtOnceAndTooManyAreRefused) {
  ASSERT_EQ(unwire(blue_up_), "");
  const std::string peer = blue_up_.peer();
  auto port = get<v1::Port>(blue_up_.id());
  port.set_networks(0, prefix_raw("198.18.0.1/15"));
  port = update(port);
  const auto create_some = [&](uint32_t from, uint32_t to) {
    while (from < to) {
      std::vector<Operation> operations;
      for (; from < to && operations.size() < TopologyWriter::kMaxOperations; ++from) {
        auto one = floating(blue_, "198.18.0.1");
        one.set_address(IpAddr::v4(0xc6120100 + from).raw());
        operations.push_back(creating(one));
      }
      ASSERT_EQ(batch(std::move(operations)), "");
    }
  };
  create_some(0, kMaxAddressesMoved);
  CountingStore counting(*store_);
  TopologyWriter counted(counting);
  port.set_peer(peer);
  ASSERT_TRUE(counted.update(port).ok());
  size_t bytes = 0;
  for (const Step& step : counting.steps) {
    if (const auto* made = std::get_if<Create>(&step))
      bytes += made->path.size() + made->value.size();
  }
  std::printf("%zu addresses wired: %zu reads, %zu steps, %zu bytes of new records\n",
              kMaxAddressesMoved, counting.reads, counting.steps.size(), bytes);
  EXPECT_LE(counting.reads, 8u);
  EXPECT_EQ(counting.commits, 1u);
  EXPECT_TRUE(claimed("198.18.1.0"));
  EXPECT_THAT(problems(), IsEmpty());
  // One more comes, and then the port cannot go at once.
  create_some(kMaxAddressesMoved, kMaxAddressesMoved + 1);
  EXPECT_THAT(unwire(get<v1::Port>(blue_up_.id())),
              AllOf(HasSubstr("port blue-up"), HasSubstr("2001 addresses"),
                    HasSubstr("remove some of them first")));
  auto removed = writer_->remove(*v1::Port::descriptor(), id_of(blue_up_));
  ASSERT_FALSE(removed.ok());
  EXPECT_THAT(removed.error().message, HasSubstr("2001 addresses"));
  const auto all = writer_->list(*v1::FloatingIp::descriptor());
  remove<v1::FloatingIp>(id_of(*all->front().message).raw());
  EXPECT_EQ(unwire(get<v1::Port>(blue_up_.id())), "");
}

/// What one costs: no check that something is absent, few round trips.
TEST_F(OutsideAddressesTest, OneCostsAFewReads) {
  RivalStore counting(*store_);
  TopologyWriter counted(counting);
  const auto costs = [&](const char* what, size_t most, const auto& act) {
    SCOPED_TRACE(what);
    counting.reads = counting.commits = 0;
    auto done = act();
    EXPECT_TRUE(done.ok()) << done.error().message;
    std::printf("%s: %zu reads, %zu steps\n", what, counting.reads, counting.steps.size());
    EXPECT_LE(counting.reads, most);
    EXPECT_EQ(counting.commits, 1u);
    EXPECT_THAT(counting.checks_of_absence(), IsEmpty());
  };
  auto first = floating(red_, "203.0.113.10");
  first.set_id(Uuid::random().raw());
  costs("the first floating address", 5, [&] { return counted.create(first); });
  costs("another", 5, [&] { return counted.create(floating(red_, "203.0.113.11")); });
  costs("one gone", 6, [&] { return counted.remove(*v1::FloatingIp::descriptor(), id_of(first)); });
  const auto s = service(red_, "s");
  costs("a virtual address", 9, [&] { return counted.create(vip(s, "a", "203.0.113.20")); });
  costs("another of the same address", 10,
        [&] { return counted.create(vip(s, "b", "203.0.113.20", 81)); });
  costs("a port unwired", 8, [&] {
    return counted.modify(*v1::Port::descriptor(), id_of(red_up_), [](auto& m) -> Result<void> {
      static_cast<v1::Port&>(m).clear_peer();
      return Ok{};
    });
  });
}

/// Whatever is done, claims are what the resources say.
TEST_F(OutsideAddressesTest, AfterEachOfManySteps) {
  const auto seed = static_cast<unsigned>(getpid());
  std::printf("seed %u\n", seed);
  Rover rover(*store_, seed);
  for (int i = 0; i < 600 && !HasFailure(); ++i) {
    rover.step();
    ASSERT_EQ(rover.trouble(), "");
    if (i % 20 != 19) continue;
    EXPECT_THAT(problems(), IsEmpty()) << "after " << i;
  }
  ASSERT_TRUE(resume_removals(*store_, {}).ok());
}

}  // namespace
}  // namespace plexus::store
