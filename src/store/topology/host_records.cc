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

/// Should this machine know of more keys than the store does (it was restored, or the record was lost), then others may
/// have been given out of which neither knows.
Result<void> keep_keys(Transaction& transaction, HostId self, uint32_t known_next) {
  const std::string path = tunnel_keys_path(self.uuid);
  auto stored = transaction.read_message<v1::TunnelKeys>(path);
  if (!stored.ok()) return stored.error();
  v1::TunnelKeys keys = *stored ? std::move(**stored) : v1::TunnelKeys();
  if (known_next <= std::max(keys.next(), 1u)) return Ok{};
  keys.set_next(std::min(known_next + kTunnelKeyLeap, kMaxTunnelKey));
  transaction.write_message(path, keys);
  return Ok{};
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
  auto marks = store_.get_many({loading_path(), gen_path()});
  if (!marks.ok()) return marks.error();
  if ((*marks)[0]) return being_loaded();
  if (!(*marks)[1] && registration.has_worked) {
    return Error{ErrorCode::unavailable,
                 "the store is empty, and this host knows one that is not: its ports stay as they "
                 "are. Is the address right, is its volume mounted? An API server would make this "
                 "one a new store"};
  }
  if (auto life = store_life(store_); !life.ok()) {
    if (life.error().code != ErrorCode::denied) return life.error();
    return Error{ErrorCode::denied,
                 "the store is empty and lets only the API begin it: start plexus-api"};
  }
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
  if (!host.ok() && host.error().code == ErrorCode::denied) {
    return Error{ErrorCode::denied,
                 "the store does not know host " + self_.str() +
                     " and lets only the API make it known: run `plexus host create --name " +
                     registration.name + " --id " + self_.str() +
                     "` and give this agent the identity that `plexus host credentials` prints"};
  }
  if (!host.ok()) return host.error().in("registering this host");
  if (auto ours = check_machine(registration, name_of(*host->message)); !ours.ok()) {
    return ours.error();
  }

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
        state.set_incarnation(std::max(state.incarnation(), registration.incarnation) + 1);
        if (!registration.machine_id.empty()) state.set_machine_id(registration.machine_id);
        state.set_schema_level(kSchemaLevel);
        set_addresses(state, registration.tunnel_addresses, registration.udp_port);
        save_state(transaction, self_, state);
        if (auto kept = keep_keys(transaction, self_, registration.next_tunnel_key); !kept.ok()) {
          return kept.error();
        }
        return state.incarnation();
      });
  if (!done.ok()) return done.error().in("registering this host");
  return Registered{name_of(*host->message), done->value};
}

/// Two machines with one host id (a cloned disk) would take each other's ports away for ever: the second one gives up.
Result<void> HostRecords::check_machine(const Registration& registration, const std::string& name) {
  if (registration.machine_id.empty()) return Ok{};
  auto read = store_.get_many({live_path(self_.uuid), host_state_path(self_.uuid)});
  if (!read.ok()) return read.error().in("looking for another agent of this host");
  if (!(*read)[0]) return Ok{};
  v1::LiveHost live;
  v1::HostState state;
  if (!live.ParseFromString((*read)[0]->value)) return Ok{};
  if ((*read)[1] && !state.ParseFromString((*read)[1]->value)) return Ok{};
  const std::string& other = live.machine_id().empty() ? state.machine_id() : live.machine_id();
  if (other.empty() || other == registration.machine_id) return Ok{};
  const auto list = [](const std::vector<IpAddr>& addresses) {
    std::string text;
    for (const IpAddr& a : addresses) text += (text.empty() ? "" : ", ") + a.str();
    return text.empty() ? std::string("no tunnel address") : "tunnel address " + text;
  };
  return Error{
      ErrorCode::exists,
      "host " + name + " (" + self_.str() + ") is run by machine " + other + " (" +
          list(to_model(state, name).tunnel_addresses) + "), and this is machine " +
          registration.machine_id + " (" + list(registration.tunnel_addresses) +
          "): two machines must not have one host id. If this one is a clone, remove the file "
          "host-id in its state directory (or give another --host-id) and start again; if it "
          "replaces the other, stop the other first and wait until `plexus host list` says that it "
          "is gone"};
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

Result<model::Binding> HostRecords::publish(PortId id, bool take_over) {
  auto done = commit_with_retries<v1::Binding>(
      store_, [&](Transaction& transaction) -> Result<v1::Binding> {
        const std::string path = binding_path(id.uuid);
        if (auto read = transaction.prefetch({object_path("port", id.uuid), path,
                                              object_path("host", self_.uuid),
                                              host_state_path(self_.uuid)});
            !read.ok()) {
          return read.error();
        }
        auto port = existing_port(transaction, id);
        if (!port.ok()) return port.error();
        auto stored = transaction.read_message<v1::Binding>(path);
        if (!stored.ok()) return stored.error();
        v1::Binding binding = *stored ? std::move(**stored) : v1::Binding();
        // A sub-port is wanted where its parent is, and comes when that has come.
        v1::Port where = *port;
        v1::Binding came = binding;
        if (port->has_parent()) {
          const auto parent = Uuid::from_bytes(port->parent()).value_or(Uuid{});
          auto read = existing_port(transaction, PortId{parent});
          if (!read.ok()) return read.error();
          auto parents = transaction.read_message<v1::Binding>(binding_path(parent));
          if (!parents.ok()) return parents.error();
          where = std::move(*read);
          came = *parents ? std::move(**parents) : v1::Binding();
        }
        const bool wanted_here = where.host() == self_.uuid.raw();
        const bool coming = where.migrating_to() == self_.uuid.raw();
        const bool taken_over =
            came.active() && where.has_migrating_to() && came.host() == where.migrating_to();
        if (wanted_here ? taken_over && !coming
                        : !coming || (!take_over && came.host() != self_.uuid.raw())) {
          return Error{ErrorCode::conflict,
                       wanted_here
                           ? describe(*port) + " has been taken over by the host it migrates to"
                       : coming ? describe(*port) + " has not come here yet"
                                : describe(*port) + " is not wanted on this host (any more)"};
        }
        auto host = transaction.read_message<v1::Host>(object_path("host", self_.uuid));
        if (!host.ok()) return host.error();
        if (*host && (*host)->fenced()) {
          return Error{ErrorCode::conflict, "this host is fenced: it takes no ports"};
        }
        auto state = own_state(transaction, self_);
        if (!state.ok()) return state.error();
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

Result<void> HostRecords::forget_neighbour(PortId id, const IpAddr& address, const MacAddr& mac) {
  auto done = commit_with_retries<Ok>(store_, [&](Transaction& transaction) -> Result<Ok> {
    const std::string path = neighbours_path(id.uuid);
    auto stored = transaction.read_message<v1::NeighbourTable>(path);
    if (!stored.ok()) return stored.error();
    if (!*stored) return Ok{};
    v1::NeighbourTable table = std::move(**stored);
    auto& entries = *table.mutable_entries();
    const auto at = std::find_if(entries.begin(), entries.end(), [&](const auto& entry) {
      return entry.address() == address.raw() && entry.mac() == mac.raw();
    });
    if (at == entries.end()) return Ok{};
    entries.erase(at);
    transaction.write_message(path, table);
    return Ok{};
  });
  return done.ok() ? Result<void>(Ok{}) : Result<void>(done.error());
}

Result<void> HostRecords::set_learned(
    const std::vector<std::pair<PortId, std::vector<model::LearnedMac>>>& tables) {
  auto done = commit_with_retries<Ok>(store_, [&](Transaction& transaction) -> Result<Ok> {
    std::vector<std::string> paths;
    for (const auto& [port, table] : tables) paths.push_back(binding_path(port.uuid));
    if (auto read = transaction.prefetch(paths); !read.ok()) return read.error();
    for (const auto& [port, table] : tables) {
      const std::string path = binding_path(port.uuid);
      auto stored = transaction.read_message<v1::Binding>(path);
      if (!stored.ok()) return stored.error();
      if (!*stored || (*stored)->host() != self_.uuid.raw()) continue;
      v1::Binding binding = std::move(**stored);
      const std::string before = binding.SerializeAsString();
      binding.clear_learned();
      for (const model::LearnedMac& l : table) {
        auto* entry = binding.add_learned();
        entry->set_mac(l.mac.raw());
        entry->set_sequence(l.sequence);
      }
      if (binding.SerializeAsString() != before) transaction.write_message(path, binding);
    }
    return Ok{};
  });
  return done.ok() ? Result<void>(Ok{}) : Result<void>(done.error());
}

OwnRecords own_records(const std::vector<ClosureRecord>& records, HostId self) {
  OwnRecords own;
  for (const ClosureRecord& record : records) {
    if (record.key.id != self.uuid || !record.value) continue;
    if (record.key.kind == ClosureKey::Kind::host) {
      v1::Host host;
      if (host.ParseFromString(*record.value)) own.name = host.name();
    } else if (record.key.kind == ClosureKey::Kind::host_state) {
      v1::HostState state;
      if (!state.ParseFromString(*record.value)) continue;
      own.incarnation = state.incarnation();
      own.tunnel_addresses = to_model(state, "").tunnel_addresses;
      if (state.has_udp_port()) own.udp_port = static_cast<uint16_t>(state.udp_port());
    } else if (record.key.kind == ClosureKey::Kind::tunnel_keys) {
      v1::TunnelKeys keys;
      if (keys.ParseFromString(*record.value)) own.next_tunnel_key = keys.next();
    }
  }
  return own;
}

Result<void> HostRecords::announce_alive(uint32_t incarnation, const std::string& machine_id) {
  v1::LiveHost live;
  live.set_incarnation(incarnation);
  if (!machine_id.empty()) live.set_machine_id(machine_id);
  return store_.put_ephemeral(live_path(self_.uuid), live.SerializeAsString());
}

}  // namespace plexus::store
