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
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "model/records.h"
#include "packet/addr.h"
#include "store/store.h"
#include "store/topology/closure_key.h"

namespace plexus::store {

/// Tunnel keys have 22 bits; the two top bits of a VNI mark carried state. 0 is never given out.
inline constexpr uint32_t kMaxTunnelKey = (1u << 22) - 1;

/// How far the keys move on when the store has forgotten some that were given out.
inline constexpr uint32_t kTunnelKeyLeap = 65'536;

struct Registration {
  std::string name;  ///< of the Host resource, when it has to be created
  std::vector<IpAddr> tunnel_addresses;
  uint16_t udp_port = 4789;
  std::string machine_id = {};  ///< of the machine we are on; empty: not checked
  uint32_t incarnation = 0;     ///< the last one that this machine knows of
  uint32_t next_tunnel_key =
      0;                    ///< keys below it have been given out, as far as this machine knows
  bool has_worked = false;  ///< this machine knows a life of the store, or has a disk snapshot
};

struct Registered {
  std::string name;          ///< as the Host resource has it
  uint32_t incarnation = 0;  ///< 1 at the first start, +1 at each
};

/// What a disk snapshot says about the host whose it is.
struct OwnRecords {
  std::string name;
  uint32_t incarnation = 0;
  std::vector<IpAddr> tunnel_addresses;
  uint16_t udp_port = 4789;
  uint32_t next_tunnel_key = 0;
};
[[nodiscard]] OwnRecords own_records(const std::vector<ClosureRecord>& records, HostId self);

class HostRecords {
 public:
  static constexpr size_t kMaxNeighbours = 1024;  ///< of one router port

  /// `store` must outlive this.
  HostRecords(Store& store, HostId self) : store_(store), self_(self) {}

  /// Makes the host known: creates its Host resource if there is none, and counts up its
  /// incarnation. exists: the name is taken by another host, or this id is in use by a live agent of
  /// another machine. denied: the store lets only the API create hosts, and it has not. unavailable: a dump is being
  /// loaded, or nothing has ever used the store and the host has worked with one: then it is hardly the right one.
  Result<Registered> register_host(const Registration& registration);
  /// The tunnel addresses changed while running.
  Result<void> set_tunnel_addresses(const std::vector<IpAddr>& addresses, uint16_t udp_port);

  /// Says that `port` is here. A new key is claimed when the port comes from elsewhere, and the
  /// generation goes up; a port that was here already keeps both. not_found: no such port; conflict:
  /// it is wanted on another host, or nowhere, or has been taken over by the host it migrates to; or
  /// it migrates to this host and `take_over` does not say that its time has come.
  Result<model::Binding> publish(PortId port, bool take_over = false);
  /// Says that `port` is no longer here. Nothing happens when it is bound to another host already.
  Result<void> unpublish(PortId port);

  /// The key for floods on `bridge` that come to this host; claimed when there is none.
  Result<uint32_t> flood_key(BridgeId bridge);
  /// No port of `bridge` is here any more. The key is not given out again.
  Result<void> drop_flood_key(BridgeId bridge);

  /// Router port `port` learned who has `address`. no_space: it knows kMaxNeighbours already.
  /// not_found: no such port.
  Result<void> learn_neighbour(PortId port, const IpAddr& address, const MacAddr& mac);

  /// The neighbour is gone. Nothing happens when it is known at another MAC by now, or not at all.
  Result<void> forget_neighbour(PortId port, const IpAddr& address, const MacAddr& mac);

  /// What was learned at ports that are here, in one transaction; ports that are not (any more) are left out.
  Result<void> set_learned(
      const std::vector<std::pair<PortId, std::vector<model::LearnedMac>>>& tables);

  /// A record that goes away when this process does.
  Result<void> announce_alive(uint32_t incarnation, const std::string& machine_id = {});

 private:
  Result<void> check_machine(const Registration& registration, const std::string& name);

  Store& store_;
  HostId self_;
};

}  // namespace plexus::store
