// SPDX-License-Identifier: Apache-2.0
#include "store/zookeeper/plan.h"

#include <algorithm>
#include <limits>

namespace plexus::store {
namespace {

// No znode gets there: each change adds one.
constexpr int32_t kNever = std::numeric_limits<int32_t>::max();
constexpr size_t kNumberDigits = 10;
// Each costs about its path in the request, so this stays far below the server's limit.
constexpr int64_t kMostRepeats = 3000;
// So few steps are tried without looking for their directories first: these are nearly always there, and
// a look costs as much as the try.
constexpr size_t kFewSteps = 2;

}  // namespace

bool is_sequence_record(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return false;
  const std::string_view name = path.substr(slash + 1);
  return name.size() == kNumberDigits + 1 && name.front() == 'e' &&
         std::all_of(name.begin() + 1, name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

int32_t znode_version(std::string_view path, int64_t version) {
  if (version < 1 || version >= kNever) return kNever;
  return static_cast<int32_t>(is_sequence_record(path) ? version - 1 : version);
}

int64_t record_version(std::string_view path, int32_t znode_version) {
  return is_sequence_record(path) ? int64_t{znode_version} + 1 : znode_version;
}

std::string parent_of(std::string_view path) {
  return std::string(path.substr(0, path.rfind('/')));
}

bool is_below(std::string_view path, std::string_view directory) {
  return path.size() > directory.size() && path.starts_with(directory) &&
         path[directory.size()] == '/';
}

Error wrong_version(const std::string& path, int64_t is, int64_t wanted) {
  const auto text = [](int64_t version) {
    return version == 0 ? std::string("absent") : "at version " + std::to_string(version);
  };
  return {ErrorCode::conflict, path + " is " + text(is) + ", not " + text(wanted)};
}

namespace {

class Planner {
 public:
  explicit Planner(const PlanInput& input) : in_(input) {
    for (const Step& step : in_.steps) {
      if (const auto* create = std::get_if<Create>(&step)) created_[create->path] = &create->access;
    }
  }

  Plan run() {
    bool stat = false;
    for (step_ = 0; step_ < in_.steps.size() && !plan_.contradiction; ++step_) {
      std::visit([this](const auto& step) { apply(step); }, in_.steps[step_]);
    }
    if (plan_.contradiction) {
      // The steps before are asked all the same: one of them may be the first to fail.
      add({ZnodeOperation::Kind::check, in_.nowhere}, Role::sentinel);
      return std::move(plan_);
    }
    for (const ZnodeOperation& operation : plan_.operations) {
      stat = stat || operation.kind == ZnodeOperation::Kind::set;
    }
    if (!stat) add({ZnodeOperation::Kind::set, in_.beacon, {}, -1}, Role::beacon);
    return std::move(plan_);
  }

 private:
  std::string znode(const std::string& path) const { return in_.root + path; }

  void add(ZnodeOperation operation, Role role) {
    plan_.bytes += operation.path.size() + operation.value.size() + 30;
    if (operation.acl != nullptr) {
      for (const AclEntry& e : *operation.acl) plan_.bytes += e.scheme.size() + e.id.size() + 12;
    }
    plan_.operations.push_back(std::move(operation));
    plan_.roles.push_back(role);
    plan_.steps.push_back(step_);
  }

  void contradict(Error error) { plan_.contradiction = std::move(error); }

  /// The record's version as the steps so far leave it; nullopt: they say nothing about it.
  std::optional<int64_t> touched(const std::string& path) const {
    const auto found = versions_.find(path);
    return found == versions_.end() ? std::nullopt : std::optional(found->second);
  }

  enum class There : uint8_t { yes, no, unknown };
  There there(const std::string& path) const {
    if (made_.count(path) != 0) return There::yes;
    if (const auto version = touched(path)) {
      if (*version > 0) return There::yes;
      if (removed_.count(path) != 0) return There::no;
    }
    if (removed_.count(path) != 0) return There::no;
    const auto fact = in_.facts.there.find(path);
    if (fact != in_.facts.there.end()) return fact->second ? There::yes : There::no;
    return in_.known(path) ? There::yes : There::unknown;
  }

  /// The nearest of the path's parents that is missing and whose own parent is there; nullopt: none
  /// is, or it is not known yet (then it is noted as unknown).
  std::optional<std::string> first_missing(const std::string& path, bool guess = false) {
    std::optional<std::string> missing;
    for (std::string parent = path; !parent.empty();) {
      parent = parent_of(parent);
      const There is = there(parent);
      if (is == There::yes || (is == There::unknown && guess)) break;
      if (is == There::unknown) plan_.unknown.push_back(parent);
      missing = parent;
      if (parent.empty()) break;
    }
    return missing;
  }

  void make_parents(const std::string& path) {
    const bool guess = in_.steps.size() <= kFewSteps && !in_.facts.look_first;
    while (true) {
      const auto missing = first_missing(path, guess);
      if (!missing || !plan_.unknown.empty()) return;
      make_directory(*missing);
    }
  }

  void make_directory(const std::string& path) {
    // A later step may make it a record: it has that one's access from the start.
    const auto record = created_.find(path);
    add({ZnodeOperation::Kind::create,
         znode(path),
         {},
         0,
         record == created_.end() ? in_.access.directory() : in_.access.of(*record->second)},
        Role::directory);
    made_.insert(path);
    removed_.erase(path);
    plan_.made_directories.push_back(path);
  }

  bool is_directory(const std::string& path) const {
    if (made_.count(path) != 0) return true;
    return in_.facts.directories.count(path) != 0 && removed_.count(path) == 0;
  }

  void apply(const CheckVersion& check) {
    if (const auto version = touched(check.path)) {
      if (*version != check.version) contradict(wrong_version(check.path, *version, check.version));
      return;
    }
    versions_[check.path] = check.version;
    if (check.version != 0) {
      add({ZnodeOperation::Kind::check,
           znode(check.path),
           {},
           znode_version(check.path, check.version)},
          Role::record);
      return;
    }
    if (is_directory(check.path)) {
      if (made_.count(check.path) == 0) {
        add({ZnodeOperation::Kind::check, znode(check.path), {}, 0}, Role::beside);
      }
      return;
    }
    if (in_.facts.unprovable.count(check.path) != 0) return;
    // What can be made was not there. Its parents are not made for that: when one is missing, that
    // one is proof enough; and it is proven already when this transaction has made one.
    for (std::string parent = parent_of(check.path); !parent.empty(); parent = parent_of(parent)) {
      if (made_.count(parent) != 0) return;
    }
    const auto missing = first_missing(check.path);
    if (!plan_.unknown.empty()) return;
    const std::string absent = missing ? *missing : check.path;
    add({ZnodeOperation::Kind::create, znode(absent), {}, 0, in_.access.directory()}, Role::proof);
    add({ZnodeOperation::Kind::remove, znode(absent)}, Role::proof);
  }

  void apply(const Create& create) {
    const auto version = touched(create.path);
    if (version && *version > 0) {
      return contradict({ErrorCode::exists, create.path + " exists already"});
    }
    make_parents(create.path);
    versions_[create.path] = 1;
    if (is_directory(create.path)) {
      // Its access is set before the multi, where that is another: see other_access.
      add({ZnodeOperation::Kind::set, znode(create.path), create.value, 0}, Role::beside);
      made_.erase(create.path);
      return;
    }
    make_record(create.path, create.value, in_.access.of(create.access));
  }

  void make_record(const std::string& path, const std::string& value,
                   std::shared_ptr<const Acl> acl) {
    if (in_.ephemeral && in_.facts.taken) {
      add({ZnodeOperation::Kind::remove, znode(path), {}, -1}, Role::cleanup);
    }
    const int flags = in_.ephemeral ? ZOO_EPHEMERAL : 0;
    const bool whole = is_sequence_record(path);
    add({ZnodeOperation::Kind::create, znode(path), whole ? value : std::string(), 0,
         std::move(acl), flags},
        Role::make);
    if (!whole) add({ZnodeOperation::Kind::set, znode(path), value, 0}, Role::record);
    removed_.erase(path);
  }

  void apply(const Set& set) {
    const auto version = touched(set.path);
    if (version && *version == 0) {
      return contradict({ErrorCode::not_found, set.path + " does not exist"});
    }
    if (version && *version != set.version) {
      return contradict(wrong_version(set.path, *version, set.version));
    }
    versions_[set.path] = set.version + 1;
    const int32_t expected = znode_version(set.path, set.version);
    if (!set.access || in_.facts.other_access.count(set.path) == 0) {
      add({ZnodeOperation::Kind::set, znode(set.path), set.value, expected}, Role::record);
      return;
    }
    // A multi cannot change who may do what. So the znode is made anew, and set until its version is
    // what it would have been: whoever knows an older version still fails.
    if (expected > kMostRepeats) {
      return contradict({ErrorCode::no_space,
                         set.path + " has changed too often to change who may write it: delete it "
                                    "and create it again"});
    }
    add({ZnodeOperation::Kind::remove, znode(set.path), {}, expected}, Role::record);
    add({ZnodeOperation::Kind::create, znode(set.path), {}, 0, in_.access.of(*set.access)},
        Role::make);
    for (int32_t v = 0; v <= expected; ++v) {
      add({ZnodeOperation::Kind::set, znode(set.path), v == expected ? set.value : std::string(),
           v},
          Role::record);
    }
  }

  void apply(const Delete& removal) {
    const std::string& path = removal.path;
    const auto version = touched(path);
    if (version && *version == 0) {
      return contradict({ErrorCode::not_found, path + " does not exist"});
    }
    if (version && *version != removal.version) {
      return contradict(wrong_version(path, *version, removal.version));
    }
    for (const auto& [other, v] : versions_) {
      if (v > 0 && is_below(other, path) && written_below(other)) {
        return contradict({ErrorCode::in_use, path + " has records below it: " + other});
      }
    }
    std::vector<std::string> directories;
    if (const auto found = in_.facts.empty_below.find(path); found != in_.facts.empty_below.end()) {
      for (const std::string& directory : found->second) {
        if (removed_.count(directory) == 0) directories.push_back(directory);
      }
    } else {
      // What lies between it and the records that this transaction deletes below it is left over: no
      // need to fail first, once for each step.
      for (auto below = removed_.upper_bound(path + "/");
           below != removed_.end() && is_below(*below, path); ++below) {
        for (std::string parent = parent_of(*below); parent.size() > path.size();
             parent = parent_of(parent)) {
          if (removed_.count(parent) == 0) directories.push_back(parent);
        }
      }
    }
    for (const std::string& directory : made_) {
      if (is_below(directory, path)) directories.push_back(directory);
    }
    // Children first.
    std::sort(directories.begin(), directories.end(), std::greater<>());
    directories.erase(std::unique(directories.begin(), directories.end()), directories.end());
    for (const std::string& directory : directories) {
      add({ZnodeOperation::Kind::remove, znode(directory), {}, 0}, Role::cleanup);
      gone(directory);
    }
    versions_[path] = 0;
    add({ZnodeOperation::Kind::remove, znode(path), {}, znode_version(path, removal.version)},
        Role::record);
    gone(path);
  }

  /// Whether an earlier step has written the record (not only checked its version).
  bool written_below(const std::string& path) const {
    for (size_t i = 0; i < step_; ++i) {
      if (path_of_step(in_.steps[i]) == path && !std::holds_alternative<Delete>(in_.steps[i])) {
        return true;
      }
    }
    return false;
  }
  static const std::string& path_of_step(const Step& step) {
    return std::visit([](const auto& s) -> const std::string& { return s.path; }, step);
  }

  void gone(const std::string& path) {
    made_.erase(path);
    removed_.insert(path);
    plan_.removed.push_back(path);
  }

  void apply(const Append& append) {
    const std::string member = append.path + "/e";
    make_parents(member);
    add({ZnodeOperation::Kind::create, znode(member), append.value, 0, in_.access.of(append.access),
         ZOO_SEQUENCE},
        Role::make);
  }

  const PlanInput& in_;
  Plan plan_;
  size_t step_ = 0;
  std::map<std::string, int64_t> versions_;
  std::map<std::string, const Access*> created_;
  std::set<std::string> made_;     ///< directories, by this transaction
  std::set<std::string> removed_;  ///< znodes, by this transaction
};

}  // namespace

Plan make_plan(const PlanInput& input) {
  return Planner(input).run();
}

}  // namespace plexus::store
