// SPDX-License-Identifier: Apache-2.0
#include "store/topology/belongings.h"

#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/index.h"
#include "store/topology/layout.h"
#include "store/topology/port_blocks.h"

namespace plexus::store {
namespace {

const v1::Port* as_port(const ChangeSet::Message* message) {
  return dynamic_cast<const v1::Port*>(message);
}

std::string host_field(const v1::Port* port) {
  return port != nullptr ? port->host() : "";
}
std::string target_field(const v1::Port* port) {
  return port != nullptr ? port->migrating_to() : "";
}

Result<void> keep_binding(Transaction& transaction, const Uuid& id, const v1::Port* before,
                          const v1::Port& now) {
  if (host_field(before) == now.host() && target_field(before) == now.migrating_to()) return Ok{};
  const std::string path = binding_path(id);
  auto stored = transaction.read_message<v1::Binding>(path);
  if (!stored.ok()) return stored.error();
  if (!*stored && !now.has_host()) return Ok{};
  v1::Binding binding = *stored ? std::move(**stored) : v1::Binding();
  binding.set_port(id.raw());
  // The host that loses the port may not write here any more, so this is said for it. A host that
  // the port is moved away from with care goes on until the other one takes over.
  const bool taken_over = now.has_host() && now.host() == target_field(before);
  if (binding.active() && binding.host() != now.host() && !taken_over) binding.set_active(false);
  transaction.write_message(path, binding);
  transaction.set_access(path, binding_access(now));
  return Ok{};
}

Result<void> make(Transaction& transaction, const std::string& path,
                  const google::protobuf::Message& message) {
  auto stored = transaction.read(path);
  if (!stored.ok()) return stored.error();
  if (*stored == nullptr) transaction.write_message(path, message);
  return Ok{};
}

Result<void> drop(Transaction& transaction, const std::string& path, bool guarded) {
  auto stored = transaction.read(path);
  if (!stored.ok()) return stored.error();
  transaction.remove(path);
  if (guarded) transaction.trust_absence(path);
  return Ok{};
}

}  // namespace

Access binding_access(const v1::Port& port) {
  Access access;
  for (const std::string* raw : {&port.host(), &port.migrating_to()}) {
    if (const auto host = Uuid::from_bytes(*raw)) access.hosts.push_back(HostId{*host});
  }
  return access;
}

namespace {

/// A sub-port is where its parent is: whoever may speak for the one may for the other.
Result<void> keep_bindings_of_family(ChangeSet& changes, const Uuid& id, const v1::Port* before,
                                     const v1::Port& port) {
  Transaction& transaction = changes.transaction();
  if (port.has_parent()) {
    if (before != nullptr) return Ok{};
    auto parent =
        changes.load(*v1::Port::descriptor(), Uuid::from_bytes(port.parent()).value_or(Uuid{}));
    if (!parent.ok()) return parent.error();
    const v1::Port* now = as_port((*parent)->now.get());
    return now == nullptr ? Result<void>(Ok{}) : keep_binding(transaction, id, nullptr, *now);
  }
  if (auto done = keep_binding(transaction, id, before, port); !done.ok()) return done;
  if (before == nullptr || !port.has_bridge() ||
      (host_field(before) == port.host() && target_field(before) == port.migrating_to())) {
    return Ok{};
  }
  const std::string index = index_path("port", id, "port.parent");
  const auto sub_ports = index_entries(transaction, index);
  if (!sub_ports.ok()) return sub_ports.error();
  // One that comes at this moment reads this port, and so meets our change of it.
  if (sub_ports->empty()) transaction.trust_absence(index_head_path(index));
  std::vector<std::string> paths;
  for (const Uuid& sub_port : *sub_ports) paths.push_back(binding_path(sub_port));
  if (auto done = transaction.prefetch(paths); !done.ok()) return done;
  for (const Uuid& sub_port : *sub_ports) {
    if (auto done = keep_binding(transaction, sub_port, before, port); !done.ok()) return done;
  }
  return Ok{};
}

}  // namespace

Result<void> keep_belongings(ChangeSet& changes, const ChangeSet::Object& object) {
  Transaction& transaction = changes.transaction();
  if (const v1::Port* port = as_port(object.now.get())) {
    const v1::Port* before = as_port(object.before.get());
    if (auto done = keep_bindings_of_family(changes, object.id, before, *port); !done.ok())
      return done;
    if (before == nullptr && port->has_router()) {
      return make(transaction, neighbours_path(object.id), v1::NeighbourTable());
    }
    return Ok{};
  }
  if (object.type == v1::Host::descriptor() && object.now && !object.before) {
    v1::HostState state;
    state.set_id(object.id.raw());
    if (auto done = make(transaction, host_state_path(object.id), state); !done.ok()) return done;
    if (auto done = make(transaction, host_blocks_path(object.id), v1::HostBlocks()); !done.ok())
      return done;
    return make(transaction, tunnel_keys_path(object.id), v1::TunnelKeys());
  }
  if (const auto* pool = dynamic_cast<const v1::SnatPool*>(object.now.get()))
    return keep_port_block_parts(transaction, *pool);
  return Ok{};
}

Result<void> drop_belongings(Transaction& transaction, const ChangeSet::Object& object) {
  bool guarded = true;  // deleting the object fails while anything is below it
  if (const v1::Port* port = as_port(object.before.get())) {
    // Only a port that is wanted somewhere gets a binding, only a router's port learns: else what is
    // absent stays so.
    const bool never_bound = !port->has_host() && !port->has_parent();
    if (auto done = drop(transaction, binding_path(object.id), never_bound); !done.ok()) {
      return done;
    }
    if (auto done = drop(transaction, neighbours_path(object.id), !port->has_router()); !done.ok())
      return done;
  } else if (object.type == v1::Router::descriptor()) {
    // Written with ports, and there is none, says the index.
    if (auto done = drop(transaction, networks_path(object.id), true); !done.ok()) return done;
    if (auto done = drop_port_block_parts(transaction, object.id); !done.ok()) return done;
  } else if (object.type == v1::Host::descriptor()) {
    const std::string state = host_state_path(object.id);
    if (auto done = drop(transaction, state, false); !done.ok()) return done;
    guarded = transaction.version_read(state) > 0;
    if (auto done = drop(transaction, live_path(object.id), guarded); !done.ok()) return done;
    // What it says stays taken in the parts: the host may still be forwarding.
    if (auto done = drop(transaction, host_blocks_path(object.id), false); !done.ok()) return done;
  }
  const std::string& singular = options_of(*object.type).singular();
  for (const ReferenceField& reference : references_to(*object.type)) {
    if (reference.symmetric) continue;
    auto done =
        index_drop(transaction, index_path(singular, object.id, reference.index_name()), guarded);
    if (!done.ok()) return done;
  }
  return Ok{};
}

void belongings_paths(const ChangeSet::Message* before, const ChangeSet::Message* now,
                      std::vector<std::string>& paths) {
  const auto* either = now != nullptr ? now : before;
  const Uuid id = id_of(*either);
  const bool comes_or_goes = before == nullptr || now == nullptr;
  if (const v1::Port* port = as_port(either)) {
    const v1::Port *was = as_port(before), *is = as_port(now);
    if (now == nullptr || host_field(was) != host_field(is) ||
        target_field(was) != target_field(is)) {
      paths.push_back(binding_path(id));
      // Sub-ports move, too.
      if (before != nullptr && now != nullptr && port->has_bridge())
        paths.push_back(index_head_path(index_path("port", id, "port.parent")));
    }
    if (now == nullptr || (before == nullptr && port->has_router())) {
      paths.push_back(neighbours_path(id));
    }
  } else if (either->GetDescriptor() == v1::Router::descriptor()) {
    if (now == nullptr) {
      paths.push_back(networks_path(id));
      paths.push_back(leased_addresses_path(id));
    }
  } else if (either->GetDescriptor() == v1::Host::descriptor() && comes_or_goes) {
    paths.push_back(host_state_path(id));
    paths.push_back(host_blocks_path(id));
    paths.push_back(now == nullptr ? live_path(id) : tunnel_keys_path(id));
  } else if (const auto* pool = dynamic_cast<const v1::SnatPool*>(now)) {
    paths.push_back(leased_addresses_path(Uuid::from_bytes(pool->router()).value_or(Uuid{})));
  }
}

}  // namespace plexus::store
