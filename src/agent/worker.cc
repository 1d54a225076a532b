// SPDX-License-Identifier: Apache-2.0
#include "agent/worker.h"

#include <algorithm>

#include "agent/sample_packet.h"
#include "agent/worth_a_line.h"
#include "base/log.h"
#include "packet/build.h"

namespace plexus::agent {
namespace {

sim::Packet packet_of(const datapath::Upcall& upcall) {
  return sim::packet_of(upcall.frame, upcall.in_port, upcall.tunnel_key,
                        {upcall.offload.gso_size, upcall.offload.partial_checksum});
}

}  // namespace

Worker::Worker(datapath::Datapath& datapath, WorkerOptions options)
    : datapath_(datapath),
      options_(options),
      flows_(options.max_flows, options.hash_seed),
      connections_(options.connections, options.hash_seed),
      connection_flows_(options.hash_seed),
      held_(options.holding),
      rule_counters_(options.hash_seed),
      parked_(options.parking),
      asked_(options.retry_interval),
      slots_(options.batch),
      new_flows_(options.batch) {}

void Worker::publish(std::shared_ptr<const model::Snapshot> snapshot,
                     std::span<const TagChange> changes, uint64_t epoch, MonoTime now) {
  const auto before = std::exchange(snapshot_, std::move(snapshot));
  epoch_ = epoch;
  connections_.publish(before.get(), *snapshot_, changes, now);
  traces_.publish(*snapshot_);
  fragments_.publish(changes);
  size_t asked = 0;
  for (const Match& match : flows_.touched_by(changes, options_.max_renewed)) {
    if (asked++ < options_.max_renewed && renew(match, now)) {
      ++counters_.renewed;
      continue;
    }
    if (const auto gone = flows_.erase(match)) remove_from_datapath(*gone);
    ++counters_.invalidated;
  }
  refresh_stale(now);
  if (!changes.empty()) retry_parked(now, true);
}

/// A packet of the class stands for all of them: when the new answer needs no bit of the key that the flow's mask leaves open,
/// it holds for every packet of the flow.
bool Worker::renew(const Match& match, MonoTime now) {
  const std::vector<uint8_t> frame = sample_packet(match.key);
  const sim::Packet packet = sim::packet_of(frame, DpPort{match.key.in_port}, match.key.tunnel_key);
  if (packet.parsed.error != ParseError::none || !match.covers(packet.key)) return false;
  sim::Outcome outcome;
  sim::simulate(packet, *snapshot_, view(), now, outcome);
  // A connection that is not known any more begins by a packet, not by its flow.
  if (outcome.begins) return false;
  // Nor goes it where nobody knows it: they are told at once, since those who answer there may be the first to send.
  if (!tell_of_flow(outcome, now)) return false;
  if (!outcome.cacheable || !outcome.writes.empty() || !outcome.generated.empty() ||
      !((outcome.mask & match.mask) == outcome.mask))
    return false;
  // What went until now is charged to the old reason and the old rules. A flow that is not there any more went with its interface.
  const auto stats = datapath_.flow_stats(match);
  if (!stats) return false;
  take_stats(match, *stats, now);
  const auto old = flows_.find(match);
  // What is dropped from now on has nothing to lose by asking, and its sender may be told why.
  if (outcome.actions.drops() && !old->actions.drops()) return false;
  const auto reason = static_cast<uint8_t>(outcome.reason);
  if ((!(old->actions == outcome.actions) || old->reason != reason) &&
      !datapath_.put_flow({match, outcome.actions, old->cookie, outcome.reason}))
    return false;
  const uint32_t tally = rule_counters_.use(outcome.met);
  rule_counters_.release(old->tally);
  return flows_.renew(match, outcome.actions, outcome.dependencies, reason, tally);
}

size_t Worker::run_once(MonoTime now) {
  const uint64_t installed_before = counters_.installed;
  const size_t received = datapath_.receive({options_.batch, options_.batch_of_one_port},
                                            [&](datapath::Upcall&& upcall) {
                                              ++counters_.upcalls;
                                              arrived_.push_back(std::move(upcall));
                                            });
  for (const datapath::Upcall& upcall : arrived_) arrived_parsed_.push_back(packet_of(upcall));
  if (snapshot_) sim::look_ahead(arrived_parsed_, *snapshot_, view());
  for (size_t i = 0; i < arrived_.size(); ++i)
    handle(std::move(arrived_[i]), arrived_parsed_[i], 1, now);
  arrived_.clear();
  arrived_parsed_.clear();
  finish_batch();
  run_connections(now);
  release_early(now);
  if (busy()) go_on_beside(now, counters_.installed - installed_before);
  return received;
}

void Worker::set_tenant(DpPort port, const std::string& tenant) {
  // A number is enough: two tenants that share one by chance share their turns.
  const uint64_t group =
      tenant.empty() ? 0 : std::max<uint64_t>(1, std::hash<std::string>{}(tenant) >> 1);
  if (group == 0)
    tenants_.erase(port.number);
  else
    tenants_[port.number] = group;
  datapath_.set_group(port, group);
}

/// Ports without a tenant stand for themselves.
uint64_t Worker::tenant_of(DpPort port) const {
  const auto it = tenants_.find(port.number);
  return it == tenants_.end() ? uint64_t{1} << 63 | port.number : it->second;
}

void Worker::handle(datapath::Upcall&& packet, unsigned tries, MonoTime now, From from) {
  const sim::Packet parsed = packet_of(packet);
  handle(std::move(packet), parsed, tries, now, from);
}

/// `parsed`: of the packet; the bytes of its frame stay where they are when it moves.
void Worker::handle(datapath::Upcall&& packet, const sim::Packet& parsed, unsigned tries,
                    MonoTime now, From from) {
  if (!snapshot_) return drop(sim::DropReason::unknown_port);
  if (slots_used_ == slots_.size()) finish_batch();
  Slot& slot = slots_[slots_used_++];
  slot.packet = std::move(packet);
  sim::Outcome& outcome = slot.outcome;
  // An earlier packet may have brought the answer already.
  const auto known = flows_.lookup(parsed.key);
  if (known &&
      fits(known->actions, parsed.parsed, slot.packet.frame, slot.packet.offload.gso_size)) {
    rule_counters_.add(known->tally, slot.packet.offload.packets(slot.packet.frame.size()),
                       slot.packet.frame.size());
    if (known->actions.drops()) return drop(static_cast<sim::DropReason>(known->reason));
    outcome.clear();
    outcome.actions = known->actions;
    if (within_storm_limit(slot, outcome.actions.storm_limit)) send(slot, parsed.parsed);
    return;
  }
  sim::simulate(parsed, *snapshot_, view(), now, outcome);
  // Who waits for a neighbour is heard of at first, and when it goes on.
  const bool waits_on = tries > 1 && outcome.verdict == sim::Verdict::postpone;
  const bool followed = !outcome.traced.empty() && from != From::held && !waits_on;
  if (followed) traces_.follow(parsed, outcome, *snapshot_, view(), now);
  auto early = decide(slot, parsed, tries, now, from);
  if (followed) traces_.conclude();
  for (datapath::Upcall& later : early) handle(std::move(later), 1, now, From::early);
}

std::vector<datapath::Upcall> Worker::decide(Slot& slot, const sim::Packet& parsed, unsigned tries,
                                             MonoTime now, From from) {
  sim::Outcome& outcome = slot.outcome;
  const auto fragment = static_cast<FragKind>(parsed.key.ip_frag);
  std::vector<datapath::Upcall> early;
  if (fragment == FragKind::later &&
      follow_first(parsed, slot, tries, now, from == From::early, early))
    return early;
  const auto connection = settle_connection(parsed, outcome, now);
  if (fragment == FragKind::first) early = note_first(parsed, outcome, connection, now);
  act(slot, parsed, connection, tries, now);
  return early;
}

void Worker::act(Slot& slot, const sim::Packet& parsed,
                 std::optional<state::ConnectionNumber> connection, unsigned tries, MonoTime now) {
  sim::Outcome& outcome = slot.outcome;
  std::move(outcome.writes.begin(), outcome.writes.end(), std::back_inserter(writes_));
  switch (outcome.verdict) {
    case sim::Verdict::forward:
      if (connection && !goes_now(*connection, parsed.key, slot, tries, now)) return;
      count_rules(slot, parsed, now);
      if (outcome.cacheable) install(parsed.key, outcome, now);
      if (within_storm_limit(slot)) send(slot, parsed.parsed);
      break;
    case sim::Verdict::drop:
      count_rules(slot, parsed, now);
      drop(outcome.reason);
      if (outcome.cacheable) install(parsed.key, outcome, now);
      break;
    case sim::Verdict::consumed:
      if (connection && !goes_now(*connection, parsed.key, slot, tries, now)) return;
      count_rules(slot, parsed, now);
      if (within_storm_limit(slot)) ++counters_.consumed;
      break;
    case sim::Verdict::postpone:
      park_or_drop(slot, parsed.key, tries, now);
      return;
  }
  send_generated(outcome.generated, slot.packet.in_port, now);
}

void Worker::park_or_drop(Slot& slot, const FlowKey& key, unsigned tries, MonoTime now) {
  // Later fragments have been told of this ticket, whatever becomes of it.
  const uint64_t ticket = key.ip_frag == static_cast<uint8_t>(FragKind::first) ? next_ticket_++ : 0;
  // Who has waited already waits on: the next try may ask again.
  if (!ask_for_missing(slot, now) && tries == 1)
    return drop_after_all(sim::DropReason::storm_limit);
  park({.packet = std::move(slot.packet),
        .missing = slot.outcome.missing,
        .tries = tries,
        .retry_at = now + options_.retry_interval,
        .ticket = ticket,
        .source = key.src_ip()});
}

/// What asks for the missing thing (an ARP request) goes out once for all packets that wait for it, and again at each timed try.
/// Also for a packet that finds no place to wait: its sender's next one will need the answer.
bool Worker::ask_for_missing(const Slot& slot, MonoTime now) {
  const sim::Outcome& outcome = slot.outcome;
  if (parked_.somebody_waits_for(outcome.missing) || !asked_.may_ask(outcome.missing, now))
    return true;
  uint32_t limit = 0, flooded = 0;
  for (const sim::Generated& made : outcome.generated) {
    limit = std::max(limit, made.actions.storm_limit);
    flooded += made.actions.storm_limit != 0 ? 1u : 0u;
  }
  if (limit != 0 && !datapath_.take_from_storm_limit(slot.packet.in_port, limit, flooded))
    return false;
  asked_.note(outcome.missing, now);
  send_generated(outcome.generated, slot.packet.in_port, now);
  return true;
}

void Worker::count_rules(const Slot& slot, const sim::Packet& parsed, MonoTime now) {
  if (slot.outcome.met.empty()) return;
  rule_log_.write(parsed, slot.outcome, *snapshot_, now);
  const auto& [in_port, tunnel_key, offload, frame] = slot.packet;
  rule_counters_.add(slot.outcome.met, offload.packets(frame.size()), frame.size());
}

void Worker::finish_batch() {
  done_.resize(std::max({done_.size(), new_flow_count_, sends_.size()}));
  const auto flows = std::span(new_flows_).first(std::exchange(new_flow_count_, 0));
  if (!flows.empty()) datapath_.put_flows(flows, std::span(done_).first(flows.size()));
  for (size_t i = 0; i < flows.size(); ++i) {
    if (done_[i].ok()) {
      ++counters_.installed;
      continue;
    }
    if (const auto gone = flows_.erase(flows[i].match)) remove_from_datapath(*gone);
    if (worth_a_line(++counters_.not_installed)) {
      log_warn("worker", "an answer stays in user space ({} so far): {}", counters_.not_installed,
               done_[i].error().message);
    }
  }
  if (!sends_.empty()) datapath_.execute_many(sends_, std::span(done_).first(sends_.size()));
  for (size_t i = 0; i < sends_.size(); ++i) {
    if (!done_[i].ok() && worth_a_line(++counters_.execute_failed)) {
      log_warn("worker", "sending a packet: {} ({} times)", done_[i].error().message,
               counters_.execute_failed);
    }
  }
  sends_.clear();
  slots_used_ = 0;
}

void Worker::install(const FlowKey& key, const sim::Outcome& outcome, MonoTime now) {
  datapath::Flow& flow = new_flows_[new_flow_count_++];
  flow.match = match_of(key, outcome.mask);
  flow.actions = outcome.actions;
  flow.cookie = next_cookie_++;
  flow.drop_reason = outcome.actions.drops() ? outcome.reason : sim::DropReason::none;
  remember(flow, outcome, now);
}

void Worker::remember(const datapath::Flow& flow, const sim::Outcome& outcome, MonoTime now) {
  make_room(flow.match, now);
  const auto inserted =
      flows_.insert(flow.match, flow.actions, outcome.dependencies, flow.cookie, now,
                    static_cast<uint8_t>(outcome.reason), rule_counters_.use(outcome.met));
  rule_counters_.release(inserted.tally_before);
  connection_flows_.add(flow.match);
  if (!inserted.evicted) return;
  ++counters_.evicted;
  // It may be one of this very batch, in a small table. An earlier batch may have put it there all the same.
  take_out_of_batch(inserted.evicted->match);
  remove_from_datapath(*inserted.evicted);
}

/// A flow that is not in the datapath yet must not come there. It may stand in the batch more than once, when its actions
/// were not for a later packet.
void Worker::take_out_of_batch(const Match& match) {
  for (size_t i = new_flow_count_; i-- > 0;) {
    if (new_flows_[i].match != match) continue;
    // In order, for of two with one match the later counts.
    std::rotate(new_flows_.begin() + static_cast<std::ptrdiff_t>(i),
                new_flows_.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                new_flows_.begin() + static_cast<std::ptrdiff_t>(new_flow_count_));
    --new_flow_count_;
  }
}

/// Between two rounds of statistics the table does not know who has been hit. The datapath does: whoever is about to go
/// although packets use it stays. A few are asked, so that a flood costs a bounded amount for each of its flows.
void Worker::make_room(const Match& newcomer, MonoTime now) {
  constexpr int kAsked = 4;
  if (flows_.size() < flows_.limit() || flows_.find(newcomer)) return;
  for (int i = 0; i < kAsked; ++i) {
    const auto next = flows_.first_to_go();
    const auto stats = datapath_.flow_stats(next->match);
    if (!stats || stats->last_used <= next->last_used) return;
    take_stats(next->match, *stats, now);
  }
}

sim::DropReason Worker::drop_reason(const Match& match) const {
  const auto flow = flows_.find(match);
  return flow ? static_cast<sim::DropReason>(flow->reason) : sim::DropReason::none;
}

void Worker::remove_from_datapath(const RemovedFlow& flow) {
  connection_flows_.remove(flow.match);
  const auto removed = datapath_.remove_flow(flow.match);
  // Not there is as good: a vanished interface took its flows along.
  if (!removed && removed.error().code != ErrorCode::not_found) {
    log_warn("worker", "removing a flow: {}", removed.error().message);
  }
  if (removed && removed->packets > flow.packets) {
    count_flow_drops(flow.reason, removed->packets - flow.packets);
    rule_counters_.add(flow.tally, removed->packets - flow.packets,
                       removed->bytes > flow.bytes ? removed->bytes - flow.bytes : 0);
  }
  rule_counters_.release(flow.tally);
}

/// A dropping flow drops where nobody sees why: its packets are charged to its reason here.
void Worker::count_flow_drops(uint8_t reason, uint64_t packets) {
  const auto why = static_cast<sim::DropReason>(reason);
  if (why != sim::DropReason::none && packets > 0) counters_.drops[why] += packets;
}

void Worker::take_stats(const Match& match, const datapath::FlowStats& stats, MonoTime now) {
  const auto updated = flows_.update_stats(match, stats.packets, stats.bytes, stats.last_used);
  if (!updated || updated->packets == 0) return;
  count_flow_drops(updated->reason, updated->packets);
  rule_counters_.add(updated->tally, updated->packets, updated->bytes);
  // What drops is no use of its connection: the client that goes on sending would keep it for ever, and itself cut off.
  if (updated->reason == 0) touch_connection(match, stats.last_used, now);
}

bool Worker::within_storm_limit(const Slot& slot, uint32_t limit) {
  const auto& [in_port, tunnel_key, offload, frame] = slot.packet;
  if (limit == 0 || datapath_.take_from_storm_limit(in_port, limit, offload.packets(frame.size())))
    return true;
  drop_after_all(sim::DropReason::storm_limit);
  return false;
}

bool Worker::within_storm_limit(Slot& slot) {
  uint32_t limit = slot.outcome.actions.storm_limit;
  for (const sim::Generated& made : slot.outcome.generated)
    limit = std::max(limit, made.actions.storm_limit);
  if (within_storm_limit(slot, limit)) return true;
  std::erase_if(slot.outcome.generated, [](const sim::Generated& made) {
    return made.kind == sim::GeneratedKind::fragment;
  });
  return false;
}

void Worker::send(Slot& slot, const ParsedPacket& parsed) {
  Actions& actions = slot.outcome.actions;
  if (actions.drops()) return;
  ++counters_.forwarded;
  if (const NeighbourAnswer* answer = actions.answer()) {
    auto back =
        neighbour_answer(parsed, slot.packet.frame, answer->target, answer->mac, answer->router);
    if (!back) return;
    slot.answer = std::move(*back);
    actions = {{{{}, LocalOutput{slot.packet.in_port}}}};
    sends_.push_back({slot.answer, {}, &actions});
    return;
  }
  sends_.push_back({slot.packet.frame, slot.packet.offload, &actions});
}

void Worker::send_generated(std::span<const sim::Generated> generated, DpPort entered_by,
                            MonoTime now) {
  for (const sim::Generated& made : generated) {
    if (icmp_limiter_.allows(*snapshot_, made, entered_by, now))
      send_made(made);
    else
      drop(sim::DropReason::icmp_rate_limited);
  }
}

void Worker::send_made(const sim::Generated& made) {
  ++counters_.generated;
  if (made.kind == sim::GeneratedKind::fragment) ++counters_.fragments;
  if (made.actions.drops()) return;
  sends_.push_back({made.frame, {}, &made.actions});
}

void Worker::park(Parked&& packet) {
  packet.tenant = tenant_of(packet.packet.in_port);
  const size_t packets = packet.packets();
  size_t gone = 0;
  if (parked_.park(std::move(packet), &gone) == Parking::Answer::refused)
    return drop_after_all(sim::DropReason::too_many_waiting, packets);
  if (gone > 0) drop(sim::DropReason::too_many_waiting, gone);
  counters_.parked += packets;
}

void Worker::retry_parked(MonoTime now, bool all) {
  auto waiting = all ? parked_.take_all() : parked_.take_due(now);
  for (Parked& p : waiting) {
    if (all) {
      // Something changed: ask again, without counting a try and without asking the neighbour once more.
      sim::Outcome outcome;
      sim::simulate(packet_of(p.packet), *snapshot_, view(), now, outcome);
      if (outcome.verdict == sim::Verdict::postpone && outcome.missing == p.missing) {
        const size_t packets = p.packets();
        if (parked_.park(std::move(p)) != Parking::Answer::parked)
          drop(sim::DropReason::too_many_waiting, packets);
        continue;
      }
    } else if (p.tries >= options_.max_tries) {
      give_up(p, now);
      continue;
    }
    const unsigned tries = all ? p.tries : p.tries + 1;
    handle(std::move(p.packet), tries, now);
    // It is known by now what became of their first one.
    for (datapath::Upcall& later : p.later) handle(std::move(later), tries, now);
  }
  finish_batch();
}

/// Nobody answered: the sender is told (RFC 1812 5.2.7.1, RFC 4861 7.2.2).
void Worker::give_up(const Parked& p, MonoTime now) {
  const sim::Packet packet = packet_of(p.packet);
  const sim::Outcome outcome = sim::simulate_last_try(packet, *snapshot_, now, nullptr, view());
  if (!outcome.traced.empty()) {
    traces_.follow(packet, outcome, *snapshot_, view(), now, true);
    traces_.conclude();
  }
  drop(outcome.verdict == sim::Verdict::drop ? outcome.reason
                                             : sim::DropReason::neighbour_unresolved,
       p.packets());
  // Those that are still to come follow it.
  if (p.ticket != 0 && outcome.verdict == sim::Verdict::drop)
    fragments_.remember(packet, outcome, now);
  send_generated(outcome.generated, p.packet.in_port, now);
  finish_batch();  // before the outcome goes
}

void Worker::tick(MonoTime now) {
  if (snapshot_) {
    retry_parked(now, false);
    const auto adverts = router_advertiser_.due(*snapshot_, now);
    for (const sim::Generated& advert : adverts) send_made(advert);
    finish_batch();
    icmp_limiter_.forget_idle(now);
    asked_.forget_old(now);
    rule_log_.tick(*snapshot_, now);
    if (now >= next_forgetting_) {
      rule_counters_.forget_gone(*snapshot_);
      next_forgetting_ = now + std::chrono::minutes(1);
    }
  }
  repair();
  if (busy() || flows_.size() == 0 || now < next_statistics_) return;
  reading_statistics_ = true;
  statistics_began_ = now;
  statistics_took_ = {};
  go_on_beside(now, 0);
}

void Worker::remove_expired(size_t most) {
  // From both tables at once: the datapath has little room for flows that are not in ours.
  const auto expired = flows_.expire(statistics_began_, options_.idle_timeout, most);
  for (const RemovedFlow& flow : expired) remove_from_datapath(flow);
  counters_.expired += expired.size();
  expiring_ = expired.size() == most;
}

void Worker::go_on_beside(MonoTime now, size_t installed) {
  const MonoTime began = mono_now();
  if (reading_statistics_) {
    const bool all = datapath_.read_stats(
        options_.flows_beside, [&](const Match& match, const datapath::FlowStats& stats) {
          take_stats(match, stats, now);
        });
    if (all) {
      reading_statistics_ = false;
      expiring_ = true;
    }
  }
  if (expiring_) remove_expired(std::max(options_.flows_beside, installed));
  statistics_took_ += mono_now() - began;
  // Reading a full table takes its time: at most a twentieth of the worker's.
  if (!busy()) next_statistics_ = now + 20 * statistics_took_;
}

void Worker::repair() {
  const auto repaired = datapath_.repair();
  if (!repaired) {
    if (worth_a_line(++counters_.repairs_failed)) {
      log_warn("worker", "putting the datapath in order: {}", repaired.error().message);
    }
  } else if (*repaired > 0) {
    counters_.repaired += *repaired;
    log_warn("worker", "{} filters or devices had been taken away; they are back", *repaired);
  }
}

void Worker::adopt(MonoTime now) {
  const auto left = datapath_.dump_flows();
  if (!left) {
    log_warn("worker", "reading the flows of an earlier agent: {}", left.error().message);
    return;
  }
  size_t kept = 0, gone = 0;
  for (const datapath::FlowEntry& entry : *left) {
    if (flows_.find(entry.flow.match)) continue;
    next_cookie_ = std::max(next_cookie_, entry.flow.cookie + 1);
    const std::vector<uint8_t> frame = sample_packet(entry.flow.match.key, entry.flow.actions);
    const sim::Packet parsed = sim::packet_of(frame, DpPort{entry.flow.match.key.in_port},
                                              entry.flow.match.key.tunnel_key);
    sim::Outcome outcome;
    sim::simulate(parsed, *snapshot_, view(), now, outcome);
    const bool same = outcome.cacheable && !outcome.begins &&
                      same_effect(outcome.actions, entry.flow.actions) &&
                      match_of(parsed.key, outcome.mask) == entry.flow.match &&
                      (!outcome.actions.drops() || entry.flow.drop_reason == outcome.reason);
    if (same) {
      remember(entry.flow, outcome, now);
      // Whom the earlier agent told nobody remembers, and they have to hear that it goes on.
      (void)tell_of_flow(outcome, now);
      // What the earlier agent counted is not counted again.
      (void)flows_.update_stats(entry.flow.match, entry.stats.packets, entry.stats.bytes,
                                entry.stats.last_used);
      ++kept;
    } else {
      remove_from_datapath({.match = entry.flow.match});
      ++gone;
    }
  }
  if (kept + gone > 0)
    log_info("worker", "flows of an earlier agent: {} kept, {} removed", kept, gone);
}

std::vector<sim::StateWrite> Worker::take_writes() {
  return std::exchange(writes_, {});
}

sim::Outcome Worker::ask(DpPort in_port, uint32_t tunnel_key, std::span<const uint8_t> frame,
                         MonoTime now, sim::Trace* trace) const {
  PLEXUS_CHECK(snapshot_ != nullptr, "ask() after the first publish()");
  sim::Outcome outcome;
  sim::simulate(sim::packet_of(frame, in_port, tunnel_key), *snapshot_, view(), now, outcome,
                trace);
  return outcome;
}

}  // namespace plexus::agent
