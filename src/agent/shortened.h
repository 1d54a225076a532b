// SPDX-License-Identifier: Apache-2.0
// Texts of packets that are kept or logged: a large packet has a hundred thousand characters of payload. Pure.
#pragma once

#include <fmt/format.h>

#include <string>

namespace plexus::agent {

inline constexpr size_t kMaxLogText = 512;

/// The text, or its beginning and how many characters follow.
[[nodiscard]] inline std::string shortened(std::string text, size_t most = kMaxLogText) {
  if (text.size() <= most) return text;
  const size_t left_out = text.size() - most;
  text.resize(most);
  return text + fmt::format("... ({} more characters)", left_out);
}

}  // namespace plexus::agent
