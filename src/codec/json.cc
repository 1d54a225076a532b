// SPDX-License-Identifier: Apache-2.0
#include "codec/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

namespace plexus::codec {
namespace {

class JsonReader {
 public:
  JsonReader(std::string_view text, Problems& problems, const DocumentLimits& limits)
      : text_(text), problems_(problems), limits_(limits) {}

  Node document() {
    Node root;
    if (text_.size() > limits_.bytes) {
      fail(fmt::format("the document has {} bytes, at most {} are read", text_.size(),
                       limits_.bytes),
           "split it");
      return {};
    }
    skip_space();
    if (!value(root, 0)) return {};
    skip_space();
    if (pos_ < text_.size()) {
      fail("something follows the JSON value", "remove it");
      return {};
    }
    return root;
  }

 private:
  bool fail(std::string what, std::string remedy = {}) {
    problems_.push_back(Problem{{}, line_, std::move(what), std::move(remedy)});
    return false;
  }

  void skip_space() {
    for (; pos_ < text_.size(); ++pos_) {
      const char c = text_[pos_];
      if (c == '\n') {
        ++line_;
      } else if (c != ' ' && c != '\t' && c != '\r') {
        return;
      }
    }
  }

  [[nodiscard]] bool next_is(char c) const { return pos_ < text_.size() && text_[pos_] == c; }

  [[nodiscard]] std::string here() const {
    return pos_ < text_.size() ? in_quotes(text_.substr(pos_, 1)) : std::string("the end");
  }

  bool value(Node& out, int depth) {
    if (depth > limits_.depth) return fail(fmt::format("nested deeper than {}", limits_.depth));
    if (++nodes_ > limits_.nodes) return fail(fmt::format("more than {} values", limits_.nodes));
    out.line = line_;
    if (pos_ >= text_.size()) return fail("a value is missing at the end");
    switch (text_[pos_]) {
      case '{':
        return map(out, depth);
      case '[':
        return list(out, depth);
      case '"':
        out.kind = Node::Kind::text;
        return string(out.text);
      case 't':
        out.kind = Node::Kind::boolean;
        return word("true", out);
      case 'f':
        out.kind = Node::Kind::boolean;
        return word("false", out);
      case 'n':
        out.kind = Node::Kind::null;
        return word("null", out);
      default:
        return number(out);
    }
  }

  bool word(std::string_view expected, Node& out) {
    if (text_.substr(pos_, expected.size()) != expected)
      return fail("not a JSON value at " + here());
    pos_ += expected.size();
    if (out.kind != Node::Kind::null) out.text = expected;
    return true;
  }

  bool digits() {
    const size_t from = pos_;
    while (pos_ < text_.size() && text_[pos_] >= '0' && text_[pos_] <= '9') ++pos_;
    return pos_ > from;
  }

  bool number(Node& out) {
    const size_t from = pos_;
    if (next_is('-')) ++pos_;
    const bool leading_zero = next_is('0');
    const size_t whole = pos_;
    if (!digits()) return fail("not a JSON value at " + here(), "strings need double quotes");
    if (leading_zero && pos_ - whole > 1) return fail("a number with a leading zero");
    if (next_is('.')) {
      ++pos_;
      if (!digits()) return fail("a number ends with its decimal point");
    }
    if (next_is('e') || next_is('E')) {
      ++pos_;
      if (next_is('+') || next_is('-')) ++pos_;
      if (!digits()) return fail("a number has an empty exponent");
    }
    out.kind = Node::Kind::number;
    out.text = text_.substr(from, pos_ - from);
    return true;
  }

  bool hex4(uint32_t& out) {
    if (text_.size() - pos_ < 4) return fail("\\u needs four hexadecimal digits");
    out = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = text_[pos_++];
      uint32_t digit = 0;
      if (c >= '0' && c <= '9') {
        digit = static_cast<uint32_t>(c - '0');
      } else if (c >= 'a' && c <= 'f') {
        digit = static_cast<uint32_t>(c - 'a') + 10;
      } else if (c >= 'A' && c <= 'F') {
        digit = static_cast<uint32_t>(c - 'A') + 10;
      } else {
        return fail("\\u needs four hexadecimal digits");
      }
      out = out << 4 | digit;
    }
    return true;
  }

  static void append_utf8(std::string& out, uint32_t c) {
    const auto byte = [&](uint32_t b) { out += static_cast<char>(static_cast<uint8_t>(b)); };
    if (c < 0x80) {
      byte(c);
    } else if (c < 0x800) {
      byte(0xc0 | c >> 6);
      byte(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
      byte(0xe0 | c >> 12);
      byte(0x80 | (c >> 6 & 0x3f));
      byte(0x80 | (c & 0x3f));
    } else {
      byte(0xf0 | c >> 18);
      byte(0x80 | (c >> 12 & 0x3f));
      byte(0x80 | (c >> 6 & 0x3f));
      byte(0x80 | (c & 0x3f));
    }
  }

  bool escape(std::string& out) {
    if (pos_ >= text_.size()) return fail("a string is not closed", "add a double quote");
    const char c = text_[pos_++];
    switch (c) {
      case '"':
      case '\\':
      case '/':
        out += c;
        return true;
      case 'b':
        out += '\b';
        return true;
      case 'f':
        out += '\f';
        return true;
      case 'n':
        out += '\n';
        return true;
      case 'r':
        out += '\r';
        return true;
      case 't':
        out += '\t';
        return true;
      case 'u':
        break;
      default:
        return fail("unknown escape \\ before " + in_quotes(std::string_view(&c, 1)));
    }
    uint32_t code = 0;
    if (!hex4(code)) return false;
    if (code >= 0xdc00 && code <= 0xdfff) return fail("half of a surrogate pair");
    if (code >= 0xd800 && code <= 0xdbff) {
      if (text_.substr(pos_, 2) != "\\u") return fail("half of a surrogate pair");
      pos_ += 2;
      uint32_t low = 0;
      if (!hex4(low)) return false;
      if (low < 0xdc00 || low > 0xdfff) return fail("half of a surrogate pair");
      code = 0x10000 + ((code - 0xd800) << 10 | (low - 0xdc00));
    }
    append_utf8(out, code);
    return true;
  }

  bool string(std::string& out) {
    ++pos_;  // the opening quote
    while (true) {
      const size_t from = pos_;
      while (pos_ < text_.size() && text_[pos_] != '"' && text_[pos_] != '\\' &&
             static_cast<uint8_t>(text_[pos_]) >= 0x20) {
        ++pos_;
      }
      out += text_.substr(from, pos_ - from);
      if (pos_ >= text_.size()) return fail("a string is not closed", "add a double quote");
      const char c = text_[pos_];
      if (c == '"') {
        ++pos_;
        return valid_utf8(out) || fail("a string is not UTF-8");
      }
      if (c != '\\') return fail("a control character in a string", "write it as \\u00XX");
      ++pos_;
      if (!escape(out)) return false;
    }
  }

  bool list(Node& out, int depth) {
    out.kind = Node::Kind::list;
    ++pos_;
    skip_space();
    if (next_is(']')) {
      ++pos_;
      return true;
    }
    while (true) {
      skip_space();
      if (!value(out.items.emplace_back(), depth + 1)) return false;
      skip_space();
      if (next_is(',')) {
        ++pos_;
      } else if (next_is(']')) {
        ++pos_;
        return true;
      } else {
        return fail("expected ',' or ']', found " + here());
      }
    }
  }

  bool map(Node& out, int depth) {
    out.kind = Node::Kind::map;
    ++pos_;
    skip_space();
    if (next_is('}')) {
      ++pos_;
      return true;
    }
    std::unordered_set<std::string> seen;
    while (true) {
      skip_space();
      if (!next_is('"')) return fail("expected a key in double quotes, found " + here());
      Member& m = out.members.emplace_back();
      m.line = line_;
      if (!string(m.key)) return false;
      if (!seen.insert(m.key).second)
        return fail("the key " + in_quotes(m.key) + " appears twice", "remove one");
      skip_space();
      if (!next_is(':'))
        return fail("expected ':' after the key " + in_quotes(m.key) + ", found " + here());
      ++pos_;
      skip_space();
      if (!value(m.value, depth + 1)) return false;
      skip_space();
      if (next_is(',')) {
        ++pos_;
      } else if (next_is('}')) {
        ++pos_;
        return true;
      } else {
        return fail("expected ',' or '}', found " + here());
      }
    }
  }

  std::string_view text_;
  Problems& problems_;
  DocumentLimits limits_;
  size_t pos_ = 0;
  size_t nodes_ = 0;
  int line_ = 1;
};

void newline(std::string& out, JsonStyle style, int depth) {
  if (style == JsonStyle::compact) return;
  out += '\n';
  out.append(static_cast<size_t>(depth) * 2, ' ');
}

void write(const Node& node, JsonStyle style, int depth, std::string& out) {
  switch (node.kind) {
    case Node::Kind::null:
      out += "null";
      return;
    case Node::Kind::number:
    case Node::Kind::boolean:
      out += node.text;
      return;
    case Node::Kind::text:
    case Node::Kind::plain:
      out += json_string(node.text);
      return;
    case Node::Kind::list: {
      out += '[';
      // A list of scalars stays on one line: addresses are short.
      const bool flat = std::all_of(node.items.begin(), node.items.end(),
                                    [](const Node& n) { return n.is_scalar(); });
      for (size_t i = 0; i < node.items.size(); ++i) {
        if (i > 0) out += flat && style == JsonStyle::pretty ? ", " : ",";
        if (!flat) newline(out, style, depth + 1);
        write(node.items[i], style, depth + 1, out);
      }
      if (!flat) newline(out, style, depth);
      out += ']';
      return;
    }
    case Node::Kind::map: {
      out += '{';
      for (size_t i = 0; i < node.members.size(); ++i) {
        if (i > 0) out += ',';
        newline(out, style, depth + 1);
        out += json_string(node.members[i].key);
        out += style == JsonStyle::pretty ? ": " : ":";
        write(node.members[i].value, style, depth + 1, out);
      }
      if (!node.members.empty()) newline(out, style, depth);
      out += '}';
      return;
    }
  }
}

}  // namespace

Node parse_json(std::string_view text, Problems& problems, const DocumentLimits& limits) {
  return JsonReader(text, problems, limits).document();
}

std::string write_json(const Node& node, JsonStyle style) {
  std::string out;
  write(node, style, 0, out);
  return out;
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(static_cast<uint8_t>(c)));
        } else {
          out += c;
        }
    }
  }
  return out + '"';
}

}  // namespace plexus::codec
