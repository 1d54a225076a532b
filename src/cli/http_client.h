// SPDX-License-Identifier: Apache-2.0
// HttpClient: one HTTP request at a time to a server on a unix socket or a TCP port. Not thread-safe.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace plexus::cli {

struct HttpReply {
  int status = 0;
  std::string content_type;  ///< without parameters
  std::string body;
};

class HttpClient {
 public:
  /// `address`: "unix:/run/plexus/api.sock", "127.0.0.1:8080" or "http://127.0.0.1:8080".
  /// invalid: neither of them.
  [[nodiscard]] static Result<std::unique_ptr<HttpClient>> to(std::string_view address);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// `target` is encoded already: "/v1/ports?name=vm1". A body is sent as JSON. Any answer is a reply, whatever its
  /// status. unavailable: nobody answers there (the message says what to start); internal: no answer in time.
  Result<HttpReply> request(const std::string& method, const std::string& target,
                            const std::string& body = {});

  [[nodiscard]] const std::string& address() const { return address_; }
  void set_timeout(std::chrono::milliseconds timeout) { timeout_ = timeout; }

 private:
  struct Handle;
  HttpClient(std::string address, std::string socket, std::string base);

  std::string address_;
  std::string socket_;  ///< path of the unix socket; empty: TCP
  std::string base_;    ///< "http://host:port"
  std::chrono::milliseconds timeout_{30'000};
  std::unique_ptr<Handle> handle_;
};

/// One segment of a path or one part of a query, percent-encoded.
[[nodiscard]] std::string url_encoded(std::string_view text);

}  // namespace plexus::cli
