// SPDX-License-Identifier: Apache-2.0
// HttpClient: one HTTP request at a time to one of several servers that serve the same, on unix sockets, TCP ports or
// over TLS. When one does not answer, the next is tried. Not thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace plexus::cli {

struct HttpReply {
  int status = 0;
  std::string content_type;  ///< without parameters
  std::string revision;      ///< the header Plexus-Revision; empty: there was none
  std::string body;
};

/// Who asks, and whom it believes.
struct Credentials {
  std::string token;    ///< sent as bearer token; empty: none
  std::string ca_file;  ///< certificates to trust; empty: the system's
};

/// Where one server is.
struct Endpoint {
  std::string address;  ///< as it was given
  std::string socket;   ///< path of the unix socket; empty: TCP
  std::string base;     ///< "https://host:port"
};

/// Reads "unix:/run/plexus/api.sock,http://127.0.0.1:8080,https://api:8443"; without a scheme http:// is meant.
[[nodiscard]] Result<std::vector<Endpoint>> parse_addresses(std::string_view addresses);

class HttpClient {
 public:
  /// invalid: no such addresses, or a token would cross the network in the clear.
  [[nodiscard]] static Result<std::unique_ptr<HttpClient>> to(std::string_view addresses,
                                                              Credentials credentials = {});
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// `target` is encoded already: "/v1/ports?name=vm1". A body is sent as JSON. Any answer is a reply, whatever its
  /// status. The next server is asked when nobody listens; a GET also when the answer is lost or is 503.
  /// unavailable: nobody answers (the message says what to start); denied: TLS without trust; internal: no answer in
  /// time.
  Result<HttpReply> request(const std::string& method, const std::string& target,
                            const std::string& body = {});

  /// Takes a piece of a body; false: enough.
  using OnBytes = std::function<bool(std::string_view)>;
  /// GET of a body that comes piece by piece, for as long as it comes. Returns when the server ends it, when `on_bytes`
  /// has enough, or when nothing came for `idle`. A reply that is not 200 is returned whole instead.
  Result<HttpReply> stream(const std::string& target, std::chrono::seconds idle,
                           const OnBytes& on_bytes);

  /// Of the server that was asked last.
  [[nodiscard]] const std::string& address() const { return endpoints_[current_].address; }
  [[nodiscard]] size_t server_count() const { return endpoints_.size(); }
  void set_timeout(std::chrono::milliseconds timeout) { timeout_ = timeout; }
  [[nodiscard]] std::chrono::milliseconds timeout() const { return timeout_; }

 private:
  struct Handle;
  struct Attempt;
  HttpClient(std::vector<Endpoint> endpoints, Credentials credentials);
  Attempt ask(const std::string& method, const std::string& target, const std::string& body,
              const OnBytes* on_bytes, std::chrono::seconds idle);
  Result<HttpReply> try_servers(const std::string& method, const std::string& target,
                                const std::string& body, const OnBytes* on_bytes,
                                std::chrono::seconds idle);

  std::vector<Endpoint> endpoints_;
  size_t current_ = 0;
  bool delivered_ =
      false;  ///< something of the stream at hand has come: to begin again would repeat it
  Credentials credentials_;
  std::chrono::milliseconds timeout_{30'000};
  std::unique_ptr<Handle> handle_;
};

/// One segment of a path or one part of a query, percent-encoded.
[[nodiscard]] std::string url_encoded(std::string_view text);

}  // namespace plexus::cli
