// SPDX-License-Identifier: Apache-2.0
// Socket: one netlink socket. It belongs to the network namespace of the thread that opened it, and stays there.
// One thread at a time.
#pragma once

#include <functional>

#include "base/result.h"
#include "base/unique_fd.h"
#include "netlink/message.h"

namespace plexus::netlink {

class Socket {
 public:
  /// `protocol`: NETLINK_ROUTE, NETLINK_GENERIC. `groups`: bits of the multicast groups to join.
  static Result<Socket> open(int protocol, uint32_t groups = 0);

  /// Sends a request and waits for the kernel's answer. Each message that comes before the final acknowledgement goes
  /// to `sink` (dumps have many). Errors of the kernel: errno mapped to a code, with the kernel's own words where it gave any.
  Result<void> request(Writer& request, const std::function<void(const Message&)>& sink = {});

  /// Hands over multicast messages that wait; never blocks. no_space: some were lost (ENOBUFS), read the state anew.
  Result<void> receive(const std::function<void(const Message&)>& sink);

  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  explicit Socket(UniqueFd fd) : fd_(std::move(fd)), buffer_(1 << 16) {}
  /// One datagram into buffer_.
  Result<Bytes> read_datagram(int flags);

  UniqueFd fd_;
  uint32_t sequence_ = 0;
  std::vector<uint8_t> buffer_;
};

}  // namespace plexus::netlink
