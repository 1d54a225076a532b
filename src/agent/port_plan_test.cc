// SPDX-License-Identifier: Apache-2.0
#include "agent/port_plan.h"

#include <gtest/gtest.h>

#include "model/topology.h"

namespace plexus::agent {
namespace {

const HostId kSelf{Uuid::derived("host", "h1")};
const HostId kOther{Uuid::derived("host", "h2")};

PortId port_id(const char* name) {
  return PortId{Uuid::derived("port", name)};
}

model::Change wanted(const char* name, HostId host, const char* interface) {
  model::Port port;
  port.id = port_id(name);
  port.name = name;
  port.wanted_host = host;
  port.interface = interface;
  return model::PortChange{port.id, port};
}

struct World {
  model::Topology topology{kSelf};
  std::map<std::string, uint32_t> links;
  std::map<PortId, Plug> plugged;

  void change(const model::Change& c) { topology.apply(std::span(&c, 1)); }
  PortPlan plan() const {
    const auto snapshot = topology.snapshot();
    std::set<PortId> candidates;
    snapshot->each_port([&](const model::Port& port) { candidates.insert(port.id); });
    return plan_ports(*snapshot, candidates, links, plugged);
  }
};

TEST(PortPlan, AttachesWhatIsWantedHereAndExists) {
  World w;
  w.change(wanted("vm1", kSelf, "tap1"));
  w.change(wanted("vm2", kOther, "tap2"));
  w.change(wanted("vm3", kSelf, "tap3"));
  w.links = {{"tap1", 7}, {"tap2", 8}};
  const PortPlan plan = w.plan();
  EXPECT_TRUE(plan.detach.empty());
  EXPECT_EQ(plan.attach, (std::vector<Plug>{{port_id("vm1"), "tap1", 7}}));
}

TEST(PortPlan, ASubPortIsWhereItsParentIsAndHasNoInterface) {
  World w;
  w.change(wanted("trunk", kSelf, "tap1"));
  w.links = {{"tap1", 7}};
  model::Port sub;
  sub.id = port_id("sub");
  sub.parent = port_id("trunk");
  sub.vlan = 7;
  w.change(model::PortChange{sub.id, sub});
  const auto role = [&](const char* name) {
    const auto snapshot = w.topology.snapshot();
    return role_of(*snapshot, *snapshot->port(port_id(name)));
  };
  EXPECT_EQ(role("sub"), PortRole::owner);
  EXPECT_EQ(w.plan().attach, (std::vector<Plug>{{port_id("trunk"), "tap1", 7}}));

  // The parent is about to come: so is the sub-port, until the parent has.
  model::Port coming = *w.topology.snapshot()->port(port_id("trunk"));
  coming.wanted_host = kOther;
  coming.migrating_to = kSelf;
  w.change(model::PortChange{coming.id, coming});
  EXPECT_EQ(role("sub"), PortRole::passive);
  model::Binding binding;
  binding.port = port_id("trunk");
  binding.host = kSelf;
  binding.active = true;
  w.change(model::BindingChange{binding.port, binding});
  EXPECT_EQ(role("sub"), PortRole::owner);

  w.change(wanted("trunk", kOther, "tap1"));
  EXPECT_EQ(role("sub"), PortRole::none);
  w.change(model::PortChange{port_id("trunk"), std::nullopt});
  EXPECT_EQ(role("sub"), PortRole::none);

  // Its record says something that we do not know.
  w.change(wanted("trunk", kSelf, "tap1"));
  sub.unreadable = true;
  w.change(model::PortChange{sub.id, sub});
  EXPECT_EQ(role("sub"), PortRole::none);
}

TEST(PortPlan, NothingToDoWhenAllIsAsWanted) {
  World w;
  w.change(wanted("vm1", kSelf, "tap1"));
  w.links = {{"tap1", 7}};
  w.plugged[port_id("vm1")] = {port_id("vm1"), "tap1", 7};
  EXPECT_TRUE(w.plan().empty());
}

TEST(PortPlan, LetsGoOfWhatVanishedMovedOrWasRenamed) {
  const Plug plug{port_id("vm1"), "tap1", 7};
  World vanished, moved, renamed, recreated;
  for (World* w : {&vanished, &moved, &renamed, &recreated}) w->plugged[plug.port] = plug;
  vanished.change(wanted("vm1", kSelf, "tap1"));
  EXPECT_EQ(vanished.plan().detach, std::vector<Plug>{plug});
  EXPECT_TRUE(vanished.plan().attach.empty());

  moved.links = {{"tap1", 7}};
  moved.change(wanted("vm1", kOther, "tap1"));
  EXPECT_EQ(moved.plan().detach, std::vector<Plug>{plug});
  EXPECT_TRUE(moved.plan().attach.empty());

  renamed.links = {{"tap1", 7}, {"tap9", 9}};
  renamed.change(wanted("vm1", kSelf, "tap9"));
  EXPECT_EQ(renamed.plan().detach, std::vector<Plug>{plug});
  EXPECT_EQ(renamed.plan().attach, (std::vector<Plug>{{port_id("vm1"), "tap9", 9}}));

  recreated.links = {{"tap1", 12}};
  recreated.change(wanted("vm1", kSelf, "tap1"));
  EXPECT_EQ(recreated.plan().detach, std::vector<Plug>{plug});
  EXPECT_EQ(recreated.plan().attach, (std::vector<Plug>{{port_id("vm1"), "tap1", 12}}));
}

TEST(PortPlan, KeepsItsHandsOffRecordsOfANewerSchema) {
  World w;
  model::Port port;
  port.id = port_id("vm1");
  port.wanted_host = kSelf;
  port.interface = "tap1";
  port.unreadable = true;
  w.change(model::PortChange{port.id, port});
  w.links = {{"tap1", 7}};
  EXPECT_TRUE(w.plan().empty());
}

}  // namespace
}  // namespace plexus::agent
