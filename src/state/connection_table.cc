// SPDX-License-Identifier: Apache-2.0
#include "state/connection_table.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "base/check.h"
#include "flow/seeded_hash.h"
#include "packet/headers.h"

namespace plexus::state {
namespace {

/// Seconds that the wheel goes round in: more than the longest timeout that is usual.
constexpr uint32_t kWheelSlots = 8192;

constexpr int64_t kSecond = 1'000'000'000;
int64_t second_before(MonoTime t) {
  return t.ns >= 0 ? t.ns / kSecond : -((-t.ns + kSecond - 1) / kSecond);
}
int64_t second_after(MonoTime t) {
  return second_before(MonoTime{t.ns + kSecond - 1});
}

uint64_t word_at(const uint8_t* bytes) {
  uint64_t w = 0;
  std::memcpy(&w, bytes, sizeof w);
  return w;
}

/// The order of endpoints that decides whose record of a simultaneous open stays.
bool is_lower(const Tuple& a, const Zone& a_zone, const Tuple& b, const Zone& b_zone) {
  return std::tie(a.src, a.src_port, a_zone) < std::tie(b.src, b.src_port, b_zone);
}

bool is_over(uint8_t protocol, SeenBits seen) {
  if (protocol != ip_proto::kTcp) return false;
  const TcpState state = tcp_state_of(seen);
  return state == TcpState::time_wait || state == TcpState::closed;
}

}  // namespace

std::string_view to_string(Refusal refusal) {
  switch (refusal) {
    case Refusal::none:
      return "none";
    case Refusal::table_full:
      return "table_full";
    case Refusal::port_limit:
      return "port_limit";
    case Refusal::tenant_limit:
      return "tenant_limit";
    case Refusal::tuple_taken:
      return "tuple_taken";
    case Refusal::unsound:
      return "unsound";
    case Refusal::expired:
      return "expired";
  }
  return "unknown";
}

ConnectionTable::ConnectionTable(const ConnectionLimits& limits, const Timeouts& timeouts,
                                 uint64_t hash_seed)
    : limits_(limits), timeouts_(timeouts), seed_(hash_seed), wheel_(kWheelSlots) {}

// ---- keys and ids

ConnectionTable::Row& ConnectionTable::row(ConnectionNumber number) {
  PLEXUS_CHECK(number < rows_.size() && rows_[number].used, "a number of a record that is there");
  return rows_[number];
}
const ConnectionTable::Row& ConnectionTable::row(ConnectionNumber number) const {
  PLEXUS_CHECK(number < rows_.size() && rows_[number].used, "a number of a record that is there");
  return rows_[number];
}

uint64_t ConnectionTable::hash(uint32_t zone, const Tuple& t) const {
  SeededHash h(seed_);
  h.add(word_at(t.src.bytes.data()), word_at(t.src.bytes.data() + 8));
  h.add(word_at(t.dst.bytes.data()), word_at(t.dst.bytes.data() + 8));
  h.add(uint64_t{t.src_port} << 48 | uint64_t{t.dst_port} << 32 | zone,
        uint64_t{t.protocol} << 8 | static_cast<uint64_t>(t.echo));
  return h.value();
}

const Tuple& ConnectionTable::final_of(const Row& r) const {
  const Tuple* last = &r.original;
  for (uint32_t t = r.translations; t != kNone; t = translations_[t].next)
    last = &translations_[t].after;
  return *last;
}

uint64_t ConnectionTable::hash_of_key(uint32_t key) const {
  const Row& r = rows_[key / 2];
  return hash(r.zone[key % 2], key % 2 == 0 ? r.original : final_of(r).reversed());
}

uint64_t ConnectionTable::hash_of_id(const Uuid& id) const {
  SeededHash h(seed_);
  h.add(word_at(id.bytes.data()), word_at(id.bytes.data() + 8));
  return h.value();
}

uint32_t ConnectionTable::key_of(uint32_t zone, const Tuple& t) const {
  return keys_.find(hash(zone, t), [&](uint32_t key) {
    const Row& r = rows_[key / 2];
    if (r.zone[key % 2] != zone) return false;
    return key % 2 == 0 ? r.original == t : final_of(r) == t.reversed();
  });
}

uint32_t ConnectionTable::number_of(const Uuid& id) const {
  return ids_.find(hash_of_id(id), [&](const Uuid& other) { return other == id; });
}

uint32_t ConnectionTable::use_id(const Uuid& id) {
  return ids_
      .use(
          hash_of_id(id), [&](const Uuid& other) { return other == id; }, [&] { return id; })
      .first;
}

uint32_t ConnectionTable::port_number(const PortId& id) const {
  return ports_.find(hash_of_id(id.uuid), [&](const OfPort& p) { return p.id == id; });
}

uint32_t ConnectionTable::use_port(const PortId& id) {
  return ports_
      .use(
          hash_of_id(id.uuid), [&](const OfPort& p) { return p.id == id; },
          [&] {
            return OfPort{id, {}, {}};
          })
      .first;
}

uint32_t ConnectionTable::use_tenant(const Uuid& id) {
  return tenants_
      .use(
          hash_of_id(id), [&](const OfTenant& t) { return t.id == id; },
          [&] { return OfTenant{id}; })
      .first;
}

uint64_t ConnectionTable::hash_of_place(const AnswersPass& place) const {
  SeededHash h(seed_);
  h.add(uint64_t{place.port} << 32 | place.device, place.hidden ? 1 : 0);
  return h.value();
}

uint32_t ConnectionTable::number_of(const AnswersPass& place) const {
  return answers_.find(hash_of_place(place), [&](const AnswersPass& p) { return p == place; });
}

void ConnectionTable::count_answers(const Row& r, bool there) {
  const bool hidden = final_of(r).src != r.original.src;
  for (const uint32_t port : {r.port[1], r.answers_by == r.port[1] ? kNone : r.answers_by}) {
    if (port == kNone) continue;
    for (uint32_t t = r.translations; t != kNone; t = translations_[t].next) {
      const AnswersPass place{port, translations_[t].device, hidden};
      if (there)
        answers_.use(
            hash_of_place(place), [&](const AnswersPass& p) { return p == place; },
            [&] { return place; });
      else
        answers_.release(number_of(place));
    }
  }
}

void ConnectionTable::answers_enter_by(ConnectionNumber number, const PortId& port) {
  Row& r = row(number);
  if (r.translations == kNone || (r.answers_by != kNone && ports_[r.answers_by].id == port)) return;
  const uint32_t used = use_port(port);
  count_answers(r, false);
  if (r.answers_by != kNone) ports_.release(r.answers_by);
  r.answers_by = used;
  count_answers(r, true);
}

bool ConnectionTable::answers_pass(const PortId& port, const Uuid& device, bool hidden) const {
  if (answers_.size() == 0) return false;
  const AnswersPass place{port_number(port), number_of(device), hidden};
  return place.port != kNone && place.device != kNone && number_of(place) != kNone;
}

std::optional<ConnectionTable::Found> ConnectionTable::find_any(const Zone& zone,
                                                                const Tuple& entering) const {
  const uint32_t number = number_of(zone.device);
  if (number == kNone) return std::nullopt;
  const uint32_t key = key_of(number, entering);
  if (key == kNone) return std::nullopt;
  return Found{key / 2, static_cast<Direction>(key % 2)};
}

std::optional<ConnectionTable::Found> ConnectionTable::find(const Zone& zone, const Tuple& entering,
                                                            MonoTime now) const {
  const auto found = find_any(zone, entering);
  if (!found || expired(rows_[found->number], now)) return std::nullopt;
  return found;
}

ConnectionTable::Sought ConnectionTable::look_ahead(const Zone& zone, const Tuple& entering) const {
  const uint32_t number = number_of(zone.device);
  if (number == kNone) return {};
  const Sought sought{hash(number, entering), true};
  keys_.prefetch(sought.hash);
  return sought;
}

void ConnectionTable::look_ahead(const Sought& sought) const {
  if (!sought.somewhere) return;
  if (const uint32_t key = keys_.candidate(sought.hash); key != KeyIndex::kNone)
    __builtin_prefetch(&rows_[key / 2]);
}

// ---- lists

template <ConnectionTable::Links ConnectionTable::Row::*links>
void ConnectionTable::link(List& list, uint32_t number) {
  Links& here = rows_[number].*links;
  here = {list.last, kNone};
  (list.last == kNone ? list.first : (rows_[list.last].*links).after) = number;
  list.last = number;
  ++list.count;
}

template <ConnectionTable::Links ConnectionTable::Row::*links>
void ConnectionTable::unlink(List& list, uint32_t number) {
  const Links here = rows_[number].*links;
  (here.before == kNone ? list.first : (rows_[here.before].*links).after) = here.after;
  (here.after == kNone ? list.last : (rows_[here.after].*links).before) = here.before;
  --list.count;
}

int64_t ConnectionTable::second_of_slot(uint32_t slot) const {
  const auto first = static_cast<uint32_t>(wheel_second_ & (kWheelSlots - 1));
  return wheel_second_ + ((slot - first) & (kWheelSlots - 1));
}

void ConnectionTable::schedule(ConnectionNumber number, MonoTime due) {
  const int64_t second =
      std::clamp(second_after(due), wheel_second_, wheel_second_ + int64_t{kWheelSlots} - 1);
  Row& r = rows_[number];
  r.slot = static_cast<uint32_t>(second & (kWheelSlots - 1));
  link<&Row::by_due>(wheel_[r.slot], number);
}

void ConnectionTable::reschedule(ConnectionNumber number) {
  Row& r = rows_[number];
  unlink<&Row::by_due>(wheel_[r.slot], number);
  schedule(number, r.last_seen + timeout(r));
}

// ---- who makes room

ConnectionTable::Rank ConnectionTable::rank_of(uint8_t protocol, SeenBits seen) {
  if (seen[1] == 0) return Rank::embryonic;
  if (protocol != ip_proto::kTcp) return Rank::lasting;
  const TcpState state = tcp_state_of(seen);
  return state == TcpState::established || state == TcpState::fin_wait ? Rank::lasting
                                                                       : Rank::passing;
}

void ConnectionTable::line_up(ConnectionNumber number, Rank rank) {
  const auto place = static_cast<size_t>(rank);
  link<&Row::by_begin>(ports_[rows_[number].port[0]].begun[place], number);
  if (rank != Rank::lasting) link<&Row::by_age>(by_rank_[place], number);
}

void ConnectionTable::step_out(ConnectionNumber number, Rank rank) {
  const auto place = static_cast<size_t>(rank);
  unlink<&Row::by_begin>(ports_[rows_[number].port[0]].begun[place], number);
  if (rank != Rank::lasting) unlink<&Row::by_age>(by_rank_[place], number);
}

bool ConnectionTable::may_be_open(const Row& r, MonoTime now) {
  constexpr Duration kMoment = std::chrono::seconds(10);
  if (r.last_seen + kMoment <= now) return false;
  SeenBits before = r.seen;
  for (uint8_t& side : before) side = static_cast<uint8_t>(side & ~(seen::kFin | seen::kRst));
  return tcp_state_of(before) == TcpState::established;
}

template <ConnectionTable::Links ConnectionTable::Row::*links>
uint32_t ConnectionTable::first_to_go(const List& embryonic, List& passing, MonoTime now) {
  // A few are asked: a flood of them costs a bounded amount each.
  constexpr size_t kAsked = 8;
  size_t left = std::min(kAsked, passing.count);
  for (; left > 0 && may_be_open(rows_[passing.first], now); --left) {
    const uint32_t number = passing.first;
    unlink<links>(passing, number);
    link<links>(passing, number);
  }
  if (left == 0) return embryonic.first;
  if (embryonic.first == kNone) return passing.first;
  // A SYN that waits for its answer is worth more than what has been over for long.
  return rows_[passing.first].last_seen <= rows_[embryonic.first].last_seen ? passing.first
                                                                            : embryonic.first;
}

// ---- facts

bool ConnectionTable::add_facts(ConnectionNumber number, SeenBits more, MonoTime seen_at) {
  Row& r = row(number);
  const SeenBits before = r.seen, now = joined(before, more);
  r.last_seen = std::max(r.last_seen, seen_at);
  if (now == before) return false;
  const Rank was = rank_of(r);
  r.seen = now;
  if (const Rank is = rank_of(r); is != was) {
    step_out(number, was);
    line_up(number, is);
  }
  // Later is found when its turn comes; earlier has to be put right.
  if (second_after(r.last_seen + timeout(r)) < second_of_slot(r.slot)) reschedule(number);
  return true;
}

bool ConnectionTable::saw(ConnectionNumber number, Direction direction,
                          std::optional<Segment> segment, MonoTime now) {
  SeenBits more{};
  if (segment)
    more = with_segment(more, direction, *segment);
  else
    more[static_cast<size_t>(direction)] = seen::kPacket;
  return add_facts(number, more, now);
}

void ConnectionTable::touch(ConnectionNumber number, MonoTime used) {
  Row& r = row(number);
  r.last_seen = std::max(r.last_seen, used);
}

Stamp ConnectionTable::stamp(ConnectionNumber number) const {
  const Row& r = row(number);
  return {r.epoch, HostId{ids_[r.origin]}};
}

Connection ConnectionTable::connection(ConnectionNumber number) const {
  const Row& r = row(number);
  Connection c;
  c.original = r.original;
  c.zone.device = ids_[r.zone[0]];
  c.reply_zone.device = ids_[r.zone[1]];
  c.port = ports_[r.port[0]].id;
  c.reply_port = ports_[r.port[1]].id;
  c.tenant = tenants_[r.tenant].id;
  for (uint32_t t = r.translations; t != kNone; t = translations_[t].next) {
    const StoredTranslation& s = translations_[t];
    c.translations.push_back({ids_[s.device], ids_[s.choice], s.kind, s.after});
  }
  c.stamp = {r.epoch, HostId{ids_[r.origin]}};
  c.seen = r.seen;
  c.last_seen = r.last_seen;
  return c;
}

// ---- coming and going

ConnectionNumber ConnectionTable::insert(const Connection& c, MonoTime now) {
  if (!wheel_started_) {
    wheel_second_ = second_before(now);
    wheel_started_ = true;
  }
  uint32_t number = 0;
  if (free_.empty()) {
    number = static_cast<uint32_t>(rows_.size());
    PLEXUS_CHECK(number < kNone / 2, "keys of records have 32 bits");
    rows_.emplace_back();
  } else {
    number = free_.back();
    free_.pop_back();
  }
  Row& r = rows_[number];
  r = Row{};
  r.used = true;
  r.original = c.original;
  r.zone = {use_id(c.zone.device), use_id(c.reply_zone.device)};
  r.port = {use_port(c.port), use_port(c.reply_port)};
  r.tenant = use_tenant(c.tenant);
  r.origin = use_id(c.stamp.origin.uuid);
  r.epoch = c.stamp.epoch;
  r.seen = c.seen;
  r.last_seen = std::min(c.last_seen, now);
  for (auto t = c.translations.rbegin(); t != c.translations.rend(); ++t) {
    uint32_t place = 0;
    if (free_translations_.empty()) {
      place = static_cast<uint32_t>(translations_.size());
      translations_.emplace_back();
    } else {
      place = free_translations_.back();
      free_translations_.pop_back();
    }
    translations_[place] = {t->after, use_id(t->device), use_id(t->choice), r.translations,
                            t->kind};
    r.translations = place;
  }
  count_answers(r, true);
  const uint32_t key = number * 2;
  keys_.insert(hash_of_key(key), key);
  if (!has_one_key(r)) keys_.insert(hash_of_key(key + 1), key + 1);

  line_up(number, rank_of(r));
  link<&Row::by_end>(ports_[r.port[1]].ending, number);
  ++tenants_[r.tenant].count;
  schedule(number, r.last_seen + timeout(r));
  ++size_;
  return number;
}

void ConnectionTable::erase(ConnectionNumber number) {
  Row& r = row(number);
  const uint32_t key = number * 2;
  if (!has_one_key(r)) keys_.erase(hash_of_key(key + 1), key + 1);
  keys_.erase(hash_of_key(key), key);
  unlink<&Row::by_due>(wheel_[r.slot], number);
  step_out(number, rank_of(r));
  unlink<&Row::by_end>(ports_[r.port[1]].ending, number);
  --tenants_[r.tenant].count;
  count_answers(r, false);

  for (uint32_t t = r.translations; t != kNone;) {
    const StoredTranslation& s = translations_[t];
    ids_.release(s.device);
    ids_.release(s.choice);
    free_translations_.push_back(t);
    t = s.next;
  }
  ids_.release(r.zone[0]);
  ids_.release(r.zone[1]);
  ids_.release(r.origin);
  ports_.release(r.port[0]);
  ports_.release(r.port[1]);
  if (r.answers_by != kNone) ports_.release(r.answers_by);
  tenants_.release(r.tenant);
  r.used = false;
  free_.push_back(number);
  --size_;
}

void ConnectionTable::remove(ConnectionNumber number, Committed& done) {
  done.removed.emplace_back(number, connection(number));
  erase(number);
}

/// At most two are removed: one of the port's own, one of all.
Refusal ConnectionTable::make_room(const Connection& c, MonoTime now, Committed& done) {
  const bool embryonic = !c.replied();
  const uint32_t number = port_number(c.port);
  const size_t begun = number == kNone ? 0 : ports_[number].count();
  const size_t unanswered = number == kNone ? 0 : ports_[number].begun[0].count;
  // Then no other helps.
  const bool full_of_unanswered = embryonic && unanswered >= limits_.port_embryonic;
  Refusal why = Refusal::none;
  if (begun >= limits_.port || full_of_unanswered)
    why = Refusal::port_limit;
  else if (!c.tenant.is_nil() && of_tenant(c.tenant) >= limits_.tenant)
    why = Refusal::tenant_limit;
  if (why != Refusal::none) {
    // Who reaches its own limit pays with its own.
    if (number == kNone) return why;
    auto& lists = ports_[number].begun;
    const uint32_t first =
        full_of_unanswered ? lists[0].first : first_to_go<&Row::by_begin>(lists[0], lists[1], now);
    if (first == kNone) return why;
    remove(first, done);
  }
  const bool all_unanswered = embryonic && by_rank_[0].count >= limits_.embryonic;
  if (size_ < limits_.total && !all_unanswered) return Refusal::none;
  const uint32_t first =
      all_unanswered ? by_rank_[0].first : first_to_go<&Row::by_age>(by_rank_[0], by_rank_[1], now);
  if (first == kNone) return Refusal::table_full;
  remove(first, done);
  return Refusal::none;
}

void ConnectionTable::put_in_place_of(ConnectionNumber old, const Connection& c, MonoTime now,
                                      Committed& done) {
  remove(old, done);
  // It may be another port's or tenant's, or without an answer while the old one had one.
  done.refusal = make_room(c, now, done);
  if (done.refusal != Refusal::none) return;
  done.number = insert(c, now);
  done.created = done.changed = true;
}

bool ConnectionTable::same_translations(const Row& r, const Connection& c) const {
  uint32_t t = r.translations;
  for (const Translation& given : c.translations) {
    if (t == kNone) return false;
    const StoredTranslation& s = translations_[t];
    if (s.kind != given.kind || s.after != given.after || ids_[s.device] != given.device ||
        ids_[s.choice] != given.choice)
      return false;
    t = s.next;
  }
  return t == kNone;
}

void ConnectionTable::settle_same(ConnectionNumber old, const Connection& c, bool reply_tuple_free,
                                  MonoTime now, Committed& done) {
  Row& r = rows_[old];
  const Stamp there = stamp(old);
  done.number = old;
  const PortId& ends_at = ports_[r.port[1]].id;
  const bool same = ids_[r.zone[1]] == c.reply_zone.device && ports_[r.port[0]].id == c.port &&
                    (ends_at == c.reply_port || ends_at.is_nil() || c.reply_port.is_nil()) &&
                    same_translations(r, c);
  if (same && there.epoch == c.stamp.epoch) {
    done.changed = add_facts(old, c.seen, std::min(c.last_seen, now));
    if (there < c.stamp) {
      const uint32_t origin = use_id(c.stamp.origin.uuid);
      ids_.release(r.origin);
      r.origin = origin;
      done.changed = true;
    }
    return;
  }
  if (c.stamp <= there) {
    done.outdated = true;
    return;
  }
  if (!reply_tuple_free) {
    done.refusal = Refusal::tuple_taken;
    return;
  }
  put_in_place_of(old, c, now, done);
}

void ConnectionTable::settle_crossed(ConnectionNumber old, const Connection& c, MonoTime now,
                                     Committed& done) {
  const Row& r = rows_[old];
  done.number = old;
  const bool lower = is_lower(c.original, c.zone, r.original, Zone{ids_[r.zone[0]]});
  if (c.stamp.epoch > r.epoch) {
    put_in_place_of(old, c, now, done);
  } else if (c.stamp.epoch < r.epoch) {
    done.direction = Direction::reply;
    done.outdated = true;
  } else if (lower) {
    Connection both = c;
    both.seen = joined(c.seen, exchanged(r.seen));
    both.last_seen = std::max(std::min(c.last_seen, now), r.last_seen);
    if (both.reply_port.is_nil()) both.reply_port = ports_[r.port[0]].id;
    put_in_place_of(old, both, now, done);
  } else {
    done.direction = Direction::reply;
    done.changed = add_facts(old, exchanged(c.seen), std::min(c.last_seen, now));
  }
}

ConnectionTable::Committed ConnectionTable::commit(const Connection& c, MonoTime now) {
  Committed done;
  if (!is_sound(c)) {
    done.refusal = Refusal::unsound;
    return done;
  }
  if (c.last_seen + timeout_of(c.original.protocol, c.seen, timeouts_) <= now) {
    done.refusal = Refusal::expired;
    return done;
  }
  const Tuple answer = c.entering(Direction::reply);
  const auto still_there = [&](const Zone& zone, const Tuple& t) {
    const auto found = find_any(zone, t);
    if (!found || !expired(rows_[found->number], now)) return found;
    remove(found->number, done);
    return std::optional<Found>();
  };
  const auto forward = still_there(c.zone, c.original);
  auto back = still_there(c.reply_zone, answer);
  // One that is over has had the same answers: to another virtual address of its pool, say. A new one takes its place as one
  // between the same ends does.
  if (back && (!forward || forward->number != back->number) && (c.seen[0] & seen::kSyn) != 0 &&
      is_over(rows_[back->number].original.protocol, rows_[back->number].seen)) {
    remove(back->number, done);
    back.reset();
  }
  if (!forward && !back) {
    done.refusal = make_room(c, now, done);
    if (done.refusal != Refusal::none) return done;
    done.number = insert(c, now);
    done.created = done.changed = true;
    return done;
  }
  if (forward && forward->direction == Direction::original) {
    settle_same(forward->number, c, !back || back->number == forward->number, now, done);
  } else if (forward && back && forward->number == back->number) {
    settle_crossed(forward->number, c, now, done);
  } else {
    done.refusal = Refusal::tuple_taken;
    done.number = forward ? forward->number : back->number;
  }
  if (done.refusal != Refusal::none || done.outdated || done.created) return done;
  // Copies of its first packet left by several ports, and only now it is known by which of them answers enter.
  const PortId& answers = done.direction == Direction::original ? c.reply_port : c.port;
  if (!answers.is_nil() && ports_[rows_[done.number].port[1]].id.is_nil()) {
    const uint32_t known = use_port(answers);
    Row& r = rows_[done.number];
    unlink<&Row::by_end>(ports_[r.port[1]].ending, done.number);
    count_answers(r, false);
    ports_.release(r.port[1]);
    r.port[1] = known;
    count_answers(r, true);
    link<&Row::by_end>(ports_[known].ending, done.number);
    done.changed = true;
  }
  return done;
}

size_t ConnectionTable::expire(MonoTime now, size_t budget, const Visit& visit) {
  if (!wheel_started_) return 0;
  const int64_t until = second_before(now);
  size_t removed = 0;
  while (wheel_second_ <= until) {
    if (size_ == 0) {
      wheel_second_ = until;
      break;
    }
    List& list = wheel_[static_cast<size_t>(wheel_second_ & (kWheelSlots - 1))];
    while (list.first != kNone) {
      if (budget-- == 0) return removed;
      const ConnectionNumber number = list.first;
      if (!expired(rows_[number], now)) {
        reschedule(number);  // to a later second: what is due in this one has expired
        continue;
      }
      if (visit) visit(number, connection(number));
      erase(number);
      ++removed;
    }
    // The second that is under way may still get some.
    if (wheel_second_ == until) break;
    ++wheel_second_;
  }
  return removed;
}

size_t ConnectionTable::erase_port(const PortId& port, const Visit& visit) {
  std::vector<ConnectionNumber> numbers;
  for_each_of_port(port, [&](ConnectionNumber n, const Connection& c) {
    numbers.push_back(n);
    if (visit) visit(n, c);
  });
  for (ConnectionNumber n : numbers) erase(n);
  return numbers.size();
}

size_t ConnectionTable::erase_if(const std::function<bool(const Row&)>& chosen,
                                 const Visit& visit) {
  size_t removed = 0;
  for (ConnectionNumber n = 0; n < rows_.size(); ++n) {
    if (!rows_[n].used || !chosen(rows_[n])) continue;
    if (visit) visit(n, connection(n));
    erase(n);
    ++removed;
  }
  return removed;
}

size_t ConnectionTable::erase_device(const Uuid& device, const Visit& visit) {
  const uint32_t number = number_of(device);
  if (number == kNone) return 0;
  return erase_if(
      [&](const Row& r) {
        if (r.zone[0] == number || r.zone[1] == number) return true;
        for (uint32_t t = r.translations; t != kNone; t = translations_[t].next)
          if (translations_[t].device == number) return true;
        return false;
      },
      visit);
}

void ConnectionTable::for_each(const Visit& visit) const {
  for (ConnectionNumber n = 0; n < rows_.size(); ++n)
    if (rows_[n].used) visit(n, connection(n));
}

void ConnectionTable::for_each_of_port(const PortId& id, const Visit& visit) const {
  const uint32_t number = port_number(id);
  if (number == kNone) return;
  const OfPort& port = ports_[number];
  for (const List& list : port.begun)
    for (uint32_t n = list.first; n != kNone; n = rows_[n].by_begin.after) visit(n, connection(n));
  for (uint32_t n = port.ending.first; n != kNone; n = rows_[n].by_end.after)
    if (rows_[n].port[0] != rows_[n].port[1]) visit(n, connection(n));
}

void ConnectionTable::for_each_of_zone(const Zone& zone, const Visit& visit) const {
  const uint32_t number = number_of(zone.device);
  if (number == kNone) return;
  for (ConnectionNumber n = 0; n < rows_.size(); ++n) {
    const Row& r = rows_[n];
    if (r.used && (r.zone[0] == number || r.zone[1] == number)) visit(n, connection(n));
  }
}

size_t ConnectionTable::begun_at(const PortId& id) const {
  const uint32_t number = port_number(id);
  return number == kNone ? 0 : ports_[number].count();
}

size_t ConnectionTable::of_tenant(const Uuid& tenant) const {
  const uint32_t number =
      tenants_.find(hash_of_id(tenant), [&](const OfTenant& t) { return t.id == tenant; });
  return number == kNone ? 0 : tenants_[number].count;
}

}  // namespace plexus::state
