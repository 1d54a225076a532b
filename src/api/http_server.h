// SPDX-License-Identifier: Apache-2.0
// HttpServer: a small HTTP/1.1 server on unix sockets and loopback TCP ports: whole request in, whole response out. The
// API server and the agent's local socket both use it.
//
// It stands clients that are slow, silent, too many or malformed: requests are bounded in size and time, connections in
// number; what is no HTTP gets an answer of 400 and is closed.
//
// Threads: its own. The handler runs on them: with threads == 1 one call at a time, otherwise several at once.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace plexus::api {

struct Request {
  std::string method;  ///< "GET", as sent
  std::string path;  ///< "/v1/bridges/web", percent-decoded by segment: a segment never gains a '/'
  std::vector<std::pair<std::string, std::string>> query;  ///< decoded, in order
  std::string content_type;  ///< lower case, without parameters; empty: none
  std::string if_match;
  bool has_origin = false;    ///< a web browser sent it
  std::string host;           ///< the Host header
  bool from_network = false;  ///< came over TCP, not over a unix socket
  std::string body;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

using Handler = std::function<Response(const Request&)>;

/// "unix:/run/plexus/api.sock", "127.0.0.1:8080" or "[::1]:8080".
struct ListenAddress {
  bool is_unix = false;
  std::string path;   ///< of a unix socket
  std::string host;   ///< numeric
  uint16_t port = 0;  ///< 0: any free one

  [[nodiscard]] std::string str() const;
  /// invalid: neither of the forms, or not a loopback address (there is no authentication yet).
  [[nodiscard]] static Result<ListenAddress> parse(std::string_view text);
};

struct HttpOptions {
  std::vector<ListenAddress> listen;
  Handler handler;
  unsigned threads = 1;
  unsigned max_connections = 512;  ///< more wait unaccepted
  size_t max_body = 1u << 20;
  std::chrono::milliseconds timeout{
      15'000};  ///< for a whole request, for a whole response, and for an idle connection
  unsigned socket_mode = 0660;  ///< of unix sockets
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
  /// Where it listens, with the ports that were chosen.
  [[nodiscard]] const std::vector<ListenAddress>& addresses() const;

 private:
  struct Running;
  explicit HttpServer(std::unique_ptr<Running> running);
  std::unique_ptr<Running> running_;
};

/// A problem document (RFC 9457): {"type":"about:blank","title":...,"status":...,"detail":...}. `extra` is JSON members
/// to add, each as `,"name":value`; empty: none.
[[nodiscard]] Response problem(int status, std::string_view detail, std::string_view extra = {});
/// The reason phrase of a status: "Not Found".
[[nodiscard]] std::string_view reason_phrase(int status);

}  // namespace plexus::api
