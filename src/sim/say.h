// SPDX-License-Identifier: Apache-2.0
// How the lines of a trace show values. Notes take the values themselves, so that nothing becomes text unless there is a
// trace to read it.
#pragma once

#include <fmt/format.h>

#include <string_view>

#include "base/ids.h"
#include "model/snapshot.h"
#include "packet/addr.h"
#include "state/tuple.h"

namespace plexus::sim {

/// The name of an object that is perhaps not known, or has none; its id then.
struct PortName {
  const model::Snapshot& snapshot;
  PortId id;
  [[nodiscard]] std::string str() const {
    const model::Port* port = snapshot.port(id);
    return port != nullptr && !port->name.empty() ? port->name : id.str();
  }
};
struct HostName {
  const model::Snapshot& snapshot;
  HostId id;
  [[nodiscard]] std::string str() const {
    const model::Host* host = snapshot.host(id);
    return host != nullptr && !host->name.empty() ? host->name : "host " + id.str();
  }
};
/// The name of a rule, or how its id begins.
struct RuleName {
  const model::Rule& rule;
  [[nodiscard]] std::string str() const {
    return rule.name.empty() ? rule.id.str().substr(0, 8) : rule.name;
  }
};

/// As T::str().
template <typename T>
struct SayByStr : fmt::formatter<std::string_view> {
  template <typename Context>
  auto format(const T& value, Context& context) const {
    return fmt::formatter<std::string_view>::format(value.str(), context);
  }
};

}  // namespace plexus::sim

template <>
struct fmt::formatter<plexus::MacAddr> : plexus::sim::SayByStr<plexus::MacAddr> {};
template <>
struct fmt::formatter<plexus::IpAddr> : plexus::sim::SayByStr<plexus::IpAddr> {};
template <>
struct fmt::formatter<plexus::IpPrefix> : plexus::sim::SayByStr<plexus::IpPrefix> {};
template <typename Kind>
struct fmt::formatter<plexus::Id<Kind>> : plexus::sim::SayByStr<plexus::Id<Kind>> {};
template <>
struct fmt::formatter<plexus::sim::PortName> : plexus::sim::SayByStr<plexus::sim::PortName> {};
template <>
struct fmt::formatter<plexus::state::Tuple> : plexus::sim::SayByStr<plexus::state::Tuple> {};
template <>
struct fmt::formatter<plexus::sim::RuleName> : plexus::sim::SayByStr<plexus::sim::RuleName> {};
template <>
struct fmt::formatter<plexus::sim::HostName> : plexus::sim::SayByStr<plexus::sim::HostName> {};
