// SPDX-License-Identifier: Apache-2.0
// HeldPackets: packets that wait, a few milliseconds, until the hosts where their answers may enter know of their connection.
// Bounded for each port and in all; those of one connection keep their order.
//
// One thread: the worker's.
#pragma once

#include <unordered_map>
#include <vector>

#include "datapath/datapath.h"
#include "state/connection_table.h"

namespace plexus::agent {

struct HoldingLimits {
  size_t packets = 4096;
  size_t packets_of_port = 256;
};

struct HeldPacket {
  datapath::Upcall packet;
  unsigned tries = 1;
};

class HeldPackets {
 public:
  explicit HeldPackets(const HoldingLimits& limits) : limits_(limits) {}

  /// Whether another of this port may wait.
  [[nodiscard]] bool has_room(DpPort port) const {
    const auto of_port = ports_.find(port.number);
    return size_ < limits_.packets &&
           (of_port == ports_.end() || of_port->second < limits_.packets_of_port);
  }
  /// There is room.
  void hold(state::ConnectionNumber number, HeldPacket&& packet) {
    ++ports_[packet.packet.in_port.number];
    ++size_;
    packets_[number].push_back(std::move(packet));
  }
  /// Those that wait for this connection, in the order in which they came.
  [[nodiscard]] std::vector<HeldPacket> take(state::ConnectionNumber number) {
    const auto at = packets_.find(number);
    if (at == packets_.end()) return {};
    std::vector<HeldPacket> out = std::move(at->second);
    packets_.erase(at);
    size_ -= out.size();
    for (const HeldPacket& held : out) {
      const auto of_port = ports_.find(held.packet.in_port.number);
      if (--of_port->second == 0) ports_.erase(of_port);
    }
    return out;
  }
  [[nodiscard]] size_t size() const { return size_; }

 private:
  const HoldingLimits limits_;
  std::unordered_map<state::ConnectionNumber, std::vector<HeldPacket>> packets_;
  std::unordered_map<uint32_t, size_t> ports_;  ///< by port number
  size_t size_ = 0;
};

}  // namespace plexus::agent
