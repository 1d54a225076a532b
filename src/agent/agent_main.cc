// SPDX-License-Identifier: Apache-2.0
// plexus-agent: all the wiring on one page. Which thread owns what: ARCHITECTURE.md, "Threads of an agent".
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include <csignal>
#include <cstdio>

#include "agent/control.h"
#include "agent/options.h"
#include "agent/topology_thread.h"
#include "agent/worker_thread.h"
#include "api/http_server.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "datapath/ebpf/ebpf_datapath.h"
#include "store/store.h"

namespace plexus::agent {
namespace {

int fail(const Error& error) {
  std::fprintf(stderr, "plexus-agent: %s\n", error.message.c_str());
  return error.code == ErrorCode::invalid ? 2 : 1;
}

/// Takes this host's ports out of the store: they are not here any more.
void unpublish_ports(const AgentOptions& options, store::Store& store) {
  store::HostRecords records(store, options.host);
  store::ClosureReader reader(store, options.host, [&](const store::ClosureBatch& batch) {
    for (const model::Change& change : batch.changes) {
      if (const auto* b = std::get_if<model::BindingChange>(&change);
          b && b->now && b->now->host == options.host) {
        (void)records.unpublish(b->id);
      }
    }
  });
  const MonoTime give_up = mono_now() + std::chrono::seconds(3);
  while (!reader.synced() && mono_now() < give_up) {
    pollfd p{reader.fd(), POLLIN, 0};
    ::poll(&p, 1, 50);
    reader.process(mono_now());
  }
}

int run(const AgentOptions& options) {
  set_log_level(options.log_level);
  const std::string run_dir = options.run_dir + "/" + options.name;
  for (const std::string& dir : {options.run_dir, run_dir}) {
    if (mkdir(dir.c_str(), 0755) != 0 && errno != EEXIST)
      return fail(errno_error("making " + dir, errno));
  }

  // Signals are read, not handled, and by the main thread only: block them before any thread starts.
  sigset_t signals;
  sigemptyset(&signals);
  for (int s : {SIGINT, SIGTERM}) sigaddset(&signals, s);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  const UniqueFd signal_fd(signalfd(-1, &signals, SFD_CLOEXEC));

  datapath::EbpfOptions ebpf;
  ebpf.run_dir = run_dir;
  // New classes a second that one port may ask for: a flood must leave the worker time for the others.
  ebpf.upcall_rate = 10'000;
  auto datapath = datapath::EbpfDatapath::open(ebpf);
  if (!datapath) return fail(datapath.error().in("opening the eBPF datapath"));
  auto store = store::open_store(options.store);

  if (options.leave) {
    // The store may be gone for good; the kernel must be clean all the same.
    if (store) unpublish_ports(options, **store);
    if (const auto gone = (*datapath)->destroy(); !gone) return fail(gone.error());
    return 0;
  }
  if (!store) return fail(store.error());

  Mailbox<Error> fatal(4);
  LearnedBox learned(1024);
  WorkerOptions worker_options;
  // The worker evicts before the kernel refuses: a flow goes in before the one that makes room goes out.
  worker_options.max_flows = ebpf.max_flows - 1024;
  WorkerThread worker(std::move(*datapath), worker_options, learned);
  TopologyThread topology(options, **store, worker, learned,
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
