// SPDX-License-Identifier: Apache-2.0
// Text for terminals: display width, aligned tables, colours. Pure functions; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "codec/node.h"

namespace plexus::cli {

/// Columns that a text takes on a terminal: UTF-8 characters, without colour sequences.
[[nodiscard]] size_t display_width(std::string_view text);
/// The text with blanks up to `width` columns.
[[nodiscard]] std::string padded(std::string_view text, size_t width);

using Row = std::vector<std::string>;
/// Columns aligned two blanks apart, headers in upper case, no blanks at line ends. Columns that are empty in all rows
/// are left out. "" for no rows. Lines longer than `width` (0: any length) are made to fit: a column "id" goes, the widest
/// columns are cut with an ellipsis, and then the last ones go.
[[nodiscard]] std::string table(const Row& headers, const std::vector<Row>& rows, size_t width = 0);
/// The text cut to that many columns, the last of them an ellipsis.
[[nodiscard]] std::string cut(std::string_view text, size_t width);
/// "name:  web" lines, aligned.
[[nodiscard]] std::string fields(const std::vector<std::pair<std::string, std::string>>& rows);

/// Any document for people: a map as fields, maps and lists of maps in it as sections and tables, empty ones left out.
[[nodiscard]] std::string readable(const codec::Node& node, size_t width = 0);

/// Colour sequences, or nothing at all.
class Palette {
 public:
  explicit Palette(bool on) : on_(on) {}
  [[nodiscard]] std::string bold(std::string_view s) const { return wrap("1", s); }
  [[nodiscard]] std::string dim(std::string_view s) const { return wrap("2", s); }
  [[nodiscard]] std::string green(std::string_view s) const { return wrap("32", s); }
  [[nodiscard]] std::string yellow(std::string_view s) const { return wrap("33", s); }
  [[nodiscard]] std::string red(std::string_view s) const { return wrap("31", s); }
  [[nodiscard]] std::string cyan(std::string_view s) const { return wrap("36", s); }

 private:
  [[nodiscard]] std::string wrap(const char* code, std::string_view s) const;
  bool on_;
};

}  // namespace plexus::cli
