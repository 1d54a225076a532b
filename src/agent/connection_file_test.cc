// SPDX-License-Identifier: Apache-2.0
#include "agent/connection_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>

#include "agent/kept_connections.h"
#include "state/connection_table.h"
#include "state/test_connections.h"

namespace plexus::agent {
namespace {

using state::Connection;

const HostId kHost = state::host_named("h1");
const Uuid kBoot = Uuid::derived("boot", "1");
constexpr size_t kPage = 4096, kSlot = ConnectionFile::kSlotBytes;

Connection number(unsigned n) {
  Connection c = state::connection_of(state::tcp("10.0.0.1", 1, "10.9.9.9", 80));
  c.original.src.bytes[2] = static_cast<uint8_t>(n >> 8);
  c.original.src.bytes[3] = static_cast<uint8_t>(n);
  return c;
}

class ConnectionFileTest : public ::testing::Test {
 protected:
  ConnectionFileTest() {
    std::string name =
        (std::filesystem::temp_directory_path() / "plexus-connections-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    directory = name;
    path = directory + "/connections";
  }
  ~ConnectionFileTest() override { std::filesystem::remove_all(directory); }

  struct Restored {
    ConnectionFile::Slot slot = 0;
    Connection connection;
  };
  struct Opened : ConnectionFile::Opened {
    std::vector<Restored> connections;
  };
  Opened open(double seconds = 100, const Uuid& boot = kBoot, const HostId& host = kHost,
              size_t limit = 100'000) {
    Opened out;
    auto r = ConnectionFile::open(path, host, boot, state::at(seconds), limit,
                                  [&](ConnectionFile::Slot slot, const Connection& c) {
                                    out.connections.push_back({slot, c});
                                  });
    EXPECT_TRUE(r.ok()) << (r.ok() ? "" : r.error().message);
    if (r.ok()) static_cast<ConnectionFile::Opened&>(out) = std::move(*r);
    return out;
  }
  std::string content() const {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void set_content(const std::string& bytes) const {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }

  std::string directory, path;
};

TEST_F(ConnectionFileTest, FindsAgainWhatItKept) {
  {
    auto o = open();
    ASSERT_NE(o.file, nullptr);
    EXPECT_TRUE(o.connections.empty());
    for (unsigned n = 0; n < 10; ++n) ASSERT_TRUE(o.file->keep({}, number(n), state::at(100)).ok());
    o.file->forget(3);
    const auto moved =
        o.file->keep(ConnectionFile::Slot{4}, state::answered(number(4)), state::at(110));
    ASSERT_TRUE(moved.ok());
    EXPECT_EQ(o.file->size(), 9u);
  }
  auto o = open(130);
  EXPECT_EQ(o.torn, 0u);
  EXPECT_EQ(o.set_aside, "");
  ASSERT_EQ(o.connections.size(), 9u);
  EXPECT_EQ(o.file->size(), 9u);
  for (const auto& r : o.connections) {
    const unsigned n = r.connection.original.src.bytes[3];
    EXPECT_NE(n, 3u);
    const Connection want = n == 4 ? state::answered(number(n)) : number(n);
    EXPECT_EQ(r.connection, want) << "last seen at 100 too, though opened at 130";
    o.file->forget(r.slot);
  }
  EXPECT_EQ(o.file->size(), 0u);
}

TEST_F(ConnectionFileTest, RecordsOfAnotherBootCountAsUsedNow) {
  {
    auto o = open();
    ASSERT_TRUE(o.file->keep({}, number(1), state::at(5000)).ok());
  }
  const Uuid next = Uuid::derived("boot", "2");
  {
    auto o = open(7, next);
    ASSERT_EQ(o.connections.size(), 1u);
    EXPECT_EQ(o.connections[0].connection.last_seen, state::at(7));
  }
  auto o = open(50, next);
  ASSERT_EQ(o.connections.size(), 1u);
  EXPECT_EQ(o.connections[0].connection.last_seen, state::at(7)) << "once only";
}

TEST_F(ConnectionFileTest, GrowsAndShrinks) {
  const size_t many = ConnectionFile::kGrowth + 10;
  {
    auto o = open();
    std::vector<ConnectionFile::Slot> slots;
    for (unsigned n = 0; n < many; ++n) {
      const auto slot = o.file->keep({}, number(n), state::at(100));
      ASSERT_TRUE(slot.ok());
      slots.push_back(*slot);
    }
    EXPECT_GE(o.file->capacity(), many);
    for (size_t n = 20; n < many; ++n) o.file->forget(slots[n]);
  }
  const auto before = std::filesystem::file_size(path);
  auto o = open();
  EXPECT_EQ(o.connections.size(), 20u);
  EXPECT_LT(std::filesystem::file_size(path), before);
  EXPECT_EQ(o.file->capacity(), ConnectionFile::kGrowth);
  // The places of those that stay are not given again.
  for (unsigned n = 1000; n < 1000 + ConnectionFile::kGrowth; ++n)
    ASSERT_TRUE(o.file->keep({}, number(n), state::at(100)).ok());
  EXPECT_EQ(o.file->size(), 20 + ConnectionFile::kGrowth);
}

TEST_F(ConnectionFileTest, ATornSlotIsLostAndNothingElse) {
  {
    auto o = open();
    for (unsigned n = 0; n < 3; ++n) ASSERT_TRUE(o.file->keep({}, number(n), state::at(100)).ok());
  }
  const std::string whole = content();
  const size_t second = kPage + kSlot;
  const size_t length = 48 + 90;  // the slot's head and a plain IPv4 record
  for (size_t at = 0; at < length; ++at) {
    std::string torn = whole;
    torn[second + at] = static_cast<char>(torn[second + at] ^ 0x10);
    set_content(torn);
    auto o = open();
    ASSERT_EQ(o.torn, 1u) << at;
    ASSERT_EQ(o.connections.size(), 2u);
    for (const auto& r : o.connections) EXPECT_NE(r.connection.original, number(1).original);
    ASSERT_TRUE(o.file->keep({}, number(7), state::at(100)).ok());
  }
  // Only the first part of a write, or of a page, on the disk.
  for (const size_t part : {size_t{8}, size_t{48}, size_t{60}, length - 1}) {
    std::string torn = whole;
    std::fill(torn.begin() + static_cast<std::ptrdiff_t>(second + part),
              torn.begin() + static_cast<std::ptrdiff_t>(second + kSlot), '\0');
    set_content(torn);
    EXPECT_EQ(open().connections.size(), 2u) << part;
  }
  // A slot copied to another place is not that place's.
  std::string moved = whole;
  moved.replace(second, kSlot, whole, kPage, kSlot);
  set_content(moved);
  EXPECT_EQ(open().torn, 1u);
}

TEST_F(ConnectionFileTest, OfTwoOfOneConnectionTheLaterCounts) {
  std::string old_slot;
  {
    auto o = open();
    ASSERT_TRUE(o.file->keep({}, number(1), state::at(100)).ok());
    old_slot = content().substr(kPage, kSlot);
    ASSERT_TRUE(
        o.file->keep(ConnectionFile::Slot{0}, state::answered(number(1)), state::at(100)).ok());
  }
  std::string both = content();
  both.replace(kPage, kSlot, old_slot);  // the process ended before the old one was emptied
  set_content(both);
  for (int starts = 0; starts < 2; ++starts) {
    auto o = open();
    EXPECT_EQ(o.torn, 0u);
    ASSERT_EQ(o.connections.size(), 1u);
    EXPECT_TRUE(o.connections[0].connection.replied());
    EXPECT_EQ(o.file->size(), 1u);
  }
}

TEST_F(ConnectionFileTest, WhatIsNotOursIsSetAside) {
  {
    auto o = open();
    ASSERT_TRUE(o.file->keep({}, number(1), state::at(100)).ok());
  }
  const std::string ours = content();
  std::string broken_head = ours, other_format = ours;
  broken_head[20] = static_cast<char>(broken_head[20] ^ 1);
  other_format[8] = 2;
  for (const std::string& bytes :
       {std::string("#!/bin/sh\n"), std::string(10'000, 'x'), std::string(10'000, '\0'),
        ours.substr(0, 39), broken_head, other_format}) {
    set_content(bytes);
    auto o = open();
    EXPECT_EQ(o.set_aside, path + ".set-aside");
    EXPECT_TRUE(o.connections.empty());
    ASSERT_NE(o.file, nullptr);
    EXPECT_TRUE(o.file->keep({}, number(2), state::at(100)).ok());
    EXPECT_EQ(std::filesystem::file_size(o.set_aside), bytes.size()) << "unchanged";
  }
  set_content(ours);
  EXPECT_EQ(open(100, kBoot, state::host_named("h2")).set_aside, path + ".set-aside")
      << "another host's";
  // Cut off after the head: what there is counts.
  set_content(ours.substr(0, kPage + kSlot - 1));
  EXPECT_EQ(open().set_aside, "");
}

TEST_F(ConnectionFileTest, IsOpenOnce) {
  auto o = open();
  const auto second = ConnectionFile::open(path, kHost, kBoot, state::at(100), 10,
                                           [](ConnectionFile::Slot, const Connection&) { FAIL(); });
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::in_use);
}

TEST_F(ConnectionFileTest, HasALimit) {
  auto o = open(100, kBoot, kHost, 2);
  ASSERT_TRUE(o.file->keep({}, number(1), state::at(100)).ok());
  const auto second = o.file->keep({}, number(2), state::at(100));
  ASSERT_TRUE(second.ok());
  const auto third = o.file->keep({}, number(3), state::at(100));
  ASSERT_FALSE(third.ok());
  EXPECT_EQ(third.error().code, ErrorCode::no_space);
  EXPECT_TRUE(o.file->keep(*second, state::answered(number(2)), state::at(100)).ok())
      << "in its place";
  EXPECT_EQ(o.file->size(), 2u);
  o.file.reset();
  o = open(100, kBoot, kHost, 1);
  ASSERT_EQ(o.connections.size(), 2u) << "more than a limit that is lower now";
  EXPECT_TRUE(
      o.file->keep(o.connections[0].slot, o.connections[0].connection, state::at(100)).ok());
  EXPECT_FALSE(o.file->keep({}, number(3), state::at(100)).ok());
}

/// A disk that has no more room, as far as this process is concerned.
class NoLargerThan {
 public:
  explicit NoLargerThan(size_t bytes) {
    before_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &limit_);
    rlimit now = limit_;
    now.rlim_cur = bytes;
    EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &now), 0);
  }
  ~NoLargerThan() {
    ::setrlimit(RLIMIT_FSIZE, &limit_);
    std::signal(SIGXFSZ, before_);
  }

 private:
  rlimit limit_{};
  void (*before_)(int) = nullptr;
};

TEST_F(ConnectionFileTest, AFullDiskIsAnErrorAndKeepsWhatIsThere) {
  const size_t room = kPage + ConnectionFile::kGrowth * kSlot;
  {
    auto o = open();
    unsigned n = 0;
    {
      const NoLargerThan disk(room);
      for (; n < 10'000; ++n)
        if (!o.file->keep({}, number(n), state::at(100)).ok()) break;
    }
    EXPECT_EQ(n, ConnectionFile::kGrowth);
    EXPECT_EQ(o.file->size(), n);
    EXPECT_TRUE(o.file->keep({}, number(n), state::at(100)).ok()) << "there is room again";
  }
  // Full from the start: what was kept is read, nothing more can be kept.
  const size_t ten = kPage + 10 * kSlot;
  set_content(content().substr(0, ten));
  const NoLargerThan disk(ten);
  auto o = open();
  EXPECT_EQ(o.connections.size(), 10u);
  EXPECT_EQ(o.file, nullptr);
  EXPECT_NE(o.trouble, "");
}

TEST_F(ConnectionFileTest, WhatIsReadFromAFullDiskIsKeptAnewWhenThereIsRoom) {
  {
    auto o = open();
    for (unsigned n = 0; n < 10; ++n)
      ASSERT_TRUE(o.file->keep({}, state::answered(number(n)), state::at(100)).ok());
  }
  const size_t ten = kPage + 10 * kSlot;
  set_content(content().substr(0, ten));
  state::ConnectionTable table({});
  std::optional<KeptConnections> kept;
  {
    const NoLargerThan disk(ten);
    kept.emplace(KeptConnections::Place{path, kHost, kBoot}, table, state::at(100));
  }
  EXPECT_EQ(kept->restored(), 10u);
  EXPECT_NE(kept->trouble(), "");
  kept->tick(state::at(161));
  EXPECT_EQ(kept->trouble(), "");
  table.for_each(
      [&](state::ConnectionNumber n, const Connection&) { kept->keep(n, state::at(162)); });
  kept.reset();
  EXPECT_EQ(open(163).connections.size(), 10u);
}

TEST_F(ConnectionFileTest, WhatFindsNoPlaceInTheTableIsEmptied) {
  {
    auto o = open();
    for (unsigned n = 0; n < 10; ++n) ASSERT_TRUE(o.file->keep({}, number(n), state::at(100)).ok());
  }
  {
    state::ConnectionTable table({.total = 100, .embryonic = 4});
    const KeptConnections kept({path, kHost, kBoot}, table, state::at(101));
    EXPECT_EQ(table.size(), 4u);
  }
  EXPECT_EQ(open(102).connections.size(), 4u);
}

TEST_F(ConnectionFileTest, SurvivesKillAtAnyMoment) {
  for (unsigned round = 0; round < 8; ++round) {
    int under_way[2];
    ASSERT_EQ(::pipe(under_way), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      std::map<unsigned, ConnectionFile::Slot> slots;
      auto r = ConnectionFile::open(path, kHost, kBoot, state::at(100), 1000,
                                    [&](ConnectionFile::Slot slot, const Connection& c) {
                                      slots[c.original.src.bytes[3]] = slot;
                                    });
      if (!r.ok() || r->file == nullptr) ::_exit(1);
      for (uint32_t turn = 1;; ++turn) {
        const unsigned n = turn % 50;
        Connection c = number(n);
        c.stamp.epoch = turn;
        const auto old = slots.find(n);
        const auto slot = r->file->keep(
            old == slots.end() ? std::nullopt : std::optional(old->second), c, state::at(100));
        if (!slot.ok()) ::_exit(2);
        slots[n] = *slot;
        if (turn == 100 && ::write(under_way[1], "", 1) != 1) ::_exit(3);
      }
    }
    // Each has been written twice, and writing goes on.
    ::close(under_way[1]);
    char written = 0;
    EXPECT_EQ(::read(under_way[0], &written, 1), 1);
    ::close(under_way[0]);
    ::usleep(round * 1'111);
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "exit " << WEXITSTATUS(status);
    auto o = open();
    // Of each connection a whole record: at most the one that was being written is torn, and its older one is there.
    EXPECT_EQ(o.connections.size(), 50u);
    EXPECT_LE(o.torn, 1u);
    uint32_t lowest = 0xffffffff, highest = 0;
    for (const auto& r : o.connections) {
      lowest = std::min(lowest, r.connection.stamp.epoch);
      highest = std::max(highest, r.connection.stamp.epoch);
    }
    EXPECT_LE(highest - lowest, 50u) << "the newest, but for the one that was being written";
  }
}

}  // namespace
}  // namespace plexus::agent
