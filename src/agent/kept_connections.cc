// SPDX-License-Identifier: Apache-2.0
#include "agent/kept_connections.h"

#include <utility>

#include "base/log.h"

namespace plexus::agent {
namespace {

constexpr Duration kTryAgain = std::chrono::minutes(1);

}  // namespace

KeptConnections::KeptConnections(Place place, state::ConnectionTable& table, MonoTime now)
    : place_(std::move(place)), table_(table) {
  open(now);
}

void KeptConnections::open(MonoTime now) {
  next_try_ = now + kTryAgain;
  // Late, what it holds is older than what has been learned without it.
  const bool late = tried_;
  std::vector<ConnectionFile::Slot> over;
  const auto restore = [&](ConnectionFile::Slot place, const state::Connection& c) {
    tried_ = true;
    if (late) return over.push_back(place);
    const auto done = table_.commit(c, now);
    // Whoever makes room for another has a slot already.
    for (const auto& [number, connection] : done.removed) {
      const Slot old = std::exchange(slot_of(number), {});
      if (old.slot == kNone) continue;
      over.push_back(old.slot);
      --restored_;
    }
    if (done.refusal != state::Refusal::none || done.outdated || !done.created)
      return over.push_back(place);
    slot_of(done.number) = {place, c.last_seen};
    ++restored_;
  };
  auto opened = ConnectionFile::open(place_.path, place_.host, place_.boot, now,
                                     table_.limits().total, restore);
  if (!opened || opened->file == nullptr) slots_.clear();  // they are in no file
  if (!opened) return say(opened.error().message);
  tried_ = true;
  if (!opened->set_aside.empty())
    log_warn("worker", "the file of connections was not this host's: it is {} now",
             opened->set_aside);
  if (opened->torn > 0)
    log_warn("worker", "{} records of connections were not whole", opened->torn);
  say(opened->trouble);
  file_ = std::move(opened->file);
  const size_t refused = over.size();
  for (const ConnectionFile::Slot slot : over)
    if (file_) file_->forget(slot);
  if (restored_ + refused > 0)
    log_info("worker", "connections of an earlier agent: {} kept, {} over", restored_, refused);
  if (!file_) return;
  table_.for_each([&](state::ConnectionNumber number, const state::Connection&) {
    if (slot_of(number).slot == kNone) keep(number, now);
  });
}

void KeptConnections::say(std::string trouble) {
  if (trouble == trouble_) return;
  trouble_ = std::move(trouble);
  if (trouble_.empty())
    log_info("worker", "connections are kept on the disk again");
  else
    log_warn("worker", "connections are not kept on the disk: {}", trouble_);
}

KeptConnections::Slot& KeptConnections::slot_of(state::ConnectionNumber number) {
  if (slots_.size() <= number) slots_.resize(size_t{number} + 1);
  return slots_[number];
}

void KeptConnections::keep(state::ConnectionNumber number, MonoTime now) {
  if (!file_) return;
  Slot& slot = slot_of(number);
  const state::Connection c = table_.connection(number);
  const auto kept = file_->keep(
      slot.slot == kNone ? std::nullopt : std::optional<ConnectionFile::Slot>(slot.slot), c, now);
  if (!kept) return say(kept.error().message);
  slot = {*kept, c.last_seen};
}

void KeptConnections::used(state::ConnectionNumber number, MonoTime now) {
  if (!file_) return;
  const Slot& slot = slot_of(number);
  const MonoTime last = table_.last_seen(number);
  const Duration timeout = table_.expires(number) - last;
  if (slot.slot == kNone || last - slot.used >= timeout / 4) keep(number, now);
}

void KeptConnections::forget(state::ConnectionNumber number) {
  if (slots_.size() <= number) return;
  const Slot slot = std::exchange(slots_[number], {});
  if (file_ && slot.slot != kNone) file_->forget(slot.slot);
}

void KeptConnections::tick(MonoTime now) {
  if (now < next_try_ || trouble_.empty()) return;
  if (!file_) return open(now);
  // It is open, and did not take all: whoever was refused is tried by its next use.
  next_try_ = now + kTryAgain;
  say("");
}

}  // namespace plexus::agent
