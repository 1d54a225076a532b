// SPDX-License-Identifier: Apache-2.0
// AddressSet: the networks and addresses of an address group, or of the members of a security group. What is added twice is
// there until it is removed twice.
//
// Threads: as CowTable: copies are independent values.
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/bit_trie.h"
#include "packet/addr.h"

namespace plexus::model {

class AddressSet {
 public:
  struct Count {
    uint32_t times = 0;
    [[nodiscard]] bool empty() const { return times == 0; }
  };
  struct Nothing {
    Nothing() = default;
    Nothing(const Count&, const Nothing*, const Nothing*) {}
  };
  using Trie = BitTrie<Count, Nothing>;

  /// True when the prefix (host bits do not count) was not there before.
  bool add(const IpPrefix& prefix);
  /// True when it is not there any more.
  bool remove(const IpPrefix& prefix);

  /// An address is in the set when a node with a value is on its path.
  [[nodiscard]] const Trie::Node* root(IpFamily family) const {
    return family == IpFamily::v6 ? v6_.root() : v4_.root();
  }
  [[nodiscard]] bool contains(const IpAddr& address) const;
  [[nodiscard]] bool empty() const { return v4_.empty() && v6_.empty(); }

 private:
  Trie& trie(const IpPrefix& prefix) { return prefix.addr.is_v6() ? v6_ : v4_; }
  Trie v4_, v6_;
};

}  // namespace plexus::model
