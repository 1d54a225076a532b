// SPDX-License-Identifier: Apache-2.0
#include "store/topology/validate.h"

#include <google/protobuf/util/message_differencer.h>

#include <set>

#include "packet/addr.h"
#include "store/topology/match_values.h"
#include "store/topology/schema.h"

namespace plexus::store {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

Error field_error(const Message& resource, std::string_view field, std::string_view why) {
  return {ErrorCode::invalid,
          describe(resource) + ": " + std::string(field) + ": " + std::string(why)};
}

namespace {

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

std::string format_error(v1::Format format, const std::string& value) {
  switch (format) {
    case v1::FORMAT_UUID: {
      const auto id = Uuid::from_bytes(value);
      return id && !id->is_nil() ? "" : "want a UUID";
    }
    case v1::FORMAT_MAC:
      return MacAddr::from_bytes(value) ? "" : "want a MAC address";
    case v1::FORMAT_IP:
      return IpAddr::from_bytes(value) ? "" : "want an IPv4 or IPv6 address";
    case v1::FORMAT_PREFIX: {
      const auto prefix = IpPrefix::from_bytes(value);
      if (!prefix) return "want a prefix like 10.0.1.0/24";
      if (*prefix != prefix->network()) {
        return prefix->str() + " has bits set after its length; meant is " +
               prefix->network().str();
      }
      return "";
    }
    case v1::FORMAT_INTERFACE_ADDRESS:
      return IpPrefix::from_bytes(value) ? "" : "want an address with its length, like 10.0.1.1/24";
    case v1::FORMAT_NAME: {
      if (value.empty() || value.size() > 63 || !is_name_start(value.front())) {
        return "want 1 to 63 characters, the first a letter or a digit";
      }
      for (const char c : value) {
        if (!is_name_start(c) && c != '.' && c != '_' && c != '-') {
          return "only a-z A-Z 0-9 . _ - are allowed";
        }
      }
      return "";
    }
    case v1::FORMAT_INTERFACE: {
      if (value.empty() || value.size() > 15 || value == "." || value == "..") {
        return "want an interface name of 1 to 15 characters";
      }
      for (const char c : value) {
        if (c <= ' ' || c > '~' || c == '/' || c == ':') return "no spaces, '/' or ':' are allowed";
      }
      if (value.starts_with("plexus-")) return "names that begin with plexus- are the agent's own";
      return "";
    }
    case v1::FORMAT_IP_PROTOCOL:
      return value.size() == 1 ? "" : "want one byte: the number of an IP protocol";
    case v1::FORMAT_ETHERTYPE:
      return ethertype_of(value) ? "" : "want an ethertype from 0x0600 on";
    case v1::FORMAT_PORT_RANGE:
      return port_range_of(value) ? "" : "want a range of ports, the first not above the last";
    case v1::FORMAT_MASKED_MAC:
      return masked_mac_of(value) ? "" : "want a MAC address and its mask, no bit outside the mask";
    case v1::FORMAT_TCP_FLAGS:
      return tcp_flags_of(value) ? "" : "want the flags that are set among those looked at";
    case v1::FORMAT_ADDRESS_PAIR:
      return address_pair_of(value) ? "" : "want a network, and perhaps a MAC address";
    case v1::FORMAT_VIA:
      return via_of(value) ? "" : "want a network without host bits and a next hop of its family";
    case v1::FORMAT_DHCP_OPTION:
      return dhcp_option_of(value) ? "" : "want a code from 1 on and a value of at most 255 bytes";
    case v1::FORMAT_DOMAIN:
      return domain_of(value) ? "" : "want a domain name in small letters, like example.net";
    default:
      return "";
  }
}

namespace {

Result<void> check_value(const Message& m, const FieldDescriptor& field, int index) {
  const Reflection& r = *m.GetReflection();
  const bool many = field.is_repeated();
  const auto& options = field.options();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING: {
      const std::string value =
          many ? r.GetRepeatedString(m, &field, index) : r.GetString(m, &field);
      const std::string why = format_error(options.GetExtension(v1::format), value);
      if (!why.empty()) return field_error(m, field.name(), why);
      return Ok{};
    }
    case FieldDescriptor::CPPTYPE_UINT32: {
      if (!options.HasExtension(v1::range)) return Ok{};
      const v1::Range& range = options.GetExtension(v1::range);
      const uint32_t value = many ? r.GetRepeatedUInt32(m, &field, index) : r.GetUInt32(m, &field);
      if ((range.has_min() && value < range.min()) || (range.has_max() && value > range.max())) {
        return field_error(m, field.name(),
                           std::to_string(value) + " is not within " + std::to_string(range.min()) +
                               " to " + std::to_string(range.max()));
      }
      return Ok{};
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      const int value = many ? r.GetRepeatedEnumValue(m, &field, index) : r.GetEnumValue(m, &field);
      if (value == 0 || field.enum_type()->FindValueByNumber(value) == nullptr) {
        return field_error(m, field.name(), std::to_string(value) + " is no known value");
      }
      return Ok{};
    }
    default:
      return Ok{};
  }
}

int max_entries_of(const FieldDescriptor& field) {
  constexpr int kUnlessSaid = 256;
  const auto& options = field.options();
  return options.HasExtension(v1::max_entries)
             ? static_cast<int>(options.GetExtension(v1::max_entries))
             : kUnlessSaid;
}

/// Tells the entries of a list apart.
std::string entry_text(const Message& m, const FieldDescriptor& field, int index) {
  const Reflection& r = *m.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return r.GetRepeatedString(m, &field, index);
    case FieldDescriptor::CPPTYPE_ENUM:
      return std::to_string(r.GetRepeatedEnumValue(m, &field, index));
    default:
      return std::to_string(index);
  }
}

Result<void> check_field(const Message& m, const FieldDescriptor& field) {
  const Reflection& r = *m.GetReflection();
  if (!field.is_repeated()) {
    if (r.HasField(m, &field)) return check_value(m, field, 0);
    if (field.options().GetExtension(v1::required)) {
      return field_error(m, field.name(), "is required");
    }
    return Ok{};
  }
  const int size = r.FieldSize(m, &field);
  if (size == 0 && field.options().GetExtension(v1::required)) {
    return field_error(m, field.name(), "is required");
  }
  const int most = max_entries_of(field);
  if (size > most) {
    return field_error(m, field.name(),
                       std::to_string(size) + " entries; at most " + std::to_string(most));
  }
  std::set<std::string> seen;
  for (int i = 0; i < size; ++i) {
    if (auto ok = check_value(m, field, i); !ok.ok()) return ok;
    if (!seen.insert(entry_text(m, field, i)).second) {
      return field_error(m, field.name(), "the same value is there twice");
    }
  }
  return Ok{};
}

Result<void> check_exclusive(const Message& m) {
  for (const v1::ExclusiveFields& group : options_of(*m.GetDescriptor()).exclusive()) {
    std::string all, set;
    int count = 0;
    for (const std::string& name : group.fields()) {
      all += (all.empty() ? "" : ", ") + name;
      const FieldDescriptor* field = m.GetDescriptor()->FindFieldByName(name);
      if (m.GetReflection()->HasField(m, field)) {
        set += (set.empty() ? "" : " and ") + name;
        ++count;
      }
    }
    if (count > 1) return field_error(m, set, "exclude each other: keep one of them");
    if (count == 0 && group.required()) return field_error(m, all, "one of them is required");
  }
  return Ok{};
}

bool same_value(const Message& a, const Message& b, const FieldDescriptor& field) {
  google::protobuf::util::MessageDifferencer differencer;
  return differencer.CompareWithFields(a, b, {&field}, {&field});
}

}  // namespace

Result<void> validate_resource(const Message& resource) {
  const auto& type = *resource.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    if (auto ok = check_field(resource, *type.field(i)); !ok.ok()) return ok;
  }
  if (auto ok = check_exclusive(resource); !ok.ok()) return ok;
  constexpr uint32_t kUnlessSaid = 64 * 1024;
  const auto& options = options_of(type);
  const uint32_t most = options.has_max_bytes() ? options.max_bytes() : kUnlessSaid;
  if (resource.ByteSizeLong() > most) {
    return Error{ErrorCode::invalid,
                 describe(resource) + " is too large: at most " + std::to_string(most) + " bytes"};
  }
  return Ok{};
}

Result<void> merge_onto_stored(const Message& stored, Message& wanted) {
  const Reflection& r = *stored.GetReflection();
  const auto& type = *stored.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const bool immutable = field.options().GetExtension(v1::immutable);
    const bool system = field.options().GetExtension(v1::output_only);
    if ((!immutable && !system) || field.is_repeated()) continue;
    if (!r.HasField(wanted, &field)) {
      if (!r.HasField(stored, &field)) continue;
      // Copies one field: swap it out of a copy of the stored message.
      std::unique_ptr<Message> copy(stored.New());
      copy->CopyFrom(stored);
      r.SwapFields(copy.get(), &wanted, {&field});
      continue;
    }
    if (!r.HasField(stored, &field) || !same_value(stored, wanted, field)) {
      return field_error(stored, field.name(),
                         immutable ? "cannot be changed; remove the " +
                                         options_of(type).singular() + " and create it again"
                                   : "is set by the system; leave it out");
    }
  }
  r.MutableUnknownFields(&wanted)->Clear();
  r.MutableUnknownFields(&wanted)->MergeFrom(r.GetUnknownFields(stored));
  return Ok{};
}

Result<void> check_writable(const Message& stored) {
  const uint32_t level = min_reader_of(stored);
  if (level <= kSchemaLevel) return Ok{};
  return Error{ErrorCode::unsupported, describe(stored) + " was written with schema level " +
                                           std::to_string(level) + "; this program knows " +
                                           std::to_string(kSchemaLevel) +
                                           " and must not change it: use a newer one"};
}

}  // namespace plexus::store
