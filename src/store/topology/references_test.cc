// SPDX-License-Identifier: Apache-2.0
// Fields that refer to several things: groups of a port. Each entry is a reference of its own, with its own entry in an index.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/topology/filter_rules.h"
#include "store/topology/index.h"
#include "store/topology/layout.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ReferencesTest : public TopologyTest {
 protected:
  ReferencesTest() : blue_(bridge("blue")) {
    for (const char* name : {"web", "db", "ssh"})
      groups_.push_back(create(named<v1::SecurityGroup>(name)));
  }
  v1::Port member(const char* name, std::initializer_list<size_t> groups) {
    auto port = port_on(blue_, name);
    for (const size_t g : groups) port.add_security_groups(groups_[g].id());
    return port;
  }
  template <typename M>
  std::string refused(const M& wanted) {
    auto created = writer_->create(wanted);
    EXPECT_FALSE(created.ok());
    return created.ok() ? "" : created.error().message;
  }
  static std::string index_of(const v1::SecurityGroup& group) {
    return index_path("security-group", *Uuid::from_bytes(group.id()), "port.security_groups");
  }
  /// "<port> <addresses>" of each member that the index lists.
  std::vector<std::string> listed(const v1::SecurityGroup& group) {
    Transaction transaction(*store_);
    std::vector<std::string> out;
    auto entries = index_facts(transaction, index_of(group));
    EXPECT_TRUE(entries.ok());
    for (const auto& entry : *entries) {
      std::string line = get<v1::Port>(entry.id()).name();
      for (const auto& address : entry.addresses())
        line += " " + IpAddr::from_bytes(address)->str();
      out.push_back(line);
    }
    std::sort(out.begin(), out.end());
    return out;
  }
  std::vector<std::string> problems() { return check_store(*store_)->problems; }

  v1::Bridge blue_;
  std::vector<v1::SecurityGroup> groups_;
};

TEST_F(ReferencesTest, AreStoredSortedAndIndexedEach) {
  auto vm = create(member("vm", {2, 0, 1}));
  ASSERT_EQ(vm.security_groups_size(), 3);
  EXPECT_TRUE(std::is_sorted(vm.security_groups().begin(), vm.security_groups().end()));
  for (const auto& group : groups_) EXPECT_THAT(listed(group), ElementsAre("vm"));
  vm.clear_security_groups();
  vm.add_security_groups(groups_[1].id());
  update(vm);
  EXPECT_THAT(listed(groups_[0]), IsEmpty());
  EXPECT_THAT(listed(groups_[1]), ElementsAre("vm"));
  remove<v1::Port>(vm.id());
  EXPECT_THAT(listed(groups_[1]), IsEmpty());
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(ReferencesTest, AreRefusedTwiceTooManyAndToNothing) {
  EXPECT_THAT(refused(member("vm", {0, 0})),
              HasSubstr("security_groups: the same value is there twice"));
  auto nowhere = member("vm", {0});
  nowhere.add_security_groups(Uuid::random().raw());
  EXPECT_THAT(refused(nowhere), HasSubstr("there is no security-group"));
  auto many = member("vm", {});
  for (int i = 0; i < 17; ++i) many.add_security_groups(Uuid::random().raw());
  EXPECT_THAT(refused(many), HasSubstr("at most 16"));
  auto foot = port_on(router("core"), "foot");
  foot.add_security_groups(groups_[0].id());
  EXPECT_THAT(refused(foot), HasSubstr("security_groups: is for bridge ports"));
}

TEST_F(ReferencesTest, RestrictWhatIsInUse) {
  const auto vm = create(member("vm", {0, 1}));
  const auto kept =
      writer_->remove(*v1::SecurityGroup::descriptor(), *Uuid::from_bytes(groups_[1].id()));
  ASSERT_FALSE(kept.ok());
  EXPECT_EQ(kept.error().code, ErrorCode::in_use);
  EXPECT_THAT(kept.error().message, HasSubstr("port vm"));
  remove<v1::SecurityGroup>(groups_[2].id());
  // In one batch the port may leave and the group go.
  std::vector<Operation> operations(2);
  operations[0].kind = Operation::Kind::modify;
  operations[0].type = v1::Port::descriptor();
  operations[0].id = *Uuid::from_bytes(vm.id());
  operations[0].edit = [&](google::protobuf::Message& message) -> Result<void> {
    auto& port = static_cast<v1::Port&>(message);
    port.clear_security_groups();
    port.add_security_groups(groups_[0].id());
    return Ok{};
  };
  operations[1].kind = Operation::Kind::remove;
  operations[1].type = v1::SecurityGroup::descriptor();
  operations[1].id = *Uuid::from_bytes(groups_[1].id());
  auto done = writer_->batch(operations);
  EXPECT_TRUE(done.ok()) << done.error().message;
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(ReferencesTest, ClearTakesOneEntryOut) {
  const auto first = create(named<v1::PortGroup>("first")),
             second = create(named<v1::PortGroup>("second"));
  std::vector<v1::Port> vms;
  for (const char* name : {"vm1", "vm2", "vm3"}) {
    auto vm = port_on(blue_, name);
    vm.add_port_groups(first.id());
    vm.add_port_groups(second.id());
    vms.push_back(create(vm));
  }
  writer_->set_removal_batch(2);
  const auto removed = writer_->remove(*v1::PortGroup::descriptor(), *Uuid::from_bytes(first.id()));
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  EXPECT_EQ(removed->cleared, 3u);
  for (const auto& vm : vms)
    EXPECT_THAT(get<v1::Port>(vm.id()).port_groups(), ElementsAre(second.id()));
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(ReferencesTest, CascadeTakesRulesAlong) {
  const auto vm = create(port_on(blue_, "vm"));
  const auto chain = create(named<v1::Chain>("chain"));
  v1::Rule rule;
  rule.set_chain(chain.id());
  rule.set_position(1);
  rule.set_action(v1::Rule::DROP);
  rule.set_in_port(vm.id());
  rule = create(rule);
  v1::SecurityRule from;
  from.set_security_group(groups_[0].id());
  from.set_direction(v1::SecurityRule::INGRESS);
  from.set_remote_group(groups_[1].id());
  from = create(from);
  // A drop rule must not go silently with the port that it names.
  const auto kept = writer_->remove(*v1::Port::descriptor(), *Uuid::from_bytes(vm.id()));
  ASSERT_FALSE(kept.ok());
  EXPECT_EQ(kept.error().code, ErrorCode::in_use);
  remove<v1::Chain>(chain.id());
  EXPECT_FALSE(exists<v1::Rule>(rule.id()));
  remove<v1::Port>(vm.id());
  remove<v1::SecurityGroup>(groups_[1].id());
  EXPECT_FALSE(exists<v1::SecurityRule>(from.id()));
  EXPECT_TRUE(exists<v1::SecurityGroup>(groups_[0].id()));
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(ReferencesTest, EntriesCarryTheAddressesOfMembers) {
  auto vm = member("vm", {0, 1});
  vm.add_addresses(ip_raw("10.0.0.5"));
  vm.add_addresses(ip_raw("fd00::5"));
  vm = create(vm);
  EXPECT_THAT(listed(groups_[0]), ElementsAre("vm 10.0.0.5 fd00::5"));
  // Only the addresses change; only the name changes.
  vm.clear_addresses();
  vm.add_addresses(ip_raw("10.0.0.6"));
  vm = update(vm);
  EXPECT_THAT(listed(groups_[0]), ElementsAre("vm 10.0.0.6"));
  EXPECT_THAT(listed(groups_[1]), ElementsAre("vm 10.0.0.6"));
  const auto bucket = [&] {
    return (*store_->get(index_bucket_path(index_of(groups_[0]), 0)))->version;
  };
  const int64_t version = bucket();
  vm.set_name("other");
  vm = update(vm);
  EXPECT_EQ(bucket(), version) << "nothing that the index says has changed";
  // A group and an address at once.
  vm.clear_security_groups();
  vm.add_security_groups(groups_[1].id());
  vm.add_security_groups(groups_[2].id());
  vm.clear_addresses();
  vm = update(vm);
  EXPECT_THAT(listed(groups_[0]), IsEmpty());
  EXPECT_THAT(listed(groups_[1]), ElementsAre("other"));
  EXPECT_THAT(listed(groups_[2]), ElementsAre("other"));
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(ReferencesTest, TheCheckFindsWrongFacts) {
  auto vm = member("vm", {0});
  vm.add_addresses(ip_raw("10.0.0.5"));
  create(vm);
  const std::string path = index_bucket_path(index_of(groups_[0]), 0);
  auto record = store_->get(path);
  v1::RefBucket bucket;
  ASSERT_TRUE(bucket.ParseFromString((*record)->value));
  bucket.mutable_entries(0)->set_addresses(0, ip_raw("10.0.0.66"));
  ASSERT_TRUE(store_->transact({Set{path, bucket.SerializeAsString(), (*record)->version}}).ok());
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("is not so")));
  ASSERT_TRUE(store_->transact({Set{path, (*record)->value, (*record)->version + 1}}).ok());
}

TEST_F(ReferencesTest, MembersHaveAFewAddressesEach) {
  auto vm = member("vm", {0});
  for (int i = 0; i <= kMaxMemberAddresses; ++i)
    vm.add_addresses(IpAddr::v4(0x0a000100 + static_cast<uint32_t>(i)).raw());
  EXPECT_THAT(refused(vm), HasSubstr("addresses: a port in security groups has at most 32"));
  vm.clear_security_groups();
  create(vm);
}

/// All in the same sixteen groups: their indexes fill alike, and would all be divided at the same moment.
TEST_F(ReferencesTest, ManyPortsInTheSameSixteenGroups) {
  while (groups_.size() < 16) {
    groups_.push_back(
        create(named<v1::SecurityGroup>(("g" + std::to_string(groups_.size())).c_str())));
  }
  constexpr uint32_t kPorts = 600, kAtOnce = 100;
  for (uint32_t done = 0; done < kPorts; done += kAtOnce) {
    std::vector<Operation> operations;
    for (uint32_t i = done; i < done + kAtOnce; ++i) {
      auto vm = std::make_unique<v1::Port>(port_on(blue_, ("vm" + std::to_string(i)).c_str()));
      for (const auto& group : groups_) vm->add_security_groups(group.id());
      for (uint32_t a = 0; a < 2; ++a) vm->add_addresses(IpAddr::v4(0x0a000000 + i * 16 + a).raw());
      operations.emplace_back().resource = std::move(vm);
    }
    auto created = writer_->batch(operations);
    ASSERT_TRUE(created.ok()) << created.error().message;
  }
  EXPECT_THAT(problems(), IsEmpty());
  for (const auto& group : groups_) {
    auto head = store_->get(index_head_path(index_of(group)));
    v1::IndexHead depth;
    ASSERT_TRUE(depth.ParseFromString((*head)->value));
    EXPECT_GE(depth.depth(), 1u) << "those that had no room at first are divided later";
  }
}

}  // namespace
}  // namespace plexus::store
