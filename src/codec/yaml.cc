// SPDX-License-Identifier: Apache-2.0
#include "codec/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <sstream>
#include <unordered_set>

#include "codec/json.h"

namespace plexus::codec {
namespace {

/// Leaves yaml-cpp's parser from within a callback; caught in parse_yaml.
struct Refused {
  Problem problem;
};

/// Builds the tree from yaml-cpp's events. Events, not yaml-cpp's own nodes, because those hide anchors and keep
/// duplicate keys, and an alias in them costs nothing to write and much to walk.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const DocumentLimits& limits) : limits_(limits) {}

  Node take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    if (expects_key()) refuse(mark, "an empty key", "name the field");
    Node n;
    n.line = line_of(mark);
    put(mark, std::move(n));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(mark, "aliases (*name) are not supported", "write the value out");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    // yaml-cpp says "?" for an unquoted scalar, "!" for a quoted one, and the tag otherwise.
    if (tag != "?" && tag != "!" && !tag.empty()) refuse_tag(mark, tag);
    if (!valid_utf8(value)) refuse(mark, "a value is not UTF-8", {});
    if (expects_key()) {
      if (value == "<<") refuse(mark, "merge keys (<<) are not supported", "write the fields out");
      Frame& f = stack_.back();
      if (!f.seen.insert(value).second) {
        refuse(mark, "the key " + in_quotes(value) + " appears twice", "remove one");
      }
      f.node.members.push_back(Member{value, line_of(mark), {}});
      f.key_pending = true;
      return;
    }
    Node n;
    n.line = line_of(mark);
    const bool is_plain = tag != "!";
    if (!is_plain || (value != "~" && value != "null" && !value.empty())) {
      n.kind = is_plain ? Node::Kind::plain : Node::Kind::text;
      n.text = value;
    }
    put(mark, std::move(n));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Node::Kind::list);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Node::Kind::map);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    Node node;
    bool key_pending = false;  ///< a map: the last member waits for its value
    std::unordered_set<std::string> seen;
  };

  static int line_of(const YAML::Mark& mark) { return mark.line + 1; }

  [[noreturn]] static void refuse(const YAML::Mark& mark, std::string what, std::string remedy) {
    throw Refused{Problem{{}, line_of(mark), std::move(what), std::move(remedy)}};
  }
  static void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor)
      refuse(mark, "anchors (&name) are not supported", "write the value out");
  }
  [[noreturn]] static void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    refuse(mark, "tags (" + in_quotes(tag) + ") are not supported",
           "remove it: the schema knows the type");
  }

  [[nodiscard]] bool expects_key() const {
    return !stack_.empty() && stack_.back().node.kind == Node::Kind::map &&
           !stack_.back().key_pending;
  }

  void count(const YAML::Mark& mark) {
    if (++nodes_ > limits_.nodes)
      refuse(mark, fmt::format("more than {} values", limits_.nodes), "split it");
  }

  void put(const YAML::Mark& mark, Node node) {
    count(mark);
    attach(std::move(node));
  }

  void attach(Node node) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& f = stack_.back();
    if (f.node.kind == Node::Kind::list) {
      f.node.items.push_back(std::move(node));
    } else {
      f.node.members.back().value = std::move(node);
      f.key_pending = false;
    }
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            Node::Kind kind) {
    refuse_anchor(mark, anchor);
    if (tag != "?" && tag != "!" && !tag.empty()) refuse_tag(mark, tag);
    if (expects_key()) refuse(mark, "a key that is itself a list or an object", "name the field");
    if (static_cast<int>(stack_.size()) >= limits_.depth) {
      refuse(mark, fmt::format("nested deeper than {}", limits_.depth), {});
    }
    count(mark);
    Frame& f = stack_.emplace_back();
    f.node.kind = kind;
    f.node.line = line_of(mark);
  }

  void close() {
    Node done = std::move(stack_.back().node);
    stack_.pop_back();
    attach(std::move(done));
  }

  DocumentLimits limits_;
  std::vector<Frame> stack_;
  Node root_;
  size_t nodes_ = 0;
};

/// Sees whether another document follows, without keeping it.
class AnyContent : public YAML::EventHandler {
 public:
  /// What the library cannot begin a document with (", b") it gives as an empty one, again and again at the same place.
  void OnDocumentStart(const YAML::Mark& mark) override {
    if (mark.pos == last_start_)
      throw Refused{Problem{{}, mark.line + 1, "not YAML: no document begins like this", {}}};
    last_start_ = mark.pos;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { refuse(mark); }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                const std::string&) override {
    refuse(mark);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    refuse(mark);
  }
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    refuse(mark);
  }
  void OnMapEnd() override {}

 private:
  [[noreturn]] static void refuse(const YAML::Mark& mark) {
    throw Refused{
        Problem{{}, mark.line + 1, "a second document begins", "put all in one, or in two files"}};
  }
  int last_start_ = -1;
};

/// A text that can stand without quotes in any YAML reader. `is_text`: and is a string to all of them, not a number, a
/// date or a truth value to some.
bool is_safe_plain(std::string_view s, bool is_text) {
  if (s.empty()) return false;
  const auto alnum = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  if (!alnum(s.front()) || s.back() == ':') return false;
  bool number_like = true;
  for (const char c : s) {
    if (!alnum(c) && std::string_view("._-/:").find(c) == std::string_view::npos) return false;
    if (!(c >= '0' && c <= '9') &&
        std::string_view("._:-eExXoO").find(c) == std::string_view::npos) {
      number_like = false;
    }
  }
  std::string lower(s);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (!is_text) return lower != "null";
  // Dotted quads are no number in any YAML; other number-like texts get quotes.
  if (number_like && std::count(s.begin(), s.end(), '.') != 3) return false;
  static constexpr std::string_view kWords[] = {"null", "true", "false", "yes", "no",
                                                "on",   "off",  "y",     "n"};
  return std::find(std::begin(kWords), std::end(kWords), lower) == std::end(kWords);
}

void write_scalar(const Node& node, bool in_flow, std::string& out) {
  switch (node.kind) {
    case Node::Kind::null:
      out += "null";
      return;
    case Node::Kind::number:
    case Node::Kind::boolean:
      out += node.text;
      return;
    default:
      break;
  }
  // Inside [..] a colon may end a plain scalar for some readers.
  const bool plain = is_safe_plain(node.text, node.kind == Node::Kind::text) &&
                     !(in_flow && node.text.find(':') != std::string::npos);
  // A JSON string is a YAML double-quoted scalar.
  out += plain ? node.text : json_string(node.text);
}

void write_block(const Node& node, int indent, bool after_dash, std::string& out);

void write_value(const Node& node, int indent, std::string& out) {
  if (node.is_scalar()) {
    out += ' ';
    write_scalar(node, false, out);
    out += '\n';
    return;
  }
  if (node.kind == Node::Kind::map && node.members.empty()) {
    out += " {}\n";
    return;
  }
  if (node.kind == Node::Kind::list && std::all_of(node.items.begin(), node.items.end(),
                                                   [](const Node& n) { return n.is_scalar(); })) {
    out += " [";
    for (size_t i = 0; i < node.items.size(); ++i) {
      if (i > 0) out += ", ";
      write_scalar(node.items[i], true, out);
    }
    out += "]\n";
    return;
  }
  out += '\n';
  write_block(node, indent, false, out);
}

void write_block(const Node& node, int indent, bool after_dash, std::string& out) {
  const std::string pad(static_cast<size_t>(indent), ' ');
  if (node.kind == Node::Kind::map) {
    bool first = true;
    for (const Member& m : node.members) {
      if (!first || !after_dash) out += pad;
      first = false;
      write_scalar(Node::of_text(m.key), false, out);
      out += ':';
      write_value(m.value, indent + 2, out);
    }
    return;
  }
  for (const Node& item : node.items) {
    out += pad + "-";
    if (item.kind == Node::Kind::map && !item.members.empty()) {
      out += ' ';
      write_block(item, indent + 2, true, out);
    } else {
      write_value(item, indent + 2, out);
    }
  }
}

}  // namespace

Node parse_yaml(std::string_view text, Problems& problems, const DocumentLimits& limits) {
  if (text.size() > limits.bytes) {
    problems.push_back(Problem{
        {},
        0,
        fmt::format("the document has {} bytes, at most {} are read", text.size(), limits.bytes),
        "split it"});
    return {};
  }
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    TreeBuilder builder(limits);
    if (!parser.HandleNextDocument(builder)) return {};
    AnyContent rest;
    while (parser.HandleNextDocument(rest)) {
    }
    return builder.take();
  } catch (const Refused& refused) {
    problems.push_back(refused.problem);
  } catch (const YAML::Exception& e) {
    problems.push_back(
        Problem{{}, e.mark.is_null() ? 0 : e.mark.line + 1, "not YAML: " + e.msg, {}});
  } catch (const std::exception& e) {
    problems.push_back(Problem{{}, 0, std::string("not YAML: ") + e.what(), {}});
  }
  return {};
}

std::string write_yaml(const Node& node) {
  std::string out;
  if (node.is_scalar() || (node.kind == Node::Kind::map && node.members.empty()) ||
      (node.kind == Node::Kind::list && node.items.empty())) {
    write_value(node, 0, out);
    return out.substr(1);
  }
  write_block(node, 0, false, out);
  return out;
}

}  // namespace plexus::codec
