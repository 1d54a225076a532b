// SPDX-License-Identifier: Apache-2.0
#include "store/topology/zones.h"

#include "plexus/v1/resources.pb.h"
#include "store/topology/convert.h"
#include "store/topology/writer.h"

namespace plexus::store {

Result<std::vector<Zone>> tunnel_zones(Store& store) {
  const auto stored = TopologyWriter(store).list(*v1::TunnelZone::descriptor());
  if (!stored) return stored.error();
  std::vector<Zone> zones;
  for (const StoredResource& resource : *stored) {
    if (!fully_known(*resource.message)) continue;
    const auto& record = static_cast<const v1::TunnelZone&>(*resource.message);
    Zone zone{
        record.name(), {}, static_cast<uint16_t>(record.has_udp_port() ? record.udp_port() : 4789)};
    for (const std::string& raw : record.prefixes()) {
      if (const auto prefix = IpPrefix::from_bytes(raw)) zone.prefixes.push_back(*prefix);
    }
    zones.push_back(std::move(zone));
  }
  return zones;
}

}  // namespace plexus::store
