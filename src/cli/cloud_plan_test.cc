// SPDX-License-Identifier: Apache-2.0
#include "cli/cloud_plan.h"

#include <google/protobuf/message.h>
#include <gtest/gtest.h>

#include "cli/plan_text.h"
#include "codec/decode.h"
#include "codec/json.h"

namespace plexus::cli {
namespace {

/// Acts as a server that does what the steps say.
class Cloud {
 public:
  std::vector<PlanStep> apply(std::string_view text) {
    codec::Problems problems;
    auto steps = plan(text, problems);
    EXPECT_TRUE(problems.empty()) << problems[0].str();
    for (const PlanStep& step : steps) carry_out(step);
    return steps;
  }

  std::vector<PlanStep> plan(std::string_view text, codec::Problems& problems) {
    auto objects = codec::parse_cloud_file(text, problems);
    if (!problems.empty()) return {};
    return plan_apply(objects, existing(), problems);
  }

  /// What --prune removes for a file that was applied already: "first | last".
  std::string pruned(std::string_view text, size_t* in_scope = nullptr,
                     const std::string& own_tenant = {}) {
    codec::Problems problems;
    auto objects = codec::parse_cloud_file(text, problems);
    const auto steps = plan_apply(objects, existing(), problems);
    EXPECT_TRUE(problems.empty()) << problems[0].str();
    const Pruning p = plan_prune(objects, mentioned_types(text), steps, existing(), own_tenant);
    if (in_scope != nullptr) *in_scope = p.in_scope;
    std::string out;
    for (const PlanStep& s : p.first) out += s.label + ", ";
    out += "|";
    for (const PlanStep& s : p.last) out += " " + s.label + ",";
    return out;
  }

  /// What a tenant's token does not see.
  void hide(const std::string& name) {
    std::erase_if(objects_,
                  [&](const auto& o) { return codec::get_text(*o.second, "name") == name; });
  }

  std::vector<PlanStep> plan_removal(std::string_view text) {
    codec::Problems problems;
    auto objects = codec::parse_cloud_file(text, problems);
    auto steps = plan_delete(objects, existing(), problems);
    EXPECT_TRUE(problems.empty()) << problems[0].str();
    return steps;
  }

  Existing existing() const {
    Existing out;
    for (const auto& [id, m] : objects_) out.push_back(m.get());
    return out;
  }

  std::string text(const std::string& name, std::string_view field) const {
    for (const auto& [id, m] : objects_) {
      if (codec::get_text(*m, "name") == name) return codec::get_text(*m, field);
    }
    return "(no " + name + ")";
  }

 private:
  void carry_out(const PlanStep& step) {
    using Kind = PlanStep::Kind;
    if (step.kind == Kind::create) {
      auto m = step.resource->new_message();
      EXPECT_TRUE(codec::decode(step.body, {}, *m).empty());
      EXPECT_TRUE(codec::validate(*m).empty()) << codec::write_json(step.body);
      for (const codec::FieldSpec& f : step.resource->fields) {
        if (!f.is_reference()) continue;
        for (const std::string& raw : codec::reference_ids(*m, f)) {
          EXPECT_TRUE(objects_.contains(codec::text_form(f.kind, raw)))
              << step.label << "." << f.name << " dangles";
        }
      }
      const std::string id = codec::get_text(*m, "id");
      objects_[id] = std::move(m);
    } else if (step.kind == Kind::update || step.kind == Kind::finish) {
      codec::DecodeOptions options;
      options.merge = codec::Merge::patch;
      EXPECT_TRUE(codec::decode(step.body, options, *objects_.at(step.id)).empty());
    }
  }

  std::map<std::string, codec::MessagePtr> objects_;
};

std::string summary(const std::vector<PlanStep>& steps) {
  std::string out;
  for (const PlanStep& s : steps) out += "cu-fra"[static_cast<int>(s.kind)];
  return out;
}

constexpr char kCloud[] = R"(
bridges: [{name: web}]
routers: [{name: r1}]
hosts: [{name: h1}, {name: h2}]
ports:
  - {name: vm1, bridge: web, host: h1, interface: tap1, mac: "02:00:00:00:00:01", addresses: [10.0.1.11]}
  - {name: web-r1, bridge: web, peer: r1-web}
  - {name: r1-web, router: r1, networks: [10.0.1.1/24]}
routes:
  - {router: r1, destination: 0.0.0.0/0, port: r1-web, next_hop: 10.0.1.254}
  - {router: r1, name: named, destination: 10.9.0.0/16, kind: blackhole}
)";

TEST(CloudPlan, TheSecondTimeNothingIsToDo) {
  Cloud cloud;
  EXPECT_EQ(summary(cloud.apply(kCloud)), "ccccccccc");
  EXPECT_EQ(summary(cloud.apply(kCloud)), "---------");
}

TEST(CloudPlan, ATenantPrunesNothingThatWasMadeForIt) {
  Cloud cloud;
  cloud.apply(R"(
bridges: [{name: provider}, {name: own, tenant: red}]
ports: [{name: uplink, tenant: red, bridge: provider}, {name: mine, tenant: red, bridge: own}]
)");
  cloud.hide("provider");
  size_t in_scope = 0;
  EXPECT_EQ(cloud.pruned("ports: []", &in_scope, "red"), "port mine, |");
  EXPECT_EQ(in_scope, 1u);
}

constexpr char kGroups[] = R"(
bridges: [{name: net}]
security-groups: [{name: web}, {name: ssh}, {name: db}]
port-groups: [{name: racks}]
address-groups: [{name: offices, prefixes: [192.0.2.0/24, 10.0.0.0/8]}]
ports:
  - {name: vm1, bridge: net, security_groups: [web, ssh], port_groups: [racks], allowed_pairs: [10.0.0.5]}
chains: [{name: in}, {name: more}]
rules:
  - {chain: in, position: 1, action: jump, jump_chain: more, protocol: 6, destination_ports: [443]}
  - {name: last, chain: more, position: 9, action: drop, source_group: offices, inverted: [source_group]}
security-rules:
  - {security_group: web, direction: ingress, remote_group: db}
)";

TEST(CloudPlan, ListsOfReferencesAreNamesInAnyOrder) {
  Cloud cloud;
  EXPECT_EQ(summary(cloud.apply(kGroups)), "cccccccccccc");
  EXPECT_EQ(summary(cloud.apply(kGroups)), "------------");
  // The order says nothing; a member more does.
  EXPECT_EQ(summary(cloud.apply("ports: [{name: vm1, security_groups: [ssh, web]}]\n")), "-");
  const auto steps = cloud.apply("ports: [{name: vm1, security_groups: [web, db]}]\n");
  ASSERT_EQ(summary(steps), "u");
  ASSERT_EQ(steps[0].changes.size(), 1u);
  EXPECT_EQ(steps[0].changes[0].before, "ssh, web");
  EXPECT_EQ(steps[0].changes[0].after, "db, web");
  // By name and by id at once; a name that is nobody's.
  codec::Problems problems;
  cloud.plan("ports: [{name: vm2, bridge: net, security_groups: [web, " + cloud.text("web", "id") +
                 "]}]\n",
             problems);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].what.find("appears twice"), std::string::npos) << problems[0].str();
  problems.clear();
  cloud.plan("ports: [{name: vm1, security_groups: [web, dbb]}]\n", problems);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].field, "ports[0].security_groups");
  EXPECT_NE(problems[0].remedy.find("db"), std::string::npos);
}

TEST(CloudPlan, PruningWaitsForListsThatStillRefer) {
  Cloud cloud;
  cloud.apply(kGroups);
  // vm1 stays as it is, and is in it: the server will refuse, after all else is done.
  EXPECT_EQ(cloud.pruned("security-groups: [{name: db}, {name: web}]\n"), "| security-group ssh,");
}

TEST(CloudPlan, OnlyWhatDiffersIsSent) {
  Cloud cloud;
  cloud.apply(kCloud);
  const auto steps = cloud.apply(
      "ports: [{name: vm1, host: h2, interface: tap1, mac: ~, addresses: [10.0.1.11]}]\n");
  ASSERT_EQ(summary(steps), "u");
  ASSERT_EQ(steps[0].changes.size(), 2u);
  EXPECT_EQ(steps[0].changes[0].field, "host");
  EXPECT_EQ(steps[0].changes[1].field, "mac");
  EXPECT_EQ(steps[0].body.find("mac")->kind, codec::Node::Kind::null);
  EXPECT_EQ(cloud.text("vm1", "mac"), "");
  EXPECT_EQ(cloud.text("vm1", "host"), cloud.text("h2", "id"));
  EXPECT_EQ(cloud.text("vm1", "bridge"), cloud.text("web", "id"));  // not mentioned: stays
}

TEST(CloudPlan, ACircleIsClosedAtTheEnd) {
  Cloud cloud;
  const char* text =
      "bridges: [{name: w}]\nrouters: [{name: r}]\n"
      "ports:\n- {name: a, bridge: w, peer: b}\n- {name: b, router: r, peer: a}\n";
  EXPECT_EQ(summary(cloud.apply(text)), "ccccf");
  EXPECT_EQ(cloud.text("a", "peer"), cloud.text("b", "id"));
  EXPECT_EQ(cloud.text("b", "peer"), cloud.text("a", "id"));
  EXPECT_EQ(summary(cloud.apply(text)), "----");
}

TEST(CloudPlan, ACircleThatExistsInPartIsClosedToo) {
  Cloud cloud;
  cloud.apply("bridges: [{name: w}]\nrouters: [{name: r}]\nports:\n- {name: b, router: r}\n");
  const char* text = "ports:\n- {name: a, bridge: w, peer: b}\n- {name: b, peer: a}\n";
  const auto steps = cloud.apply(text);
  EXPECT_EQ(summary(steps), "ucf");  // b: nothing to send before a is there
  EXPECT_EQ(cloud.text("b", "peer"), cloud.text("a", "id"));
}

TEST(CloudPlan, ProblemsHaveLines) {
  Cloud cloud;
  cloud.apply(kCloud);
  const std::pair<const char*, const char*> cases[] = {
      {"ports:\n- {name: new, host: h1}\n", "f:2: ports[0].bridge: a port needs bridge or router"},
      {"ports:\n- {name: new, bridge: wbe}\n",
       "f:2: ports[0].bridge: there is no bridge 'wbe'; did you mean 'web'?"},
      {"bridges: [{name: other}]\nports:\n- {name: vm1, bridge: other}\n",
       "f:3: ports[0].bridge: this field of port vm1 can be set at creation only"},
      {"bridges:\n- {name: web, id: 123e4567-e89b-42d3-a456-426614174000}\n",
       "f:2: bridges[0].id: the bridge 'web' exists"},
      {"routes:\n- {router: r1, destination: 10.0.0.0/8, name: named}\n- {router: r1, kind: "
       "reject}\n",
       "f:3: routes[1].destination: this field is required"},
  };
  for (const auto& [text, says] : cases) {
    codec::Problems problems;
    (void)cloud.plan(text, problems);
    ASSERT_EQ(problems.size(), 1u) << text;
    EXPECT_EQ(problems[0].str("f").find(says), 0u) << problems[0].str("f");
  }
}

TEST(CloudPlan, RemovalGoesBackwardsAndStandsWhatIsGone) {
  Cloud cloud;
  cloud.apply(kCloud);
  const auto steps = cloud.plan_removal(kCloud);
  EXPECT_EQ(summary(steps), "rrrrrrrrr");
  EXPECT_EQ(steps.front().resource->singular, "route");
  EXPECT_EQ(steps.back().resource->singular, "host");
  EXPECT_EQ(
      summary(cloud.plan_removal("ports: [{name: gone, bridge: nowhere}]\nbridges: [{name: web}]\n"
                                 "routes: [{router: r1, destination: 1.0.0.0/8}, {router: nope, "
                                 "destination: 0.0.0.0/0}]\n")),
      "aaar");
}

TEST(CloudPlan, ChangesAreSaidByName) {
  Cloud cloud;
  cloud.apply(kCloud);
  codec::Problems problems;
  const auto steps = cloud.plan(
      "ports: [{name: vm1, host: h2, mac: ~}, {name: vm2, bridge: web, peer: ~}]", problems);
  ASSERT_EQ(summary(steps), "uc");
  EXPECT_EQ(diff_text(steps[0], Palette(false)),
            "~ port vm1  line 1\n    host: h1 -> h2\n    mac: 02:00:00:00:00:01 -> (unset)\n");
  EXPECT_EQ(diff_text(steps[1], Palette(false)), "+ port vm2  line 1\n    bridge: web\n");
  EXPECT_EQ(codec::write_json(*diff_document(steps[0]).find("fields")),
            R"({"host":{"from":"h1","to":"h2"},"mac":{"from":"02:00:00:00:00:01"}})");
}

TEST(CloudPlan, AFileMakesNoTokens) {
  Cloud cloud;
  codec::Problems problems;
  cloud.plan("tokens: [{name: t, role: admin}]", problems);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].str().find("plexus token create"), std::string::npos);
}

TEST(CloudPlan, BatchesAreInOrderAndBounded) {
  std::string text = "bridges: [{name: w}]\nports:\n";
  for (int i = 0; i < 450; ++i) text += "- {name: p" + std::to_string(i) + ", bridge: w}\n";
  Cloud cloud;
  codec::Problems problems;
  const auto steps = cloud.plan(text, problems);
  std::vector<size_t> sizes;
  size_t seen = 0;
  for (size_t at = 0; at < steps.size();) {
    const Batch batch = next_batch(steps, at);
    EXPECT_EQ(batch.first, at);
    EXPECT_EQ(batch.operations.items.size(), batch.steps.size());
    for (const size_t step : batch.steps) EXPECT_EQ(step, seen++);
    sizes.push_back(batch.steps.size());
    at = batch.end;
  }
  EXPECT_EQ(sizes, (std::vector<size_t>{200, 200, 51}));
  cloud.apply(text);
  const auto again = cloud.plan(text, problems);
  EXPECT_TRUE(next_batch(again, 0).steps.empty());
  EXPECT_EQ(next_batch(again, 0).end, again.size());
}

TEST(CloudPlan, PruneTakesWhatTheFileNoLongerNames) {
  Cloud cloud;
  cloud.apply(kCloud);
  cloud.apply(
      "bridges: [{name: blue, tenant: b}, {name: old, tenant: b}]\n"
      "ports: [{name: p, tenant: b, bridge: blue}]\ntokens: []\n");
  const struct {
    const char* file;
    const char* pruned;
    size_t in_scope;
  } cases[] = {
      {kCloud, "|", 7},                    // all but the hosts
      {"bridges: [{name: web}]", "|", 1},  // one type, no tenant: nothing of tenant b
      {"bridges: [{name: blue, tenant: b}]", "bridge old, |",
       2},                              // another tenant's, not those without
      {"hosts: [{name: h1}]", "|", 0},  // hosts never
      {"bridges: [{name: blue, tenant: b}]\nports: []", "port p, bridge old, |",
       3},  // an empty list mentions
      // r1-web is what a route of the file goes out by: it stays in use until the file is applied.
      {"bridges: [{name: web}]\nrouters: [{name: r1}]\nports: [{name: vm1}, {name: web-r1}]\n",
       "| port r1-web,", 5},
  };
  for (const auto& c : cases) {
    size_t in_scope = 0;
    EXPECT_EQ(cloud.pruned(c.file, &in_scope), c.pruned) << c.file;
    EXPECT_EQ(in_scope, c.in_scope) << c.file;
  }
  // Empty lists name no tenant: they are about who asks.
  EXPECT_EQ(cloud.pruned("ports: []", nullptr, "b"), "port p, |");
  EXPECT_EQ(cloud.pruned("ports: []", nullptr, "c"), "|");
}

TEST(CloudPlan, PruneFreesNamesAndInterfacesBeforeTheyAreTaken) {
  Cloud cloud;
  cloud.apply(kCloud);
  std::string renamed(kCloud);
  renamed.replace(renamed.find("name: vm1"), 9, "name: vm9");
  EXPECT_EQ(cloud.pruned(renamed), "port vm1, |");
}

}  // namespace
}  // namespace plexus::cli
