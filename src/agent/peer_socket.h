// SPDX-License-Identifier: Apache-2.0
// PeerSocket: datagrams between agents, over UDP from tunnel address to tunnel address. Neither encrypted nor authenticated: who
// can send from a host's tunnel address is believed to be that host (docs/operations.md).
//
// One thread: the worker's.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/result.h"
#include "base/unique_fd.h"
#include "packet/addr.h"

namespace plexus::agent {

/// Where agents listen unless they are told otherwise; the same on all hosts.
inline constexpr uint16_t kPeerPort = 5789;

class PeerSocket {
 public:
  /// Listens at this address, and no longer at an earlier one. unavailable and others: the address is not this machine's, or
  /// somebody else listens there; then it listens nowhere.
  Result<void> listen(const IpAddr& local, uint16_t port);
  /// Of nobody: nothing listens.
  [[nodiscard]] const IpAddr& local() const { return local_; }

  /// Sends to the same port of another host; false when the kernel did not take it.
  bool send(const IpAddr& to, std::span<const uint8_t> bytes);
  /// Hands over what has come, at most `limit` datagrams; never blocks. What is longer than a message comes cut off.
  /// Returns how many.
  size_t receive(size_t limit,
                 const std::function<void(const IpAddr& from, std::span<const uint8_t>)>& sink);

  /// Readable while datagrams wait; -1: nothing listens.
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
  IpAddr local_;
  uint16_t port_ = 0;
};

}  // namespace plexus::agent
