// SPDX-License-Identifier: Apache-2.0
// Whole commands against scripted answers: what is sent, what is printed, the exit status.
#include "cli/commands.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <map>
#include <sstream>

#include "cli/fake_server.h"
#include "codec/json.h"

namespace plexus::cli {
namespace {

constexpr char kH1[] = "11111111-0000-4000-8000-000000000001";
constexpr char kH2[] = "11111111-0000-4000-8000-000000000002";
constexpr char kVm1[] = "22222222-0000-4000-8000-000000000001";
constexpr char kWeb[] = "33333333-0000-4000-8000-000000000001";

/// What a server answers to "METHOD TARGET"; several answers are given in turn, the last again and again.
class Script {
 public:
  void on(const std::string& what, FakeAnswer answer) {
    answers_[what].push_back(std::move(answer));
  }
  void on(const std::string& what, std::string body) {
    on(what, FakeAnswer{200, std::move(body), "Plexus-Revision: R9\r\n"});
  }

  FakeAnswer operator()(const FakeRequest& request) {
    const auto it = answers_.find(request.method + " " + request.target);
    if (it == answers_.end())
      return {404, R"({"detail":"not in the script: )" + request.target + R"("})"};
    const size_t n = std::min(asked_[it->first]++, it->second.size() - 1);
    return it->second[n];
  }

 private:
  std::map<std::string, std::vector<FakeAnswer>> answers_;
  std::map<std::string, size_t> asked_;
};

struct Done {
  int status = -1;
  std::string out, err;
  std::vector<FakeRequest> requests;

  [[nodiscard]] std::string body_of(const std::string& method) const {
    for (const FakeRequest& r : requests) {
      if (r.method == method) return r.body;
    }
    return "(no " + method + ")";
  }
  [[nodiscard]] size_t writes() const {
    size_t n = 0;
    for (const FakeRequest& r : requests) n += r.method != "GET";
    return n;
  }
};

/// Runs a command line against the script. `typed`: what a person at a terminal answers; nullptr: nobody is there.
Done run_line(Script script, std::vector<std::string> arguments, const char* typed = nullptr) {
  FakeServer server(script);
  Done done;
  const auto parsed = parse_command_line(arguments, {server.address(), ""});
  if (const auto* ending = std::get_if<Ending>(&parsed)) {
    done.status = ending->status;
    done.err = ending->text;
    return done;
  }
  std::ostringstream out, err;
  std::istringstream in(typed != nullptr ? typed : "");
  Terminal terminal{out, err};
  if (typed != nullptr) terminal.in = &in;
  done.status = run(std::get<Invocation>(parsed), terminal);
  done.out = out.str();
  done.err = err.str();
  done.requests = server.requests();
  return done;
}

std::string temporary_file(const std::string& name, const std::string& text) {
  const std::string path =
      testing::TempDir() + "/plexus-cli-" + std::to_string(::getpid()) + "-" + name;
  std::ofstream(path) << text;
  return path;
}

std::string list_of(const std::string& items) {
  return R"({"items":[)" + items + "]}";
}

std::string host_json(const std::string& id, const std::string& name,
                      const std::string& more = {}) {
  return R"({"id":")" + id + R"(","name":")" + name + "\"" + more + "}";
}

constexpr char kPortText[] =
    R"({"id":"22222222-0000-4000-8000-000000000001","name":"vm1","bridge":"33333333-0000-4000-8000-000000000001",)"
    R"("host":"11111111-0000-4000-8000-000000000001","interface":"tap1"})";

/// Two hosts, h1 live; vm1 is on it.
Script cloud() {
  Script s;
  const std::string h1 = host_json(kH1, "h1"), h2 = host_json(kH2, "h2");
  s.on("GET /v1/hosts?limit=1000", list_of(h1 + "," + h2));
  s.on("GET /v1/hosts/h1", h1);
  s.on("GET /v1/hosts/h2", h2);
  s.on("GET /v1/ports?limit=1000", list_of(kPortText));
  s.on("GET /v1/ports/vm1", kPortText);
  s.on("GET /v1/bridges?limit=1000",
       list_of(R"({"id":"33333333-0000-4000-8000-000000000001","name":"web"})"));
  s.on(
      "GET /v1/status/hosts?limit=1000",
      list_of(
          R"({"id":"11111111-0000-4000-8000-000000000001","live":true,"incarnation":3,"schema_level":1,)"
          R"("tunnel_addresses":["192.0.2.1"]},{"id":"11111111-0000-4000-8000-000000000002","live":false})"));
  s.on(
      "GET /v1/status/bindings?limit=1000",
      list_of(
          R"({"port":"22222222-0000-4000-8000-000000000001","host":"11111111-0000-4000-8000-000000000001","active":true})"));
  s.on(std::string("PATCH /v1/ports/") + kVm1, kPortText);
  s.on(std::string("PATCH /v1/hosts/") + kH1, h1);
  s.on(std::string("PATCH /v1/hosts/") + kH2, h2);
  return s;
}

constexpr char kApplied[] =
    R"({"revision":"R9","converged":true,"hosts":2,"applied":2,"laggards":[],"unknown":["h7"]})";
constexpr char kLagging[] =
    R"({"revision":"R9","converged":false,"hosts":2,"applied":1,"laggards":["h2"],"unknown":["h7"]})";

TEST(Commands, WaitSaysHowManyAndWhoIsNotKnown) {
  Script s;
  s.on("GET /v1/convergence?timeout=5", kApplied);
  const Done done = run_line(s, {"wait", "--timeout", "5"});
  EXPECT_EQ(done.status, kOk) << done.err;
  EXPECT_EQ(done.out.substr(0, 22), "applied on 2 hosts in ");
  EXPECT_NE(done.out.find("not live, so not known: h7"), std::string::npos);
}

TEST(Commands, WaitNamesTheLaggards) {
  Script s;
  s.on("GET /v1/convergence?timeout=1&revision=R5", kLagging);
  s.on("GET /v1/convergence?timeout=1&revision=R9", kLagging);
  s.on("GET /v1/convergence?timeout=0&revision=R9", kLagging);
  const Done done = run_line(s, {"wait", "--timeout", "1", "--revision", "R5"});
  EXPECT_EQ(done.status, kTimeout);
  EXPECT_NE(done.err.find("not on h2; not live, so not known: h7"), std::string::npos) << done.err;
  EXPECT_EQ(run_line(s, {"wait", "--timeout", "1", "--revision", "R5", "--json"}).status, kTimeout);
}

TEST(Commands, AChangeIsWaitedForByItsRevision) {
  Script s = cloud();
  s.on("PATCH /v1/ports/vm1", FakeAnswer{200, kPortText, "Plexus-Revision: R5\r\n"});
  s.on("GET /v1/convergence?timeout=30&revision=R5", kApplied);
  const Done done =
      run_line(s, {"port", "update", "vm1", "--admin-up", "false", "--wait", "--json"});
  EXPECT_EQ(done.status, kOk) << done.err;
  EXPECT_EQ(done.out.find("applied"), std::string::npos) << "standard output is one document";
  EXPECT_NE(done.err.find("applied on 2 hosts"), std::string::npos);
}

TEST(Commands, HostsAreListedWithTheirState) {
  const Done done = run_line(cloud(), {"host", "list"});
  EXPECT_EQ(done.status, kOk) << done.err;
  EXPECT_EQ(done.out,
            std::string("NAME  STATE       PORTS  TUNNEL-ADDRESSES  INCARNATION  LEVEL  ID\n") +
                "h1    live        1/1    192.0.2.1         3            1      " + kH1 + "\n" +
                "h2    never seen  0/0                                          " + kH2 + "\n");
  EXPECT_EQ(run_line(cloud(), {"host", "list", "-o", "name"}).out, "h1\nh2\n");
}

TEST(Commands, PortsAreListedWithWhereTheyAre) {
  const Done done = run_line(cloud(), {"port", "list"});
  EXPECT_EQ(done.status, kOk) << done.err;
  EXPECT_EQ(done.out, std::string("NAME  BRIDGE  HOST  INTERFACE  ACTUAL  STATE   ID\n") +
                          "vm1   web     h1    tap1       h1      active  " + kVm1 + "\n");
}

TEST(Commands, ALiveHostIsNotFencedByMistake) {
  EXPECT_EQ(run_line(cloud(), {"host", "fence", "h1"}).writes(), 0u) << "nobody to ask";
  EXPECT_EQ(run_line(cloud(), {"host", "fence", "h1"}, "n\n").writes(), 0u);
  EXPECT_EQ(run_line(cloud(), {"host", "fence", "h1"}, "").writes(), 0u);
  Script s = cloud();
  s.on("GET /v1/convergence?timeout=1&revision=R9",
       R"({"revision":"R9","converged":false,"hosts":2,"applied":1,"laggards":["h1"]})");
  for (const bool asked : {true, false}) {
    const Done done = asked ? run_line(s, {"host", "fence", "h1"}, "y\n")
                            : run_line(s, {"host", "fence", "h1", "--yes"});
    EXPECT_EQ(done.status, kOk) << done.err;
    EXPECT_EQ(done.body_of("PATCH"), R"({"fenced":true})");
    EXPECT_NE(done.out.find("applied on 1 host in"), std::string::npos)
        << "the fenced one is not waited for: " << done.out;
  }
  Script dead = cloud();
  dead.on("GET /v1/convergence?timeout=1&revision=R9", kApplied);
  EXPECT_EQ(run_line(dead, {"host", "fence", "h2"}).writes(), 1u) << "a dead one needs no question";
}

TEST(Commands, AHostThatServesIsNotDeletedByMistake) {
  Script s = cloud();
  for (const char* name : {"h1", "h2"})
    s.on("DELETE /v1/hosts/" + std::string(name), R"({"removed":1,"cascaded":0,"cleared":0})");
  const Done refused = run_line(s, {"host", "delete", "h1"});
  EXPECT_EQ(refused.status, kFailed);
  EXPECT_EQ(refused.writes(), 0u) << "nobody to ask";
  EXPECT_NE(refused.err.find("host h1 is live and has 1 port: vm1"), std::string::npos)
      << refused.err;
  EXPECT_EQ(run_line(s, {"host", "delete", "h1"}, "n\n").writes(), 0u);
  EXPECT_EQ(run_line(s, {"host", "delete", "h1"}, "y\n").writes(), 1u);
  EXPECT_EQ(run_line(s, {"host", "delete", "h1", "--yes"}).writes(), 1u);
  EXPECT_EQ(run_line(s, {"host", "delete", "h2"}).writes(), 1u) << "nothing is there";

  const std::string file = temporary_file(
      "hosts.yaml", "bridges: [{name: web}]\nhosts: [{name: h1}]\nports: [{name: vm1}]\n");
  s.on("POST /v1/batch", FakeAnswer{200, R"({"revision":"R9","results":[]})"});
  const Done all = run_line(s, {"delete", "-f", file});
  EXPECT_EQ(all.status, kFailed);
  EXPECT_EQ(all.writes(), 0u);
  EXPECT_NE(all.err.find("host h1 is live and has no ports"), std::string::npos) << all.err;
  EXPECT_EQ(run_line(s, {"delete", "-f", file, "--yes"}).writes(), 1u);
  EXPECT_EQ(run_line(s, {"delete", "-f", file, "--dry-run"}).status, kOk);
  ::unlink(file.c_str());
}

TEST(Commands, ARemovalSaysWhatWentWithIt) {
  Script s;
  s.on(
      "DELETE /v1/load-balancers/front",
      R"({"removed":1,"cascaded":3,"cleared":1,"cascaded_objects":[)"
      R"({"collection":"vips","id":"v","name":"web6"},{"collection":"vips","id":"w","name":"web"},)"
      R"({"collection":"pool-members","id":"m"}],)"
      R"("cleared_objects":[{"collection":"ports","id":"p","name":"vm1"}]})");
  const Done done = run_line(s, {"load-balancer", "delete", "front"});
  EXPECT_EQ(done.status, kOk) << done.err;
  EXPECT_EQ(done.out,
            "deleted load-balancer front, 3 more with it, 1 references to it cleared\n"
            "  deleted with it: vips web, web6; pool-members m\n"
            "  no longer refer to it: ports vm1\n");
}

TEST(Commands, AListTellsItsRevision) {
  Script s;
  s.on("GET /v1/bridges?limit=1000",
       FakeAnswer{200, R"({"items":[],"next":"p-1"})", "Plexus-Revision: R5\r\n"});
  s.on("GET /v1/bridges?limit=1000&after=p-1", list_of(""));
  const Done done = run_line(s, {"bridge", "list", "--yaml"});
  EXPECT_EQ(done.out, "items: []\nrevision: R5\n") << done.err;
}

TEST(Commands, APortThatDoesNotComeUpIsNotWaitedForInVain) {
  Script s = cloud();
  s.on("GET /v1/convergence?timeout=1&revision=R9", kApplied);
  const Done late = run_line(s, {"port", "bind", "vm1", "--host", "h2", "--interface", "nosuch",
                                 "--wait", "--timeout", "1"});
  EXPECT_EQ(late.status, kTimeout);
  EXPECT_NE(late.err.find("not active after 1 s"), std::string::npos) << late.err;
  const Done there = run_line(s, {"port", "bind", "vm1", "--host", "h1", "--interface", "tap1",
                                  "--wait", "--timeout", "1"});
  EXPECT_EQ(there.status, kOk) << there.err;
}

TEST(Commands, CountersOfAChainThatHasNone) {
  Script s;
  s.on("GET /v1/rule-counters",
       R"({"rules":[{"in":"chain","name":"web","rule":"r","packets":1}]})");
  FakeServer agent(s);
  const auto asked = [&](const char* chain) {
    return run_line({}, {"rule-counters", "--agent", agent.address(), "--chain", chain}).out;
  };
  EXPECT_EQ(asked("nope"), "no rule of it has held for a packet; there are some of: chain web\n");
  EXPECT_EQ(asked("web").find("no rule"), std::string::npos);
}

TEST(Commands, WhatTheCommandLineCannotMeanIsWrongUsage) {
  const std::vector<std::pair<std::vector<std::string>, const char*>> cases = {
      {{"bridge", "create"}, "needs --name NAME"},
      {{"port", "create", "--name", "a"}, "needs --bridge or --router"},
      {{"token", "create", "--name", "a"}, "needs --role (reader, tenant, admin)"},
      {{"port", "update", "a", "--host", "h1", "--host", "h2"}, "--host is given twice"},
      {{"audit", "--count", "1001"}, "from 1 to 1000"},
      {{"bridge", "list", "--api", "foo"}, "foo"},
      {{"bridge", "list", "--token", "@/nofile"}, "/nofile"},
  };
  for (const auto& [words, says] : cases) {
    const Done done = run_line({}, words);
    EXPECT_EQ(done.status, kUsage) << words[0];
    EXPECT_NE(done.err.find(says), std::string::npos) << done.err;
    EXPECT_TRUE(done.requests.empty());
  }
}

TEST(Commands, ANameThatIsElsewhereIsNotItsOwnBestGuess) {
  Script s = cloud();
  s.on("GET /v1/bridges?name=amb&limit=1000",
       list_of(R"({"id":"33333333-0000-4000-8000-000000000009","name":"amb","tenant":"red"})"));
  const Done done = run_line(s, {"bridge", "show", "amb", "--tenant", "nosuch"});
  EXPECT_EQ(done.status, kFailed);
  EXPECT_NE(done.err.find("000000000009 of tenant red: give its id, or --tenant"),
            std::string::npos)
      << done.err;
  const Done path = run_line(s, {"bridge", "show", "../ports"});
  EXPECT_NE(path.err.find("there is no bridge '../ports'"), std::string::npos) << path.err;

  const std::string pool = R"("name":"web","load_balancer":"55555555-0000-4000-8000-00000000000)";
  s.on("GET /v1/pools/web", FakeAnswer{409, R"({"detail":"several pools are called 'web'"})"});
  s.on("GET /v1/pools?name=web&limit=1000",
       list_of(R"({"id":"66666666-0000-4000-8000-000000000001",)" + pool +
               R"(1"},{"id":"66666666-0000-4000-8000-000000000002",)" + pool + R"(2"})"));
  for (const char* n : {"1", "2"})
    s.on("GET /v1/load-balancers/55555555-0000-4000-8000-00000000000" + std::string(n),
         R"({"name":"front)" + std::string(n) + "\"}");
  const Done several = run_line(s, {"pool", "show", "web"});
  EXPECT_NE(several.err.find("000000000002 of load-balancer front2"), std::string::npos)
      << several.err;
}

TEST(Commands, DrainingListsWhatIsLeftAndWaits) {
  Script s = cloud();
  const Done done = run_line(s, {"host", "drain", "h1"});
  EXPECT_EQ(done.status, kOk) << done.err;
  EXPECT_EQ(done.body_of("PATCH"), R"({"draining":true})");
  EXPECT_NE(done.out.find("1 port left there:\n  vm1\n"), std::string::npos) << done.out;
  s.on("GET /v1/ports?limit=1000", list_of(""));  // the second time
  const Done waited = run_line(s, {"host", "drain", "h1", "--wait"});
  EXPECT_EQ(waited.status, kOk) << waited.err;
  EXPECT_NE(waited.out.find("host h1 is drained"), std::string::npos) << waited.out;
  const Done late = run_line(cloud(), {"host", "drain", "h1", "--wait", "--timeout", "1"});
  EXPECT_EQ(late.status, kTimeout);
  EXPECT_NE(late.err.find("1 port still on host h1 after 1 s: vm1"), std::string::npos) << late.err;
}

TEST(Commands, CredentialsAreForTheOwnerOnly) {
  Script s = cloud();
  s.on(std::string("POST /v1/hosts/") + kH1 + "/credentials",
       R"({"identity":"host:x:SECRET:SHARED"})");
  const std::string path = testing::TempDir() + "/plexus-identity-" + std::to_string(::getpid());
  std::ofstream(path) << "old";
  ::chmod(path.c_str(), 0644);
  const Done done = run_line(s, {"host", "credentials", "h1", "-o", path});
  EXPECT_EQ(done.status, kOk) << done.err;
  EXPECT_EQ((done.out + done.err).find("SECRET"), std::string::npos);
  struct stat st {};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  std::string text;
  std::getline(std::ifstream(path), text);
  EXPECT_EQ(text, "host:x:SECRET:SHARED");
  ::unlink(path.c_str());
  EXPECT_EQ(run_line(s, {"host", "credentials", "h1"}).out, "host:x:SECRET:SHARED\n");
}

TEST(Commands, PortsAreBoundAndMoved) {
  Script s = cloud();
  const Done bound = run_line(s, {"port", "bind", "vm1", "--host", "h2", "--interface", "tap9"});
  EXPECT_EQ(bound.status, kOk) << bound.err;
  EXPECT_EQ(bound.body_of("PATCH"), std::string(R"({"host":")") + kH2 + R"(","interface":"tap9"})");
  const Done unbound = run_line(s, {"port", "unbind", "vm1"});
  EXPECT_EQ(unbound.body_of("PATCH"), R"({"host":null,"interface":null})");
  const Done moving = run_line(s, {"port", "migrate", "vm1", "--to", "h2"});
  EXPECT_EQ(moving.body_of("PATCH"), std::string(R"({"migrating_to":")") + kH2 + "\"}");
  EXPECT_EQ(run_line(s, {"port", "migrate", "vm1", "--to", "h1"}).writes(), 0u) << "it is there";
  s.on("GET /v1/convergence?timeout=30&revision=R9", kApplied);
  const Done moved = run_line(s, {"port", "migrate", "vm1", "--to", "h2", "--activate"});
  EXPECT_EQ(moved.status, kOk) << moved.err;
  ASSERT_EQ(moved.writes(), 2u);
  EXPECT_EQ(moved.body_of("PATCH"), std::string(R"({"migrating_to":")") + kH2 + "\"}");
  EXPECT_EQ(moved.requests.back().body,
            std::string(R"({"host":")") + kH2 + R"(","migrating_to":null})");
}

TEST(Commands, UnknownAndAmbiguousNames) {
  Script s = cloud();
  const Done unknown = run_line(s, {"port", "migrate", "vm2", "--to", "h2"});
  EXPECT_EQ(unknown.status, kFailed);
  EXPECT_NE(unknown.err.find("there is no port 'vm2'; did you mean 'vm1'?"), std::string::npos)
      << unknown.err;
  s.on("GET /v1/bridges/web",
       FakeAnswer{409, R"({"detail":"several bridges are called 'web'; use the id"})"});
  s.on("GET /v1/bridges?name=web&limit=1000",
       list_of(R"({"id":"33333333-0000-4000-8000-000000000001","name":"web","tenant":"blue"},)"
               R"({"id":"33333333-0000-4000-8000-000000000002","name":"web","tenant":"red"})"));
  const Done several = run_line(s, {"bridge", "show", "web"});
  EXPECT_EQ(several.status, kFailed);
  EXPECT_NE(several.err.find(std::string(kWeb) + " of tenant blue, "), std::string::npos)
      << several.err;
  EXPECT_NE(several.err.find("give --tenant, or the id"), std::string::npos) << several.err;
}

TEST(Commands, ATenantSeesItsPortsThoughNoHosts) {
  Script s = cloud();
  s.on("GET /v1/bridges?limit=1000", list_of(""));
  Script tenant;
  for (const char* open : {"ports", "bridges", "status/bindings"}) {
    const std::string what = std::string("GET /v1/") + open + "?limit=1000";
    tenant.on(what, s({"GET", what.substr(4), "", ""}).body);
  }
  for (const char* closed : {"hosts", "status/hosts"})
    tenant.on(std::string("GET /v1/") + closed + "?limit=1000",
              FakeAnswer{403, R"({"detail":"for administrators"})"});
  const Done done = run_line(tenant, {"port", "list"});
  EXPECT_EQ(done.status, kOk) << done.err;
  EXPECT_NE(done.out.find(kH1), std::string::npos) << done.out;
  EXPECT_NE(done.out.find("active"), std::string::npos) << done.out;
  EXPECT_EQ(run_line(tenant, {"host", "list"}).status, kDenied);
}

TEST(Commands, ATokensSecretIsShownOnce) {
  Script s;
  s.on(
      "POST /v1/tokens",
      FakeAnswer{
          201,
          R"({"id":"44444444-0000-4000-8000-000000000001","name":"ops","role":"admin","secret":"plx_x"})"});
  const Done done = run_line(s, {"token", "create", "--name", "ops", "--role", "admin", "--quiet"});
  EXPECT_EQ(done.status, kOk) << done.err;
  EXPECT_NE(done.out.find("secret:  plx_x"), std::string::npos) << done.out;
  EXPECT_NE(done.err.find("cannot be read again"), std::string::npos);
}

TEST(Commands, WatchGoesOnWhereItWas) {
  Script s;
  s.on("GET /v1/watch?collection=ports%2Chosts",
       "event: bookmark\nid: 7\ndata: {}\n\nevent: change\nid: 8\ndata: "
       "{\"verb\":\"created\",\"collection\":\"ports\",\"name\":\"a\"}\n\n");
  s.on("GET /v1/watch?since=8&collection=ports%2Chosts",
       "event: change\nid: 9\ndata: "
       "{\"verb\":\"deleted\",\"collection\":\"hosts\",\"id\":\"x\",\"tenant\":\"blue\"}\n\n");
  const Done done = run_line(s, {"watch", "ports", "hosts", "--count", "2"});
  EXPECT_EQ(done.status, kOk) << done.err;
  EXPECT_EQ(done.out, "created  port a\ndeleted  host x of tenant blue\n");
  EXPECT_NE(done.err.find("connecting again"), std::string::npos);
}

TEST(Commands, WatchSaysWhatItMissed) {
  Script s;
  s.on("GET /v1/watch?since=3", FakeAnswer{410, R"({"detail":"trimmed"})"});
  s.on("GET /v1/watch",
       "event: change\nid: 9\ndata: "
       "{\"verb\":\"created\",\"collection\":\"ports\",\"name\":\"a\"}\n\n");
  const Done done = run_line(s, {"watch", "--since", "3", "--count", "1", "--json"});
  EXPECT_EQ(done.status, kOk) << done.err;
  EXPECT_NE(done.err.find("no longer has the changes since 3"), std::string::npos);
  EXPECT_EQ(done.out,
            "{\"gap\":true,\"since\":\"3\"}\n{\"verb\":\"created\",\"collection\":\"ports\","
            "\"name\":\"a\",\"revision\":\"9\"}\n");
  Script refused;
  refused.on("GET /v1/watch", FakeAnswer{401, R"({"detail":"who?"})"});
  EXPECT_EQ(run_line(refused, {"watch"}).status, kDenied);
}

TEST(Commands, ApplySendsOneBatchAndSaysWhereItFails) {
  const std::string file = temporary_file(
      "cloud.yaml",
      "bridges:\n- name: web\nports:\n- {name: vm1, host: h2}\n- {name: vm2, bridge: web}\n");
  Script s = cloud();
  s.on("POST /v1/batch", FakeAnswer{200, R"({"revision":"R9","results":[]})"});
  const Done done = run_line(s, {"apply", "-f", file});
  EXPECT_EQ(done.status, kOk) << done.err;
  EXPECT_EQ(done.out,
            "updated   port vm1 (host)\ncreated   port vm2\n1 created, 1 updated, 1 unchanged\n");
  const std::string body = done.body_of("POST");
  EXPECT_EQ(
      body.find(
          R"({"operations":[{"op":"update","collection":"ports","id":"22222222-0000-4000-8000-000000000001","body":{"host":")"),
      0u)
      << body;
  EXPECT_NE(body.find(R"({"op":"create","collection":"ports","body":{)"), std::string::npos)
      << body;

  const Done dry = run_line(s, {"apply", "-f", file, "--dry-run"});
  EXPECT_EQ(dry.writes(), 0u);
  EXPECT_EQ(
      dry.out,
      "~ port vm1  line 4\n    host: h1 -> h2\n+ port vm2  line 5\n    bridge: web\n"
      "1 created, 1 updated, 1 unchanged (dry run: nothing was done; 2 writes in 1 request)\n");

  Script failing = cloud();
  failing.on("POST /v1/batch",
             FakeAnswer{409, R"({"detail":"the interface tap1 is taken","operation":1})"});
  const Done failed = run_line(failing, {"apply", "-f", file});
  EXPECT_EQ(failed.status, kFailed);
  EXPECT_NE(failed.err.find("cloud.yaml:5: port vm2: the interface tap1 is taken"),
            std::string::npos)
      << failed.err;
  EXPECT_EQ(failed.out, "0 created, 0 updated, 1 unchanged\n");
  ::unlink(file.c_str());
}

TEST(Commands, PruneAsksAndHasALimit) {
  const std::string file = temporary_file("prune.yaml", "bridges: [{name: web}]\nports: []\n");
  Script s = cloud();
  s.on("GET /v1/routers?limit=1000", list_of(""));
  s.on("GET /v1/routes?limit=1000", list_of(""));
  for (const char* type :
       {"address-groups", "port-groups", "chains", "rules", "security-groups", "security-rules",
        "floating-ips", "snat-pools", "load-balancers", "pools", "vips", "pool-members",
        "dhcp-subnets", "mirrors", "trace-requests"})
    s.on("GET /v1/" + std::string(type) + "?limit=1000", list_of(""));
  s.on("POST /v1/batch", FakeAnswer{200, R"({"revision":"R9","results":[]})"});
  EXPECT_EQ(run_line(s, {"apply", "-f", file}).writes(), 0u) << "without --prune nothing goes";
  EXPECT_EQ(run_line(s, {"apply", "-f", file, "--prune"}, "n\n").writes(), 0u);
  EXPECT_EQ(run_line(s, {"apply", "-f", file, "--prune", "--dry-run"}).writes(), 0u);
  for (const Done& done : {run_line(s, {"apply", "-f", file, "--prune"}, "y\n"),
                           run_line(s, {"apply", "-f", file, "--prune"}),
                           run_line(s, {"apply", "-f", file, "--prune", "--yes"}, "")}) {
    EXPECT_EQ(done.status, kOk) << done.err;
    EXPECT_EQ(done.body_of("POST"),
              std::string(R"({"operations":[{"op":"delete","collection":"ports","id":")") + kVm1 +
                  "\"}]}");
    EXPECT_EQ(done.out, "deleted   port vm1\n0 created, 0 updated, 1 unchanged, 1 removed\n");
  }
  // Of two objects two: too many, whatever one answers.
  const std::string other =
      temporary_file("other.yaml", "routers: [{name: r}]\nbridges: []\nports: []\n");
  const Done refused = run_line(s, {"apply", "-f", other, "--prune", "--yes"});
  EXPECT_EQ(refused.status, kFailed);
  EXPECT_EQ(refused.writes(), 0u);
  EXPECT_NE(refused.err.find("2 of the 2 objects"), std::string::npos) << refused.err;
  EXPECT_EQ(run_line(s, {"apply", "-f", other, "--prune", "--force"}).status, kOk);
  ::unlink(file.c_str());
  ::unlink(other.c_str());
}

TEST(Commands, WhatIsGoneAlreadyIsLeftOutOfTheBatch) {
  const std::string file =
      temporary_file("delete.yaml", "bridges: [{name: web}]\nports: [{name: vm1, bridge: web}]\n");
  Script s = cloud();
  s.on("POST /v1/batch", FakeAnswer{404, R"({"detail":"there is no port","operation":0})"});
  s.on("POST /v1/batch", FakeAnswer{200, R"({"revision":"R9","results":[]})"});
  const Done done = run_line(s, {"delete", "-f", file});
  EXPECT_EQ(done.status, kOk) << done.err;
  EXPECT_EQ(done.out, "deleted   bridge web\n1 deleted, 1 absent\n");
  ::unlink(file.c_str());
}

TEST(Commands, ABatchThatIsTooLargeIsSplit) {
  const std::string file =
      temporary_file("large.yaml", "bridges: [{name: a}, {name: b}, {name: c}]\n");
  FakeServer server([](const FakeRequest& r) {
    if (r.method == "GET") return FakeAnswer{200, list_of("")};
    const bool several = r.body.find("\"op\"") != r.body.rfind("\"op\"");
    return several ? FakeAnswer{422, R"({"detail":"too much for one transaction","operation":0})"}
                   : FakeAnswer{200, R"({"revision":"R9","results":[]})"};
  });
  const auto parsed = parse_command_line({"apply", "-f", file}, {server.address(), ""});
  std::ostringstream out, err;
  Terminal terminal{out, err};
  EXPECT_EQ(run(std::get<Invocation>(parsed), terminal), kOk) << err.str();
  EXPECT_EQ(out.str(),
            "created   bridge a\ncreated   bridge b\ncreated   bridge c\n3 created, 0 updated, 0 "
            "unchanged\n");
  EXPECT_EQ(server.writes(), 5u);
  ::unlink(file.c_str());
}

TEST(Commands, ARemovalTooLargeForABatchGoesAlone) {
  const std::string file = temporary_file("router.yaml", "bridges: [{name: web}]\n");
  Script s = cloud();
  s.on("POST /v1/batch", FakeAnswer{422, R"({"detail":"it takes more than one transaction"})"});
  s.on(std::string("DELETE /v1/bridges/") + kWeb, R"({"removed":1,"cascaded":5000})");
  const Done done = run_line(s, {"delete", "-f", file});
  EXPECT_EQ(done.status, kOk) << done.err;
  EXPECT_EQ(done.out, "deleted   bridge web\n1 deleted, 0 absent\n");
  ::unlink(file.c_str());
}

/// Script and token of tenant acme, which has the bridge web.
Script cloud_of_acme() {
  Script s;
  s.on("GET /v1/whoami", R"({"role":"tenant","tenant":"acme","who":"token ci"})");
  const std::string web =
      R"({"id":"33333333-0000-4000-8000-000000000001","name":"web","tenant":"acme"})";
  s.on("GET /v1/bridges?limit=1000", list_of(web));
  s.on("GET /v1/bridges?name=web&limit=1000", list_of(web));
  s.on("GET /v1/ports?limit=1000", list_of(""));
  s.on("POST /v1/ports", std::string(kPortText));
  s.on("POST /v1/batch", R"({"revision":"R9","results":[]})");
  return s;
}

TEST(Commands, ATenantsTokenMeansTheTenantsObjects) {
  const Done made = run_line(cloud_of_acme(), {"port", "create", "--name", "vm1", "--bridge", "web",
                                               "--token", "plx_x", "--quiet"});
  EXPECT_EQ(made.status, kOk) << made.err;
  EXPECT_EQ(made.body_of("POST"), std::string(R"({"name":"vm1","bridge":")") + kWeb + "\"}");
  EXPECT_EQ(
      run_line(cloud_of_acme(), {"port", "create", "--name", "vm1", "--bridge", "web"}).status,
      kFailed)
      << "without a token nobody asks whose it is";

  const std::string file =
      temporary_file("acme.yaml", "bridges: [{name: web}]\nports: [{name: vm1, bridge: web}]\n");
  const Done applied = run_line(cloud_of_acme(), {"apply", "-f", file, "--token", "plx_x"});
  EXPECT_EQ(applied.status, kOk) << applied.err;
  EXPECT_EQ(applied.out, "created   port vm1\n1 created, 0 updated, 1 unchanged\n");
  const Done deleted = run_line(cloud_of_acme(), {"delete", "-f", file, "--token", "plx_x"});
  EXPECT_EQ(deleted.status, kOk) << deleted.err;
  EXPECT_EQ(deleted.out, "deleted   bridge web\n1 deleted, 1 absent\n");
  ::unlink(file.c_str());
}

TEST(Commands, AnUpdateMeansWhatTheObjectsTenantCallsSo) {
  constexpr char kNobodys[] = "44444444-0000-4000-8000-000000000001";
  constexpr char kAcmes[] = "44444444-0000-4000-8000-000000000002";
  Script s;
  s.on("GET /v1/ports/vm1",
       R"({"id":"22222222-0000-4000-8000-000000000001","name":"vm1","tenant":"acme"})");
  s.on("GET /v1/chains?name=out&limit=1000",
       list_of(std::string(R"({"name":"out","id":")") + kNobodys + R"("},{"name":"out","id":")" +
               kAcmes + R"(","tenant":"acme"})"));
  s.on("PATCH /v1/ports/vm1", std::string(kPortText));
  const Done done = run_line(s, {"port", "update", "vm1", "--in-chain", "out", "--quiet"});
  EXPECT_EQ(done.status, kOk) << done.err;
  EXPECT_EQ(done.body_of("PATCH"), std::string(R"({"in_chain":")") + kAcmes + "\"}");
}

TEST(Commands, WhoAndWhat) {
  Script s;
  s.on("GET /v1/whoami", R"({"role":"tenant","tenant":"blue","who":"token ci"})");
  EXPECT_EQ(run_line(s, {"whoami"}).out, "role:    tenant\ntenant:  blue\nwho:     token ci\n");
  s.on("GET /v1/audit?since=4&limit=2",
       R"({"items":[{"revision":"5","time_ms":1795634154123,"who":"token ops","changes":[)"
       R"({"verb":"updated","type":"port","name":"vm1","fields":["host","mac"]}]}],"next":"5"})");
  const Done audit = run_line(s, {"audit", "--since", "4", "--count", "2"});
  EXPECT_EQ(audit.status, kOk) << audit.err;
  EXPECT_EQ(audit.out,
            "TIME                 WHO        DID      TYPE  NAME  FIELDS    REVISION\n"
            "2026-11-25 19:15:54  token ops  updated  port  vm1   host mac  5\n");
}

}  // namespace
}  // namespace plexus::cli
