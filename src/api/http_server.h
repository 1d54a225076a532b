// SPDX-License-Identifier: Apache-2.0
// HttpServer: a small HTTP/1.1 server on unix sockets and TCP ports, with TLS where wanted: whole request in; whole
// response, or a stream, out. The API server and the agent's local socket both use it.
//
// It stands clients that are slow, silent, too many or malformed: requests are bounded in size and time, connections in
// number, streams in what waits for their client; what is no HTTP gets an answer of 400 and is closed. When all places are
// taken, connections that the server has waited on for longest (a request to come, an answer to be taken) give way to new
// ones, and answers are the last of their connection. Requests at work and streams stay; how many of these one client has
// is the handler's to bound (places.h).
//
// Threads: its own, one for the sockets and some for handlers, so that a handler that waits holds up no stream. With
// threads == 1 one handler at a time, otherwise several at once. A handler that has to wait for long answers later, from
// any thread, and occupies none meanwhile.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/http_message.h"
#include "api/listen_address.h"
#include "base/result.h"

namespace plexus::api {

using Handler = std::function<Response(const Request&)>;
/// Takes the answer to a request: to be called once, from any thread. The client may be gone, the server stopped.
using Answer = std::function<void(Response)>;
using LaterHandler = std::function<void(const Request&, Answer)>;

/// What a server counts of its connections. Threads: any.
struct ConnectionCounts {
  std::atomic<unsigned> open{0};
  std::atomic<unsigned> by_network{0};  ///< of these, over TCP
  std::atomic<uint64_t> found_full{0};  ///< that had to wait, because all places were taken
  std::atomic<uint64_t> gave_way{0};    ///< that were closed for the sake of new ones
};

struct HttpOptions {
  std::vector<ListenAddress> listen;
  Handler handler;                 ///< this one,
  LaterHandler later_handler;      ///< or this one
  unsigned threads = 1;            ///< for handlers
  unsigned max_connections = 512;  ///< more wait until one ends or gives way
  unsigned unix_reserve = 0;       ///< of these, only for unix sockets; fewer than all
  size_t max_body = 1u << 20;
  /// Given: how much a body may have for this method and target (undecoded).
  std::function<size_t(std::string_view method, std::string_view target)> body_limit = {};
  std::chrono::milliseconds timeout{
      15'000};  ///< for a whole request, for a whole response, and for an idle connection
  unsigned socket_mode = 0660;       ///< of unix sockets
  std::string tls_certificate = {};  ///< PEM file with the chain; needed for addresses with TLS
  std::string tls_key = {};          ///< PEM file
  std::shared_ptr<ConnectionCounts> counts = {};  ///< for who wants to see them
};

class HttpServer {
 public:
  /// Listens when it returns. A unix socket left behind by a dead process is replaced; exists: a live one serves it.
  [[nodiscard]] static Result<std::unique_ptr<HttpServer>> start(HttpOptions options);
  /// stop()s.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Closes all connections, waits for running handlers and removes the unix sockets. Not from a handler.
  void stop();
  /// Reads certificate and key again, for connections from now on. After an error the old ones stay.
  [[nodiscard]] Result<void> reload_certificate();
  /// Where it listens, with the ports that were chosen.
  [[nodiscard]] const std::vector<ListenAddress>& addresses() const;
  /// Connections that are open.
  [[nodiscard]] unsigned connections() const;

 private:
  struct Running;
  explicit HttpServer(std::unique_ptr<Running> running);
  std::unique_ptr<Running> running_;
};

}  // namespace plexus::api
