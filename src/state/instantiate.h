// SPDX-License-Identifier: Apache-2.0
// From a class to a connection. The simulation of a class says what is left to choose for each new connection of it (Commit);
// instantiate() chooses, for one packet, and makes the record. It depends on nothing but its arguments, so that a kernel
// program can do the same: no allocation, bounded loops, fixed hashes.
//
// Stages follow each other as the packet meets them; each sees the tuple as the stages before have left it. What is fixed for
// ever, because hosts must agree without talking: the inputs of the choice of a member, and the order in which a lease
// tries its ports (so that a client keeps its outside port, not so that anybody agrees on it).
#pragma once

#include <boost/container/static_vector.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "flow/actions.h"
#include "model/member_set.h"
#include "model/records.h"
#include "state/connection.h"
#include "state/tuple.h"

namespace plexus::state {

/// Where a path ends: an exterior port and its device, where answers enter.
struct Delivery {
  PortId port;
  Zone zone;
  bool operator==(const Delivery&) const = default;
};

using Member = model::Member;
using MemberSet = model::MemberSet;

/// A load balancer's choice. Its inputs: the client's address and port as the packet came in, whatever stages before have made of
/// them, and the destination as it is here. A lease before the choice does not change it, so all gateways choose alike, but
/// where answers of the first choice are another connection's (without persistence or a lease): then it is one of the next.
struct SelectMember {
  Uuid device, salt;
  /// Persistence: the ports and the protocol are left out.
  bool by_source_address = false;
  std::shared_ptr<const MemberSet> set;  ///< none, or nobody in it: no_member
  /// Where each member is, in their order; null: all where the commit says.
  std::shared_ptr<const std::vector<Delivery>> deliveries = {};
};

using LeaseBlock = model::PortBlock;
/// Length a power of two, `first` a multiple of it and not 0.
[[nodiscard]] bool is_sound(const LeaseBlock& block);

inline constexpr size_t kMaxLeaseBlocks = 4;
/// Ports of a block that are tried for one connection.
inline constexpr unsigned kLeaseProbes = 64;

/// Source translation to a port of one of these blocks, such that the answer's tuple is nobody else's. One port serves as many
/// connections as there are remote ends. Which block comes first follows from the client's address (RFC 4787 REQ-2), which of
/// its ports from the client's address and port alone: so a client's port keeps its outside port towards all remote ends as long as
/// that is free (as far as RFC 4787 REQ-1 can be had from ports that are shared). Of protocols that have neither ports
/// that can be rewritten nor identifiers (SCTP too), the address alone is translated.
struct LeasePort {
  Uuid device;
  boost::container::static_vector<LeaseBlock, kMaxLeaseBlocks> blocks;
};

/// Packets of the tuple get a port, or an identifier, of the lease's; else its address alone.
[[nodiscard]] bool has_leasable_port(const Tuple& t);

/// Port p becomes to + (p - from), modulo 2^16.
struct PortShift {
  uint16_t from = 0, to = 0;
};
/// A rule's translation, the same for the whole class but for host bits and the place in a range of ports.
struct FixedTranslation {
  Uuid device, rule;
  TranslationKind kind = TranslationKind::destination;
  /// The prefix replaces as many bits; the rest of the address stays.
  std::optional<IpPrefix> src = {}, dst = {};
  std::optional<PortShift> src_port = {}, dst_port = {};
};

using Stage = std::variant<SelectMember, LeasePort, FixedTranslation>;

/// What a new connection of a class needs.
struct Commit {
  Zone zone;
  PortId port;
  Uuid tenant;
  Delivery delivery;
  boost::container::static_vector<Stage, kMaxTranslations> stages;
};

enum class NoInstance : uint8_t {
  none,
  no_member,
  ports_exhausted,
  wrong_family,  ///< a stage has addresses of the other family
  untracked,     ///< the packet can begin no connection
};
[[nodiscard]] std::string_view to_string(NoInstance reason);

/// Whether no record has the tuple in the zone.
using IsFree = std::function<bool(const Zone& zone, const Tuple& entering)>;

struct Instance {
  NoInstance reason = NoInstance::none;
  Connection connection;  ///< when there is no reason why not
  /// Of a LeasePort's last block several ports were tried that are taken: the next connections may find none. Also when
  /// this one has found none, or, without ports, no address.
  bool crowded = false;
};

[[nodiscard]] Instance instantiate(const Commit& commit, const Sighting& first, const Stamp& stamp,
                                   MonoTime now, const IsFree& is_free);

/// Of a direction's packets, from how they enter to how they leave.
[[nodiscard]] Rewrite rewrite_of(const Connection& c, Direction d);

}  // namespace plexus::state
