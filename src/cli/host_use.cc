// SPDX-License-Identifier: Apache-2.0
#include "cli/host_use.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <algorithm>

namespace plexus::cli {

Result<HostUse> HostUse::load(ApiClient& api) {
  auto ports = api.list(*codec::find_singular("port"));
  if (!ports) return ports.error();
  auto hosts = api.items("status/hosts");
  if (!hosts) return hosts.error();
  auto bindings = api.items("status/bindings");
  if (!bindings) return bindings.error();
  return HostUse(StatusView(*hosts, *bindings), std::move(*ports));
}

bool HostUse::is_at(const Object& port, const std::string& host) const {
  return codec::get_text(*port.message, "host") == host || view_.is_active(port.id(), host);
}

std::vector<std::string> HostUse::ports_of(const std::string& host) const {
  std::vector<std::string> out;
  for (const Object& p : ports_) {
    if (is_at(p, host)) out.push_back(p.name());
  }
  return out;
}

std::string HostUse::words_of(const google::protobuf::Message& host,
                              const std::set<std::string>& going) const {
  const std::string id = codec::get_text(host, "id");
  std::vector<std::string> names;
  for (const Object& p : ports_) {
    if (is_at(p, id) && !going.contains(p.id())) names.push_back(p.name());
  }
  const bool live = view_.of_host(host).live;
  if (names.empty() && !live) return {};
  constexpr size_t kNamed = 10;
  const size_t count = names.size();
  names.resize(std::min(count, kNamed));
  return fmt::format("host {} is {}live and has {} port{}{}{}{}", codec::get_text(host, "name"),
                     live ? "" : "not ", count == 0 ? "no" : std::to_string(count),
                     count == 1 ? "" : "s", count == 0 ? "" : ": ", fmt::join(names, ", "),
                     count > kNamed ? fmt::format(" and {} more", count - kNamed) : std::string());
}

}  // namespace plexus::cli
