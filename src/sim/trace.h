// SPDX-License-Identifier: Apache-2.0
// Trace: what a simulation did, step by step, for people (text()) and for programs (steps()). Costs nothing when
// no trace is asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace plexus::sim {

enum class DeviceKind : uint8_t {
  packet,
  port,
  bridge,
  router,
  route,
  host,
  tunnel_key,
  outcome,
  chain,
  rule,
  security_group,
  mirror,
  trace_request,
  floating_ip,
  snat_pool,
  vip,
  pool_member,
};
[[nodiscard]] std::string_view to_string(DeviceKind kind);

/// One thing that happened at one device. Steps at a greater depth follow from the last step at a smaller one.
struct TraceStep {
  unsigned depth = 0;
  DeviceKind kind = DeviceKind::packet;
  std::string name;  ///< of the device; empty when it has none
  Uuid id;           ///< nil when the thing has no id
  std::string text;  ///< what was read, decided, rewritten
  bool operator==(const TraceStep&) const = default;
};

class Trace {
 public:
  void add(TraceStep step) { steps_.push_back(std::move(step)); }
  [[nodiscard]] std::span<const TraceStep> steps() const { return steps_; }
  /// Says which step has dropped the packet, by its place; nothing: none has.
  void blame(std::optional<size_t> step) { blamed_ = step; }
  /// nullptr: none.
  [[nodiscard]] const TraceStep* blamed() const {
    return blamed_ && *blamed_ < steps_.size() ? &steps_[*blamed_] : nullptr;
  }
  /// One line a step, two spaces a depth: "bridge net1 (1f0c33aa): 02:00:00:00:00:02 is behind port vm2".
  /// The id is shown by its first eight digits.
  [[nodiscard]] std::string text() const;

 private:
  std::vector<TraceStep> steps_;
  std::optional<size_t> blamed_;
};

}  // namespace plexus::sim
