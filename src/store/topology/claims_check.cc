// SPDX-License-Identifier: Apache-2.0
#include "store/topology/claims_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "plexus/v1/resources.pb.h"
#include "store/topology/convert.h"
#include "store/topology/layout.h"
#include "store/topology/schema.h"

namespace plexus::store {
namespace {

using google::protobuf::Message;

Uuid uuid_of(const std::string& raw) {
  return Uuid::from_bytes(raw).value_or(Uuid{});
}

const v1::Port* find_port(const ClaimsCheck::Find& find, const std::string& raw) {
  return static_cast<const v1::Port*>(find(*v1::Port::descriptor(), uuid_of(raw)));
}

/// The bridge that a router's port is wired to.
Uuid bridge_of(const v1::Port& port, const ClaimsCheck::Find& find) {
  const v1::Port* peer = port.has_peer() ? find_port(find, port.peer()) : nullptr;
  return peer != nullptr ? uuid_of(peer->bridge()) : Uuid{};
}

Uuid router_of(const v1::LoadBalancer* balancer) {
  return balancer != nullptr ? uuid_of(balancer->router()) : Uuid{};
}
const v1::LoadBalancer* find_balancer(const ClaimsCheck::Find& find, const Uuid& id) {
  return static_cast<const v1::LoadBalancer*>(find(*v1::LoadBalancer::descriptor(), id));
}

std::string owner_of(const v1::UniqueClaim& claim) {
  if (claim.has_id()) return uuid_of(claim.id()).str();
  return claim.has_router() ? "router " + uuid_of(claim.router()).str() : "nobody";
}

}  // namespace

bool ClaimsCheck::sort_in(const std::string& path, const std::string& value, int64_t version) {
  Stored& stored = stored_[path];
  stored.version = version;
  stored.damaged = !stored.claim.ParseFromString(value);
  return stored.damaged || fully_known(stored.claim);
}

std::string ClaimsCheck::wrong(const Stored& stored, const std::optional<Expected>& expected) {
  if (stored.damaged) {
    return "cannot be decoded; " +
           (expected ? expected->who + " has the value" : std::string("nobody has the value"));
  }
  if (!fully_known(stored.claim)) return "has parts that this program does not know";
  const std::string owner = owner_of(stored.claim);
  if (!expected) return "belongs to " + owner + ", which does not have the value";
  if (stored.claim.id() != expected->claim.id() ||
      stored.claim.router() != expected->claim.router())
    return "belongs to " + owner + ", but " + expected->who + " has the value";
  return "does not say which translations of " + owner + " have the address";
}

std::vector<Claim> ClaimsCheck::claims(const Message& object, const Find& find) const {
  Uuid place;
  const auto* port = dynamic_cast<const v1::Port*>(&object);
  if (port != nullptr && port->has_router()) place = bridge_of(*port, find);
  const auto outside = outside_of(&object);
  if (outside && !outside->load_balancer.is_nil())
    place = router_of(find_balancer(find, outside->load_balancer));
  std::vector<Claim> claims = claims_of(object, place);
  if (!outside) return claims;
  const Uuid router = outside->router.is_nil() ? place : outside->router;
  const auto feet = feet_.find(router);
  if (feet == feet_.end()) return claims;
  auto more = outside_claims(options_of(*object.GetDescriptor()).singular(), outside->field, router,
                             outside->addresses, feet->second);
  claims.insert(claims.end(), std::make_move_iterator(more.begin()),
                std::make_move_iterator(more.end()));
  return claims;
}

void ClaimsCheck::expect(const std::string& path, const Message& object, const Find& find,
                         std::vector<std::string>& problems) {
  for (const Claim& claim : claims(object, find)) {
    Expected& expected = expected_[claim.path];
    const bool may_be_ports = is_shared(claim) && !claim.bridge.is_nil();
    const v1::Port* owner = may_be_ports ? find_port(find, expected.claim.id()) : nullptr;
    const Uuid router_of_owner = owner != nullptr ? uuid_of(owner->router()) : Uuid{};
    if (obstacle(expected.claim, claim, id_of(object), router_of_owner) != Obstacle::none) {
      expected.contested = true;
      problems.push_back(
          fmt::format("{}: {} and {} both claim {}{}", path, describe(object), expected.who,
                      claim.text, claim.bridge.is_nil() ? "" : " on bridge " + claim.bridge.str()));
      continue;
    }
    if (expected.who.empty()) expected.who = describe(object);
    add_part(expected.claim, claim, id_of(object));
  }
}

void ClaimsCheck::run(const std::map<std::string, std::unique_ptr<Message>>& objects,
                      const Find& find, std::vector<std::string>& problems,
                      std::vector<Step>& remedies) {
  for (const auto& [path, object] : objects) {
    const auto* port = dynamic_cast<const v1::Port*>(object.get());
    if (port == nullptr || !port->has_router()) continue;
    Foot foot{id_of(*port), bridge_of(*port, find), {}};
    for (const std::string& raw : port->networks()) {
      if (const auto network = IpPrefix::from_bytes(raw)) foot.networks.push_back(*network);
    }
    feet_[uuid_of(port->router())].push_back(std::move(foot));
  }
  for (const auto& [path, object] : objects) expect(path, *object, find, problems);
  for (const auto& [path, expected] : expected_) {
    const auto found = stored_.find(path);
    const std::string is = expected.claim.SerializeAsString();
    if (found == stored_.end()) {
      problems.push_back(fmt::format("{}: is missing; {} has the value", path, expected.who));
      remedies.emplace_back(Create{path, is, access_of(path)});
      continue;
    }
    const Stored& stored = found->second;
    if (!stored.damaged && stored.claim.SerializeAsString() == is) continue;
    problems.push_back(path + ": " + wrong(stored, expected));
    // Whose it is, is not for us to say.
    if (!expected.contested) remedies.emplace_back(Set{path, is, stored.version, {}});
  }
  for (const auto& [path, stored] : stored_) {
    if (expected_.contains(path)) continue;
    problems.push_back(path + ": " + wrong(stored, std::nullopt));
    remedies.emplace_back(Delete{path, stored.version});
  }
}

}  // namespace plexus::store
