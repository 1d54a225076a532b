// SPDX-License-Identifier: Apache-2.0
#include "store/topology/closure_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "store/test_directory.h"

namespace plexus::store {
namespace {

using ::testing::HasSubstr;
using Kind = ClosureKey::Kind;
using Index = ClosureKey::Index;

const HostId kSelf{Uuid::derived("host", "h1")};

std::string sample(int64_t revision = 42, HostId host = kSelf) {
  ClosureFileWriter file(host, Uuid::derived("life", "1"), Revision{revision}, 1'700'000'000'000);
  const std::string port = std::string("port\0record", 11), empty;
  file.add({Kind::port, Index::none, 0, Uuid::derived("port", "vm1")}, &port, 7);
  file.add({Kind::head, Index::bridge_ports, 0, Uuid::derived("bridge", "b")}, nullptr, 0);
  file.add({Kind::bucket, Index::bridge_ports, 513, Uuid::derived("bridge", "b")}, &empty, 1);
  return file.finish();
}

void put(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

TEST(ClosureFile, SaysWhatWasWritten) {
  const auto file = parse_closure_file(sample(), kSelf);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->host, kSelf);
  EXPECT_EQ(file->life, Uuid::derived("life", "1"));
  EXPECT_EQ(file->revision.value, 42);
  EXPECT_EQ(file->taken_ms, 1'700'000'000'000);
  ASSERT_EQ(file->records.size(), 3u);
  EXPECT_EQ(file->records[0].key,
            (ClosureKey{Kind::port, Index::none, 0, Uuid::derived("port", "vm1")}));
  EXPECT_EQ(file->records[0].value, std::string("port\0record", 11));
  EXPECT_EQ(file->records[0].version, 7);
  EXPECT_FALSE(file->records[1].value.has_value());
  EXPECT_EQ(file->records[2].key.bucket, 513u);
  EXPECT_EQ(file->records[2].value, "");
}

TEST(ClosureFile, OneBitAnywhereAndItIsRefused) {
  const std::string good = sample();
  for (size_t at = 0; at < good.size(); ++at) {
    for (int bit : {0, 5}) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
      EXPECT_FALSE(parse_closure_file(bad, kSelf).ok()) << "byte " << at << " bit " << bit;
    }
  }
}

TEST(ClosureFile, CutShortAnywhereOrLongerItIsRefused) {
  const std::string good = sample();
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(parse_closure_file(good.substr(0, size), kSelf).ok()) << size << " bytes";
  }
  EXPECT_FALSE(parse_closure_file(good + "x", kSelf).ok());
}

TEST(ClosureFile, AnotherHostsAndANewerFormatsSayWhatTheyAre) {
  const auto foreign = parse_closure_file(sample(1, HostId{Uuid::derived("host", "h2")}), kSelf);
  ASSERT_FALSE(foreign.ok());
  EXPECT_THAT(foreign.error().message, HasSubstr(Uuid::derived("host", "h2").str()));
  std::string newer = sample();
  newer[8] = 9;
  const auto refused = parse_closure_file(newer, kSelf);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
  EXPECT_THAT(refused.error().message, HasSubstr("newer format"));
}

TEST(ClosureFile, TheOneBeforeIsUsedWhenTheNewestIsDamaged) {
  const TestDirectory dir;
  const std::string path = dir.path("topology.snapshot");
  std::vector<std::string> refused;
  EXPECT_EQ(load_closure_file(path, kSelf, refused).error().code, ErrorCode::not_found);
  EXPECT_TRUE(refused.empty());

  ASSERT_TRUE(save_closure_file(path, sample(1)).ok());
  ASSERT_TRUE(save_closure_file(path, sample(2)).ok());
  auto loaded = load_closure_file(path, kSelf, refused);
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->file.revision.value, 2);

  put(path, sample(2).substr(0, 100));
  loaded = load_closure_file(path, kSelf, refused);
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->file.revision.value, 1);
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_THAT(refused[0], HasSubstr("damaged"));

  // A crash between the two renames leaves only the one before.
  std::filesystem::remove(path);
  refused.clear();
  EXPECT_TRUE(load_closure_file(path, kSelf, refused).ok());
  EXPECT_TRUE(refused.empty());

  put(path + ".1", "rubbish");
  EXPECT_EQ(load_closure_file(path, kSelf, refused).error().code, ErrorCode::invalid);
}

TEST(ClosureFile, AFullDiskKeepsTheOldOnes) {
  const TestDirectory dir;
  const std::string path = dir.path("topology.snapshot");
  ASSERT_TRUE(save_closure_file(path, sample(1)).ok());
  ASSERT_TRUE(save_closure_file(path, sample(2)).ok());
  ASSERT_EQ(::symlink("/dev/full", (path + ".tmp").c_str()), 0);
  const auto full = save_closure_file(path, sample(3));
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code, ErrorCode::no_space) << full.error().message;
  std::vector<std::string> refused;
  EXPECT_EQ(load_closure_file(path, kSelf, refused)->file.revision.value, 2);
  EXPECT_EQ(load_closure_file(path + ".1", kSelf, refused)->file.revision.value, 1);
  // The place is there again: the next one is written.
  ASSERT_TRUE(save_closure_file(path, sample(4)).ok());
  EXPECT_EQ(load_closure_file(path, kSelf, refused)->file.revision.value, 4);
}

}  // namespace
}  // namespace plexus::store
