// SPDX-License-Identifier: Apache-2.0
#include "store/topology/schema.h"

#include <algorithm>
#include <map>

#include "base/check.h"
#include "plexus/v1/resources.pb.h"

namespace plexus::store {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

const v1::ResourceOptions& options_of(const Descriptor& type) {
  return type.options().GetExtension(v1::resource);
}

const std::vector<const Descriptor*>& resource_types() {
  static const auto types = [] {
    std::vector<const Descriptor*> found;
    const auto& file = *v1::Bridge::descriptor()->file();
    for (int i = 0; i < file.message_type_count(); ++i) {
      if (file.message_type(i)->options().HasExtension(v1::resource)) {
        found.push_back(file.message_type(i));
      }
    }
    return found;
  }();
  return types;
}

const Descriptor* find_resource_type(std::string_view name) {
  for (const Descriptor* type : resource_types()) {
    const auto& options = options_of(*type);
    if (type->name() == name || options.singular() == name || options.collection() == name) {
      return type;
    }
  }
  return nullptr;
}

std::unique_ptr<Message> new_message(const Descriptor& type) {
  const Message* prototype =
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(&type);
  return std::unique_ptr<Message>(prototype->New());
}

std::string ReferenceField::index_name() const {
  return options_of(*field->containing_type()).singular() + "." + field->name();
}

namespace {

struct References {
  std::map<const Descriptor*, std::vector<ReferenceField>> from, to;
};

/// Objects of the one type keep those of the other from being removed.
bool restricts(const Descriptor& holder, const Descriptor& target) {
  for (int i = 0; i < holder.field_count(); ++i) {
    const v1::Reference& option = holder.field(i)->options().GetExtension(v1::ref);
    if (option.on_delete() == v1::RESTRICT && option.type() == target.name()) return true;
  }
  return false;
}

/// Of what goes with an object, those first that keep others of it: a virtual address before its pool.
void order_for_removal(std::vector<ReferenceField>& references) {
  const auto holder = [&](size_t i) { return references[i].field->containing_type(); };
  for (size_t i = 0; i < references.size(); ++i) {
    for (size_t j = i + 1; j < references.size(); ++j) {
      if (holder(i) == holder(j) || !restricts(*holder(j), *holder(i))) continue;
      const auto at = [&](size_t n) { return references.begin() + static_cast<std::ptrdiff_t>(n); };
      std::rotate(at(i), at(j), at(j + 1));
    }
  }
}

const References& all_references() {
  static const auto references = [] {
    References found;
    for (const Descriptor* type : resource_types()) {
      for (int i = 0; i < type->field_count(); ++i) {
        const FieldDescriptor* field = type->field(i);
        if (!field->options().HasExtension(v1::ref)) continue;
        const v1::Reference& option = field->options().GetExtension(v1::ref);
        const Descriptor* target = find_resource_type(option.type());
        PLEXUS_CHECK(target != nullptr, "a reference to an unknown type: " + field->full_name());
        PLEXUS_CHECK(!field->is_repeated() || !option.symmetric(),
                     "a list that both ends hold: " + field->full_name());
        const ReferenceField reference{field, target, option.on_delete(), option.symmetric()};
        found.from[type].push_back(reference);
        found.to[target].push_back(reference);
      }
    }
    for (auto& [type, list] : found.to) order_for_removal(list);
    return found;
  }();
  return references;
}

const std::vector<ReferenceField>& of(
    const std::map<const Descriptor*, std::vector<ReferenceField>>& table, const Descriptor& type) {
  static const std::vector<ReferenceField> none;
  const auto found = table.find(&type);
  return found == table.end() ? none : found->second;
}

std::string text_field(const Message& message, const char* name) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
  return field == nullptr ? std::string() : message.GetReflection()->GetString(message, field);
}

}  // namespace

const std::vector<ReferenceField>& references_from(const Descriptor& type) {
  return of(all_references().from, type);
}
const std::vector<ReferenceField>& references_to(const Descriptor& type) {
  return of(all_references().to, type);
}

Uuid uuid_field(const Message& resource, const FieldDescriptor& field) {
  return Uuid::from_bytes(resource.GetReflection()->GetString(resource, &field)).value_or(Uuid{});
}

Uuid id_of(const Message& resource) {
  return uuid_field(resource, *resource.GetDescriptor()->FindFieldByName("id"));
}
std::string name_of(const Message& resource) {
  return text_field(resource, "name");
}
std::string tenant_of(const Message& resource) {
  return text_field(resource, "tenant");
}

uint32_t min_reader_of(const Message& resource) {
  const FieldDescriptor* field = resource.GetDescriptor()->FindFieldByName("min_reader");
  return field == nullptr ? 0 : resource.GetReflection()->GetUInt32(resource, field);
}

bool is_deleting(const Message& resource) {
  const FieldDescriptor* field = resource.GetDescriptor()->FindFieldByName("deleting");
  return field != nullptr && resource.GetReflection()->GetBool(resource, field);
}
void set_deleting(Message& resource) {
  resource.GetReflection()->SetBool(&resource,
                                    resource.GetDescriptor()->FindFieldByName("deleting"), true);
}

void set_id(Message& resource, const Uuid& id) {
  resource.GetReflection()->SetString(&resource, resource.GetDescriptor()->FindFieldByName("id"),
                                      id.raw());
}

namespace {

std::vector<std::string> entries_of(const Message& resource, const FieldDescriptor& field) {
  const auto& r = *resource.GetReflection();
  std::vector<std::string> entries;
  for (int i = 0; i < r.FieldSize(resource, &field); ++i)
    entries.push_back(r.GetRepeatedString(resource, &field, i));
  return entries;
}

}  // namespace

std::vector<Uuid> targets_of(const Message* resource, const ReferenceField& reference) {
  std::vector<Uuid> targets;
  if (resource == nullptr) return targets;
  const FieldDescriptor& field = *reference.field;
  if (!field.is_repeated()) {
    targets.push_back(uuid_field(*resource, field));
  } else {
    for (const std::string& entry : entries_of(*resource, field))
      targets.push_back(Uuid::from_bytes(entry).value_or(Uuid{}));
    std::sort(targets.begin(), targets.end());
    targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
  }
  std::erase(targets, Uuid{});
  return targets;
}

bool refers_to(const Message& resource, const ReferenceField& reference, const Uuid& target) {
  const auto targets = targets_of(&resource, reference);
  return std::find(targets.begin(), targets.end(), target) != targets.end();
}

void clear_reference(Message& resource, const ReferenceField& reference, const Uuid& target) {
  const auto& r = *resource.GetReflection();
  const FieldDescriptor& field = *reference.field;
  if (!field.is_repeated()) {
    if (uuid_field(resource, field) == target) r.ClearField(&resource, &field);
    return;
  }
  const std::vector<std::string> entries = entries_of(resource, field);
  r.ClearField(&resource, &field);
  for (const std::string& entry : entries) {
    if (entry != target.raw()) r.AddString(&resource, &field, entry);
  }
}

void sort_references(Message& resource) {
  const auto& r = *resource.GetReflection();
  for (const ReferenceField& reference : references_from(*resource.GetDescriptor())) {
    if (!reference.field->is_repeated()) continue;
    std::vector<std::string> entries = entries_of(resource, *reference.field);
    std::sort(entries.begin(), entries.end());
    r.ClearField(&resource, reference.field);
    for (std::string& entry : entries) r.AddString(&resource, reference.field, std::move(entry));
  }
}

v1::RefEntry facts_of(const Message* resource, const ReferenceField& reference) {
  v1::RefEntry facts;
  if (const auto* port = dynamic_cast<const v1::Port*>(resource)) {
    // Members of a remote group are known without their records.
    if (reference.field->number() == v1::Port::kSecurityGroupsFieldNumber)
      *facts.mutable_addresses() = port->addresses();
  } else if (const auto* member = dynamic_cast<const v1::PoolMember*>(resource)) {
    // Of which family a pool is.
    facts.add_addresses(member->address());
  } else if (const auto* floating = dynamic_cast<const v1::FloatingIp*>(resource)) {
    // Who wires a router's port needs all addresses that the router has outside.
    facts.add_addresses(floating->address());
  } else if (const auto* pool = dynamic_cast<const v1::SnatPool*>(resource)) {
    *facts.mutable_addresses() = pool->addresses();
  } else if (const auto* vip = dynamic_cast<const v1::Vip*>(resource)) {
    if (reference.field->number() == v1::Vip::kLoadBalancerFieldNumber)
      facts.add_addresses(vip->address());
  } else if (const auto* rule = dynamic_cast<const v1::Rule*>(resource)) {
    // Who looks for circles of chains goes from chain to chain.
    const int field = reference.field->number();
    if (field == v1::Rule::kChainFieldNumber && rule->has_jump_chain())
      facts.set_chain(rule->jump_chain());
    if (field == v1::Rule::kJumpChainFieldNumber) facts.set_chain(rule->chain());
  }
  return facts;
}

bool same_facts(const v1::RefEntry& a, const v1::RefEntry& b) {
  return a.chain() == b.chain() && std::equal(a.addresses().begin(), a.addresses().end(),
                                              b.addresses().begin(), b.addresses().end());
}

std::string describe(const Message& resource) {
  const std::string name = name_of(resource);
  const std::string id = id_of(resource).str();
  const std::string& singular = options_of(*resource.GetDescriptor()).singular();
  return name.empty() ? singular + " " + id : singular + " " + name + " (" + id + ")";
}

}  // namespace plexus::store
