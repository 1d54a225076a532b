// SPDX-License-Identifier: Apache-2.0
// Where a router translates: as packets come to it (translate_in), and when it is known where they leave (translate_out). The
// order of both is docs/translations.md's.
#include <algorithm>
#include <utility>

#include "packet/headers.h"
#include "sim/outside_address.h"
#include "sim/simulation.h"
#include "state/icmp_error.h"

namespace plexus::sim {
namespace {

/// Where the client seems to come from when it and the machine that answers it are next to each other: its own last bits under
/// a prefix that no network of the tenant has (RFC 6598; RFC 8215), so that each client has an address of its own there.
const IpPrefix kNear4{IpAddr::v4(0x64400000), 10};
const IpPrefix kNear6{IpAddr::v6({0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}), 64};

bool is_of(const model::SnatPool& pool, const model::PortBlock& block) {
  return std::find(pool.addresses.begin(), pool.addresses.end(), block.address) !=
             pool.addresses.end() &&
         block.first >= pool.ports.first && block.first + block.length - 1 <= pool.ports.last;
}

}  // namespace

void Simulation::depend_on_translation(const model::Router& router, const IpAddr& address,
                                       bool rewritten) {
  if (rewritten)
    depend(translations_tag(router.id, address), true);
  else
    depend(translations_tag(router.id));
}

bool Simulation::is_error_class(Journey& j) {
  const bool v6 = j.key.is_ipv6();
  const uint8_t icmp = v6 ? ip_proto::kIcmpv6 : ip_proto::kIcmp;
  if (!j.starts_with(BitField::ip_proto, &icmp, 8)) return false;
  const uint16_t type = j.tp_src();
  FlowKey asked = j.key;
  asked.tp_src = Be16(type);
  ParsedPacket error = *j.parsed;
  error.key = asked;
  if (!state::is_icmp_error(error)) return false;
  cacheable_ = false;  // what it quotes is in no class
  return true;
}

bool Simulation::answers_for(const model::Router& router, const model::Port& port,
                             const IpAddr& address, bool rewritten) {
  depend_on_translation(router, address, rewritten);
  return answers_for_outside(snapshot_, router.id, port, address);
}

bool Simulation::answers_translated(Journey& j, const model::Router& router) {
  const state::ConnectionTable* table = connections_.table;
  if (j.mask == nullptr || entered_by_ == nullptr || table == nullptr) return false;
  // Of one whose address has moved here nobody may know yet by which port its answers come.
  const PortId anywhere = state::ConnectionTable::any_port_of(zone_of(*entered_by_));
  const auto may = [&](bool hidden) {
    return table->answers_pass(entered_by_->id, router.id.uuid, hidden) ||
           table->answers_pass(anywhere, router.id.uuid, hidden);
  };
  // Answers to a leased source come to an address that is looked up for itself.
  if (!may(false) && !(may(true) && (j.dst_in(kNear4) || j.dst_in(kNear6)))) return false;
  note_connection_bits();
  j.ask_header();
  const state::Sighting seen = state::sighting_of(packet_.parsed, packet_.frame);
  // What an error quotes, and the identifier of an echo, are in no class.
  if (seen.kind == state::SightingKind::error || seen.tuple.echo == state::EchoRole::reply)
    cacheable_ = false;
  const state::Standing is =
      state::standing_of(*table, zone_of(*entered_by_), seen, connections_.midstream, now_);
  return is.reply && is.number && table->is_translated(*is.number);
}

Simulation::Translated Simulation::translate_in(Journey& j, const model::Router& router,
                                                const model::Port& in) {
  const model::Rule* rule = take_rule(model::RuleAction::dnat);
  const model::TranslationTable* table = snapshot_.translations(router.id);
  if (table != nullptr && table->unreadable()) {
    depend(translations_tag(router.id));
    drop_at(j, DropReason::newer_schema, DeviceKind::router, router,
            "one of its translations is newer than this agent, even its address: it may concern "
            "any packet");
    return Translated::ended;
  }
  // What another device has made (a reset, an echo reply) answers the packet that is simulated, be its connection known or not.
  if (j.mask == nullptr && tracked_ && sighting_.kind == state::SightingKind::tracked &&
      (connection() != nullptr || begins_connection()) && !is_error_class(j) &&
      translate_made(j, router))
    return Translated::goes_on;
  const model::AddressUses* uses = outside_uses(j, router, j.key.dst_ip());
  const bool floating = uses != nullptr && !uses->floating_ips.empty();
  const IpFamily family = j.key.dst_ip().family;
  const bool stateful = table != nullptr && table->has_stateful(family);
  const bool near = table != nullptr && (stateful || table->has_inside(family)) &&
                    (j.dst_in(kNear4) || j.dst_in(kNear6));
  if ((stateful || near || (floating && !in.outside) || rule != nullptr || tracked_) &&
      is_error_class(j)) {
    (void)standing(j);
    j.ask_header();
    // What a device has made tells of the packet that is simulated, be its connection known or not.
    if (connection() != nullptr || (j.mask == nullptr && begins_connection())) {
      const Translated related = related_error(j, router, in);
      if (related != Translated::goes_on || !floating) return related;
    }
  }
  if (floating) return to_floating(j, router, in, *uses);
  // Nothing is chosen for what a device has made.
  if (j.mask == nullptr) return uses != nullptr ? Translated::for_router : Translated::goes_on;
  if (uses != nullptr && !uses->vips.empty()) {
    const Translated vip = to_vip(j, router, in, *uses);
    // The address may be one of a pool, or of rules, as well.
    if (vip != Translated::for_router) return vip;
  }
  // Who asks a member directly is remembered: its answers could be those to a virtual address, from the same client's port.
  if (uses == nullptr && rule == nullptr && !near && !tracked_ &&
      !is_member(j, router, Side::destination))
    return Translated::goes_on;
  (void)standing(j);
  j.ask_header();
  if (sighting_.kind == state::SightingKind::error) {
    if (uses == nullptr) return Translated::goes_on;
    drop_at(j, DropReason::icmp_error_unrelated, DeviceKind::router, router,
            "the ICMP error to {} is about no connection that is known", j.key.dst_ip());
    return Translated::ended;
  }
  if (connection() != nullptr) {
    if (const auto known = known_destination(j, router)) return *known;
  } else if (rule != nullptr) {
    return by_rule(j, router, *rule);
  }
  return uses != nullptr ? Translated::for_router : Translated::goes_on;
}

Simulation::Translated Simulation::translate_out(Journey& j, const model::Router& router,
                                                 const model::Port& out) {
  const model::Rule* rule = take_rule(model::RuleAction::snat);
  if (j.passing != Passing::forwarded || j.stage == nullptr || !j.key.is_ip())
    return Translated::goes_on;
  const bool floats = out.outside || j.stage->hairpin;
  const bool nothing_to_do = rule == nullptr && j.mask != nullptr && of_untranslated_connection();
  if (!nothing_to_do && !j.stage->error_translated && !is_error_about_connection(j) &&
      (tracked_ || rule != nullptr || is_member(j, router, Side::source))) {
    (void)standing(j);
    j.ask_header();
    if (connection() != nullptr) {
      if (translate_known(j, router.id.uuid, Side::source)) return known_source(j, router);
      // What it was translated by is gone, and a rule would translate it now: it is another connection from here on.
      const state::Connection& c = *connection();
      const bool floated =
          std::any_of(c.translations.begin(), c.translations.end(),
                      [](const auto& t) { return t.kind == state::TranslationKind::one_to_one; });
      if (rule != nullptr && standing_.direction() == state::Direction::original &&
          (!c.replied() || floated) && (!floats || floating_ip_of(j, router) == nullptr) &&
          tuple_here(j).src == c.original.src) {
        begin_anew();
        return Translated::ended;
      }
    } else if (const model::FloatingIp* own = floats ? floating_ip_of(j, router) : nullptr;
               own == nullptr) {
      // One translation of the source: a floating address stands above the others.
      Translated done = Translated::goes_on;
      if (rule != nullptr)
        done = by_lease(j, router, *rule);
      else if (j.stage->destination_chosen)
        done = near_source(j, router, out);
      if (done == Translated::ended) return done;
    }
  }
  const Translated left = floats ? from_floating(j, router, out) : Translated::goes_on;
  // About nothing that is known, so there is nothing to translate it by; it must not show an inside address (RFC 5508 REQ-5).
  if (left == Translated::goes_on && rule != nullptr && j.mask != nullptr &&
      !j.stage->error_translated && is_error_about_connection(j) && connection() == nullptr)
    return by_lease(j, router, *rule);
  return left;
}

const model::Rule* Simulation::take_rule(model::RuleAction action) {
  if (translating_ == nullptr || translating_->action != action) return nullptr;
  return std::exchange(translating_, nullptr);
}

bool Simulation::is_error_about_connection(const Journey& j) const {
  return j.mask == nullptr || (tracked_ && sighting_.kind == state::SightingKind::error);
}

bool Simulation::is_member(Journey& j, const model::Router& router, Side side) {
  const bool source = side == Side::source;
  const IpAddr address = source ? j.key.src_ip() : j.key.dst_ip();
  depend_on_translation(
      router, address,
      j.mask == nullptr || (source ? j.rewrite.ip_src : j.rewrite.ip_dst).has_value());
  const model::TranslationTable* table = snapshot_.translations(router.id);
  if (table == nullptr) return false;
  const model::AddressFound found = table->inside(address);
  if (source)
    j.note_src_bits(found.bits_read);
  else
    j.note_dst_bits(found.bits_read);
  return found.uses != nullptr && !found.uses->members.empty();
}

std::optional<bool> Simulation::member_stays(const model::Router& router, bool original) {
  const state::Connection& c = *connection();
  // The same client port once more, while what was before is remembered: a member that is down gets nothing new.
  const bool anew = !c.replied() || state::segment_of(sighting_) == state::Segment::syn;
  for (const state::Translation& t : c.translations) {
    if (t.device != router.id.uuid || t.kind != state::TranslationKind::member) continue;
    depend(member_tag(PoolMemberId{t.choice}));
    const model::PoolMember* member = snapshot_.pool_member(PoolMemberId{t.choice});
    // One that is at another address now is another machine.
    if (member == nullptr || member->address != t.after.dst) return false;
    return member->admin_up && !member->unreadable && (member->up || !original || !anew);
  }
  return std::nullopt;
}

std::optional<Simulation::Translated> Simulation::known_destination(Journey& j,
                                                                    const model::Router& router) {
  const bool original = standing_.direction() == state::Direction::original;
  const auto stays = member_stays(router, original);
  std::optional<Journey> came;
  if (stays && !*stays && original) came.emplace(j);
  if (!translate_known(j, router.id.uuid, Side::destination)) return std::nullopt;
  if (!stays || *stays || !original) {
    note_at(j, DeviceKind::router, router, "of a known connection: to {}", j.key.dst_ip());
    return Translated::goes_on;
  }
  // The member is gone. Who has not been answered may go to another one, and so may who begins again, or speaks a protocol in
  // which nobody could tell: it would send into nothing for as long as it sends.
  const bool tcp = sighting_.tuple.protocol == ip_proto::kTcp;
  if (!connection()->replied() || !tcp || state::segment_of(sighting_) == state::Segment::syn) {
    begin_anew();
    return Translated::ended;
  }
  drop_at(j, DropReason::no_member, DeviceKind::router, router,
          "the member that the connection went to, {}, is gone", j.key.dst_ip());
  tell_rejected(*came);
  return Translated::ended;
}

Simulation::Translated Simulation::known_source(Journey& j, const model::Router& router) {
  const auto stays = member_stays(router, standing_.direction() == state::Direction::original);
  if (stays && !*stays) {
    drop_at(j, DropReason::no_member, DeviceKind::router, router,
            "comes from a member that is gone");
    return Translated::ended;
  }
  note_at(j, DeviceKind::router, router, "of a known connection: from {}", j.key.src_ip());
  return Translated::goes_on;
}

std::optional<state::Tuple> Simulation::before_translation(const model::Router& router, bool made,
                                                           const state::Tuple& delivered) {
  const state::Connection* c = connection();
  std::optional<state::Connection> begun;
  if (c == nullptr) {
    state::Instance instance = instantiate();
    if (instance.reason != state::NoInstance::none) return std::nullopt;
    c = &begun.emplace(std::move(instance.connection));
  }
  // What a device has made goes against the packet that is simulated.
  const bool back = made ? standing_.direction() == state::Direction::original : standing_.reply;
  // It goes the way back of what it is about, and meets the translations in that order.
  state::Tuple about = delivered;
  const state::TuplesAlong along = state::tuples_along(*c, state::Direction::original);
  const size_t count = c->translations.size();
  for (size_t n = 0; n < count; ++n) {
    const size_t i = back ? count - 1 - n : n;
    if (c->translations[i].device != router.id.uuid) continue;
    const state::Tuple& before = along[i];
    const state::Tuple& after = along[i + 1];
    if (back && about == after) about = before;
    if (!back && about == before.reversed()) about = after.reversed();
  }
  if (about == delivered) return std::nullopt;
  return about;
}

Simulation::Translated Simulation::related_error(Journey& j, const model::Router& router,
                                                 const model::Port& in) {
  const Present now(j);
  const auto delivered = state::quoted_tuple(now.parsed, now.frame);
  if (!delivered) return Translated::goes_on;
  const auto sent = before_translation(router, j.mask == nullptr, *delivered);
  if (!sent) return Translated::goes_on;
  note_at(j, DeviceKind::router, router, "an ICMP error about a known connection: {}", sent->str());
  j.stage->error_translated = true;
  return translated_error(j, router,
                          state::translation_of_error(*delivered, *sent, now.parsed.key.src_ip()),
                          [&](Journey& next) { route_on(next, router, in); });
}

bool Simulation::translate_made(Journey& j, const model::Router& router) {
  const Present now(j);
  const state::Sighting made = state::sighting_of(now.parsed, now.frame);
  if (made.kind != state::SightingKind::tracked) return false;
  const auto sent = before_translation(router, true, made.tuple.reversed());
  if (!sent) return false;
  const state::Tuple answer = sent->reversed();
  note_at(j, DeviceKind::router, router, "answers for one of a known connection: {}", answer);
  j.translate(state::rewrite_between(made.tuple, answer));
  return true;
}

Simulation::Translated Simulation::by_rule(Journey& j, const model::Router& router,
                                           const model::Rule& rule) {
  if (!begins_connection()) {
    const bool invalid = standing_.state == state::ConnectionState::invalid;
    drop(j, invalid ? DropReason::connection_invalid : DropReason::fragment_refused,
         DeviceKind::rule, rule.name, rule.id.uuid,
         "cannot be translated: it begins no connection");
    return Translated::ended;
  }
  state::FixedTranslation to{.device = router.id.uuid,
                             .rule = rule.id.uuid,
                             .kind = state::TranslationKind::destination,
                             .dst = rule.to_addresses};
  if (rule.to_ports) {
    // Of a range as long as one of the rule's own each its own, else all the first.
    uint16_t from = j.tp_dst();
    for (const model::PortRange& asked : rule.destination_ports) {
      if (from >= asked.first && from <= asked.last &&
          asked.last - asked.first == rule.to_ports->last - rule.to_ports->first)
        from = asked.first;
    }
    to.dst_port = state::PortShift{from, rule.to_ports->first};
  }
  if (!translate(j, to)) return Translated::ended;
  note(j, DeviceKind::rule, rule.name, rule.id.uuid, "to {}", tuple_here(j));
  j.stage->destination_chosen = true;
  return Translated::goes_on;
}

Simulation::Translated Simulation::by_lease(Journey& j, const model::Router& router,
                                            const model::Rule& rule) {
  const auto refused = [&](DropReason reason, std::string_view why) {
    drop(j, reason, DeviceKind::rule, rule.name, rule.id.uuid, why);
    return Translated::ended;
  };
  if (!begins_connection()) {
    return refused(sighting_.kind == state::SightingKind::error ? DropReason::icmp_error_unrelated
                   : standing_.state == state::ConnectionState::invalid
                       ? DropReason::connection_invalid
                       : DropReason::fragment_refused,
                   "cannot be translated: it begins no connection");
  }
  depend(pool_tag(*rule.snat_pool));
  const model::SnatPool* pool = snapshot_.snat_pool(*rule.snat_pool);
  if (pool == nullptr || pool->unreadable || pool->router != router.id)
    return refused(DropReason::filter_unreadable,
                   "its pool is not known, of another router, or newer than this agent");
  const IpAddr before = j.key.src_ip();
  state::LeasePort lease{.device = router.id.uuid, .blocks = {}};
  // The largest few. Others, and those that the pool has no more, are there for the connections that use them.
  std::vector<model::PortBlock> blocks;
  for (const model::PortBlock& block : snapshot_.port_blocks(pool->id)) {
    if (block.address.family == before.family && state::is_sound(block) && is_of(*pool, block))
      blocks.push_back(block);
  }
  std::stable_sort(blocks.begin(), blocks.end(),
                   [](const auto& a, const auto& b) { return a.length > b.length; });
  blocks.resize(std::min(blocks.size(), state::kMaxLeaseBlocks));
  lease.blocks.assign(blocks.begin(), blocks.end());
  if (lease.blocks.empty())
    return refused(DropReason::snat_exhausted, "this host has no ports of the pool");
  // Without ports, another block of an address that is here already is of no use.
  const auto is_here = [&](const IpAddr& address) {
    return std::any_of(blocks.begin(), blocks.end(),
                       [&](const auto& block) { return block.address == address; });
  };
  if (state::has_leasable_port(tuple_here(j)) ||
      std::any_of(pool->addresses.begin(), pool->addresses.end(), [&](const IpAddr& address) {
        return address.family == before.family && !is_here(address);
      }))
    leasing_ = {pool->id, before.family};
  if (!translate(j, lease)) return Translated::ended;
  note_at(j, DeviceKind::snat_pool, *pool, "{} becomes {}", before, tuple_here(j));
  return Translated::goes_on;
}

Simulation::Translated Simulation::near_source(Journey& j, const model::Router& router,
                                               const model::Port& out) {
  // Both are behind one port: in one network, or in two that a router there joins.
  const bool next_to_it =
      j.stage->came_by == out.id ||
      std::any_of(out.networks.begin(), out.networks.end(), [&](const IpPrefix& network) {
        return network.addr.family == j.key.src_ip().family && network.contains(j.key.src_ip());
      });
  if ((!next_to_it && !j.stage->source_hidden) || !begins_connection()) return Translated::goes_on;
  if (!translate(j, state::FixedTranslation{.device = router.id.uuid,
                                            .rule = out.id.uuid,
                                            .kind = state::TranslationKind::source,
                                            .src = j.key.is_ipv6() ? kNear6 : kNear4}))
    return Translated::ended;
  note_at(j, DeviceKind::router, router, "{} port {}: from {}, so that answers come back here",
          next_to_it ? "both ends are at" : "leaves by", out.name, j.key.src_ip());
  return Translated::goes_on;
}

Simulation::Translated Simulation::translated_error(Journey& j, const model::Router& router,
                                                    const state::ErrorTranslation& translation,
                                                    const OnWith& on_with) {
  cacheable_ = false;
  Frame frame = j.materialize();
  const ParsedPacket before = parse_packet(frame);
  if (!state::translate_icmp_error(translation, before, frame)) {
    drop_at(j, DropReason::icmp_error_unrelated, DeviceKind::router, router,
            "the ICMP error does not quote what it is about");
    return Translated::ended;
  }
  const ParsedPacket parsed = parse_packet(frame);
  Fate fate;
  Journey next = j;
  next.key = parsed.key;
  next.rewrite = Rewrite();
  next.bytes = frame;
  next.parsed = &parsed;
  next.fate = &fate;
  on_with(next);
  if (!fate.copies.empty()) {
    j.fate->consumed = true;
    generated_.push_back(
        {std::move(frame), Actions{std::move(fate.copies)}, GeneratedKind::translated, router.id});
  } else if (fate.consumed) {
    j.fate->consumed = true;
  } else {
    j.fate->lost_as(fate);
  }
  return Translated::ended;
}

}  // namespace plexus::sim
