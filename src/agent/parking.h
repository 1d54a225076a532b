// SPDX-License-Identifier: Apache-2.0
// Parking: packets that wait for something that is not known yet (a neighbour's MAC), each with what it waits for. Bounded for each thing
// that is waited for, each port, each tenant, and in all; a packet comes and goes in O(log n). Later fragments wait behind their
// first one: they come and go with it, whatever they would wait for themselves.
//
// Threads: none of its own; the worker's.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "datapath/datapath.h"
#include "sim/simulate.h"

namespace plexus::agent {

struct ParkingLimits {
  size_t packets = 4096;
  size_t packets_of_tenant = 1024;
  size_t packets_of_port = 64;
  size_t bytes_of_port = 128 * 1024;
  size_t packets_for_same = 8;  ///< that wait for the same; the oldest goes first
};

struct Parked {
  datapath::Upcall packet;
  uint64_t tenant = 0;
  std::vector<sim::Missing> missing;
  unsigned tries = 1;
  MonoTime retry_at;
  uint64_t ticket = 0;  ///< of a first fragment, its own; 0: nobody joins it
  IpAddr source = {};
  std::vector<datapath::Upcall> later =
      {};  ///< that have joined it, in the order in which they came
  [[nodiscard]] size_t packets() const { return 1 + later.size(); }
  [[nodiscard]] size_t bytes() const;
};

class Parking {
 public:
  explicit Parking(const ParkingLimits& limits) : limits_(limits) {}

  enum class Answer : uint8_t { parked, instead_of_another, refused };
  /// Of packets that wait for the same the newest are worth most (RFC 1122 2.3.2.2). A newcomer that pushes the oldest out takes over how
  /// long that one has waited, or a steady stream would put off giving up for ever. The oldest of its own port goes first.
  /// A newcomer that is over a limit even then pushes out others of its own port. Behind one there may be the world, so it is not
  /// who has come last that goes: of the source that holds most there, what has been tried most often, the oldest of equals. If
  /// it is over a limit with all of them gone, it is refused and all others stay.
  /// With each go those that have joined it; `gone`: how many that were in all.
  [[nodiscard]] Answer park(Parked&& newcomer, size_t* gone = nullptr);
  /// Behind the packet with this ticket. Refused when that is not here any more, or for want of room; nobody goes for it: without
  /// its first fragment a packet is worth nothing.
  [[nodiscard]] Answer join(uint64_t ticket, datapath::Upcall&& later);

  [[nodiscard]] bool somebody_waits_for(const std::vector<sim::Missing>& missing) const {
    return by_missing_.contains(missing);
  }
  /// Takes out everybody, in the order in which they came.
  [[nodiscard]] std::list<Parked> take_all();
  /// Takes out those whose time has come, in the order in which they came.
  [[nodiscard]] std::list<Parked> take_due(MonoTime now);
  /// Packets, those that have joined others among them.
  [[nodiscard]] size_t size() const { return size_; }

 private:
  using Place = std::list<Parked>::iterator;
  struct Account {
    size_t packets = 0, bytes = 0;
  };
  struct Port : Account {
    std::list<Place> parked;  ///< oldest first
  };

  [[nodiscard]] bool fits(const Parked& newcomer, const std::vector<Place>& going) const;
  [[nodiscard]] std::vector<Place> of_port(uint32_t port) const;
  [[nodiscard]] bool has_room(const Account& newcomer, const Account& all, const Account& port,
                              const Account& tenant) const;
  void forget(Place place);

  const ParkingLimits limits_;
  std::list<Parked> parked_;  ///< oldest first
  size_t size_ = 0;
  std::map<std::vector<sim::Missing>, std::list<Place>> by_missing_;
  std::unordered_map<uint64_t, Place> by_ticket_;
  std::unordered_map<uint32_t, Port> ports_;  ///< by port number
  std::unordered_map<uint64_t, Account> tenants_;
};

}  // namespace plexus::agent
