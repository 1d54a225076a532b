// SPDX-License-Identifier: Apache-2.0
// The check finds what is wrong; without this, "no problems" elsewhere would mean little.
#include "store/topology/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/topology/host_records.h"
#include "store/topology/layout.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class CheckTest : public TopologyTest {
 protected:
  void put(const std::string& path, const std::string& value) {
    auto record = store_->get(path);
    ASSERT_TRUE(record.ok());
    const Step step =
        *record ? Step{Set{path, value, (*record)->version}} : Step{Create{path, value}};
    ASSERT_TRUE(store_->transact({step}).ok());
  }
  void drop(const std::string& path) {
    auto record = store_->get(path);
    ASSERT_TRUE(record.ok() && *record) << path;
    ASSERT_TRUE(store_->transact({Delete{path, (*record)->version}}).ok());
  }
  std::vector<std::string> problems() { return check_store(*store_)->problems; }
  static Uuid uuid(const std::string& raw) { return *Uuid::from_bytes(raw); }
};

TEST_F(CheckTest, FindsEachKindOfDamage) {
  auto owned = named<v1::Bridge>("blue");
  owned.set_tenant("acme");
  const auto blue = create(owned);
  const auto core = router("core");
  const auto h1 = host("h1");
  HostRecords records(*store_, HostId{uuid(h1.id())});
  ASSERT_TRUE(records.register_host({"h1", {}}).ok());
  const auto inside = create(port_on(blue, "inside"));
  auto foot = port_on(core, "foot", "10.0.0.1/24");
  foot.set_peer(inside.id());
  foot = create(foot);
  const auto vm = create(on_host(port_on(blue, "vm"), h1, "tap"));
  ASSERT_TRUE(records.publish(PortId{uuid(vm.id())}).ok());
  const auto out = create(route(core, foot, "10.9.0.0/16", "10.0.0.9"));
  EXPECT_TRUE(problems().empty());

  const std::string inside_path = object_path("port", uuid(inside.id()));
  const std::string bucket =
      index_bucket_path(index_path("bridge", uuid(blue.id()), "port.bridge"), 0);
  const std::string name = claim_path("port.name", "", "vm");
  const Uuid nobody = Uuid::random();
  const auto one_sided = [&] {
    auto p = inside;
    p.clear_peer();
    return p.SerializeAsString();
  };
  const auto dangling = [&] {
    auto p = inside;
    p.set_peer(foot.id());
    p.set_bridge(nobody.raw());
    return p.SerializeAsString();
  };
  const auto far_hop = [&] {
    auto r = out;
    r.set_next_hop(ip_raw("10.1.0.9"));
    return r.SerializeAsString();
  };
  const auto claim_of = [&](const Uuid& id) {
    v1::UniqueClaim c;
    c.set_id(id.raw());
    return c.SerializeAsString();
  };
  const auto bad_key = [&] {
    v1::Binding b;
    b.set_port(vm.id());
    b.set_host(h1.id());
    b.set_tunnel_key(99);
    b.set_active(true);
    return b.SerializeAsString();
  };
  const auto usage = [](uint32_t bridges) {
    v1::TenantUsage u;
    auto* count = u.add_counts();
    count->set_type("bridge");
    count->set_count(bridges);
    return u.SerializeAsString();
  };
  const auto going = [&](const std::string& id) {
    v1::Removal r;
    r.set_type("bridge");
    r.set_id(id);
    return r.SerializeAsString();
  };
  const auto marked = [&] {
    auto b = blue;
    b.set_deleting(true);
    return b.SerializeAsString();
  };
  const auto misfiled = [&] {
    v1::RefBucket b;
    b.add_entries()->set_id(vm.id());
    b.add_entries()->set_id(inside.id());
    if (vm.id() < inside.id()) b.mutable_entries()->SwapElements(0, 1);
    return b.SerializeAsString();
  };
  const auto two_ids = [&] {
    v1::HostState state;
    state.set_id(nobody.raw());
    return state.SerializeAsString();
  };
  const std::string bridge_index = index_path("bridge", uuid(blue.id()), "port.bridge");
  const auto deep = [] {
    v1::IndexHead head;
    head.set_depth(1);
    return head.SerializeAsString();
  };
  const struct {
    const char* what;
    std::string path;
    std::optional<std::string> value;  ///< nullopt: removed
    const char* says;
  } cases[] = {
      {"a one-sided link", inside_path, one_sided(), "not the other way round"},
      {"a dangling reference", inside_path, dangling(), "does not exist"},
      {"a damaged object", inside_path, "\xff\xff", "cannot be decoded"},
      {"a lost bucket", bucket, std::nullopt, "is missing"},
      {"a lost name", name, std::nullopt, "is missing"},
      {"a stolen name", name, claim_of(nobody), "belongs to"},
      {"a name of nobody", claim_path("port.name", "", "ghost"), claim_of(nobody),
       "does not have the value"},
      {"a next hop elsewhere", object_path("route", uuid(out.id())), far_hop(),
       "next hop 10.1.0.9"},
      {"lost networks", networks_path(uuid(core.id())), std::nullopt,
       "is not what the router's ports have"},
      {"a key never given out", binding_path(uuid(vm.id())), bad_key(), "never given out"},
      {"a binding of no port", binding_path(nobody), v1::Binding().SerializeAsString(),
       "port that does not exist"},
      {"neighbours of no port", neighbours_path(nobody), "", "port that does not exist"},
      {"a host state of no host", host_state_path(nobody), "", "host that does not exist"},
      {"an index of nothing", index_bucket_path(index_path("router", nobody, "port.router"), 0), "",
       "object that does not exist"},
      {"something unknown", "/p1/x/y", "z", "no such record"},
      {"an unknown index", object_path("bridge", uuid(blue.id())) + "/port.colour/0", "",
       "no such record"},
      {"a lost head", index_head_path(bridge_index), std::nullopt, "has no head"},
      {"a wrong depth", index_head_path(bridge_index), deep(), "bucket 1 is missing"},
      {"a bucket out of order", bucket, misfiled(), "not sorted"},
      {"neighbours of a bridge's port", neighbours_path(uuid(vm.id())), "", "no router's"},
      {"a state of another host", host_state_path(uuid(h1.id())), two_ids(), "holds the id"},
      {"a log entry that is none", sequence_path(log_path(), 1), "\xff", "cannot be decoded"},
      {"a log entry of nothing", sequence_path(log_path(), 1), "", "of no change"},
      {"a gap in the log", sequence_path(log_path(), 2), std::nullopt, "before it is missing"},
      {"something else in the log", log_path() + "/x1", "", "no such record"},
      {"a wrong count", usage_path("acme"), usage(2), "but there are 1"},
      {"a lost count", usage_path("acme"), std::nullopt, "counts no bridge"},
      {"a count of nothing", usage_path("nobody"), usage(1), "but there are 0"},
      {"a removal of nothing", removing_path(nobody), going(nobody.raw()), "does not exist"},
      {"a removal of what stays", removing_path(uuid(blue.id())), going(blue.id()),
       "is not being removed"},
      {"a removal that nobody goes on with", object_path("bridge", uuid(blue.id())), marked(),
       "nobody will go on"},
      {"a level that is none", level_path(), "high", "holds no level"},
      {"a barrier that is none", barrier_path(), "\xff", "cannot be decoded"},
      {"an interrupted load", loading_path(), "dump of yesterday", "interrupted"},
      {"no life", gen_path(), "x", "holds no id"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    const auto before = store_->get(c.path);
    ASSERT_TRUE(before.ok());
    ASSERT_TRUE(c.value || *before);
    if (c.value) {
      put(c.path, *c.value);
    } else {
      drop(c.path);
    }
    EXPECT_THAT(problems(), Contains(HasSubstr(c.says)));
    if (*before) {
      put(c.path, (*before)->value);
    } else {
      drop(c.path);
    }
    EXPECT_TRUE(problems().empty());
  }
}

}  // namespace
}  // namespace plexus::store
