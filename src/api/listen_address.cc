// SPDX-License-Identifier: Apache-2.0
#include "api/listen_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <optional>

#include "codec/node.h"

namespace plexus::api {
namespace {

/// Whether a numeric address is a loopback one; nullopt: it is no address.
std::optional<bool> is_loopback(const std::string& host) {
  in_addr v4{};
  if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (::inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6) != 0;
  return std::nullopt;
}

}  // namespace

std::string ListenAddress::str() const {
  if (is_unix) return "unix:" + path;
  const char* scheme = tls ? "https://" : "";
  return host.find(':') == std::string::npos ? fmt::format("{}{}:{}", scheme, host, port)
                                             : fmt::format("{}[{}]:{}", scheme, host, port);
}

Result<ListenAddress> ListenAddress::parse(std::string_view text) {
  const Error form{ErrorCode::invalid,
                   codec::in_quotes(text) +
                       " is no address to listen on; write unix:/PATH, 127.0.0.1:PORT, "
                       "[::1]:PORT or https://ADDRESS:PORT"};
  ListenAddress out;
  if (text.substr(0, 5) == "unix:") {
    out.is_unix = true;
    out.path = text.substr(5);
    if (out.path.empty() || out.path[0] != '/' || out.path.find('\0') != std::string::npos)
      return form;
    return out;
  }
  std::string_view place = text;
  if (place.substr(0, 8) == "https://") {
    out.tls = true;
    place.remove_prefix(8);
  }
  const size_t colon = place.rfind(':');
  if (colon == std::string_view::npos) return form;
  std::string_view host = place.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return form;
  }
  uint32_t port = 0;
  const std::string_view digits = place.substr(colon + 1);
  if (digits.empty() || digits.size() > 5) return form;
  for (const char c : digits) {
    if (c < '0' || c > '9') return form;
    port = port * 10 + static_cast<uint32_t>(c - '0');
  }
  if (port > 65535) return form;
  out.host = std::string(host);
  out.port = static_cast<uint16_t>(port);
  const auto loopback = is_loopback(out.host);
  if (!loopback) return form;
  if (!*loopback && !out.tls) {
    return Error{ErrorCode::invalid,
                 fmt::format("{0} can be reached from other machines, and without TLS everybody "
                             "on the way can read tokens; write https://{0} with --tls-cert and "
                             "--tls-key, or listen on 127.0.0.1:{1} or on a unix socket",
                             text, port)};
  }
  return out;
}

}  // namespace plexus::api
