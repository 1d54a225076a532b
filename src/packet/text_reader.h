// SPDX-License-Identifier: Apache-2.0
// TextReader: the words of one line of the packet or match syntax, and the values they spell. The first thing that is
// wrong is kept as the error; every later call then returns an empty value, so that a parser reads straight on and
// asks once, at the end. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "packet/addr.h"

namespace plexus {

/// A word of the text: what stands between spaces, or a quoted string with its escapes resolved.
struct TextToken {
  std::string text;
  bool quoted = false;
};

/// Splits a line at blanks. "..." is one token (\" and \\ inside); a `separator` character outside quotes starts
/// a new list. Never empty when ok: at least one (perhaps empty) list.
[[nodiscard]] Result<std::vector<std::vector<TextToken>>> tokenize(std::string_view text,
                                                                   char separator);

/// A number in decimal or 0x hexadecimal, at most `max`; nothing else.
[[nodiscard]] std::optional<uint64_t> parse_number(std::string_view text, uint64_t max);
/// Pairs of hexadecimal digits.
[[nodiscard]] std::optional<std::vector<uint8_t>> parse_hex(std::string_view text);
[[nodiscard]] std::string format_hex(std::span<const uint8_t> bytes);

class TextReader {
 public:
  /// `where` goes in front of errors: the layer that the tokens belong to.
  TextReader(const std::vector<TextToken>& tokens, std::string where)
      : tokens_(tokens), where_(std::move(where)) {}

  [[nodiscard]] bool ok() const { return !error_.has_value(); }
  /// The first error. Only when not ok().
  [[nodiscard]] const Error& error() const { return *error_; }
  /// True while words are left and nothing was wrong.
  [[nodiscard]] bool more() const { return ok() && next_ < tokens_.size(); }

  /// The next word, or an error that says what was expected.
  std::string_view word(std::string_view expected);
  /// The next word as the name of a field; an error when the layer had it already.
  std::string_view field(std::string_view expected);
  /// Takes the next word if it is `text`.
  bool accept(std::string_view text);
  /// The next word must be `text`.
  void expect(std::string_view text);
  [[nodiscard]] bool next_is_quoted() const { return more() && tokens_[next_].quoted; }

  uint64_t number(std::string_view name, uint64_t max);
  MacAddr mac(std::string_view name);
  /// `family` none: either.
  IpAddr ip(std::string_view name, IpFamily family);
  std::vector<uint8_t> hex(std::string_view name);

  /// Records "<where>: "<token>": expected <expected>" unless an error is there already.
  void fail(std::string_view token, std::string_view expected);
  /// An error about the layer as a whole.
  void fail_layer(std::string_view what);

 private:
  const std::vector<TextToken>& tokens_;
  std::string where_;
  size_t next_ = 0;
  std::vector<std::string_view> fields_;
  std::optional<Error> error_;
};

}  // namespace plexus
