// SPDX-License-Identifier: Apache-2.0
#include "store/topology/change_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/topology/host_records.h"
#include "store/topology/layout.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ChangeLogTest : public TopologyTest {
 protected:
  std::vector<LogRecord> log(uint32_t from = 0) {
    auto read = read_log(*store_, from, 100'000);
    EXPECT_TRUE(read.ok()) << read.error().message;
    return read.ok() ? std::move(*read) : std::vector<LogRecord>();
  }
  /// "created bridge blue, updated port p [name, mac]".
  static std::string text(const v1::LogEntry& entry) {
    std::string all;
    for (const auto& change : entry.changes()) {
      all += (all.empty() ? "" : ", ") + v1::LogVerb_Name(change.verb()) + " " + change.type() +
             " " + change.name();
      for (int i = 0; i < change.fields_size(); ++i) all += (i == 0 ? ":" : "+") + change.fields(i);
    }
    return all;
  }
};

TEST_F(ChangeLogTest, EachCommitIsOneEntry) {
  EXPECT_THAT(log(), IsEmpty());
  TopologyWriter ops(*store_, {"token ops", "r-7"});
  auto wanted = named<v1::Bridge>("blue");
  wanted.set_tenant("acme");
  const auto blue = ops.create(wanted);
  ASSERT_TRUE(blue.ok());
  ASSERT_TRUE(ops.update(*blue->message).ok());  // changes nothing
  ASSERT_FALSE(ops.create(wanted).ok());
  auto changed = static_cast<const v1::Bridge&>(*blue->message);
  changed.set_name("azure");
  changed.set_admin_up(false);
  update(changed);
  const auto entries = log();
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].number, 0u);
  EXPECT_EQ(entries[0].revision, blue->revision);
  EXPECT_EQ(entries[0].entry.who(), "token ops");
  EXPECT_EQ(entries[0].entry.request(), "r-7");
  EXPECT_GT(entries[0].entry.time_ms(), 1'700'000'000'000u);
  EXPECT_EQ(entries[0].entry.changes(0).tenant(), "acme");
  EXPECT_EQ(entries[0].entry.changes(0).id(), changed.id());
  EXPECT_EQ(text(entries[0].entry), "CREATED bridge blue");
  EXPECT_EQ(text(entries[1].entry), "UPDATED bridge azure:name+admin_up");
  EXPECT_FALSE(entries[1].entry.has_who());
  EXPECT_EQ(log(1).size(), 1u);
  EXPECT_THAT(log(2), IsEmpty());
}

TEST_F(ChangeLogTest, CascadesListEveryObject) {
  const auto core = router("core");
  const auto blue = bridge("blue");
  const auto inside = create(port_on(blue, "inside"));
  auto foot = port_on(core, "foot", "10.0.0.1/24");
  foot.set_peer(inside.id());
  foot = create(foot);
  EXPECT_EQ(text(log().back().entry), "CREATED port foot, UPDATED port inside:peer");
  auto r = route(core, foot, "10.1.0.0/16");
  r.set_name("out");
  create(r);
  remove<v1::Port>(foot.id());
  const std::string gone = text(log().back().entry);
  for (const char* part : {"DELETED port foot", "DELETED route out", "UPDATED port inside:peer"}) {
    EXPECT_THAT(gone, HasSubstr(part));
  }
}

TEST_F(ChangeLogTest, NoSecretAndNoStatus) {
  auto token = named<v1::Token>("ops");
  token.set_role(v1::ADMIN);
  token.set_sha256("0123456789abcdef0123456789abcdef");
  create(token);
  const auto h1 = host("h1");
  const auto port = create(on_host(port_on(bridge("blue"), "vm"), h1, "tap"));
  const size_t before = log().size();
  HostRecords records(*store_, HostId{*Uuid::from_bytes(h1.id())});
  ASSERT_TRUE(records.register_host({"h1", {*IpAddr::parse("192.0.2.1")}}).ok());
  ASSERT_TRUE(records.publish(PortId{*Uuid::from_bytes(port.id())}).ok());
  EXPECT_EQ(log().size(), before) << "status is not configuration";
  for (const auto& record : log()) {
    EXPECT_THAT(record.entry.SerializeAsString(), ::testing::Not(HasSubstr("0123456789")));
  }
}

TEST_F(ChangeLogTest, TrimsTheOldest) {
  for (int i = 0; i < 30; ++i) bridge(("b" + std::to_string(i)).c_str());
  EXPECT_EQ(*trim_log(*store_, 100), 0u);
  EXPECT_EQ(*trim_log(*store_, 10), 20u);
  EXPECT_EQ(*trim_log(*store_, 10), 0u);
  const auto range = log_range(*store_);
  EXPECT_EQ(range->first, 20u);
  EXPECT_EQ(range->next, 30u);
  const auto behind = read_log(*store_, 19, 5);
  ASSERT_FALSE(behind.ok());
  EXPECT_EQ(behind.error().code, ErrorCode::not_found);
  EXPECT_THAT(behind.error().message, HasSubstr("oldest is 20"));
  EXPECT_EQ(read_log(*store_, 20, 5)->size(), 5u);
  EXPECT_EQ(*trim_log(*store_, 0), 9u);
  bridge("one-more");
  EXPECT_EQ(log(29).size(), 2u) << "numbers go on";
}

TEST_F(ChangeLogTest, AnEntryIsThereWhenItsWatchSaysSo) {
  // How a reader tails: by the next number.
  bridge("blue");
  const auto seen = log();
  const uint32_t next = seen.back().number + 1;
  EXPECT_EQ(*store_->get(sequence_path(log_path(), next)), std::nullopt);
  bridge("green");
  EXPECT_TRUE(store_->get(sequence_path(log_path(), next))->has_value());
}

}  // namespace
}  // namespace plexus::store
