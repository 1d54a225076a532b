// SPDX-License-Identifier: Apache-2.0
#include "cli/table.h"

#include <algorithm>

#include "codec/json.h"

namespace plexus::cli {
namespace {

using codec::Node;

std::string upper(std::string s) {
  for (char& c : s)
    c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c == '_' ? '-' : c;
  return s;
}

std::string cell(const Node& node) {
  switch (node.kind) {
    case Node::Kind::null:
      return "-";
    case Node::Kind::list: {
      if (!std::all_of(node.items.begin(), node.items.end(),
                       [](const Node& n) { return n.is_scalar(); })) {
        return codec::write_json(node);
      }
      std::string out;
      for (const Node& item : node.items) out += (out.empty() ? "" : " ") + cell(item);
      return out;
    }
    case Node::Kind::map:
      return codec::write_json(node);
    default:
      return node.text;
  }
}

/// No column is cut below this.
constexpr size_t kLeastColumn = 12;

/// Makes columns narrower, or 0 (left out), until the line is short enough.
void fit(const Row& headers, size_t width, std::vector<size_t>& widths) {
  const auto is_too_long = [&] {
    size_t total = 0;
    for (const size_t w : widths) total += w > 0 ? w + 2 : 0;
    return total > width + 2;
  };
  // Half an id is of no use to anybody.
  for (size_t i = 0; i < headers.size() && is_too_long(); ++i) {
    if (headers[i] == "id") widths[i] = 0;
  }
  while (is_too_long()) {
    size_t& widest = *std::max_element(widths.begin(), widths.end());
    if (widest <= kLeastColumn) break;
    --widest;
  }
  // What is left is a narrow terminal: the first columns say most.
  for (size_t i = headers.size(); i > 1 && is_too_long(); --i) widths[i - 1] = 0;
}

void trim_right(std::string& line) {
  while (!line.empty() && line.back() == ' ') line.pop_back();
}

bool is_table(const Node& node) {
  return node.kind == Node::Kind::list && !node.items.empty() &&
         std::all_of(node.items.begin(), node.items.end(),
                     [](const Node& n) { return n.kind == Node::Kind::map; });
}

std::string table_of(const Node& list, size_t width) {
  Row headers;
  for (const Node& item : list.items) {
    for (const codec::Member& m : item.members) {
      if (std::find(headers.begin(), headers.end(), m.key) == headers.end())
        headers.push_back(m.key);
    }
  }
  std::vector<Row> rows;
  for (const Node& item : list.items) {
    Row row;
    for (const std::string& key : headers) {
      const Node* value = item.find(key);
      row.push_back(value != nullptr ? cell(*value) : "");
    }
    rows.push_back(std::move(row));
  }
  return table(headers, rows, width);
}

std::string indented(std::string_view text) {
  std::string out = "  ";
  for (size_t i = 0; i < text.size(); ++i) {
    out += text[i];
    if (text[i] == '\n' && i + 1 < text.size()) out += "  ";
  }
  return out;
}

}  // namespace

size_t display_width(std::string_view text) {
  size_t width = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {  // ESC [ ... m
      while (i < text.size() && text[i] != 'm') ++i;
      continue;
    }
    if ((static_cast<uint8_t>(text[i]) & 0xc0) != 0x80) ++width;
  }
  return width;
}

std::string padded(std::string_view text, size_t width) {
  std::string out(text);
  const size_t w = display_width(text);
  if (w < width) out.append(width - w, ' ');
  return out;
}

std::string cut(std::string_view text, size_t width) {
  if (display_width(text) <= width) return std::string(text);
  if (width == 0) return {};
  std::string out;
  size_t columns = 0;
  bool coloured = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      coloured = true;
      while (i < text.size() && text[i] != 'm') out += text[i++];
      if (i < text.size()) out += 'm';
      continue;
    }
    if ((static_cast<uint8_t>(text[i]) & 0xc0) != 0x80 && ++columns == width) break;
    out += text[i];
  }
  return out + "…" + (coloured ? "\x1b[0m" : "");
}

std::string table(const Row& headers, const std::vector<Row>& rows, size_t width) {
  if (rows.empty()) return {};
  std::vector<size_t> widths(headers.size(), 0);
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  for (size_t i = 0; i < headers.size(); ++i) {
    if (widths[i] > 0) widths[i] = std::max(widths[i], display_width(headers[i]));
  }
  if (width > 0) fit(headers, width, widths);
  std::string out, line;
  for (size_t i = 0; i < headers.size(); ++i) {
    if (widths[i] > 0) line += padded(cut(upper(headers[i]), widths[i]), widths[i]) + "  ";
  }
  trim_right(line);
  out = line + "\n";
  for (const Row& row : rows) {
    line.clear();
    for (size_t i = 0; i < row.size(); ++i) {
      if (widths[i] > 0) line += padded(cut(row[i], widths[i]), widths[i]) + "  ";
    }
    trim_right(line);
    out += line + "\n";
  }
  return out;
}

std::string fields(const std::vector<std::pair<std::string, std::string>>& rows) {
  size_t width = 0;
  for (const auto& [name, value] : rows) width = std::max(width, display_width(name));
  std::string out;
  for (const auto& [name, value] : rows) out += padded(name + ":", width + 1) + "  " + value + "\n";
  return out;
}

std::string readable(const Node& node, size_t width) {
  if (is_table(node)) return table_of(node, width);
  if (node.kind != Node::Kind::map) return cell(node) + "\n";
  std::vector<std::pair<std::string, std::string>> rows;
  std::vector<std::pair<std::string, std::string>> sections;
  for (const codec::Member& m : node.members) {
    if (is_table(m.value)) {
      sections.emplace_back(m.key, table_of(m.value, width));
    } else if (m.value.kind == Node::Kind::map) {
      if (!m.value.members.empty()) sections.emplace_back(m.key, indented(readable(m.value)));
    } else if (m.value.kind != Node::Kind::list || !m.value.items.empty()) {
      rows.emplace_back(m.key, cell(m.value));
    }
  }
  if (rows.empty() && sections.size() == 1) return sections[0].second;
  std::string out = fields(rows);
  for (const auto& [name, text] : sections) out += (out.empty() ? "" : "\n") + name + ":\n" + text;
  return out;
}

std::string Palette::wrap(const char* code, std::string_view s) const {
  if (!on_ || s.empty()) return std::string(s);
  return "\x1b[" + std::string(code) + "m" + std::string(s) + "\x1b[0m";
}

}  // namespace plexus::cli
