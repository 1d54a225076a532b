// SPDX-License-Identifier: Apache-2.0
#include "agent/peer_socket.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "agent/connection_messages.h"

namespace plexus::agent {
namespace {

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  [[nodiscard]] sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
};

Address socket_address(const IpAddr& ip, uint16_t port) {
  Address out;
  if (ip.is_v4()) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&v4.sin_addr, ip.bytes.data(), 4);
    std::memcpy(&out.storage, &v4, sizeof v4);
    out.length = sizeof v4;
  } else {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&v6.sin6_addr, ip.bytes.data(), 16);
    std::memcpy(&out.storage, &v6, sizeof v6);
    out.length = sizeof v6;
  }
  return out;
}

IpAddr ip_of(const sockaddr_storage& storage) {
  IpAddr out;
  if (storage.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &storage, sizeof v4);
    out = IpAddr::v4(ntohl(v4.sin_addr.s_addr));
  } else if (storage.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    std::array<uint8_t, 16> wire{};
    std::memcpy(wire.data(), &v6.sin6_addr, wire.size());
    out = IpAddr::v6(wire);
  }
  return out;
}

}  // namespace

Result<void> PeerSocket::listen(const IpAddr& local, uint16_t port) {
  if (fd_.valid() && local == local_ && port == port_) return {};
  fd_.reset();
  local_ = {};
  UniqueFd fd(
      ::socket(local.is_v4() ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return errno_error("a socket for messages between agents", errno);
  Address address = socket_address(local, port);
  if (::bind(fd.get(), address.raw(), address.length) != 0)
    return errno_error(
        "listening for other agents at " + local.str() + " port " + std::to_string(port), errno);
  // A burst of new connections elsewhere; the kernel gives what it may.
  const int bytes = 4 << 20;
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  fd_ = std::move(fd);
  local_ = local;
  port_ = port;
  return {};
}

bool PeerSocket::send(const IpAddr& to, std::span<const uint8_t> bytes) {
  if (!fd_.valid() || to.family != local_.family) return false;
  Address address = socket_address(to, port_);
  return ::sendto(fd_.get(), bytes.data(), bytes.size(), 0, address.raw(), address.length) ==
         static_cast<ssize_t>(bytes.size());
}

size_t PeerSocket::receive(
    size_t limit, const std::function<void(const IpAddr& from, std::span<const uint8_t>)>& sink) {
  std::array<uint8_t, kMaxMessageBytes> buffer{};
  size_t received = 0;
  while (received < limit && fd_.valid()) {
    sockaddr_storage from{};
    socklen_t length = sizeof from;
    const ssize_t n = ::recvfrom(fd_.get(), buffer.data(), buffer.size(), 0,
                                 reinterpret_cast<sockaddr*>(&from), &length);
    if (n < 0) {
      // A refusal is what came back for one of ours: that agent does not run.
      if (errno == ECONNREFUSED || errno == EINTR) continue;
      break;
    }
    ++received;
    sink(ip_of(from), std::span(buffer).first(static_cast<size_t>(n)));
  }
  return received;
}

}  // namespace plexus::agent
