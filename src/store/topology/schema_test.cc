// SPDX-License-Identifier: Apache-2.0
// The rules of the schema, over the descriptors: what is written into stores today must be readable
// for ever, and what a newer schema writes must not be guessed at.
#include "store/topology/schema.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "store/topology/convert.h"
#include "store/topology/layout.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::Message;
using ::testing::HasSubstr;

const std::vector<const FileDescriptor*>& files() {
  static const std::vector<const FileDescriptor*> all = {v1::Reference::descriptor()->file(),
                                                         v1::Bridge::descriptor()->file(),
                                                         v1::Binding::descriptor()->file()};
  return all;
}

TEST(Schema, EveryFieldObeysTheRules) {
  for (const FileDescriptor* file : files()) {
    for (int m = 0; m < file->message_type_count(); ++m) {
      const Descriptor& type = *file->message_type(m);
      const bool resource = type.options().HasExtension(v1::resource);
      EXPECT_EQ(type.nested_type_count(), 0) << type.full_name() << ": no maps";
      for (int f = 0; f < type.field_count(); ++f) {
        const FieldDescriptor& field = *type.field(f);
        SCOPED_TRACE(field.full_name());
        EXPECT_TRUE(field.is_repeated() || field.has_presence()) << "every scalar is optional";
        EXPECT_NE(field.cpp_type(), FieldDescriptor::CPPTYPE_DOUBLE);
        EXPECT_NE(field.cpp_type(), FieldDescriptor::CPPTYPE_FLOAT);
        if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
          EXPECT_THAT(field.enum_type()->FindValueByNumber(0)->name(), HasSubstr("UNSPECIFIED"));
        }
        if (!resource) continue;
        EXPECT_NE(field.cpp_type(), FieldDescriptor::CPPTYPE_INT64) << "JSON has no 64 bits";
        EXPECT_NE(field.cpp_type(), FieldDescriptor::CPPTYPE_UINT64) << "JSON has no 64 bits";
        EXPECT_FALSE(field.is_repeated() && field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)
            << "what has an identity is a resource of its own";
        const auto& options = field.options();
        if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING &&
            !options.GetExtension(v1::secret)) {
          EXPECT_TRUE(options.HasExtension(v1::format)) << "text without a format has no bound";
        }
        if (options.HasExtension(v1::ref)) {
          EXPECT_EQ(options.GetExtension(v1::format), v1::FORMAT_UUID);
          EXPECT_NE(options.GetExtension(v1::ref).on_delete(), v1::ON_DELETE_UNSPECIFIED);
          EXPECT_NE(find_resource_type(options.GetExtension(v1::ref).type()), nullptr);
        }
      }
      if (!resource) continue;
      for (const auto& [name, number] :
           std::map<std::string, int>{{"id", 1}, {"name", 2}, {"min_reader", 4}, {"deleting", 6}}) {
        const FieldDescriptor* field = type.FindFieldByName(name);
        ASSERT_NE(field, nullptr) << type.full_name() << "." << name;
        EXPECT_EQ(field->number(), number) << field->full_name();
      }
      for (const std::string& name : options_of(type).name_scope()) {
        EXPECT_NE(type.FindFieldByName(name), nullptr) << type.full_name() << ": scope " << name;
      }
    }
  }
}

// --- what was released stays ---

std::string line_of(const FieldDescriptor& field) {
  std::string line = field.full_name() + " = " + std::to_string(field.number()) + " " +
                     (field.is_repeated() ? "repeated " : "optional ");
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      line += field.message_type()->full_name();
      break;
    case FieldDescriptor::CPPTYPE_ENUM:
      line += field.enum_type()->full_name();
      break;
    default:
      line += field.type_name();
  }
  const auto& options = field.options();
  if (options.HasExtension(v1::format)) {
    line += " " + v1::Format_Name(options.GetExtension(v1::format));
  }
  if (options.HasExtension(v1::ref)) {
    const auto& reference = options.GetExtension(v1::ref);
    line += " to " + reference.type() + " " + v1::OnDelete_Name(reference.on_delete()) +
            (reference.symmetric() ? " symmetric" : "");
  }
  return line;
}

/// One line for each field and each value of an enum, sorted.
std::set<std::string> schema_lines() {
  std::set<std::string> lines;
  for (const FileDescriptor* file : files()) {
    for (int m = 0; m < file->message_type_count(); ++m) {
      const Descriptor& type = *file->message_type(m);
      for (int f = 0; f < type.field_count(); ++f) lines.insert(line_of(*type.field(f)));
    }
    for (int e = 0; e < file->enum_type_count(); ++e) {
      for (int v = 0; v < file->enum_type(e)->value_count(); ++v) {
        const auto& value = *file->enum_type(e)->value(v);
        lines.insert(file->enum_type(e)->full_name() + "." + value.name() + " = " +
                     std::to_string(value.number()));
      }
    }
  }
  return lines;
}

/// "plexus.v1.Port.mac = 15 ..." was released and is not there any more: is its number kept free?
bool properly_removed(const std::string& line) {
  const std::string name = line.substr(0, line.find(' '));
  const int number = std::atoi(line.c_str() + line.find('=') + 2);
  const size_t dot = name.rfind('.');
  const std::string owner = name.substr(0, dot), last = name.substr(dot + 1);
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  if (const auto* type = pool->FindMessageTypeByName(owner)) {
    return type->FindFieldByName(last) == nullptr && type->IsReservedNumber(number) &&
           type->IsReservedName(last);
  }
  if (const auto* values = pool->FindEnumTypeByName(owner)) {
    return values->FindValueByName(last) == nullptr && values->IsReservedNumber(number) &&
           values->IsReservedName(last);
  }
  return false;
}

std::vector<std::string> incompatible(const std::vector<std::string>& released,
                                      const std::set<std::string>& now) {
  std::vector<std::string> broken;
  for (const std::string& line : released) {
    if (line.empty() || line[0] == '#') continue;
    if (!now.contains(line) && !properly_removed(line)) broken.push_back(line);
  }
  return broken;
}

TEST(Schema, WhatWasReleasedStays) {
  const std::string path = std::string(PLEXUS_SOURCE_DIR) + "/proto/released-schema.txt";
  const auto now = schema_lines();
  if (std::getenv("PLEXUS_UPDATE_SCHEMA") != nullptr) {
    std::ofstream file(path);
    file << "# SPDX-License-Identifier: Apache-2.0\n"
            "# What stores may hold: each field and enum value that was ever released. A line goes "
            "only when\n"
            "# its number and name are reserved. CONTRIBUTING.md says how to add to it.\n";
    for (const std::string& line : now) file << line << "\n";
  }
  std::ifstream file(path);
  ASSERT_TRUE(file.is_open()) << path;
  std::vector<std::string> released;
  for (std::string line; std::getline(file, line);) released.push_back(line);
  EXPECT_GT(released.size(), 100u);
  for (const std::string& line : incompatible(released, now)) {
    ADD_FAILURE() << "released, and now different or gone without being reserved: " << line;
  }
}

TEST(Schema, EachIncompatibleChangeIsNoticed) {
  const auto now = schema_lines();
  for (const char* line : {
           "plexus.v1.Port.mac = 16 optional bytes FORMAT_MAC",   // another number
           "plexus.v1.Port.mac = 15 optional string FORMAT_MAC",  // another type
           "plexus.v1.Port.mac = 15 repeated bytes FORMAT_MAC",   // another label
           "plexus.v1.Port.mac = 15 optional bytes FORMAT_IP",    // another format
           "plexus.v1.Port.colour = 77 optional string",          // gone, not reserved
           "plexus.v1.Gone.id = 1 optional bytes",                // a message gone
           "plexus.v1.Role.ADMIN = 7",                            // an enum value renumbered
           "plexus.v1.Port.host = 13 optional bytes FORMAT_UUID to Host RESTRICT",  // delete rule
       }) {
    EXPECT_EQ(incompatible({line}, now).size(), 1u) << line;
  }
  EXPECT_TRUE(incompatible({"plexus.v1.Port.mac = 15 optional bytes FORMAT_MAC"}, now).empty());
}

// --- what is newer is kept, and not guessed at ---

class NewerSchemaTest : public TopologyTest {
 protected:
  /// A stored resource of each type.
  std::vector<std::unique_ptr<Message>> one_of_each() {
    auto zone = named<v1::TunnelZone>("zone");
    zone.add_prefixes(prefix_raw("10.0.0.0/8"));
    auto token = named<v1::Token>("token");
    token.set_role(v1::ADMIN);
    const auto core = router("core");
    const auto port = create(port_on(core, "port", "10.0.0.1/24"));
    auto named_route = route(core, port, "10.9.0.0/16");
    std::vector<std::unique_ptr<Message>> all;
    all.push_back(std::make_unique<v1::Tenant>(create(named<v1::Tenant>("acme"))));
    all.push_back(std::make_unique<v1::Token>(create(token)));
    all.push_back(std::make_unique<v1::TunnelZone>(create(zone)));
    all.push_back(std::make_unique<v1::Host>(host("h1")));
    all.push_back(std::make_unique<v1::Bridge>(bridge("blue")));
    all.push_back(std::make_unique<v1::Router>(core));
    all.push_back(std::make_unique<v1::Port>(port));
    all.push_back(std::make_unique<v1::Route>(create(named_route)));
    const auto addresses = create(named<v1::AddressGroup>("addresses"));
    const auto chain = create(named<v1::Chain>("chain"));
    const auto group = create(named<v1::SecurityGroup>("group"));
    v1::Rule rule;
    rule.set_chain(chain.id());
    rule.set_position(1);
    rule.set_action(v1::Rule::ACCEPT);
    rule.set_source_group(addresses.id());
    v1::SecurityRule allowed;
    allowed.set_security_group(group.id());
    allowed.set_direction(v1::SecurityRule::EGRESS);
    all.push_back(std::make_unique<v1::AddressGroup>(addresses));
    all.push_back(std::make_unique<v1::PortGroup>(create(named<v1::PortGroup>("ports"))));
    all.push_back(std::make_unique<v1::Chain>(chain));
    all.push_back(std::make_unique<v1::Rule>(create(rule)));
    all.push_back(std::make_unique<v1::SecurityGroup>(group));
    all.push_back(std::make_unique<v1::SecurityRule>(create(allowed)));
    add_services(core, all);
    EXPECT_EQ(all.size(), resource_types().size()) << "a new type wants a line here";
    return all;
  }
  void add_services(const v1::Router& core, std::vector<std::unique_ptr<Message>>& all) {
    const auto keep = [&](const auto& wanted) {
      auto made = create(wanted);
      all.push_back(std::make_unique<decltype(made)>(made));
      return made;
    };
    const auto home = bridge("home");
    keep(made<v1::FloatingIp>("f", [&](auto& f) {
      f.set_router(core.id());
      f.set_address(ip_raw("192.0.2.1"));
    }));
    keep(made<v1::SnatPool>("s", [&](auto& s) {
      s.set_router(core.id());
      s.add_addresses(ip_raw("192.0.2.2"));
    }));
    const auto balancer =
        keep(made<v1::LoadBalancer>("l", [&](auto& l) { l.set_router(core.id()); }));
    const auto pool =
        keep(made<v1::Pool>("p", [&](auto& p) { p.set_load_balancer(balancer.id()); }));
    keep(made<v1::PoolMember>("m", [&](auto& m) {
      m.set_pool(pool.id());
      m.set_address(ip_raw("10.0.0.7"));
    }));
    keep(made<v1::Vip>("v", [&](auto& v) {
      v.set_load_balancer(balancer.id());
      v.set_pool(pool.id());
      v.set_address(ip_raw("192.0.2.3"));
      v.set_protocol("\x06");
      v.set_port(80);
    }));
    keep(made<v1::DhcpSubnet>("d", [&](auto& d) {
      d.set_bridge(home.id());
      d.set_network(prefix_raw("10.0.0.0/24"));
    }));
    keep(made<v1::Mirror>("w", [&](auto& w) {
      w.set_router(core.id());
      w.set_which(v1::Mirror::IN);
      w.set_to_port(create(port_on(home, "probe")).id());
    }));
    keep(made<v1::TraceRequest>("t", [&](auto& t) { t.set_router(core.id()); }));
  }
  void overwrite(const Message& with) {
    const std::string path = object_path(options_of(*with.GetDescriptor()).singular(), id_of(with));
    auto record = store_->get(path);
    ASSERT_TRUE(record.ok() && *record);
    ASSERT_TRUE(store_->transact({Set{path, with.SerializeAsString(), (*record)->version}}).ok());
  }
};

TEST_F(NewerSchemaTest, OfEveryTypeUnknownFieldsAreKeptAndNewerRecordsLeftAlone) {
  for (const auto& resource : one_of_each()) {
    const auto& type = *resource->GetDescriptor();
    SCOPED_TRACE(type.full_name());
    EXPECT_TRUE(fully_known(*resource));
    resource->GetReflection()->MutableUnknownFields(resource.get())->AddVarint(999, 42);
    EXPECT_FALSE(fully_known(*resource));
    overwrite(*resource);
    auto changed = writer_->modify(type, id_of(*resource), [](Message& message) -> Result<void> {
      // As a client that never saw the field sends it.
      message.GetReflection()->MutableUnknownFields(&message)->Clear();
      return Ok{};
    });
    ASSERT_TRUE(changed.ok()) << changed.error().message;
    EXPECT_EQ(changed->message->SerializeAsString(), resource->SerializeAsString());

    std::unique_ptr<Message> newer(resource->New());
    newer->CopyFrom(*resource);
    newer->GetReflection()->SetUInt32(newer.get(), type.FindFieldByName("min_reader"),
                                      kSchemaLevel + 1);
    EXPECT_FALSE(fully_known(*newer));
    overwrite(*newer);
    const auto refused =
        writer_->modify(type, id_of(*resource), [](Message&) -> Result<void> { return Ok{}; });
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
    const auto kept = writer_->remove(type, id_of(*resource));
    ASSERT_FALSE(kept.ok());
    EXPECT_THAT(kept.error().message, HasSubstr("use a newer one"));
    EXPECT_EQ(writer_->get(type, id_of(*resource))->message->SerializeAsString(),
              newer->SerializeAsString());
    overwrite(*resource);  // the next type may lean on this one
  }
}

/// Whether the model of a record of one of these types is unreadable; nullopt: it is of another.
template <typename... Records>
std::optional<bool> unreadable_as(const Message& resource) {
  std::optional<bool> found;
  const auto look = [&]<typename Record>(const Record* record) {
    if (record != nullptr) found = to_model(*record).unreadable;
  };
  (look(dynamic_cast<const Records*>(&resource)), ...);
  return found;
}

TEST_F(NewerSchemaTest, DecidingRecordsFailClosed) {
  size_t deciding = 0;
  for (const auto& resource : one_of_each()) {
    resource->GetReflection()->MutableUnknownFields(resource.get())->AddVarint(999, 42);
    const auto is_unreadable =
        unreadable_as<v1::Bridge, v1::Router, v1::Port, v1::Route, v1::AddressGroup, v1::PortGroup,
                      v1::Chain, v1::Rule, v1::SecurityGroup, v1::SecurityRule, v1::FloatingIp,
                      v1::SnatPool, v1::LoadBalancer, v1::Pool, v1::PoolMember, v1::Vip,
                      v1::DhcpSubnet, v1::Mirror>(*resource);
    if (is_unreadable) ++deciding;  // the others decide about no packet by themselves
    EXPECT_TRUE(is_unreadable.value_or(true)) << resource->GetDescriptor()->full_name();
  }
  EXPECT_EQ(deciding, 18u);
}

}  // namespace
}  // namespace plexus::store
