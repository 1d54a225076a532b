// SPDX-License-Identifier: Apache-2.0
// plexus-api: serves the topology in a store over HTTP, until SIGTERM or SIGINT.
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>

#include "api/api.h"
#include "base/log.h"
#include "codec/nearest.h"

namespace plexus::api {
namespace {

constexpr char kHelp[] =
    R"(usage: plexus-api [--store ADDRESS] [--listen ADDRESS]... [--log-level LEVEL]

Serves the virtual topology in a store over HTTP, until SIGTERM.

  --store ADDRESS     where the topology lives       (embedded:/var/lib/plexus/store)
  --listen ADDRESS    unix:/PATH, 127.0.0.1:PORT or [::1]:PORT; may be given several times
                                                     (unix:/run/plexus/api.sock)
  --log-level LEVEL   debug, info, warn or error     (info)
  --help, --version

Unix sockets have mode 0660. There is no authentication yet, so only loopback ports are accepted.
Exit status: 0 stopped by a signal, 1 failed, 2 wrong usage.
)";

struct Options {
  std::string store = "embedded:/var/lib/plexus/store";
  std::vector<ListenAddress> listen;
};

int usage(const std::string& message) {
  fmt::print(stderr, "plexus-api: {}\nTry: plexus-api --help\n", message);
  return 2;
}

/// nullopt: go on; otherwise the exit status.
std::optional<int> read_options(int argc, char** argv, Options& out) {
  static const std::vector<std::string> kNames = {"--store", "--listen", "--log-level", "--help",
                                                  "--version"};
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    std::optional<std::string> value;
    if (const size_t equal = name.find('=');
        name.substr(0, 2) == "--" && equal != std::string::npos) {
      value = name.substr(equal + 1);
      name.resize(equal);
    }
    if (name == "--help" || name == "-h") {
      fmt::print("{}", kHelp);
      return 0;
    }
    if (name == "--version") {
      fmt::print("plexus-api 0.1\n");
      return 0;
    }
    if (std::find(kNames.begin(), kNames.end(), name) == kNames.end()) {
      return usage("unknown argument '" + name + "'; " + codec::suggestion(name, kNames));
    }
    if (!value) {
      if (i + 1 == argc) return usage(name + " needs a value");
      value = argv[++i];
    }
    if (name == "--store") {
      out.store = *value;
    } else if (name == "--listen") {
      auto address = ListenAddress::parse(*value);
      if (!address) return usage("--listen: " + address.error().message);
      out.listen.push_back(std::move(*address));
    } else {
      LogLevel level{};
      if (!parse_log_level(*value, level))
        return usage("--log-level: one of debug, info, warn, error");
      set_log_level(level);
    }
  }
  if (out.listen.empty()) out.listen.push_back(*ListenAddress::parse("unix:/run/plexus/api.sock"));
  return std::nullopt;
}

int run(const Options& options) {
  // Before any thread starts, so that all inherit it: only sigwait() below sees these signals.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  signal(SIGPIPE, SIG_IGN);

  auto store = store::open_store(options.store);
  if (!store) {
    log_error("api", "opening the store {}: {}", options.store, store.error().message);
    return 1;
  }
  Api api(**store);
  HttpOptions http;
  http.listen = options.listen;
  http.threads = 4;
  http.handler = [&](const Request& request) { return api.handle(request); };
  for (const ListenAddress& address : http.listen) {
    // /run is empty after a boot: make the socket's folder, nothing above it.
    if (address.is_unix) ::mkdir(address.path.substr(0, address.path.rfind('/')).c_str(), 0755);
  }
  auto server = HttpServer::start(std::move(http));
  if (!server) {
    log_error("api", "{}", server.error().message);
    return 1;
  }
  for (const ListenAddress& address : (*server)->addresses()) {
    log_info("api", "serving {} on {}", options.store, address.str());
  }
  int received = 0;
  sigwait(&ends, &received);
  log_info("api", "stopping: {}", received == SIGTERM ? "SIGTERM" : "SIGINT");
  (*server)->stop();
  return 0;
}

}  // namespace
}  // namespace plexus::api

int main(int argc, char** argv) {
  plexus::api::Options options;
  if (const auto status = plexus::api::read_options(argc, argv, options)) return *status;
  return plexus::api::run(options);
}
