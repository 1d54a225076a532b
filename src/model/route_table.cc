// SPDX-License-Identifier: Apache-2.0
#include "model/route_table.h"

#include <algorithm>
#include <bit>
#include <tuple>
#include <utility>

namespace plexus::model {

struct RouteTable::Node {
  IpPrefix prefix;
  std::vector<RouteEntry> entries;  ///< best first; empty where the trie only branches
  /// By the first bit after the prefix. A node without entries has both.
  std::shared_ptr<const Node> child[2];
};

namespace {

using Node = RouteTable::Node;
using NodePtr = std::shared_ptr<const Node>;

/// How many leading bits a and b share, at most `limit`, when the first `from` (a multiple of 8 or less) agree.
unsigned common_bits(const IpAddr& a, const IpAddr& b, unsigned from, unsigned limit) {
  for (unsigned i = from / 8; i * 8 < limit; ++i) {
    const auto differing = static_cast<uint8_t>(a.bytes[i] ^ b.bytes[i]);
    if (differing != 0)
      return std::min(limit, i * 8 + static_cast<unsigned>(std::countl_zero(differing)));
  }
  return limit;
}

auto place_of(const std::vector<RouteEntry>& entries, const RouteEntry& entry) {
  return std::lower_bound(entries.begin(), entries.end(), entry, preferred);
}

NodePtr leaf(const IpPrefix& prefix, const RouteEntry& entry) {
  auto node = std::make_shared<Node>();
  node->prefix = prefix;
  node->entries.push_back(entry);
  return node;
}

NodePtr added(const NodePtr& node, const IpPrefix& prefix, const RouteEntry& entry) {
  if (!node) return leaf(prefix, entry);
  const unsigned length = node->prefix.length;
  const unsigned common =
      common_bits(node->prefix.addr, prefix.addr, 0, std::min<unsigned>(length, prefix.length));
  if (common == length) {
    auto copy = std::make_shared<Node>(*node);
    if (prefix.length == length) {
      copy->entries.insert(place_of(copy->entries, entry), entry);
    } else {
      auto& child = copy->child[prefix.addr.bit(length)];
      child = added(child, prefix, entry);
    }
    return copy;
  }
  auto parent = std::make_shared<Node>();
  parent->child[node->prefix.addr.bit(common)] = node;
  if (common == prefix.length) {
    parent->prefix = prefix;
    parent->entries.push_back(entry);
  } else {
    parent->prefix = IpPrefix{prefix.addr, static_cast<uint8_t>(common)}.network();
    parent->child[prefix.addr.bit(common)] = leaf(prefix, entry);
  }
  return parent;
}

/// The trie without the entry; sets `found`.
NodePtr removed(const NodePtr& node, const IpPrefix& prefix, const RouteEntry& entry, bool& found) {
  if (!node || node->prefix.length > prefix.length || !node->prefix.contains(prefix)) return node;
  auto copy = std::make_shared<Node>(*node);
  if (node->prefix.length == prefix.length) {
    const auto at = std::find(copy->entries.begin(), copy->entries.end(), entry);
    if (at == copy->entries.end()) return node;
    found = true;
    copy->entries.erase(at);
  } else {
    auto& child = copy->child[prefix.addr.bit(node->prefix.length)];
    child = removed(child, prefix, entry, found);
    if (!found) return node;
  }
  // A node that neither holds nor branches goes: its bits would be read for nothing.
  if (copy->entries.empty() && (!copy->child[0] || !copy->child[1]))
    return copy->child[0] ? copy->child[0] : copy->child[1];
  return copy;
}

void visit_all(const NodePtr& node,
               const std::function<void(const IpPrefix&, const std::vector<RouteEntry>&)>& visit) {
  if (!node) return;
  if (!node->entries.empty()) visit(node->prefix, node->entries);
  visit_all(node->child[0], visit);
  visit_all(node->child[1], visit);
}

}  // namespace

bool preferred(const RouteEntry& a, const RouteEntry& b) {
  // Not before: unreadable sorts as smaller.
  return std::tuple(!a.unreadable, a.metric, a.id, a.port, a.next_hop, a.kind) <
         std::tuple(!b.unreadable, b.metric, b.id, b.port, b.next_hop, b.kind);
}

void RouteTable::add(const IpPrefix& prefix, const RouteEntry& entry) {
  auto& root = prefix.addr.is_v6() ? v6_ : v4_;
  root = added(root, prefix, entry);
}

bool RouteTable::remove(const IpPrefix& prefix, const RouteEntry& entry) {
  auto& root = prefix.addr.is_v6() ? v6_ : v4_;
  bool found = false;
  root = removed(root, prefix, entry, found);
  return found;
}

RouteLookup RouteTable::lookup(const IpAddr& destination) const {
  RouteLookup result;
  const Node* node = destination.is_v6() ? v6_.get() : destination.is_v4() ? v4_.get() : nullptr;
  while (node != nullptr) {
    const unsigned length = node->prefix.length;
    const unsigned same = common_bits(node->prefix.addr, destination, result.bits_read, length);
    if (same < length) {
      // The bit that differs was read, too: it is what excludes this branch.
      result.bits_read = same + 1;
      return result;
    }
    result.bits_read = length;
    if (!node->entries.empty()) {
      result.entry = &node->entries.front();
      result.prefix = node->prefix;
    }
    if (length == destination.bits() || (!node->child[0] && !node->child[1])) return result;
    result.bits_read = length + 1;
    node = node->child[destination.bit(length)].get();
  }
  return result;
}

void RouteTable::for_each(
    const std::function<void(const IpPrefix&, const std::vector<RouteEntry>&)>& visit) const {
  visit_all(v4_, visit);
  visit_all(v6_, visit);
}

}  // namespace plexus::model
