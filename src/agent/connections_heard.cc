// SPDX-License-Identifier: Apache-2.0
// What other hosts say of connections: who is believed, and what is done about it.
#include <algorithm>
#include <iterator>

#include "agent/connections.h"

namespace plexus::agent {

using state::Connection;
using state::Direction;
using state::Refusal;

namespace {

Uuid device_of(const model::Port& port) {
  if (const auto* bridge = std::get_if<BridgeId>(&port.device)) return bridge->uuid;
  if (const auto* router = std::get_if<RouterId>(&port.device)) return router->uuid;
  return {};
}

/// Of two records of one connection: nobody could follow both.
bool chose_otherwise(const Connection& a, const Connection& b) {
  return a.reply_zone != b.reply_zone || a.translations != b.translations;
}

}  // namespace

bool Connections::is_mine(const PortId& port) const {
  const model::Binding* binding = snapshot_->binding(port);
  return (binding != nullptr && binding->host == snapshot_->self()) || snapshot_->dp_port(port);
}

/// Whether packets of the direction may enter here: by the port where the other direction left, by another one of its router or
/// bridge, whose addresses may be here by now, or by one of several that got the first packet.
bool Connections::enters_here(const Connection& c, Direction direction) const {
  const PortId& at = c.port_of(direction);
  if (is_mine(at) || (at.is_nil() && direction == Direction::reply)) return true;
  const Uuid& device = c.zone_of(direction).device;
  if (!snapshot_->flood_set(BridgeId{device}).local.empty()) return true;
  const model::Router* router = snapshot_->router(RouterId{device});
  return router != nullptr && std::any_of(router->ports.begin(), router->ports.end(),
                                          [&](const PortId& port) { return is_mine(port); });
}

/// Whether the port is at the host, or was a moment ago.
bool Connections::speaks_for(HostId host, const PortId& port, MonoTime now) const {
  if (const model::Binding* binding = snapshot_->binding(port);
      binding != nullptr && binding->host == host)
    return true;
  const auto moved = moved_.find(port);
  return moved != moved_.end() && moved->second.host == host && now < moved->second.until;
}

/// Whether its zones are the devices of its ports, as far as those are known here.
bool Connections::is_placed(const Connection& c) const {
  const auto fits = [&](const PortId& id, const state::Zone& zone) {
    const model::Port* port = snapshot_->port(id);
    return port == nullptr || device_of(*port) == zone.device;
  };
  return fits(c.port, c.zone) && fits(c.reply_port, c.reply_zone);
}

bool Connections::enters_at(HostId host, const Connection& c, Direction direction,
                            MonoTime now) const {
  if (speaks_for(host, c.port_of(direction), now)) return true;
  const model::Router* router = snapshot_->router(RouterId{c.zone_of(direction).device});
  return router != nullptr &&
         std::any_of(router->ports.begin(), router->ports.end(),
                     [&](const PortId& id) { return speaks_for(host, id, now); });
}

/// Whether it begins at a port that is known here, for the tenant of that port: so the limits of both hold.
bool Connections::is_on_account(const Connection& c) const {
  const model::Port* port = snapshot_->port(c.port);
  return port != nullptr &&
         c.tenant == (port->tenant.empty() ? Uuid() : Uuid::derived("tenant", port->tenant));
}

/// A record is for the host of its port to make: whoever could make one for another's port could open the way to it. A host
/// where one of its ports was hands it over. Who is at one end of it tells those whom its packets reach that are at neither.
Connections::Word Connections::word_of(HostId host, const Connection& c, MonoTime now) const {
  if (is_mine(c.reply_port) && speaks_for(host, c.reply_port, now)) return Word::counts;
  if (is_mine(c.port)) return speaks_for(host, c.port, now) ? Word::counts : Word::none;
  if (enters_at(host, c, Direction::original, now) && enters_here(c, Direction::reply) &&
      (speaks_for(host, c.port, now) || is_on_account(c)))
    return Word::counts;
  if (enters_at(host, c, Direction::reply, now) && enters_here(c, Direction::original) &&
      is_on_account(c))
    return Word::joins;
  // What came in by one uplink of a router goes on by another: who has the one gets such packets anyhow.
  if (!c.translations.empty() && speaks_for(host, c.port, now) &&
      snapshot_->router(RouterId{c.zone.device}) != nullptr && enters_here(c, Direction::original))
    return Word::counts;
  return Word::none;
}

/// Whoever has a port in a bridge could say that answers enter there: it makes no record of what is known here into another.
bool Connections::joins_what_is_here(const Connection& c, MonoTime now) const {
  const auto found = table_.find(c.zone, c.original, now);
  if (!found) return true;
  const Connection here = table_.connection(found->number);
  return found->direction == Direction::original && here.stamp.epoch == c.stamp.epoch &&
         here.port == c.port && !chose_otherwise(here, c) &&
         (here.reply_port == c.reply_port || here.reply_port.is_nil() || c.reply_port.is_nil());
}

/// Of two uplinks of a router one has not been told of a connection, and has chosen otherwise for its next packet: who has been
/// answered by what is here goes on there, whichever host's id is the higher.
bool Connections::is_known_better(const Connection& c, MonoTime now) const {
  if (c.replied()) return false;
  const auto found = table_.find(c.zone, c.original, now);
  if (!found || found->direction != Direction::original) return false;
  const Connection here = table_.connection(found->number);
  return here.replied() && here.stamp.epoch == c.stamp.epoch && here.port != c.port &&
         chose_otherwise(here, c);
}

/// Whether a record that another host keeps may take the place of ours, which began here: it began at the same port, or at another
/// uplink of the router, and has been answered.
bool Connections::may_have_begun(const Connection& c, const Connection& ours) const {
  if (!chose_otherwise(c, ours)) return false;
  if (c.port == ours.port) return is_mine(c.port) && !(c.stamp < ours.stamp);
  return c.stamp.epoch >= ours.stamp.epoch && c.replied() && !ours.replied() &&
         snapshot_->router(RouterId{c.zone.device}) != nullptr && is_mine(ours.port) &&
         is_on_account(c);
}

void Connections::receive(const IpAddr& source, std::span<const uint8_t> bytes, MonoTime now) {
  ++counters_.received;
  if (snapshot_ == nullptr) return;
  const auto message = decode_message(bytes, now);
  if (!message) {
    ++counters_.unreadable;
    return;
  }
  const HostId from = message->from;
  const model::Host* host = snapshot_->host(from);
  if (host == nullptr || host->fenced ||
      std::find(host->tunnel_addresses.begin(), host->tunnel_addresses.end(), source) ==
          host->tunnel_addresses.end() ||
      !is_placed(message->connection)) {
    ++counters_.not_believed;
    return;
  }
  switch (message->kind) {
    case MessageKind::record:
      return receive_record(from, message->connection, now);
    case MessageKind::stored:
    case MessageKind::refused:
    case MessageKind::taken:
      return receive_answer(from, message->connection, message->kind, now);
    case MessageKind::news:
      return receive_news(from, message->connection, now);
  }
}

void Connections::receive_record(HostId from, const Connection& c, MonoTime now) {
  const Word word = word_of(from, c, now);
  if (word == Word::none) {
    ++counters_.not_believed;
    return;
  }
  if (word == Word::joins && !joins_what_is_here(c, now)) {
    ++counters_.refused_here;
    const auto found = table_.find(c.zone, c.original, now);
    return send(from, MessageKind::stored, table_.connection(found->number), now);
  }
  if (is_known_better(c, now)) {
    ++counters_.refused_here;
    const auto found = table_.find(c.zone, c.original, now);
    return send(from, MessageKind::stored, table_.connection(found->number), now);
  }
  const auto done = take_in(c, now);
  if (done.refusal != Refusal::none) {
    ++counters_.refused_here;
    const bool taken = done.refusal == Refusal::tuple_taken &&
                       table_.find(c.reply_zone, c.entering(Direction::reply), now);
    return send(from, taken ? MessageKind::taken : MessageKind::refused, c, now);
  }
  if (done.created) ++counters_.taken_over;
  const Connection there = table_.connection(done.number);
  beside(done.number).told = there.last_seen;
  send(from, MessageKind::stored, there, now);
}

void Connections::receive_answer(HostId from, const Connection& c, MessageKind kind, MonoTime now) {
  const auto found = table_.find(c.zone, c.original, now);
  const auto told = found ? told_.find(found->number) : told_.end();
  if (told == told_.end()) return;  // answered twice, or it is over: nobody waits
  if (!contains(told->second.waiting, from)) {
    if (!contains(told->second.know, from)) ++counters_.not_believed;
    return;
  }
  if (kind != MessageKind::stored) {
    ++counters_.refused_elsewhere;
    if (kind == MessageKind::taken && give_up_lease(*found, c, from, now)) return;
    return heard_from(found->number, from);
  }
  ++counters_.acknowledged;
  const Connection ours = table_.connection(found->number);
  if (found->direction == Direction::original && may_have_begun(c, ours)) {
    heard_from(found->number, from);
    return settle_choice(found->number, c, from, now);
  }
  // Another connection between the same ends, known where packets of ours have only now come: they go by what ours began
  // with, or leave untranslated.
  if (told->second.lasting &&
      (chose_otherwise(c, ours) || (c.port != ours.port && c.last_seen < ours.last_seen)))
    return heard_from(found->number, from);
  // What it has there may be newer than ours: its own, that crosses ours; or of an earlier life of this connection.
  const bool of_our_own = found->direction == Direction::original && is_mine(c.port) &&
                          speaks_for(from, c.reply_port, now);
  const Word word = of_our_own ? Word::counts : word_of(from, c, now);
  if (word == Word::none || (word == Word::joins && !joins_what_is_here(c, now)))
    return heard_from(found->number, from);
  const Number number = found->number;
  const auto done = take_in(c, now);
  heard_from(done.refusal == Refusal::none ? done.number : number, from);
}

/// A host that has lost its records leases what others know to be leased. As long as nothing has been answered another port does as
/// well; with this one the answers would go to somebody else.
bool Connections::give_up_lease(state::ConnectionTable::Found found, const Connection& offered,
                                HostId from, MonoTime now) {
  const Connection ours = table_.connection(found.number);
  if (found.direction != Direction::original || !is_mine(ours.port) || !is_leased_here(ours) ||
      ours.replied() || ours.stamp != offered.stamp || chose_otherwise(ours, offered) ||
      !enters_at(from, ours, Direction::reply, now))
    return false;
  refused_.note(ours.reply_zone, ours.entering(Direction::reply), from,
                now + options_.refused_lease);
  erase({found.number});
  return true;
}

/// Only a host that has lost its records chooses twice. What it has forgotten counts: as if nothing had been lost, the
/// connection goes on to its member and from its port, and whether those are still there the next simulation finds out. Where it
/// cannot be taken (another connection has its port by now), ours begins above it.
void Connections::settle_choice(Number number, const Connection& there, HostId from, MonoTime now) {
  if (there.stamp.epoch == UINT32_MAX) return;  // nothing is above it
  Connection ours = table_.connection(number), theirs = there;
  // Others may keep to ours by now, or to a third one. Of two choices with one stamp each host would stay with its own, and we would
  // go from one to the other for ever: so this one begins above them all, and everybody is told.
  Hosts others;
  if (const auto told = told_.find(number); told != told_.end()) {
    for (const Hosts* hosts : {&told->second.know, &told->second.waiting})
      std::copy_if(hosts->begin(), hosts->end(), std::back_inserter(others),
                   [&](const HostId& host) { return host != from; });
  }
  if (!others.empty()) theirs.stamp = {there.stamp.epoch + 1, snapshot_->self()};
  // What has been answered is given up for nobody's earlier one.
  const bool stands = ours.replied() && there.last_seen < ours.last_seen;
  // Nor is a lease taken back that another uplink has refused: one of them would always refuse.
  const auto refused_by =
      refused_.refused_by(there.reply_zone, there.entering(Direction::reply), now);
  const bool possible = !refused_by || *refused_by == from;
  // Who has the uplink where it began knows as well as who has the member, unless the client begins anew.
  const bool begins = (ours.seen[0] & state::seen::kSyn) != 0;
  const bool keeps = enters_at(from, there, Direction::reply, now) ||
                     (!begins && there.port != ours.port && speaks_for(from, there.port, now));
  if (!stands && possible && keeps) {
    erase({number});
    if (const auto done = take_in(theirs, now); done.refusal == Refusal::none) {
      ++counters_.adopted;
      if (others.empty()) return;
      others.push_back(from);
      return tell_anew(done.number, std::move(others), now);
    }
  }
  ours.stamp.epoch = there.stamp.epoch + 1;
  const auto done = take_in(ours, now);
  if (!stands || done.refusal != Refusal::none) return;
  others.push_back(from);
  if (const model::Binding* end = snapshot_->binding(ours.reply_port);
      end != nullptr && end->host != snapshot_->self() && !contains(others, end->host))
    others.push_back(end->host);
  tell_anew(done.number, std::move(others), now);
}

/// The record is another one than they know, answered or not.
void Connections::tell_anew(Number number, Hosts hosts, MonoTime now) {
  Told& told = told_[number];
  told.waiting = std::move(hosts);
  told.lasting = told.holding = true;
  tell_those_waiting(number, told, now);
  set_due(number, told, now + options_.hold);
}

void Connections::receive_news(HostId from, const Connection& c, MonoTime now) {
  const auto found = table_.find(c.zone, c.original, now);
  // The host where answers come in says what it has seen of a connection, not which connections there are.
  bool known = found && found->direction == Direction::original &&
               table_.stamp(found->number).epoch == c.stamp.epoch;
  if (known && !(is_mine(c.port) && enters_at(from, c, Direction::reply, now))) {
    // At neither end, but told of it by us: its packets go there.
    const auto told = told_.find(found->number);
    known = told != told_.end() && told->second.lasting && contains(told->second.know, from) &&
            c.reply_port == table_.port(found->number, Direction::reply);
    // Of a port that is leased from here both ends tell.
    if (const Connection leased = table_.connection(found->number);
        !known && is_leased_here(leased) && c.port == leased.port)
      known = enters_at(from, leased, Direction::original, now) ||
              enters_at(from, leased, Direction::reply, now);
  }
  Connection ours = known ? table_.connection(found->number) : Connection{};
  // Of two that answer what was flooded, the first whose word comes here has the connection.
  if (known && (ours.reply_port.is_nil() || ours.reply_port == c.reply_port) &&
      ours.reply_zone == c.reply_zone && ours.translations == c.translations) {
    ours.reply_port = c.reply_port;
    ours.seen = state::joined(ours.seen, c.seen);
    ours.last_seen = std::max(ours.last_seen, c.last_seen);
    const bool more = take_in(ours, now).changed;
    beside(found->number).told = ours.last_seen;
    // Other uplinks by which it may go on hear of its answer from here only.
    const auto told = told_.find(found->number);
    if (more && told != told_.end() && told->second.lasting && is_mine(c.port))
      announce_news(found->number, Direction::original, now);
    return;
  }
  const Word word = word_of(from, c, now);
  if (word == Word::none) {
    ++counters_.not_believed;
    return;
  }
  if (word == Word::joins && !joins_what_is_here(c, now)) {
    ++counters_.refused_here;
    return;
  }
  const auto done = take_in(c, now);
  if (done.refusal != Refusal::none) {
    ++counters_.refused_here;
    return;
  }
  if (done.created) ++counters_.taken_over;
  beside(done.number).told = table_.last_seen(done.number);
}

}  // namespace plexus::agent
