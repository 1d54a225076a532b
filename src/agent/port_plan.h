// SPDX-License-Identifier: Apache-2.0
// Which interfaces should be plugged into which ports, given what is wanted and what exists: a pure comparison.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/ids.h"
#include "datapath/datapath.h"
#include "model/snapshot.h"

namespace plexus::agent {

/// A port of this host and the interface it is (or should be) plugged into. A re-created interface has the same name
/// but another index, and is another interface.
struct Plug {
  PortId port;
  std::string interface;
  uint32_t ifindex = 0;
  bool operator==(const Plug&) const = default;

  /// Follows from the index, so that an agent that starts again finds its flows under the same number.
  [[nodiscard]] DpPort dp_port() const { return DpPort{kFirstLocalPort + ifindex}; }
};

struct PortPlan {
  std::vector<Plug> detach;  ///< first these
  std::vector<Plug> attach;  ///< then these
  [[nodiscard]] bool empty() const { return detach.empty() && attach.empty(); }
};

/// What a port has to do with this host; a sub-port has what its parent has.
enum class PortRole : uint8_t {
  none,
  owner,    ///< it is wanted here: to be plugged in and published
  passive,  ///< it migrates to here: to be plugged in, and published when its first frame comes
};
[[nodiscard]] PortRole role_of(const model::Snapshot& snapshot, const model::Port& port);

/// `candidates`: the ports that may have a role here; sub-ports among them have no interface to plug in. `links`: index by name of the interfaces that exist. `plugged`:
/// what is attached now.
[[nodiscard]] PortPlan plan_ports(const model::Snapshot& snapshot,
                                  const std::set<PortId>& candidates,
                                  const std::map<std::string, uint32_t>& links,
                                  const std::map<PortId, Plug>& plugged);

}  // namespace plexus::agent
