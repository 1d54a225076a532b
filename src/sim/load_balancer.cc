// SPDX-License-Identifier: Apache-2.0
// Load balancers at routers: which member of a pool a connection to a virtual address goes to. docs/translations.md.
#include "packet/headers.h"
#include "sim/simulation.h"
#include "state/tuple.h"

namespace plexus::sim {
namespace {

template <typename Record>
bool unreadable(const Record* record) {
  return record != nullptr && record->unreadable;
}

}  // namespace

Simulation::Translated Simulation::refuse(Journey& j, const model::Router& router,
                                          const model::Port& in, DropReason reason,
                                          const model::Vip& vip, std::string_view why) {
  drop_at(j, reason, DeviceKind::vip, vip, "{} port {}: {}", vip.address, vip.port, why);
  // Another segment may be of a connection that another host knows, and that goes on.
  if (vip.protocol != ip_proto::kTcp)
    send_error(j, router, in, IcmpErrorKind::port_unreachable);
  else if (state::segment_of(sighting_) == state::Segment::syn)
    tell_rejected(j);
  return Translated::ended;
}

Simulation::Translated Simulation::to_vip(Journey& j, const model::Router& router,
                                          const model::Port& in, const model::AddressUses& uses) {
  const uint8_t protocol = j.ip_proto();
  if (!state::has_ports(protocol)) return Translated::for_router;
  j.ask_header();
  if (j.ip_frag() == FragKind::later) return Translated::for_router;
  const uint16_t port = j.tp_dst();
  const model::Vip* vip = nullptr;
  for (const VipId id : uses.vips) {
    const model::Vip* one = snapshot_.vip(id);
    if (one == nullptr) continue;
    if (one->unreadable) {
      drop_at(j, DropReason::newer_schema, DeviceKind::vip, *one,
              "its record is newer than this agent");
      return Translated::ended;
    }
    if (one->protocol == protocol && one->port == port) {
      vip = one;
      break;
    }
  }
  if (vip == nullptr) return Translated::for_router;
  const model::LoadBalancer* balancer = snapshot_.load_balancer(vip->load_balancer);
  depend(pool_tag(vip->pool));
  const model::Pool* pool = snapshot_.pool(vip->pool);
  if (unreadable(balancer) || unreadable(pool)) {
    drop_at(j, DropReason::newer_schema, DeviceKind::vip, *vip,
            "its load balancer or pool is newer than this agent");
    return Translated::ended;
  }

  (void)standing(j);
  if (connection() != nullptr) {
    // Of one that is translated here; else it was there before the virtual address.
    if (const auto known = known_destination(j, router)) return *known;
    return Translated::for_router;
  }
  if (!begins_connection()) {
    drop_at(j, DropReason::connection_invalid, DeviceKind::vip, *vip,
            "it belongs to no connection to {} port {}", vip->address, vip->port);
    return Translated::ended;
  }
  if (balancer == nullptr || !balancer->admin_up)
    return refuse(j, router, in, DropReason::vip_closed, *vip,
                  "its load balancer is administratively down");
  if (!vip->admin_up)
    return refuse(j, router, in, DropReason::vip_closed, *vip, "is administratively down");
  if (pool == nullptr || !pool->admin_up)
    return refuse(j, router, in, DropReason::vip_closed, *vip, "its pool is administratively down");
  depend(serving_tag(vip->pool));
  const std::shared_ptr<const model::MemberSet>& set = snapshot_.serving(vip->pool);
  if (set == nullptr)
    return refuse(j, router, in, DropReason::no_member, *vip, "no member takes connections");
  if (!translate(j, state::SelectMember{.device = router.id.uuid,
                                        .salt = vip->pool.uuid,
                                        .by_source_address = vip->by_source_address,
                                        .set = set}))
    return Translated::ended;
  note_at(j, DeviceKind::vip, *vip, "{} port {}: member {} port {} of {}", vip->address, vip->port,
          j.key.dst_ip(), j.key.tp_dst.host(), pool->name);
  j.stage->destination_chosen = true;
  return Translated::goes_on;
}

}  // namespace plexus::sim
