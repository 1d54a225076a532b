// SPDX-License-Identifier: Apache-2.0
// TranslationTable: at which addresses one router translates, and why: the outside addresses (floating ones, virtual ones of
// load balancers, those of pools of source addresses) and the addresses inside that floating ones stand for.
//
// Threads: as CowTable: copies are independent values.
#pragma once

#include <boost/container/small_vector.hpp>

#include <cstddef>
#include <functional>

#include "base/ids.h"
#include "model/bit_trie.h"
#include "packet/addr.h"

namespace plexus::model {

/// Who has an address. Sorted lists.
struct AddressUses {
  template <typename Id>
  using FewOf = boost::container::small_vector<Id, 1>;
  FewOf<FloatingIpId> floating_ips;
  FewOf<VipId> vips;
  FewOf<SnatPoolId> pools;
  FewOf<PoolMemberId> members;
  [[nodiscard]] bool empty() const {
    return floating_ips.empty() && vips.empty() && pools.empty() && members.empty();
  }
};

/// Every packet that agrees with the address asked for in its first `bits_read` bits gets the same answer.
struct AddressFound {
  const AddressUses* uses = nullptr;  ///< null: nobody has it. Lives as long as the table.
  unsigned bits_read = 0;
};

class TranslationTable {
 public:
  void put(const IpAddr& outside, FloatingIpId id, bool add);
  void put(const IpAddr& outside, VipId id, bool add);
  void put(const IpAddr& outside, SnatPoolId id, bool add);
  /// The floating address stands for this one.
  void put_inside(const IpAddr& inside, FloatingIpId id, bool add);
  /// A member of a pool of one of the router's load balancers, in whatever state, is there.
  void put_member(const IpAddr& address, PoolMemberId id, bool add);
  /// A record that cannot be read, not even its address: it may be about any packet.
  void put_unreadable(bool add) { unreadable_ += add ? 1 : -1; }

  [[nodiscard]] AddressFound outside(const IpAddr& address) const;
  /// Each outside address until `visit` says false, in their order.
  void each_outside(const std::function<bool(const IpAddr&)>& visit) const;
  /// Only `floating_ips` and `members` are filled in.
  [[nodiscard]] AddressFound inside(const IpAddr& address) const;
  [[nodiscard]] bool has_outside(IpFamily family) const {
    return family == IpFamily::v6 ? !v6_.empty() : !v4_.empty();
  }
  /// Connections may have been translated here.
  [[nodiscard]] bool has_stateful(IpFamily family) const {
    return family == IpFamily::v6 ? stateful6_ > 0 : stateful4_ > 0;
  }
  [[nodiscard]] bool has_inside(IpFamily family) const {
    return family == IpFamily::v6 ? !inside6_.empty() : !inside4_.empty();
  }
  [[nodiscard]] bool unreadable() const { return unreadable_ > 0; }
  /// Which of the questions above are answered yes, a bit each.
  [[nodiscard]] unsigned kinds() const {
    unsigned bits = unreadable() ? 1 : 0;
    for (const IpFamily family : {IpFamily::v4, IpFamily::v6})
      bits = bits << 3 | (has_outside(family) ? 4u : 0) | (has_inside(family) ? 2u : 0) |
             (has_stateful(family) ? 1u : 0);
    return bits;
  }
  [[nodiscard]] bool empty() const {
    return v4_.empty() && v6_.empty() && inside4_.empty() && inside6_.empty() && unreadable_ == 0;
  }

 private:
  struct Nothing {
    Nothing() = default;
    Nothing(const AddressUses&, const Nothing*, const Nothing*) {}
  };
  using Trie = BitTrie<AddressUses, Nothing>;
  static AddressFound find(const Trie& trie, const IpAddr& address);

  Trie v4_, v6_, inside4_, inside6_;
  int unreadable_ = 0;
  int stateful4_ = 0, stateful6_ = 0;  ///< virtual addresses, and those of pools of sources
};

}  // namespace plexus::model
