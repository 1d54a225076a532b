// SPDX-License-Identifier: Apache-2.0
// What an agent is told at its start: where the store is and who it is. Everything else it learns
// from the store.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/peer_socket.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/result.h"
#include "packet/addr.h"

namespace plexus::agent {

struct AgentOptions {
  std::string store = "embedded:/var/lib/plexus/store";
  HostId host;            ///< from --host-id, or kept in <state dir>/host-id
  bool new_host = false;  ///< the id was made just now: this host has never worked before
  std::string name;  ///< how it registers when the store does not know it: the machine's host name
  std::string run_dir = "/run/plexus";  ///< its own folder there is <run_dir>/<name>: socket, bpffs
  std::string state_dir = "/var/lib/plexus";
  std::string identity;    ///< file that says who we are to the store; empty: nobody in particular
  std::string machine_id;  ///< empty: what the machine says
  bool fake_datapath = false;  ///< forwards in memory; interfaces need not exist, no root needed
  /// Use these instead of looking for the interfaces' addresses in tunnel zones.
  std::vector<IpAddr> tunnel_addresses;
  uint16_t peer_port = kPeerPort;  ///< UDP, where agents talk to each other; the same on all hosts
  /// That may have begun at one port; a tenth of them unanswered. For a gateway, where whole tenants' clients come in by one.
  size_t connections_of_port = 200'000;
  /// That may have begun at ports of one tenant. At least those of one port, where it is not said.
  size_t connections_of_tenant = 250'000;
  LogLevel log_level = LogLevel::info;
  bool leave = false;  ///< take every trace out of the kernel and end, instead of running
};

/// Reads the command line. An Error with code invalid holds the whole text for the user; `help`
/// text likewise is printed and exits 0 by the caller when nullopt is returned.
[[nodiscard]] Result<std::optional<AgentOptions>> parse_options(int argc, char** argv);

}  // namespace plexus::agent
