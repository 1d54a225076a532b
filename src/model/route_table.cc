// SPDX-License-Identifier: Apache-2.0
#include "model/route_table.h"

#include <algorithm>
#include <array>
#include <bit>
#include <tuple>
#include <utility>

namespace plexus::model {

struct RouteTable::Node {
  IpPrefix prefix;
  std::vector<RouteEntry> entries;  ///< best first; empty where the trie only branches
  /// By the place of their first entry; none where there is one entry.
  std::vector<RouteGroup> groups;
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

bool shares(const RouteEntry& a, const RouteEntry& b) {
  return !a.connected() && !b.connected() && !a.unreadable && !b.unreadable &&
         a.kind == RouteKind::forward && b.kind == RouteKind::forward && a.source == b.source &&
         a.metric == b.metric;
}

/// Works out which entries share the traffic.
void regroup(Node& node) {
  node.groups.clear();
  const auto& entries = node.entries;
  if (entries.size() < 2) return;
  for (size_t first = 0, next = 0; first < entries.size(); first = next) {
    next = first + 1;
    while (next < entries.size() && shares(entries[first], entries[next])) ++next;
    const size_t size = std::min(next - first, kMaxMaglevMembers);
    if (size < 2) {
      node.groups.push_back({first, size, nullptr});
      continue;
    }
    std::vector<MaglevMember> members;
    members.reserve(size);
    for (size_t i = first; i < first + size; ++i)
      members.push_back({entries[i].id.uuid, entries[i].weight});
    node.groups.push_back({first, size, std::make_shared<const MaglevTable>(members)});
  }
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
      regroup(*copy);
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
    regroup(*copy);
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

/// The first entry that is for packets from `source`; the size when there is none. Raises `bits_read` to what of the
/// source it takes to know.
size_t first_for(const std::vector<RouteEntry>& entries, const IpAddr& source,
                 unsigned& bits_read) {
  for (size_t i = 0; i < entries.size(); ++i) {
    const IpPrefix& wanted = entries[i].source;
    if (wanted.length == 0 || entries[i].unreadable) return i;
    if (wanted.addr.family != source.family) continue;
    const unsigned same = common_bits(wanted.addr, source, 0, wanted.length);
    bits_read = std::max(bits_read, std::min<unsigned>(wanted.length, same + 1));
    if (same == wanted.length) return i;
  }
  return entries.size();
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
  const auto rank = [](const RouteEntry& e) {
    // Not before: unreadable sorts as smaller, and so do a connected network and what drops.
    const bool forwards = e.kind == RouteKind::forward;
    return std::tuple(!e.unreadable, 128 - e.source.length, e.source, e.metric, !e.connected(),
                      forwards, e.id, e.port, e.next_hop, e.kind, e.weight);
  };
  return rank(a) < rank(b);
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

RouteLookup RouteTable::lookup(const IpAddr& destination, const IpAddr& source) const {
  RouteLookup result;
  // The nodes with ways on the path, the longest prefix last.
  std::array<const Node*, 129> with_ways;
  size_t count = 0;
  const Node* node = destination.is_v6() ? v6_.get() : destination.is_v4() ? v4_.get() : nullptr;
  while (node != nullptr) {
    const unsigned length = node->prefix.length;
    const unsigned same = common_bits(node->prefix.addr, destination, result.bits_read, length);
    if (same < length) {
      // The bit that differs was read, too: it is what excludes this branch.
      result.bits_read = same + 1;
      break;
    }
    result.bits_read = length;
    if (!node->entries.empty()) with_ways[count++] = node;
    if (length == destination.bits() || (!node->child[0] && !node->child[1])) break;
    result.bits_read = length + 1;
    node = node->child[destination.bit(length)].get();
  }
  while (count > 0) {
    const Node& ways = *with_ways[--count];
    const size_t at = first_for(ways.entries, source, result.source_bits_read);
    if (at == ways.entries.size()) continue;
    result.entry = &ways.entries[at];
    result.prefix = ways.prefix;
    result.group = {result.entry, 1};
    result.ways = ways.entries.data();
    const auto group = std::lower_bound(ways.groups.begin(), ways.groups.end(), at,
                                        [](const RouteGroup& g, size_t i) { return g.first < i; });
    if (group == ways.groups.end()) break;
    result.group = result.group_of(*group);
    result.choice = group->choice.get();
    const auto end = std::find_if(group + 1, ways.groups.end(), [&](const RouteGroup& g) {
      return ways.entries[g.first].source != result.entry->source;
    });
    if (!result.entry->unreadable) result.spares = {group + 1, end};
    break;
  }
  return result;
}

void RouteTable::for_each(
    const std::function<void(const IpPrefix&, const std::vector<RouteEntry>&)>& visit) const {
  visit_all(v4_, visit);
  visit_all(v6_, visit);
}

}  // namespace plexus::model
