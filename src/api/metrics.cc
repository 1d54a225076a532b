// SPDX-License-Identifier: Apache-2.0
#include "api/metrics.h"

#include <fmt/format.h>

#include <algorithm>

namespace plexus::api {

void Metrics::answered(std::string_view method, int status, std::string_view route,
                       std::chrono::nanoseconds took) {
  static constexpr std::string_view kMethods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
  const bool known =
      std::find(std::begin(kMethods), std::end(kMethods), method) != std::end(kMethods);
  const double seconds = std::chrono::duration<double>(took).count();
  const std::lock_guard lock(mutex_);
  ++requests_[{std::string(known ? method : "other"), status, std::string(route)}];
  Histogram& h = durations_[std::string(route)];
  for (size_t i = 0; i < kBounds.size(); ++i) {
    if (seconds <= kBounds[i]) ++h.upto[i];
  }
  ++h.count;
  h.sum += seconds;
}

void Metrics::refused(std::string_view reason) {
  const std::lock_guard lock(mutex_);
  ++refused_[std::string(reason)];
}

std::string Metrics::text() const {
  std::string out =
      "# HELP plexus_api_requests_total Requests answered, by method, status and kind of path.\n"
      "# TYPE plexus_api_requests_total counter\n";
  const std::lock_guard lock(mutex_);
  for (const auto& [key, count] : requests_) {
    const auto& [method, status, route] = key;
    out += fmt::format("plexus_api_requests_total{{method=\"{}\",code=\"{}\",route=\"{}\"}} {}\n",
                       method, status, route, count);
  }
  out +=
      "# HELP plexus_api_request_seconds How long answers took; of streams, until they began.\n"
      "# TYPE plexus_api_request_seconds histogram\n";
  for (const auto& [route, h] : durations_) {
    for (size_t i = 0; i < kBounds.size(); ++i) {
      out += fmt::format("plexus_api_request_seconds_bucket{{route=\"{}\",le=\"{}\"}} {}\n", route,
                         kBounds[i], h.upto[i]);
    }
    out += fmt::format(
        "plexus_api_request_seconds_bucket{{route=\"{0}\",le=\"+Inf\"}} {1}\n"
        "plexus_api_request_seconds_sum{{route=\"{0}\"}} {2}\n"
        "plexus_api_request_seconds_count{{route=\"{0}\"}} {1}\n",
        route, h.count, h.sum);
  }
  out +=
      "# HELP plexus_api_auth_failures_total Requests without a valid token, by reason.\n"
      "# TYPE plexus_api_auth_failures_total counter\n";
  for (const auto& [reason, count] : refused_)
    out += fmt::format("plexus_api_auth_failures_total{{reason=\"{}\"}} {}\n", reason, count);
  return out;
}

std::string metric(std::string_view name, std::string_view type, std::string_view help,
                   double value) {
  return fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n{0} {3}\n", name, help, type, value);
}

}  // namespace plexus::api
