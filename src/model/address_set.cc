// SPDX-License-Identifier: Apache-2.0
#include "model/address_set.h"

namespace plexus::model {
namespace {

BitPrefix bits_of(const IpPrefix& prefix) {
  return {prefix.network().addr.bytes, prefix.length};
}

}  // namespace

bool AddressSet::add(const IpPrefix& prefix) {
  bool first = false;
  trie(prefix).update(bits_of(prefix), [&](Count count) {
    first = count.times == 0;
    return Count{count.times + 1};
  });
  return first;
}

bool AddressSet::remove(const IpPrefix& prefix) {
  bool last = false;
  trie(prefix).update(bits_of(prefix), [&](Count count) {
    last = count.times == 1;
    return Count{count.times > 0 ? count.times - 1 : 0};
  });
  return last;
}

bool AddressSet::contains(const IpAddr& address) const {
  for (const Trie::Node* node = root(address.family); node != nullptr;) {
    const unsigned length = node->prefix.length;
    if (!IpPrefix{{address.family, node->prefix.bytes}, static_cast<uint8_t>(length)}.contains(
            address))
      return false;
    if (!node->value.empty()) return true;
    node = node->child[address.bit(length)].get();
  }
  return false;
}

}  // namespace plexus::model
