// SPDX-License-Identifier: Apache-2.0
// Servers for tests, by tools/zookeeper-server.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>

#include "base/check.h"
#include "store/test_directory.h"
#include "store/test_zookeeper.h"
#include "store/zookeeper/zookeeper_store.h"

namespace plexus::store {
namespace {

/// The first line that a command prints; "" when it fails.
std::string output_of(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  PLEXUS_CHECK(pipe != nullptr, "a shell for a test");
  char line[256] = "";
  const bool read = fgets(line, sizeof line, pipe) != nullptr;
  const bool done = pclose(pipe) == 0;
  std::string text = read && done ? line : "";
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

/// The shared server of this program. Children that a test forks do not stop it.
class SharedServer {
 public:
  SharedServer() : pid_(getpid()), directory_(std::make_unique<TestDirectory>(true)) {
    server_ = std::make_unique<ZookeeperServer>(directory_->path("zookeeper"));
    server_->start();
  }
  ~SharedServer() {
    if (getpid() == pid_) return;
    (void)server_.release();
    (void)directory_.release();
  }
  [[nodiscard]] const std::string& address() const { return server_->address(); }

 private:
  const pid_t pid_;
  std::unique_ptr<TestDirectory> directory_;
  std::unique_ptr<ZookeeperServer> server_;
};

}  // namespace

ZookeeperServer::ZookeeperServer(std::string directory) : directory_(std::move(directory)) {}

ZookeeperServer::~ZookeeperServer() {
  stop();
}

void ZookeeperServer::start() {
  const std::string port = address_.empty() ? "" : address_.substr(address_.find(':') + 1);
  setenv("PLEXUS_ZOOKEEPER_OWNER", std::to_string(getpid()).c_str(), 1);
  address_ = output_of(std::string(PLEXUS_SOURCE_DIR) + "/tools/zookeeper-server start " +
                       directory_ + " " + port);
  PLEXUS_CHECK(!address_.empty(), "tools/zookeeper-server starts (it says why not)");
}

void ZookeeperServer::stop() {
  output_of(std::string(PLEXUS_SOURCE_DIR) + "/tools/zookeeper-server stop " + directory_);
}

int ZookeeperServer::pid() const {
  int pid = 0;
  std::ifstream(directory_ + "/pid") >> pid;
  PLEXUS_CHECK(pid > 1, "the server runs");
  return pid;
}

const std::string& test_zookeeper() {
  static const std::string given = [] {
    const char* value = std::getenv("PLEXUS_TEST_ZOOKEEPER");
    return std::string(value != nullptr ? value : "");
  }();
  if (!given.empty()) return given;
  static SharedServer server;
  return server.address();
}

Result<std::unique_ptr<Store>> open_test_zookeeper(const std::string& place) {
  ZookeeperOptions options;
  options.session_timeout = std::chrono::milliseconds(2000);
  options.expiry_delay = std::chrono::milliseconds(50);
  return ZookeeperStore::open(place, {}, options);
}

}  // namespace plexus::store
