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

/// Records say of devices no more than the id. A bridge and a router may have the same one: what is of it is gone with the last.
bool has_device(const model::Snapshot& snapshot, const Uuid& id) {
  return snapshot.bridge(BridgeId{id}) != nullptr || snapshot.router(RouterId{id}) != nullptr;
}

}  // namespace

Connections::Connections(const ConnectionOptions& options, uint64_t hash_seed)
    : options_(options), table_(options.limits, options.timeouts, hash_seed) {}

void Connections::open(KeptConnections::Place place, MonoTime now) {
  kept_ = std::make_unique<KeptConnections>(std::move(place), table_, now);
}

// --- what happens to records

void Connections::note_stale(const Connection& c, bool replaced) {
  stale_.push_back({c.original, c.zone, c.reply_zone, replaced});
  if (!c.translations.empty()) stale_.push_back({c.final_tuple(), c.zone, c.reply_zone, replaced});
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
  if (const auto told = told_.find(number); told != told_.end() && !told->second.lasting) {
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
    note_answers(done.number);
    note_stale(c, true);
    if (kept_) kept_->keep(done.number, now);
  } else if (done.changed) {
    changed(done.number, now);
  }
  return done;
}

/// A record of which neither end is here: an address of it is at a machine here by now, at which one its packets will show.
void Connections::note_answers(Number number) {
  if (!table_.is_translated(number) || is_mine(table_.port(number, Direction::original)) ||
      is_mine(table_.port(number, Direction::reply)))
    return;
  const state::Zone zone = table_.zone(number, Direction::reply);
  table_.answers_enter_by(number, state::ConnectionTable::any_port_of(zone));
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
  bool more = false;
  if (known.direction == Direction::reply && !entered_by.is_nil()) {
    const PortId answers = table_.port(known.number, Direction::reply);
    if (answers.is_nil()) {
      // The first packet was flooded, say: who has passed the filters with an answer has its destination.
      Connection c = table_.connection(known.number);
      c.reply_port = entered_by;
      more = take_in(c, now).changed;
    } else if (answers != entered_by) {
      table_.answers_enter_by(known.number, entered_by);
    }
  }
  if (table_.saw(known.number, known.direction, known.segment, now)) more = true;
  if (more) {
    changed(known.number, now);
    announce_news(known.number, known.direction, now);
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

bool Connections::is_at_an_end(HostId host, Number number, Direction direction) const {
  for (const Direction end : {Direction::original, Direction::reply})
    if (const model::Binding* at = snapshot_->binding(table_.port(number, end));
        at != nullptr && at->host == host)
      return true;
  if (direction == Direction::reply) return false;
  // All uplinks of the router were told when it began.
  return has_port_of(host, table_.zone(number, Direction::reply).device);
}

bool Connections::is_beside(HostId host, Number number) const {
  return table_.is_translated(number) &&
         has_port_of(host, table_.zone(number, Direction::original).device);
}

bool Connections::has_port_of(HostId host, const Uuid& device) const {
  const model::Router* router = snapshot_->router(RouterId{device});
  return router != nullptr &&
         std::any_of(router->ports.begin(), router->ports.end(), [&](const PortId& port) {
           const model::Binding* at = snapshot_->binding(port);
           return at != nullptr && at->host == host;
         });
}

Connections::Hosts Connections::without(Number number, Direction direction,
                                        std::span<const HostId> hosts) const {
  Hosts out;
  if (hosts.empty()) return out;
  const bool begun = direction == Direction::reply || table_.seen(number)[1] != 0;
  const auto told = told_.find(number);
  for (const HostId host : hosts)
    if (!(begun && is_at_an_end(host, number, direction)) &&
        !(told != told_.end() && contains(told->second.know, host)))
      out.push_back(host);
  return out;
}

/// Whether others believe this host: packets of a direction enter here by the record, not only because their address has moved.
bool Connections::speaks_of(Number number, MonoTime now) const {
  const Connection c = table_.connection(number);
  const auto enters = [&](Direction direction) {
    return is_mine(c.port_of(direction)) || enters_at(snapshot_->self(), c, direction, now);
  };
  return enters(Direction::original) || enters(Direction::reply);
}

/// A record is told when its connection begins, and again when its packets go where they did not until now: an address is at
/// another machine, or answers leave by another uplink than their questions came by.
Connections::Telling Connections::tell(Number number, Direction direction,
                                       std::span<const HostId> hosts, MonoTime now) {
  const Hosts ignorant = without(number, direction, hosts);
  if (ignorant.empty() || !speaks_of(number, now)) return Telling::done;
  Told& told = told_[number];
  // One that is at neither end is heard of because it has been told, and the first answer may come from there.
  const bool elsewhere = !table_.port(number, Direction::reply).is_nil() &&
                         std::any_of(ignorant.begin(), ignorant.end(), [&](const HostId& host) {
                           return !is_at_an_end(host, number, direction);
                         });
  if (direction == Direction::reply || table_.seen(number)[1] != 0 || elsewhere)
    told.lasting = true;
  bool fresh = false;
  for (const HostId host : ignorant) {
    if (contains(told.waiting, host)) continue;
    told.waiting.push_back(host);
    fresh = true;
  }
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
  // Who has acknowledged already does not hear by this that it is used.
  const Hosts hear = hearers(number, Direction::original);
  if (std::all_of(hear.begin(), hear.end(),
                  [&](const HostId& host) { return contains(told.waiting, host); }))
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
  if (!waits_no_more(number, told, host)) return;
  told.know.push_back(host);
  if (told.lasting) limit_beside(number, told);
}

bool Connections::waits_no_more(Number number, Told& told, HostId host) {
  const auto place = std::find(told.waiting.begin(), told.waiting.end(), host);
  if (place == told.waiting.end()) return false;
  told.waiting.erase(place);
  if (!told.waiting.empty()) return true;
  due_.erase({told.due, number});
  release(number, told);
  return true;
}

/// Where a port was for a moment, say, nobody needs to be told of its records any more. Packets that go there all the same tell
/// again.
void Connections::port_left(const PortId& port, HostId host) {
  if (told_.empty()) return;
  table_.for_each_of_port(port, [&](Number number, const Connection&) {
    if (const auto told = told_.find(number);
        told != told_.end() && !is_at_an_end(host, number, Direction::original))
      waits_no_more(number, told->second, host);
  });
}

/// A machine that sends to each of its neighbours in turn does not make all of their hosts hear of a connection for as long as
/// it stands. Who is forgotten is told again when packets go there again.
void Connections::limit_beside(Number number, Told& told) {
  const auto beside = [&](const HostId& host) {
    return !is_at_an_end(host, number, Direction::original) && !is_beside(host, number);
  };
  auto count = std::count_if(told.know.begin(), told.know.end(), beside);
  for (; count > kMostBeside; --count)
    told.know.erase(std::find_if(told.know.begin(), told.know.end(), beside));
}

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

Connections::Hosts Connections::hearers(Number number, Direction seen) const {
  const PortId begins = table_.port(number, Direction::original),
               ends = table_.port(number, Direction::reply);
  const bool begins_here = is_mine(begins), ends_here = is_mine(ends);
  Hosts out;
  if (!begins_here || !ends_here) {
    // At neither end: the one that these packets go to.
    const bool begin = begins_here == ends_here ? seen == Direction::reply : ends_here;
    const model::Binding* there = snapshot_->binding(begin ? begins : ends);
    if (there != nullptr && there->host != snapshot_->self()) out.push_back(there->host);
  }
  if (const auto told = told_.find(number); told != told_.end() && told->second.lasting)
    std::copy_if(told->second.know.begin(), told->second.know.end(), std::back_inserter(out),
                 [&](const HostId& host) { return !contains(out, host); });
  // Who has leased its outside port keeps the record as long as it is used, though the machine has moved away.
  if (const HostId maker = table_.stamp(number).origin;
      table_.is_translated(number) && maker != snapshot_->self() && !contains(out, maker) &&
      snapshot_->host(maker) != nullptr && is_leased(table_.connection(number)))
    out.push_back(maker);
  return out;
}

/// Beside leases only rules choose sources.
bool Connections::is_leased(const Connection& c) const {
  return std::any_of(c.translations.begin(), c.translations.end(), [&](const auto& t) {
    return t.kind == state::TranslationKind::source && snapshot_->rule(RuleId{t.choice}) == nullptr;
  });
}

bool Connections::is_leased_here(const Connection& c) const {
  return c.stamp.origin == snapshot_->self() && is_leased(c);
}

void Connections::announce_news(Number number, Direction seen, MonoTime now) {
  Beside& b = beside(number);
  if (b.news_due != MonoTime{} || hearers(number, seen).empty()) return;
  b.news_due =
      b.last_news == MonoTime{} ? now : std::max(now, b.last_news + options_.news_interval);
  news_.emplace(std::pair(b.news_due, number), seen);
}

// --- the world

void Connections::publish(const model::Snapshot* before, const model::Snapshot& now_known,
                          std::span<const TagChange> changes, MonoTime now) {
  snapshot_ = &now_known;
  if (before == nullptr) {  // those from the disk
    table_.for_each([&](Number number, const Connection&) { note_answers(number); });
    return;
  }
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
      if (was->host != now_known.self()) port_left(port, was->host);
      if (was->host != now_known.self() || is == nullptr) continue;
      HandOver& over =
          hand_over_.emplace_back(HandOver{port, is->host, now + options_.moved_records, {}});
      table_.for_each_of_port(
          port, [&](Number, const Connection& c) { over.left.emplace_back(c.zone, c.original); });
    } else if ((change.tag.kind == TagKind::bridge || change.tag.kind == TagKind::router) &&
               has_device(*before, id) && !has_device(now_known, id)) {
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
  if (last - beside(found->number).told >= timeout / 4)
    announce_news(found->number, found->direction, now);
}

void Connections::run(MonoTime now) {
  run_due(now);
  for (size_t left = options_.budget; left > 0 && !news_.empty(); --left) {
    const auto [at, seen] = *news_.begin();
    const auto [due, number] = at;
    if (due > now) break;
    news_.erase(news_.begin());
    Beside& b = beside(number);
    b.news_due = {};
    const Hosts hosts = hearers(number, seen);
    if (hosts.empty()) continue;
    const Connection c = table_.connection(number);
    b.last_news = now;
    b.told = c.last_seen;
    counters_.news += hosts.size();
    for (const HostId host : hosts) send(host, MessageKind::news, c, now);
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
    // One that lasts for hours is told ever more seldom: a host that is gone for good would be told of thousands.
    const unsigned more = told.times - std::min(told.times, options_.tell_with_packets);
    set_due(number, told, now + options_.tell_again * (told.lasting ? 1 << std::min(more, 6u) : 1));
  }
}

void Connections::expire(MonoTime now) {
  const size_t removed = table_.expire(
      now, options_.expire_budget, [&](Number number, const Connection& c) { gone(number, c); });
  counters_.expired += removed;
  expiring_ = removed == options_.expire_budget;
  next_expiry_ = now + options_.expire_interval;
  std::erase_if(moved_, [&](const auto& entry) { return now >= entry.second.until; });
  refused_.expire(now);
  if (kept_) kept_->tick(now);
}

/// Whether packets of the direction enter here, or may: an address that is not the port's own need not have gone with it. Of a
/// machine's port without any, all that it has sent from is its own.
bool Connections::is_needed(const Connection& c, Direction direction) const {
  const PortId& at = c.port_of(direction);
  if (is_mine(at)) return true;
  const model::Port* port = snapshot_->port(at);
  if (port == nullptr || !enters_here(c, direction)) return false;
  if (port->addresses.empty() && std::holds_alternative<BridgeId>(port->device)) return false;
  return std::find(port->addresses.begin(), port->addresses.end(), c.entering(direction).src) ==
         port->addresses.end();
}

/// Records of a port go to where it has gone; those that nobody here needs any more are forgotten when packets for the
/// port have ceased to come. What has a port of a block of ours is needed: or it would be leased twice.
void Connections::hand_over_records(MonoTime now) {
  size_t left = options_.budget;
  for (HandOver& over : hand_over_) {
    for (; left > 0 && !over.left.empty(); --left) {
      const auto [zone, original] = over.left.back();
      over.left.pop_back();
      const auto found = table_.find(zone, original, now);
      if (!found) continue;
      Told& told = told_[found->number];
      told.lasting = true;
      if (const auto known = std::find(told.know.begin(), told.know.end(), over.to);
          known != told.know.end())
        told.know.erase(known);
      if (!contains(told.waiting, over.to)) told.waiting.push_back(over.to);
      told.times = 0;  // whom it was told before, in vain, is not this host
      tell_those_waiting(found->number, told, now);
      if (!told.holding) set_due(found->number, told, now + options_.tell_again);
    }
    if (now < over.forget_at || is_mine(over.port)) continue;
    std::vector<Number> nobodys;
    table_.for_each_of_port(over.port, [&](Number number, const Connection& c) {
      if (!is_needed(c, Direction::original) && !is_needed(c, Direction::reply) &&
          !is_leased_here(c))
        nobodys.push_back(number);
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
  if (!news_.empty()) at(news_.begin()->first.first);
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
