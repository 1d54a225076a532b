// SPDX-License-Identifier: Apache-2.0
// Lab: where the virtual hosts of a scenario get their datapaths, with a world around them: interfaces with something at their
// far end, and an underlay that carries tunnels. Two kinds: `fake` in memory, `ebpf` in the kernel of this machine. One thread.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "datapath/datapath.h"

namespace plexus::scenario {

/// A frame that left a host.
struct Left {
  std::string interface;       ///< whose far end saw it; empty: it left by the tunnel
  TunnelOutput tunnel;         ///< by the tunnel: where to
  std::vector<uint8_t> frame;  ///< by the tunnel: the inner one
  std::vector<uint8_t> outer;  ///< by the tunnel of a real host: the frame on the underlay
};

/// One host: its datapath and what it is plugged into.
class LabHost {
 public:
  virtual ~LabHost() = default;

  virtual datapath::Datapath& datapath() = 0;
  /// The underlay address, which tunnels start from and end at.
  virtual Result<void> set_address(const IpAddr& address) = 0;
  /// There is an interface with this name, from now on. Fine when there was.
  virtual Result<void> add_interface(const std::string& name) = 0;
  virtual Result<void> remove_interface(const std::string& name) = 0;
  /// What is at the far end of the interface, which is that datapath port, sends a frame. unsupported: the kernel takes no
  /// such frame.
  virtual Result<void> send(const std::string& interface, DpPort port,
                            std::span<const uint8_t> frame, const datapath::Offload& offload) = 0;
  /// A frame comes from the underlay, in a tunnel that starts at `from`.
  virtual Result<void> send_tunnel(const IpAddr& from, uint32_t key,
                                   std::span<const uint8_t> frame) = 0;
  /// What another host sent to this one comes from the underlay.
  virtual Result<void> deliver(const IpAddr& from, const Left& crossing) = 0;
  /// What has left since the last call. Everything that was on its way has arrived: see Lab::settle().
  virtual std::vector<Left> take_left() = 0;
};

class Lab {
 public:
  virtual ~Lab() = default;
  /// What the datapaths call themselves.
  [[nodiscard]] virtual std::string kind() const = 0;
  /// A host without ports and flows, good until reset(). `clock` tells the scenario's time.
  virtual Result<LabHost*> take_host(std::function<MonoTime()> clock) = 0;
  /// Waits until every frame that was sent has been forwarded, dropped or handed up.
  virtual void settle() = 0;
  /// Takes all hosts back: ports and flows go, drops counted so far are history.
  virtual Result<void> reset() = 0;
};

std::unique_ptr<Lab> make_fake_lab();
/// Hosts are network namespaces of this process, kept for the next scenario. denied: not root.
Result<std::unique_ptr<Lab>> make_kernel_lab();

}  // namespace plexus::scenario
