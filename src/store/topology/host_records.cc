// SPDX-License-Identifier: Apache-2.0
#include "store/topology/host_records.h"

#include <algorithm>

#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/convert.h"
#include "store/topology/layout.h"
#include "store/topology/schema.h"
#include "store/topology/transaction.h"
#include "store/topology/writer.h"

namespace plexus::store {
namespace {

/// This host's state in a transaction that wants to change it. The host must be known.
Result<v1::HostState> own_state(Transaction& transaction, HostId self) {
  auto host = transaction.read(object_path("host", self.uuid));
  if (!host.ok()) return host.error();
  auto state = transaction.read_message<v1::HostState>(host_state_path(self.uuid));
  if (!state.ok()) return state.error();
  if (*host == nullptr || !*state) {
    return Error{ErrorCode::not_found, "host " + self.str() +
                                           " is not registered (any more): restart its agent to "
                                           "register it again"};
  }
  return std::move(**state);
}

void save_state(Transaction& transaction, HostId self, const v1::HostState& state) {
  transaction.write_message(host_state_path(self.uuid), state);
}

void set_addresses(v1::HostState& state, const std::vector<IpAddr>& addresses, uint16_t udp_port) {
  state.clear_tunnel_addresses();
  for (const IpAddr& address : addresses) state.add_tunnel_addresses(address.raw());
  state.set_udp_port(udp_port);
}

/// The next key of this host. No key is given out twice, whatever happens to what it was for.
Result<uint32_t> next_key(Transaction& transaction, HostId self) {
  const std::string path = tunnel_keys_path(self.uuid);
  auto stored = transaction.read_message<v1::TunnelKeys>(path);
  if (!stored.ok()) return stored.error();
  v1::TunnelKeys keys = *stored ? std::move(**stored) : v1::TunnelKeys();
  const uint32_t key = std::max(keys.next(), 1u);
  if (key > kMaxTunnelKey) {
    return Error{ErrorCode::no_space,
                 "this host has given out all its tunnel keys: register it under a new id"};
  }
  keys.set_next(key + 1);
  transaction.write_message(path, keys);
  return key;
}

Result<v1::Port> existing_port(Transaction& transaction, PortId id) {
  auto port = transaction.read_message<v1::Port>(object_path("port", id.uuid));
  if (!port.ok()) return port.error();
  if (!*port) return Error{ErrorCode::not_found, "there is no port " + id.str()};
  return std::move(**port);
}

}  // namespace

Result<Registered> HostRecords::register_host(const Registration& registration) {
  TopologyWriter writer(store_);
  if (auto life = store_life(store_); !life.ok()) return life.error();
  v1::Host wanted;
  wanted.set_id(self_.uuid.raw());
  wanted.set_name(registration.name);
  auto host = writer.get(*v1::Host::descriptor(), self_.uuid);
  if (!host.ok() && host.error().code == ErrorCode::not_found) {
    host = writer.create(wanted);
    // Created by somebody else in between?
    if (!host.ok() && host.error().code == ErrorCode::exists) {
      const Error taken = host.error();
      host = writer.get(*v1::Host::descriptor(), self_.uuid);
      if (!host.ok()) return taken.in("registering this host");
    }
  }
  if (!host.ok()) return host.error().in("registering this host");

  auto done =
      commit_with_retries<uint32_t>(store_, [&](Transaction& transaction) -> Result<uint32_t> {
        auto object = transaction.read(object_path("host", self_.uuid));
        if (!object.ok()) return object.error();
        if (*object == nullptr) {
          return Error{ErrorCode::not_found, "host " + self_.str() + " was removed meanwhile"};
        }
        auto stored = transaction.read_message<v1::HostState>(host_state_path(self_.uuid));
        if (!stored.ok()) return stored.error();
        v1::HostState state = *stored ? std::move(**stored) : v1::HostState();
        state.set_id(self_.uuid.raw());
        state.set_incarnation(state.incarnation() + 1);
        state.set_schema_level(kSchemaLevel);
        set_addresses(state, registration.tunnel_addresses, registration.udp_port);
        save_state(transaction, self_, state);
        return state.incarnation();
      });
  if (!done.ok()) return done.error().in("registering this host");
  return Registered{name_of(*host->message), done->value};
}

Result<void> HostRecords::set_tunnel_addresses(const std::vector<IpAddr>& addresses,
                                               uint16_t udp_port) {
  auto done = commit_with_retries<Ok>(store_, [&](Transaction& transaction) -> Result<Ok> {
    auto state = own_state(transaction, self_);
    if (!state.ok()) return state.error();
    set_addresses(*state, addresses, udp_port);
    save_state(transaction, self_, *state);
    return Ok{};
  });
  return done.ok() ? Result<void>(Ok{}) : Result<void>(done.error());
}

Result<model::Binding> HostRecords::publish(PortId id) {
  auto done = commit_with_retries<
      v1::Binding>(store_, [&](Transaction& transaction) -> Result<v1::Binding> {
    const std::string path = binding_path(id.uuid);
    if (auto read =
            transaction.prefetch({object_path("port", id.uuid), path,
                                  object_path("host", self_.uuid), host_state_path(self_.uuid)});
        !read.ok()) {
      return read.error();
    }
    auto port = existing_port(transaction, id);
    if (!port.ok()) return port.error();
    if (port->host() != self_.uuid.raw()) {
      return Error{ErrorCode::conflict, describe(*port) + " is not wanted on this host (any more)"};
    }
    auto state = own_state(transaction, self_);
    if (!state.ok()) return state.error();
    auto stored = transaction.read_message<v1::Binding>(path);
    if (!stored.ok()) return stored.error();
    v1::Binding binding = *stored ? std::move(**stored) : v1::Binding();
    if (binding.host() != self_.uuid.raw() || binding.tunnel_key() == 0) {
      auto key = next_key(transaction, self_);
      if (!key.ok()) return key.error();
      binding.set_port(id.uuid.raw());
      binding.set_host(self_.uuid.raw());
      binding.set_generation(binding.generation() + 1);
      binding.set_tunnel_key(*key);
    }
    binding.set_incarnation(state->incarnation());
    binding.set_active(true);
    transaction.write_message(path, binding);
    return binding;
  });
  if (!done.ok()) return done.error();
  return to_model(done->value);
}

Result<void> HostRecords::unpublish(PortId id) {
  auto done = commit_with_retries<Ok>(store_, [&](Transaction& transaction) -> Result<Ok> {
    const std::string path = binding_path(id.uuid);
    auto stored = transaction.read_message<v1::Binding>(path);
    if (!stored.ok()) return stored.error();
    if (!*stored || (*stored)->host() != self_.uuid.raw()) return Ok{};
    // The record stays, so that the generation goes on from here.
    (*stored)->set_active(false);
    transaction.write_message(path, **stored);
    return Ok{};
  });
  return done.ok() ? Result<void>(Ok{}) : Result<void>(done.error());
}

Result<uint32_t> HostRecords::flood_key(BridgeId bridge) {
  auto done =
      commit_with_retries<uint32_t>(store_, [&](Transaction& transaction) -> Result<uint32_t> {
        auto state = own_state(transaction, self_);
        if (!state.ok()) return state.error();
        for (const v1::FloodKey& key : state->flood_keys()) {
          if (key.bridge() == bridge.uuid.raw()) return key.key();
        }
        auto exists = transaction.read(object_path("bridge", bridge.uuid));
        if (!exists.ok()) return exists.error();
        if (*exists == nullptr) {
          return Error{ErrorCode::not_found, "there is no bridge " + bridge.str()};
        }
        auto key = next_key(transaction, self_);
        if (!key.ok()) return key.error();
        auto* entry = state->add_flood_keys();
        entry->set_bridge(bridge.uuid.raw());
        entry->set_key(*key);
        save_state(transaction, self_, *state);
        return *key;
      });
  if (!done.ok()) return done.error();
  return done->value;
}

Result<void> HostRecords::drop_flood_key(BridgeId bridge) {
  auto done = commit_with_retries<Ok>(store_, [&](Transaction& transaction) -> Result<Ok> {
    auto state = own_state(transaction, self_);
    if (!state.ok()) return state.error();
    auto& keys = *state->mutable_flood_keys();
    for (int i = 0; i < keys.size(); ++i) {
      if (keys[i].bridge() != bridge.uuid.raw()) continue;
      keys.DeleteSubrange(i, 1);
      save_state(transaction, self_, *state);
      break;
    }
    return Ok{};
  });
  return done.ok() ? Result<void>(Ok{}) : Result<void>(done.error());
}

Result<void> HostRecords::learn_neighbour(PortId id, const IpAddr& address, const MacAddr& mac) {
  auto done = commit_with_retries<Ok>(store_, [&](Transaction& transaction) -> Result<Ok> {
    auto port = existing_port(transaction, id);
    if (!port.ok()) return port.error();
    const std::string path = neighbours_path(id.uuid);
    auto stored = transaction.read_message<v1::NeighbourTable>(path);
    if (!stored.ok()) return stored.error();
    v1::NeighbourTable table = *stored ? std::move(**stored) : v1::NeighbourTable();
    auto& entries = *table.mutable_entries();
    const std::string key = address.raw();
    const auto at =
        std::lower_bound(entries.begin(), entries.end(), key,
                         [](const v1::NeighbourEntry& entry, const std::string& wanted) {
                           return entry.address() < wanted;
                         });
    if (at != entries.end() && at->address() == key) {
      at->set_mac(mac.raw());
    } else {
      if (entries.size() >= static_cast<int>(kMaxNeighbours)) {
        return Error{ErrorCode::no_space,
                     describe(*port) + " knows " + std::to_string(kMaxNeighbours) +
                         " neighbours already; " + address.str() + " is not kept"};
      }
      const auto position = at - entries.begin();
      auto* entry = entries.Add();
      entry->set_address(key);
      entry->set_mac(mac.raw());
      std::rotate(entries.begin() + position, entries.end() - 1, entries.end());
    }
    transaction.write_message(path, table);
    return Ok{};
  });
  return done.ok() ? Result<void>(Ok{}) : Result<void>(done.error());
}

Result<void> HostRecords::announce_alive(uint32_t incarnation) {
  v1::LiveHost live;
  live.set_incarnation(incarnation);
  return store_.put_ephemeral(live_path(self_.uuid), live.SerializeAsString());
}

}  // namespace plexus::store
