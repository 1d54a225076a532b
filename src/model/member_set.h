// SPDX-License-Identifier: Apache-2.0
// MemberSet: the members of a pool that can take new connections now, and which of them takes which. Values; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "base/ids.h"
#include "model/maglev.h"
#include "packet/addr.h"

namespace plexus::model {

struct Member {
  Uuid id;
  IpAddr address;
  uint16_t port = 0;    ///< 0: the one that was asked for
  uint32_t weight = 1;  ///< its share of the places
  bool operator==(const Member&) const = default;
};

/// The members that can be chosen now, with their shares of the places.
struct MemberSet {
  std::vector<Member> members;
  MaglevTable table;  ///< of the same members, in the same order
};

}  // namespace plexus::model
