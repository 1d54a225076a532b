// SPDX-License-Identifier: Apache-2.0
#include "model/translation_table.h"

#include <algorithm>
#include <bit>

namespace plexus::model {
namespace {

BitPrefix whole(const IpAddr& address) {
  return {address.bytes, static_cast<uint8_t>(address.bits())};
}

template <typename List>
void put_in(List& list, const typename List::value_type& id, bool add) {
  const auto at = std::lower_bound(list.begin(), list.end(), id);
  const bool there = at != list.end() && *at == id;
  if (add && !there) list.insert(at, id);
  if (!add && there) list.erase(at);
}

/// How many leading bits the address and the node's prefix share, at most the prefix's length.
unsigned common(const BitPrefix& prefix, const IpAddr& address) {
  for (unsigned i = 0; i * 8 < prefix.length; ++i) {
    const auto differing = static_cast<uint8_t>(prefix.bytes[i] ^ address.bytes[i]);
    if (differing != 0)
      return std::min<unsigned>(prefix.length,
                                i * 8 + static_cast<unsigned>(std::countl_zero(differing)));
  }
  return prefix.length;
}

}  // namespace

void TranslationTable::put(const IpAddr& outside, FloatingIpId id, bool add) {
  (outside.is_v6() ? v6_ : v4_).update(whole(outside), [&](AddressUses uses) {
    put_in(uses.floating_ips, id, add);
    return uses;
  });
}

void TranslationTable::put(const IpAddr& outside, VipId id, bool add) {
  (outside.is_v6() ? stateful6_ : stateful4_) += add ? 1 : -1;
  (outside.is_v6() ? v6_ : v4_).update(whole(outside), [&](AddressUses uses) {
    put_in(uses.vips, id, add);
    return uses;
  });
}

void TranslationTable::put(const IpAddr& outside, SnatPoolId id, bool add) {
  (outside.is_v6() ? stateful6_ : stateful4_) += add ? 1 : -1;
  (outside.is_v6() ? v6_ : v4_).update(whole(outside), [&](AddressUses uses) {
    put_in(uses.pools, id, add);
    return uses;
  });
}

void TranslationTable::put_inside(const IpAddr& inside, FloatingIpId id, bool add) {
  (inside.is_v6() ? inside6_ : inside4_).update(whole(inside), [&](AddressUses uses) {
    put_in(uses.floating_ips, id, add);
    return uses;
  });
}

void TranslationTable::put_member(const IpAddr& address, PoolMemberId id, bool add) {
  (address.is_v6() ? inside6_ : inside4_).update(whole(address), [&](AddressUses uses) {
    put_in(uses.members, id, add);
    return uses;
  });
}

AddressFound TranslationTable::outside(const IpAddr& address) const {
  return find(address.is_v6() ? v6_ : v4_, address);
}

void TranslationTable::each_outside(const std::function<bool(const IpAddr&)>& visit) const {
  bool more = true;
  const auto walk = [&](const auto& self, const Trie::Node* node, IpFamily family) -> void {
    if (node == nullptr || !more) return;
    if (!node->value.empty()) {
      IpAddr address;
      address.family = family;
      address.bytes = node->prefix.bytes;
      more = visit(address);
    }
    for (const auto& child : node->child) self(self, child.get(), family);
  };
  walk(walk, v4_.root(), IpFamily::v4);
  walk(walk, v6_.root(), IpFamily::v6);
}

AddressFound TranslationTable::inside(const IpAddr& address) const {
  return find(address.is_v6() ? inside6_ : inside4_, address);
}

AddressFound TranslationTable::find(const Trie& trie, const IpAddr& address) {
  AddressFound found;
  for (const Trie::Node* node = trie.root(); node != nullptr;) {
    const unsigned length = node->prefix.length, same = common(node->prefix, address);
    if (same < length) {
      // The bit that differs was read, too: it is what excludes this branch.
      found.bits_read = same + 1;
      return found;
    }
    found.bits_read = length;
    // Values stand at whole addresses only.
    if (length == address.bits()) {
      found.uses = &node->value;
      return found;
    }
    found.bits_read = length + 1;
    node = node->child[address.bit(length)].get();
  }
  return found;
}

}  // namespace plexus::model
