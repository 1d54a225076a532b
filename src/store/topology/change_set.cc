// SPDX-License-Identifier: Apache-2.0
#include "store/topology/change_set.h"

#include <algorithm>
#include <iterator>
#include <optional>

#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/belongings.h"
#include "store/topology/filter_rules.h"
#include "store/topology/index.h"
#include "store/topology/layout.h"
#include "store/topology/level.h"
#include "store/topology/outside_addresses.h"
#include "store/topology/rules.h"
#include "store/topology/service_rules.h"
#include "store/topology/usage.h"
#include "store/topology/validate.h"

namespace plexus::store {
namespace {

bool contains(const std::vector<Uuid>& sorted, const Uuid& id) {
  return std::binary_search(sorted.begin(), sorted.end(), id);
}

std::string index_of(const ReferenceField& reference, const Uuid& target) {
  return index_path(options_of(*reference.target).singular(), target, reference.index_name());
}

/// One of the translations that a claim is of.
std::optional<std::pair<const google::protobuf::Descriptor*, Uuid>> part_of(
    const v1::UniqueClaim& claim) {
  const auto part = [](const google::protobuf::Descriptor* type, const std::string& id) {
    return std::pair(type, Uuid::from_bytes(id).value_or(Uuid{}));
  };
  if (claim.has_floating_ip()) return part(v1::FloatingIp::descriptor(), claim.floating_ip());
  if (claim.has_snat_pool()) return part(v1::SnatPool::descriptor(), claim.snat_pool());
  if (!claim.vips().empty()) return part(v1::Vip::descriptor(), claim.vips(0));
  return std::nullopt;
}

/// Whether the author may be told of it: tenants learn nothing of others.
bool is_told_of(const Author& author, const google::protobuf::Message& object) {
  return author.tenant.empty() || tenant_of(object) == author.tenant;
}

}  // namespace

Result<ChangeSet::Object*> ChangeSet::load(const Descriptor& type, const Uuid& id) {
  std::string path = object_path(options_of(type).singular(), id);
  auto& slot = objects_[path];
  if (slot) return slot.get();
  auto value = transaction_.read(path);
  if (!value.ok()) {
    objects_.erase(path);
    return value.error();
  }
  auto object = std::make_unique<Object>();
  object->type = &type;
  object->id = id;
  if (*value != nullptr) {
    object->before = new_message(type);
    if (!object->before->ParseFromString(**value)) {
      objects_.erase(path);
      return Transaction::damaged(path);
    }
    object->now.reset(object->before->New());
    object->now->CopyFrom(*object->before);
  }
  object->path = std::move(path);
  object->operation = operation_;
  slot = std::move(object);
  return slot.get();
}

const ChangeSet::Object* ChangeSet::loaded(const Descriptor& type, const Uuid& id) const {
  const auto found = objects_.find(object_path(options_of(type).singular(), id));
  return found == objects_.end() ? nullptr : found->second.get();
}

Result<void> ChangeSet::check_references(const Object& object) {
  if (!object.now) return Ok{};
  for (const ReferenceField& reference : references_from(*object.type)) {
    const auto before = targets_of(object.before.get(), reference);
    for (const Uuid& target : targets_of(object.now.get(), reference)) {
      auto ok = check_reference(object, reference, target, !contains(before, target));
      if (!ok.ok()) return ok;
    }
  }
  return Ok{};
}

Result<void> ChangeSet::check_reference(const Object& object, const ReferenceField& reference,
                                        const Uuid& target, bool fresh) {
  const std::string& singular = options_of(*reference.target).singular();
  // An old reference was checked when it was made; but its target may go in this very set.
  if (!fresh && !objects_.contains(object_path(singular, target))) return Ok{};
  auto found = load(*reference.target, target);
  if (!found.ok()) return found.error();
  if ((*found)->now) {
    if (!fresh || !is_deleting(*(*found)->now)) return Ok{};
    return field_error(*object.now, reference.field->name(),
                       describe(*(*found)->now) + " is being removed: name another");
  }
  return field_error(
      *object.now, reference.field->name(),
      "there is no " + singular + " " + target.str() + ": create it first, or name another");
}

Result<void> ChangeSet::move_references(const Object& object) {
  for (const ReferenceField& reference : references_from(*object.type)) {
    if (reference.symmetric) continue;
    const auto before = targets_of(object.before.get(), reference);
    const auto now = targets_of(object.now.get(), reference);
    const auto facts = facts_of(object.now.get(), reference);
    const bool other_facts = !same_facts(facts, facts_of(object.before.get(), reference));
    for (const Uuid& target : before) {
      if (contains(now, target)) continue;
      auto done = index_remove(transaction_, index_of(reference, target), object.id);
      if (!done.ok()) return done;
    }
    for (const Uuid& target : now) {
      if (!other_facts && contains(before, target)) continue;
      auto done = index_add(transaction_, index_of(reference, target), object.id, facts);
      if (!done.ok()) return done;
    }
  }
  return Ok{};
}

Result<std::vector<Claim>> ChangeSet::claims(const Message* message) {
  if (message == nullptr) return std::vector<Claim>();
  Uuid place;
  if (const auto* vip = dynamic_cast<const v1::Vip*>(message)) {
    auto balancer = load(*v1::LoadBalancer::descriptor(),
                         Uuid::from_bytes(vip->load_balancer()).value_or(Uuid{}));
    if (!balancer.ok()) return balancer.error();
    if (const auto* b = static_cast<const v1::LoadBalancer*>((*balancer)->either()))
      place = Uuid::from_bytes(b->router()).value_or(Uuid{});
  }
  const auto* port = dynamic_cast<const v1::Port*>(message);
  if (port != nullptr && port->has_router() && port->has_peer()) {
    auto peer = load(*v1::Port::descriptor(), Uuid::from_bytes(port->peer()).value_or(Uuid{}));
    if (!peer.ok()) return peer.error();
    // A port never changes its device: before and after agree.
    if (const auto* p = static_cast<const v1::Port*>((*peer)->either())) {
      place = Uuid::from_bytes(p->bridge()).value_or(Uuid{});
    }
  }
  return claims_of(*message, place);
}

Result<void> ChangeSet::give_up(const Claimant& claimant, const Claim& claim) {
  auto stored = transaction_.read_message<v1::UniqueClaim>(claim.path);
  if (!stored.ok()) return stored.error();
  if (!*stored) return Ok{};
  drop_part(**stored, claim, claimant.id);
  if (is_empty(**stored)) {
    transaction_.remove(claim.path);
  } else {
    transaction_.write_message(claim.path, **stored);
  }
  return Ok{};
}

Result<void> ChangeSet::check_delegated(const Claimant& claimant, const Claim& claim,
                                        const Author& author) {
  if (author.tenant.empty() || claim.bridge.is_nil()) return Ok{};
  auto bridge = load(*v1::Bridge::descriptor(), claim.bridge);
  if (!bridge.ok()) return bridge.error();
  if ((*bridge)->either() == nullptr || is_told_of(author, *(*bridge)->either())) return Ok{};
  const auto tenant = find_tenant(transaction_, author.tenant);
  if (!tenant.ok()) return tenant.error();
  const auto address =
      IpAddr::parse(std::string_view(claim.path).substr(claim.path.rfind('/') + 1));
  if (*tenant && address) {
    for (const std::string& raw : (*tenant)->outside_networks()) {
      const auto network = IpPrefix::from_bytes(raw);
      if (network && network->contains(*address)) return Ok{};
    }
  }
  return Error{ErrorCode::invalid,
               describe(*claimant.object->either()) + ": " + claim.field + ": " + claim.text +
                   " is at a bridge of another tenant, and not in outside_networks of tenant " +
                   author.tenant + ": ask an administrator for one"};
}

Result<void> ChangeSet::take(const Claimant& claimant, const Claim& claim, const Author& author) {
  if (auto may = check_delegated(claimant, claim, author); !may.ok()) return may;
  auto stored = transaction_.read_message<v1::UniqueClaim>(claim.path);
  if (!stored.ok()) return stored.error();
  v1::UniqueClaim record = *stored ? std::move(**stored) : v1::UniqueClaim();
  Uuid router_of_owner;
  if (record.has_id() && is_shared(claim) && !claim.bridge.is_nil()) {
    auto owner = load(*v1::Port::descriptor(), Uuid::from_bytes(record.id()).value_or(Uuid{}));
    if (!owner.ok()) return owner.error();
    if (const auto* port = static_cast<const v1::Port*>((*owner)->either()))
      router_of_owner = Uuid::from_bytes(port->router()).value_or(Uuid{});
  }
  const Obstacle obstacle = store::obstacle(record, claim, claimant.id, router_of_owner);
  if (obstacle != Obstacle::none) return taken(claimant, claim, record, obstacle, author);
  if (auto done = stand_on_another_part(record); !done.ok()) return done;
  add_part(record, claim, claimant.id);
  transaction_.write_message(claim.path, record);
  return Ok{};
}

/// The record may be removed and made again, and then its version tells nothing; not without a change of whoever it is of.
Result<void> ChangeSet::stand_on_another_part(const v1::UniqueClaim& record) {
  const auto part = part_of(record);
  if (!part) return Ok{};
  auto loaded = load(*part->first, part->second);
  if (!loaded.ok()) return loaded.error();
  return Ok{};
}

/// What the author may be told of an object.
Result<std::string> ChangeSet::name(const Descriptor& type, const Uuid& id, const Author& author) {
  auto loaded = load(type, id);
  if (!loaded.ok()) return loaded.error();
  const Message* object = (*loaded)->either();
  const std::string& singular = options_of(type).singular();
  if (object == nullptr) return singular + " " + id.str();
  if (is_told_of(author, *object)) return describe(*object);
  return "a " + singular + " that is not this tenant's";
}

/// Who has what `claim` is about.
Result<std::string> ChangeSet::holder(const v1::UniqueClaim& record, const Claim& claim,
                                      Obstacle obstacle, const Author& author) {
  if (obstacle == Obstacle::owner) {
    // What translations share on a bridge is a port's, at a router a floating address's.
    const std::string type = !claim.bridge.is_nil() ? "port"
                             : is_shared(claim)     ? "floating-ip"
                                                    : claim.owner_type;
    return name(*find_resource_type(type), Uuid::from_bytes(record.id()).value_or(Uuid{}), author);
  }
  auto router =
      name(*v1::Router::descriptor(), Uuid::from_bytes(record.router()).value_or(Uuid{}), author);
  const auto part = part_of(record);
  if (!router.ok() || !part) return router;
  auto user = load(*part->first, part->second);
  if (!user.ok()) return user.error();
  const Message* translation = (*user)->either();
  if (translation == nullptr || !is_told_of(author, *translation)) return router;
  return describe(*translation) + " of " + *router;
}

Error ChangeSet::taken(const Claimant& claimant, const Claim& claim, const v1::UniqueClaim& record,
                       Obstacle obstacle, const Author& author) {
  const auto who = holder(record, claim, obstacle, author);
  if (!who.ok()) return who.error();
  const Object& object = *claimant.object;
  std::string what = claim.text, where, field = claim.field, remedy = "choose another";
  if (!claim.bridge.is_nil()) {
    const auto bridge = name(*v1::Bridge::descriptor(), claim.bridge, author);
    if (!bridge.ok()) return bridge.error();
    where = " on " + *bridge;
    if (is_shared(claim) && object.type != v1::Port::descriptor()) {
      const auto port = name(*v1::Port::descriptor(), claim.port, author);
      if (!port.ok()) return port.error();
      where += ", by " + *port + ",";
    }
  }
  if (claimant.id != object.id) {
    // A port moves, and what its router translates with it.
    const auto user = name(*find_resource_type(claim.owner_type), claimant.id, author);
    if (!user.ok()) return user.error();
    const auto* before = static_cast<const v1::Port*>(object.before.get());
    const auto* now = static_cast<const v1::Port*>(object.now.get());
    field =
        before != nullptr && now != nullptr && before->peer() == now->peer() ? "networks" : "peer";
    what += " of " + *user;
    remedy = "change or remove one of the two first";
  }
  return {ErrorCode::exists, describe(*object.either()) + ": " + field + ": " + what + where +
                                 " belongs to " + *who + ": " + remedy};
}

std::vector<ChangeSet::Object*> ChangeSet::touched() {
  std::vector<Object*> touched;
  for (const auto& [path, object] : objects_) {
    const bool changed =
        (object->before == nullptr) != (object->now == nullptr) ||
        (object->now && object->now->SerializeAsString() != object->before->SerializeAsString());
    if (changed) touched.push_back(object.get());
  }
  std::stable_sort(touched.begin(), touched.end(), [](const Object* a, const Object* b) {
    return std::pair(a->operation, !a->meant) < std::pair(b->operation, !b->meant);
  });
  return touched;
}

Result<std::vector<Claimant>> ChangeSet::claimants(const std::vector<Object*>& touched) {
  std::vector<Claimant> all;
  for (const Object* object : touched) {
    blamed_ = object->operation;
    auto before = claims(object->before.get());
    if (!before.ok()) return before.error();
    auto now = claims(object->now.get());
    if (!now.ok()) return now.error();
    all.push_back({object, object->id, std::move(*before), std::move(*now)});
  }
  OutsideAddresses outside(*this);
  auto translations = outside.claimants(touched);
  if (!translations.ok()) {
    if (outside.blamed() != nullptr) blamed_ = outside.blamed()->operation;
    return translations.error();
  }
  all.insert(all.end(), std::make_move_iterator(translations->begin()),
             std::make_move_iterator(translations->end()));
  return all;
}

Result<void> ChangeSet::move_claims(const std::vector<Object*>& touched, const Author& author) {
  const auto all = claimants(touched);
  if (!all.ok()) return all.error();
  std::vector<std::vector<Claim>> given_up(all->size()), claimed(all->size());
  std::vector<std::string> paths;
  for (size_t i = 0; i < all->size(); ++i) {
    const auto& [object, id, before, now] = (*all)[i];
    std::set_difference(before.begin(), before.end(), now.begin(), now.end(),
                        std::back_inserter(given_up[i]));
    std::set_difference(now.begin(), now.end(), before.begin(), before.end(),
                        std::back_inserter(claimed[i]));
    for (const auto* claims : {&given_up[i], &claimed[i]}) {
      for (const Claim& claim : *claims) paths.push_back(claim.path);
    }
  }
  if (auto done = transaction_.prefetch(paths); !done.ok()) return done;
  // All that is given up first: two objects may swap values.
  for (size_t i = 0; i < all->size(); ++i) {
    blamed_ = (*all)[i].object->operation;
    for (const Claim& claim : given_up[i]) {
      if (auto done = give_up((*all)[i], claim); !done.ok()) return done;
    }
  }
  for (size_t i = 0; i < all->size(); ++i) {
    blamed_ = (*all)[i].object->operation;
    for (const Claim& claim : claimed[i]) {
      if (auto done = take((*all)[i], claim, author); !done.ok()) return done;
    }
  }
  return Ok{};
}

void ChangeSet::log(const std::vector<Object*>& touched, const Author& author) {
  if (touched.empty()) return;
  v1::LogEntry entry = new_log_entry(author);
  for (const Object* object : touched) {
    *entry.add_changes() = log_change(object->before.get(), object->now.get());
  }
  transaction_.append(log_path(), entry.SerializeAsString());
}

Result<void> ChangeSet::finish(const Author& author) {
  // Loading more (to name an owner, to find a peer's bridge) must not disturb the walk.
  const std::vector<Object*> all = touched();
  for (Object* object : all) {
    blamed_ = object->operation;
    if (auto ok = complete_link(*this, *object); !ok.ok()) return ok;
  }
  for (Object* object : all) {
    blamed_ = object->operation;
    if (auto ok = complete_service(*this, *object); !ok.ok()) return ok;
    if (auto ok = check_references(*object); !ok.ok()) return ok;
  }
  if (auto done = move_claims(all, author); !done.ok()) return done;
  // Networks likewise: given up first, then taken.
  for (auto* const move : {&give_up_router_networks, &take_router_networks}) {
    for (Object* object : all) {
      if (object->type != v1::Port::descriptor()) continue;
      blamed_ = object->operation;
      if (auto done = move(*this, *object); !done.ok()) return done;
    }
  }
  for (Object* object : all) {
    blamed_ = object->operation;
    if (auto done = move_references(*object); !done.ok()) return done;
  }
  for (Object* object : all) {
    if (!object->now) continue;
    blamed_ = object->operation;
    if (auto ok = check_service(*this, *object); !ok.ok()) return ok;
  }
  // When all jumps of the set are in the indexes: two rules of one batch may close a circle.
  for (Object* object : all) {
    const auto* rule = dynamic_cast<const v1::Rule*>(object->now.get());
    const auto* before =
        static_cast<const v1::Rule*>(rule != nullptr ? object->before.get() : nullptr);
    if (rule == nullptr || !rule->has_jump_chain()) continue;
    if (before != nullptr && before->jump_chain() == rule->jump_chain()) continue;
    blamed_ = object->operation;
    if (auto ok = check_jumps(transaction_, *rule); !ok.ok()) return ok;
  }
  const Object* over_quota = nullptr;
  if (auto done = keep_usage(transaction_, all, &over_quota); !done.ok()) {
    if (over_quota != nullptr) blamed_ = over_quota->operation;
    return done;
  }
  for (Object* object : all) {
    blamed_ = object->operation;
    if (object->now) {
      if (auto ok = apply_level(transaction_, *object->now); !ok.ok()) return ok;
      transaction_.write_message(object->path, *object->now);
      if (auto done = keep_belongings(*this, *object); !done.ok()) return done;
    } else {
      if (auto done = drop_belongings(transaction_, *object); !done.ok()) return done;
      transaction_.remove(object->path);
    }
  }
  log(all, author);
  return Ok{};
}

}  // namespace plexus::store
