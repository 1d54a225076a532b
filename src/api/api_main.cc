// SPDX-License-Identifier: Apache-2.0
// plexus-api: serves the topology in a store over HTTP, until SIGTERM or SIGINT.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "api/api.h"
#include "base/log.h"
#include "base/unique_fd.h"
#include "codec/nearest.h"
#include "store/identity.h"

namespace plexus::api {
namespace {

constexpr char kHelp[] =
    R"(usage: plexus-api [--store ADDRESS] [--listen ADDRESS]... [OPTION]...

Serves the virtual topology in a store over HTTP, until SIGTERM.

  --store ADDRESS     where the topology lives       (embedded:/var/lib/plexus/store)
  --identity FILE     who this server is to the store; needed where the store asks
  --listen ADDRESS    unix:/PATH, 127.0.0.1:PORT, [::1]:PORT or, with TLS, https://ADDRESS:PORT; may be given
                      several times                  (unix:/run/plexus/api.sock)
  --tls-cert FILE     certificate with its chain (PEM), for https; read again at SIGHUP
  --tls-key FILE      its key (PEM)
  --log-level LEVEL   debug, info, warn or error     (info)
  --help, --version

Over a unix socket (mode 0660) root and the server's own user may do everything. All others, and all over TCP, need a
token: plexus token create. Addresses that other machines can reach need https.
Exit status: 0 stopped by a signal, 1 failed, 2 wrong usage.
)";

struct Options {
  std::string store = "embedded:/var/lib/plexus/store";
  std::string identity_file, tls_certificate, tls_key;
  std::vector<ListenAddress> listen;
};

int usage(const std::string& message) {
  fmt::print(stderr, "plexus-api: {}\nTry: plexus-api --help\n", message);
  return 2;
}

/// nullopt: go on; otherwise the exit status.
std::optional<int> read_options(int argc, char** argv, Options& out) {
  static const std::vector<std::string> kNames = {"--store",    "--identity", "--listen",
                                                  "--tls-cert", "--tls-key",  "--log-level",
                                                  "--help",     "--version"};
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
    } else if (name == "--identity") {
      out.identity_file = *value;
    } else if (name == "--tls-cert") {
      out.tls_certificate = *value;
    } else if (name == "--tls-key") {
      out.tls_key = *value;
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
  if (out.tls_certificate.empty() != out.tls_key.empty())
    return usage("--tls-cert and --tls-key go together");
  for (const ListenAddress& address : out.listen) {
    if (address.tls && out.tls_key.empty())
      return usage("--listen " + address.str() + " needs --tls-cert and --tls-key");
  }
  if (out.listen.empty()) out.listen.push_back(*ListenAddress::parse("unix:/run/plexus/api.sock"));
  return std::nullopt;
}

/// A secret of ours in a file: nobody else may read it.
Result<std::string> read_secret_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return errno_error("opening " + path, errno);
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return errno_error("looking at " + path, errno);
  if ((st.st_mode & (S_IRWXO | S_IWGRP)) != 0) {
    return Error{ErrorCode::denied, path + " can be read or changed by others; chmod 600 " + path};
  }
  std::string text(4096, '\0');
  const ssize_t n = ::read(fd.get(), text.data(), text.size());
  if (n < 0) return errno_error("reading " + path, errno);
  text.resize(static_cast<size_t>(n));
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

/// How many connections there may be. Each is a descriptor, and who runs out of these accepts nobody any more, root neither:
/// the store and the listeners need some, too.
unsigned raise_file_limit() {
  constexpr rlim_t kMost = 4096, kOthers = 128, kFewest = 64;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return kMost;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max >= kMost + kOthers) return kMost;
  const rlim_t fit = std::max(kFewest, limit.rlim_max - std::min(limit.rlim_max, kOthers));
  log_warn("api", "{} open files are allowed: at most {} connections; raise LimitNOFILE",
           limit.rlim_max, fit);
  return static_cast<unsigned>(fit);
}

int run(const Options& options) {
  // Before any thread starts, so that all inherit it: only sigwait() below sees these signals.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int s : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, s);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  const unsigned connections = raise_file_limit();

  ApiOptions api_options;
  if (!options.identity_file.empty()) {
    auto identity = read_secret_file(options.identity_file);
    if (!identity) {
      log_error("api", "{}", identity.error().message);
      return 1;
    }
    const auto parsed = store::parse_identity(*identity);
    if (!parsed || parsed->role != store::Identity::Role::api) {
      log_error("api", "{}: {}", options.identity_file,
                parsed ? "this is a host's identity; an API server needs its own: api:SECRET"
                       : parsed.error().message);
      return 1;
    }
    api_options.identity = std::move(*identity);
  }
  auto store = store::open_store(options.store, {.identity = api_options.identity});
  if (!store) {
    log_error("api", "opening the store {}: {}", options.store, store.error().message);
    return 1;
  }
  const auto counts = std::make_shared<ConnectionCounts>();
  api_options.connections = counts;
  Api api(**store, std::move(api_options));
  HttpOptions http;
  http.listen = options.listen;
  http.threads = 8;
  http.max_connections = connections;
  http.unix_reserve = connections / 16;
  http.counts = counts;
  http.body_limit = Api::body_limit;
  http.tls_certificate = options.tls_certificate;
  http.tls_key = options.tls_key;
  http.later_handler = [&](const Request& request, Answer answer) {
    api.handle(request, std::move(answer));
  };
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
  while (sigwait(&signals, &received) == 0 && received == SIGHUP) {
    const auto done = (*server)->reload_certificate();
    if (done) {
      log_info("api", "SIGHUP: read the certificate again");
    } else {
      log_error("api", "SIGHUP: the old certificate stays: {}", done.error().message);
    }
  }
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
