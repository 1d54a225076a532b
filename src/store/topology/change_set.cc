// SPDX-License-Identifier: Apache-2.0
#include "store/topology/change_set.h"

#include <algorithm>
#include <iterator>

#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/belongings.h"
#include "store/topology/filter_rules.h"
#include "store/topology/index.h"
#include "store/topology/layout.h"
#include "store/topology/level.h"
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

Result<void> ChangeSet::take(const Object& object, const Claim& claim) {
  auto taken = transaction_.read_message<v1::UniqueClaim>(claim.path);
  if (!taken.ok()) return taken.error();
  if (*taken && (*taken)->id() != object.id.raw()) {
    const auto owner = Uuid::from_bytes((*taken)->id()).value_or(Uuid{});
    auto other = load(*find_resource_type(claim.owner_type), owner);
    if (!other.ok()) return other.error();
    const Message* who = (*other)->either();
    return Error{ErrorCode::exists,
                 describe(*object.now) + ": " + claim.field + ": " + claim.text + " belongs to " +
                     (who != nullptr ? describe(*who) : claim.owner_type + " " + owner.str()) +
                     ": choose another"};
  }
  v1::UniqueClaim mine;
  mine.set_id(object.id.raw());
  transaction_.write_message(claim.path, mine);
  return Ok{};
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

Result<void> ChangeSet::move_claims(const std::vector<Object*>& touched) {
  std::vector<std::vector<Claim>> claimed;
  for (Object* object : touched) {
    blamed_ = object->operation;
    auto before = claims(object->before.get());
    if (!before.ok()) return before.error();
    auto now = claims(object->now.get());
    if (!now.ok()) return now.error();
    // All that is given up first: two objects may swap values.
    for (const Claim& claim : *before) {
      if (std::binary_search(now->begin(), now->end(), claim)) continue;
      auto taken = transaction_.read_message<v1::UniqueClaim>(claim.path);
      if (!taken.ok()) return taken.error();
      if (*taken && (*taken)->id() == object->id.raw()) transaction_.remove(claim.path);
    }
    std::vector<Claim> fresh;
    std::set_difference(now->begin(), now->end(), before->begin(), before->end(),
                        std::back_inserter(fresh));
    claimed.push_back(std::move(fresh));
  }
  for (size_t i = 0; i < touched.size(); ++i) {
    blamed_ = touched[i]->operation;
    for (const Claim& claim : claimed[i]) {
      if (auto done = take(*touched[i], claim); !done.ok()) return done;
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
  if (auto done = move_claims(all); !done.ok()) return done;
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
