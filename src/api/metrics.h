// SPDX-License-Identifier: Apache-2.0
// Metrics: what the server counts, and the Prometheus text of it. Threads: any.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>

namespace plexus::api {

class Metrics {
 public:
  /// A request was answered. `route`: the class of its path: "object", "watch".
  void answered(std::string_view method, int status, std::string_view route,
                std::chrono::nanoseconds took);
  /// Somebody had no valid token. `reason`: "missing", "invalid", "limited".
  void refused(std::string_view reason);

  /// The text of the counters.
  [[nodiscard]] std::string text() const;

 private:
  static constexpr std::array<double, 10> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025,
                                                     0.05,  0.1,    0.5,   1,    10};
  struct Histogram {
    std::array<uint64_t, kBounds.size()> upto{};
    uint64_t count = 0;
    double sum = 0;
  };
  mutable std::mutex mutex_;
  std::map<std::tuple<std::string, int, std::string>, uint64_t> requests_;
  std::map<std::string, Histogram> durations_;
  std::map<std::string, uint64_t> refused_;
};

/// One figure with its help and type lines.
[[nodiscard]] std::string metric(std::string_view name, std::string_view type,
                                 std::string_view help, double value);

}  // namespace plexus::api
