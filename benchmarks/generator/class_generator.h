// SPDX-License-Identifier: Apache-2.0
// ClassGenerator: sends packets that may each be the first of their class, on the thread that calls it, and sees them arrive.
// One thread; it stays in the network namespace that it was in.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

struct class_generator;

namespace plexus::bench {

struct Sink {
  std::string netns;      ///< below /run/netns
  std::string interface;  ///< its filters are ours to keep
};

class ClassGenerator {
 public:
  static constexpr size_t kFrameBytes = 64;
  static constexpr uint16_t kClassPort = 9, kProbePort = 7;

  /// `spare`: an interface without traffic, to attach to: that makes a burst start in microseconds instead of 24 ms.
  static Result<ClassGenerator> open(const std::string& spare, const Sink& sink);

  /// `count` copies of `frame` enter by the interface, to `first_destination` and those that follow.
  Result<void> send(uint32_t ifindex, std::span<const uint8_t> frame, uint32_t first_destination,
                    uint32_t count);

  /// Packets to kClassPort that have arrived.
  [[nodiscard]] uint64_t arrived() const;
  /// Those to kProbePort.
  [[nodiscard]] uint64_t probes_arrived() const;
  /// How long probe number n was on its way, ns; of the last 65,536.
  [[nodiscard]] Result<uint64_t> probe_time(uint64_t n) const;

 private:
  struct Closer {
    void operator()(class_generator* skeleton) const;
  };
  std::unique_ptr<class_generator, Closer> programs_;
};

}  // namespace plexus::bench
