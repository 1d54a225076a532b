// SPDX-License-Identifier: Apache-2.0
// plexus-store, from its arguments to its files.
#include "store/topology/store_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "store/test_directory.h"
#include "store/topology/counting_store.h"
#include "store/topology/dump.h"
#include "store/topology/host_records.h"
#include "store/topology/layout.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class StoreCommandTest : public TopologyTest {
 protected:
  struct Outcome {
    int status = -1;
    std::string out, err;
  };
  static std::string rewound(FILE* file) {
    std::string text;
    rewind(file);
    for (int c = 0; (c = fgetc(file)) != EOF;) text += static_cast<char>(c);
    return text;
  }
  static Outcome run(const std::vector<std::string>& arguments, const std::string& input = "") {
    FILE *in = tmpfile(), *out = tmpfile(), *err = tmpfile();
    fwrite(input.data(), 1, input.size(), in);
    rewind(in);
    Outcome outcome;
    outcome.status = store_command(arguments, in, out, err);
    outcome.out = rewound(out);
    outcome.err = rewound(err);
    for (FILE* file : {in, out, err}) fclose(file);
    return outcome;
  }
  TestDirectory dir_{true};
  std::string other(const char* name) { return "embedded:" + dir_.path(name); }
  static std::string read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// Something of everything.
  void fill() {
    auto tenant = named<v1::Tenant>("acme");
    tenant.set_max_ports(100);
    create(tenant);
    auto token = named<v1::Token>("ops");
    token.set_role(v1::ADMIN);
    token.set_sha256(std::string(32, 'S'));
    create(token);
    const auto blue = bridge("blue");
    const auto core = router("core");
    const auto h1 = host("h1");
    HostRecords records(*store_, HostId{*Uuid::from_bytes(h1.id())});
    ASSERT_TRUE(records.register_host({"h1", {*IpAddr::parse("192.0.2.1")}}).ok());
    ASSERT_TRUE(records.announce_alive(1).ok());
    for (int i = 0; i < 150; ++i) {
      const std::string name = "vm" + std::to_string(i);
      auto vm = on_host(port_on(blue, name.c_str()), h1, name.c_str());
      if (i % 2 == 0) vm.set_tenant("acme");
      vm = create(vm);
      if (i >= 5) continue;
      ASSERT_TRUE(records.publish(PortId{*Uuid::from_bytes(vm.id())}).ok());
    }
    const auto foot = create(port_on(core, "foot", "10.0.0.1/24"));
    create(route(core, foot, "10.9.0.0/16", "10.0.0.9"));
  }
};

TEST_F(StoreCommandTest, ADumpIsTheWholeStore) {
  fill();
  const std::string file = dir_.path("dump");
  const auto dumped = run({"--store", address(), "dump", "-o", file});
  ASSERT_EQ(dumped.status, 0) << dumped.err;
  EXPECT_THAT(dumped.err, HasSubstr("keep secrets"));
  struct stat status {};
  ASSERT_EQ(stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  const auto loaded = run({"--store", other("copy"), "load", "-f", file});
  ASSERT_EQ(loaded.status, 0) << loaded.err << loaded.out;
  EXPECT_THAT(loaded.out, HasSubstr("no problems"));
  auto copy = open_store(other("copy"));
  ASSERT_TRUE(copy.ok());
  const auto before = dump_store(*store_, true), after = dump_store(**copy, true);
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_EQ(before->records, after->records);
  EXPECT_NE(before->gen, after->gen) << "a new life";
  EXPECT_THAT(dump_text(*after), Not(HasSubstr("/live")));
  // It can be written on.
  EXPECT_TRUE(TopologyWriter(**copy).create(named<v1::Bridge>("green")).ok());
  EXPECT_EQ(run({"--store", other("copy"), "check"}).status, 0);
}

TEST_F(StoreCommandTest, ThroughPipesAndWithoutSecrets) {
  fill();
  const auto dumped = run({"--store", address(), "dump", "--without-secrets"});
  ASSERT_EQ(dumped.status, 0);
  EXPECT_THAT(dumped.err, Not(HasSubstr("secrets")));
  ASSERT_EQ(run({"--store", other("copy"), "load"}, dumped.out).status, 0);
  auto copy = open_store(other("copy"));
  const auto tokens = TopologyWriter(**copy).list(*v1::Token::descriptor());
  ASSERT_EQ(tokens->size(), 1u);
  EXPECT_FALSE(static_cast<const v1::Token&>(*tokens->front().message).has_sha256());
}

TEST_F(StoreCommandTest, WithoutSecretsMirrorsAndTraceRequestsStayWhole) {
  const auto blue = bridge("blue");
  const auto probe = create(on_host(port_on(bridge("red"), "probe"), host("h1"), "probe"));
  auto mirror = named<v1::Mirror>("mirror");
  mirror.set_bridge(blue.id());
  mirror.set_which(v1::Mirror::IN);
  mirror.set_to_port(probe.id());
  create(mirror);
  auto request = named<v1::TraceRequest>("request");
  request.set_bridge(blue.id());
  create(request);
  ASSERT_TRUE(store_life(*store_).ok());
  const auto dumped = run({"--store", address(), "dump", "--without-secrets"});
  ASSERT_EQ(dumped.status, 0) << dumped.err;
  const auto loaded = run({"--store", other("copy"), "load"}, dumped.out);
  ASSERT_EQ(loaded.status, 0) << loaded.err << loaded.out;
  auto copy = open_store(other("copy"));
  ASSERT_TRUE(copy.ok());
  const auto removed =
      TopologyWriter(**copy).remove(*v1::Bridge::descriptor(), *Uuid::from_bytes(blue.id()));
  EXPECT_TRUE(removed.ok()) << removed.error().message;
  EXPECT_EQ(run({"--store", other("copy"), "check"}).status, 0);
}

TEST_F(StoreCommandTest, ALoadRefusesWhatItWouldDestroy) {
  fill();
  const std::string dump = run({"--store", address(), "dump"}).out;
  {
    auto opened = open_store(other("copy"));
    ASSERT_TRUE(TopologyWriter(**opened).create(named<v1::Bridge>("precious")).ok());
    ASSERT_TRUE(store_life(**opened).ok());
  }
  const auto refused = run({"--store", other("copy"), "load"}, dump);
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, HasSubstr("--force"));
  auto copy = open_store(other("copy"));
  EXPECT_TRUE(TopologyWriter(**copy).find(*v1::Bridge::descriptor(), "", "precious").ok());
  const auto life = store_life(**copy);
  const auto forced = run({"--store", other("copy"), "load", "--force"}, dump);
  ASSERT_EQ(forced.status, 0) << forced.err << forced.out;
  EXPECT_FALSE(TopologyWriter(**copy).find(*v1::Bridge::descriptor(), "", "precious").ok());
  EXPECT_NE(*store_life(**copy), *life);
}

TEST_F(StoreCommandTest, ALoadGoesOnWhenAgentsChangeWhatItRemoves) {
  fill();
  const auto dump = parse_dump(run({"--store", address(), "dump"}).out);
  ASSERT_TRUE(dump.ok());
  // As an agent whose ports vanish: one of its records changes, another one goes.
  struct Agents : CountingStore {
    using CountingStore::CountingStore;
    std::function<void()> before_commit;
    Result<Revision> transact(const std::vector<Step>& wanted) override {
      before_commit();
      return CountingStore::transact(wanted);
    }
  } agents(*store_);
  int tried = 0;
  agents.before_commit = [&] {
    if (++tried < 2 || tried > 7) return;
    auto bindings = store_->scan("/p1/b");
    ASSERT_TRUE(bindings.ok());
    if (bindings->empty()) return;
    const auto& [path, record] = bindings->back();
    ASSERT_TRUE(store_
                    ->transact({tried % 2 == 0 ? Step{Set{path, "unplugged", record.version}}
                                               : Step{Delete{path, record.version}}})
                    .ok());
  };
  LoadOptions force;
  force.force = true;
  const auto done = load_dump(agents, *dump, force);
  EXPECT_TRUE(done.ok()) << done.error().message;
  EXPECT_GT(tried, 3);
  EXPECT_EQ(run({"--store", address(), "check"}).status, 0);
}

TEST_F(StoreCommandTest, ADamagedDumpTouchesNothing) {
  fill();
  const std::string dump = run({"--store", address(), "dump"}).out;
  auto copy = open_store(other("copy"));
  ASSERT_TRUE(copy.ok());
  const auto load_fails = [&](const std::string& text, const char* says) {
    const auto outcome = run({"--store", other("copy"), "load", "--force"}, text);
    EXPECT_EQ(outcome.status, 1);
    EXPECT_THAT(outcome.err, HasSubstr(says));
    EXPECT_EQ((*copy)->sync()->value, 0);
  };
  for (size_t at = 0; at < dump.size(); at += 1000) {
    SCOPED_TRACE(at);
    load_fails(dump.substr(0, at), "dump");  // cut off
    std::string flipped = dump;
    flipped[at] = static_cast<char>(flipped[at] ^ 1);
    load_fails(flipped, "dump");
  }
  load_fails(dump.substr(0, dump.size() - 1), "cut off");
  load_fails(dump + "more\n", "follows the end");
  std::string newer = dump;
  newer.replace(newer.find(" 1\n"), 3, " 2\n");
  load_fails(newer, "newer");
  load_fails("hello\n", "no dump");
  load_fails("", "no dump");
}

TEST_F(StoreCommandTest, AnInterruptedLoadIsSeenAndCanBeRepeated) {
  fill();
  const std::string text = run({"--store", address(), "dump"}).out;
  const auto dump = parse_dump(text);
  ASSERT_TRUE(dump.ok());
  auto copy = open_store(other("copy"));
  for (size_t lives = 1;; ++lives) {
    SCOPED_TRACE(lives);
    CountingStore dying(**copy);
    dying.lives = lives;
    const auto done = load_dump(dying, *dump, {});
    if (done.ok()) {
      EXPECT_GT(lives, 4u);
      break;
    }
    if (lives == 1) continue;  // not even begun
    const auto check = run({"--store", other("copy"), "check"});
    EXPECT_EQ(check.status, 3);
    EXPECT_THAT(check.out, HasSubstr("interrupted"));
    const auto refused = run({"--store", other("copy"), "dump"});
    EXPECT_EQ(refused.status, 1);
    EXPECT_THAT(refused.err, HasSubstr("half loaded"));
  }
  EXPECT_EQ(run({"--store", other("copy"), "check"}).status, 0);
  // The log goes on where the interrupted load left it.
  const auto without_numbers = [](const Dump& of) {
    std::vector<std::pair<std::string, std::string>> records;
    for (const auto& [path, value] : of.records) {
      records.emplace_back(path.starts_with(log_path()) ? log_path() : path, value);
    }
    return records;
  };
  EXPECT_TRUE(without_numbers(*dump_store(**copy, true)) == without_numbers(*dump));
}

TEST_F(StoreCommandTest, FilesThatCannotBeWrittenOrRead) {
  fill();
  const auto full = run({"--store", address(), "dump", "-o", "/dev/full"});
  EXPECT_EQ(full.status, 1);
  EXPECT_THAT(full.err, HasSubstr("No space left"));
  const auto nowhere = run({"--store", address(), "dump", "-o", dir_.path("no/such/file")});
  EXPECT_EQ(nowhere.status, 1);
  EXPECT_THAT(nowhere.err, HasSubstr("No such file"));
  const auto missing = run({"--store", address(), "load", "-f", dir_.path("missing")});
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.err, HasSubstr("missing: No such file"));
  EXPECT_EQ(run({"--store", "nonsense:x", "check"}).status, 1);
  const auto empty = run({"--store", other("mistyped"), "check"});
  EXPECT_EQ(empty.status, 1);
  EXPECT_THAT(empty.err, HasSubstr("there is no store in"));
  EXPECT_EQ(run({"--store", other("mistyped"), "dump"}).status, 1);
  EXPECT_FALSE(std::filesystem::exists(dir_.path("mistyped"))) << "nothing is made there";
  FILE* stdout_full = fopen("/dev/full", "w");
  EXPECT_EQ(store_command({"--store", address(), "dump"}, stdin, stdout_full, tmpfile()), 1);
  fclose(stdout_full);
}

TEST_F(StoreCommandTest, AStoreThatChangesAllTheTime) {
  // Whatever moment a dump shows, it is one: the pair of names is never torn.
  bridge("even-0");
  struct Restless : CountingStore {
    using CountingStore::CountingStore;
    std::function<void()> before_scan;
    Result<std::vector<std::pair<std::string, Record>>> scan(std::string_view d) override {
      auto found = CountingStore::scan(d);
      before_scan();
      return found;
    }
  } restless(*store_);
  int writes = 0;
  restless.before_scan = [&] {
    if (writes < 3) bridge(("b" + std::to_string(writes++)).c_str());
  };
  ASSERT_TRUE(store_life(*store_).ok());
  const auto dump = dump_store(restless, true);
  ASSERT_TRUE(dump.ok()) << dump.error().message;
  EXPECT_EQ(dump->records, dump_store(*store_, true)->records);
  restless.before_scan = [&] { bridge(("b" + std::to_string(writes++)).c_str()); };
  const auto never = dump_store(restless, true);
  ASSERT_FALSE(never.ok());
  EXPECT_EQ(never.error().code, ErrorCode::unavailable);
  EXPECT_THAT(never.error().message, HasSubstr("API servers"));
}

TEST_F(StoreCommandTest, WrongUsage) {
  const struct {
    std::vector<std::string> arguments;
    const char* says;
  } cases[] = {
      {{}, "no command"},
      {{"dmp"}, "did you mean dump?"},
      {{"dump", "--outptu", "x"}, "did you mean --output?"},
      {{"dump", "-x"}, "unknown flag"},
      {{"dump", "--store"}, "needs a value"},
      {{"dump", "--force"}, "--force is for load"},
      {{"load", "-o", "x"}, "-o is for dump"},
      {{"check", "twice"}, "too much"},
      {{"level", "x"}, "no number"},
      {{"level", "0"}, "no number"},
      {{"load", "--force=yes"}, "takes no value"},
  };
  for (const auto& c : cases) {
    const auto outcome = run(c.arguments);
    EXPECT_EQ(outcome.status, 2);
    EXPECT_THAT(outcome.err, HasSubstr(c.says));
  }
  EXPECT_THAT(run({"--help"}).out, HasSubstr("Exit status"));
  EXPECT_EQ(run({"--version"}).status, 0);
}

TEST_F(StoreCommandTest, Levels) {
  EXPECT_EQ(run({"--store", address(), "level"}).out, "1\n");
  EXPECT_EQ(run({"--store", address(), "level", "1"}).out, "1\n");
  const auto beyond = run({"--store", address(), "level", std::to_string(kSchemaLevel + 1)});
  EXPECT_EQ(beyond.status, 1);
  EXPECT_THAT(beyond.err, HasSubstr("use a newer one"));
}

}  // namespace
}  // namespace plexus::store
