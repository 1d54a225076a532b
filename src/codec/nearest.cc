// SPDX-License-Identifier: Apache-2.0
#include "codec/nearest.h"

#include <algorithm>
#include <vector>

namespace plexus::codec {
namespace {

char folded(char c) {
  if (c >= 'A' && c <= 'Z') return static_cast<char>(c - 'A' + 'a');
  return c == '-' ? '_' : c;
}

}  // namespace

size_t edit_distance(std::string_view a, std::string_view b) {
  constexpr size_t kLongest = 64;
  a = a.substr(0, kLongest);
  b = b.substr(0, kLongest);
  // Three rows of the table: two back (for swaps), one back, this one.
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    before.swap(last);
    last.swap(row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const bool same = folded(a[i - 1]) == folded(b[j - 1]);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0u : 1u)});
      if (i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) &&
          folded(a[i - 2]) == folded(b[j - 1])) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
  const std::string* best = nullptr;
  size_t best_distance = 0;
  for (const std::string& c : candidates) {
    const size_t d = edit_distance(word, c);
    if (best == nullptr || d < best_distance) {
      best = &c;
      best_distance = d;
    }
  }
  return best == nullptr ? std::string() : *best;
}

/// Names of thousands of ports help nobody.
constexpr size_t kMostListed = 30;

std::string suggestion(std::string_view word, std::span<const std::string> candidates) {
  const std::string best = nearest(word, candidates);
  if (best.empty()) return {};
  if (edit_distance(word, best) * 2 <= std::max(word.size(), best.size())) {
    return "did you mean '" + best + "'?";
  }
  std::string out = "known: ";
  const size_t shown = std::min(candidates.size(), kMostListed);
  for (size_t i = 0; i < shown; ++i) out += (i > 0 ? ", " : "") + candidates[i];
  if (shown < candidates.size())
    out += " and " + std::to_string(candidates.size() - shown) + " more";
  return out + " (the nearest is '" + best + "')";
}

}  // namespace plexus::codec
