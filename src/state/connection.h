// SPDX-License-Identifier: Apache-2.0
// Connection: what is known of one connection. Facts only: who, by which translations, what has been seen. It never says
// "allow"; verdicts are the simulator's, and change with the rules while the record stays. It names ports, never hosts: where a
// port is, is looked up for each packet. docs/design/connections.md has the whole picture.
//
// Values; any thread.
#pragma once

#include <boost/container/static_vector.hpp>

#include <compare>
#include <cstdint>
#include <string_view>

#include "base/clock.h"
#include "base/ids.h"
#include "state/tcp_facts.h"
#include "state/tuple.h"

namespace plexus::state {

/// Where a tuple is unique: the device (bridge or router) of the exterior port where its packets enter. Two tenants' bridges
/// with the same addresses are two zones.
struct Zone {
  Uuid device;
  auto operator<=>(const Zone&) const = default;
};

/// The numbers are in records: they never change.
enum class TranslationKind : uint8_t {
  destination = 1,  ///< a rule's new destination
  source = 2,       ///< a rule's or a lease's new source
  one_to_one = 3,   ///< a floating address, either way
  member = 4,       ///< a load balancer's choice
};
[[nodiscard]] std::string_view to_string(TranslationKind kind);
[[nodiscard]] bool is_translation_kind(uint8_t number);

/// One stage of a path that changed the packets of the original direction. What they were before it is what they were after
/// the stage before.
struct Translation {
  Uuid device;  ///< where: the router, bridge or load balancer
  Uuid choice;  ///< what was chosen there: the member, the rule, the leased block
  TranslationKind kind{};
  Tuple after;
  bool operator==(const Translation&) const = default;
};

/// At most so many in a path.
inline constexpr size_t kMaxTranslations = 4;
using Translations = boost::container::static_vector<Translation, kMaxTranslations>;

/// Which of two records of a connection counts: the higher. An epoch begins when a connection begins, or begins anew.
struct Stamp {
  uint32_t epoch = 1;
  HostId origin;  ///< who made the record. For the order only
  auto operator<=>(const Stamp&) const = default;
};

struct Connection {
  Tuple original;             ///< of the first packet as it came in
  Zone zone;                  ///< where it came in
  Zone reply_zone;            ///< where answers come in
  PortId port, reply_port;    ///< the exterior ports there
  Uuid tenant;                ///< whose port it is, made of the tenant's name; nil: nobody's
  Translations translations;  ///< in the order of the original direction's path
  Stamp stamp;
  SeenBits seen{};
  MonoTime last_seen;

  bool operator==(const Connection&) const = default;

  /// The original direction's tuple as it is delivered.
  [[nodiscard]] const Tuple& final_tuple() const {
    return translations.empty() ? original : translations.back().after;
  }
  /// What packets of a direction have when they enter, and when they leave.
  [[nodiscard]] Tuple entering(Direction d) const {
    return d == Direction::original ? original : final_tuple().reversed();
  }
  [[nodiscard]] Tuple leaving(Direction d) const {
    return d == Direction::original ? final_tuple() : original.reversed();
  }
  [[nodiscard]] const Zone& zone_of(Direction d) const {
    return d == Direction::original ? zone : reply_zone;
  }
  [[nodiscard]] const PortId& port_of(Direction d) const {
    return d == Direction::original ? port : reply_port;
  }
  [[nodiscard]] bool replied() const { return seen[1] != 0; }
};

/// The tuples along a packet's path: as it enters, after each translation in the order in which the packet meets them. Answers
/// undo the last translation first.
using TuplesAlong = boost::container::static_vector<Tuple, kMaxTranslations + 1>;
[[nodiscard]] TuplesAlong tuples_along(const Connection& c, Direction d);

/// Whether it can be kept: sound tuples of one family, one protocol and one echo role throughout; no translation that
/// changes nothing.
[[nodiscard]] bool is_sound(const Connection& c);

/// After how long without a packet a record goes.
struct Timeouts {
  // RFC 5382 REQ-5: established at least 2 h 4 min, all other states of an open or closing connection at least 4 min. A SYN
  // without an answer is neither there: RFC 5382 4.3 wants it for 6 s at least.
  Duration tcp_syn_sent = std::chrono::seconds(30);
  Duration tcp_transitory = std::chrono::minutes(4);
  Duration tcp_established = std::chrono::hours(2) + std::chrono::minutes(4);
  Duration tcp_closed = std::chrono::minutes(4);  ///< also after both FINs: 2 MSL
  // RFC 4787 REQ-5: at least 2 min.
  Duration udp_unreplied = std::chrono::seconds(30);
  Duration udp_replied = std::chrono::minutes(3);
  Duration icmp = std::chrono::seconds(60);  ///< RFC 5508 REQ-2: at least 60 s
  Duration other_unreplied = std::chrono::minutes(1);
  Duration other_replied = std::chrono::minutes(10);
};
/// The longest of them that `seen` can lead to is kept only for connections with an answer: what one side alone claims is
/// transitory.
[[nodiscard]] Duration timeout_of(uint8_t protocol, SeenBits seen, const Timeouts& timeouts);

/// What rules ask of a packet's connection.
enum class ConnectionState : uint8_t {
  untracked,    ///< belongs to none
  new_,         ///< of a connection without a record, or without an answer yet
  established,  ///< of one that has been answered; every answer
  related,      ///< ICMP error about one that has a record
  invalid,      ///< TCP that fits no connection
};
[[nodiscard]] std::string_view to_string(ConnectionState state);

}  // namespace plexus::state
