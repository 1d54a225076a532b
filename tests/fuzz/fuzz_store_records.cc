// SPDX-License-Identifier: Apache-2.0
// Any bytes as what a store or a disk may hand back: a record of each kind becomes a value of the model or is refused as
// unreadable; a disk snapshot and a dump are refused with a reason, or read and written again to the same.
#include <google/protobuf/stubs/logging.h>

#include "fuzz.h"
#include "plexus/v1/resources.pb.h"
#include "store/topology/closure_file.h"
#include "store/topology/convert.h"
#include "store/topology/dump.h"

namespace plexus::store {
namespace {

const HostId kSelf{Uuid::derived("Host", "h1")};

template <typename Record>
uint64_t read_record(std::string_view bytes) {
  Record record;
  if (!record.ParseFromString(std::string(bytes))) return 0;
  const auto value = to_model(record);
  const bool known = fully_known(record);
  if constexpr (requires { value.unreadable; }) {
    // Fails closed: what is not known in full never passes for readable.
    FUZZ_CHECK(known || value.unreadable, record.ShortDebugString());
    return known ? (value.unreadable ? 2 : 3) : 1;
  } else {
    return known ? 3 : 1;
  }
}

uint64_t read_closure(std::string_view bytes) {
  const auto file = parse_closure_file(bytes, kSelf);
  if (!file) {
    FUZZ_CHECK(!file.error().message.empty(), "no reason");
    return std::hash<std::string>{}(file.error().message.substr(0, 24)) % 1021;
  }
  ClosureFileWriter writer(file->host, file->life, file->revision, file->taken_ms);
  for (const ClosureRecord& record : file->records)
    writer.add(record.key, record.value ? &*record.value : nullptr, record.version);
  FUZZ_CHECK(writer.finish() == bytes, "a disk snapshot that is written differently");
  return 2000 + std::min<size_t>(file->records.size(), 32);
}

uint64_t read_dump(std::string_view bytes) {
  const auto dump = parse_dump(bytes);
  if (!dump) {
    FUZZ_CHECK(!dump.error().message.empty(), "no reason");
    return std::hash<std::string>{}(dump.error().message.substr(0, 24)) % 1021;
  }
  const auto again = parse_dump(dump_text(*dump));
  FUZZ_CHECK(again.ok() && again->records == dump->records && again->revision == dump->revision,
             dump_text(*dump));
  return 2000 + std::min<size_t>(dump->records.size(), 32);
}

uint64_t run(std::span<const uint8_t> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  uint64_t reached = 0;
  for (const uint64_t kind :
       {read_record<v1::Bridge>(text), read_record<v1::Router>(text), read_record<v1::Port>(text),
        read_record<v1::Route>(text), read_record<v1::Binding>(text),
        read_record<v1::AddressGroup>(text), read_record<v1::Chain>(text),
        read_record<v1::Rule>(text), read_record<v1::SecurityRule>(text),
        read_record<v1::FloatingIp>(text), read_record<v1::SnatPool>(text),
        read_record<v1::Vip>(text), read_record<v1::PoolMember>(text),
        read_record<v1::DhcpSubnet>(text), read_record<v1::Mirror>(text)})
    reached = reached << 2 | kind;
  if (v1::RefBucket bucket; bucket.ParseFromString(std::string(text)))
    reached = reached << 4 | std::min<size_t>(to_members(bucket).size(), 15);
  if (v1::HostState state; state.ParseFromString(std::string(text)))
    reached = reached << 4 | std::min<size_t>(to_model(state, "h").tunnel_addresses.size(), 15);
  if (v1::NeighbourTable table; table.ParseFromString(std::string(text)))
    reached = reached << 4 | std::min<size_t>(to_model(PortId{}, table).size(), 15);
  return reached ^ read_closure(text) << 24 ^ read_dump(text) << 40;
}

void add(fuzz::Subject& subject, std::string_view bytes) {
  subject.seeds.push_back(fuzz::bytes_of(bytes));
}

}  // namespace
}  // namespace plexus::store

int main(int argc, char** argv) {
  using namespace plexus;
  google::protobuf::SetLogHandler(nullptr);  // of strings that are no UTF-8
  fuzz::Subject subject{.seeds = {}, .words = {}, .run = store::run};
  const std::string id(16, '\x01'), mac("\x02\0\0\0\0\x01", 6), v4("\x0a\0\0\x01", 4);
  v1::Bridge bridge;
  bridge.set_id(id);
  bridge.set_name("blue");
  v1::Router router;
  router.set_id(id);
  router.set_name("core");
  router.set_min_reader(1);
  v1::Port port;
  port.set_id(id);
  port.set_name("vm1");
  port.set_bridge(id);
  port.set_mac(mac);
  port.add_addresses(v4);
  port.set_host(id);
  port.set_interface("tap1");
  v1::Route route;
  route.set_id(id);
  route.set_router(id);
  route.set_destination(v4 + "\x18");
  route.set_port(id);
  route.set_next_hop(v4);
  port.add_security_groups(id);
  port.add_port_groups(id);
  port.add_allowed_pairs(v4 + "\x20" + mac);
  v1::AddressGroup group;
  group.set_id(id);
  group.add_prefixes(v4 + "\x20");
  v1::Rule rule;
  rule.set_id(id);
  rule.set_chain(id);
  rule.set_position(10);
  rule.set_action(v1::Rule::JUMP);
  rule.set_jump_chain(id);
  rule.set_src_mac(mac + std::string(6, '\xff'));
  rule.set_source(v4 + "\x20");
  rule.set_protocol("\x06");
  rule.add_destination_ports(std::string("\0\x16\0\x50", 4));
  rule.set_tcp_flags("\x02\x12");
  rule.set_fragment(v1::Rule::WITH_HEADER);
  rule.add_inverted(v1::Rule::SOURCE);
  v1::SecurityRule allowed;
  allowed.set_id(id);
  allowed.set_security_group(id);
  allowed.set_direction(v1::SecurityRule::INGRESS);
  allowed.set_protocol("\x06");
  allowed.set_ports(std::string("\0\x16\0\x16", 4));
  allowed.set_remote_group(id);
  v1::DhcpSubnet subnet;
  subnet.set_id(id);
  subnet.set_bridge(id);
  subnet.set_network(v4.substr(0, 3) + std::string("\0\x18", 2));
  subnet.set_gateway(v4);
  subnet.add_routes(v4 + "\x20" + v4);
  subnet.add_options(std::string("\0\x42x", 3));
  subnet.set_domain("a.b");
  v1::Vip vip;
  vip.set_id(id);
  vip.set_load_balancer(id);
  vip.set_address(v4);
  vip.set_protocol("\x06");
  vip.set_port(80);
  vip.set_pool(id);
  vip.set_persistence(v1::Vip::SOURCE_ADDRESS);
  v1::Rule translating;
  translating.set_id(id);
  translating.set_chain(id);
  translating.set_action(v1::Rule::DNAT);
  translating.set_to_addresses(v4 + "\x20");
  translating.set_to_ports(std::string("\0\x16\0\x16", 4));
  translating.add_connection(v1::Rule::RELATED);
  translating.set_inner_source(v4 + "\x20");
  v1::RefBucket bucket;
  bucket.add_entries()->set_id(id);
  bucket.mutable_entries(0)->add_addresses(v4);
  for (const google::protobuf::Message* message :
       std::initializer_list<const google::protobuf::Message*>{&bridge, &router, &port, &route,
                                                               &group, &rule, &allowed, &bucket,
                                                               &subnet, &vip, &translating})
    store::add(subject, message->SerializeAsString());
  store::ClosureFileWriter writer(store::kSelf, Uuid{}, store::Revision{7}, 1'700'000'000'000);
  const std::string value = bridge.SerializeAsString();
  writer.add({}, &value, 3);
  writer.add({}, nullptr, 0);
  store::add(subject, writer.finish());
  store::Dump dump;
  dump.gen = "11111111-1111-4111-8111-111111111111";
  dump.revision = 7;
  dump.time = "2026-11-25T20:00:00Z";
  dump.records = {{"/p1/a", value}, {"/p1/b", ""}};
  store::add(subject, store::dump_text(dump));
  subject.words = {"plexsnap",
                   "plexus-store-dump 1\n",
                   "gen ",
                   "revision ",
                   "time ",
                   "secrets ",
                   "yes\n",
                   "no\n",
                   "count ",
                   "end ",
                   "/p1/",
                   "\n",
                   "AAAA",
                   "=",
                   id,
                   std::string("\xff\xff\xff\xff\x0f", 5),
                   std::string("\0\0\0\0", 4)};
  return fuzz::fuzz_main(argc, argv, subject);
}
