// SPDX-License-Identifier: Apache-2.0
// What the writer makes for hosts and lets them write; which hosts take ports; what tenants may have.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/topology/counting_store.h"
#include "store/topology/host_records.h"
#include "store/topology/layout.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::HasSubstr;

class HostsAndTenantsTest : public TopologyTest {
 protected:
  static Uuid uuid(const std::string& raw) { return *Uuid::from_bytes(raw); }
  template <typename M>
  M record(const std::string& path) {
    M message;
    auto stored = store_->get(path);
    EXPECT_TRUE(stored.ok() && *stored && message.ParseFromString((*stored)->value)) << path;
    return message;
  }
  v1::Binding binding(const v1::Port& port) {
    return record<v1::Binding>(binding_path(uuid(port.id())));
  }
  /// Who may write the port's binding, by the last commit.
  std::vector<HostId> writers(const v1::Port& port) {
    for (const Step& step : counting_.steps) {
      const auto* made = std::get_if<Create>(&step);
      if (made != nullptr && made->path == binding_path(uuid(port.id()))) return made->access.hosts;
      const auto* set = std::get_if<Set>(&step);
      if (set != nullptr && set->path == binding_path(uuid(port.id())) && set->access) {
        return set->access->hosts;
      }
    }
    return {HostId{}};
  }
  template <typename M>
  M counted_update(const M& wanted) {
    auto done = counted_.update(wanted);
    EXPECT_TRUE(done.ok()) << done.error().message;
    return done.ok() ? static_cast<const M&>(*done->message) : wanted;
  }
  template <typename R>
  static void refused(const R& result, ErrorCode code, std::vector<std::string> says) {
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, code) << result.error().message;
    for (const std::string& text : says) EXPECT_THAT(result.error().message, HasSubstr(text));
  }
  CountingStore counting_{*store_};
  TopologyWriter counted_{counting_};
};

TEST_F(HostsAndTenantsTest, BindingsAreMadeAndGivenToTheirHosts) {
  const auto blue = bridge("blue");
  const auto h1 = host("h1"), h2 = host("h2");
  const HostId one{uuid(h1.id())}, two{uuid(h2.id())};
  EXPECT_EQ(record<v1::HostState>(host_state_path(one.uuid)).id(), h1.id());
  record<v1::TunnelKeys>(tunnel_keys_path(one.uuid));
  auto bare = create(port_on(blue, "bare"));
  EXPECT_EQ(*store_->get(binding_path(uuid(bare.id()))), std::nullopt);
  auto created = counted_.create(on_host(port_on(blue, "vm"), h1, "tap"));
  ASSERT_TRUE(created.ok());
  auto vm = static_cast<const v1::Port&>(*created->message);
  EXPECT_EQ(writers(vm), std::vector{one});
  EXPECT_FALSE(binding(vm).has_host() || binding(vm).active() || binding(vm).generation() > 0);

  HostRecords on_one(*store_, one), on_two(*store_, two);
  ASSERT_TRUE(on_one.register_host({"h1", {}}).ok());
  ASSERT_TRUE(on_two.register_host({"h2", {}}).ok());
  const PortId id{uuid(vm.id())};
  EXPECT_EQ(on_one.publish(id)->generation, 1u);
  vm.set_migrating_to(h2.id());
  vm = counted_update(vm);
  EXPECT_EQ(writers(vm), (std::vector{one, two}));
  EXPECT_TRUE(binding(vm).active()) << "it goes on where it is";
  // The new host is the host: the migration is over, the old one forwards until it is taken over.
  vm.set_host(h2.id());
  vm = counted_update(vm);
  EXPECT_FALSE(vm.has_migrating_to());
  EXPECT_EQ(writers(vm), std::vector{two});
  EXPECT_TRUE(binding(vm).active());
  EXPECT_EQ(on_two.publish(id)->generation, 2u);
  // Moved without care: the old host may not say so any more, so it is said for it.
  vm.set_host(h1.id());
  vm = counted_update(vm);
  EXPECT_FALSE(binding(vm).active());
  EXPECT_EQ(binding(vm).generation(), 2u);
  EXPECT_EQ(on_one.publish(id)->generation, 3u);
  vm.clear_host();
  vm = counted_update(vm);
  EXPECT_TRUE(writers(vm).empty());
  EXPECT_FALSE(binding(vm).active());
  // Something else changes: nobody's access does.
  vm.set_admin_up(false);
  vm = counted_update(vm);
  EXPECT_EQ(writers(vm), std::vector{HostId{}});

  const auto foot = create(port_on(router("core"), "foot"));
  EXPECT_EQ(record<v1::NeighbourTable>(neighbours_path(uuid(foot.id()))).entries_size(), 0);
  EXPECT_EQ(*store_->get(neighbours_path(uuid(vm.id()))), std::nullopt);
}

TEST_F(HostsAndTenantsTest, AHostThatComesBackKeepsItsKeys) {
  auto h1 = host("h1");
  HostRecords records(*store_, HostId{uuid(h1.id())});
  const auto blue = bridge("blue");
  const auto port = create(on_host(port_on(blue, "vm"), h1, "tap"));
  ASSERT_TRUE(records.register_host({"h1", {}}).ok());
  const uint32_t key = records.publish(PortId{uuid(port.id())})->tunnel_key;
  remove<v1::Host>(h1.id());
  ASSERT_TRUE(records.register_host({"h1", {}}).ok());
  const auto other = create(on_host(port_on(blue, "other"), h1, "tap"));
  EXPECT_GT(records.publish(PortId{uuid(other.id())})->tunnel_key, key);
}

TEST_F(HostsAndTenantsTest, HostsThatTakeNoPorts) {
  const auto blue = bridge("blue");
  auto h1 = host("h1"), h2 = host("h2");
  auto vm = create(on_host(port_on(blue, "vm"), h1, "tap"));
  h1.set_draining(true);
  update(h1);
  h2.set_fenced(true);
  update(h2);
  refused(writer_->create(on_host(port_on(blue, "new"), h1, "tap2")), ErrorCode::invalid,
          {"port new", "host", "host h1", "draining"});
  refused(writer_->create(on_host(port_on(blue, "new"), h2, "tap2")), ErrorCode::invalid,
          {"host h2", "fenced"});
  vm.set_admin_up(false);
  vm = update(vm);  // what is there stays
  vm.set_migrating_to(h2.id());
  refused(writer_->update(vm), ErrorCode::invalid, {"migrating_to", "host h2", "fenced"});
  vm.set_migrating_to(h1.id());
  refused(writer_->update(vm), ErrorCode::invalid, {"migrating_to", "already"});
  vm.clear_host();
  refused(writer_->update(vm), ErrorCode::invalid, {"migrating_to", "host"});
  h2.clear_fenced();
  update(h2);
  vm = get<v1::Port>(vm.id());
  vm.set_migrating_to(h2.id());
  update(vm);
  // The interface is taken where it goes, too.
  refused(writer_->create(on_host(port_on(blue, "other"), h2, "tap")), ErrorCode::exists,
          {"interface", "port vm"});
}

TEST_F(HostsAndTenantsTest, QuotasHold) {
  auto acme = named<v1::Tenant>("acme");
  acme.set_max_bridges(2);
  acme.set_max_routes(1);
  acme = create(acme);
  const auto of = [](const char* tenant, const char* name) {
    auto bridge = named<v1::Bridge>(name);
    bridge.set_tenant(tenant);
    return bridge;
  };
  const auto a = create(of("acme", "a"));
  create(of("acme", "b"));
  refused(writer_->create(of("acme", "c")), ErrorCode::no_space,
          {"bridge c", "tenant acme", "2 bridges", "has 2"});
  for (int i = 0; i < 5; ++i) create(of("other", ("b" + std::to_string(i)).c_str()));
  bridge("of-nobody");
  remove<v1::Bridge>(a.id());
  create(of("acme", "c"));
  acme.set_max_bridges(3);
  update(acme);
  create(of("acme", "d"));
  acme.set_max_bridges(1);  // below what it has: nothing new, nothing goes
  update(acme);
  refused(writer_->create(of("acme", "e")), ErrorCode::no_space, {"1 bridges", "has 3"});

  // In a batch the last one is to blame; routes go with their port and count.
  const auto core = router("core");
  const auto foot = create(port_on(core, "foot", "10.0.0.1/24"));
  const auto hole = [&](const char* destination) {
    auto r = route(core, foot, destination);
    r.set_tenant("acme");
    return r;
  };
  std::vector<Operation> two(3);
  two[0].resource = std::make_unique<v1::Bridge>(named<v1::Bridge>("free"));
  two[1].resource = std::make_unique<v1::Route>(hole("10.1.0.0/16"));
  two[2].resource = std::make_unique<v1::Route>(hole("10.2.0.0/16"));
  size_t failed = 0;
  refused(writer_->batch(two, &failed), ErrorCode::no_space, {"1 routes", "has 0"});
  EXPECT_EQ(failed, 2u);
  create(hole("10.1.0.0/16"));
  refused(writer_->create(hole("10.2.0.0/16")), ErrorCode::no_space, {"routes"});
  remove<v1::Port>(foot.id());
  const auto usage = record<v1::TenantUsage>(usage_path("acme"));
  EXPECT_EQ(usage.ShortDebugString(),
            R"(counts { type: "bridge" count: 3 } counts { type: "route" count: 0 })");
}

TEST_F(HostsAndTenantsTest, ATenantGoesAfterWhatItHas) {
  const auto acme = create(named<v1::Tenant>("acme"));
  auto bridge = named<v1::Bridge>("web");
  bridge.set_tenant("acme");
  bridge = create(bridge);
  refused(writer_->remove(*v1::Tenant::descriptor(), uuid(acme.id())), ErrorCode::in_use,
          {"tenant acme", "1 bridge"});
  std::vector<Operation> both(2);
  both[0].kind = both[1].kind = Operation::Kind::remove;
  both[0].type = v1::Tenant::descriptor();
  both[0].id = uuid(acme.id());
  both[1].type = v1::Bridge::descriptor();
  both[1].id = uuid(bridge.id());
  const auto done = writer_->batch(both);
  EXPECT_TRUE(done.ok()) << done.error().message;
}

TEST_F(HostsAndTenantsTest, ATokenIsOfATenantThatThereIs) {
  auto token = named<v1::Token>("robot");
  token.set_role(v1::TENANT);
  token.set_tenant("acme");
  token.set_sha256(std::string(32, '\7'));
  refused(writer_->create(token), ErrorCode::invalid, {"robot", "no tenant acme"});
  create(named<v1::Tenant>("acme"));
  create(token);
}

TEST_F(HostsAndTenantsTest, EveryLimitIsOfACollection) {
  const auto& tenant = *v1::Tenant::descriptor();
  for (int i = 0; i < tenant.field_count(); ++i) {
    const std::string& name = tenant.field(i)->name();
    if (!name.starts_with("max_")) continue;
    std::string collection = name.substr(4);
    std::replace(collection.begin(), collection.end(), '_', '-');
    const auto* type = find_resource_type(collection);
    ASSERT_NE(type, nullptr) << name;
    EXPECT_NE(type->FindFieldByName("tenant"), nullptr) << name;
  }
}

}  // namespace
}  // namespace plexus::store
