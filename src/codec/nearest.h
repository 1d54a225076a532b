// SPDX-License-Identifier: Apache-2.0
// The known word nearest to a mistyped one: for "unknown field 'brige'; did you mean 'bridge'?".
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace plexus::codec {

/// Number of insertions, removals, replacements and swaps of neighbours between two words (optimal string alignment).
/// Case and the difference between '-' and '_' do not count. Words are cut after 64 bytes.
[[nodiscard]] size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate with the smallest distance, the first of several; empty only if there are no candidates.
[[nodiscard]] std::string nearest(std::string_view word, std::span<const std::string> candidates);

/// "did you mean 'bridge'?", or with a word that is near to nothing "known: bridge, router" (some, when there are very
/// many); empty without candidates.
[[nodiscard]] std::string suggestion(std::string_view word,
                                     std::span<const std::string> candidates);

}  // namespace plexus::codec
