// SPDX-License-Identifier: Apache-2.0
// ListenAddress: where a server listens, as people write it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace plexus::api {

/// "unix:/run/plexus/api.sock", "127.0.0.1:8080", "[::1]:8080" or, with TLS, "https://10.0.0.1:8443".
struct ListenAddress {
  bool is_unix = false;
  bool tls = false;
  std::string path;   ///< of a unix socket
  std::string host;   ///< numeric
  uint16_t port = 0;  ///< 0: any free one

  [[nodiscard]] std::string str() const;
  /// invalid: none of the forms, or without TLS and not a loopback address.
  [[nodiscard]] static Result<ListenAddress> parse(std::string_view text);
};

}  // namespace plexus::api
