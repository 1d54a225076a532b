// SPDX-License-Identifier: Apache-2.0
// A raw client for tests: bytes in, bytes out, on a unix socket or a loopback port.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <cstring>
#include <string>
#include <string_view>

#include "api/http_server.h"
#include "base/check.h"
#include "base/unique_fd.h"

namespace plexus::api {

class TestClient {
 public:
  explicit TestClient(const ListenAddress& to) {
    fd_ = UniqueFd(::socket(to.is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval limit{10, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (to.is_unix) {
      sockaddr_un a{};
      a.sun_family = AF_UNIX;
      std::memcpy(a.sun_path, to.path.data(), to.path.size());
      connected_ = ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0;
    } else {
      sockaddr_in a{};
      a.sin_family = AF_INET;
      a.sin_port = htons(to.port);
      a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      connected_ = ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0;
    }
  }

  [[nodiscard]] bool connected() const { return connected_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

  /// False when the server has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  /// One whole response by its Content-Length, or what came before the end.
  std::string response() {
    while (true) {
      const size_t end = seen_.find("\r\n\r\n");
      if (end != std::string::npos) {
        const size_t at = seen_.find("Content-Length: ");
        const size_t length = at < end ? std::stoul(seen_.substr(at + 16)) : 0;
        if (seen_.size() >= end + 4 + length) {
          std::string out = seen_.substr(0, end + 4 + length);
          seen_.erase(0, end + 4 + length);
          return out;
        }
      }
      if (!more()) return std::exchange(seen_, {});
    }
  }

  /// Everything up to the first place with this text; without it what came before the end. Keeps what follows.
  std::string until(std::string_view text) {
    size_t at = 0;
    while ((at = seen_.find(text)) == std::string::npos) {
      if (!more()) return std::exchange(seen_, {});
    }
    std::string out = seen_.substr(0, at + text.size());
    seen_.erase(0, out.size());
    return out;
  }

  /// Everything until the server closes.
  std::string rest() {
    while (more()) {
    }
    return std::exchange(seen_, {});
  }

  std::string ask(std::string_view request) { return send(request) ? response() : std::string(); }

 private:
  bool more() {
    char buffer[4096];
    const ssize_t n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    if (n <= 0) return false;
    seen_.append(buffer, static_cast<size_t>(n));
    return true;
  }

  UniqueFd fd_;
  bool connected_ = false;
  std::string seen_;
};

}  // namespace plexus::api
