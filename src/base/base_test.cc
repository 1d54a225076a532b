// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <poll.h>

#include <cerrno>
#include <set>
#include <thread>

#include "base/clock.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/result.h"

namespace plexus {
namespace {

TEST(Uuid, TextFormRoundTrips) {
  for (int i = 0; i < 100; ++i) {
    const Uuid u = Uuid::random();
    EXPECT_EQ(Uuid::parse(u.str()), u);
    EXPECT_EQ(Uuid::from_bytes(u.raw()), u);
  }
  EXPECT_EQ(Uuid::parse("0A1B2C3D-0000-4000-8000-00000000000F")->str(),
            "0a1b2c3d-0000-4000-8000-00000000000f");
}

TEST(Uuid, RefusesEverythingElse) {
  for (const char* bad :
       {"", "0a1b2c3d", "0a1b2c3d-0000-4000-8000-00000000000",
        "0a1b2c3d-0000-4000-8000-00000000000g", "0a1b2c3d00000-4000-8000-00000000000f",
        "{a1b2c3d-0000-4000-8000-00000000000f", "0a1b2c3d-0000-4000-8000-0000000000000"}) {
    EXPECT_FALSE(Uuid::parse(bad)) << bad;
  }
  EXPECT_FALSE(Uuid::from_bytes("short"));
}

TEST(Uuid, DerivedIsStableAndDistinct) {
  std::set<Uuid> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string name = "n" + std::to_string(i);
    EXPECT_EQ(Uuid::derived("port", name), Uuid::derived("port", name));
    seen.insert(Uuid::derived("port", name));
    seen.insert(Uuid::derived("bridge", name));
  }
  EXPECT_EQ(seen.size(), 2000u);
}

TEST(Result, CarriesValueOrError) {
  Result<int> good = 3;
  EXPECT_TRUE(good.ok());
  EXPECT_EQ(*good, 3);
  const Result<int> bad = Error{ErrorCode::not_found, "no port vm9"};
  EXPECT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().in("binding").message, "binding: no port vm9");
  EXPECT_EQ(bad.error().in("binding").code, ErrorCode::not_found);
  EXPECT_EQ(bad.value_or(7), 7);
}

TEST(Result, ErrnoKeepsMeaning) {
  EXPECT_EQ(errno_error("open x", ENOENT).code, ErrorCode::not_found);
  EXPECT_EQ(errno_error("write x", ENOSPC).code, ErrorCode::no_space);
  EXPECT_NE(errno_error("open x", EACCES).message.find("open x: Permission denied"),
            std::string::npos);
}

TEST(ResultDeathTest, ValueOfAnErrorIsABrokenInvariant) {
  const Result<int> bad = Error{ErrorCode::internal, "x"};
  EXPECT_DEATH((void)bad.value(), "check failed");
}

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return poll(&p, 1, 0) == 1;
}

TEST(Mailbox, IsBoundedAndReadableWhileMessagesWait) {
  Mailbox<int> box(2);
  EXPECT_FALSE(readable(box.fd()));
  EXPECT_TRUE(box.post(1));
  EXPECT_TRUE(box.post(2));
  EXPECT_FALSE(box.post(3));
  EXPECT_TRUE(readable(box.fd()));
  EXPECT_EQ(box.take(), (std::vector<int>{1, 2}));
  EXPECT_FALSE(readable(box.fd()));
  EXPECT_TRUE(box.post(4));
  EXPECT_TRUE(readable(box.fd()));
  EXPECT_EQ(box.take(), std::vector<int>{4});
}

TEST(Mailbox, ManySendersLoseNothingAndKeepTheirOrder) {
  constexpr int kSenders = 4, kEach = 5000;
  Mailbox<std::pair<int, int>> box(100);
  std::vector<std::thread> senders;
  for (int s = 0; s < kSenders; ++s) {
    senders.emplace_back([&box, s] {
      for (int i = 0; i < kEach; ++i) {
        while (!box.post({s, i})) std::this_thread::yield();
      }
    });
  }
  std::vector<int> next(kSenders, 0);
  int total = 0;
  while (total < kSenders * kEach) {
    pollfd p{box.fd(), POLLIN, 0};
    ASSERT_EQ(poll(&p, 1, 10'000), 1) << "a message waits but the mailbox does not ring";
    for (auto [s, i] : box.take()) {
      EXPECT_EQ(next[static_cast<size_t>(s)]++, i);
      ++total;
    }
  }
  for (auto& t : senders) t.join();
}

TEST(Log, LevelsParse) {
  LogLevel level{};
  EXPECT_TRUE(parse_log_level("warn", level));
  EXPECT_EQ(level, LogLevel::warn);
  EXPECT_FALSE(parse_log_level("verbose", level));
}

TEST(Clock, NeverGoesBack) {
  MonoTime last = mono_now();
  for (int i = 0; i < 1000; ++i) {
    const MonoTime now = mono_now();
    EXPECT_GE(now, last);
    last = now;
  }
}

}  // namespace
}  // namespace plexus
