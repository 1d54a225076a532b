// SPDX-License-Identifier: Apache-2.0
// Node: a document as a tree, whether it was written as JSON, as YAML or as command-line options. Every node knows its
// line, so that whoever gives it a meaning can say where it is wrong. One decoder (decode.h) serves all three.
// Problem: one thing wrong with a document, with what to do about it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace plexus::codec {

struct Member;

struct Node {
  enum class Kind : uint8_t {
    null,     ///< JSON null; YAML null, ~ or nothing
    text,     ///< a quoted string
    number,   ///< a JSON number, as it was written
    boolean,  ///< JSON true or false
    plain,    ///< an unquoted YAML scalar or an option's value: the schema says what it is
    list,
    map,
  };

  Kind kind = Kind::null;
  int line = 0;                 ///< 1 is the first; 0: not from a document
  std::string text;             ///< of text, number, boolean and plain
  std::vector<Node> items;      ///< of a list
  std::vector<Member> members;  ///< of a map: in the order of the document, keys distinct

  [[nodiscard]] bool is_scalar() const { return kind != Kind::list && kind != Kind::map; }
  /// The member with this key; nullptr if there is none (or this is no map).
  [[nodiscard]] const Node* find(std::string_view key) const;

  [[nodiscard]] static Node of_text(std::string_view value);
  [[nodiscard]] static Node of_plain(std::string_view value);
  [[nodiscard]] static Node of_number(uint64_t value);
  [[nodiscard]] static Node of_bool(bool value);
  [[nodiscard]] static Node list_of(std::vector<Node> items);
  [[nodiscard]] static Node map_of(std::vector<Member> members);
  /// Appends to a map. The caller keeps keys distinct.
  void add(std::string_view key, Node value);
};

struct Member {
  std::string key;
  int line = 0;
  Node value;
};

/// What a kind of node is called in an error: "a list", "a number".
[[nodiscard]] std::string_view describe(Node::Kind kind);

struct Problem {
  std::string field;   ///< where in the document: "ports[2].mac"; empty: all of it
  int line = 0;        ///< 1 is the first; 0: unknown
  std::string what;    ///< "'00:11' is not a MAC address"
  std::string remedy;  ///< "write six bytes like 02:00:00:00:00:01"; may be empty

  /// "ports[2].mac: '00:11' is not a MAC address; write six bytes like 02:00:00:00:00:01"
  [[nodiscard]] std::string sentence() const;
  /// The sentence with its place: "cloud.yaml:12: ..." or "line 12: ..." when `source` is empty.
  [[nodiscard]] std::string str(std::string_view source = {}) const;
};

/// Empty: all is well. Decoders stop adding at kMaxProblems.
using Problems = std::vector<Problem>;
inline constexpr size_t kMaxProblems = 20;

/// All of them, one a line, as an Error of code invalid. The list must not be empty.
[[nodiscard]] Error to_error(const Problems& problems, std::string_view source = {});

/// How deep and how large a document may be. A reader of either syntax refuses what is beyond, with the line.
struct DocumentLimits {
  size_t bytes = 16u << 20;
  size_t nodes = 1'000'000;
  int depth = 32;
};

/// Whether the bytes are well-formed UTF-8 (RFC 3629).
[[nodiscard]] bool valid_utf8(std::string_view text);

/// The bytes with what a terminal or a log must not see (control characters, broken UTF-8) written as \xNN, and cut
/// after 80 bytes: to quote somebody's input in an error.
[[nodiscard]] std::string in_quotes(std::string_view text);

}  // namespace plexus::codec
