// SPDX-License-Identifier: Apache-2.0
// Plan: the operations of one ZooKeeper multi that do what the steps of one transaction say. Pure.
//
// A record is a znode whose version is the record's version. A znode at version 0 is a directory: it
// is there for what lies below it. So a record is made by two operations, a create and a set, and an
// operation that expects a record's version can never hit a directory, nor the other way round. The
// exception are the records of a sequence, whose names ZooKeeper chooses: there the znode is at
// version 0 when the record is at 1, and there are no directories.
//
// What a plan must know about the store before (Facts) is learned by reading, or from the failure of
// an earlier try; that it is still so is checked by the operations themselves, atomically.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/store.h"
#include "store/zookeeper/access_lists.h"
#include "store/zookeeper/session.h"

namespace plexus::store {

/// ".../e0000000012": a record of a sequence.
[[nodiscard]] bool is_sequence_record(std::string_view path);
/// Of the znode of the record at this version; one that no znode has when there is no such version.
[[nodiscard]] int32_t znode_version(std::string_view path, int64_t version);
/// 0: the znode is a directory.
[[nodiscard]] int64_t record_version(std::string_view path, int32_t znode_version);
/// "/a/b" of "/a/b/c"; "" of "/a".
[[nodiscard]] std::string parent_of(std::string_view path);
/// Whether `path` lies below `directory`.
[[nodiscard]] bool is_below(std::string_view path, std::string_view directory);

/// Paths here are those of the seam; "" is the directory that holds all.
struct Facts {
  std::map<std::string, bool> there;  ///< whether a znode exists
  std::set<std::string> directories;  ///< paths of steps that are directories
  /// Paths of records to delete: the directories below, which hold no records; children first.
  std::map<std::string, std::vector<std::string>> empty_below;
  std::set<std::string> other_access;  ///< whose access differs from what the step wants
  std::set<std::string> unprovable;    ///< absent when read; to prove it in the multi is denied
  bool taken = false;                  ///< the ephemeral record is there and must go first
  bool look_first = false;  ///< a directory that was taken for granted is missing: guess no more
};

enum class Role : uint8_t {
  record,     ///< the operation of a step on its record
  make,       ///< creates the znode of the step's record
  directory,  ///< makes a directory that is missing
  proof,      ///< proves that a path is absent
  beside,     ///< checks that a path is still a directory, or turns it into a record
  cleanup,    ///< removes an empty directory
  beacon,     ///< tells the revision
  sentinel,   ///< fails: the steps contradict each other
};

struct Plan {
  std::vector<ZnodeOperation> operations;
  std::vector<Role> roles;
  std::vector<size_t> steps;           ///< whose operation it is
  std::optional<Error> contradiction;  ///< the steps cannot all hold, whatever the store holds
  std::vector<std::string> unknown;    ///< read whether these exist, and plan again
  std::vector<std::string> made_directories;
  std::vector<std::string> removed;  ///< znodes
  size_t bytes = 0;                  ///< of the request, about
};

struct PlanInput {
  const std::vector<Step>& steps;
  const Facts& facts;
  AccessLists& access;
  std::string root;                               ///< znode of the seam's ""
  std::string beacon;                             ///< znode
  std::string nowhere;                            ///< a znode that does not exist
  std::function<bool(const std::string&)> known;  ///< is surely there, by earlier answers
  bool ephemeral = false;                         ///< the one step is a Create of an ephemeral
};
[[nodiscard]] Plan make_plan(const PlanInput& input);

[[nodiscard]] Error wrong_version(const std::string& path, int64_t is, int64_t wanted);

}  // namespace plexus::store
