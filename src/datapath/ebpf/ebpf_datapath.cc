// SPDX-License-Identifier: Apache-2.0
#include "datapath/ebpf/ebpf_datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "base/log.h"
#include "datapath/check_flow.h"
#include "datapath/ebpf/old_layout.h"
#include "datapath/ebpf/tc_hook.h"
#include "datapath/token_bucket.h"
#include "tc_programs.skel.h"

namespace plexus::datapath {
namespace {

constexpr const char* kCounterNames[] = {
#define PLEXUS_X(name) #name,
    PLEXUS_PARSE_ERRORS(PLEXUS_X) PLEXUS_DROPS(PLEXUS_X) PLEXUS_EVENTS(PLEXUS_X)
#undef PLEXUS_X
};
static_assert(std::size(kCounterNames) == PLEXUS_COUNTERS);

/// Where the locks of network namespaces are: ours alone, whatever the run directory.
constexpr const char* kNamespaceLocks = "/run/plexus-datapath";

std::string name_in(const plexus_port& port) {
  return {port.name, strnlen(port.name, sizeof port.name)};
}

/// One value for each possible CPU.
template <typename T>
std::vector<T> read_per_cpu(int map_fd, uint32_t key) {
  static_assert(sizeof(T) % 8 == 0);
  const int cpus = libbpf_num_possible_cpus();
  std::vector<T> values(static_cast<size_t>(std::max(cpus, 1)));
  if (bpf_map_lookup_elem(map_fd, &key, values.data()) != 0) values.clear();
  return values;
}

template <typename T>
void zero_per_cpu(int map_fd, uint32_t key) {
  const std::vector<T> zeroes(static_cast<size_t>(std::max(libbpf_num_possible_cpus(), 1)));
  (void)bpf_map_update_elem(map_fd, &key, zeroes.data(), BPF_ANY);
}

/// A port's interface carries the VM's packets, not the host's: with IPv6 on, the host's stack would send router solicitations
/// and the like to the VM. True when that changed something.
bool switch_ipv6(const std::string& interface, bool on) {
  const std::string path = "/proc/sys/net/ipv6/conf/" + interface + "/disable_ipv6";
  const std::string want = on ? "0" : "1";
  std::string now;
  if (!(std::ifstream(path) >> now) || now == want) return false;  // or no IPv6 here
  std::ofstream file(path);
  file << want << std::flush;
  return file.good();
}

/// A file that only root can open, named after the network namespace. It stays when the lock is given back: somebody else may wait
/// at it, and there are not more of them than there were namespaces at one time.
Result<UniqueFd> lock_network_namespace() {
  constexpr const char* kNamespace = "/proc/thread-self/ns/net";
  struct stat info {};
  if (::stat(kNamespace, &info) != 0) return errno_error(kNamespace, errno);
  const dev_t device = info.st_dev;
  const ino_t inode = info.st_ino;
  const std::string directory = kNamespaceLocks;
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return errno_error("creating " + directory, errno);
  // Whoever may write there could keep us from starting.
  if (::lstat(directory.c_str(), &info) != 0) return errno_error(directory, errno);
  if (!S_ISDIR(info.st_mode) || info.st_uid != ::geteuid() || (info.st_mode & 077) != 0)
    return Error{ErrorCode::denied,
                 fmt::format("{} is no directory of this user's alone (mode 0700)", directory)};
  const std::string path = fmt::format("{}/net-{}-{}.lock", directory, device, inode);
  UniqueFd file(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid()) return errno_error("opening " + path, errno);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0)
    return Error{ErrorCode::in_use, "another agent has its datapath in this network namespace"};
  return file;
}

/// Versions that lock no file bind an abstract socket, and do not start where it is taken. No more than that: such names have no
/// permissions, so any process of the namespace may take it.
UniqueFd bind_earlier_lock() {
  UniqueFd out(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  constexpr std::string_view kName = "plexus-datapath";
  std::copy(kName.begin(), kName.end(), name.sun_path + 1);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + kName.size());
  if (!out.valid() || ::bind(out.get(), reinterpret_cast<const sockaddr*>(&name), length) != 0)
    log_warn("datapath",
             "a process has bound the abstract socket {}: an agent of an earlier version, which "
             "must not run beside this one, or somebody who has no business with it",
             kName);
  return out;
}

}  // namespace

// ---- opening ----------------------------------------------------------------------------------

EbpfDatapath::EbpfDatapath(Locks locks, netlink::Route route, Programs programs, FlowStore flows,
                           MappedArray<uint64_t> storm_buckets, PortSlots port_slots,
                           InterfaceSlots interface_slots, Injector injector,
                           std::unique_ptr<UpcallRing> ring, const EbpfOptions& options)
    : locks_(std::move(locks)),
      route_(std::move(route)),
      programs_(std::move(programs)),
      flows_(std::move(flows)),
      storm_buckets_(std::move(storm_buckets)),
      port_slots_(std::move(port_slots)),
      interface_slots_(std::move(interface_slots)),
      injector_(std::move(injector)),
      ring_(std::move(ring)),
      port_indexes_(PLEXUS_TUNNEL_INDEX + 1, options.max_ports),
      own_encapsulation_(options.own_encapsulation),
      own_decapsulation_(options.own_decapsulation) {}

Result<EbpfDatapath::Locks> EbpfDatapath::lock(const std::string& run_dir) {
  std::error_code error;
  std::filesystem::create_directories(run_dir, error);
  if (error) return errno_error("creating " + run_dir, error.value());
  Locks locks;
  const std::string path = run_dir + "/datapath.lock";
  locks.run_dir = UniqueFd(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  if (!locks.run_dir.valid()) return errno_error("opening " + path, errno);
  if (::flock(locks.run_dir.get(), LOCK_EX | LOCK_NB) != 0)
    return Error{ErrorCode::in_use, "another agent uses " + run_dir};
  auto network_namespace = lock_network_namespace();
  if (!network_namespace) return network_namespace.error();
  locks.network_namespace = std::move(*network_namespace);
  locks.socket = bind_earlier_lock();
  return locks;
}

Result<std::unique_ptr<EbpfDatapath>> EbpfDatapath::open(const EbpfOptions& options) {
  auto locks = lock(options.run_dir);
  if (!locks) return locks.error();
  auto route = netlink::Route::open();
  if (!route) return route.error();
  auto programs = Programs::load(options);
  if (!programs) return programs.error();
  auto flows = FlowStore::open(programs->skeleton(), options.max_flows);
  if (!flows) return flows.error();
  auto storm_buckets =
      MappedArray<uint64_t>::map(bpf_map__fd(programs->skeleton().maps.storm_buckets));
  if (!storm_buckets) return storm_buckets.error();
  auto port_slots = PortSlots::open(bpf_map__fd(programs->skeleton().maps.port_slots));
  if (!port_slots) return port_slots.error();
  auto interface_slots =
      InterfaceSlots::open(bpf_map__fd(programs->skeleton().maps.interface_slots));
  if (!interface_slots) return interface_slots.error();
  auto ring = UpcallRing::open(bpf_map__fd(programs->skeleton().maps.upcalls),
                               bpf_map__fd(programs->skeleton().maps.upcalls_waiting),
                               options.upcall_queue_bytes);
  if (!ring) return ring.error();
  auto injector = Injector::open(*route);
  if (!injector) return injector.error();

  std::unique_ptr<EbpfDatapath> out(new EbpfDatapath(
      std::move(*locks), std::move(*route), std::move(*programs), std::move(*flows),
      std::move(*storm_buckets), std::move(*port_slots), std::move(*interface_slots),
      std::move(*injector), std::move(*ring), options));
  if (auto adopted = out->adopt(); !adopted) return adopted.error().in("taking over the datapath");
  return out;
}

Result<void> EbpfDatapath::adopt() {
  const tc_programs& s = programs_.skeleton();
  bool have_flows = false;
  if (!programs_.adopted()) have_flows = take_over_other_layout();
  if (!programs_.adopted() && !have_flows) detach_everywhere();
  if (auto done = attach_injector(injector_); !done) return done;

  std::map<uint32_t, plexus_port> left;
  const int fd = bpf_map__fd(s.maps.ports);
  uint32_t number = 0, next = 0;
  for (const void* previous = nullptr; bpf_map_get_next_key(fd, previous, &next) == 0;
       previous = &number) {
    number = next;
    plexus_port port{};
    if (bpf_map_lookup_elem(fd, &number, &port) == 0) left.emplace(number, port);
  }
  std::vector<bool> used(left.size() + 1);
  for (const auto& [n, port] : left) {
    if (used.size() <= port.index) used.resize(port.index + 1);
    used[port.index] = true;
  }
  port_indexes_ = SlotPool(PLEXUS_TUNNEL_INDEX + 1, bpf_map__max_entries(s.maps.port_stats), used);
  for (const auto& [n, port] : left)
    if (auto done = adopt_port(n, port); !done) return done;
  if (auto done = adopt_tunnel(); !done) return done;
  // Until here their programs have forwarded.
  (void)programs_.remove_other_layouts();
  if (have_flows) return {};
  return flows_.adopt([this](uint32_t port) { return index_of(port); });
}

bool EbpfDatapath::take_over_other_layout() {
  for (const std::string& directory : programs_.other_layouts()) {
    auto old = read_layout(directory);
    if (!old) {
      log_warn("datapath", "starting with empty maps: {}", old.error().message);
      continue;
    }
    if (auto done = fill_from(*old); !done) {
      log_warn("datapath", "taking over {}: {}", directory, done.error().message);
      continue;
    }
    return true;
  }
  return false;
}

Result<void> EbpfDatapath::fill_from(const OldLayout& old) {
  const tc_programs& s = programs_.skeleton();
  std::map<uint32_t, uint32_t> indexes = {{PLEXUS_TUNNEL_PORT, PLEXUS_TUNNEL_INDEX}};
  uint32_t index = PLEXUS_TUNNEL_INDEX;
  for (const auto& [number, old_port] : old.ports) {
    if (++index >= bpf_map__max_entries(s.maps.port_stats))
      return Error{ErrorCode::no_space, "it has too many ports"};
    plexus_port port = old_port;
    port.index = index;
    port.number = number;
    const plexus_interface interface { number, index, port.ifindex, 0 };
    if (bpf_map_update_elem(bpf_map__fd(s.maps.interfaces), &port.ifindex, &interface, BPF_ANY) !=
            0 ||
        bpf_map_update_elem(bpf_map__fd(s.maps.ports), &number, &port, BPF_ANY) != 0)
      return errno_error("the table of ports", errno);
    indexes.emplace(number, index);
  }
  if (auto done = set_peers(old.peers); !done) return done;
  const uint32_t zero = 0;
  if (bpf_map_update_elem(bpf_map__fd(s.maps.tunnel), &zero, &old.tunnel, BPF_ANY) != 0)
    return errno_error("the tunnel", errno);
  size_t refused = 0;
  for (const FlowEntry& entry : old.flows) {
    const auto port = indexes.find(entry.flow.match.key.in_port);
    if (port == indexes.end() || !flows_.put(entry.flow, port->second).ok())
      ++refused;
    else
      flows_.set_stats(entry.flow.match, entry.stats);
  }
  log_info("datapath", "{} ports and {} flows of another map layout taken over, {} flows not",
           old.ports.size(), old.flows.size() - refused, refused);
  return {};
}

Result<void> EbpfDatapath::adopt_port(uint32_t number, const plexus_port& port) {
  const std::string name = name_in(port);
  ports_.emplace(number, port);
  // An interface made anew under the old name is another one: who knows what it belongs to now.
  const auto link = route_.link(port.ifindex);
  if (!link || link->name != name) {
    log_info("datapath", "port {}: interface {} is gone", number, name);
    return remove_port(DpPort{number});
  }
  interface_slots_.put({number, port.index, port.ifindex, 0});
  auto now = attach_port(*link, port.index);
  if (!now) return now.error().in("port " + std::to_string(number) + " on " + name);
  now->flags |= port.flags & PLEXUS_PORT_IPV6_WAS_ON;
  now->number = number;
  if (bpf_map_update_elem(bpf_map__fd(programs_.skeleton().maps.ports), &number, &*now, BPF_ANY) !=
      0)
    return errno_error("the table of ports", errno);
  ports_[number] = *now;
  port_slots_.put(*now);
  return {};
}

void EbpfDatapath::detach_everywhere() {
  const auto links = route_.links();
  if (!links) return;
  for (const netlink::Link& link : *links) detach(route_, link.index, Direction::ingress);
}

Result<void> EbpfDatapath::destroy() {
  std::vector<uint32_t> numbers;
  for (const auto& [number, port] : ports_) numbers.push_back(number);
  for (const uint32_t number : numbers) (void)remove_port(DpPort{number}).ok();
  if (const auto tunnel = read_tunnel()) leave_underlay(tunnel->underlay_ifindex);
  if (const auto link = route_.link(kVxlanDevice)) {
    if (auto done = route_.delete_link(link->index); !done) return done;
  }
  if (auto done = Injector::remove(route_); !done) return done;
  return programs_.unpin();
}

// ---- ports ------------------------------------------------------------------------------------

std::optional<uint32_t> EbpfDatapath::index_of(uint32_t port) const {
  if (port == PLEXUS_TUNNEL_PORT) return PLEXUS_TUNNEL_INDEX;
  const auto it = ports_.find(port);
  if (it == ports_.end()) return std::nullopt;
  return it->second.index;
}

Result<plexus_port> EbpfDatapath::attach_port(const netlink::Link& link, uint32_t index) {
  plexus_port port{};
  port.ifindex = link.index;
  port.index = index;
  std::copy_n(link.name.begin(), std::min(link.name.size(), sizeof port.name - 1), port.name);
  // Only to a veth whose other end is in another namespace may packets jump; and only if that end's MAC is known.
  if (link.kind == "veth" && link.peer_namespace && link.peer_index != 0) {
    if (const auto peer = route_.link_in(*link.peer_namespace, link.peer_index)) {
      std::memcpy(&port.peer_mac, peer->mac.bytes.data(), 6);
      port.flags |= PLEXUS_PORT_HAS_PEER_MAC;
    }
  }
  if (switch_ipv6(link.name, false)) port.flags |= PLEXUS_PORT_IPV6_WAS_ON;
  const int program = bpf_program__fd(programs_.skeleton().progs.from_port);
  if (auto done = attach(link.index, Direction::ingress, program); !done) return done.error();
  return port;
}

Result<void> EbpfDatapath::add_port(const PortSpec& spec) {
  const uint32_t number = spec.number.number;
  const std::string what = "port " + std::to_string(number) + " on " + spec.interface;
  if (number < kFirstLocalPort)
    return Error{ErrorCode::invalid,
                 what + ": local ports are numbered from " + std::to_string(kFirstLocalPort)};
  if (ports_.contains(number))
    return Error{ErrorCode::exists, what + ": that number is interface " + name_in(ports_[number])};
  const auto link = route_.link(spec.interface);
  if (!link) return link.error().in(what);
  for (const auto& [other, port] : ports_)
    if (port.ifindex == link->index)
      return Error{ErrorCode::exists, what + ": the interface is port " + std::to_string(other)};
  if (link->name == kVxlanDevice || link->name == kInjectionDevice || link->name == kInjectionPeer)
    return Error{ErrorCode::invalid, what + ": that is the datapath's own device"};

  auto index = port_indexes_.take();
  if (!index && port_indexes_.resting() > 0) {
    wait_for_readers();
    port_indexes_.wake();
    index = port_indexes_.take();
  }
  if (!index) return Error{ErrorCode::no_space, what + ": too many ports"};
  const tc_programs& s = programs_.skeleton();
  zero_per_cpu<plexus_port_stats>(bpf_map__fd(s.maps.port_stats), *index);
  const plexus_bucket full{};
  (void)bpf_map_update_elem(bpf_map__fd(s.maps.buckets), &*index, &full, BPF_ANY);

  // Known before the first packet can come in, hence attached last; attach_port() finds the rest out.
  const plexus_interface interface { number, *index, link->index, 0 };
  if (bpf_map_update_elem(bpf_map__fd(s.maps.interfaces), &link->index, &interface, BPF_ANY) != 0) {
    const Error error = errno_error(what + ": the table of ports", errno);
    port_indexes_.give_back(*index);
    return error;
  }
  interface_slots_.put(interface);
  auto port = attach_port(*link, *index);
  if (port) port->number = number;
  if (port && bpf_map_update_elem(bpf_map__fd(s.maps.ports), &number, &*port, BPF_ANY) != 0) {
    const Error error = errno_error("the table of ports", errno);
    detach_port(number, *port);
    return error.in(what);
  }
  if (!port) {
    interface_slots_.remove(link->index);
    bpf_map_delete_elem(bpf_map__fd(s.maps.interfaces), &link->index);
    port_indexes_.give_back(*index);
    return port.error().in(what);
  }
  ports_.emplace(number, *port);
  port_slots_.put(*port);
  return {};
}

void EbpfDatapath::detach_port(uint32_t number, const plexus_port& port) {
  const tc_programs& s = programs_.skeleton();
  // Whatever it is called by now: an index is not used twice. A filter that stayed would drop all that comes.
  if (const auto link = route_.link(port.ifindex)) {
    detach(route_, port.ifindex, Direction::ingress);
    if ((port.flags & PLEXUS_PORT_IPV6_WAS_ON) != 0) (void)switch_ipv6(link->name, true);
  }
  interface_slots_.remove(port.ifindex);
  port_slots_.remove(number);
  bpf_map_delete_elem(bpf_map__fd(s.maps.interfaces), &port.ifindex);
  bpf_map_delete_elem(bpf_map__fd(s.maps.ports), &number);
  port_indexes_.give_back(port.index);
}

Result<void> EbpfDatapath::remove_port(DpPort number) {
  const auto it = ports_.find(number.number);
  if (it == ports_.end())
    return Error{ErrorCode::not_found, "no port " + std::to_string(number.number)};
  detach_port(number.number, it->second);
  flows_.remove_port(it->second.index);
  ring_->set_group(number, 0);
  ports_.erase(it);
  return {};
}

std::vector<PortSpec> EbpfDatapath::ports() const {
  std::vector<PortSpec> out;
  for (const auto& [number, port] : ports_) out.push_back({DpPort{number}, name_in(port)});
  return out;
}

Result<PortStats> EbpfDatapath::port_stats(DpPort number) const {
  const auto index = index_of(number.number);
  if (!index) return Error{ErrorCode::not_found, "no port " + std::to_string(number.number)};
  PortStats out;
  const int fd = bpf_map__fd(programs_.skeleton().maps.port_stats);
  for (const plexus_port_stats& cpu : read_per_cpu<plexus_port_stats>(fd, *index)) {
    out.rx_packets += cpu.rx_packets;
    out.rx_bytes += cpu.rx_bytes;
    out.tx_packets += cpu.tx_packets;
    out.tx_bytes += cpu.tx_bytes;
    out.drops += cpu.drops;
    out.upcalls_limited += cpu.upcalls_limited;
  }
  return out;
}

// ---- repair -----------------------------------------------------------------------------------

Result<void> EbpfDatapath::attach_injector(Injector& injector) const {
  const tc_programs& s = programs_.skeleton();
  if (auto done = attach(injector.index(), Direction::egress, bpf_program__fd(s.progs.from_agent));
      !done)
    return done;
  if (auto done =
          attach(injector.index(), Direction::ingress, bpf_program__fd(s.progs.from_injector));
      !done)
    return done;
  if (auto done = injector.prepare_batches(s); !done)
    log_warn("datapath", "packets are sent one by one: {}", done.error().message);
  return {};
}

Result<bool> EbpfDatapath::repair_injector() {
  const tc_programs& s = programs_.skeleton();
  if (is_attached(injector_.index(), Direction::egress, bpf_program__fd(s.progs.from_agent)) &&
      is_attached(injector_.index(), Direction::ingress, bpf_program__fd(s.progs.from_injector))) {
    if (injector_.lost_batches()) (void)injector_.prepare_batches(s).ok();
    return false;
  }
  // The device may be the same, and its other end takes one program.
  injector_.release_batches();
  auto fresh = Injector::open(route_);
  if (!fresh) return fresh.error();
  if (auto done = attach_injector(*fresh); !done) return done.error();
  injector_ = std::move(*fresh);
  return true;
}

Result<size_t> EbpfDatapath::repair() {
  size_t repaired = 0;
  const int program = bpf_program__fd(programs_.skeleton().progs.from_port);
  for (const auto& [number, port] : ports_) {
    if (is_attached(port.ifindex, Direction::ingress, program)) continue;
    // An interface that has vanished is for the agent to let go of.
    if (!route_.link(port.ifindex).ok()) continue;
    if (auto done = attach(port.ifindex, Direction::ingress, program); !done)
      return done.error().in(name_in(port));
    log_warn("datapath", "port {}: somebody removed our filter from {}; it is back", number,
             name_in(port));
    ++repaired;
  }
  const auto injector = repair_injector();  // before the tunnel, which refers to its device
  if (!injector) return injector.error();
  if (*injector)
    log_warn("datapath", "somebody removed {} or our filter there; it is back", kInjectionDevice);
  const auto tunnel = repair_tunnel();
  if (!tunnel) return tunnel.error();
  return repaired + *tunnel + (*injector ? 1 : 0);
}

// ---- flows and packets ------------------------------------------------------------------------

Result<void> EbpfDatapath::put_flow(const Flow& flow) {
  if (auto valid = check_flow(flow); !valid) return valid;
  const auto index = index_of(flow.match.key.in_port);
  if (!index)
    return Error{ErrorCode::not_found, "no port " + std::to_string(flow.match.key.in_port)};
  return flows_.put(flow, *index);
}

void EbpfDatapath::put_flows(std::span<const Flow> flows, std::span<Result<void>> done) {
  flows_.put_many(flows, done, [this](uint32_t port) { return index_of(port); });
}

Result<FlowStats> EbpfDatapath::remove_flow(const Match& match) {
  return flows_.remove(match);
}

Result<FlowStats> EbpfDatapath::flow_stats(const Match& match) const {
  return flows_.stats(match);
}

bool EbpfDatapath::read_stats(
    size_t limit, const std::function<void(const Match& match, const FlowStats& stats)>& visit) {
  return flows_.read_stats(limit, visit);
}

Result<std::vector<FlowEntry>> EbpfDatapath::dump_flows() const {
  return flows_.dump();
}

Result<void> EbpfDatapath::execute(std::span<const uint8_t> frame, const Offload& offload,
                                   const Actions& actions) {
  if (auto valid = check_actions(actions); !valid) return valid;
  if (actions.answer() != nullptr)
    return Error{ErrorCode::invalid, "an answer is sent by its flow, not by execute"};
  // The kernel does one rewrite a run: neighbours with the same rewrite go together, at most as many as one run sends.
  const auto& copies = actions.copies;
  for (size_t from = 0; from < copies.size();) {
    size_t to = from + 1;
    while (to < copies.size() && to - from < PLEXUS_MAX_OUTPUTS &&
           copies[to].rewrite == copies[from].rewrite)
      ++to;
    Actions group;
    group.copies.assign(copies.begin() + static_cast<std::ptrdiff_t>(from),
                        copies.begin() + static_cast<std::ptrdiff_t>(to));
    auto compiled = compile(group);
    if (!compiled) return compiled.error();
    flows_.set_injection(*compiled);
    if (auto sent = injector_.send(frame, offload); !sent) return sent;
    from = to;
  }
  return {};
}

bool EbpfDatapath::add_to_batch(const Execution& packet) {
  if (!injector_.takes(packet.frame, packet.offload) || packet.actions->answer() != nullptr)
    return false;
  const auto compiled = compile(*packet.actions);
  if (!compiled || compiled->group_count > 1 || compiled->outputs.size() > PLEXUS_INLINE_OUTPUTS)
    return false;
  const auto entry = flows_.set_injection(injector_.added(), *compiled);
  if (entry) injector_.add(packet.frame, *entry);
  return entry.has_value();
}

void EbpfDatapath::execute_many(std::span<const Execution> packets, std::span<Result<void>> done) {
  const auto one = [&](size_t i) {
    done[i] = execute(packets[i].frame, packets[i].offload, *packets[i].actions);
  };
  // A run of live frames costs as much as several packets sent one by one.
  constexpr size_t kWorthARun = 8;
  if (packets.size() < kWorthARun) {
    for (size_t i = 0; i < packets.size(); ++i) one(i);
    return;
  }
  size_t first = 0;  // of those that are not sent yet
  const auto send_before = [&](size_t end) {
    const auto sent = injector_.send_added();
    if (!sent) {
      log_warn("datapath", "packets are sent one by one: {}", sent.error().message);
      size_t gone = injector_.delivered();  // those must not come twice
      for (size_t i = first; i < end; ++i) {
        if (packets[i].actions->drops()) continue;
        if (gone > 0)
          --gone;
        else
          one(i);
      }
    }
    first = end;
  };
  for (size_t i = 0; i < packets.size(); ++i) {
    done[i] = {};
    if (packets[i].actions->drops()) continue;
    if (injector_.added() == PLEXUS_INJECT_BATCH) send_before(i);
    if (add_to_batch(packets[i])) continue;
    send_before(i);
    one(i);
    first = i + 1;
  }
  send_before(packets.size());
}

bool EbpfDatapath::take_from_storm_limit(DpPort port, uint32_t limit, uint32_t packets) {
  static_assert(sizeof(plexus_bucket) == sizeof(uint64_t) &&
                kStormBurst == Duration(PLEXUS_STORM_BURST));
  const auto index = index_of(port.number);
  if (!index) return false;
  std::atomic_ref<uint64_t> bucket(storm_buckets_[*index]);
  uint64_t used = bucket.load(std::memory_order_relaxed);
  std::optional<MonoTime> after;
  do {
    after = TokenBucket::used_after({static_cast<int64_t>(used)}, mono_now(),
                                    storm_cost(limit, packets), kStormBurst);
  } while (after && !bucket.compare_exchange_weak(used, static_cast<uint64_t>(after->ns),
                                                  std::memory_order_relaxed));
  return after.has_value();
}

size_t EbpfDatapath::receive(Quota quota, const std::function<void(Upcall&&)>& sink) {
  return ring_->receive(quota, sink);
}

Counters EbpfDatapath::counters() const {
  Counters out;
  const int fd = bpf_map__fd(programs_.skeleton().maps.counters);
  const auto read = [&](uint32_t counter) {
    uint64_t sum = 0;
    for (const uint64_t cpu : read_per_cpu<uint64_t>(fd, counter)) sum += cpu;
    return sum;
  };
  for (uint32_t c = 0; c < PLEXUS_C_flow_hits; ++c)
    if (const uint64_t n = read(c); n > 0) out.drops[kCounterNames[c]] = n;
  const int reasons = bpf_map__fd(programs_.skeleton().maps.flow_drops);
  for (uint32_t reason = 0; reason < sim::kDropReasonCount; ++reason) {
    uint64_t sum = 0;
    for (const uint64_t cpu : read_per_cpu<uint64_t>(reasons, reason)) sum += cpu;
    if (sum > 0) out.flow_drops[std::string(to_string(static_cast<sim::DropReason>(reason)))] = sum;
  }
  out.flow_hits = read(PLEXUS_C_flow_hits);
  out.flow_misses = read(PLEXUS_C_flow_misses);
  out.upcalls = read(PLEXUS_C_upcalls);
  out.upcalls_limited = read(PLEXUS_C_upcalls_limited);
  out.upcalls_lost = read(PLEXUS_C_upcalls_lost) + ring_->lost();
  return out;
}

}  // namespace plexus::datapath
