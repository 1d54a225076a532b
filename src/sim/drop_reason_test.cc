// SPDX-License-Identifier: Apache-2.0
#include "sim/drop_reason.h"

#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>
#include <string>

namespace plexus::sim {
namespace {

TEST(DropReason, NamesAreUniqueAndReadBack) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    const auto reason = static_cast<DropReason>(i);
    EXPECT_TRUE(names.insert(to_string(reason)).second) << to_string(reason);
    EXPECT_EQ(parse_drop_reason(to_string(reason)), reason);
  }
  EXPECT_EQ(parse_drop_reason("gremlins"), std::nullopt);
  EXPECT_EQ(to_string(DropReason::upcalls_lost), "upcalls_lost");
}

TEST(DropReason, ParseErrorsKeepTheirNames) {
  EXPECT_EQ(drop_reason_of(ParseError::none), DropReason::none);
  EXPECT_EQ(drop_reason_of(ParseError::truncated_ethernet), DropReason::truncated_ethernet);
  EXPECT_EQ(drop_reason_of(ParseError::bad_ipv6_extension), DropReason::bad_ipv6_extension);
  EXPECT_EQ(drop_reason_of(ParseError::bad_l4), DropReason::bad_l4);
}

TEST(DropReason, TheDocumentListsExactlyThese) {
  std::ifstream file(PLEXUS_SOURCE_DIR "/docs/drop-reasons.md");
  ASSERT_TRUE(file.is_open());
  std::set<std::string> documented;
  const std::regex row(R"(^\| `([a-z0-9_]+)` \| ([^|]+) \| ([^|]+) \|$)");
  for (std::string line; std::getline(file, line);) {
    std::smatch found;
    if (std::regex_match(line, found, row)) {
      EXPECT_TRUE(documented.insert(found[1]).second) << line;
    } else {
      EXPECT_FALSE(line.starts_with("| `")) << "a row without meaning and remedy: " << line;
    }
  }
  std::set<std::string> reasons;
  for (size_t i = 1; i < kDropReasonCount; ++i)
    reasons.emplace(to_string(static_cast<DropReason>(i)));
  EXPECT_EQ(documented, reasons);
}

}  // namespace
}  // namespace plexus::sim
