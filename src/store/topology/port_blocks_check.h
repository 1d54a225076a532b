// SPDX-License-Identifier: Apache-2.0
// PortBlocksCheck: the part of a check of the store (check.h) that is about outside ports of hosts. Pure.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/ids.h"
#include "plexus/v1/state.pb.h"

namespace plexus::store {

class PortBlocksCheck {
 public:
  /// False: the record is none of these.
  bool sort_in(const std::string& path, const std::string& value);
  /// What is wrong, a sentence each.
  [[nodiscard]] std::vector<std::string> problems(
      const std::function<bool(const Uuid&)>& router_exists,
      const std::function<bool(const Uuid&)>& host_exists) const;

 private:
  std::vector<std::string> damaged_;
  std::map<std::string, v1::LeasedAddresses> addresses_;
  std::map<std::string, v1::PortBlockPart> parts_;
  std::map<Uuid, v1::HostBlocks> lists_;
};

}  // namespace plexus::store
