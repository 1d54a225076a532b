// SPDX-License-Identifier: Apache-2.0
// Floating addresses at routers: one address outside for one inside, both ways, without any state. docs/translations.md says
// when which address is translated.
#include "sim/outside_address.h"
#include "sim/simulation.h"
#include "state/icmp_error.h"

namespace plexus::sim {

const model::AddressUses* Simulation::outside_uses(Journey& j, const model::Router& router,
                                                   const IpAddr& address) {
  depend_on_translation(router, address, j.mask == nullptr || j.rewrite.ip_dst.has_value());
  const model::TranslationTable* table = snapshot_.translations(router.id);
  if (table == nullptr) return nullptr;
  const model::AddressFound found = table->outside(address);
  j.note_dst_bits(found.bits_read);
  return found.uses;
}

const model::FloatingIp* Simulation::floating_ip_of(Journey& j, const model::Router& router) {
  const IpAddr address = j.key.src_ip();
  depend_on_translation(router, address, j.mask == nullptr || j.rewrite.ip_src.has_value());
  const model::TranslationTable* table = snapshot_.translations(router.id);
  if (table == nullptr) return nullptr;
  const model::AddressFound found = table->inside(address);
  j.note_src_bits(found.bits_read);
  return found.uses != nullptr ? working_floating_ip(*found.uses) : nullptr;
}

const model::FloatingIp* Simulation::working_floating_ip(const model::AddressUses& uses) const {
  return sim::working_floating_ip(snapshot_, uses);
}

std::optional<IpAddr> Simulation::floating_address_of(const model::Router& router,
                                                      const IpAddr& inside) {
  depend_on_translation(router, inside, true);
  const model::TranslationTable* table = snapshot_.translations(router.id);
  if (table == nullptr) return std::nullopt;
  const model::AddressFound found = table->inside(inside);
  const model::FloatingIp* floating =
      found.uses != nullptr ? working_floating_ip(*found.uses) : nullptr;
  if (floating == nullptr || floating->unreadable) return std::nullopt;
  return floating->address;
}

Simulation::Translated Simulation::to_floating(Journey& j, const model::Router& router,
                                               const model::Port& in,
                                               const model::AddressUses& uses) {
  const model::FloatingIp* any = snapshot_.floating_ip(uses.floating_ips.front());
  if (any == nullptr || any->unreadable) {
    drop(j, DropReason::newer_schema, DeviceKind::router, router.name,
         uses.floating_ips.front().uuid, "the floating address's record is newer than this agent");
    return Translated::ended;
  }
  const model::FloatingIp* floating = working_floating_ip(uses);
  if (floating == nullptr) {
    drop_at(j, DropReason::vip_closed, DeviceKind::floating_ip, *any, "{} {}", any->address,
            any->admin_up ? "stands for nobody" : "is administratively down");
    return Translated::ended;
  }
  if (!in.outside) {
    // The answer would come from the inside address, by whatever way, were the source not translated, too. Errors answer nothing:
    // who is on the way keeps its address.
    if (!is_error_class(j) && floating_ip_of(j, router) == nullptr)
      return to_floating_hidden(j, router, *floating);
    j.stage->hairpin = true;
  }
  note_at(j, DeviceKind::floating_ip, *floating, "{} is {} inside", floating->address,
          *floating->inside);
  if (!is_error_class(j)) {
    Rewrite to_inside;
    to_inside.ip_dst = *floating->inside;
    j.translate(to_inside);
    return Translated::goes_on;
  }
  // What it quotes came from the floating address.
  const Present now(j);
  const auto quoted = state::quoted_tuple(now.parsed, now.frame);
  if (!quoted || quoted->src != floating->address) {
    drop_at(j, DropReason::icmp_error_unrelated, DeviceKind::floating_ip, *floating,
            "the ICMP error quotes no packet from {}", floating->address);
    return Translated::ended;
  }
  state::ErrorTranslation t{.quoted = *quoted, .becomes = *quoted};
  t.becomes.src = *floating->inside;
  t.dst = *floating->inside;
  return translated_error(j, router, t, [&](Journey& next) { route_on(next, router, in); });
}

Simulation::Translated Simulation::to_floating_hidden(Journey& j, const model::Router& router,
                                                      const model::FloatingIp& floating) {
  const auto refused = [&](DropReason reason, std::string_view why) {
    drop_at(j, reason, DeviceKind::floating_ip, floating, "{}", why);
    return Translated::ended;
  };
  const IpAddr& inside = *floating.inside;
  if (j.mask == nullptr)
    return refused(DropReason::translation_failed, "nothing is chosen for what a device has made");
  (void)standing(j);
  j.ask_header();
  if (connection() != nullptr) {
    const auto known = known_destination(j, router);
    if (!known)
      return refused(DropReason::translation_failed,
                     "its connection is known, and was not translated here");
    // The address may stand for another machine by now.
    if (*known == Translated::goes_on && j.key.dst_ip() != inside) {
      begin_anew();
      return Translated::ended;
    }
    return *known;
  }
  if (!begins_connection()) {
    return refused(standing_.state == state::ConnectionState::invalid
                       ? DropReason::connection_invalid
                       : DropReason::fragment_refused,
                   "its sender has no floating address, and it begins no connection");
  }
  if (!translate(
          j, state::FixedTranslation{.device = router.id.uuid,
                                     .rule = floating.id.uuid,
                                     .kind = state::TranslationKind::destination,
                                     .dst = IpPrefix{inside, static_cast<uint8_t>(inside.bits())}}))
    return Translated::ended;
  note_at(j, DeviceKind::floating_ip, floating, "{} is {} inside", floating.address, inside);
  j.stage->destination_chosen = true;
  j.stage->source_hidden = true;
  return Translated::goes_on;
}

Simulation::Translated Simulation::from_floating(Journey& j, const model::Router& router,
                                                 const model::Port& out) {
  const model::TranslationTable* table = snapshot_.translations(router.id);
  if (table == nullptr) {
    depend_on_translation(router, j.key.src_ip(), j.rewrite.ip_src.has_value());
    return Translated::goes_on;
  }
  const model::FloatingIp* floating = floating_ip_of(j, router);
  if (floating != nullptr && floating->unreadable) {
    drop_at(j, DropReason::newer_schema, DeviceKind::floating_ip, *floating,
            "its record is newer than this agent");
    return Translated::ended;
  }
  if (table->has_inside(j.key.src_ip().family) && is_error_class(j)) {
    const Present now(j);
    const auto quoted = state::quoted_tuple(now.parsed, now.frame);
    const auto asked = quoted ? floating_address_of(router, quoted->dst) : std::nullopt;
    if (asked || floating != nullptr) {
      if (!quoted) {
        drop_at(j, DropReason::icmp_error_unrelated, DeviceKind::router, router,
                "the ICMP error does not say which packet it is about");
        return Translated::ended;
      }
      state::ErrorTranslation t{.quoted = *quoted, .becomes = *quoted};
      if (asked) t.becomes.dst = *asked;
      if (floating != nullptr) t.src = floating->address;
      note_at(j, DeviceKind::router, router, "an ICMP error about a packet to {}", t.becomes.dst);
      return translated_error(j, router, t, [&](Journey& next) { leave_translated(next, out); });
    }
  }
  if (floating == nullptr) return Translated::goes_on;
  note_at(j, DeviceKind::floating_ip, *floating, "{} is {} outside", *floating->inside,
          floating->address);
  Rewrite to_outside;
  to_outside.ip_src = floating->address;
  j.translate(to_outside);
  return Translated::goes_on;
}

}  // namespace plexus::sim
