// SPDX-License-Identifier: Apache-2.0
// What a packet is to the connections that are known, and what its path makes of a new one. Asked by the first stage that wants
// to know; from then on the packet's class is one connection's direction. docs/design/connections.md has the whole picture.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "packet/headers.h"
#include "sim/simulation.h"

namespace plexus::sim {
namespace {

/// Segments with one of them change what is known, so they are upcalls.
constexpr uint8_t kChangesFacts =
    state::tcp_flag::kFin | state::tcp_flag::kSyn | state::tcp_flag::kRst;

const IpPrefix kGroups4{IpAddr::v4(0xe0000000), 4}, kGroups6{IpAddr::v6({0xff}), 8};

DropReason reason_of(state::NoInstance why) {
  switch (why) {
    case state::NoInstance::ports_exhausted:
      return DropReason::snat_exhausted;
    case state::NoInstance::no_member:
      return DropReason::no_member;
    case state::NoInstance::none:
    case state::NoInstance::wrong_family:
    case state::NoInstance::untracked:
      break;
  }
  return DropReason::translation_failed;
}

/// What turns every packet of `before` into `after`, whatever its tuple was.
state::FixedTranslation one_to_one(const state::Tuple& before, const state::Tuple& after) {
  state::FixedTranslation t;
  t.kind = state::TranslationKind::one_to_one;
  const auto whole = [](const IpAddr& a) { return IpPrefix{a, static_cast<uint8_t>(a.bits())}; };
  if (before.src != after.src) t.src = whole(after.src);
  if (before.dst != after.dst) t.dst = whole(after.dst);
  if (before.src_port != after.src_port)
    t.src_port = state::PortShift{before.src_port, after.src_port};
  if (before.dst_port != after.dst_port)
    t.dst_port = state::PortShift{before.dst_port, after.dst_port};
  return t;
}

bool is_fragment(const Generated& made) {
  return made.kind == GeneratedKind::fragment;
}

struct ChosenAt {
  Uuid device;
  state::TranslationKind kind{};
};
ChosenAt place_of(const state::Stage& stage) {
  if (const auto* member = std::get_if<state::SelectMember>(&stage))
    return {member->device, state::TranslationKind::member};
  if (const auto* lease = std::get_if<state::LeasePort>(&stage))
    return {lease->device, state::TranslationKind::source};
  const auto& fixed = std::get<state::FixedTranslation>(stage);
  return {fixed.device, fixed.kind};
}

}  // namespace

state::Zone zone_of(const model::Port& port) {
  if (const auto* bridge = std::get_if<BridgeId>(&port.device)) return {bridge->uuid};
  if (const auto* router = std::get_if<RouterId>(&port.device)) return {router->uuid};
  return {};
}

// ---- what it is

state::Standing Simulation::standing(Journey& j) {
  if (j.mask == nullptr) return standing_of_made(j);
  if (!tracked_) track();
  return standing_;
}

/// Of what a device has made because of a packet: an answer to that, whatever has become of it.
state::Standing Simulation::standing_of_made(const Journey& j) const {
  const state::Sighting made = state::sighting_of(*j.parsed, j.bytes);
  state::Standing standing = state::standing_without_record(made, connections_.midstream);
  if (made.kind == state::SightingKind::error && !made.tuple.src.is_none()) {
    // It goes against the packet that it is about, which may have been an answer itself.
    standing.state = state::ConnectionState::related;
    standing.reply = !(tracked_ && standing_.reply);
  }
  // Of TCP devices make resets only.
  if (made.kind == state::SightingKind::tracked &&
      (made.tuple.echo == state::EchoRole::reply || made.tuple.protocol == ip_proto::kTcp)) {
    standing.state = state::ConnectionState::established;
    standing.reply = true;
  }
  return standing;
}

/// Reads what says which connection it is, of the packet as it came in, in a fixed order.
void Simulation::note_connection_bits() {
  const FlowKey& key = packet_.key;
  mask_.eth_type = Be16(0xffff);
  const bool v6 = key.is_ipv6();
  if (!v6 && !key.is_ipv4()) return;
  mask_.ip_frag = 0xff;
  if (key.ip_frag == static_cast<uint8_t>(FragKind::later)) return;
  const size_t size = v6 ? 16 : 4;
  const IpPrefix& groups = v6 ? kGroups6 : kGroups4;
  uint8_t* const addresses = mask_.nw.data();
  const Journey::FieldBits destination{key.nw.data() + size, addresses + size, size};
  if (destination.starts_with(groups.addr.bytes.data(), groups.length)) return;
  std::memset(addresses, 0xff, size);
  mask_.ip_proto = 0xff;
  if (key.ip_proto == (v6 ? ip_proto::kIcmpv6 : ip_proto::kIcmp)) mask_.tp_src = Be16(0xffff);
  if (key.src_ip().is_unspecified()) return;
  std::memset(addresses + size, 0xff, size);
  if (!state::has_ports(key.ip_proto)) return;
  mask_.tp_src = mask_.tp_dst = Be16(0xffff);
  // ACK, too: without any of these flags a segment is none of TCP's.
  if (key.ip_proto == ip_proto::kTcp)
    mask_.tcp_flags = static_cast<uint8_t>(mask_.tcp_flags | kChangesFacts | state::tcp_flag::kAck);
}

void Simulation::track() {
  tracked_ = true;
  note_connection_bits();
  sighting_ = state::sighting_of(packet_.parsed, packet_.frame);
  standing_ = state::standing_without_record(sighting_, connections_.midstream);
  if (connections_.table != nullptr) {
    if (entered_by_ != nullptr) {
      standing_ = state::standing_of(*connections_.table, zone_of(*entered_by_), sighting_,
                                     connections_.midstream, now_);
    } else if (!flooded_on_.is_nil()) {
      standing_ = state::standing_leaving(*connections_.table, {flooded_on_.uuid}, sighting_,
                                          connections_.midstream, now_);
    }
  }
  if (anew_) {
    standing_.state = state::ConnectionState::new_;
    standing_.opens_anew = true;
  }
  if (sighting_.kind == state::SightingKind::error || sighting_.tuple.echo != state::EchoRole::none)
    cacheable_ = false;
  shows_facts_ = sighting_.tuple.protocol == ip_proto::kTcp &&
                 ((sighting_.tcp_flags & kChangesFacts) != 0 ||
                  standing_.state == state::ConnectionState::new_);
}

const state::Connection* Simulation::connection() {
  if (!tracked_ || !standing_.number || standing_.opens_anew) return nullptr;
  if (!record_) record_ = connections_.table->connection(*standing_.number);
  return &*record_;
}

bool Simulation::of_untranslated_connection() const {
  return tracked_ && sighting_.kind == state::SightingKind::tracked && standing_.number &&
         !standing_.opens_anew && !connections_.table->is_translated(*standing_.number);
}

bool Simulation::leaves_as_answer(Journey& j) {
  if (j.mask == nullptr || j.ends_elsewhere || !tracked_ || !standing_.reply ||
      sighting_.kind != state::SightingKind::tracked || connection() == nullptr ||
      !connections_.table->is_translated(*standing_.number))
    return true;
  const state::Tuple here = tuple_here(j);
  if (here == connection()->leaving(state::Direction::reply)) return true;
  drop(j, DropReason::translation_failed, DeviceKind::packet, {}, {},
       trace_ == nullptr ? std::string()
                         : fmt::format("is an answer that would leave as {}: what its connection "
                                       "was translated by is gone",
                                       here.str()));
  return false;
}

bool Simulation::begins_connection() const {
  return tracked_ && entered_by_ != nullptr && sighting_.kind == state::SightingKind::tracked &&
         standing_.state == state::ConnectionState::new_ &&
         (!standing_.number || standing_.opens_anew);
}

// ---- the packet where it is now

state::Tuple Simulation::tuple_here(const Journey& j) const {
  state::Tuple t = sighting_.tuple;
  t.src = j.key.src_ip();
  t.dst = j.key.dst_ip();
  if (state::has_ports(t.protocol)) {
    t.src_port = j.key.tp_src.host();
    t.dst_port = j.key.tp_dst.host();
  } else if (j.rewrite.tp_src) {
    (t.echo == state::EchoRole::reply ? t.dst_port : t.src_port) = *j.rewrite.tp_src;
  }
  return t;
}

std::optional<state::Tuple> Simulation::original_here(const Journey& j,
                                                      const state::Standing& standing) const {
  state::Tuple t;
  if (j.mask == nullptr || sighting_.kind == state::SightingKind::error) {
    // What it quotes is as here: whoever translates an error translates that, too.
    const state::Sighting now = state::sighting_of(*j.parsed, j.bytes);
    if (now.kind == state::SightingKind::untracked || now.tuple.src.is_none()) return std::nullopt;
    t = now.kind == state::SightingKind::error ? now.tuple.reversed() : now.tuple;
  } else {
    t = tuple_here(j);
  }
  return standing.reply ? t.reversed() : t;
}

// ---- translations

void Simulation::rewrite_to(Journey& j, const state::Tuple& after) const {
  j.translate(state::rewrite_between(tuple_here(j), after));
}

bool Simulation::translate_known(Journey& j, const Uuid& device, Side side) {
  const state::Connection* c = connection();
  if (c == nullptr || j.mask == nullptr || sighting_.kind != state::SightingKind::tracked)
    return false;
  const state::Direction direction = standing_.direction();
  const state::TuplesAlong along = state::tuples_along(*c, direction);
  const size_t count = c->translations.size();
  bool done = false;
  while (true) {
    const state::Tuple here = tuple_here(j);
    // Translations that keep no state have been made without us.
    const auto at = std::find(along.begin() + j.translations, along.end(), here);
    if (at == along.end()) return done;
    j.translations = static_cast<uint8_t>(at - along.begin());
    if (j.translations == count) return done;
    const size_t step =
        direction == state::Direction::original ? j.translations : count - 1 - j.translations;
    const state::Tuple& after = along[j.translations + 1u];
    // The identifier of an echo stands at the side that asks.
    const bool to_destination = here.dst != after.dst || here.dst_port != after.dst_port;
    if (c->translations[step].device != device || to_destination != (side == Side::destination))
      return done;
    rewrite_to(j, after);
    ++j.translations;
    done = true;
  }
}

bool Simulation::commit_stage(Journey& j, state::Stage stage) {
  if (j.stages != commit_.stages.size() || commit_.stages.size() == state::kMaxTranslations) {
    drop(j, DropReason::translation_failed, DeviceKind::packet, {}, {},
         commit_.stages.size() == state::kMaxTranslations
             ? "is translated too often on its way"
             : "is translated, as another copy of it is");
    return false;
  }
  commit_.stages.push_back(std::move(stage));
  ++j.stages;
  return true;
}

bool Simulation::commit_what_was_done(Journey& j) {
  const state::Tuple here = tuple_here(j);
  const state::Tuple& before = stage_tuple_ ? *stage_tuple_ : sighting_.tuple;
  if (here == before) return true;
  if (!commit_stage(j, one_to_one(before, here))) return false;
  stage_tuple_ = here;
  ++j.translations;
  return true;
}

bool Simulation::translate(Journey& j, state::Stage stage) {
  PLEXUS_CHECK(j.mask != nullptr, "what a device has made begins no connection");
  (void)standing(j);
  if (!begins_connection()) {
    drop(j, DropReason::translation_failed, DeviceKind::packet, {}, {},
         "can begin no connection, so nothing can be chosen for it");
    return false;
  }
  if (!commit_what_was_done(j)) return false;
  const ChosenAt place = place_of(stage);
  if (!commit_stage(j, std::move(stage))) return false;
  state::Tuple after = tuple_here(j);
  if (preset_ != nullptr) {
    // The choice has been made, with all stages in view.
    if (j.translations < preset_->translations.size()) {
      const state::Translation& t = preset_->translations[j.translations];
      if (t.device == place.device && t.kind == place.kind) after = t.after, ++j.translations;
    }
  } else {
    const state::Instance instance = instantiate();
    if (instance.reason != state::NoInstance::none) {
      drop(j, reason_of(instance.reason), DeviceKind::packet, {}, {},
           trace_ == nullptr
               ? std::string()
               : fmt::format("cannot be translated: {}", state::to_string(instance.reason)));
      return false;
    }
    after = instance.connection.final_tuple();
    j.translations = static_cast<uint8_t>(instance.connection.translations.size());
  }
  rewrite_to(j, after);
  stage_tuple_ = after;
  return true;
}

void Simulation::begin_anew() {
  if (tracked_ && standing_.number && !standing_.opens_anew && entered_by_ != nullptr &&
      sighting_.kind == state::SightingKind::tracked)
    again_ = Again::anew;
}

state::Instance Simulation::instantiate() {
  state::Stamp stamp{.epoch = 1, .origin = snapshot_.self()};
  const state::ConnectionTable* table = connections_.table;
  if (standing_.number) stamp.epoch = table->stamp(*standing_.number).epoch + 1;
  // The record that this one takes the place of is in nobody's way.
  state::Instance out = state::instantiate(
      commit_, sighting_, stamp, now_, [&](const state::Zone& zone, const state::Tuple& entering) {
        if (connections_.refused != nullptr &&
            connections_.refused->refused_by(zone, entering, now_))
          return false;
        if (table == nullptr) return true;
        const auto found = table->find(zone, entering, now_);
        return !found || found->number == standing_.number;
      });
  if (out.crowded && leasing_ &&
      std::find(writes_.begin(), writes_.end(), StateWrite(*leasing_)) == writes_.end())
    writes_.push_back(*leasing_);
  return out;
}

// ---- the end

void Simulation::delivered(Journey& j, const state::Delivery& at, const HostId& host) {
  if (j.mask == nullptr || j.ends_elsewhere) return;
  if (host != snapshot_.self()) out_.tell.push_back(host);
  if (deliveries_++ != 0) {
    delivery_.port = {};
    return;
  }
  delivery_ = at;
  delivered_key_ = j.key;
  delivered_rewrite_ = j.rewrite.tp_src;
  delivered_stages_ = j.stages;
  delivered_translations_ = j.translations;
}

void Simulation::tell_gateways() {
  tell_uplinks(RouterId{delivery_.zone.device});
  // What was chosen for it where it came in another uplink of that router would choose otherwise after the next change.
  const bool chosen = out_.begins
                          ? !out_.begins->record.translations.empty()
                          : out_.belongs && connections_.table->is_translated(out_.belongs->number);
  if (chosen && entered_by_ != nullptr && zone_of(*entered_by_) != delivery_.zone)
    tell_uplinks(RouterId{zone_of(*entered_by_).device});
}

void Simulation::tell_uplinks(RouterId id) {
  const model::Router* router = snapshot_.router(id);
  if (router == nullptr) return;
  for (const PortId at : router->ports) {
    const model::Port* port = snapshot_.port(at);
    const model::Binding* binding = snapshot_.binding(at);
    if (port != nullptr && !port->peer && binding != nullptr && binding->active &&
        binding->host != snapshot_.self())
      out_.tell.push_back(binding->host);
  }
}

bool Simulation::refused_as_unknown() const {
  return out_.verdict == Verdict::drop && !standing_.number && commit_.stages.empty() &&
         sighting_.kind == state::SightingKind::tracked &&
         sighting_.tuple.echo == state::EchoRole::none &&
         (out_.reason == DropReason::connection_invalid ||
          out_.reason == DropReason::filtered_by_rule ||
          out_.reason == DropReason::filtered_by_security_group);
}

void Simulation::settle_connection() {
  Outcome& out = out_;
  const bool tracked = tracked_ && sighting_.kind != state::SightingKind::untracked;
  // What is redirected, or refused by filters, is what it is for its tuple alone.
  const bool refused = tracked && (refused_as_unknown() || (redirected_ && deliveries_ == 0));
  if (tracked && shows_facts_ && !refused) cacheable_ = false;
  // What only mirrors get goes nowhere. What is cut into fragments goes on.
  const bool cut = out.verdict == Verdict::consumed &&
                   std::any_of(out.generated.begin(), out.generated.end(), &is_fragment);
  if (!tracked || (out.verdict != Verdict::forward && !cut) || deliveries_ == 0) {
    out.tell.clear();
    // No tag says when a record will be there that changes this. What filters refuse has a flow of this tuple alone, which
    // the worker finds when a record of the tuple comes.
    if (tracked && !standing_.number && !refused) cacheable_ = false;
    return;
  }
  if (begins_connection() && !begin_connection()) return;
  if (!out.begins) {
    if (!standing_.number) {
      cacheable_ = false;
    } else if (standing_.state != state::ConnectionState::invalid) {
      const bool error = sighting_.kind == state::SightingKind::error;
      out.belongs = KnownConnection{.number = *standing_.number,
                                    .direction = standing_.direction(),
                                    .segment = state::segment_of(sighting_),
                                    .error = error};
    }
  }
  const bool answered =
      out.belongs && (standing_.reply || connections_.table->seen(*standing_.number)[1] != 0);
  // Later only where it goes is of interest: all uplinks were told when it began. Nobody is told where its record would not be
  // found, nor of what is flooded because an end is not known to be anywhere: its next packet says where it is.
  if (!answered)
    tell_gateways();
  else if (delivery_.port.is_nil() ||
           delivery_.zone !=
               connections_.table->zone(*standing_.number, opposite(standing_.direction())))
    out.tell.clear();
  std::sort(out.tell.begin(), out.tell.end());
  out.tell.erase(std::unique(out.tell.begin(), out.tell.end()), out.tell.end());
}

bool Simulation::begin_connection() {
  Journey end;
  end.mask = &mask_;
  end.key = delivered_key_;
  end.rewrite.tp_src = delivered_rewrite_;
  end.stages = delivered_stages_;
  end.translations = delivered_translations_;
  Fate fate;
  end.fate = &fate;
  const auto fail = [&](DropReason reason) {
    out_.verdict = Verdict::drop;
    out_.reason = reason;
    out_.actions.copies.clear();
    out_.mirrored.clear();
    blamed_ = fate.blamed;
    std::erase_if(out_.generated, &is_fragment);
    out_.tell.clear();
    cacheable_ = false;
    return false;
  };
  // Answered in place, say: nothing has left by any port.
  if (deliveries_ == 0) return true;
  if (!commit_what_was_done(end)) return fail(fate.reason);
  commit_.zone = zone_of(*entered_by_);
  commit_.port = entered_by_->id;
  commit_.tenant =
      entered_by_->tenant.empty() ? Uuid() : Uuid::derived("tenant", entered_by_->tenant);
  commit_.delivery = delivery_;
  state::Instance instance = instantiate();
  if (instance.reason != state::NoInstance::none) return fail(reason_of(instance.reason));
  state::Connection& made = instance.connection;
  if (made.final_tuple() != tuple_here(end)) {
    if (preset_ == nullptr) {
      // With all stages and the way back in view another choice was made than the stages thought. Once more, with that.
      chosen_ = made;
      again_ = Again::with_choice;
    } else if (preset_->final_tuple() == tuple_here(end)) {
      // What was in the way of the first choice is in the way where that one leads, not where this one does.
      made.translations = preset_->translations;
    } else {
      return fail(DropReason::translation_failed);
    }
  }
  out_.begins.emplace(NewConnection{.commit = std::move(commit_), .record = std::move(made)});
  return true;
}

}  // namespace plexus::sim
