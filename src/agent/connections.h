// SPDX-License-Identifier: Apache-2.0
// Connections: what a worker does about connections besides asking for verdicts. It keeps the table, tells other agents of
// records before the packets that need them, believes what they tell as far as it is theirs to tell, keeps records on
// the disk, and says which flows have to be looked at again. docs/design/connections.md, "How it is wired".
//
// It sends nothing and changes no flow itself: messages wait in take_messages(), tuples whose flows are out of date in
// take_stale(). Everything is bounded for each call; what remains is done by the next one.
//
// One thread: the worker's. Time is an argument.
#pragma once

#include <boost/container/small_vector.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "agent/connection_messages.h"
#include "agent/kept_connections.h"
#include "base/clock.h"
#include "base/ids.h"
#include "flow/tag.h"
#include "model/snapshot.h"
#include "sim/simulate.h"
#include "state/connection_table.h"
#include "state/refused_leases.h"

namespace plexus::agent {

struct ConnectionOptions {
  state::ConnectionLimits limits;
  state::Timeouts timeouts;
  state::Midstream midstream = state::Midstream::take_up;
  /// A packet waits so long at most for the hosts where its answer may enter.
  Duration hold = std::chrono::milliseconds(3);
  /// A record that nobody has acknowledged is told again with so many packets, then by the clock.
  unsigned tell_with_packets = 8;
  Duration tell_again = std::chrono::seconds(1);
  /// Between two pieces of news of one record.
  Duration news_interval = std::chrono::milliseconds(100);
  /// How long the host where a port was may still speak for it.
  Duration moved_port = std::chrono::seconds(60);
  /// How long records of a port that has moved away are kept here: packets for its old tunnel key still come.
  Duration moved_records = std::chrono::seconds(30);
  /// How long a lease that another host has refused is not chosen again.
  Duration refused_lease = std::chrono::minutes(2);
  Duration expire_interval = std::chrono::milliseconds(100);
  size_t expire_budget = 2000;
  size_t messages = 8192;  ///< that may wait to be sent; about one port's connections half of them
  size_t budget = 256;     ///< records told again, or handed over, by one call
};

struct ConnectionCounters {
  uint64_t begun = 0;       ///< records made here
  uint64_t taken_over = 0;  ///< records that others told of
  uint64_t expired = 0;
  uint64_t displaced = 0;  ///< gone because another took their place, or to make room
  uint64_t told = 0, told_again = 0, acknowledged = 0, refused_elsewhere = 0, news = 0;
  uint64_t received = 0;
  uint64_t not_believed = 0;  ///< messages from somebody who may not say that
  uint64_t unreadable = 0;    ///< messages of another version, or damaged
  uint64_t adopted =
      0;  ///< records of ours that gave way to what a host has kept from before we lost them
  uint64_t refused_here = 0;   ///< records of others that a limit or another connection kept out
  uint64_t messages_lost = 0;  ///< too many waited to be sent
};

/// Bytes for another agent.
struct PeerMessage {
  HostId to;
  std::vector<uint8_t> bytes;
};

/// Flows of this tuple, either way round, whose packets enter in one of the zones are out of date.
struct StaleTuple {
  state::Tuple tuple;
  state::Zone zone, reply_zone;
  bool replaced = false;  ///< they belong to another record than before: their packets have to ask
};

class Connections {
 public:
  Connections(const ConnectionOptions& options, uint64_t hash_seed);

  /// Takes over what is kept in the file, and keeps records there from now on. Call before adopt() of the flows. Without a
  /// file (a full disk) it goes on without, says so in trouble(), and tries again every minute.
  void open(KeptConnections::Place place, MonoTime now);

  [[nodiscard]] sim::ConnectionView view() const {
    return {&table_, options_.midstream, nullptr, &refused_};
  }
  [[nodiscard]] const state::ConnectionTable& table() const { return table_; }
  [[nodiscard]] const ConnectionCounters& counters() const { return counters_; }
  [[nodiscard]] std::string trouble() const { return kept_ ? kept_->trouble() : ""; }

  // --- packets

  struct Begun {
    sim::DropReason refused = sim::DropReason::none;
    /// Another record is there: what it says of the packet is for a simulation to find out.
    bool again = false;
    state::ConnectionNumber number = 0;
  };
  [[nodiscard]] Begun begin(const sim::NewConnection& begins, MonoTime now);
  /// A packet of it is let through that came in by this exterior port; nil: by the tunnel.
  void saw(const sim::KnownConnection& known, const PortId& entered_by, MonoTime now);

  enum class Telling : uint8_t {
    done,  ///< everybody who has to know does, or nobody has to
    wait,  ///< the packet has to be held until released() names the record
    going,  ///< not everybody knows; the packet goes all the same, and the next ones have to ask again
  };
  /// A packet of the record's direction is about to be sent, or a flow for such packets to be kept, and these hosts have to know
  /// the record.
  [[nodiscard]] Telling tell(state::ConnectionNumber number, state::Direction direction,
                             std::span<const HostId> hosts, MonoTime now);
  /// Whether packets of the record still wait for others.
  [[nodiscard]] bool is_waiting(state::ConnectionNumber number) const;

  // --- others

  /// A datagram came from this address.
  void receive(const IpAddr& source, std::span<const uint8_t> bytes, MonoTime now);
  [[nodiscard]] std::vector<PeerMessage> take_messages() {
    messages_of_.clear();
    return std::exchange(messages_, {});
  }

  // --- the world

  /// The changes name what differs between the two; `before` is null the first time.
  void publish(const model::Snapshot* before, const model::Snapshot& now_known,
               std::span<const TagChange> changes, MonoTime now);

  /// The datapath counted packets of a flow with this tuple, which enter in this zone.
  void touch(const state::Zone& zone, const state::Tuple& tuple, MonoTime used, MonoTime now);
  /// What time brings: records expire, are told again, are handed over; held packets may go.
  void run(MonoTime now);
  /// When run() has something to do again.
  [[nodiscard]] std::optional<MonoTime> next_due() const;

  /// Tuples whose flows have to be looked at again, since the last call.
  [[nodiscard]] std::vector<StaleTuple> take_stale() { return std::exchange(stale_, {}); }
  /// Records whose held packets may go (they may be gone themselves), since the last call.
  [[nodiscard]] std::vector<state::ConnectionNumber> take_released() {
    return std::exchange(released_, {});
  }

 private:
  using Number = state::ConnectionNumber;
  using Hosts = boost::container::small_vector<HostId, 2>;
  /// Of a record that others have to know.
  struct Told {
    Hosts know;     ///< have acknowledged, in that order
    Hosts waiting;  ///< have been told, and have not
    unsigned times = 0;
    bool holding = false;  ///< packets wait
    /// Answered or not: where one of its ports has gone, or where its packets go beside its two ends.
    bool lasting = false;
    MonoTime due;  ///< with `waiting`: until when packets wait, then when it is told again
  };
  /// Hosts that hear of a record though they are at neither end of it: the last ones that were told.
  static constexpr int kMostBeside = 4;
  /// Beside each row of the table.
  struct Beside {
    MonoTime told;       ///< how recently used the other end knows it to be
    MonoTime last_news;  ///< when the other end was told
    MonoTime news_due;   ///< its place in news_; zero: none
  };
  struct MovedFrom {
    HostId host;
    MonoTime until;
  };
  struct HandOver {
    PortId port;
    HostId to;
    MonoTime forget_at;
    std::vector<std::pair<state::Zone, state::Tuple>> left;  ///< by how they are found
  };

  static bool contains(const Hosts& hosts, HostId host) {
    return std::find(hosts.begin(), hosts.end(), host) != hosts.end();
  }
  void changed(Number number, MonoTime now);
  void note_stale(const state::Connection& c, bool replaced);
  void note_answers(Number number);
  /// The record is about to leave the table, or has left it.
  void gone(Number number, const state::Connection& c);
  void announce_news(Number number, state::Direction seen, MonoTime now);
  void send(HostId to, MessageKind kind, const state::Connection& c, MonoTime now);
  void tell_those_waiting(Number number, Told& told, MonoTime now);
  void set_due(Number number, Told& told, MonoTime due);
  void heard_from(Number number, HostId host);
  /// False: it did not wait.
  bool waits_no_more(Number number, Told& told, HostId host);
  void port_left(const PortId& port, HostId host);
  void limit_beside(Number number, Told& told);
  void release(Number number, Told& told);
  void erase(std::vector<Number> numbers);
  void hand_over_records(MonoTime now);
  void run_due(MonoTime now);
  void expire(MonoTime now);
  [[nodiscard]] bool is_mine(const PortId& port) const;
  [[nodiscard]] bool enters_here(const state::Connection& c, state::Direction direction) const;
  [[nodiscard]] bool is_needed(const state::Connection& c, state::Direction direction) const;
  [[nodiscard]] bool speaks_for(HostId host, const PortId& port, MonoTime now) const;
  /// Whether packets of the direction enter at the host, as far as is known here.
  [[nodiscard]] bool enters_at(HostId host, const state::Connection& c, state::Direction direction,
                               MonoTime now) const;
  [[nodiscard]] bool speaks_of(Number number, MonoTime now) const;
  /// Whether its outside port is of a block: of that of the host that made the record.
  [[nodiscard]] bool is_leased(const state::Connection& c) const;
  [[nodiscard]] bool is_leased_here(const state::Connection& c) const;
  [[nodiscard]] bool is_placed(const state::Connection& c) const;
  [[nodiscard]] bool is_on_account(const state::Connection& c) const;
  /// What a host may say of a record.
  enum class Word : uint8_t {
    none,
    joins,   ///< of the answers' end: begins what is not known here, adds to what is
    counts,  ///< the higher stamp stays
  };
  [[nodiscard]] Word word_of(HostId host, const state::Connection& c, MonoTime now) const;
  [[nodiscard]] bool joins_what_is_here(const state::Connection& c, MonoTime now) const;
  [[nodiscard]] bool is_known_better(const state::Connection& c, MonoTime now) const;
  [[nodiscard]] bool may_have_begun(const state::Connection& c,
                                    const state::Connection& ours) const;
  void receive_record(HostId from, const state::Connection& c, MonoTime now);
  /// Another host keeps to a record with other choices than ours, which is of the same epoch or an older one.
  void settle_choice(Number number, const state::Connection& there, HostId from, MonoTime now);
  void tell_anew(Number number, Hosts hosts, MonoTime now);
  void receive_answer(HostId from, const state::Connection& c, MessageKind kind, MonoTime now);
  /// Its lease is another connection's where answers enter: it goes, and its packets choose again. False: it stays.
  bool give_up_lease(state::ConnectionTable::Found found, const state::Connection& offered,
                     HostId from, MonoTime now);
  void receive_news(HostId from, const state::Connection& c, MonoTime now);
  /// Commits, and does all that follows from it.
  state::ConnectionTable::Committed take_in(const state::Connection& c, MonoTime now);
  /// Of the hosts those that packets of the direction reach without their knowing of the connection.
  [[nodiscard]] Hosts without(Number number, state::Direction direction,
                              std::span<const HostId> hosts) const;
  /// Whether the host knows of the connection since it was answered, without having been told any more.
  [[nodiscard]] bool is_at_an_end(HostId host, Number number, state::Direction direction) const;
  /// Whether a later packet of it, translated where it came in, may come in at the host, by another uplink of that router.
  [[nodiscard]] bool is_beside(HostId host, Number number) const;
  [[nodiscard]] bool has_port_of(HostId host, const Uuid& device) const;
  /// Who has to hear of what has been seen here in a direction.
  [[nodiscard]] Hosts hearers(Number number, state::Direction seen) const;
  Beside& beside(Number number);

  const ConnectionOptions options_;
  state::ConnectionTable table_;
  std::unique_ptr<KeptConnections> kept_;
  const model::Snapshot* snapshot_ = nullptr;  ///< the worker's own
  std::unordered_map<Number, Told> told_;
  std::set<std::pair<MonoTime, Number>>
      due_;  ///< of those in told_ that somebody has not acknowledged
  /// When the other end is to be told, and which direction has been seen.
  std::map<std::pair<MonoTime, Number>, state::Direction> news_;
  std::vector<Beside> beside_;  ///< by number
  std::unordered_map<PortId, MovedFrom> moved_;
  std::vector<HandOver> hand_over_;
  state::RefusedLeases refused_;
  MonoTime next_expiry_;
  bool expiring_ = false;
  std::vector<PeerMessage> messages_;
  std::unordered_map<PortId, size_t> messages_of_;  ///< how many are about connections of a port
  std::vector<StaleTuple> stale_;
  std::vector<Number> released_;
  ConnectionCounters counters_;
};

/// A connection for people: "tcp 10.0.0.1:1234 > 10.0.0.2:80 established", and what its packets become.
[[nodiscard]] std::string text_of(const state::Connection& c);

}  // namespace plexus::agent
