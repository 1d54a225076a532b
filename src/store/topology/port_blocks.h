// SPDX-License-Identifier: Apache-2.0
// PortBlocks: how a host comes to outside ports of its own, for connections that it sends through a pool of source
// addresses (SnatPool). The ports of an address are divided into blocks, powers of two and aligned, so that a mask tells
// whose an answer is. A host claims blocks in the store before it needs them and has them to itself:
//
// - A claim is of a router's address, not of a pool: two pools with one address never give one port to two hosts, and a
//   pool that is removed and made again finds its ports as they are.
// - It does not end with the host's liveness: a host without agent, or without store, still forwards by it. It ends when the
//   host gives it back, or when the host is fenced or removed (and never otherwise). Then nobody else gets it for kQuarantine,
//   longer than any connection lives unused; the host itself may have it back at once.
// - The end of a gone host's claim begins when somebody who finds no room looks at it, not before. If the host was brought
//   back meanwhile it begins anew.
// - An address is eight records ("parts") of 8,192 ports, one or two hundred claims at most. Each host begins to look at a part of
//   its own, so hosts meet only inside a part.
// - A host's first block is small (64 ports); each more is as large as all it has, up to kMaxBlock, and of another address where
//   there is one. New connections are given ports of the kMaxBlocks largest of a pool and family. Others are kept, up to
//   kMaxKept in all, as long as connections use them: their ports must not be another host's. No host grows into the last quarter
//   of a part: that is for hosts that have nothing yet.
//
// Time is the wall clock of the hosts: they may differ by kClockSkew.
//
// Threads: any; no state of its own besides store and host.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "model/records.h"
#include "packet/addr.h"
#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/store.h"
#include "store/topology/transaction.h"

namespace plexus::store {

inline constexpr unsigned kPortsOfPart = 8192;
inline constexpr unsigned kPartsOfAddress = 65536 / kPortsOfPart;
inline constexpr size_t kMaxLeasedAddresses = 256;  ///< of one router, ever

class PortBlocks {
 public:
  static constexpr unsigned kFirstBlock = 64;  ///< ports; fewer where a pool has no such block
  static constexpr unsigned kMaxBlock = 4096;
  static constexpr size_t kMaxBlocks = 4;           ///< of one pool and family, for new connections
  static constexpr size_t kMaxKept = 16;            ///< of one pool and family
  static constexpr size_t kMaxBlocksOfHost = 4096;  ///< of all pools
  static constexpr int64_t kClockSkew = 5 * 60 * 1000;
  /// Milliseconds. Established TCP may be silent for 2 h 4 min (RFC 5382 REQ-5).
  static constexpr int64_t kQuarantine = (2 * 60 + 4) * 60 * 1000 + kClockSkew;

  /// `store` must outlive this.
  PortBlocks(Store& store, HostId self) : store_(store), self_(self) {}

  /// Claims a first block of each family of which the host has nothing that the pool has. `now_ms`: since 1970. no_space: the pool is full for this host; the message says what would help. conflict: this
  /// host is fenced. not_found: the router or this host is gone. After an error, what could be done has been done.
  Result<void> settle(const model::SnatPool& pool, int64_t now_ms);
  /// One block more of `family`. Errors as settle(); no_space also when the rest is kept for others.
  Result<void> grow(const model::SnatPool& pool, IpFamily family, int64_t now_ms);
  /// This host needs none of these blocks any more; null: nothing of the pool.
  Result<void> give_back(SnatPoolId pool, int64_t now_ms,
                         const std::vector<model::PortBlock>* only = nullptr);

 private:
  struct Wanted;
  Result<void> claim(const Wanted& wanted, int64_t now_ms);
  Result<bool> claim_in(const Wanted& wanted, const std::string& path, const IpAddr& address,
                        unsigned part, int64_t now_ms);
  Result<unsigned> end_claims_of_the_gone(const std::vector<std::string>& parts, int64_t now_ms);
  template <typename Goes>
  Result<void> end_own(const Goes& goes, int64_t now_ms);

  Store& store_;
  HostId self_;
};

/// The blocks of a host by pool, sorted as HostBlocks has them. Entries that no claim could have made are left out.
[[nodiscard]] std::vector<model::PortBlocksChange> to_model(const v1::HostBlocks& record);

/// Where a part is, by its path in the store.
struct PortBlockPartPlace {
  RouterId router;
  IpAddr address;
  unsigned part = 0;
};
[[nodiscard]] std::optional<PortBlockPartPlace> parse_port_block_part_path(std::string_view path);

/// For a pool that was made or changed: its addresses are the router's to give ports of. no_space: it has had too many.
Result<void> keep_port_block_parts(Transaction& transaction, const v1::SnatPool& pool);
/// The router goes.
Result<void> drop_port_block_parts(Transaction& transaction, const Uuid& router);

}  // namespace plexus::store
