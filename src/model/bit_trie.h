// SPDX-License-Identifier: Apache-2.0
// BitTrie: values by prefixes of up to 128 bits, in a path-compressed binary trie whose nodes are shared between versions: a
// change copies the path to the root, O(bits). Who searches walks the nodes, and so knows which bits it took.
//
// Value: default-constructed, or `empty()`: no entry. Summary: what a subtree amounts to, Summary(value, left, right) with
// null for a child that is not there.
//
// Threads: as CowTable: copies are independent values.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <utility>

namespace plexus::model {

/// The first `length` bits of `bytes`; the rest is zero.
struct BitPrefix {
  std::array<uint8_t, 16> bytes{};
  uint8_t length = 0;
  [[nodiscard]] bool bit(unsigned i) const { return (bytes[i / 8] >> (7 - i % 8) & 1) != 0; }
  bool operator==(const BitPrefix&) const = default;
};

template <typename Value, typename Summary>
class BitTrie {
 public:
  struct Node {
    BitPrefix prefix;
    Value
        value{};  ///< empty where the trie only branches; a node without a value has both children
    Summary summary{};
    std::shared_ptr<const Node> child[2];  ///< by the first bit behind the prefix
  };

  /// nullptr: nothing is in it.
  [[nodiscard]] const Node* root() const { return root_.get(); }
  [[nodiscard]] bool empty() const { return !root_; }

  /// Replaces the value at `prefix` by change(value); an empty one goes.
  template <typename Change>
  void update(const BitPrefix& prefix, Change&& change) {
    root_ = updated(root_, prefix, change);
  }

 private:
  using NodePtr = std::shared_ptr<const Node>;

  static unsigned common(const BitPrefix& a, const BitPrefix& b) {
    const unsigned limit = std::min(a.length, b.length);
    for (unsigned i = 0; i * 8 < limit; ++i) {
      const auto differing = static_cast<uint8_t>(a.bytes[i] ^ b.bytes[i]);
      if (differing != 0)
        return std::min(limit, i * 8 + static_cast<unsigned>(std::countl_zero(differing)));
    }
    return limit;
  }
  static BitPrefix cut(BitPrefix prefix, unsigned length) {
    for (unsigned i = length; i < 128; ++i)
      prefix.bytes[i / 8] = static_cast<uint8_t>(prefix.bytes[i / 8] & ~(0x80u >> i % 8));
    prefix.length = static_cast<uint8_t>(length);
    return prefix;
  }
  static NodePtr finished(std::shared_ptr<Node> node) {
    // A node that neither holds nor branches goes: its bits would be read for nothing.
    if (node->value.empty() && (!node->child[0] || !node->child[1]))
      return node->child[0] ? node->child[0] : node->child[1];
    node->summary = Summary(node->value, node->child[0] ? &node->child[0]->summary : nullptr,
                            node->child[1] ? &node->child[1]->summary : nullptr);
    return node;
  }
  template <typename Change>
  static NodePtr leaf(const BitPrefix& prefix, Change& change) {
    auto node = std::make_shared<Node>();
    node->prefix = prefix;
    node->value = change(Value{});
    return finished(std::move(node));
  }
  template <typename Change>
  static NodePtr updated(const NodePtr& node, const BitPrefix& prefix, Change& change) {
    if (!node) return leaf(prefix, change);
    const unsigned length = node->prefix.length, shared = common(node->prefix, prefix);
    if (shared == length) {
      auto copy = std::make_shared<Node>(*node);
      if (prefix.length == length) {
        copy->value = change(copy->value);
      } else {
        auto& child = copy->child[prefix.bit(length)];
        child = updated(child, prefix, change);
      }
      return finished(std::move(copy));
    }
    auto parent = std::make_shared<Node>();
    parent->prefix = cut(prefix, shared);
    parent->child[node->prefix.bit(shared)] = node;
    if (shared == prefix.length)
      parent->value = change(Value{});
    else
      parent->child[prefix.bit(shared)] = leaf(prefix, change);
    return finished(std::move(parent));
  }

  NodePtr root_;
};

}  // namespace plexus::model
