// SPDX-License-Identifier: Apache-2.0
// Outside addresses: those that a router has for its translations (floating addresses, addresses of pools of sources,
// virtual addresses). It answers ARP and neighbour discovery for each by its ports that have a network with the address in
// it; on the bridges that those are wired to nobody else may have the address. So each is claimed (claims.h) for each such
// bridge, by the router: what claims is a pair of a translation and a port, and comes and goes with either.
//
// Two writers never miss each other: who gives a router a translation, or changes or removes one, stands on the router's
// networks (RouterNetworks) and on the ports that have one with its address; who wires or unwires a port, or changes its
// networks, writes these, and stands on the indexes of all the router's translations.
//
// A claim is removed with its last part and may be made again: whoever adds a part to one that is there stands on the object
// of another part, too, for versions alone would not tell (transaction.h).
//
// Outside of it: exterior ports of routers (nobody here knows who else is on their wire), and bridges that are wired to bridges.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "packet/addr.h"
#include "plexus/v1/resources.pb.h"
#include "store/topology/change_set.h"
#include "store/topology/claims.h"

namespace plexus::store {

/// Claims that one transaction makes and gives up at most because a router's ports change: some 600 KB.
inline constexpr size_t kMaxAddressesMoved = 2000;

/// What a translation has outside; nullopt: `resource` is none.
struct Outside {
  const char* field = nullptr;  ///< that holds the addresses
  std::vector<IpAddr> addresses;
  Uuid router;         ///< nil: that of `load_balancer`
  Uuid load_balancer;  ///< of a virtual address
};
[[nodiscard]] std::optional<Outside> outside_of(const google::protobuf::Message* resource);

/// A port of a router.
struct Foot {
  Uuid port, bridge;  ///< nil: it is wired to none
  std::vector<IpPrefix> networks;
  bool operator==(const Foot&) const = default;
};
/// Whether a router answers for the address of a translation by a port with that network.
[[nodiscard]] bool answers_in(const IpPrefix& network, const IpAddr& address);
/// What a translation claims at a router with these ports; sorted.
[[nodiscard]] std::vector<Claim> outside_claims(const std::string& type, const char* field,
                                                const Uuid& router,
                                                const std::vector<IpAddr>& addresses,
                                                const std::vector<Foot>& feet);

/// The indexes that list the translations and load balancers of a router.
[[nodiscard]] std::vector<std::string> translation_indexes(const Uuid& router);
/// Whether a port of a router, as it was and as it will be (null: not there), changes what the router answers for; what its peer
/// is said to be beside.
[[nodiscard]] bool may_move_addresses(const v1::Port* before, const v1::Port* now);

/// What translations claimed and will claim, for one change set. Call once.
class OutsideAddresses {
 public:
  explicit OutsideAddresses(ChangeSet& changes) : changes_(changes) {}

  /// Of all translations whose claims change. invalid: a port that moves has too many.
  Result<std::vector<Claimant>> claimants(const std::vector<ChangeSet::Object*>& touched);

  /// The one to blame for an error; null: nobody in particular.
  [[nodiscard]] const ChangeSet::Object* blamed() const { return blamed_; }

 private:
  /// A translation.
  struct User {
    const google::protobuf::Descriptor* type = nullptr;
    const char* field = nullptr;
    Uuid id;
    const ChangeSet::Object* object = nullptr;  ///< null: it stays as it is
    std::vector<IpAddr> before, now;
  };
  /// A router that is concerned.
  struct Site {
    Uuid router;
    bool whole = false;  ///< comes or goes with this set: so do all that belong to it
    const ChangeSet::Object* moved = nullptr;        ///< a port of it that moves
    std::map<Uuid, const ChangeSet::Object*> ports;  ///< that are touched
    std::vector<User> users;
    std::vector<Foot> before, now;
  };

  Site& site(const Uuid& router);
  Result<void> sort_in(const ChangeSet::Object& object);
  Result<void> sort_in_port(const ChangeSet::Object& object);
  Result<Uuid> bridge_of(const v1::Port* port);
  Result<Foot> foot_of(const v1::Port* port);
  Result<void> fetch();
  Result<void> add_untouched(Site& site);
  Result<void> add_entries(Site& site, const google::protobuf::Descriptor& type,
                           const std::string& index);
  Result<void> find_feet(Site& site);

  ChangeSet& changes_;
  std::map<Uuid, Site> sites_;
  const ChangeSet::Object* blamed_ = nullptr;
};

}  // namespace plexus::store
