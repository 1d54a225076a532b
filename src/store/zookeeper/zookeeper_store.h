// SPDX-License-Identifier: Apache-2.0
// ZookeeperStore: a store in a ZooKeeper ensemble, for many machines. docs/design/zookeeper-store.md
// says how the seam is laid over ZooKeeper; plan.h, follower.h and access_lists.h hold the parts.
//
// Threads: any. Calls wait for the server, up to the patience of the options.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "store/store.h"
#include "store/zookeeper/access_lists.h"
#include "store/zookeeper/follower.h"
#include "store/zookeeper/options.h"
#include "store/zookeeper/plan.h"

namespace plexus::store {

class ZookeeperStore final : public Store {
 public:
  /// `address`: "HOST:PORT[,HOST:PORT...][/CHROOT]"; without CHROOT: /plexus. Succeeds when no server
  /// answers: the store is then down until one does. invalid: the address or the identity; denied:
  /// the server answers and does not admit the identity.
  static Result<std::unique_ptr<Store>> open(std::string_view address, const OpenOptions& open,
                                             const ZookeeperOptions& options = {});
  ~ZookeeperStore() override;

  [[nodiscard]] std::string kind() const override { return "zookeeper"; }
  Result<std::optional<Record>> get(std::string_view path) override;
  Result<std::vector<std::optional<Record>>> get_many(
      const std::vector<std::string>& paths) override;
  Result<std::vector<std::string>> list(std::string_view directory) override;
  Result<std::vector<std::string>> names(std::string_view directory) override;
  Result<std::vector<std::pair<std::string, Record>>> scan(std::string_view directory) override;
  Result<Revision> transact(const std::vector<Step>& steps) override;
  [[nodiscard]] std::unique_ptr<Watch> watch(std::string path, WatchCallback callback) override;
  [[nodiscard]] std::unique_ptr<Watch> watch_settled(
      std::function<void(Revision)> callback) override;
  Result<void> put_ephemeral(std::string_view path, std::string_view value) override;
  Result<Revision> sync() override;
  [[nodiscard]] Health health() const override { return follower_->health(); }

 private:
  using Clock = Follower::Clock;
  using Main = Follower::Main;
  struct Znode {
    std::string value;
    Stat stat{};
  };

  ZookeeperStore(const std::string& servers, std::string root, std::optional<Identity> identity,
                 const ZookeeperOptions& options);

  [[nodiscard]] Clock::time_point deadline() const { return Clock::now() + options_.patience; }
  [[nodiscard]] std::string znode(std::string_view path) const { return root_ + std::string(path); }

  // Reading: repeated while the connection is lost and the deadline is not past.
  Result<std::vector<std::optional<Znode>>> read(const std::vector<std::string>& paths,
                                                 Clock::time_point deadline);
  Result<std::vector<std::optional<Stat>>> look_at(const std::vector<std::string>& paths,
                                                   Clock::time_point deadline);
  Result<std::vector<std::vector<std::string>>> children(const std::vector<std::string>& paths,
                                                         Clock::time_point deadline);
  Result<std::vector<Acl>> access_lists(const std::vector<std::string>& paths,
                                        Clock::time_point deadline);
  /// Asks for each path by `ask` (which calls back once) and gathers the answers.
  template <typename Answer, typename Ask>
  Result<std::vector<Answer>> ask_all(const std::vector<std::string>& paths,
                                      Clock::time_point deadline, const Ask& ask);
  Error read_error(int code, const std::string& path) const;
  [[nodiscard]] std::optional<Record> record_of(const std::string& path, Znode& znode) const;

  // Writing.
  struct Outcome {
    int code = ZOK;
    size_t failed = 0;
    int64_t revision = 0;
  };
  Result<Revision> run(const std::vector<Step>& steps, bool ephemeral, Clock::time_point deadline);
  Outcome send(const Main& main, std::vector<ZnodeOperation> operations);
  Result<void> learn_parents(const std::vector<std::string>& unknown, Facts& facts,
                             Clock::time_point deadline);
  Result<void> compare_access(const std::vector<Step>& steps, Facts& facts,
                              Clock::time_point deadline);
  /// What the failure of an operation means: an error, or new facts to try again with.
  Result<void> understand(const Plan& plan, const std::vector<Step>& steps, const Outcome& outcome,
                          bool ephemeral, Facts& facts, Clock::time_point deadline);
  Result<void> understand_absence(const Step& step, const std::string& path, Facts& facts,
                                  Clock::time_point deadline);
  Result<void> understand_children(const std::vector<Step>& steps, size_t step, Facts& facts,
                                   Clock::time_point deadline);
  Error denied(const Step& step, Role role) const;
  void remember(const Plan& plan, const std::vector<Step>& steps);
  void forget(const std::string& path);
  bool known(const std::string& path);

  // Chores, on a thread that begins with the first one.
  void later(std::function<void()> chore);
  void work();
  void prune(std::string directory);
  void put_again();

  const std::string root_;
  const ZookeeperOptions options_;
  AccessLists access_;

  std::mutex known_mutex_;
  std::unordered_set<std::string> known_;  ///< znodes that were there a moment ago

  std::mutex ephemerals_mutex_;
  std::map<std::string, std::string> ephemerals_;  ///< put by us; again for each new session
  std::set<int64_t> sessions_;                     ///< in which we put any

  std::mutex chores_mutex_;
  std::condition_variable chores_changed_;
  std::deque<std::function<void()>> chores_;
  bool stopping_ = false;
  std::thread worker_;

  std::unique_ptr<Follower> follower_;
};

}  // namespace plexus::store
