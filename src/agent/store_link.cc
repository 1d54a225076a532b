// SPDX-License-Identifier: Apache-2.0
#include "agent/store_link.h"

#include <algorithm>
#include <random>

#include "agent/worth_a_line.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/topology/port_blocks.h"

namespace plexus::agent {

using namespace std::chrono_literals;

namespace {

Result<void> carry_out(store::Store& store, HostId self, const PortBlockPlan::Order& order) {
  store::PortBlocks blocks(store, self);
  // Compared with what other hosts write, so by the clock that all have.
  const int64_t now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                             std::chrono::system_clock::now().time_since_epoch())
                             .count();
  switch (order.kind) {
    case PortBlockPlan::Order::Kind::settle:
      return blocks.settle(order.pool, now_ms);
    case PortBlockPlan::Order::Kind::grow:
      return blocks.grow(order.pool, order.family, now_ms);
    case PortBlockPlan::Order::Kind::give_back:
      return blocks.give_back(order.pool.id, now_ms, &order.blocks);
  }
  return Ok{};
}

}  // namespace

StoreLink::StoreLink(std::string address, store::OpenOptions open, HostId self)
    : address_(std::move(address)),
      open_options_(std::move(open)),
      self_(self),
      thread_([this](std::stop_token stop) { run(stop); }) {}

StoreLink::~StoreLink() {
  thread_.request_stop();
  woken_.notify_all();
  thread_.join();
}

template <typename Change>
void StoreLink::wish(const Change& change) {
  {
    std::lock_guard lock(mutex_);
    change(wishes_);
    ++wishes_made_;
  }
  woken_.notify_all();
}

void StoreLink::join(store::Registration registration) {
  wish([&](Wishes& w) { w.join = std::move(registration); });
}
void StoreLink::set_tunnel_addresses(std::vector<IpAddr> addresses, uint16_t udp_port) {
  wish([&](Wishes& w) { w.addresses = Addresses{std::move(addresses), udp_port}; });
}
void StoreLink::read_zones() {
  wish([](Wishes& w) { w.zones = true; });
}
void StoreLink::publish(PortId port, bool take_over) {
  wish([&](Wishes& w) { w.ports[port] = {true, take_over}; });
}
void StoreLink::unpublish(PortId port) {
  wish([&](Wishes& w) { w.ports[port] = {false, false}; });
}
void StoreLink::set_flood_key(BridgeId bridge, bool wanted) {
  wish([&](Wishes& w) { w.floods[bridge] = wanted; });
}
void StoreLink::order_port_blocks(PortBlockPlan::Order order) {
  wish([&](Wishes& w) { w.blocks.insert_or_assign(order.pool.id, std::move(order)); });
}
void StoreLink::say(const Neighbour& neighbour) {
  wish([&](Wishes& w) {
    if (w.neighbours.size() >= kMaxNeighbours) {
      ++neighbours_lost_;
    } else {
      w.neighbours.push_back(neighbour);
    }
  });
}
void StoreLink::learn(PortId port, const IpAddr& address, const MacAddr& mac) {
  say({port, address, mac, false});
}
void StoreLink::forget(PortId port, const IpAddr& address, const MacAddr& mac) {
  say({port, address, mac, true});
}
void StoreLink::set_learned(PortId port, std::vector<model::LearnedMac> table) {
  wish([&](Wishes& w) { w.learned[port] = std::move(table); });
}
void StoreLink::answer(const store::BarrierQuestion& question) {
  wish([&](Wishes& w) { w.answer = question; });
}
void StoreLink::sync() {
  wish([](Wishes& w) { w.sync = true; });
}

StoreLink::Status StoreLink::status() const {
  std::lock_guard lock(mutex_);
  return {wishes_.count(), trouble_, neighbours_lost_};
}

void StoreLink::tell(News news) {
  // Whoever wants something wants it again when nothing comes.
  if (!news_.post(std::move(news))) log_warn("agent", "news from the store was lost");
}

void StoreLink::note_trouble(const std::string& text) {
  std::lock_guard lock(mutex_);
  if (text == trouble_) return;
  trouble_ = text;
  if (!text.empty()) log_warn("agent", "{}", text);
}

void StoreLink::run(std::stop_token stop) {
  std::minstd_rand random(std::random_device{}());
  Duration pause{0};
  while (!stop.stop_requested()) {
    std::optional<Result<void>> done;
    uint64_t seen = 0;
    {
      std::lock_guard lock(mutex_);
      seen = wishes_made_;
    }
    const bool ready = store_ != nullptr || open();
    if (ready) done = do_one();
    if (done && *done) {
      note_trouble("");
      pause = Duration(0);
      continue;
    }
    std::unique_lock lock(mutex_);
    if (ready && !done) {
      woken_.wait(lock, stop, [&] { return wishes_made_ != seen; });
      continue;
    }
    // All agents that lost one store must not come back in step.
    pause = std::clamp<Duration>(pause * 2, 100ms, 3s);
    const auto jitter = Duration(std::uniform_int_distribution<int64_t>(0, pause.count())(random));
    woken_.wait_for(lock, stop, pause / 2 + jitter, [] { return false; });
  }
}

bool StoreLink::open() {
  auto opened = store::open_store(address_, open_options_);
  if (!opened) {
    note_trouble("the store cannot be opened (trying again): " + opened.error().message);
    if (opened.error().code != ErrorCode::unavailable) tell(OpenFailed{opened.error()});
    return false;
  }
  store_ = std::move(*opened);
  tell(Opened{store_.get()});
  return true;
}

std::optional<Result<void>> StoreLink::do_one() {
  Wishes now;
  {
    // One wish is taken out. What is wished meanwhile about the same thing counts more.
    std::lock_guard lock(mutex_);
    if (wishes_.answer) {
      now.answer = std::exchange(wishes_.answer, std::nullopt);
    } else if (wishes_.sync) {
      now.sync = std::exchange(wishes_.sync, false);
    } else if (wishes_.zones) {
      now.zones = std::exchange(wishes_.zones, false);
    } else if (wishes_.join) {
      now.join = wishes_.join;
    } else if (!joined_) {
      return std::nullopt;
    } else if (wishes_.addresses) {
      now.addresses = std::exchange(wishes_.addresses, std::nullopt);
    } else if (!wishes_.ports.empty()) {
      now.ports.insert(wishes_.ports.extract(wishes_.ports.begin()));
    } else if (!wishes_.floods.empty()) {
      now.floods.insert(wishes_.floods.extract(wishes_.floods.begin()));
    } else if (!wishes_.blocks.empty()) {
      now.blocks.insert(wishes_.blocks.extract(wishes_.blocks.begin()));
    } else if (!wishes_.neighbours.empty()) {
      now.neighbours.push_back(wishes_.neighbours.front());
      wishes_.neighbours.pop_front();
    } else if (!wishes_.learned.empty()) {
      size_t macs = 0;
      while (!wishes_.learned.empty() && now.learned.size() < kLearnedAtOnce &&
             macs < kLearnedMacsAtOnce) {
        macs += wishes_.learned.begin()->second.size();
        now.learned.insert(wishes_.learned.extract(wishes_.learned.begin()));
      }
    } else {
      return std::nullopt;
    }
  }
  store::HostRecords records(*store_, self_);
  const auto later = [](const Error& error) { return error.code == ErrorCode::unavailable; };
  const auto keep = [&](const Error& error, const auto& put_back) -> Result<void> {
    {
      std::lock_guard lock(mutex_);
      put_back(wishes_);
    }
    note_trouble(error.message);
    return error;
  };

  if (now.answer) {
    const auto done = store::answer_barrier(*store_, self_, *now.answer);
    if (!done && later(done.error())) {
      return keep(done.error(), [&](Wishes& w) {
        if (!w.answer) w.answer = now.answer;
      });
    }
    if (!done) log_warn("agent", "{}", done.error().message);
  } else if (now.sync) {
    // Who asked asks again.
    (void)store_->sync();
  } else if (now.zones) {
    auto zones = store::tunnel_zones(*store_);
    if (!zones) {
      return keep(zones.error().in("reading tunnel zones"), [](Wishes& w) { w.zones = true; });
    }
    tell(ZonesRead{std::move(*zones)});
  } else if (now.join) {
    auto joined = records.register_host(*now.join);
    if (joined) {
      if (auto alive = records.announce_alive(joined->incarnation, now.join->machine_id); !alive) {
        joined = alive.error().in("announcing this host");
      }
    }
    if (!joined && joined.error().code == ErrorCode::exists) {
      {
        std::lock_guard lock(mutex_);
        wishes_.join.reset();
      }
      tell(Refused{joined.error()});
      return Result<void>(Ok{});
    }
    if (!joined) return keep(joined.error(), [](Wishes&) {});
    joined_ = true;
    {
      std::lock_guard lock(mutex_);
      wishes_.join.reset();
    }
    tell(Joined{std::move(*joined)});
  } else if (now.addresses) {
    const auto set =
        records.set_tunnel_addresses(now.addresses->addresses, now.addresses->udp_port);
    if (!set) {
      return keep(set.error().in("publishing tunnel addresses"), [&](Wishes& w) {
        if (!w.addresses) w.addresses = now.addresses;
      });
    }
  } else if (!now.ports.empty()) {
    const auto& [port, wanted] = *now.ports.begin();
    std::optional<Error> error;
    if (wanted.here) {
      if (const auto done = records.publish(port, wanted.take_over); !done) error = done.error();
    } else if (const auto done = records.unpublish(port);
               !done && done.error().code != ErrorCode::not_found) {
      error = done.error();
    }
    if (error && later(*error)) {
      return keep(*error, [&](Wishes& w) { w.ports.insert(*now.ports.begin()); });
    }
    tell(PortDone{port, std::move(error)});
  } else if (!now.floods.empty()) {
    const auto& [bridge, wanted] = *now.floods.begin();
    std::optional<Error> error;
    if (wanted) {
      if (const auto key = records.flood_key(bridge); !key) error = key.error();
    } else if (const auto done = records.drop_flood_key(bridge);
               !done && done.error().code != ErrorCode::not_found) {
      error = done.error();
    }
    if (error && later(*error)) {
      return keep(*error, [&](Wishes& w) { w.floods.insert(*now.floods.begin()); });
    }
    if (error) {
      log_warn("agent", "the flood key of bridge {}: {}", bridge.str(), error->message);
    }
    tell(FloodKeyDone{bridge});
  } else if (!now.blocks.empty()) {
    const auto& [pool, order] = *now.blocks.begin();
    std::optional<Error> error;
    if (const auto done = carry_out(*store_, self_, order); !done) error = done.error();
    if (error && later(*error)) {
      return keep(*error, [&](Wishes& w) { w.blocks.insert(*now.blocks.begin()); });
    }
    if (error) log_warn("agent", "{}", error->message);
    tell(PortBlocksDone{pool, std::move(error)});
  } else if (!now.neighbours.empty()) {
    const Neighbour& n = now.neighbours.front();
    const auto done = n.gone ? records.forget_neighbour(n.port, n.address, n.mac)
                             : records.learn_neighbour(n.port, n.address, n.mac);
    if (!done && later(done.error())) {
      return keep(done.error(), [&](Wishes& w) { w.neighbours.push_front(n); });
    }
    if (!done) {
      uint64_t lost = 0;
      {
        std::lock_guard lock(mutex_);
        lost = ++neighbours_lost_;
      }
      if (worth_a_line(lost)) {
        log_warn("agent", "storing neighbour {} of port {}: {} ({} lost so far)", n.address.str(),
                 n.port.str(), done.error().message, lost);
      }
    }
  } else if (!now.learned.empty()) {
    const auto done = records.set_learned({now.learned.begin(), now.learned.end()});
    if (!done && later(done.error())) {
      return keep(done.error(), [&](Wishes& w) { w.learned.merge(now.learned); });
    }
    // Said again when it is still so.
    if (!done) log_warn("agent", "storing learned MACs: {}", done.error().message);
  }
  return Result<void>(Ok{});
}

}  // namespace plexus::agent
