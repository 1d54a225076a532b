// SPDX-License-Identifier: Apache-2.0
// What a ZooKeeper store can be told. The defaults are what runs; tests shorten them.
#pragma once

#include <chrono>
#include <cstddef>

namespace plexus::store {

struct ZookeeperOptions {
  std::chrono::milliseconds session_timeout{6000};  ///< the server may bound it
  std::chrono::milliseconds patience{10000};        ///< of a caller, for a store that is down
  /// After a session expired the next one begins within this time, at random: after an outage not
  /// all hosts come at once.
  std::chrono::milliseconds expiry_delay{2000};
  /// Watched paths of one session: a client that connects again sends all in one packet, and the
  /// server closes connections that send more than 1 MB.
  size_t watched_bytes = 500'000;
  size_t in_flight = 1000;  ///< reads of one session
  /// What one transaction may send: the server's limit (jute.maxbuffer) with some room.
  size_t request_bytes = 1'000'000;
};

}  // namespace plexus::store
