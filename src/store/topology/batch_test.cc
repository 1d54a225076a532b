// SPDX-License-Identifier: Apache-2.0
// Several operations in one transaction: all or nothing, later ones see earlier ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/topology/layout.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class BatchTest : public TopologyTest {
 protected:
  using Operations = std::vector<Operation>;
  static Uuid uuid(const std::string& raw) { return *Uuid::from_bytes(raw); }

  template <typename M>
  static Operation creating(const M& wanted) {
    Operation operation;
    operation.resource = std::make_unique<M>(wanted);
    return operation;
  }
  template <typename M, typename F>
  static Operation changing(const std::string& id, F edit) {
    Operation operation;
    operation.kind = Operation::Kind::modify;
    operation.type = M::descriptor();
    operation.id = uuid(id);
    operation.edit = [edit](google::protobuf::Message& message) -> Result<void> {
      edit(static_cast<M&>(message));
      return Ok{};
    };
    return operation;
  }
  template <typename M>
  static Operation removing(const std::string& id) {
    Operation operation;
    operation.kind = Operation::Kind::remove;
    operation.type = M::descriptor();
    operation.id = uuid(id);
    return operation;
  }
  template <typename... O>
  static Operations all(O... operations) {
    Operations list;
    (list.push_back(std::move(operations)), ...);
    return list;
  }
  BatchDone done(Operations operations) {
    auto done = writer_->batch(operations);
    EXPECT_TRUE(done.ok()) << done.error().message;
    return done.ok() ? std::move(*done) : BatchDone{};
  }
  void refused(Operations operations, ErrorCode code, size_t by, std::vector<std::string> says) {
    const auto before = store_->scan("/p1");
    size_t failed = 99;
    auto done = writer_->batch(operations, &failed);
    ASSERT_FALSE(done.ok());
    EXPECT_EQ(done.error().code, code) << done.error().message;
    EXPECT_EQ(failed, by) << done.error().message;
    for (const auto& text : says) EXPECT_THAT(done.error().message, HasSubstr(text));
    const auto after = store_->scan("/p1");
    ASSERT_EQ(before->size(), after->size()) << "nothing may have happened";
    for (size_t i = 0; i < before->size(); ++i) {
      EXPECT_EQ((*before)[i].second.version, (*after)[i].second.version) << (*before)[i].first;
    }
  }
  template <typename M>
  static M with_id(M message) {
    message.set_id(Uuid::random().raw());
    return message;
  }
};

TEST_F(BatchTest, LaterOperationsSeeEarlierOnes) {
  const auto core = with_id(named<v1::Router>("core"));
  const auto blue = with_id(named<v1::Bridge>("blue"));
  const auto inside = with_id(port_on(blue, "inside"));
  auto foot = with_id(port_on(core, "foot", "10.0.0.1/24"));
  foot.set_peer(inside.id());
  const auto result =
      done(all(creating(core), creating(blue), creating(inside), creating(foot),
               creating(route(core, foot, "10.9.0.0/16", "10.0.0.9")),
               changing<v1::Bridge>(blue.id(), [](v1::Bridge& b) { b.set_name("azure"); }),
               creating(named<v1::Bridge>("blue"))));  // free again
  ASSERT_EQ(result.resources.size(), 7u);
  for (const auto& resource : result.resources) {
    EXPECT_EQ(resource.version, 1);
    EXPECT_EQ(resource.revision, result.revision);
  }
  EXPECT_EQ(result.resources[1].message->ShortDebugString(),
            get<v1::Bridge>(blue.id()).ShortDebugString());
  EXPECT_EQ(get<v1::Bridge>(blue.id()).name(), "azure");
  EXPECT_EQ(get<v1::Port>(inside.id()).peer(), foot.id());
  EXPECT_TRUE(get<v1::Port>(foot.id()).has_mac());

  const auto gone = done(all(removing<v1::Port>(foot.id()), removing<v1::Router>(core.id()),
                             removing<v1::Port>(inside.id()), removing<v1::Bridge>(blue.id())));
  for (const auto& resource : gone.resources) EXPECT_EQ(resource.message, nullptr);
  EXPECT_TRUE(writer_->list(*v1::Route::descriptor())->empty());
  EXPECT_TRUE(writer_->list(*v1::Port::descriptor())->empty());
}

/// The end that a port is wired to may come after it.
TEST_F(BatchTest, LinksHaveTwoEndsInAnyOrder) {
  const auto core = router("core");
  const auto blue = bridge("blue");
  const auto inside = with_id(port_on(blue, "inside"));
  auto foot = with_id(port_on(core, "foot", "10.0.0.1/24"));
  foot.set_peer(inside.id());
  done(all(creating(foot), creating(inside)));
  EXPECT_EQ(get<v1::Port>(inside.id()).peer(), foot.id());
  // One that is there already, and one that comes after the change.
  const auto later = with_id(port_on(blue, "later"));
  done(all(changing<v1::Port>(foot.id(), [&](v1::Port& p) { p.set_peer(later.id()); }),
           creating(later)));
  EXPECT_EQ(get<v1::Port>(later.id()).peer(), foot.id());
  EXPECT_FALSE(get<v1::Port>(inside.id()).has_peer());
  // Not what cannot be wired.
  const auto h1 = host("h1");
  const auto plugged = on_host(with_id(port_on(blue, "plugged")), h1, "tap");
  const auto wired = [&](v1::Port& p) { p.set_peer(plugged.id()); };
  refused(all(changing<v1::Port>(foot.id(), wired), creating(plugged)), ErrorCode::invalid, 0,
          {"has a host"});
  // Wired and unwired in one.
  refused(all(changing<v1::Port>(foot.id(), [&](v1::Port& p) { p.set_peer(inside.id()); }),
              changing<v1::Port>(inside.id(), [](v1::Port& p) { p.clear_peer(); })),
          ErrorCode::invalid, 0, {"wires port inside"});
}

TEST_F(BatchTest, UniqueValuesCanBeSwapped) {
  const auto core = router("core");
  auto a = create(port_on(core, "a", "10.1.0.1/24")), b = create(port_on(core, "b", "10.2.0.1/24"));
  const auto take = [](const v1::Port& from) {
    return [from](v1::Port& port) {
      port.set_name(from.name());
      *port.mutable_networks() = from.networks();
    };
  };
  done(all(changing<v1::Port>(a.id(), take(b)), changing<v1::Port>(b.id(), take(a))));
  EXPECT_EQ(get<v1::Port>(a.id()).name(), "b");
  EXPECT_EQ(get<v1::Port>(b.id()).networks(0), prefix_raw("10.1.0.1/24"));
}

TEST_F(BatchTest, AllOrNothingAndTheCulpritIsNamed) {
  const auto blue = bridge("blue");
  const auto p = create(port_on(blue, "p"));
  const auto nowhere = with_id(named<v1::Bridge>("nowhere"));
  refused(all(creating(port_on(blue, "q")), creating(port_on(blue, "a b"))), ErrorCode::invalid, 1,
          {"a-z"});
  refused(all(creating(port_on(blue, "q")), creating(port_on(nowhere, "r")),
              creating(port_on(blue, "s"))),
          ErrorCode::invalid, 1, {"bridge", "create it first"});
  refused(
      all(creating(port_on(blue, "q")), creating(port_on(blue, "r")), creating(port_on(blue, "p"))),
      ErrorCode::exists, 2, {"name p"});
  refused(all(creating(port_on(blue, "q")), creating(port_on(blue, "q"))), ErrorCode::exists, 1,
          {"name q"});
  refused(all(creating(port_on(blue, "q")), removing<v1::Bridge>(blue.id())), ErrorCode::in_use, 1,
          {"port p"});
  refused(all(removing<v1::Port>(p.id()), changing<v1::Port>(p.id(), [](v1::Port&) {})),
          ErrorCode::not_found, 1, {"port"});
  refused(all(creating(port_on(blue, "q")), removing<v1::Port>(p.id()), creating(p)),
          ErrorCode::exists, 2, {"another id"});
  auto stale = changing<v1::Port>(p.id(), [](v1::Port& port) { port.set_admin_up(false); });
  stale.version = 7;
  refused(all(creating(port_on(blue, "q")), std::move(stale)), ErrorCode::conflict, 1,
          {"version 1"});
  // A new port on a bridge that goes.
  const auto green = bridge("green");
  refused(all(creating(port_on(green, "q")), removing<v1::Bridge>(green.id())), ErrorCode::invalid,
          0, {"bridge"});
  refused({}, ErrorCode::invalid, 0, {"at least one"});
  Operations many;
  for (int i = 0; i < 501; ++i) many.push_back(creating(named<v1::Bridge>("b")));
  refused(std::move(many), ErrorCode::invalid, 500, {"500", "parts"});
}

TEST_F(BatchTest, WithoutAChangeNothingIsWritten) {
  const auto blue = bridge("blue");
  const auto before = *store_->scan(std::string(kRoot));
  const auto result = done(all(changing<v1::Bridge>(blue.id(), [](v1::Bridge&) {})));
  EXPECT_EQ(result.resources[0].version, 1);
  const auto after = *store_->scan(std::string(kRoot));
  ASSERT_EQ(after.size(), before.size());
  for (size_t i = 0; i < after.size(); ++i) {
    EXPECT_EQ(after[i].first, before[i].first);
    EXPECT_EQ(after[i].second.revision, before[i].second.revision) << after[i].first;
  }
}

TEST_F(BatchTest, CreatedAndRemovedInOne) {
  const auto blue = with_id(named<v1::Bridge>("blue"));
  done(all(creating(blue), removing<v1::Bridge>(blue.id())));
  EXPECT_THAT(what_is_left(*store_), IsEmpty());
}

}  // namespace
}  // namespace plexus::store
