// SPDX-License-Identifier: Apache-2.0
// CuttableProxy: a TCP proxy on loopback that a test can cut: connections break, and new ones are
// refused until it is mended. For tests only.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/unique_fd.h"

namespace plexus::store {

class CuttableProxy {
 public:
  /// Forwards to "127.0.0.1:PORT".
  explicit CuttableProxy(const std::string& target)
      : target_port_(static_cast<uint16_t>(std::stoi(target.substr(target.rfind(':') + 1)))) {
    listen();
    thread_ = std::thread([this] { run(); });
  }
  ~CuttableProxy() {
    stop_ = true;
    thread_.join();
  }
  CuttableProxy(const CuttableProxy&) = delete;
  CuttableProxy& operator=(const CuttableProxy&) = delete;

  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  /// Breaks all connections; until mend() new ones break at once.
  void cut() { cut_ = true; }
  void mend() { cut_ = false; }
  /// Made so far.
  [[nodiscard]] size_t connections() const { return connections_; }

 private:
  struct Pair {
    UniqueFd client, server;
  };

  void listen() {
    listener_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in at = place(0);
    PLEXUS_CHECK(bind(listener_.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) == 0 &&
                     ::listen(listener_.get(), 1024) == 0,
                 "a proxy for a test");
    socklen_t size = sizeof at;
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&at), &size);
    port_ = ntohs(at.sin_port);
  }
  static sockaddr_in place(uint16_t port) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
  }

  void run() {
    std::vector<std::unique_ptr<Pair>> pairs;
    std::vector<pollfd> polled;
    while (!stop_) {
      if (cut_) pairs.clear();
      polled.assign(1, {listener_.get(), POLLIN, 0});
      for (const auto& pair : pairs) {
        polled.push_back({pair->client.get(), POLLIN, 0});
        polled.push_back({pair->server.get(), POLLIN, 0});
      }
      if (poll(polled.data(), polled.size(), 5) <= 0) continue;
      for (size_t i = 0; i < pairs.size(); ++i) {
        Pair& pair = *pairs[i];
        const bool ok = (polled[1 + 2 * i].revents == 0 || move(pair.client, pair.server)) &&
                        (polled[2 + 2 * i].revents == 0 || move(pair.server, pair.client));
        if (!ok) pair.client.reset();
      }
      std::erase_if(pairs, [](const auto& pair) { return !pair->client.valid(); });
      while (polled[0].revents != 0) {
        UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!client.valid()) break;
        if (cut_) continue;
        UniqueFd server(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in at = place(target_port_);
        if (connect(server.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) continue;
        const int one = 1;
        setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(server.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        pairs.push_back(std::make_unique<Pair>(Pair{std::move(client), std::move(server)}));
        ++connections_;
      }
    }
  }

  static bool move(const UniqueFd& from, const UniqueFd& to) {
    char bytes[65536];
    const ssize_t n = recv(from.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN;
    for (ssize_t sent = 0; sent < n;) {
      const ssize_t m = send(to.get(), bytes + sent, static_cast<size_t>(n - sent), MSG_NOSIGNAL);
      if (m <= 0) return false;
      sent += m;
    }
    return n > 0;
  }

  const uint16_t target_port_;
  uint16_t port_ = 0;
  UniqueFd listener_;
  std::atomic<bool> stop_{false}, cut_{false};
  std::atomic<size_t> connections_{0};
  std::thread thread_;
};

}  // namespace plexus::store
