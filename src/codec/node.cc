// SPDX-License-Identifier: Apache-2.0
#include "codec/node.h"

#include <fmt/format.h>

namespace plexus::codec {

const Node* Node::find(std::string_view key) const {
  for (const Member& m : members) {
    if (m.key == key) return &m.value;
  }
  return nullptr;
}

Node Node::of_text(std::string_view value) {
  Node n;
  n.kind = Kind::text;
  n.text = value;
  return n;
}

Node Node::of_plain(std::string_view value) {
  Node n;
  n.kind = Kind::plain;
  n.text = value;
  return n;
}

Node Node::of_number(uint64_t value) {
  Node n;
  n.kind = Kind::number;
  n.text = std::to_string(value);
  return n;
}

Node Node::of_bool(bool value) {
  Node n;
  n.kind = Kind::boolean;
  n.text = value ? "true" : "false";
  return n;
}

Node Node::list_of(std::vector<Node> items) {
  Node n;
  n.kind = Kind::list;
  n.items = std::move(items);
  return n;
}

Node Node::map_of(std::vector<Member> members) {
  Node n;
  n.kind = Kind::map;
  n.members = std::move(members);
  return n;
}

void Node::add(std::string_view key, Node value) {
  members.push_back(Member{std::string(key), 0, std::move(value)});
}

std::string_view describe(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::null:
      return "null";
    case Node::Kind::text:
      return "a string";
    case Node::Kind::number:
      return "a number";
    case Node::Kind::boolean:
      return "true or false";
    case Node::Kind::plain:
      return "a value";
    case Node::Kind::list:
      return "a list";
    case Node::Kind::map:
      return "an object";
  }
  return "something else";
}

std::string Problem::sentence() const {
  std::string out;
  if (!field.empty()) out += field + ": ";
  out += what;
  if (!remedy.empty()) out += "; " + remedy;
  return out;
}

std::string Problem::str(std::string_view source) const {
  if (source.empty()) return line > 0 ? fmt::format("line {}: {}", line, sentence()) : sentence();
  return line > 0 ? fmt::format("{}:{}: {}", source, line, sentence())
                  : fmt::format("{}: {}", source, sentence());
}

Error to_error(const Problems& problems, std::string_view source) {
  PLEXUS_CHECK(!problems.empty(), "an error needs a problem");
  std::string text;
  for (const Problem& p : problems) {
    if (!text.empty()) text += '\n';
    text += p.str(source);
  }
  return Error{ErrorCode::invalid, std::move(text)};
}

namespace {

/// Length of the well-formed UTF-8 sequence at the start of `s`; 0 if there is none (RFC 3629 section 4).
size_t utf8_sequence(std::string_view s) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(s[i]); };
  const uint8_t first = at(0);
  if (first < 0x80) return 1;
  size_t length = 0;
  uint8_t low = 0x80, high = 0xbf;  // limits of the second byte: no overlong forms, no surrogates
  if (first >= 0xc2 && first <= 0xdf) {
    length = 2;
  } else if (first >= 0xe0 && first <= 0xef) {
    length = 3;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
  } else if (first >= 0xf0 && first <= 0xf4) {
    length = 4;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
  } else {
    return 0;
  }
  if (s.size() < length || at(1) < low || at(1) > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if (at(i) < 0x80 || at(i) > 0xbf) return 0;
  }
  return length;
}

}  // namespace

bool valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t n = utf8_sequence(text);
    if (n == 0) return false;
    text.remove_prefix(n);
  }
  return true;
}

std::string in_quotes(std::string_view text) {
  constexpr size_t kShown = 80;
  std::string out = "'";
  size_t shown = 0;
  while (!text.empty()) {
    if (shown >= kShown) {
      out += "...";
      break;
    }
    const size_t n = utf8_sequence(text);
    const auto first = static_cast<uint8_t>(text[0]);
    // C1 controls are two bytes in UTF-8: c2 80 to c2 9f.
    const bool control = first < 0x20 || first == 0x7f ||
                         (n == 2 && first == 0xc2 && static_cast<uint8_t>(text[1]) < 0xa0);
    const size_t step = n == 0 ? 1 : n;
    if (n == 0 || control) {
      for (size_t i = 0; i < step; ++i) {
        out += fmt::format("\\x{:02x}", static_cast<uint8_t>(text[i]));
      }
    } else {
      out += text.substr(0, step);
    }
    shown += step;
    text.remove_prefix(step);
  }
  return out + "'";
}

}  // namespace plexus::codec
