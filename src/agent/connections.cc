// SPDX-License-Identifier: Apache-2.0
#include "agent/connections.h"

#include <algorithm>
#include <iterator>

#include "base/log.h"

namespace plexus::agent {

using state::Connection;
using state::Direction;
using state::Refusal;

namespace {

sim::DropReason drop_reason_of(Refusal refusal) {
  switch (refusal) {
    case Refusal::none:
      return sim::DropReason::none;
    case Refusal::table_full:
      return sim::DropReason::connections_full;
    case Refusal::port_limit:
      return sim::DropReason::connections_of_port;
    case Refusal::tenant_limit:
      return sim::DropReason::connections_of_tenant;
    case Refusal::tuple_taken:
      return sim::DropReason::connection_conflict;
    case Refusal::unsound:
    case Refusal::expired:
      break;
  }
  return sim::DropReason::connection_invalid;
}

Uuid device_of(const model::Port& port) {
  if (const auto* bridge = std::get_if<BridgeId>(&port.device)) return bridge->uuid;
  if (const auto* router = std::get_if<RouterId>(&port.device)) return router->uuid;
  return {};
}

/// Of two records of one connection: nobody could follow both.
bool chose_otherwise(const Connection& a, const Connection& b) {
  return a.reply_zone != b.reply_zone || a.translations != b.translations;
}

template <typename List, typename Value>
bool contains(const List& list, const Value& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace

Connections::Connections(const ConnectionOptions& options, uint64_t hash_seed)
    : options_(options), table_(options.limits, options.timeouts, hash_seed) {}

void Connections::open(KeptConnections::Place place, MonoTime now) {
  kept_ = std::make_unique<KeptConnections>(std::move(place), table_, now);
}

// --- what happens to records

void Connections::note_stale(const Connection& c, bool replaced) {
  stale_.push_back({c.original, replaced});
  if (!c.translations.empty()) stale_.push_back({c.final_tuple(), replaced});
}

Connections::Beside& Connections::beside(Number number) {
  if (beside_.size() <= number) beside_.resize(size_t{number} + 1);
  return beside_[number];
}

void Connections::changed(Number number, MonoTime now) {
  note_stale(table_.connection(number), false);
  if (kept_) kept_->keep(number, now);
  if (table_.seen(number)[1] == 0) return;
  // Whoever has answered knows of it.
  if (const auto told = told_.find(number); told != told_.end() && !told->second.handed_over) {
    due_.erase({told->second.due, number});
    release(number, told->second);
    told_.erase(told);
  }
}

void Connections::gone(Number number, const Connection& c) {
  note_stale(c, true);
  if (const auto told = told_.find(number); told != told_.end()) {
    due_.erase({told->second.due, number});
    release(number, told->second);
    told_.erase(told);
  }
  Beside& b = beside(number);
  if (b.news_due != MonoTime{}) news_.erase({b.news_due, number});
  b = {};
  if (kept_) kept_->forget(number);
}

state::ConnectionTable::Committed Connections::take_in(const Connection& c, MonoTime now) {
  auto done = table_.commit(c, now);
  // First those that are gone: the newcomer may have the number of one of them.
  for (const auto& [number, old] : done.removed) {
    gone(number, old);
    ++counters_.displaced;
  }
  if (done.refusal != Refusal::none) return done;
  if (done.created) {
    note_stale(c, true);
    if (kept_) kept_->keep(done.number, now);
  } else if (done.changed) {
    changed(done.number, now);
  }
  return done;
}

void Connections::erase(std::vector<Number> numbers) {
  for (const Number number : numbers) {
    gone(number, table_.connection(number));
    table_.erase(number);
  }
}

// --- packets

Connections::Begun Connections::begin(const sim::NewConnection& begins, MonoTime now) {
  const auto done = take_in(begins.record, now);
  if (done.refusal != Refusal::none) return {drop_reason_of(done.refusal), false, 0};
  if (done.outdated || done.direction != Direction::original) return {{}, true, done.number};
  if (done.created) ++counters_.begun;
  return {{}, false, done.number};
}

void Connections::saw(const sim::KnownConnection& known, const PortId& entered_by, MonoTime now) {
  if (known.error) return;
  // The first packet was flooded, say: who has passed the filters with an answer has its destination.
  bool more = false;
  if (known.direction == Direction::reply && !entered_by.is_nil()) {
    Connection c = table_.connection(known.number);
    if (c.reply_port.is_nil()) {
      c.reply_port = entered_by;
      more = take_in(c, now).changed;
    }
  }
  if (table_.saw(known.number, known.direction, known.segment, now)) more = true;
  if (more) {
    changed(known.number, now);
    announce_news(known.number, now);
    return;
  }
  // A use like those that the datapath counts: one packet now and then has no flow.
  const Connection c = table_.connection(known.number);
  touch(c.zone_of(known.direction), c.entering(known.direction), now, now);
}

bool Connections::is_waiting(Number number) const {
  const auto told = told_.find(number);
  return told != told_.end() && told->second.holding;
}

Connections::Telling Connections::tell(Number number, std::span<const HostId> hosts, MonoTime now) {
  if (hosts.empty() || table_.seen(number)[1] != 0) return Telling::done;
  Told& told = told_[number];
  bool fresh = false;
  for (const HostId host : hosts) {
    if (contains(told.know, host) || contains(told.waiting, host)) continue;
    told.waiting.push_back(host);
    fresh = true;
  }
  if (told.waiting.empty()) return Telling::done;
  if (fresh) {
    told.holding = true;
    set_due(number, told, now + options_.hold);
    told.times = 0;
  }
  if (told.times < options_.tell_with_packets) tell_those_waiting(number, told, now);
  if (told.holding) return Telling::wait;
  // The clock goes on telling; packets need not come up for it for ever.
  return told.times < options_.tell_with_packets ? Telling::going : Telling::done;
}

void Connections::tell_those_waiting(Number number, Told& told, MonoTime now) {
  const Connection c = table_.connection(number);
  for (const HostId host : told.waiting) send(host, MessageKind::record, c, now);
  (told.times++ == 0 ? counters_.told : counters_.told_again) += told.waiting.size();
  beside(number).told = c.last_seen;
}

void Connections::set_due(Number number, Told& told, MonoTime due) {
  due_.erase({told.due, number});
  told.due = due;
  due_.insert({due, number});
}

void Connections::release(Number number, Told& told) {
  if (std::exchange(told.holding, false)) released_.push_back(number);
}

void Connections::heard_from(Number number, HostId host) {
  const auto at = told_.find(number);
  if (at == told_.end()) return;
  Told& told = at->second;
  const auto place = std::find(told.waiting.begin(), told.waiting.end(), host);
  if (place == told.waiting.end()) return;
  told.waiting.erase(place);
  told.know.push_back(host);
  if (!told.waiting.empty()) return;
  due_.erase({told.due, number});
  release(number, told);
}

// --- others

void Connections::send(HostId to, MessageKind kind, const Connection& c, MonoTime now) {
  // A port may have as much as it leaves to the others: one alone gets half of the places, and always finds some left.
  size_t& of_port = messages_of_[c.port];
  if (messages_.size() + of_port >= options_.messages) {
    ++counters_.messages_lost;
    return;
  }
  ++of_port;
  messages_.push_back({to, encode({kind, snapshot_->self(), c}, now)});
}

bool Connections::is_mine(const PortId& port) const {
  const model::Binding* binding = snapshot_->binding(port);
  return (binding != nullptr && binding->host == snapshot_->self()) || snapshot_->dp_port(port);
}

/// Whether answers may enter here: by the port where the first packet left, by another uplink of the same router, or by one of
/// several ports that got it.
bool Connections::is_answered_here(const Connection& c) const {
  if (c.reply_port.is_nil() || is_mine(c.reply_port)) return true;
  const model::Router* router = snapshot_->router(RouterId{c.reply_zone.device});
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

/// A record is for the host of its port to make: whoever could make one for another's port could open the way to it. A host
/// where one of its ports was hands it over.
bool Connections::may_begin(HostId host, const Connection& c, MonoTime now) const {
  if (speaks_for(host, c.port, now)) return is_answered_here(c) || is_mine(c.port);
  return is_mine(c.reply_port) && speaks_for(host, c.reply_port, now);
}

bool Connections::is_answered_at(HostId host, const Connection& c, MonoTime now) const {
  if (speaks_for(host, c.reply_port, now)) return true;
  const model::Router* router = snapshot_->router(RouterId{c.reply_zone.device});
  return router != nullptr &&
         std::any_of(router->ports.begin(), router->ports.end(),
                     [&](const PortId& id) { return speaks_for(host, id, now); });
}

std::optional<HostId> Connections::other_end(const Connection& c) const {
  const bool begins_here = is_mine(c.port), ends_here = is_mine(c.reply_port);
  if (begins_here == ends_here) return std::nullopt;
  const model::Binding* there = snapshot_->binding(begins_here ? c.reply_port : c.port);
  if (there == nullptr || there->host == snapshot_->self()) return std::nullopt;
  return there->host;
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
  if (host == nullptr || host->fenced || !contains(host->tunnel_addresses, source) ||
      !is_placed(message->connection)) {
    ++counters_.not_believed;
    return;
  }
  switch (message->kind) {
    case MessageKind::record:
      return receive_record(from, message->connection, now);
    case MessageKind::stored:
      return receive_answer(from, message->connection, false, now);
    case MessageKind::refused:
      return receive_answer(from, message->connection, true, now);
    case MessageKind::news:
      return receive_news(from, message->connection, now);
  }
}

void Connections::receive_record(HostId from, const Connection& c, MonoTime now) {
  if (!may_begin(from, c, now)) {
    ++counters_.not_believed;
    return;
  }
  const auto done = take_in(c, now);
  if (done.refusal != Refusal::none) {
    ++counters_.refused_here;
    return send(from, MessageKind::refused, c, now);
  }
  if (done.created) ++counters_.taken_over;
  const Connection there = table_.connection(done.number);
  beside(done.number).told = there.last_seen;
  send(from, MessageKind::stored, there, now);
}

void Connections::receive_answer(HostId from, const Connection& c, bool refused, MonoTime now) {
  const auto found = table_.find(c.zone, c.original, now);
  const auto told = found ? told_.find(found->number) : told_.end();
  if (told == told_.end()) return;  // answered twice, or it is over: nobody waits
  if (!contains(told->second.waiting, from)) {
    if (!contains(told->second.know, from)) ++counters_.not_believed;
    return;
  }
  if (refused) {
    ++counters_.refused_elsewhere;
    return heard_from(found->number, from);
  }
  ++counters_.acknowledged;
  const Connection ours = table_.connection(found->number);
  if (found->direction == Direction::original && is_mine(c.port) && c.port == ours.port &&
      !(c.stamp < ours.stamp) && chose_otherwise(c, ours)) {
    heard_from(found->number, from);
    return settle_choice(found->number, c, from, now);
  }
  // What it has there may be newer than ours: its own, that crosses ours; or of an earlier life of this connection.
  const bool of_our_own = found->direction == Direction::original && is_mine(c.port) &&
                          speaks_for(from, c.reply_port, now);
  if (!of_our_own && !may_begin(from, c, now)) return heard_from(found->number, from);
  const Number number = found->number;
  const auto done = take_in(c, now);
  heard_from(done.refusal == Refusal::none ? done.number : number, from);
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
  if (is_answered_at(from, there, now)) {
    erase({number});
    if (const auto done = take_in(theirs, now); done.refusal == Refusal::none) {
      ++counters_.adopted;
      if (others.empty()) return;
      others.push_back(from);
      Told& told = told_[done.number];
      told.waiting = others;
      told.handed_over = told.holding = true;  // answered or not
      tell_those_waiting(done.number, told, now);
      return set_due(done.number, told, now + options_.hold);
    }
  }
  ours.stamp.epoch = there.stamp.epoch + 1;
  (void)take_in(ours, now);
}

void Connections::receive_news(HostId from, const Connection& c, MonoTime now) {
  const auto found = table_.find(c.zone, c.original, now);
  // The host where answers come in says what it has seen of a connection, not which connections there are.
  const bool known = found && found->direction == Direction::original &&
                     table_.stamp(found->number).epoch == c.stamp.epoch &&
                     speaks_for(from, c.reply_port, now) && is_mine(c.port);
  Connection ours = known ? table_.connection(found->number) : Connection{};
  // Of two that answer what was flooded, the first whose word comes here has the connection.
  if (known && (ours.reply_port.is_nil() || ours.reply_port == c.reply_port) &&
      ours.reply_zone == c.reply_zone && ours.translations == c.translations) {
    ours.reply_port = c.reply_port;
    ours.seen = state::joined(ours.seen, c.seen);
    ours.last_seen = std::max(ours.last_seen, c.last_seen);
    (void)take_in(ours, now);
    beside(found->number).told = ours.last_seen;
    return;
  }
  if (!may_begin(from, c, now)) {
    ++counters_.not_believed;
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

void Connections::announce_news(Number number, MonoTime now) {
  Beside& b = beside(number);
  if (b.news_due != MonoTime{} || !other_end(table_.connection(number))) return;
  b.news_due =
      b.last_news == MonoTime{} ? now : std::max(now, b.last_news + options_.news_interval);
  news_.insert({b.news_due, number});
}

// --- the world

void Connections::publish(const model::Snapshot* before, const model::Snapshot& now_known,
                          std::span<const TagChange> changes, MonoTime now) {
  snapshot_ = &now_known;
  if (before == nullptr) return;
  std::vector<Number> numbers;
  const auto collect = [&](Number number, const Connection&) { numbers.push_back(number); };
  for (const TagChange& change : changes) {
    const Uuid& id = change.tag.id;
    if (change.tag.kind == TagKind::port) {
      const PortId port{id};
      if (before->port(port) != nullptr && now_known.port(port) == nullptr) {
        numbers.clear();
        table_.for_each_of_port(port, collect);
        erase(std::move(numbers));
        continue;
      }
      const model::Binding* was = before->binding(port);
      const model::Binding* is = now_known.binding(port);
      if (was == nullptr || (is != nullptr && is->host == was->host)) continue;
      moved_[port] = {was->host, now + options_.moved_port};
      if (was->host != now_known.self() || is == nullptr) continue;
      HandOver& over =
          hand_over_.emplace_back(HandOver{port, is->host, now + options_.moved_records, {}});
      table_.for_each_of_port(
          port, [&](Number, const Connection& c) { over.left.emplace_back(c.zone, c.original); });
    } else if ((change.tag.kind == TagKind::bridge && before->bridge(BridgeId{id}) != nullptr &&
                now_known.bridge(BridgeId{id}) == nullptr) ||
               (change.tag.kind == TagKind::router && before->router(RouterId{id}) != nullptr &&
                now_known.router(RouterId{id}) == nullptr)) {
      table_.erase_device(id, [&](Number number, const Connection& c) { gone(number, c); });
    }
  }
}

void Connections::touch(const state::Zone& zone, const state::Tuple& tuple, MonoTime used,
                        MonoTime now) {
  const auto found = table_.find(zone, tuple, now);
  if (!found) return;
  table_.touch(found->number, used);
  if (kept_) kept_->used(found->number, now);
  // Where the other direction enters nobody sees these packets, and the record must not expire there.
  const MonoTime last = table_.last_seen(found->number);
  const Duration timeout = table_.expires(found->number) - last;
  if (last - beside(found->number).told >= timeout / 4) announce_news(found->number, now);
}

void Connections::run(MonoTime now) {
  run_due(now);
  for (size_t left = options_.budget; left > 0 && !news_.empty(); --left) {
    const auto [due, number] = *news_.begin();
    if (due > now) break;
    news_.erase(news_.begin());
    Beside& b = beside(number);
    b.news_due = {};
    const Connection c = table_.connection(number);
    const auto to = other_end(c);
    if (!to) continue;
    b.last_news = now;
    b.told = c.last_seen;
    ++counters_.news;
    send(*to, MessageKind::news, c, now);
  }
  hand_over_records(now);
  if (expiring_ || now >= next_expiry_) expire(now);
}

/// Packets have waited long enough, or a record is told again.
void Connections::run_due(MonoTime now) {
  for (size_t left = options_.budget; left > 0 && !due_.empty(); --left) {
    const auto [due, number] = *due_.begin();
    if (due > now) return;
    Told& told = told_.at(number);
    if (told.holding)
      release(number, told);
    else
      tell_those_waiting(number, told, now);
    set_due(number, told, now + options_.tell_again);
  }
}

void Connections::expire(MonoTime now) {
  const size_t removed = table_.expire(
      now, options_.expire_budget, [&](Number number, const Connection& c) { gone(number, c); });
  counters_.expired += removed;
  expiring_ = removed == options_.expire_budget;
  next_expiry_ = now + options_.expire_interval;
  std::erase_if(moved_, [&](const auto& entry) { return now >= entry.second.until; });
  if (kept_) kept_->tick(now);
}

/// Records of a port go to where it has gone; those that nobody here needs any more are forgotten when packets for the
/// port have ceased to come.
void Connections::hand_over_records(MonoTime now) {
  size_t left = options_.budget;
  for (HandOver& over : hand_over_) {
    for (; left > 0 && !over.left.empty(); --left) {
      const auto [zone, original] = over.left.back();
      over.left.pop_back();
      const auto found = table_.find(zone, original, now);
      if (!found) continue;
      Told& told = told_[found->number];
      told.handed_over = true;
      if (const auto known = std::find(told.know.begin(), told.know.end(), over.to);
          known != told.know.end())
        told.know.erase(known);
      if (!contains(told.waiting, over.to)) told.waiting.push_back(over.to);
      tell_those_waiting(found->number, told, now);
      if (!told.holding) set_due(found->number, told, now + options_.tell_again);
    }
    if (now < over.forget_at || is_mine(over.port)) continue;
    std::vector<Number> nobodys;
    table_.for_each_of_port(over.port, [&](Number number, const Connection& c) {
      if (!is_mine(c.port) && !is_mine(c.reply_port)) nobodys.push_back(number);
    });
    erase(std::move(nobodys));
  }
  std::erase_if(hand_over_, [&](const HandOver& over) {
    return now >= over.forget_at || snapshot_->binding(over.port) == nullptr;
  });
}

std::optional<MonoTime> Connections::next_due() const {
  std::optional<MonoTime> next;
  const auto at = [&](MonoTime t) { next = next ? std::min(*next, t) : t; };
  if (!due_.empty()) at(due_.begin()->first);
  if (!news_.empty()) at(news_.begin()->first);
  if (table_.size() > 0) at(expiring_ ? MonoTime{} : next_expiry_);
  for (const HandOver& over : hand_over_) at(over.left.empty() ? over.forget_at : MonoTime{});
  return next;
}

std::string text_of(const Connection& c) {
  std::string out = c.original.str();
  if (!c.translations.empty()) out += " as " + c.final_tuple().str();
  out += ' ';
  if (c.original.protocol == ip_proto::kTcp)
    out += to_string(state::tcp_state_of(c.seen));
  else
    out += c.replied() ? "answered" : "unanswered";
  return out;
}

}  // namespace plexus::agent
