// SPDX-License-Identifier: Apache-2.0
// From stored messages to the model's plain values. A record that decides about packets and that we
// do not know in full (a newer min_reader, a field or an enum value that we do not know, an address
// of impossible length) becomes a record with unreadable = true: the simulator drops, it never
// guesses. Pure; any thread.
#pragma once

#include <google/protobuf/message.h>

#include <vector>

#include "model/records.h"
#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"

namespace plexus::store {

/// True when this build knows every field and the meaning that the record needs.
[[nodiscard]] bool fully_known(const google::protobuf::Message& record);

/// The lists of a device's ports and routes are not in its record: the caller fills them in,
/// sorted.
[[nodiscard]] model::Bridge to_model(const v1::Bridge& record);
[[nodiscard]] model::Router to_model(const v1::Router& record);
[[nodiscard]] model::Port to_model(const v1::Port& record);
[[nodiscard]] model::Route to_model(const v1::Route& record);

[[nodiscard]] model::AddressGroup to_model(const v1::AddressGroup& record);
[[nodiscard]] model::PortGroup to_model(const v1::PortGroup& record);
/// Without their rules, which the store's indexes list.
[[nodiscard]] model::Chain to_model(const v1::Chain& record);
[[nodiscard]] model::SecurityGroup to_model(const v1::SecurityGroup& record);
[[nodiscard]] model::Rule to_model(const v1::Rule& record);
[[nodiscard]] model::SecurityRule to_model(const v1::SecurityRule& record);
// convert_services.cc
[[nodiscard]] model::FloatingIp to_model(const v1::FloatingIp& record);
[[nodiscard]] model::SnatPool to_model(const v1::SnatPool& record);
[[nodiscard]] model::LoadBalancer to_model(const v1::LoadBalancer& record);
[[nodiscard]] model::Vip to_model(const v1::Vip& record);
[[nodiscard]] model::Pool to_model(const v1::Pool& record);
[[nodiscard]] model::PoolMember to_model(const v1::PoolMember& record);
[[nodiscard]] model::DhcpSubnet to_model(const v1::DhcpSubnet& record);
[[nodiscard]] model::Mirror to_model(const v1::Mirror& record);
[[nodiscard]] model::TraceRequest to_model(const v1::TraceRequest& record);
/// A bucket of the index port.security_groups: sorted by port. Entries that cannot be read are nobody's.
[[nodiscard]] std::vector<model::GroupMember> to_members(const v1::RefBucket& bucket);
[[nodiscard]] model::Binding to_model(const v1::Binding& record);
/// `name` comes from the Host resource, the rest from what the host itself wrote.
[[nodiscard]] model::Host to_model(const v1::HostState& record, std::string name);
/// Entries that are not an address and a MAC are left out.
[[nodiscard]] std::vector<model::Neighbour> to_model(PortId port, const v1::NeighbourTable& record);

}  // namespace plexus::store
