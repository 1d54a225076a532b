// SPDX-License-Identifier: Apache-2.0
// plexus-agent: all the wiring on one page. Which thread owns what: ARCHITECTURE.md, "Threads of an agent".
#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>

#include <csignal>
#include <cstdio>
#include <random>

#include "agent/control.h"
#include "agent/host_files.h"
#include "agent/options.h"
#include "agent/topology_thread.h"
#include "agent/worker_thread.h"
#include "api/http_server.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "datapath/ebpf/ebpf_datapath.h"
#include "datapath/fake/fake_datapath.h"
#include "store/identity.h"
#include "store/store.h"
#include "store/topology/host_records.h"
#include "store/topology/reader.h"

namespace plexus::agent {
namespace {

int fail(const Error& error) {
  std::fprintf(stderr, "plexus-agent: %s\n", error.message.c_str());
  return error.code == ErrorCode::invalid ? 2 : 1;
}

/// Takes this host's ports out of the store: they are not here any more.
Result<void> unpublish_ports(const AgentOptions& options, store::Store& store) {
  store::HostRecords records(store, options.host);
  Result<void> done;
  store::ClosureReader reader(store, options.host, [&](const store::ClosureBatch& batch) {
    for (const model::Change& change : batch.changes) {
      if (const auto* b = std::get_if<model::BindingChange>(&change);
          b && b->now && b->now->host == options.host) {
        if (auto gone = records.unpublish(b->id);
            !gone && gone.error().code != ErrorCode::not_found) {
          done = gone.error().in("port " + b->id.str());
        }
      }
    }
  });
  const MonoTime give_up = mono_now() + std::chrono::seconds(3);
  while (!reader.synced() && mono_now() < give_up) {
    pollfd p{reader.fd(), POLLIN, 0};
    ::poll(&p, 1, 50);
    reader.process(mono_now());
  }
  if (!reader.synced()) return Error{ErrorCode::unavailable, "the store does not answer"};
  return done;
}

/// Takes every trace of this host's work out of the kernel, and its ports out of the store.
int leave(const AgentOptions& options, store::OpenOptions open, datapath::Datapath& datapath) {
  // The store may be gone for good; the kernel must be clean all the same.
  Result<void> left;
  open.create = false;
  if (auto store = store::open_store(options.store, open)) {
    left = unpublish_ports(options, **store);
  } else {
    left = store.error();
  }
  if (auto* ebpf = dynamic_cast<datapath::EbpfDatapath*>(&datapath)) {
    if (const auto gone = ebpf->destroy(); !gone) return fail(gone.error());
  }
  if (left) return 0;
  std::fprintf(stderr,
               "plexus-agent: the kernel is clean, but the store %s still says that ports are at "
               "this host: %s\n",
               options.store.c_str(), left.error().message.c_str());
  return 1;
}

/// The folders an agent needs, and the proof that it is the only one with them.
struct Places {
  std::string run_dir;
  UniqueFd state_lock, host_lock;
};

Result<Places> take_places(const AgentOptions& options) {
  Places places{options.run_dir + "/" + options.name, {}, {}};
  for (const std::string& dir : {options.run_dir, places.run_dir, options.state_dir}) {
    if (const auto made = make_directory(dir); !made) return made.error();
  }
  auto host = lock_file(options.run_dir + "/host-" + options.host.str() + ".lock",
                        "host " + options.name + " (" + options.host.str() + ")");
  if (!host) return host.error();
  auto state = lock_file(options.state_dir + "/agent.lock", "state directory " + options.state_dir);
  if (!state) return state.error();
  places.host_lock = std::move(*host);
  places.state_lock = std::move(*state);
  return places;
}

Result<std::unique_ptr<datapath::Datapath>> open_datapath(const AgentOptions& options,
                                                          const std::string& run_dir,
                                                          WorkerOptions& worker) {
  if (options.fake_datapath) {
    datapath::FakeOptions fake;
    fake.any_interface = true;
    return std::unique_ptr<datapath::Datapath>(new datapath::FakeDatapath(fake));
  }
  datapath::EbpfOptions ebpf;
  ebpf.run_dir = run_dir;
  // New classes a second that one port may ask for: a flood must leave the worker time for the others.
  ebpf.upcall_rate = 10'000;
  auto opened = datapath::EbpfDatapath::open(ebpf);
  if (!opened) return opened.error();
  // The worker evicts before the kernel refuses: a flow goes in before the one that makes room goes out.
  worker.max_flows = ebpf.max_flows - 1024;
  return std::unique_ptr<datapath::Datapath>(std::move(*opened));
}

/// Only its trouble with the address itself is the user's to mend; a store that does not answer may answer later.
std::optional<Error> bad_address(const std::string& address) {
  const auto scheme = address.substr(0, address.find(':'));
  if (address.find(':') != std::string::npos && (scheme == "embedded" || scheme == "zookeeper") &&
      scheme.size() + 1 < address.size()) {
    return std::nullopt;
  }
  return Error{ErrorCode::invalid, "--store: '" + address +
                                       "': want embedded:DIRECTORY (one machine) or "
                                       "zookeeper:HOST:PORT[,HOST:PORT...]"};
}

/// An identity that cannot be this host's: with it the store would refuse us all that we write.
std::optional<Error> not_ours(std::string_view text, const AgentOptions& options) {
  const auto identity = store::parse_identity(text);
  if (!identity) return identity.error().in("identity file " + options.identity);
  if (identity->role == store::Identity::Role::api) {
    return Error{ErrorCode::invalid, "identity file " + options.identity +
                                         " is an API server's: give this host its own, from "
                                         "plexus host credentials"};
  }
  if (identity->host == options.host) return std::nullopt;
  return Error{ErrorCode::invalid, "identity file " + options.identity + " is of host " +
                                       identity->host.str() + ", and this is host " +
                                       options.host.str() +
                                       ": give it its own, from plexus host credentials"};
}

int run(const AgentOptions& options) {
  set_log_level(options.log_level);
  if (const auto bad = bad_address(options.store)) return fail(*bad);
  auto places = take_places(options);
  if (!places) return fail(places.error());
  const std::string& run_dir = places->run_dir;
  store::OpenOptions open;
  if (!options.identity.empty()) {
    auto identity = read_identity(options.identity);
    if (!identity) return fail(identity.error());
    if (const auto bad = not_ours(*identity, options)) return fail(*bad);
    open.identity = std::move(*identity);
  }

  // Signals are read, not handled, and by the main thread only: block them before any thread starts.
  sigset_t signals;
  sigemptyset(&signals);
  for (int s : {SIGINT, SIGTERM}) sigaddset(&signals, s);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  const UniqueFd signal_fd(signalfd(-1, &signals, SFD_CLOEXEC));

  WorkerOptions worker_options;
  worker_options.connections.limits.port = options.connections_of_port;
  worker_options.connections.limits.port_embryonic = options.connections_of_port / 10;
  worker_options.connections.limits.tenant = options.connections_of_tenant;
  worker_options.hash_seed = uint64_t{std::random_device{}()} << 32 | std::random_device{}();
  auto datapath = open_datapath(options, run_dir, worker_options);
  if (!datapath) {
    return fail(
        {datapath.error().code, fmt::format("opening the datapath: {}", datapath.error().message)});
  }

  if (options.leave) return leave(options, open, **datapath);

  TopologyThread::Start start;
  start.machine_id = options.machine_id;
  if (start.machine_id.empty()) {
    auto id = machine_id("/etc/machine-id", options.state_dir);
    if (!id) return fail(id.error());
    start.machine_id = std::move(*id);
  }
  if (const auto count = count_start(options.state_dir)) {
    start.incarnation = *count;
  } else {
    // The store counts, too.
    log_warn("agent", "counting this start: {}", count.error().message);
  }

  Mailbox<Error> fatal(4);
  LearnedBox learned(1024);
  WorkerThread worker(std::move(*datapath), worker_options, learned);
  // Before the first topology: flows of an earlier agent are taken over by what is known of their connections.
  if (auto boot = boot_id()) {
    const KeptConnections::Place place{options.state_dir + "/connections", options.host, *boot};
    (void)worker.post([place](Worker& w) { w.open_connections(place, mono_now()); });
  } else {
    log_warn("agent", "connections are not kept on the disk: {}", boot.error().message);
  }
  StoreLink link(options.store, open, options.host);
  TopologyThread topology(options, start, link, worker, learned,
                          [&](Error error) { (void)fatal.post(std::move(error)); });

  Control control(options.host, topology, worker);
  auto listen = api::ListenAddress::parse("unix:" + run_dir + "/agent.sock");
  if (!listen) return fail(listen.error());
  api::HttpOptions http;
  http.listen.push_back(std::move(*listen));
  http.handler = [&](const api::Request& request) {
    auto answer = control.answer(request.method, request.path, request.body);
    api::Response response;
    response.status = answer.status;
    response.content_type = std::move(answer.content_type);
    response.body = std::move(answer.body);
    return response;
  };
  auto server = api::HttpServer::start(std::move(http));
  if (!server) return fail(server.error());

  pollfd fds[] = {{signal_fd.get(), POLLIN, 0}, {fatal.fd(), POLLIN, 0}};
  while (::poll(fds, 2, -1) < 0 && errno == EINTR) {
  }
  (*server)->stop();
  if (const auto errors = fatal.take(); !errors.empty()) return fail(errors.front());
  log_info("agent", "ending; what is in the kernel goes on forwarding");
  return 0;
}

}  // namespace
}  // namespace plexus::agent

int main(int argc, char** argv) {
  const auto options = plexus::agent::parse_options(argc, argv);
  if (!options) return plexus::agent::fail(options.error());
  if (!*options) return 0;
  return plexus::agent::run(**options);
}
