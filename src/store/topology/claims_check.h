// SPDX-License-Identifier: Apache-2.0
// ClaimsCheck: the part of a check of the store (check.h) that is about unique values. Pure.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "plexus/v1/state.pb.h"
#include "store/store.h"
#include "store/topology/claims.h"
#include "store/topology/outside_addresses.h"

namespace plexus::store {

class ClaimsCheck {
 public:
  using Message = google::protobuf::Message;
  /// A resource; null: there is none.
  using Find =
      std::function<const Message*(const google::protobuf::Descriptor& type, const Uuid& id)>;

  /// False: it has parts that this program does not know. One that cannot be decoded is damaged, and can be mended.
  [[nodiscard]] bool sort_in(const std::string& path, const std::string& value, int64_t version);
  /// All resources, by path. Adds what is wrong, a sentence each, and what would mend it: claims are what the resources say.
  void run(const std::map<std::string, std::unique_ptr<Message>>& objects, const Find& find,
           std::vector<std::string>& problems, std::vector<Step>& remedies);

 private:
  struct Stored {
    v1::UniqueClaim claim;
    int64_t version = 0;
    bool damaged = false;
  };
  struct Expected {
    v1::UniqueClaim claim;
    std::string who;         ///< the first that claims it
    bool contested = false;  ///< another one does, too
  };
  [[nodiscard]] std::vector<Claim> claims(const Message& object, const Find& find) const;
  /// What is wrong with a record of which resources say something else; nullopt: nobody has the value.
  [[nodiscard]] static std::string wrong(const Stored& stored,
                                         const std::optional<Expected>& expected);
  void expect(const std::string& path, const Message& object, const Find& find,
              std::vector<std::string>& problems);

  std::map<std::string, Stored> stored_;
  std::map<std::string, Expected> expected_;
  std::map<Uuid, std::vector<Foot>> feet_;  ///< of routers
};

}  // namespace plexus::store
