// SPDX-License-Identifier: Apache-2.0
// What filters, in the closure of a host: chains, rules, groups, and of remote groups their members without their records.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <set>
#include <utility>

#include "store/topology/followed_closure.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ReaderFiltersTest : public TopologyTest {
 protected:
  ReaderFiltersTest()
      : h1_(host("h1")),
        blue_(bridge("blue")),
        red_(bridge("red")),
        web_(create(named<v1::SecurityGroup>("web"))),
        db_(create(named<v1::SecurityGroup>("db"))),
        other_(create(named<v1::SecurityGroup>("other"))) {
    for (const char* name : {"in", "next", "last", "unused"})
      chains_.push_back(create(named<v1::Chain>(name)));
  }
  template <typename Id, typename M>
  static Id id(const M& message) {
    return Id{*Uuid::from_bytes(message.id())};
  }
  HostId self() const { return id<HostId>(h1_); }
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
    return create(rule);
  }
  v1::SecurityRule from_group(const v1::SecurityGroup& group, const v1::SecurityGroup& remote) {
    v1::SecurityRule rule;
    rule.set_security_group(group.id());
    rule.set_direction(v1::SecurityRule::INGRESS);
    rule.set_remote_group(remote.id());
    return create(rule);
  }
  /// In the group, on a bridge that is none of ours.
  v1::Port far_member(const std::string& name, const v1::SecurityGroup& group, uint32_t address) {
    auto port = port_on(red_, name.c_str());
    port.add_security_groups(group.id());
    port.add_addresses(IpAddr::v4(address).raw());
    return port;
  }
  static std::vector<model::GroupMember> members(const ModelView& view,
                                                 const v1::SecurityGroup& group) {
    std::vector<model::GroupMember> all;
    for (const auto& [part, some] : view.members) {
      if (part.first == id<SecurityGroupId>(group)) all.insert(all.end(), some.begin(), some.end());
    }
    std::sort(all.begin(), all.end());
    return all;
  }
  /// Follows until it has what was committed last; then a fresh reader must see the same.
  void settle(FollowedClosure& followed) {
    const Revision now = *store_->sync();
    ASSERT_TRUE(followed.run_until_applied(now));
    FollowedClosure fresh(*store_, self());
    ASSERT_TRUE(fresh.run_until_applied(now));
    EXPECT_EQ(followed.view(), fresh.view());
    EXPECT_EQ(followed.reader().watched(), fresh.reader().watched());
  }

  v1::Host h1_;
  v1::Bridge blue_, red_;
  v1::SecurityGroup web_, db_, other_;
  std::vector<v1::Chain> chains_;
};

TEST_F(ReaderFiltersTest, ChainsAndWhereTheyJump) {
  auto networks = named<v1::AddressGroup>("networks");
  networks.add_prefixes(prefix_raw("10.0.0.0/8"));
  networks = create(networks);
  const auto ports = create(named<v1::PortGroup>("ports"));
  auto vm = on_host(port_on(blue_, "vm"), h1_, "tap");
  vm.set_in_chain(chains_[0].id());
  vm.add_port_groups(ports.id());
  vm = create(vm);
  blue_.set_out_chain(chains_[1].id());
  update(blue_);
  const auto first = jump(chains_[0], chains_[1]);
  auto rule = rule_in(chains_[1]);
  rule.set_source_group(networks.id());
  rule = create(rule);
  create(rule_in(chains_[3]));

  FollowedClosure followed(*store_, self());
  settle(followed);
  const ModelView& view = followed.view();
  EXPECT_EQ(view.ports.at(id<PortId>(vm)).in_chain, id<ChainId>(chains_[0]));
  EXPECT_THAT(view.ports.at(id<PortId>(vm)).port_groups, ElementsAre(id<PortGroupId>(ports)));
  EXPECT_EQ(view.bridges.at(id<BridgeId>(blue_)).out_chain, id<ChainId>(chains_[1]));
  ASSERT_EQ(view.chains.size(), 2u);
  EXPECT_THAT(view.chains.at(id<ChainId>(chains_[0])).rules, ElementsAre(id<RuleId>(first)));
  EXPECT_EQ(view.rules.at(id<RuleId>(rule)).source_group, id<AddressGroupId>(networks));
  EXPECT_EQ(view.address_groups.at(id<AddressGroupId>(networks)).prefixes.size(), 1u);
  EXPECT_EQ(view.port_groups.size(), 1u);
  EXPECT_EQ(view.rules.size(), 2u);

  // A jump further; a rule changes; a rule goes; nothing filters any more.
  jump(chains_[1], chains_[2]);
  settle(followed);
  EXPECT_EQ(view.chains.size(), 3u);
  rule.clear_source_group();
  rule.set_action(v1::Rule::REJECT);
  update(rule);
  settle(followed);
  EXPECT_EQ(view.rules.at(id<RuleId>(rule)).action, model::RuleAction::reject);
  EXPECT_THAT(view.address_groups, IsEmpty());
  remove<v1::Rule>(first.id());
  settle(followed);
  EXPECT_THAT(view.chains.at(id<ChainId>(chains_[0])).rules, IsEmpty());
  vm.clear_in_chain();
  vm.clear_port_groups();
  update(vm);
  blue_.clear_out_chain();
  update(blue_);
  settle(followed);
  EXPECT_THAT(view.chains, IsEmpty());
  EXPECT_THAT(view.rules, IsEmpty());
  EXPECT_THAT(view.port_groups, IsEmpty());
}

TEST_F(ReaderFiltersTest, SecurityGroupsAndTheMembersOfRemoteOnes) {
  auto vm = on_host(port_on(blue_, "vm"), h1_, "tap");
  vm.add_security_groups(web_.id());
  vm = create(vm);
  auto rule = from_group(web_, db_);
  from_group(db_, other_);  // for members of db, of which we have none
  const auto far = create(far_member("far", db_, 0x0a000005));
  create(far_member("elsewhere", other_, 0x0a000006));

  FollowedClosure followed(*store_, self());
  settle(followed);
  const ModelView& view = followed.view();
  ASSERT_EQ(view.security_groups.size(), 1u);
  EXPECT_THAT(view.security_groups.at(id<SecurityGroupId>(web_)).rules,
              ElementsAre(id<SecurityRuleId>(rule)));
  EXPECT_EQ(view.security_rules.size(), 1u);
  EXPECT_THAT(members(view, db_),
              ElementsAre(model::GroupMember{id<PortId>(far), {IpAddr::v4(0x0a000005)}}));
  EXPECT_THAT(members(view, other_), IsEmpty());
  EXPECT_FALSE(view.ports.contains(id<PortId>(far))) << "its record is nobody's business";

  // Its address changes, one more comes, one goes.
  auto moved = far;
  moved.clear_addresses();
  moved.add_addresses(IpAddr::v4(0x0a000007).raw());
  update(moved);
  const auto more = create(far_member("more", db_, 0x0a000008));
  settle(followed);
  EXPECT_EQ(members(view, db_).size(), 2u);
  remove<v1::Port>(far.id());
  settle(followed);
  EXPECT_THAT(members(view, db_),
              ElementsAre(model::GroupMember{id<PortId>(more), {IpAddr::v4(0x0a000008)}}));
  // The rule goes, and with it the members.
  remove<v1::SecurityRule>(rule.id());
  settle(followed);
  EXPECT_THAT(view.members, IsEmpty());
  // One's own members matter only to a rule that names the group.
  from_group(web_, web_);
  settle(followed);
  EXPECT_EQ(members(view, web_).size(), 1u);
}

TEST_F(ReaderFiltersTest, ManyRemoteMembersCostAFewKeysAndComeByParts) {
  constexpr uint32_t kMembers = 5000, kAtOnce = 500;
  auto vm = on_host(port_on(blue_, "vm"), h1_, "tap");
  vm.add_security_groups(web_.id());
  create(vm);
  FollowedClosure followed(*store_, self());
  settle(followed);
  const size_t without = followed.reader().watched();
  from_group(web_, db_);
  std::map<PortId, uint32_t> wanted;
  for (uint32_t done = 0; done < kMembers; done += kAtOnce) {
    std::vector<Operation> operations;
    for (uint32_t i = done; i < done + kAtOnce; ++i) {
      auto port = far_member("m" + std::to_string(i), db_, 0x0a000000 + i);
      port.set_id(Uuid::random().raw());
      wanted[id<PortId>(port)] = 0x0a000000 + i;
      operations.emplace_back().resource = std::make_unique<v1::Port>(port);
    }
    auto created = writer_->batch(operations);
    ASSERT_TRUE(created.ok()) << created.error().message;
  }
  settle(followed);
  std::map<PortId, uint32_t> seen;
  for (const auto& member : members(followed.view(), db_))
    seen[member.port] = member.addresses.at(0).v4_value();
  EXPECT_EQ(seen, wanted);
  const size_t keys = followed.reader().watched() - without;
  EXPECT_LE(keys, 70u) << kMembers << " members";
  EXPECT_GE(followed.view().members.size(), 8u) << "in parts";
  // One member more is one part.
  const size_t before = followed.batches().size();
  create(far_member("one-more", db_, 0x0b000000));
  settle(followed);
  size_t changes = 0;
  for (size_t i = before; i < followed.batches().size(); ++i)
    changes += followed.batches()[i].changes.size();
  EXPECT_EQ(changes, 1u);
}

/// A store whose watches, from hold() until release(), keep to themselves what they know of records at these paths; and
/// nothing is settled meanwhile.
class LateStore final : public Store {
 public:
  LateStore(Store& real, std::function<bool(const std::string&)> late)
      : real_(real), late_(std::move(late)) {}
  void hold() { holding_ = true; }
  void release() {
    std::lock_guard lock(mutex_);
    holding_ = false;
    for (const auto& tell : std::exchange(waiting_, {})) tell();
    if (const auto tell = std::exchange(settle_, nullptr)) tell();
  }

  [[nodiscard]] std::string kind() const override { return real_.kind(); }
  Result<std::optional<Record>> get(std::string_view path) override { return real_.get(path); }
  Result<std::vector<std::optional<Record>>> get_many(
      const std::vector<std::string>& paths) override {
    return real_.get_many(paths);
  }
  Result<std::vector<std::string>> list(std::string_view directory) override {
    return real_.list(directory);
  }
  Result<std::vector<std::pair<std::string, Record>>> scan(std::string_view directory) override {
    return real_.scan(directory);
  }
  Result<Revision> transact(const std::vector<Step>& steps) override {
    return real_.transact(steps);
  }
  [[nodiscard]] std::unique_ptr<Watch> watch(std::string path, WatchCallback callback) override {
    const bool late = late_(path);
    return real_.watch(std::move(path), [this, late, callback](const WatchEvent& event) {
      std::lock_guard lock(mutex_);
      if (late && holding_)
        waiting_.emplace_back([callback, event] { callback(event); });
      else
        callback(event);
    });
  }
  [[nodiscard]] std::unique_ptr<Watch> watch_settled(
      std::function<void(Revision)> callback) override {
    return real_.watch_settled([this, callback](Revision revision) {
      std::lock_guard lock(mutex_);
      if (holding_)
        settle_ = [callback, revision] { callback(revision); };
      else
        callback(revision);
    });
  }
  Result<void> put_ephemeral(std::string_view path, std::string_view value) override {
    return real_.put_ephemeral(path, value);
  }
  Result<Revision> sync() override { return real_.sync(); }
  [[nodiscard]] Health health() const override { return real_.health(); }

 private:
  Store& real_;
  const std::function<bool(const std::string&)> late_;
  std::mutex mutex_;
  std::atomic<bool> holding_{false};
  std::vector<std::function<void()>> waiting_;
  std::function<void()> settle_;
};

TEST_F(ReaderFiltersTest, AChainComesWithAllItsRulesOrNotAtAll) {
  const auto rule = create(rule_in(chains_[0]));
  LateStore late(*store_, [](const std::string& path) { return path.find("/rule/") != path.npos; });
  FollowedClosure followed(late, self());
  ASSERT_TRUE(followed.sync());
  late.hold();
  auto vm = on_host(port_on(blue_, "vm"), h1_, "tap");
  vm.set_in_chain(chains_[0].id());
  vm = create(vm);
  // Long after the batch has gone out without what is late.
  ASSERT_TRUE(followed.run_until([&] { return followed.view().ports.contains(id<PortId>(vm)); }));
  EXPECT_FALSE(followed.batches().back().consistent);
  EXPECT_THAT(followed.view().chains, IsEmpty()) << "it would accept everything";
  late.release();
  ASSERT_TRUE(followed.run_until([&] { return !followed.view().chains.empty(); }));
  EXPECT_EQ(followed.view().rules.count(id<RuleId>(rule)), 1u);
}

TEST_F(ReaderFiltersTest, OfAKeptClosureEachChainCountsForItself) {
  const auto lost = create(rule_in(chains_[0]));
  const auto kept = create(rule_in(chains_[1]));
  auto vm = on_host(port_on(blue_, "vm"), h1_, "tap");
  vm.set_in_chain(chains_[0].id());
  vm.set_out_chain(chains_[1].id());
  create(vm);
  FollowedClosure whole(*store_, self());
  ASSERT_TRUE(whole.run_until_applied(*store_->sync()));
  auto records = whole.records();
  std::erase_if(records, [&](const ClosureRecord& r) {
    return r.key.kind == ClosureKey::Kind::rule && r.key.id.raw() == lost.id();
  });
  FollowedClosure again(self());
  again.reader().load(std::move(records));
  EXPECT_EQ(again.view().chains.count(id<ChainId>(chains_[0])), 0u);
  EXPECT_EQ(again.view().chains.count(id<ChainId>(chains_[1])), 1u);
  EXPECT_EQ(again.view().rules.count(id<RuleId>(kept)), 1u);
}

TEST_F(ReaderFiltersTest, ADiskSnapshotHasThemToo) {
  auto vm = on_host(port_on(blue_, "vm"), h1_, "tap");
  vm.add_security_groups(web_.id());
  vm.set_out_chain(chains_[0].id());
  create(vm);
  from_group(web_, db_);
  create(far_member("far", db_, 0x0a000005));
  jump(chains_[0], chains_[1]);
  FollowedClosure followed(*store_, self());
  settle(followed);
  FollowedClosure from_disk(self());
  from_disk.reader().load(followed.records());
  EXPECT_EQ(from_disk.view(), followed.view());
  EXPECT_EQ(from_disk.reader().unread(), 0u);
  EXPECT_EQ(from_disk.view().members.size(), 1u);
  EXPECT_EQ(from_disk.view().chains.size(), 2u);
}

}  // namespace
}  // namespace plexus::store
