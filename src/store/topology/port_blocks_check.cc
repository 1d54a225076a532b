// SPDX-License-Identifier: Apache-2.0
#include "store/topology/port_blocks_check.h"

#include <fmt/format.h>

#include <bit>

#include "packet/addr.h"
#include "store/topology/layout.h"
#include "store/topology/port_blocks.h"

namespace plexus::store {

bool PortBlocksCheck::sort_in(const std::string& path, const std::string& value) {
  const auto take = [&](auto& into) {
    if (!into.ParseFromString(value)) damaged_.push_back(path + ": cannot be decoded");
  };
  if (path.starts_with("/p1/c/")) {
    const auto host = Uuid::parse(path.substr(std::string("/p1/c/").size()));
    if (!host) return false;
    take(lists_[*host]);
    return true;
  }
  if (!path.starts_with("/p1/s/")) return false;
  if (parse_port_block_part_path(path)) {
    take(parts_[path]);
    return true;
  }
  const auto router = Uuid::parse(path.substr(path.rfind('/') + 1));
  if (!router || leased_addresses_path(*router) != path) return false;
  take(addresses_[path]);
  return true;
}

std::vector<std::string> PortBlocksCheck::problems(
    const std::function<bool(const Uuid&)>& router_exists,
    const std::function<bool(const Uuid&)>& host_exists) const {
  std::vector<std::string> found = damaged_;
  std::set<std::string> expected;
  for (const auto& [path, record] : addresses_) {
    const auto router = *Uuid::parse(path.substr(path.rfind('/') + 1));
    if (!router_exists(router)) found.push_back(path + ": of a router that does not exist");
    for (const std::string& raw : record.addresses()) {
      const auto address = IpAddr::from_bytes(raw);
      for (unsigned part = 0; address && part < kPartsOfAddress; ++part) {
        const std::string name = port_block_part_path(router, address->str(), part);
        expected.insert(name);
        if (!parts_.contains(name)) found.push_back(name + ": is missing");
      }
    }
  }
  std::set<std::string> claimed;  // what a host's list may name
  const auto text = [](const std::string& host, const std::string& path, uint32_t first,
                       uint32_t length) {
    return fmt::format("{} {} {} {}", Uuid::from_bytes(host).value_or(Uuid{}).str(), path, first,
                       length);
  };
  for (const auto& [path, part] : parts_) {
    if (!expected.contains(path)) found.push_back(path + ": of an address that is not given out");
    const unsigned number = parse_port_block_part_path(path)->part;
    uint32_t next = 0;
    for (const auto& claim : part.claims()) {
      if (!std::has_single_bit(claim.length()) || claim.first() % claim.length() != 0 ||
          claim.first() == 0 || claim.first() / kPortsOfPart != number ||
          (claim.first() + claim.length() - 1) / kPortsOfPart != number) {
        found.push_back(fmt::format("{}: {} ports from {} are no block of it", path, claim.length(),
                                    claim.first()));
      }
      if (claim.first() < next)
        found.push_back(fmt::format("{}: port {} is claimed twice", path, claim.first()));
      next = claim.first() + claim.length();
      if (!Uuid::from_bytes(claim.host()) || !Uuid::from_bytes(claim.pool()))
        found.push_back(fmt::format("{}: the claim of port {} names no host", path, claim.first()));
      claimed.insert(text(claim.host(), path, claim.first(), claim.length()));
    }
  }
  for (const auto& [host, list] : lists_) {
    const std::string path = host_blocks_path(host);
    if (!host_exists(host)) found.push_back(path + ": of a host that does not exist");
    for (const auto& block : list.blocks()) {
      const auto address = IpAddr::from_bytes(block.address());
      const auto router = Uuid::from_bytes(block.router());
      if (!address || !router) {
        found.push_back(path + ": a block without router or address");
        continue;
      }
      // Of a router that is gone, it has not heard yet.
      if (!router_exists(*router)) continue;
      const std::string part =
          port_block_part_path(*router, address->str(), block.first() / kPortsOfPart);
      if (!claimed.contains(text(host.raw(), part, block.first(), block.length())))
        found.push_back(fmt::format("{}: {} does not say that ports from {} are its", path, part,
                                    block.first()));
    }
  }
  return found;
}

}  // namespace plexus::store
