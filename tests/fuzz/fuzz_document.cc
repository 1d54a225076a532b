// SPDX-License-Identifier: Apache-2.0
// Any text as a YAML or JSON document, as a cloud file, as a batch and as a merge patch: refused with a line, or read;
// what was read is written and read again to the same; what a patch does not speak of stays, unknown fields too.
#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>

#include "codec/batch_document.h"
#include "codec/cloud_file.h"
#include "codec/decode.h"
#include "codec/encode.h"
#include "codec/json.h"
#include "codec/yaml.h"
#include "fuzz.h"

namespace plexus::codec {
namespace {

std::string all(const Problems& problems) {
  return problems.empty() ? std::string("no problem") : to_error(problems).message;
}

// JSON is the canonical form to compare by.
void check_json(const Node& node) {
  const std::string text = write_json(node);
  Problems problems;
  const Node again = parse_json(text, problems);
  FUZZ_CHECK(problems.empty(), text + "\n" + all(problems));
  FUZZ_CHECK(write_json(again) == text, text + "\n" + write_json(again));
}

void check_yaml(const Node& node) {
  const std::string text = write_yaml(node);
  Problems problems;
  const Node again = parse_yaml(text, problems);
  FUZZ_CHECK(problems.empty(), text + "\n" + all(problems));
  FUZZ_CHECK(write_yaml(again) == text, text + "\n---\n" + write_yaml(again));
}

uint64_t shape(const Node& node, unsigned depth) {
  uint64_t sum = static_cast<uint64_t>(node.kind) + 1;
  if (depth == 0) return sum;
  for (const Node& item : node.items) sum = sum * 31 + shape(item, depth - 1);
  for (const Member& member : node.members) sum = sum * 37 + shape(member.value, depth - 1);
  return sum;
}

/// A stored object of the type, as a newer schema might have written it.
MessagePtr stored_object(const ResourceSpec& type) {
  MessagePtr message = type.new_message();
  set_raw(*message, "name", "stored");
  auto* unknown = message->GetReflection()->MutableUnknownFields(message.get());
  unknown->AddVarint(9001, 7);
  unknown->AddLengthDelimited(9002, "from the future");
  return message;
}

void check_patch(const Node& patch, const ResourceSpec& type, Merge merge) {
  const MessagePtr before = stored_object(type);
  MessagePtr now = clone(*before);
  DecodeOptions options;
  options.merge = merge;
  const Problems problems = decode(patch, options, *now);
  FUZZ_CHECK(problems.size() <= kMaxProblems, all(problems));
  if (!problems.empty()) return;
  (void)validate(*now);
  std::string kept[2];
  const google::protobuf::Message* sides[] = {before.get(), now.get()};
  for (int i = 0; i < 2; ++i)
    sides[i]->GetReflection()->GetUnknownFields(*sides[i]).SerializeToString(&kept[i]);
  FUZZ_CHECK(kept[0] == kept[1], "unknown fields are lost: " + write_json(patch));
  if (merge == Merge::patch) {
    for (const FieldSpec& field : type.fields) {
      if (patch.find(field.name) == nullptr) {
        FUZZ_CHECK(get_raw(*now, field.name) == get_raw(*before, field.name), field.name);
      }
    }
  }
  // What an answer says can be sent back, and then nothing changes.
  const MessagePtr again = clone(*now);
  DecodeOptions back;
  back.merge = Merge::patch;
  const Problems refused = decode(encode(*now), back, *again);
  FUZZ_CHECK(refused.empty(), write_json(encode(*now)) + "\n" + all(refused));
  FUZZ_CHECK(again->SerializeAsString() == now->SerializeAsString(), write_json(patch));
}

uint64_t check_batch(const Node& node) {
  Problems problems;
  const BatchDocument batch = parse_batch(node, 500, problems);
  FUZZ_CHECK(!problems.empty() || !batch.failed, "an operation to blame without a problem");
  if (!problems.empty()) return 1 + problems.front().what.size() % 31;
  for (const BatchOperation& operation : batch.operations) {
    FUZZ_CHECK(operation.resource != nullptr, operation.path);
    FUZZ_CHECK((operation.verb == BatchOperation::Verb::create) == operation.id.is_nil() ||
                   operation.id.is_nil(),
               operation.path);
    if (operation.verb == BatchOperation::Verb::update)
      check_patch(operation.body, *operation.resource, Merge::patch);
  }
  return 100 + batch.operations.size();
}

uint64_t run(std::span<const uint8_t> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  Problems json_problems, yaml_problems, cloud_problems;
  const Node json = parse_json(text, json_problems);
  uint64_t batch = 0;
  if (json_problems.empty()) {
    check_json(json);
    batch = check_batch(json);
    for (const ResourceSpec& type : resources()) {
      check_patch(json, type, Merge::patch);
      check_patch(json, type, Merge::put);
    }
  }
  const Node yaml = parse_yaml(text, yaml_problems);
  if (yaml_problems.empty()) {
    check_json(yaml);
    check_yaml(yaml);
  }
  const std::vector<CloudObject> objects = parse_cloud_file(text, cloud_problems);
  FUZZ_CHECK(cloud_problems.size() <= kMaxProblems, all(cloud_problems));
  for (const CloudObject& object : objects) {
    FUZZ_CHECK(object.resource != nullptr && object.message != nullptr, object.path);
    (void)validate(*object.message);
  }
  const auto first = [](const Problems& problems) {
    return problems.empty() ? uint64_t{0}
                            : std::hash<std::string>{}(problems.front().what.substr(0, 12)) % 251;
  };
  return first(json_problems) << 48 ^ first(yaml_problems) << 40 ^ first(cloud_problems) << 32 ^
         shape(yaml, 3) % 4096 ^ uint64_t { objects.size() } << 24 ^ batch << 56;
}

}  // namespace
}  // namespace plexus::codec

int main(int argc, char** argv) {
  using namespace plexus;
  fuzz::Subject subject{.seeds = {}, .words = {}, .run = codec::run};
  for (
      const std::string_view text :
      {"bridges:\n  - name: blue\nrouters:\n  - {name: core}\nports:\n  - name: core-blue\n    "
       "router: core\n"
       "    mac: 02:00:00:00:01:01\n    networks: [10.1.1.1/24, \"fd00:1::1/64\"]\n    peer: "
       "blue-core\n"
       "  - name: blue-core\n    bridge: blue\n"
       "  - {name: vm1, bridge: blue, host: h1, interface: tap1, mac: 02:00:00:00:01:11, "
       "addresses: [10.1.1.11]}\n"
       "routes:\n  - {router: core, prefix: 0.0.0.0/0, port: core-blue, gateway: 10.1.1.254}\n",
       R"({"bridges": [{"name": "a", "x": null, "n": -1.5e3, "t": true, "s": "\u00e9\n\\"}], "list": [[], {}]})",
       R"({"operations": [{"op": "create", "collection": "bridges", "body": {"name": "a"}},
  {"op": "update", "collection": "ports", "id": "11111111-1111-4111-8111-111111111111", "body": {"mac": "02:00:00:00:00:01", "addresses": ["10.0.0.1"], "peer": null}, "if_match": "\"3\""},
  {"op": "delete", "collection": "routes", "id": "11111111-1111-4111-8111-111111111111"}]})",
       "security-groups:\n  - name: web\nports:\n  - {name: vm1, bridge: blue, security_groups: "
       "[web], "
       "port_security: true, allowed_pairs: [10.0.0.0/24, \"10.0.0.5/32@02:00:00:00:00:01\"]}\n"
       "rules:\n  - {chain: c, position: 1, action: drop, protocol: tcp, destination_ports: [22, "
       "8000-8080], tcp_flags: +syn-ack, src_mac: 02:00:00:00:00:00/ff:00:00:00:00:00, ethertype: "
       "ipv4, inverted: [tcp_flags]}\n",
       R"({"chain": "11111111-1111-4111-8111-111111111111", "position": 1, "action": "drop", "protocol": 6, "source_ports": [80, "1-2"], "ethertype": "0x88cc", "tcp_flags": "+syn-ack", "src_mac": "02:00:00:00:00:00/8", "inverted": ["protocol"], "allowed_pairs": ["fd00::5@02:00:00:00:00:01"]})",
       "dhcp-subnets:\n  - {name: d, bridge: b, network: 10.0.0.0/24, domain: example.net, routes: "
       "[10.1.0.0/16 via 10.0.0.9], options: ['66 = \"a\\\"b\"', 42 = 0a000001]}\n"
       "rules:\n  - {chain: c, position: 1, action: dnat, protocol: tcp, to_addresses: "
       "10.0.0.1/32, to_ports: 80, connection: [new, related], inverted: [connection]}\n",
       R"({"name": "b", "admin_up": false, "metric": 7, "kind": "blackhole", "destination": "10.0.0.0/8", "role": "admin"})"})
    subject.seeds.push_back(fuzz::bytes_of(text));
  subject.words = {"\n  - ", ": ",   "{",     "}",       "[",       "]",      "\"",    "'",
                   "\n",     "  ",   "#",     "&a",      "*a",      "!!str ", "|\n",   ">-\n",
                   "null",   "true", "~",     "\\u0000", "\\ud800", "---\n",  "...\n", "? ",
                   "<<: ",   "0x10", "1e999", "\xff",    "\xc3\xa9"};
  return fuzz::fuzz_main(argc, argv, subject);
}
