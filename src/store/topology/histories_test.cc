// SPDX-License-Identifier: Apache-2.0
// Random histories: two server processes of two clients each, one is killed and comes back. The
// topology is whole at the end, whatever the seed. PLEXUS_TEST_SEEDS says how many are tried.
#include <gtest/gtest.h>

#include <cstdlib>

#include "store/topology/rover.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

/// A server that comes up: first it goes on with what a dead one began.
std::string serve(const std::string& address, unsigned seed) {
  {
    auto store = open_store(address);
    if (!store.ok()) return store.error().message;
    auto resumed = resume_removals(**store, {"server", ""});
    // Others remove the same things meanwhile, or are faster each time: they or the next one finish.
    if (!resumed.ok() && resumed.error().code != ErrorCode::conflict) {
      return resumed.error().message;
    }
  }
  return rove(address, seed, 2, 30);
}

/// Problems of one history.
void run_history(unsigned seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  const TestStore fresh;
  const std::string address = fresh.address();
  std::mt19937 random(seed);
  const Process first = start([&] { return serve(address, seed * 10); });
  const Process victim = start([&] { return serve(address, seed * 10 + 1); });
  usleep(5'000 + static_cast<unsigned>(random() % 60'000));
  kill(victim.pid, SIGKILL);
  finish(victim);
  const Process second = start([&] { return serve(address, seed * 10 + 2); });
  EXPECT_EQ(finish(first), "");
  EXPECT_EQ(finish(second), "");

  auto store = open_store(address);
  ASSERT_TRUE(store.ok()) << store.error().message;
  auto resumed = resume_removals(**store, {});
  ASSERT_TRUE(resumed.ok()) << resumed.error().message;
  auto report = check_store(**store);
  ASSERT_TRUE(report.ok()) << report.error().message;
  for (const std::string& problem : report->problems) ADD_FAILURE() << problem;
}

TEST(Histories, AreWholeInTheEnd) {
  const char* wanted = std::getenv("PLEXUS_TEST_SEEDS");
  const bool given = wanted != nullptr && *wanted != 0;
  const char* kind = std::getenv("PLEXUS_TEST_STORE");
  const bool embedded = kind == nullptr || *kind == 0 || std::string_view(kind) == "embedded";
  const auto seeds =
      given ? static_cast<unsigned>(std::strtoul(wanted, nullptr, 10)) : (embedded ? 25u : 5u);
  const auto base = static_cast<unsigned>(getpid()) * 1000u;
  std::printf("%u seeds from %u\n", seeds, base);
  std::fflush(stdout);  // or each child prints it again
  for (unsigned i = 0; i < seeds && !::testing::Test::HasFailure(); ++i) run_history(base + i);
}

}  // namespace
}  // namespace plexus::store
