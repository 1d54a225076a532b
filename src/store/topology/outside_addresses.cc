// SPDX-License-Identifier: Apache-2.0
#include "store/topology/outside_addresses.h"

#include <algorithm>
#include <iterator>

#include "plexus/v1/state.pb.h"
#include "store/topology/index.h"
#include "store/topology/layout.h"
#include "store/topology/schema.h"

namespace plexus::store {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::Message;

Uuid uuid_of(const std::string& raw) {
  return Uuid::from_bytes(raw).value_or(Uuid{});
}

template <typename List>
std::vector<IpAddr> addresses_in(const List& list) {
  std::vector<IpAddr> addresses;
  for (const std::string& raw : list) {
    if (const auto address = IpAddr::from_bytes(raw)) addresses.push_back(*address);
  }
  return addresses;
}

std::vector<IpPrefix> networks_of(const v1::Port& port) {
  std::vector<IpPrefix> networks;
  for (const std::string& raw : port.networks()) {
    if (const auto network = IpPrefix::from_bytes(raw)) networks.push_back(*network);
  }
  return networks;
}

bool answers_by(const Foot& foot, const IpAddr& address) {
  return std::any_of(foot.networks.begin(), foot.networks.end(),
                     [&](const IpPrefix& network) { return answers_in(network, address); });
}
bool answers_by(const Foot& foot, const std::vector<IpAddr>& addresses) {
  return std::any_of(addresses.begin(), addresses.end(),
                     [&](const IpAddr& address) { return answers_by(foot, address); });
}

std::string vips_of(const Uuid& balancer) {
  return index_path("load-balancer", balancer, "vip.load_balancer");
}

const v1::Port* as_port(const Message* message) {
  return static_cast<const v1::Port*>(message);
}

/// The feet that the record of a router's networks tells of; it is sorted by port.
std::vector<Foot> feet_of(const v1::RouterNetworks& record) {
  std::vector<Foot> feet;
  for (const auto& entry : record.entries()) {
    const auto network = IpPrefix::from_bytes(entry.network());
    if (!network) continue;
    const Uuid port = uuid_of(entry.port());
    if (feet.empty() || feet.back().port != port) feet.push_back({port, Uuid{}, {}});
    feet.back().networks.push_back(*network);
  }
  return feet;
}

size_t count_changes(const std::vector<Claimant>& claimants) {
  std::set<std::string> paths;
  for (const Claimant& claimant : claimants) {
    std::vector<Claim> changed;
    std::set_symmetric_difference(claimant.before.begin(), claimant.before.end(),
                                  claimant.now.begin(), claimant.now.end(),
                                  std::back_inserter(changed));
    for (Claim& claim : changed) paths.insert(std::move(claim.path));
  }
  return paths.size();
}

}  // namespace

std::optional<Outside> outside_of(const Message* resource) {
  if (const auto* floating = dynamic_cast<const v1::FloatingIp*>(resource)) {
    return Outside{"address", addresses_in(std::vector<std::string>{floating->address()}),
                   uuid_of(floating->router()), Uuid{}};
  }
  if (const auto* pool = dynamic_cast<const v1::SnatPool*>(resource)) {
    return Outside{"addresses", addresses_in(pool->addresses()), uuid_of(pool->router()), Uuid{}};
  }
  if (const auto* vip = dynamic_cast<const v1::Vip*>(resource)) {
    return Outside{"address", addresses_in(std::vector<std::string>{vip->address()}), Uuid{},
                   uuid_of(vip->load_balancer())};
  }
  return std::nullopt;
}

bool answers_in(const IpPrefix& network, const IpAddr& address) {
  return network.contains(address) && network.broadcast() != address;
}

std::vector<Claim> outside_claims(const std::string& type, const char* field, const Uuid& router,
                                  const std::vector<IpAddr>& addresses,
                                  const std::vector<Foot>& feet) {
  std::vector<Claim> claims;
  for (const Foot& foot : feet) {
    if (foot.bridge.is_nil()) continue;
    for (const IpAddr& address : addresses) {
      if (!answers_by(foot, address)) continue;
      Claim claim = address_claim(foot.bridge, address.str());
      claim.owner_type = type;
      claim.field = field;
      claim.router = router;
      claim.port = foot.port;
      claims.push_back(std::move(claim));
    }
  }
  sort_claims(claims);
  return claims;
}

std::vector<std::string> translation_indexes(const Uuid& router) {
  return {index_path("router", router, "floating-ip.router"),
          index_path("router", router, "snat-pool.router"),
          index_path("router", router, "load-balancer.router")};
}

bool may_move_addresses(const v1::Port* before, const v1::Port* now) {
  const v1::Port& either = now != nullptr ? *now : *before;
  if (!either.has_router()) return false;
  const auto works = [](const v1::Port* port) {
    return port != nullptr && port->has_peer() && port->networks_size() > 0;
  };
  if (!works(before) || !works(now)) return works(before) || works(now);
  return before->peer() != now->peer() ||
         !std::equal(before->networks().begin(), before->networks().end(), now->networks().begin(),
                     now->networks().end());
}

OutsideAddresses::Site& OutsideAddresses::site(const Uuid& router) {
  Site& site = sites_[router];
  if (!site.router.is_nil()) return site;
  site.router = router;
  const ChangeSet::Object* object = changes_.loaded(*v1::Router::descriptor(), router);
  site.whole = object != nullptr && (!object->before || !object->now);
  return site;
}

Result<Uuid> OutsideAddresses::bridge_of(const v1::Port* port) {
  if (port == nullptr || !port->has_peer()) return Uuid{};
  auto peer = changes_.load(*v1::Port::descriptor(), uuid_of(port->peer()));
  if (!peer.ok()) return peer.error();
  // A port never changes its device: before and after agree.
  const v1::Port* other = as_port((*peer)->either());
  return other != nullptr ? uuid_of(other->bridge()) : Uuid{};
}

Result<Foot> OutsideAddresses::foot_of(const v1::Port* port) {
  if (port == nullptr) return Foot{};
  auto bridge = bridge_of(port);
  if (!bridge.ok()) return bridge.error();
  return Foot{uuid_of(port->id()), *bridge, networks_of(*port)};
}

Result<void> OutsideAddresses::sort_in_port(const ChangeSet::Object& object) {
  const v1::Port* either = as_port(object.either());
  if (!either->has_router()) return Ok{};
  Site& here = site(uuid_of(either->router()));
  here.ports[object.id] = &object;
  if (!may_move_addresses(as_port(object.before.get()), as_port(object.now.get()))) return Ok{};
  for (const Message* message : {object.before.get(), object.now.get()}) {
    // Wired to another router it has nothing to do with bridges.
    auto foot = foot_of(as_port(message));
    if (!foot.ok()) return foot.error();
    if (!foot->bridge.is_nil()) here.moved = &object;
  }
  return Ok{};
}

Result<void> OutsideAddresses::sort_in(const ChangeSet::Object& object) {
  if (object.type == v1::Port::descriptor()) return sort_in_port(object);
  const auto before = outside_of(object.before.get()), now = outside_of(object.now.get());
  if (!before && !now) return Ok{};
  Uuid router = now ? now->router : before->router;
  if (router.is_nil()) {
    auto balancer = changes_.load(*v1::LoadBalancer::descriptor(),
                                  now ? now->load_balancer : before->load_balancer);
    if (!balancer.ok()) return balancer.error();
    const auto* b = static_cast<const v1::LoadBalancer*>((*balancer)->either());
    if (b == nullptr) return Ok{};
    router = uuid_of(b->router());
  }
  site(router).users.push_back({object.type, now ? now->field : before->field, object.id, &object,
                                before ? before->addresses : std::vector<IpAddr>{},
                                now ? now->addresses : std::vector<IpAddr>{}});
  return Ok{};
}

/// What all routers concerned need to be looked at, in few round trips.
Result<void> OutsideAddresses::fetch() {
  std::vector<std::string> wanted;
  for (const auto& [id, site] : sites_) {
    if (site.whole) continue;
    wanted.push_back(networks_path(id));
    if (site.moved == nullptr) continue;
    for (const std::string& index : translation_indexes(id)) {
      wanted.push_back(index_head_path(index));
      wanted.push_back(index_bucket_path(index, 0));
    }
  }
  return changes_.transaction().prefetch(wanted);
}

Result<void> OutsideAddresses::add_entries(Site& site, const Descriptor& type,
                                           const std::string& index) {
  auto entries = index_facts(changes_.transaction(), index);
  if (!entries.ok()) return entries.error();
  std::vector<std::string> without_facts;
  for (const auto& entry : *entries) {
    if (entry.addresses().empty())
      without_facts.push_back(object_path(options_of(type).singular(), uuid_of(entry.id())));
  }
  if (auto done = changes_.transaction().prefetch(without_facts); !done.ok()) return done;
  for (const auto& entry : *entries) {
    const Uuid id = uuid_of(entry.id());
    const ChangeSet::Object* object = changes_.loaded(type, id);
    // Those that are touched have been sorted in; of others that are loaded the entry says the same.
    if (object != nullptr && std::any_of(site.users.begin(), site.users.end(),
                                         [&](const User& u) { return u.object == object; })) {
      continue;
    }
    std::vector<IpAddr> addresses = addresses_in(entry.addresses());
    if (addresses.empty()) {
      auto loaded = changes_.load(type, id);
      if (!loaded.ok()) return loaded.error();
      if (const auto outside = outside_of((*loaded)->either())) addresses = outside->addresses;
    }
    const char* field = &type == v1::SnatPool::descriptor() ? "addresses" : "address";
    site.users.push_back({&type, field, id, nullptr, addresses, addresses});
  }
  return Ok{};
}

/// A port of it moves: all its translations are concerned.
Result<void> OutsideAddresses::add_untouched(Site& site) {
  Transaction& transaction = changes_.transaction();
  const auto indexes = translation_indexes(site.router);
  // Nobody can come into an index that is looked at here before we are done.
  for (const std::string& index : indexes) {
    if (auto made = index_make(transaction, index); !made.ok()) return made;
  }
  if (auto done = add_entries(site, *v1::FloatingIp::descriptor(), indexes[0]); !done.ok())
    return done;
  if (auto done = add_entries(site, *v1::SnatPool::descriptor(), indexes[1]); !done.ok())
    return done;
  auto balancers = index_entries(transaction, indexes[2]);
  if (!balancers.ok()) return balancers.error();
  // Of those that go, what belongs to them goes, too.
  std::erase_if(*balancers, [&](const Uuid& id) {
    const ChangeSet::Object* object = changes_.loaded(*v1::LoadBalancer::descriptor(), id);
    return object != nullptr && !object->now;
  });
  std::vector<std::string> paths;
  for (const Uuid& balancer : *balancers) {
    paths.push_back(index_head_path(vips_of(balancer)));
    paths.push_back(index_bucket_path(vips_of(balancer), 0));
  }
  if (auto done = transaction.prefetch(paths); !done.ok()) return done;
  for (const Uuid& balancer : *balancers) {
    if (auto made = index_make(transaction, vips_of(balancer)); !made.ok()) return made;
    if (auto done = add_entries(site, *v1::Vip::descriptor(), vips_of(balancer)); !done.ok())
      return done;
  }
  return Ok{};
}

/// By which ports the router answers for its users, as it was and as it will be.
Result<void> OutsideAddresses::find_feet(Site& site) {
  Transaction& transaction = changes_.transaction();
  if (!site.whole) {
    const std::string path = networks_path(site.router);
    auto record = transaction.read_message<v1::RouterNetworks>(path);
    if (!record.ok()) return record.error();
    // A port that comes at this very moment writes it.
    if (!*record) transaction.write_message(path, v1::RouterNetworks());
    if (*record) site.before = feet_of(**record);
    std::erase_if(site.before, [&](const Foot& foot) { return site.ports.contains(foot.port); });
  }
  std::vector<IpAddr> addresses;
  for (const User& user : site.users) {
    addresses.insert(addresses.end(), user.before.begin(), user.before.end());
    addresses.insert(addresses.end(), user.now.begin(), user.now.end());
  }
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  std::erase_if(site.before, [&](const Foot& foot) { return !answers_by(foot, addresses); });
  std::vector<std::string> ports, peers;
  for (const Foot& foot : site.before) ports.push_back(object_path("port", foot.port));
  if (auto done = transaction.prefetch(ports); !done.ok()) return done;
  for (const std::string& path : ports) {
    v1::Port port;
    const std::string* raw = transaction.peek(path);
    if (raw != nullptr && port.ParseFromString(*raw) && port.has_peer())
      peers.push_back(object_path("port", uuid_of(port.peer())));
  }
  if (auto done = transaction.prefetch(peers); !done.ok()) return done;
  for (Foot& foot : site.before) {
    auto port = changes_.load(*v1::Port::descriptor(), foot.port);
    if (!port.ok()) return port.error();
    auto bridge = bridge_of(as_port((*port)->now.get()));
    if (!bridge.ok()) return bridge.error();
    foot.bridge = *bridge;
  }
  site.now = site.before;
  for (const auto& [id, object] : site.ports) {
    for (const auto& [message, feet] :
         {std::pair(object->before.get(), &site.before), std::pair(object->now.get(), &site.now)}) {
      const v1::Port* port = as_port(message);
      if (port == nullptr || !answers_by({id, Uuid{}, networks_of(*port)}, addresses)) continue;
      auto foot = foot_of(port);
      if (!foot.ok()) return foot.error();
      feet->push_back(std::move(*foot));
    }
  }
  return Ok{};
}

Result<std::vector<Claimant>> OutsideAddresses::claimants(
    const std::vector<ChangeSet::Object*>& touched) {
  for (const ChangeSet::Object* object : touched) {
    if (auto done = sort_in(*object); !done.ok()) return done.error();
  }
  for (auto& [id, site] : sites_) {
    if (site.moved == nullptr)
      std::erase_if(site.users, [](const User& user) { return user.before == user.now; });
  }
  std::erase_if(sites_, [](const auto& entry) {
    return entry.second.moved == nullptr && entry.second.users.empty();
  });
  if (auto done = fetch(); !done.ok()) return done.error();
  std::vector<Claimant> all;
  for (auto& [id, site] : sites_) {
    if (site.moved != nullptr && !site.whole) {
      if (auto done = add_untouched(site); !done.ok()) return done.error();
    }
    if (site.users.empty()) continue;
    if (auto done = find_feet(site); !done.ok()) return done.error();
    std::vector<Claimant> here;
    for (const User& user : site.users) {
      const std::string& type = options_of(*user.type).singular();
      Claimant claimant;
      claimant.object = user.object != nullptr ? user.object : site.moved;
      claimant.id = user.id;
      claimant.before = outside_claims(type, user.field, id, user.before, site.before);
      claimant.now = outside_claims(type, user.field, id, user.now, site.now);
      if (!claimant.before.empty() || !claimant.now.empty()) here.push_back(std::move(claimant));
    }
    const size_t moved = site.moved != nullptr ? count_changes(here) : 0;
    if (moved > kMaxAddressesMoved) {
      blamed_ = site.moved;
      return Error{
          ErrorCode::invalid,
          describe(*site.moved->either()) + ": " + std::to_string(moved) +
              " addresses of its router's translations would come to bridges or leave them "
              "with it, and at most " +
              std::to_string(kMaxAddressesMoved) +
              " do at once: remove some of them first, or set its admin_up to false"};
    }
    all.insert(all.end(), std::make_move_iterator(here.begin()),
               std::make_move_iterator(here.end()));
  }
  return all;
}

}  // namespace plexus::store
