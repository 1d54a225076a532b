// SPDX-License-Identifier: Apache-2.0
#include "store/topology/foresight.h"

#include <algorithm>
#include <iterator>

#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/belongings.h"
#include "store/topology/claims.h"
#include "store/topology/index.h"
#include "store/topology/layout.h"
#include "store/topology/outside_addresses.h"
#include "store/topology/schema.h"
#include "store/topology/usage.h"

namespace plexus::store {
namespace {

using google::protobuf::Message;

const v1::Port* as_port(const Message* message) {
  return dynamic_cast<const v1::Port*>(message);
}

std::vector<std::string> claim_paths(const Message* message, const Uuid& peer_bridge) {
  std::vector<std::string> paths;
  if (message == nullptr) return paths;
  for (const Claim& claim : claims_of(*message, peer_bridge)) paths.push_back(claim.path);
  return paths;
}

}  // namespace

void Foresight::object(const Descriptor& type, const Uuid& id) {
  want(object_path(options_of(type).singular(), id));
}

void Foresight::change(const Message* before, const Message* now) {
  const Message& either = now != nullptr ? *now : *before;
  const auto& type = *either.GetDescriptor();
  const Uuid id = id_of(either);
  want(object_path(options_of(type).singular(), id));
  references(before, now);
  if (as_port(now) != nullptr) {
    auto& port = ports_[object_path(options_of(type).singular(), id)];
    port.reset(now->New());
    port->CopyFrom(*now);
  }
  const auto old_claims = claim_paths(before, Uuid{}), new_claims = claim_paths(now, Uuid{});
  std::set_symmetric_difference(old_claims.begin(), old_claims.end(), new_claims.begin(),
                                new_claims.end(), std::back_inserter(wanted_));
  if (const v1::Port* port = as_port(&either); port != nullptr && port->has_router()) {
    if (port->networks_size() > 0) {
      want(networks_path(Uuid::from_bytes(port->router()).value_or(Uuid{})));
    }
    if (may_move_addresses(as_port(before), as_port(now))) {
      for (const std::string& index :
           translation_indexes(Uuid::from_bytes(port->router()).value_or(Uuid{}))) {
        want(index_head_path(index));
        want(index_bucket_path(index, 0));
      }
    }
  }
  if (const auto outside = outside_of(&either)) {
    want(outside->router.is_nil() ? object_path("load-balancer", outside->load_balancer)
                                  : networks_path(outside->router));
  }
  belongings_paths(before, now, wanted_);
  if (before == nullptr || now == nullptr) {
    usage_paths(either, before == nullptr, wanted_);
    if (before == nullptr && !tenant_of(either).empty()) {
      tenant_claims_.push_back(claim_path("tenant.name", "", tenant_of(either)));
    }
  }
}

void Foresight::references(const Message* before, const Message* now) {
  const Message& either = now != nullptr ? *now : *before;
  const Uuid id = id_of(either);
  for (const ReferenceField& reference : references_from(*either.GetDescriptor())) {
    if (reference.symmetric) {
      link(before, now, reference);
      continue;
    }
    const auto was = targets_of(before, reference), is = targets_of(now, reference);
    const bool same = same_facts(facts_of(before, reference), facts_of(now, reference));
    const std::string& target = options_of(*reference.target).singular();
    std::vector<Uuid> ends;
    std::set_union(was.begin(), was.end(), is.begin(), is.end(), std::back_inserter(ends));
    for (const Uuid& end : ends) {
      const bool was_it = std::binary_search(was.begin(), was.end(), end);
      const bool is_it = std::binary_search(is.begin(), is.end(), end);
      // The rules look at what a route leaves by, whether it changed or not.
      if (is_it && (!was_it || either.GetDescriptor() == v1::Route::descriptor()))
        want(object_path(target, end));
      if (was_it && is_it && same) continue;
      buckets_.push_back({index_path(target, end, reference.index_name()), id});
      want(index_head_path(buckets_.back().index));
    }
  }
}

void Foresight::link(const Message* before, const Message* now, const ReferenceField& reference) {
  const auto was = targets_of(before, reference), is = targets_of(now, reference);
  for (const auto& [ends, message] : {std::pair(was, before), std::pair(is, now)}) {
    for (const Uuid& end : ends) {
      // Of one that stays, its other end as it will be.
      if (message == before && now != nullptr && was == is) continue;
      Link link{object_path(options_of(*reference.target).singular(), end),
                std::shared_ptr<Message>(message->New())};
      link.port->CopyFrom(*message);
      want(link.peer_path);
      links_.push_back(std::move(link));
    }
  }
}

void Foresight::removal(const Message& object) {
  change(&object, nullptr);
  const auto& type = *object.GetDescriptor();
  for (const ReferenceField& reference : references_to(type)) {
    if (reference.symmetric) continue;
    const std::string index =
        index_path(options_of(type).singular(), id_of(object), reference.index_name());
    want(index_head_path(index));
    buckets_.push_back({index, Uuid{}});
    if (reference.on_delete == v1::CASCADE || reference.on_delete == v1::CLEAR) {
      dependents_.push_back({index, id_of(object), reference});
    }
  }
}

Result<void> Foresight::fetch_wanted() {
  std::sort(wanted_.begin(), wanted_.end());
  wanted_.erase(std::unique(wanted_.begin(), wanted_.end()), wanted_.end());
  auto done = transaction_.prefetch(wanted_);
  wanted_.clear();
  return done;
}

void Foresight::follow(const Bucket& bucket) {
  const std::string* raw = transaction_.peek(index_head_path(bucket.index));
  v1::IndexHead head;
  if (raw != nullptr && !head.ParseFromString(*raw)) return;  // who reads it says so
  if (head.depth() > kMaxDepth) return;
  if (!bucket.entry.is_nil()) {
    want(index_bucket_path(bucket.index, bucket_of(bucket.entry, head.depth())));
  } else if (raw != nullptr) {
    // Of a large index the removal reads a part.
    const uint32_t count = std::min(1u << head.depth(), 4u);
    for (uint32_t b = 0; b < count; ++b) want(index_bucket_path(bucket.index, b));
  }
}

void Foresight::follow(const Link& link) {
  const std::string* raw = transaction_.peek(link.peer_path);
  v1::Port peer;
  if (const auto known = ports_.find(link.peer_path); known != ports_.end()) {
    peer.CopyFrom(*known->second);
  } else if (raw == nullptr || !peer.ParseFromString(*raw)) {
    return;
  }
  const v1::Port* port = as_port(link.port.get());
  // Of the two ends the router's claims its MAC and addresses on the other's bridge.
  const v1::Port* router_end = port->has_router() ? port : &peer;
  const v1::Port* bridge_end = port->has_router() ? &peer : port;
  if (!bridge_end->has_bridge()) return;
  for (std::string& path :
       claim_paths(router_end, Uuid::from_bytes(bridge_end->bridge()).value_or(Uuid{}))) {
    want(std::move(path));
  }
}

void Foresight::follow_tenant(const std::string& claim) {
  const std::string* raw = transaction_.peek(claim);
  v1::UniqueClaim owner;
  if (raw == nullptr || !owner.ParseFromString(*raw)) return;
  want(object_path("tenant", Uuid::from_bytes(owner.id()).value_or(Uuid{})));
}

std::vector<std::string> Foresight::users_of(const Dependents& dependents) const {
  // The buckets have been fetched, as many as a removal reads at once.
  const std::string& singular =
      options_of(*dependents.reference.field->containing_type()).singular();
  std::vector<std::string> paths;
  for (uint32_t b = 0;; ++b) {
    const std::string* raw = transaction_.peek(index_bucket_path(dependents.index, b));
    v1::RefBucket bucket;
    if (raw == nullptr || !bucket.ParseFromString(*raw)) return paths;
    for (const auto& entry : bucket.entries()) {
      paths.push_back(object_path(singular, Uuid::from_bytes(entry.id()).value_or(Uuid{})));
    }
  }
}

void Foresight::follow(const Dependents& dependents) {
  for (const std::string& path : users_of(dependents)) {
    const std::string* raw = transaction_.peek(path);
    auto user = new_message(*dependents.reference.field->containing_type());
    if (raw == nullptr || !user->ParseFromString(*raw)) continue;
    if (dependents.reference.on_delete == v1::CASCADE) {
      removal(*user);
      continue;
    }
    std::unique_ptr<Message> cleared(user->New());
    cleared->CopyFrom(*user);
    clear_reference(*cleared, dependents.reference, dependents.target);
    change(user.get(), cleared.get());
  }
}

Result<void> Foresight::fetch() {
  while (!wanted_.empty()) {
    if (auto done = fetch_wanted(); !done.ok()) return done;
    for (const auto& bucket : std::exchange(buckets_, {})) follow(bucket);
    for (const auto& link : std::exchange(links_, {})) follow(link);
    for (const auto& claim : std::exchange(tenant_claims_, {})) follow_tenant(claim);
    if (auto done = fetch_wanted(); !done.ok()) return done;
    const auto dependents = std::exchange(dependents_, {});
    std::vector<std::string> users;
    for (const auto& some : dependents) {
      for (std::string& path : users_of(some)) users.push_back(std::move(path));
    }
    if (auto done = transaction_.prefetch(users); !done.ok()) return done;
    for (const auto& some : dependents) follow(some);
  }
  return Ok{};
}

}  // namespace plexus::store
