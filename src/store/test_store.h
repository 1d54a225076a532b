// SPDX-License-Identifier: Apache-2.0
// TestStore: a fresh store for one test, of the kind that PLEXUS_TEST_STORE says: "embedded" (the
// default) or "zookeeper". For tests that hold on any store.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/ids.h"
#include "store/test_directory.h"
#include "store/test_zookeeper.h"

namespace plexus::store {

class TestStore {
 public:
  TestStore() {
    const char* wanted = std::getenv("PLEXUS_TEST_STORE");
    const std::string_view kind = wanted != nullptr && *wanted != 0 ? wanted : "embedded";
    PLEXUS_CHECK(kind == "embedded" || kind == "zookeeper", "PLEXUS_TEST_STORE names a store");
    address_ = kind == "embedded" ? "embedded:" + directory_.path("store")
                                  : "zookeeper:" + test_zookeeper() + "/t/" + Uuid::random().str();
  }
  /// For open_store().
  [[nodiscard]] const std::string& address() const { return address_; }

 private:
  TestDirectory directory_{true};
  std::string address_;
};

}  // namespace plexus::store
