// SPDX-License-Identifier: Apache-2.0
#include "api/zone_cover.h"

#include <fmt/format.h>

#include <algorithm>

#include "plexus/v1/state.pb.h"
#include "store/topology/layout.h"
#include "store/topology/schema.h"
#include "store/topology/writer.h"

namespace plexus::api {
namespace {

std::vector<IpPrefix> prefixes_of(const v1::TunnelZone& zone) {
  std::vector<IpPrefix> out;
  for (const std::string& raw : zone.prefixes()) {
    if (const auto prefix = IpPrefix::from_bytes(raw)) out.push_back(*prefix);
  }
  return out;
}

bool covers(const std::vector<IpPrefix>& prefixes, const v1::HostState& host) {
  return std::any_of(
      host.tunnel_addresses().begin(), host.tunnel_addresses().end(), [&](const std::string& raw) {
        const auto address = IpAddr::from_bytes(raw);
        return address &&
               std::any_of(prefixes.begin(), prefixes.end(),
                           [&](const IpPrefix& prefix) { return prefix.contains(*address); });
      });
}

}  // namespace

void ZoneChanges::becomes(const v1::TunnelZone& zone) {
  zones[zone.id().empty() ? Uuid::random() : store::id_of(zone)] = prefixes_of(zone);
}

Result<void> check_hosts_stay_covered(store::Store& store, const ZoneChanges& changes) {
  if (changes.zones.empty()) return Ok{};
  store::TopologyWriter writer(store);
  const auto zones = writer.list(*v1::TunnelZone::descriptor());
  if (!zones) return zones.error();
  std::vector<IpPrefix> before, after;
  for (const store::StoredResource& stored : *zones) {
    const auto& zone = static_cast<const v1::TunnelZone&>(*stored.message);
    const std::vector<IpPrefix> prefixes = prefixes_of(zone);
    before.insert(before.end(), prefixes.begin(), prefixes.end());
    if (!changes.zones.contains(store::id_of(zone)))
      after.insert(after.end(), prefixes.begin(), prefixes.end());
  }
  for (const auto& [id, prefixes] : changes.zones)
    after.insert(after.end(), prefixes.begin(), prefixes.end());
  const auto hosts = writer.list(*v1::Host::descriptor());
  if (!hosts) return hosts.error();
  std::vector<std::string> paths, left;
  for (const store::StoredResource& host : *hosts)
    paths.push_back(store::host_state_path(store::id_of(*host.message)));
  const auto states = store.get_many(paths);
  if (!states) return states.error();
  for (size_t i = 0; i < hosts->size(); ++i) {
    const auto& host = static_cast<const v1::Host&>(*(*hosts)[i].message);
    v1::HostState state;
    if (changes.gone_hosts.contains(store::id_of(host)) || !(*states)[i] ||
        !state.ParseFromString((*states)[i]->value) || !covers(before, state) ||
        covers(after, state)) {
      continue;
    }
    left.push_back(host.name());
  }
  if (left.empty()) return Ok{};
  constexpr size_t kNamed = 10;
  const size_t more = left.size() - std::min(left.size(), kNamed);
  std::sort(left.begin(), left.end());
  left.resize(left.size() - more);
  return Error{ErrorCode::in_use,
               fmt::format("no other tunnel zone covers the tunnel address of {}{}: their traffic "
                           "with all others would stop; make a zone that does, or remove the "
                           "hosts first",
                           fmt::join(left, ", "),
                           more > 0 ? fmt::format(" and {} more", more) : std::string())};
}

}  // namespace plexus::api
