// SPDX-License-Identifier: Apache-2.0
// HostUse: what stops when a host is cut off or deleted: the ports that are wanted there or still are there. Not
// thread-safe.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "cli/api_client.h"
#include "cli/status_view.h"

namespace plexus::cli {

class HostUse {
 public:
  /// Asks for hosts, ports and where they are.
  static Result<HostUse> load(ApiClient& api);

  /// Names of its ports.
  [[nodiscard]] std::vector<std::string> ports_of(const std::string& host) const;

  /// "host h1 is live and has 2 ports: vm1, vm2"; empty: it is not live and has none. Ports of `going` do not count.
  [[nodiscard]] std::string words_of(const google::protobuf::Message& host,
                                     const std::set<std::string>& going = {}) const;

 private:
  HostUse(StatusView view, std::vector<Object> ports)
      : view_(std::move(view)), ports_(std::move(ports)) {}
  [[nodiscard]] bool is_at(const Object& port, const std::string& host) const;

  StatusView view_;
  std::vector<Object> ports_;
};

}  // namespace plexus::cli
