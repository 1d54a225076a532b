// SPDX-License-Identifier: Apache-2.0
// EbpfOptions: what the eBPF datapath has to know before it loads.
#pragma once

#include <cstdint>
#include <string>

namespace plexus::datapath {

struct EbpfOptions {
  /// A directory of this agent's own. `<run_dir>/bpf` becomes a bpffs that keeps the maps while no agent runs. It must
  /// be in a mount namespace that outlives the agent (`ip netns exec` makes one that does not; `nsenter --net` makes none).
  std::string run_dir;
  // Changing the first two between starts gives up the flows that the earlier agent left.
  uint32_t max_flows = 65536;
  uint32_t max_ports = 1024;             ///< the tunnel included
  uint32_t upcall_ring_bytes = 4 << 20;  ///< a power of two, at least 256 KiB
  uint32_t upcall_rate = 20000;          ///< upcalls a second and port
  uint32_t upcall_burst = 2000;          ///< upcalls that an idle port saves up
  /// How much of one port may wait to be received; small frames count a kilobyte each.
  uint32_t upcall_waiting_bytes = 256 << 10;
  uint32_t upcall_queue_bytes = 32 << 20;  ///< how much of all ports may wait
  /// False: everything goes into the tunnel through the vxlan device.
  bool own_encapsulation = true;
  /// False: everything comes out of the tunnel through the vxlan device, and the underlay's interface is left alone.
  bool own_decapsulation = true;
};

}  // namespace plexus::datapath
