// SPDX-License-Identifier: Apache-2.0
// StatusView: what hosts report about hosts and ports, beside what is wanted of them. Immutable once loaded.
#pragma once

#include <map>
#include <set>

#include "cli/api_client.h"
#include "cli/table.h"

namespace plexus::cli {

/// Where a port is, by its binding.
struct PortStatus {
  std::string host;  ///< name of the host that has it; empty: none
  std::string state;
};
struct HostStatus {
  std::string state;  ///< "live", "not live, fenced"
  bool live = false;
  size_t active = 0, wanted = 0;  ///< ports
  std::string tunnel_addresses, incarnation, level;
};

class StatusView {
 public:
  /// What `status/hosts` and `status/bindings` answered, and all hosts and ports there are.
  StatusView(const std::vector<codec::Node>& hosts, const std::vector<codec::Node>& bindings);

  /// Asks for what there is to know about objects of that type. Adds the names of hosts.
  static Result<StatusView> load(ApiClient& api, const codec::ResourceSpec& type,
                                 codec::NameTable& names);
  /// Whether objects of this type have a status.
  [[nodiscard]] static bool exists_for(const codec::ResourceSpec& type);

  void count_wanted(const std::string& host);

  [[nodiscard]] PortStatus of_port(const google::protobuf::Message& port,
                                   const codec::NameTable& names) const;
  [[nodiscard]] HostStatus of_host(const google::protobuf::Message& host) const;

  /// Headers of the columns that come after the field `behind`; and fields whose columns they replace.
  [[nodiscard]] static Row headers(const codec::ResourceSpec& type);
  [[nodiscard]] static std::string_view behind(const codec::ResourceSpec& type);
  [[nodiscard]] static bool replaces(const codec::ResourceSpec& type, std::string_view field);
  [[nodiscard]] Row cells(const google::protobuf::Message& object,
                          const codec::NameTable& names) const;
  /// The same for JSON and YAML.
  [[nodiscard]] codec::Node document(const google::protobuf::Message& object,
                                     const codec::NameTable& names) const;

  /// Whether the host has the port's interface.
  [[nodiscard]] bool is_active(const std::string& port_id, const std::string& host_id) const;

 private:
  std::map<std::string, codec::Node> hosts_, bindings_;  ///< by id of the host, of the port
  std::map<std::string, size_t> active_, wanted_;        ///< ports, by id of the host
};

}  // namespace plexus::cli
