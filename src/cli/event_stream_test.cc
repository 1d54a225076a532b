// SPDX-License-Identifier: Apache-2.0
#include "cli/event_stream.h"

#include <gtest/gtest.h>

#include <vector>

namespace plexus::cli {
namespace {

constexpr char kStream[] =
    ": hello\n\n"
    "event: change\r\nid: 5\r\ndata: {\"a\":1}\r\n\r\n"
    "data: x\ndata:y\n\n"
    "event: bookmark\rid: 9\rdata: {}\r\r"
    "id: 10\n\n"
    "retry: 3\nunknown\n\n"
    "data\n\n";

std::vector<std::string> read(std::string_view text, size_t piece) {
  std::vector<std::string> out;
  EventReader reader;
  for (size_t i = 0; i < text.size(); i += piece) {
    EXPECT_TRUE(reader.feed(text.substr(i, piece), [&](const Event& e) {
      out.push_back(e.name + "|" + e.id + "|" + e.data);
      return true;
    }));
  }
  return out;
}

TEST(EventReader, IsTheSameHoweverTheBytesCome) {
  const std::vector<std::string> expected = {"change|5|{\"a\":1}", "message|5|x\ny",
                                             "bookmark|9|{}", "message|10|"};
  for (size_t piece = 1; piece <= sizeof(kStream); ++piece)
    EXPECT_EQ(read(kStream, piece), expected) << piece;
}

TEST(EventReader, StopsWhenTold) {
  EventReader reader;
  int seen = 0;
  EXPECT_FALSE(reader.feed("data: 1\n\ndata: 2\n\n", [&](const Event&) {
    ++seen;
    return false;
  }));
  EXPECT_EQ(seen, 1);
}

TEST(EventReader, HasALimit) {
  EventReader reader;
  EXPECT_FALSE(
      reader.feed(std::string(2 * EventReader::kMaxEvent, 'x'), [](const Event&) { return true; }));
}

}  // namespace
}  // namespace plexus::cli
