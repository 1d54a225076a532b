// SPDX-License-Identifier: Apache-2.0
// HostDatapath: the datapath of a host that is a network namespace, as a scenario uses it: called from any namespace, and with
// statistics in the scenario's time. The kernel stamps flows with its own clock; between two steps of the scenario's clock
// all of its time is one moment. One thread.
#pragma once

#include <time.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "datapath/conformance/net_namespace.h"
#include "datapath/datapath.h"

namespace plexus::scenario {

class HostDatapath final : public datapath::Datapath {
 public:
  HostDatapath(datapath::Datapath& real, const datapath::NetNamespace& home,
               std::function<MonoTime()> clock)
      : real_(real), home_(home), clock_(std::move(clock)) {
    notice();
  }

  /// To be called before packets are sent: from here on the kernel's time is the scenario's.
  void notice() {
    const MonoTime now = clock_();
    if (!steps_.empty() && steps_.back().second == now) return;
    // Programs stamp with the coarse clock, which stands still between ticks: the step begins with the next one.
    const MonoTime began = mono_now();
    MonoTime tick = coarse_now();
    for (; tick <= began; tick = coarse_now())
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    steps_.emplace_back(tick, now);
  }

  [[nodiscard]] std::string kind() const override { return real_.kind(); }
  Result<void> add_port(const datapath::PortSpec& port) override {
    const datapath::InNamespace there(home_);
    return real_.add_port(port);
  }
  Result<void> remove_port(DpPort number) override {
    const datapath::InNamespace there(home_);
    return real_.remove_port(number);
  }
  [[nodiscard]] std::vector<datapath::PortSpec> ports() const override { return real_.ports(); }
  Result<datapath::PortStats> port_stats(DpPort number) const override {
    return real_.port_stats(number);
  }
  Result<void> set_tunnel(const datapath::TunnelSpec& tunnel) override {
    const datapath::InNamespace there(home_);
    return real_.set_tunnel(tunnel);
  }
  Result<void> put_flow(const datapath::Flow& flow) override { return real_.put_flow(flow); }
  void put_flows(std::span<const datapath::Flow> flows, std::span<Result<void>> done) override {
    real_.put_flows(flows, done);
  }
  Result<datapath::FlowStats> remove_flow(const Match& match) override {
    return translated(real_.remove_flow(match));
  }
  Result<datapath::FlowStats> flow_stats(const Match& match) const override {
    return translated(real_.flow_stats(match));
  }
  bool read_stats(
      size_t limit,
      const std::function<void(const Match&, const datapath::FlowStats&)>& visit) override {
    return real_.read_stats(limit, [&](const Match& match, datapath::FlowStats stats) {
      stats.last_used = translated(stats.last_used);
      visit(match, stats);
    });
  }
  Result<std::vector<datapath::FlowEntry>> dump_flows() const override {
    auto all = real_.dump_flows();
    if (all)
      for (datapath::FlowEntry& entry : *all)
        entry.stats.last_used = translated(entry.stats.last_used);
    return all;
  }
  Result<void> execute(std::span<const uint8_t> frame, const datapath::Offload& offload,
                       const Actions& actions) override {
    return real_.execute(frame, offload, actions);
  }
  void execute_many(std::span<const datapath::Execution> packets,
                    std::span<Result<void>> done) override {
    const datapath::InNamespace there(home_);
    real_.execute_many(packets, done);
  }
  Result<size_t> repair() override {
    const datapath::InNamespace there(home_);
    return real_.repair();
  }
  [[nodiscard]] bool take_from_storm_limit(DpPort port, uint32_t limit, uint32_t packets) override {
    return real_.take_from_storm_limit(port, limit, packets);
  }
  [[nodiscard]] int upcall_fd() const override { return real_.upcall_fd(); }
  size_t receive(datapath::Quota quota,
                 const std::function<void(datapath::Upcall&&)>& sink) override {
    return real_.receive(quota, sink);
  }
  void set_group(DpPort port, uint64_t group) override { real_.set_group(port, group); }
  [[nodiscard]] datapath::Counters counters() const override { return real_.counters(); }

 private:
  static MonoTime coarse_now() {
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return MonoTime{t.tv_sec * 1'000'000'000 + t.tv_nsec};
  }
  [[nodiscard]] MonoTime translated(MonoTime kernel) const {
    if (kernel == MonoTime{}) return kernel;  // never
    const auto after = std::upper_bound(steps_.begin(), steps_.end(), kernel,
                                        [](MonoTime t, const auto& s) { return t < s.first; });
    return after == steps_.begin() ? steps_.front().second : std::prev(after)->second;
  }
  [[nodiscard]] Result<datapath::FlowStats> translated(Result<datapath::FlowStats> stats) const {
    if (stats) stats->last_used = translated(stats->last_used);
    return stats;
  }

  datapath::Datapath& real_;
  const datapath::NetNamespace& home_;
  std::function<MonoTime()> clock_;
  std::vector<std::pair<MonoTime, MonoTime>>
      steps_;  ///< the kernel's time, the scenario's from then
};

}  // namespace plexus::scenario
