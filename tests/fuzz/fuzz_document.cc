// SPDX-License-Identifier: Apache-2.0
// Any text as a YAML or JSON document and as a cloud file: refused with a line, or read; what was read is written and
// read again to the same.
#include "codec/cloud_file.h"
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

uint64_t run(std::span<const uint8_t> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  Problems json_problems, yaml_problems, cloud_problems;
  const Node json = parse_json(text, json_problems);
  if (json_problems.empty()) check_json(json);
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
         shape(yaml, 3) % 4096 ^ uint64_t { objects.size() } << 24;
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
       R"({"bridges": [{"name": "a", "x": null, "n": -1.5e3, "t": true, "s": "\u00e9\n\\"}], "list": [[], {}]})"})
    subject.seeds.push_back(fuzz::bytes_of(text));
  subject.words = {"\n  - ", ": ",   "{",     "}",       "[",       "]",      "\"",    "'",
                   "\n",     "  ",   "#",     "&a",      "*a",      "!!str ", "|\n",   ">-\n",
                   "null",   "true", "~",     "\\u0000", "\\ud800", "---\n",  "...\n", "? ",
                   "<<: ",   "0x10", "1e999", "\xff",    "\xc3\xa9"};
  return fuzz::fuzz_main(argc, argv, subject);
}
