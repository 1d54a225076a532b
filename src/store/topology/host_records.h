// SPDX-License-Identifier: Apache-2.0
// HostRecords: all that an agent writes to the store. Its own host's state, where ports really are
// (bindings), what the routers' ports learned, and that it is alive. Each operation is one
// transaction that checks what it has read, repeated a bounded number of times when another writer
// was faster.
//
// Threads: any; no state of its own besides store and host.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "model/records.h"
#include "packet/addr.h"
#include "store/store.h"

namespace plexus::store {

/// Tunnel keys have 22 bits; the two top bits of a VNI mark carried state. 0 is never given out.
inline constexpr uint32_t kMaxTunnelKey = (1u << 22) - 1;

struct Registration {
  std::string name;  ///< of the Host resource, when it has to be created
  std::vector<IpAddr> tunnel_addresses;
  uint16_t udp_port = 4789;
};

struct Registered {
  std::string name;          ///< as the Host resource has it
  uint32_t incarnation = 0;  ///< 1 at the first start, +1 at each
};

class HostRecords {
 public:
  static constexpr size_t kMaxNeighbours = 1024;  ///< of one router port

  /// `store` must outlive this.
  HostRecords(Store& store, HostId self) : store_(store), self_(self) {}

  /// Makes the host known: creates its Host resource if there is none (exists: the name is taken by
  /// another host), and counts up its incarnation.
  Result<Registered> register_host(const Registration& registration);
  /// The tunnel addresses changed while running.
  Result<void> set_tunnel_addresses(const std::vector<IpAddr>& addresses, uint16_t udp_port);

  /// Says that `port` is here. A new key is claimed when the port comes from elsewhere, and the
  /// generation goes up; a port that was here already keeps both. not_found: no such port; conflict:
  /// it is wanted on another host, or nowhere.
  Result<model::Binding> publish(PortId port);
  /// Says that `port` is no longer here. Nothing happens when it is bound to another host already.
  Result<void> unpublish(PortId port);

  /// The key for floods on `bridge` that come to this host; claimed when there is none.
  Result<uint32_t> flood_key(BridgeId bridge);
  /// No port of `bridge` is here any more. The key is not given out again.
  Result<void> drop_flood_key(BridgeId bridge);

  /// Router port `port` learned who has `address`. no_space: it knows kMaxNeighbours already.
  /// not_found: no such port.
  Result<void> learn_neighbour(PortId port, const IpAddr& address, const MacAddr& mac);

  /// A record that goes away when this process does.
  Result<void> announce_alive(uint32_t incarnation);

 private:
  Store& store_;
  HostId self_;
};

}  // namespace plexus::store
