// SPDX-License-Identifier: Apache-2.0
// TestDirectory: a directory of a test's own, gone with it. For tests only.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/check.h"

namespace plexus::store {

class TestDirectory {
 public:
  /// On the disk; or, for tests that are about other things than disks, in memory.
  explicit TestDirectory(bool in_memory = false) {
    const std::filesystem::path memory = "/dev/shm";
    const auto base = in_memory && std::filesystem::is_directory(memory)
                          ? memory
                          : std::filesystem::temp_directory_path();
    std::string name = (base / "plexus-store-XXXXXX").string();
    PLEXUS_CHECK(mkdtemp(name.data()) != nullptr, "a directory for a test");
    root_ = name;
  }
  ~TestDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;

  [[nodiscard]] std::string path(const std::string& name) const { return root_ + "/" + name; }
  [[nodiscard]] const std::string& root() const { return root_; }

 private:
  std::string root_;
};

}  // namespace plexus::store
