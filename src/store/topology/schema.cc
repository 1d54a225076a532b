// SPDX-License-Identifier: Apache-2.0
#include "store/topology/schema.h"

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
        PLEXUS_CHECK(!field->is_repeated(), "repeated references: " + field->full_name());
        const ReferenceField reference{field, target, option.on_delete(), option.symmetric()};
        found.from[type].push_back(reference);
        found.to[target].push_back(reference);
      }
    }
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

std::string describe(const Message& resource) {
  const std::string name = name_of(resource);
  const std::string id = id_of(resource).str();
  const std::string& singular = options_of(*resource.GetDescriptor()).singular();
  return name.empty() ? singular + " " + id : singular + " " + name + " (" + id + ")";
}

}  // namespace plexus::store
