// SPDX-License-Identifier: Apache-2.0
// The ZooKeeper server of the tests: PLEXUS_TEST_ZOOKEEPER=HOST:PORT, or one that is started on first
// use and stopped when the test program ends. For tests only.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "store/store.h"

namespace plexus::store {

/// "HOST:PORT" of the server that tests share, each below a chroot of its own.
const std::string& test_zookeeper();

/// A store with short timeouts at "HOST:PORT/CHROOT".
Result<std::unique_ptr<Store>> open_test_zookeeper(const std::string& place);

/// A server of one test's own, to stop, wipe and freeze.
class ZookeeperServer {
 public:
  explicit ZookeeperServer(std::string directory);
  ~ZookeeperServer();
  ZookeeperServer(const ZookeeperServer&) = delete;
  ZookeeperServer& operator=(const ZookeeperServer&) = delete;

  /// Also again after stop(), then at the same port.
  void start();
  void stop();
  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] const std::string& directory() const { return directory_; }
  [[nodiscard]] int pid() const;

 private:
  const std::string directory_;
  std::string address_;
};

}  // namespace plexus::store
