// SPDX-License-Identifier: Apache-2.0
// Several processes of several threads do whatever comes to their mind to one topology, one of them
// is killed again and again, a host follows its closure: the topology is whole at the end, and the
// follower knows what one who comes fresh reads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <mutex>
#include <random>

#include "store/topology/followed_closure.h"
#include "store/topology/rover.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

/// Follows host a until told to stop; then what it knows must be what a fresh reader reads.
std::string follow(const std::string& address, int stop) {
  auto store = open_store(address);
  if (!store.ok()) return store.error().message;
  FollowedClosure followed(**store, HostId{kHosts[0]});
  const bool stopped = followed.run_until(
      [&] {
        pollfd polled{stop, POLLIN, 0};
        return poll(&polled, 1, 0) > 0;
      },
      std::chrono::seconds(240));
  if (!stopped) return "never told to stop";
  FollowedClosure fresh(**store, HostId{kHosts[0]});
  if (!fresh.sync()) return "a fresh reader does not get the closure";
  // Ports that have gone from the host are followed for a minute longer.
  const auto a_minute_later = [&] {
    followed.reader().process(mono_now() + std::chrono::seconds(61));
    return followed.view() == fresh.view();
  };
  if (!followed.run_until(a_minute_later)) {
    return "what was followed is not what is there";
  }
  if (followed.reader().watched() != fresh.reader().watched()) return "keys are left over";
  return followed.batches().size() < 10 ? "hardly anything was followed" : "";
}

TEST(Concurrent, WhateverManyDoTheTopologyStaysWhole) {
  const TestStore fresh;
  const std::string& address = fresh.address();
  const auto seed = static_cast<unsigned>(getpid());
  std::printf("seed %u\n", seed);
  std::fflush(stdout);  // or each child prints it again
  std::mt19937 random(seed);

  // All processes are started while this one has no threads and no store.
  int stop[2];
  ASSERT_EQ(pipe(stop), 0);
  const Process follower = start([&] { return follow(address, stop[0]); });
  const Process first = start([&] { return rove(address, seed, 2, 500); });
  const Process second = start([&] { return rove(address, seed + 1, 2, 500); });
  for (unsigned life = 0; life < 8; ++life) {
    const Process victim = start([&] { return rove(address, seed + 2 + life, 2, 1'000'000); });
    usleep(50'000 + static_cast<unsigned>(random() % 100'000));
    kill(victim.pid, SIGKILL);
    EXPECT_EQ(finish(victim), " (the process crashed)");
  }
  EXPECT_EQ(finish(first), "");
  EXPECT_EQ(finish(second), "");
  ASSERT_EQ(write(stop[1], "x", 1), 1);
  EXPECT_EQ(finish(follower), "");
  close(stop[0]);
  close(stop[1]);

  auto store = open_store(address);
  ASSERT_TRUE(store.ok());
  auto report = check_store(**store);
  ASSERT_TRUE(report.ok()) << report.error().message;
  std::printf("%zu records, %zu resources\n", report->records, report->resources);
  EXPECT_GT(report->resources, 10u);
  for (const std::string& problem : report->problems) ADD_FAILURE() << problem;

  EXPECT_TRUE(resume_removals(**store, {}).ok());
  // Everything can be removed again, and nothing is left.
  TopologyWriter writer(**store);
  for (const char* type : {"rule", "security-rule", "route", "port", "bridge", "router", "host",
                           "chain", "security-group", "port-group", "address-group"}) {
    const auto all = writer.list(*find_resource_type(type));
    ASSERT_TRUE(all.ok());
    for (const auto& resource : *all) {
      auto done = writer.remove(*find_resource_type(type), id_of(*resource.message));
      EXPECT_TRUE(done.ok() || done.error().code == ErrorCode::not_found) << done.error().message;
    }
  }
  EXPECT_THAT(what_is_left(**store), ::testing::IsEmpty());
}

}  // namespace
}  // namespace plexus::store
