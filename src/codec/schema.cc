// SPDX-License-Identifier: Apache-2.0
#include "codec/schema.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include "base/check.h"
#include "plexus/v1/options.pb.h"
#include "plexus/v1/resources.pb.h"

namespace plexus::codec {
namespace {

namespace pb = google::protobuf;

Authority authority_of(const pb::FieldDescriptor& field) {
  switch (field.options().GetExtension(v1::authority)) {
    case v1::OWNER:
      return Authority::owner;
    case v1::ADMINISTRATOR:
      return Authority::administrator;
    default:
      return field.name() == "name" ? Authority::owner : Authority::surroundings;
  }
}

ValueKind kind_of(const pb::FieldDescriptor& field) {
  switch (field.options().GetExtension(v1::format)) {
    case v1::FORMAT_UUID:
      return ValueKind::uuid;
    case v1::FORMAT_MAC:
      return ValueKind::mac;
    case v1::FORMAT_IP:
      return ValueKind::ip;
    case v1::FORMAT_PREFIX:
      return ValueKind::prefix;
    case v1::FORMAT_INTERFACE_ADDRESS:
      return ValueKind::interface_address;
    case v1::FORMAT_NAME:
      return ValueKind::name;
    case v1::FORMAT_INTERFACE:
      return ValueKind::interface;
    case v1::FORMAT_IP_PROTOCOL:
      return ValueKind::ip_protocol;
    case v1::FORMAT_ETHERTYPE:
      return ValueKind::ethertype;
    case v1::FORMAT_PORT_RANGE:
      return ValueKind::port_range;
    case v1::FORMAT_MASKED_MAC:
      return ValueKind::masked_mac;
    case v1::FORMAT_TCP_FLAGS:
      return ValueKind::tcp_flags;
    case v1::FORMAT_ADDRESS_PAIR:
      return ValueKind::address_pair;
    case v1::FORMAT_VIA:
      return ValueKind::via;
    case v1::FORMAT_DHCP_OPTION:
      return ValueKind::dhcp_option;
    case v1::FORMAT_DOMAIN:
      return ValueKind::domain;
    default:
      break;
  }
  switch (field.type()) {
    case pb::FieldDescriptor::TYPE_BOOL:
      return ValueKind::boolean;
    case pb::FieldDescriptor::TYPE_UINT32:
      return ValueKind::number;
    case pb::FieldDescriptor::TYPE_STRING:
      return ValueKind::text;
    case pb::FieldDescriptor::TYPE_ENUM:
      return ValueKind::enumeration;
    case pb::FieldDescriptor::TYPE_BYTES:
      return ValueKind::bytes;
    case pb::FieldDescriptor::TYPE_MESSAGE:
      return ValueKind::message;
    default:
      break;
  }
  PLEXUS_CHECK(false,
               "the schema uses a protobuf type the codec does not know: " + field.full_name());
  return ValueKind::text;
}

std::string lower(std::string s) {
  for (char& c : s) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return s;
}

FieldSpec describe_field(const pb::FieldDescriptor& field) {
  const pb::FieldOptions& options = field.options();
  FieldSpec spec;
  spec.name = field.name();
  spec.help = options.GetExtension(v1::help);
  spec.kind = kind_of(field);
  spec.repeated = field.is_repeated();
  spec.required = options.GetExtension(v1::required);
  spec.immutable = options.GetExtension(v1::immutable);
  spec.output_only = options.GetExtension(v1::output_only);
  spec.secret = options.GetExtension(v1::secret);
  spec.authority = authority_of(field);
  if (spec.authority == Authority::administrator) spec.help += " For administrators.";
  if (options.HasExtension(v1::range)) {
    const v1::Range& range = options.GetExtension(v1::range);
    if (range.has_min()) spec.min = range.min();
    if (range.has_max()) spec.max = range.max();
  }
  if (options.HasExtension(v1::max_entries))
    spec.max_entries = static_cast<int>(options.GetExtension(v1::max_entries));
  if (options.HasExtension(v1::ref)) spec.reference = options.GetExtension(v1::ref).type();
  if (field.enum_type() != nullptr) {
    for (int i = 0; i < field.enum_type()->value_count(); ++i) {
      const pb::EnumValueDescriptor& value = *field.enum_type()->value(i);
      if (value.number() != 0) spec.words.push_back(lower(value.name()));
    }
  }
  spec.descriptor = &field;
  return spec;
}

std::vector<ResourceSpec> build() {
  std::vector<ResourceSpec> found;
  const pb::FileDescriptor& file = *v1::Bridge::descriptor()->file();
  for (int i = 0; i < file.message_type_count(); ++i) {
    const pb::Descriptor& type = *file.message_type(i);
    if (!type.options().HasExtension(v1::resource)) continue;
    const v1::ResourceOptions& options = type.options().GetExtension(v1::resource);
    ResourceSpec spec;
    spec.type = type.name();
    spec.collection = options.collection();
    spec.singular = options.singular();
    spec.help = options.help();
    spec.name_scope.assign(options.name_scope().begin(), options.name_scope().end());
    if (options.has_max_bytes()) spec.max_bytes = options.max_bytes();
    spec.descriptor = &type;
    for (const v1::ExclusiveFields& e : options.exclusive()) {
      spec.exclusive.push_back({{e.fields().begin(), e.fields().end()}, e.required()});
    }
    spec.fields = fields_of(type);
    found.push_back(std::move(spec));
  }
  // References first. The schema is small; a cycle between types would be a mistake in it.
  std::vector<ResourceSpec> ordered;
  std::set<std::string> placed;
  while (!found.empty()) {
    const auto ready = std::find_if(found.begin(), found.end(), [&](const ResourceSpec& s) {
      return std::all_of(s.fields.begin(), s.fields.end(), [&](const FieldSpec& f) {
        return !f.is_reference() || f.reference == s.type || placed.contains(f.reference);
      });
    });
    PLEXUS_CHECK(ready != found.end(), "resource types refer to each other in a circle");
    placed.insert(ready->type);
    ordered.push_back(std::move(*ready));
    found.erase(ready);
  }
  return ordered;
}

const std::vector<ResourceSpec>& all() {
  static const std::vector<ResourceSpec> specs = build();
  return specs;
}

template <typename Match>
const ResourceSpec* find(Match match) {
  for (const ResourceSpec& s : all()) {
    if (match(s)) return &s;
  }
  return nullptr;
}

const pb::FieldDescriptor& existing(const pb::Message& message, std::string_view field) {
  const pb::FieldDescriptor* f = message.GetDescriptor()->FindFieldByName(std::string(field));
  PLEXUS_CHECK(f != nullptr,
               std::string(field) + " is no field of " + message.GetDescriptor()->name());
  return *f;
}

}  // namespace

const ResourceSpec& FieldSpec::target() const {
  const ResourceSpec* spec = find_type(reference);
  PLEXUS_CHECK(spec != nullptr, "the field " + name + " refers to an unknown type");
  return *spec;
}

const FieldSpec* ResourceSpec::field(std::string_view wanted) const {
  for (const FieldSpec& f : fields) {
    if (f.name == wanted) return &f;
  }
  return nullptr;
}

MessagePtr ResourceSpec::new_message() const {
  return MessagePtr(pb::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
}

void DeleteMessage::operator()(pb::Message* message) const {
  delete message;
}

MessagePtr clone(const pb::Message& message) {
  MessagePtr copy(message.New());
  copy->CopyFrom(message);
  return copy;
}

const std::vector<FieldSpec>& fields_of(const pb::Descriptor& type) {
  static std::mutex mutex;
  static std::map<const pb::Descriptor*, std::vector<FieldSpec>>
      known;  // never shrinks: references stay good
  const std::lock_guard lock(mutex);
  const auto [it, is_new] = known.try_emplace(&type);
  if (is_new) {
    for (int i = 0; i < type.field_count(); ++i)
      it->second.push_back(describe_field(*type.field(i)));
  }
  return it->second;
}

std::span<const ResourceSpec> resources() {
  return all();
}

const ResourceSpec* find_collection(std::string_view collection) {
  return find([&](const ResourceSpec& s) { return s.collection == collection; });
}
const ResourceSpec* find_singular(std::string_view singular) {
  return find([&](const ResourceSpec& s) { return s.singular == singular; });
}
const ResourceSpec* find_type(std::string_view type) {
  return find([&](const ResourceSpec& s) { return s.type == type; });
}
const ResourceSpec* resource_of(const pb::Message& message) {
  return find([&](const ResourceSpec& s) { return s.descriptor == message.GetDescriptor(); });
}

const std::vector<std::string>& collection_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const ResourceSpec& s : all()) out.push_back(s.collection);
    return out;
  }();
  return names;
}

std::string get_raw(const pb::Message& message, std::string_view field) {
  const pb::FieldDescriptor* f = message.GetDescriptor()->FindFieldByName(std::string(field));
  if (f == nullptr || f->is_repeated() || f->cpp_type() != pb::FieldDescriptor::CPPTYPE_STRING ||
      !message.GetReflection()->HasField(message, f)) {
    return {};
  }
  return message.GetReflection()->GetString(message, f);
}

std::string get_text(const pb::Message& message, std::string_view field) {
  const pb::FieldDescriptor* f = message.GetDescriptor()->FindFieldByName(std::string(field));
  if (f == nullptr || f->is_repeated() || !message.GetReflection()->HasField(message, f)) return {};
  switch (f->cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_STRING:
      return text_form(kind_of(*f), message.GetReflection()->GetString(message, f));
    case pb::FieldDescriptor::CPPTYPE_UINT32:
      return std::to_string(message.GetReflection()->GetUInt32(message, f));
    case pb::FieldDescriptor::CPPTYPE_BOOL:
      return message.GetReflection()->GetBool(message, f) ? "true" : "false";
    case pb::FieldDescriptor::CPPTYPE_ENUM:
      return lower(message.GetReflection()->GetEnum(message, f)->name());
    default:
      return {};
  }
}

std::vector<std::string> reference_ids(const pb::Message& message, const FieldSpec& field) {
  const pb::Reflection& r = *message.GetReflection();
  if (!field.repeated) {
    if (!r.HasField(message, field.descriptor)) return {};
    return {r.GetString(message, field.descriptor)};
  }
  std::vector<std::string> out;
  for (int i = 0; i < r.FieldSize(message, field.descriptor); ++i)
    out.push_back(r.GetRepeatedString(message, field.descriptor, i));
  return out;
}

void set_raw(pb::Message& message, std::string_view field, std::string value) {
  message.GetReflection()->SetString(&message, &existing(message, field), std::move(value));
}

bool has_field(const pb::Message& message, std::string_view field) {
  const pb::FieldDescriptor& f = existing(message, field);
  return f.is_repeated() ? message.GetReflection()->FieldSize(message, &f) > 0
                         : message.GetReflection()->HasField(message, &f);
}

}  // namespace plexus::codec
