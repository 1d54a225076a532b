// SPDX-License-Identifier: Apache-2.0
// ConnectionTable: the connections that one worker knows. Found by the tuple of either direction, in the zone where that
// direction enters. Nothing here decides about packets.
//
// Made for millions: a record is a row of fixed size, ids that many share are kept once; inserting, finding, touching and removing
// cost the same however many there are. Records go by the clock (`expire`) or to make room, and then only those without an
// answer yet and TCP that passes: half open, or over.
//
// Invariants: a (zone, tuple) leads to at most one record, so a translated answer can go back to one sender only; within a
// zone there is one record for both orders of a tuple's ends. Records without an answer are at most `limits.embryonic`.
//
// One thread: the worker's. Time is an argument.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "flow/interned.h"
#include "state/connection.h"
#include "state/key_index.h"

namespace plexus::state {

/// The number of a record, its own as long as it is there.
using ConnectionNumber = uint32_t;

struct ConnectionLimits {
  size_t total = 1'000'000;
  size_t embryonic = 250'000;  ///< without an answer yet; part of `total`
  /// Begun at one port, and those of them without an answer.
  size_t port = 200'000, port_embryonic = 20'000;
  /// Begun at a tenant's ports: fewer than all, or one tenant fills the table of all. The nil tenant has no limit.
  size_t tenant = 250'000;
};

enum class Refusal : uint8_t {
  none,
  table_full,
  port_limit,
  tenant_limit,
  /// Another connection has one of the two tuples in its zone.
  tuple_taken,
  unsound,  ///< is_sound() says no
  expired,  ///< it has been without a packet for too long
};
[[nodiscard]] std::string_view to_string(Refusal refusal);

class ConnectionTable {
 public:
  /// `hash_seed`: a random number that nobody outside knows.
  explicit ConnectionTable(const ConnectionLimits& limits, const Timeouts& timeouts = {},
                           uint64_t hash_seed = 0);
  ConnectionTable(const ConnectionTable&) = delete;
  ConnectionTable& operator=(const ConnectionTable&) = delete;

  struct Found {
    ConnectionNumber number = 0;
    Direction direction{};
  };
  /// The record of packets that enter with this tuple. One that has expired is not found, whether expire() has been there
  /// or not.
  [[nodiscard]] std::optional<Found> find(const Zone& zone, const Tuple& entering,
                                          MonoTime now) const;

  /// What a search will need.
  struct Sought {
    uint64_t hash = 0;
    bool somewhere = false;  ///< else nothing is in the zone
  };
  /// Somebody is going to search for such a packet: where its record is said to stand is brought near, and then, by the second
  /// call, the record itself. Both take as good as no time.
  [[nodiscard]] Sought look_ahead(const Zone& zone, const Tuple& entering) const;
  void look_ahead(const Sought& sought) const;

  struct Committed {
    Refusal refusal = Refusal::none;
    ConnectionNumber number = 0;
    /// Of the packets that the given record calls original, in the record that is there now.
    Direction direction = Direction::original;
    bool created = false;   ///< a new record, or the old one's place with a newer record in it
    bool changed = false;   ///< facts were added, or created
    bool outdated = false;  ///< what was there is newer than what was given, and stays
    /// What made room, or was there before in the tuples' place, and is gone.
    boost::container::static_vector<std::pair<ConnectionNumber, Connection>, 4> removed;
  };
  /// Puts in a record that was made here or elsewhere. Where the table has one of the same two tuples:
  /// - the same original: the higher stamp stays, whole; where epochs and translations are equal, with what both know. So
  ///   whoever selects first wins on its host, and one of two hosts that selected at once wins everywhere;
  /// - the same two tuples in exchanged roles (a simultaneous open, each side's record made by its own host): the higher epoch;
  ///   in the same epoch the record of the lower endpoint, with the facts of both, everywhere the same one;
  /// - anything else: tuple_taken.
  /// One that has expired is not there. When the table or a share is full, the oldest makes room of those without an answer
  /// and of TCP that is half open or over, of the same port where the port's or the tenant's limit is meant; others never
  /// do: then it is refused. What takes the place of another counts like any newcomer; refused, the other is gone all the same.
  Committed commit(const Connection& connection, MonoTime now);

  /// A packet was let through: what it shows is added. It is TCP's segment, or anything of another protocol.
  /// True when it added something: what others know of the record is out of date then.
  bool saw(ConnectionNumber number, Direction direction, std::optional<Segment> segment,
           MonoTime now);
  /// Traffic that the datapath counted. The last use never moves back.
  void touch(ConnectionNumber number, MonoTime used);

  [[nodiscard]] Connection connection(ConnectionNumber number) const;
  /// Something on its path changes its packets.
  [[nodiscard]] bool is_translated(ConnectionNumber number) const {
    return row(number).translations != kNone;
  }
  /// Something at `device` changes packets of connections that end at `port`: what enters there may be an answer to them, whatever
  /// the device translates today. `hidden`: of connections whose questions came to the port from another source than their own.
  [[nodiscard]] bool answers_pass(const PortId& port, const Uuid& device, bool hidden) const;
  /// Answers enter by this port beside the record's own: their address has moved within the zone. The last one that was said
  /// counts, for answers_pass() alone; others are not told.
  void answers_enter_by(ConnectionNumber number, const PortId& port);
  /// In place of a port: whichever of the zone's. For answers_enter_by() and answers_pass().
  [[nodiscard]] static PortId any_port_of(const Zone& zone) { return PortId{zone.device}; }
  [[nodiscard]] SeenBits seen(ConnectionNumber number) const { return row(number).seen; }
  [[nodiscard]] MonoTime last_seen(ConnectionNumber number) const { return row(number).last_seen; }
  [[nodiscard]] Stamp stamp(ConnectionNumber number) const;
  /// Where packets of the direction enter: port and device.
  [[nodiscard]] PortId port(ConnectionNumber number, Direction direction) const {
    return ports_[row(number).port[static_cast<size_t>(direction)]].id;
  }
  [[nodiscard]] Zone zone(ConnectionNumber number, Direction direction) const {
    return {ids_[row(number).zone[static_cast<size_t>(direction)]]};
  }
  [[nodiscard]] MonoTime expires(ConnectionNumber number) const {
    return row(number).last_seen + timeout(row(number));
  }
  /// Whether no live record has this (zone, tuple): what a lease asks before it gives a port away.
  [[nodiscard]] bool is_free(const Zone& zone, const Tuple& entering, MonoTime now) const {
    return !find(zone, entering, now);
  }

  using Visit = std::function<void(ConnectionNumber, const Connection&)>;
  /// Removes what has expired; at most `budget` records are looked at, each removed one is shown first. Returns how many
  /// were removed. O(looked at), and most of those that are looked at go.
  size_t expire(MonoTime now, size_t budget, const Visit& visit = {});
  /// Removes one.
  void erase(ConnectionNumber number);
  /// Removes, having shown each, those that begin or end at a port; O(those).
  size_t erase_port(const PortId& port, const Visit& visit = {});
  /// Those of a zone, either end's, and those that a device translates. O(all): for what operators do.
  size_t erase_device(const Uuid& device, const Visit& visit = {});

  /// The table must not change meanwhile.
  void for_each(const Visit& visit) const;
  void for_each_of_port(const PortId& port, const Visit& visit) const;
  void for_each_of_zone(const Zone& zone, const Visit& visit) const;

  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] size_t embryonic() const { return by_rank_[0].count; }
  /// Begun there.
  [[nodiscard]] size_t begun_at(const PortId& port) const;
  [[nodiscard]] size_t of_tenant(const Uuid& tenant) const;
  [[nodiscard]] const ConnectionLimits& limits() const { return limits_; }
  [[nodiscard]] const Timeouts& timeouts() const { return timeouts_; }

 private:
  static constexpr uint32_t kNone = 0xffffffff;

  /// Neighbours in one of the lists that a row stands in.
  struct Links {
    uint32_t before = kNone, after = kNone;
  };
  struct List {
    uint32_t first = kNone, last = kNone;
    size_t count = 0;
  };
  /// What a search and its caller look at fills the first cache line.
  struct alignas(64) Row {
    Tuple original;
    /// Numbers of interned ids.
    std::array<uint32_t, 2> zone{kNone, kNone};
    MonoTime last_seen;
    uint32_t translations = kNone;  ///< the first
    SeenBits seen{};
    bool used = false;

    std::array<uint32_t, 2> port{kNone, kNone};
    uint32_t tenant = kNone, origin = kNone;
    uint32_t epoch = 0;
    uint32_t slot = 0;            ///< of the wheel
    Links by_due;                 ///< in the wheel
    Links by_age;                 ///< of its rank, in the order of arrival there; not of `lasting`
    Links by_begin;               ///< begun at the port, of its rank
    Links by_end;                 ///< of those that end at the port
    uint32_t answers_by = kNone;  ///< number of a port: answers_enter_by()
  };
  static_assert(sizeof(Row) == 128, "two cache lines");
  struct StoredTranslation {
    Tuple after;
    uint32_t device = kNone, choice = kNone, next = kNone;
    TranslationKind kind{};
  };
  /// Who makes room for others.
  enum class Rank : uint8_t {
    embryonic,  ///< without an answer
    passing,  ///< TCP that has been answered and is half open, or over: one answer to a forged SYN makes it
    lasting,
  };
  struct OfPort {
    PortId id;
    std::array<List, 3> begun;  ///< by Rank
    List ending;
    [[nodiscard]] size_t count() const { return begun[0].count + begun[1].count + begun[2].count; }
  };
  struct OfTenant {
    Uuid id;
    size_t count = 0;
  };
  /// Connections that end at a port are translated at a device; both by their numbers.
  struct AnswersPass {
    uint32_t port = kNone, device = kNone;
    bool hidden = false;
    bool operator==(const AnswersPass&) const = default;
  };
  [[nodiscard]] Row& row(ConnectionNumber number);
  [[nodiscard]] const Row& row(ConnectionNumber number) const;
  /// The original direction's tuple as it is delivered.
  [[nodiscard]] const Tuple& final_of(const Row& r) const;
  [[nodiscard]] uint64_t hash(uint32_t zone, const Tuple& entering) const;
  /// Of keys: twice the row's number, plus the direction.
  [[nodiscard]] uint64_t hash_of_key(uint32_t key) const;
  /// A machine that talks to itself from a port to the same port: one tuple is both.
  [[nodiscard]] bool has_one_key(const Row& r) const {
    return r.zone[0] == r.zone[1] && r.original == final_of(r).reversed();
  }
  [[nodiscard]] uint64_t hash_of_id(const Uuid& id) const;
  [[nodiscard]] uint64_t hash_of_place(const AnswersPass& place) const;
  [[nodiscard]] uint32_t key_of(uint32_t zone, const Tuple& entering) const;
  /// As find(), also what has expired.
  [[nodiscard]] std::optional<Found> find_any(const Zone& zone, const Tuple& entering) const;
  [[nodiscard]] uint32_t number_of(const Uuid& id) const;
  uint32_t use_id(const Uuid& id);
  uint32_t use_port(const PortId& id);
  [[nodiscard]] uint32_t port_number(const PortId& id) const;
  uint32_t use_tenant(const Uuid& id);
  [[nodiscard]] uint32_t number_of(const AnswersPass& place) const;
  /// Counts a row's translations where its answers enter, or no longer.
  void count_answers(const Row& r, bool there);
  [[nodiscard]] Duration timeout(const Row& r) const {
    return timeout_of(r.original.protocol, r.seen, timeouts_);
  }
  [[nodiscard]] bool expired(const Row& r, MonoTime now) const {
    return r.last_seen + timeout(r) <= now;
  }
  [[nodiscard]] bool same_translations(const Row& r, const Connection& c) const;

  template <Links Row::*links>
  void link(List& list, uint32_t number);
  template <Links Row::*links>
  void unlink(List& list, uint32_t number);
  [[nodiscard]] static Rank rank_of(uint8_t protocol, SeenBits seen);
  [[nodiscard]] static Rank rank_of(const Row& r) { return rank_of(r.original.protocol, r.seen); }
  /// Into the lists of its rank, and out of them.
  void line_up(ConnectionNumber number, Rank rank);
  void step_out(ConnectionNumber number, Rank rank);
  /// Over by what has been seen, which may be forged: it has had packets a moment ago.
  [[nodiscard]] static bool may_be_open(const Row& r, MonoTime now);
  /// Who goes first of both; kNone: nobody does.
  template <Links Row::*links>
  [[nodiscard]] uint32_t first_to_go(const List& embryonic, List& passing, MonoTime now);
  void schedule(ConnectionNumber number, MonoTime due);
  void reschedule(ConnectionNumber number);
  /// Joins; true when something was new.
  bool add_facts(ConnectionNumber number, SeenBits more, MonoTime seen_at);

  Refusal make_room(const Connection& c, MonoTime now, Committed& done);
  ConnectionNumber insert(const Connection& c, MonoTime now);
  void remove(ConnectionNumber number, Committed& done);
  void put_in_place_of(ConnectionNumber old, const Connection& c, MonoTime now, Committed& done);
  void settle_same(ConnectionNumber old, const Connection& c, bool reply_tuple_free, MonoTime now,
                   Committed& done);
  void settle_crossed(ConnectionNumber old, const Connection& c, MonoTime now, Committed& done);
  [[nodiscard]] int64_t second_of_slot(uint32_t slot) const;
  size_t erase_if(const std::function<bool(const Row&)>& chosen, const Visit& visit);

  const ConnectionLimits limits_;
  const Timeouts timeouts_;
  const uint64_t seed_;
  Rows<Row> rows_;
  std::vector<uint32_t> free_;
  Rows<StoredTranslation> translations_;
  std::vector<uint32_t> free_translations_;
  KeyIndex keys_;
  Interned<Uuid> ids_;
  Interned<OfPort> ports_;
  Interned<OfTenant> tenants_;
  Interned<AnswersPass> answers_;
  std::array<List, 2> by_rank_;  ///< of embryonic and passing
  /// One list for each second; a record stands in that of a second before which it does not expire, or nearly so. Those of
  /// more than a turn away stand in the last and are moved on.
  std::vector<List> wheel_;
  int64_t wheel_second_ = 0;  ///< all before it has been looked at
  bool wheel_started_ = false;
  size_t size_ = 0;
};

}  // namespace plexus::state
