// SPDX-License-Identifier: Apache-2.0
#include "agent/options.h"

#include <getopt.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>

#include "agent/host_files.h"
#include "store/topology/validate.h"

namespace plexus::agent {
namespace {

constexpr char kHelp[] =
    "plexus-agent: forwards the packets of this host's virtual ports\n"
    "\n"
    "usage: plexus-agent [options]\n"
    "  --store ADDRESS    the topology store (default embedded:/var/lib/plexus/store)\n"
    "  --host-id UUID     who this host is (default: kept in STATE/host-id, made at the first "
    "start)\n"
    "  --name NAME        name to register by when the store does not know the host (default: host "
    "name)\n"
    "  --run-dir DIR      sockets and maps live in DIR/NAME (default /run/plexus)\n"
    "  --state-dir DIR    what survives a reboot (default /var/lib/plexus)\n"
    "  --identity FILE    who the host is to a store that asks (plexus host credentials)\n"
    "  --machine-id ID    who this machine is (default: /etc/machine-id)\n"
    "  --datapath KIND    ebpf (default), or fake: in memory, for measurements\n"
    "  --tunnel-address A use this address instead of looking for one in the tunnel zones\n"
    "  --peer-port PORT   UDP port where agents talk to each other, the same on all hosts (default "
    "5789)\n"
    "  --connections-of-port N\n"
    "                     connections that may have begun at one port, a tenth of them unanswered "
    "(default 200000;\n"
    "                     gateways may need more: all clients come in by their port to the "
    "outside)\n"
    "  --connections-of-tenant N\n"
    "                     connections that may have begun at all ports of one tenant (default "
    "250000, or those of\n"
    "                     one port if that is more)\n"
    "  --log-level LEVEL  debug, info, warn or error (default info)\n"
    "  --leave            take ports, tunnel and flows out of the kernel and end\n"
    "  --help             this text\n"
    "\n"
    "The agent needs root (not with --datapath fake). SIGTERM ends it; what it put into the kernel "
    "goes on forwarding and is "
    "adopted by the\n"
    "next start. Talk to it with: plexus agent status | ports | flows | trace\n";

Error usage_error(const std::string& message) {
  return Error{ErrorCode::invalid, message + " (see plexus-agent --help)"};
}

std::string host_name() {
  char buffer[256] = {};
  if (gethostname(buffer, sizeof buffer - 1) != 0 || buffer[0] == 0) return "localhost";
  return buffer;
}

/// The id kept on disk, made when there is none: a host keeps its identity over restarts. Who leaves must have one.
Result<HostId> kept_host_id(const std::string& state_dir, bool leave) {
  const std::string path = state_dir + "/host-id";
  if (std::ifstream in(path); in) {
    std::string text;
    std::getline(in, text);
    const auto id = Uuid::parse(text);
    if (!id) {
      return Error{ErrorCode::invalid,
                   path + ": not a UUID; put the host's id there or remove the file"};
    }
    return HostId{*id};
  }
  if (leave) {
    return Error{ErrorCode::not_found,
                 "--leave: there is no " + path +
                     ": no agent has worked with this --state-dir; name the right one, or the "
                     "host with --host-id"};
  }
  if (auto made = make_directory(state_dir); !made) return made.error();
  const Uuid id = Uuid::random();
  if (auto kept = write_small_file(path, id.str() + "\n"); !kept) return kept.error();
  return HostId{id};
}

}  // namespace

Result<std::optional<AgentOptions>> parse_options(int argc, char** argv) {
  enum {
    kStore = 1,
    kHostId,
    kName,
    kRunDir,
    kStateDir,
    kLogLevel,
    kLeave,
    kIdentity,
    kMachineId,
    kDatapath,
    kTunnelAddress,
    kPeerPortFlag,
    kConnectionsOfPort,
    kConnectionsOfTenant,
    kHelpFlag
  };
  static const option kLong[] = {
      {"store", required_argument, nullptr, kStore},
      {"host-id", required_argument, nullptr, kHostId},
      {"name", required_argument, nullptr, kName},
      {"run-dir", required_argument, nullptr, kRunDir},
      {"state-dir", required_argument, nullptr, kStateDir},
      {"identity", required_argument, nullptr, kIdentity},
      {"machine-id", required_argument, nullptr, kMachineId},
      {"datapath", required_argument, nullptr, kDatapath},
      {"tunnel-address", required_argument, nullptr, kTunnelAddress},
      {"peer-port", required_argument, nullptr, kPeerPortFlag},
      {"connections-of-port", required_argument, nullptr, kConnectionsOfPort},
      {"connections-of-tenant", required_argument, nullptr, kConnectionsOfTenant},
      {"log-level", required_argument, nullptr, kLogLevel},
      {"leave", no_argument, nullptr, kLeave},
      {"help", no_argument, nullptr, kHelpFlag},
      {nullptr, 0, nullptr, 0}};
  AgentOptions options;
  bool of_tenant_said = false;
  opterr = 0;
  for (int c = 0; (c = getopt_long(argc, argv, "h", kLong, nullptr)) != -1;) {
    switch (c) {
      case kStore:
        options.store = optarg;
        break;
      case kHostId: {
        const auto id = Uuid::parse(optarg);
        if (!id) return usage_error(std::string("--host-id: '") + optarg + "' is not a UUID");
        options.host = HostId{*id};
        break;
      }
      case kName:
        options.name = optarg;
        break;
      case kRunDir:
        options.run_dir = optarg;
        break;
      case kStateDir:
        options.state_dir = optarg;
        break;
      case kLogLevel:
        if (!parse_log_level(optarg, options.log_level)) {
          return usage_error(std::string("--log-level: '") + optarg +
                             "' is not debug, info, warn or error");
        }
        break;
      case kIdentity:
        options.identity = optarg;
        break;
      case kMachineId:
        options.machine_id = optarg;
        break;
      case kDatapath: {
        const std::string_view kind = optarg;
        if (kind != "ebpf" && kind != "fake") {
          return usage_error("--datapath: '" + std::string(kind) + "' is not ebpf or fake");
        }
        options.fake_datapath = kind == "fake";
        break;
      }
      case kTunnelAddress: {
        const auto address = IpAddr::parse(optarg);
        if (!address) {
          return usage_error(std::string("--tunnel-address: '") + optarg +
                             "' is not an IP address");
        }
        options.tunnel_addresses.push_back(*address);
        break;
      }
      case kPeerPortFlag: {
        const std::string_view text = optarg;
        const auto [end, ec] =
            std::from_chars(text.data(), text.data() + text.size(), options.peer_port);
        if (ec != std::errc{} || end != text.data() + text.size() || options.peer_port == 0)
          return usage_error("--peer-port: '" + std::string(text) + "' is not a UDP port");
        break;
      }
      case kConnectionsOfPort:
      case kConnectionsOfTenant: {
        const std::string_view text = optarg;
        size_t& limit =
            c == kConnectionsOfPort ? options.connections_of_port : options.connections_of_tenant;
        const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), limit);
        if (ec != std::errc{} || end != text.data() + text.size() || limit < 10)
          return usage_error(std::string(c == kConnectionsOfPort ? "--connections-of-port: '"
                                                                 : "--connections-of-tenant: '") +
                             std::string(text) + "' is not a number of at least 10");
        of_tenant_said = of_tenant_said || c == kConnectionsOfTenant;
        break;
      }
      case kLeave:
        options.leave = true;
        break;
      case 'h':
      case kHelpFlag:
        std::fputs(kHelp, stdout);
        return std::optional<AgentOptions>{};
      default:
        return usage_error(std::string("unknown or incomplete option '") + argv[optind - 1] + "'");
    }
  }
  if (optind < argc) return usage_error(std::string("unexpected argument '") + argv[optind] + "'");
  if (!of_tenant_said)
    options.connections_of_tenant =
        std::max(options.connections_of_tenant, options.connections_of_port);
  if (options.name.empty()) options.name = host_name();
  if (const auto why = store::format_error(v1::FORMAT_NAME, options.name); !why.empty()) {
    return usage_error("--name: '" + options.name + "': " + why);
  }
  for (const auto& [flag, directory] :
       {std::pair("--run-dir", &options.run_dir), std::pair("--state-dir", &options.state_dir)}) {
    if (!directory->starts_with('/')) {
      return usage_error(std::string(flag) + ": '" + *directory +
                         "' is not an absolute path: it must begin with /");
    }
  }
  if (options.host.is_nil()) {
    options.new_host = ::access((options.state_dir + "/host-id").c_str(), F_OK) != 0;
    auto id = kept_host_id(options.state_dir, options.leave);
    if (!id) return id.error();
    options.host = *id;
  }
  return std::optional<AgentOptions>{std::move(options)};
}

}  // namespace plexus::agent
