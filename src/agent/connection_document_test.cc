// SPDX-License-Identifier: Apache-2.0
#include "agent/connection_document.h"

#include <gtest/gtest.h>

#include "codec/json.h"
#include "sim/test_cloud.h"
#include "state/test_connections.h"

namespace plexus::agent {
namespace {

TEST(ConnectionDocument, NamesPortsStatesAndTranslations) {
  sim::TestCloud cloud;
  const BridgeId blue = cloud.bridge("blue");
  const HostId h1 = cloud.host("h1", "192.0.2.1");
  const MonoTime now = state::at(100);
  state::ConnectionTable table({});
  state::Connection web = state::connection_of(state::tcp("10.0.0.1", 4000, "10.0.0.9", 80), now);
  web.port = cloud.vm("a", blue, h1, "02:00:00:00:00:01");
  web.reply_port = cloud.vm("b", blue, h1, "02:00:00:00:00:02");
  state::Tuple after = web.original;
  after.dst = *IpAddr::parse("10.0.0.2");
  web.translations.push_back(
      {blue.uuid, Uuid::derived("member", "m"), state::TranslationKind::member, after});
  state::Tuple outside = after;
  outside.src = *IpAddr::parse("203.0.113.1");
  web.translations.push_back({Uuid{}, Uuid{}, state::TranslationKind::one_to_one, outside});
  ASSERT_EQ(table.commit(web, now).refusal, state::Refusal::none);
  const state::Connection ping = state::connection_of(state::echo("10.0.0.1", "10.0.0.2", 7), now);
  ASSERT_EQ(table.commit(ping, now).refusal, state::Refusal::none);
  const codec::Node out =
      connections_document(table, *cloud.snapshot(h1), now + std::chrono::seconds(2));
  const codec::Node* list = out.find("connections");
  ASSERT_NE(list, nullptr);
  ASSERT_EQ(list->items.size(), 2u);
  const auto text = [](const codec::Node& node, std::string_view key) {
    const codec::Node* found = node.find(key);
    return found == nullptr ? "" : found->text;
  };
  const codec::Node& first = list->items[0].find("translations") ? list->items[0] : list->items[1];
  const codec::Node& second = list->items[0].find("translations") ? list->items[1] : list->items[0];
  EXPECT_EQ(text(first, "tuple"), "tcp 10.0.0.1:4000 > 10.0.0.9:80");
  EXPECT_EQ(text(first, "state"), "syn_sent");
  EXPECT_EQ(text(first, "port"), "a");
  EXPECT_EQ(text(first, "reply_port"), "b");
  EXPECT_EQ(text(first, "idle_ms"), "2000");
  EXPECT_EQ(text(first, "expires_ms"), "28000");
  const codec::Node& stage = first.find("translations")->items.at(0);
  EXPECT_EQ(text(stage, "at"), "blue");
  EXPECT_EQ(text(stage, "kind"), "member");
  EXPECT_EQ(text(stage, "becomes"), "tcp 10.0.0.1:4000 > 10.0.0.2:80");
  EXPECT_EQ(first.find("translations")->items.at(1).find("at"), nullptr) << "nobody knows whose";
  EXPECT_EQ(text(second, "state"), "unanswered");
  EXPECT_EQ(text(out, "total"), "2");
  // Who has expired is not known any more, removed or not.
  EXPECT_EQ(
      text(connections_document(table, *cloud.snapshot(h1), now + std::chrono::hours(1)), "total"),
      "0");
}

}  // namespace
}  // namespace plexus::agent
