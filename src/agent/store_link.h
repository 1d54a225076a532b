// SPDX-License-Identifier: Apache-2.0
// StoreLink: the agent's side of the store that may wait, so that nothing that forwards has to. It opens the store,
// registers the host, and brings about there what the topology thread wants said: which ports are here, flood keys,
// tunnel addresses, learned neighbours, outside ports, answers to convergence questions. What cannot be said now is kept (the latest
// wish for each thing, so it is bounded by the things) and tried again, with growing pauses; news comes back by a
// mailbox.
//
// Threads: one of its own, which alone writes to the store. The other methods from any thread; they never wait for the
// store.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "agent/port_block_plan.h"
#include "base/mailbox.h"
#include "base/result.h"
#include "model/records.h"
#include "store/store.h"
#include "store/topology/barrier_answers.h"
#include "store/topology/host_records.h"
#include "store/topology/zones.h"

namespace plexus::agent {

class StoreLink {
 public:
  static constexpr size_t kMaxNeighbours = 1024;  ///< that wait to be stored
  static constexpr size_t kLearnedAtOnce = 64;    ///< tables of learned MACs in one transaction
  static constexpr size_t kLearnedMacsAtOnce =
      32'768;  ///< a dozen bytes or so each, of the 900 kB of a transaction

  /// The store has been opened; it lives as long as this link. (It need not have answered yet.)
  struct Opened {
    store::Store* store = nullptr;
  };
  /// The store cannot be opened, and not only for now as it seems. It is tried again all the same.
  struct OpenFailed {
    Error error;
  };
  struct ZonesRead {
    std::vector<store::Zone> zones;
  };
  struct Joined {
    store::Registered as;
  };
  /// The store has refused the host for good: its name or its id is another's.
  struct Refused {
    Error error;
  };
  /// What was wanted of a port is done, or the store has said why not.
  struct PortDone {
    PortId port;
    std::optional<Error> error;
  };
  struct FloodKeyDone {
    BridgeId bridge;
  };
  /// What was ordered of a pool is done, or the store has said why not.
  struct PortBlocksDone {
    SnatPoolId pool;
    std::optional<Error> error;
  };
  using News = std::variant<Opened, OpenFailed, ZonesRead, Joined, Refused, PortDone, FloodKeyDone,
                            PortBlocksDone>;

  struct Status {
    size_t waiting = 0;   ///< things wanted in the store that are not there yet
    std::string trouble;  ///< why; empty: none
    uint64_t neighbours_lost = 0;
  };

  StoreLink(std::string address, store::OpenOptions open, HostId self);
  ~StoreLink();

  [[nodiscard]] int fd() const { return news_.fd(); }
  [[nodiscard]] std::vector<News> take() { return news_.take(); }

  /// Registers the host; also again, after the store was restored.
  void join(store::Registration registration);
  void set_tunnel_addresses(std::vector<IpAddr> addresses, uint16_t udp_port);
  void read_zones();
  void publish(PortId port, bool take_over);
  void unpublish(PortId port);
  void set_flood_key(BridgeId bridge, bool wanted);
  void order_port_blocks(PortBlockPlan::Order order);
  /// Lost, and counted, when too many wait already.
  void learn(PortId port, const IpAddr& address, const MacAddr& mac);
  /// The neighbour is gone. Lost as learn() is.
  void forget(PortId port, const IpAddr& address, const MacAddr& mac);
  /// The MACs learned at a port that is here; the latest counts.
  void set_learned(PortId port, std::vector<model::LearnedMac> table);
  void answer(const store::BarrierQuestion& question);
  /// Asks the store for its present revision, which then reaches whoever watches it.
  void sync();

  [[nodiscard]] Status status() const;

 private:
  struct PortWish {
    bool here = false;
    bool take_over = false;
  };
  struct Neighbour {
    PortId port;
    IpAddr address;
    MacAddr mac;
    bool gone = false;
  };
  struct Addresses {
    std::vector<IpAddr> addresses;
    uint16_t udp_port = 0;
  };
  struct Wishes {
    std::optional<store::BarrierQuestion> answer;
    bool sync = false;
    bool zones = false;
    std::optional<store::Registration> join;
    std::optional<Addresses> addresses;
    std::map<PortId, PortWish> ports;
    std::map<BridgeId, bool> floods;
    std::map<SnatPoolId, PortBlockPlan::Order> blocks;
    std::deque<Neighbour> neighbours;
    std::map<PortId, std::vector<model::LearnedMac>> learned;
    [[nodiscard]] size_t count() const {
      return size_t{answer.has_value()} + join.has_value() + addresses.has_value() + ports.size() +
             floods.size() + blocks.size() + neighbours.size() + learned.size();
    }
  };

  void say(const Neighbour& neighbour);
  template <typename Change>
  void wish(const Change& change);
  void run(std::stop_token stop);
  /// Opens the store; true when it is open.
  bool open();
  /// Does one thing that is wanted; nullopt: there is nothing. Unavailable: it is wanted still.
  std::optional<Result<void>> do_one();
  void tell(News news);
  void note_trouble(const std::string& text);

  const std::string address_;
  const store::OpenOptions open_options_;
  const HostId self_;
  std::unique_ptr<store::Store> store_;  ///< the thread's, once set never changed
  bool joined_ = false;                  ///< the thread's

  mutable std::mutex mutex_;
  std::condition_variable_any woken_;
  Wishes wishes_;
  std::string trouble_;
  uint64_t neighbours_lost_ = 0;
  uint64_t wishes_made_ = 0;
  Mailbox<News> news_{4096};
  std::jthread thread_;
};

}  // namespace plexus::agent
