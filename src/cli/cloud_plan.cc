// SPDX-License-Identifier: Apache-2.0
#include "cli/cloud_plan.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <map>
#include <set>

#include "codec/decode.h"
#include "codec/encode.h"
#include "codec/json.h"
#include "codec/yaml.h"

namespace plexus::cli {
namespace {

using codec::CloudObject;
using codec::FieldSpec;
using codec::NameTable;
using codec::Node;
using codec::Problems;
using codec::ResourceSpec;
using google::protobuf::Message;

/// Of references the order says nothing, and the store has its own.
bool same_value(const FieldSpec& field, const Node& a, const Node& b) {
  if (!field.is_reference() || !field.repeated) return codec::write_json(a) == codec::write_json(b);
  const auto sorted = [](const Node& list) {
    std::vector<std::string> out;
    for (const Node& item : list.items) out.push_back(item.text);
    std::sort(out.begin(), out.end());
    return out;
  };
  return sorted(a) == sorted(b);
}

/// What an update has to send: the fields that differ, null for those to be cleared.
Node difference(const CloudObject& object, const Message& existing) {
  const Node now = codec::encode(existing);
  const Node wanted = codec::encode(*object.message);
  Node out = Node::map_of({});
  for (const codec::Member& m : wanted.members) {
    const Node* has = now.find(m.key);
    if (has == nullptr || !same_value(*object.resource->field(m.key), *has, m.value))
      out.add(m.key, m.value);
  }
  for (const std::string& field : object.cleared) {
    if (now.find(field) != nullptr) out.add(field, Node{});
  }
  return out;
}

/// The value of a field for people. Secrets stay secret.
std::string words_of(const Message& message, const FieldSpec& field, const NameTable& names) {
  if (field.secret) return codec::has_field(message, field.name) ? "(secret)" : "";
  if (field.is_reference()) {
    std::vector<std::string> words;
    for (const std::string& raw : codec::reference_ids(message, field))
      words.push_back(names.name_of(raw));
    if (field.repeated) std::sort(words.begin(), words.end());
    return fmt::format("{}", fmt::join(words, ", "));
  }
  return fmt::format("{}", fmt::join(codec::field_texts(message, field), ", "));
}

/// What the members of `body` do to `before` (nullptr: nothing there yet).
std::vector<FieldChange> changes_of(const Node& body, const Message* before, const Message& after,
                                    const NameTable& names) {
  std::vector<FieldChange> out;
  const ResourceSpec& resource = *codec::resource_of(after);
  for (const codec::Member& m : body.members) {
    const FieldSpec& field = *resource.field(m.key);
    if (before == nullptr && (field.name == "id" || field.name == "name")) continue;
    out.push_back({field.name, before != nullptr ? words_of(*before, field, names) : "",
                   words_of(after, field, names)});
  }
  return out;
}

/// The existing objects, and which of them the objects of a file are.
class Matcher {
 public:
  explicit Matcher(const Existing& existing) {
    for (const Message* m : existing) {
      table_.add(*m);
      const ResourceSpec* type = codec::resource_of(*m);
      by_id_[codec::get_raw(*m, "id")] = m;
      if (codec::get_raw(*m, "name").empty()) {
        nameless_[type].push_back(m);
      } else {
        by_key_[codec::name_key(*m)] = m;
      }
    }
  }

  NameTable& table() { return table_; }

  /// Resolves what can be resolved by now; whether all could.
  bool resolve(CloudObject& object, Problems* problems) {
    Problems found = codec::resolve(
        object,
        [&](const auto& type, auto tenant, auto name) { return table_.id_of(type, tenant, name); },
        [&](const auto& type) { return table_.names(type); });
    const bool all = found.empty();
    if (problems != nullptr) problems->insert(problems->end(), found.begin(), found.end());
    return all;
  }

  /// The existing object that this one is; nullptr: none. Its references, as far as its name's scope needs them, must
  /// be resolved.
  const Message* find(const CloudObject& object, Problems& problems) const {
    const std::string id = codec::get_raw(*object.message, "id");
    const auto with_id = by_id_.find(id);
    if (!id.empty() && with_id != by_id_.end()) return with_id->second;
    if (object.name.empty()) return nullptr;
    const auto with_name = by_key_.find(codec::name_key(*object.message));
    if (with_name == by_key_.end()) return nullptr;
    if (!id.empty()) {
      problems.push_back(
          {object.path + ".id", object.line,
           fmt::format("the {} {} exists with the id {}", object.resource->singular,
                       codec::in_quotes(object.name), codec::get_text(*with_name->second, "id")),
           "leave out the id, or give the object another name"});
    }
    return with_name->second;
  }

  /// An object without name or id is one that has all it says, and is taken once.
  const Message* find_nameless(const CloudObject& object) {
    const auto list = nameless_.find(object.resource);
    if (list == nameless_.end()) return nullptr;
    for (auto it = list->second.begin(); it != list->second.end(); ++it) {
      if (!difference(object, **it).members.empty()) continue;
      const Message* match = *it;
      list->second.erase(it);
      return match;
    }
    return nullptr;
  }

 private:
  NameTable table_;
  std::map<std::string, const Message*> by_id_;
  std::map<std::string, const Message*> by_key_;
  std::map<const ResourceSpec*, std::vector<const Message*>> nameless_;
};

bool is_nameless(const CloudObject& object) {
  return object.name.empty() && codec::get_raw(*object.message, "id").empty();
}

PlanStep step_for(const CloudObject& object, PlanStep::Kind kind) {
  PlanStep step;
  step.kind = kind;
  step.resource = object.resource;
  step.id = codec::get_text(*object.message, "id");
  step.label = object.label();
  step.line = object.line;
  return step;
}

/// The members of `body` that a circle of references holds back go into a step of their own, for the end.
void hold_back(const CloudObject& object, PlanStep& step, std::vector<PlanStep>& finishing) {
  PlanStep finish = step;
  finish.kind = PlanStep::Kind::finish;
  finish.body.members.clear();
  finish.changes.clear();
  for (auto it = step.body.members.begin(); it != step.body.members.end();) {
    if (std::find(object.late.begin(), object.late.end(), it->key) == object.late.end()) {
      ++it;
      continue;
    }
    finish.body.members.push_back(std::move(*it));
    it = step.body.members.erase(it);
  }
  if (!finish.body.members.empty()) finishing.push_back(std::move(finish));
}

PlanStep plan_update(const CloudObject& object, const Message& existing, const NameTable& names,
                     Problems& problems) {
  PlanStep step = step_for(object, PlanStep::Kind::unchanged);
  step.id = codec::get_text(existing, "id");
  step.body = difference(object, existing);
  for (const codec::Member& m : step.body.members) {
    const FieldSpec& field = *object.resource->field(m.key);
    if (field.immutable) {
      problems.push_back(
          {object.path + "." + field.name, object.line,
           fmt::format("this field of {} can be set at creation only", object.label()),
           "delete the object and create it anew, or leave the field as it is"});
    }
  }
  step.changes = changes_of(step.body, &existing, *object.message, names);
  if (!step.body.members.empty()) step.kind = PlanStep::Kind::update;
  return step;
}

}  // namespace

std::vector<const ResourceSpec*> needed_types(const std::vector<CloudObject>& objects) {
  std::set<const ResourceSpec*> needed;
  for (const CloudObject& o : objects) {
    needed.insert(o.resource);
    for (const codec::NameReference& r : o.references) needed.insert(&r.field->target());
  }
  return {needed.begin(), needed.end()};
}

void give_tenant(std::vector<CloudObject>& objects, const std::string& tenant) {
  if (tenant.empty()) return;
  for (CloudObject& o : objects) {
    if (o.resource->field("tenant") != nullptr && o.tenant().empty())
      codec::set_raw(*o.message, "tenant", tenant);
  }
}

std::vector<PlanStep> plan_apply(std::vector<CloudObject>& objects, const Existing& existing,
                                 Problems& problems) {
  const size_t before = problems.size();
  Matcher matcher(existing);
  std::vector<const Message*> matches(objects.size(), nullptr);
  // First who is who. A name's scope refers to types that come earlier, so going in order is enough.
  for (size_t i = 0; i < objects.size(); ++i) {
    CloudObject& o = objects[i];
    (void)matcher.resolve(o, nullptr);
    if (is_nameless(o)) continue;
    matches[i] = matcher.find(o, problems);
    if (matches[i] != nullptr) {
      codec::set_raw(*o.message, "id", codec::get_raw(*matches[i], "id"));
    } else if (codec::get_raw(*o.message, "id").empty()) {
      codec::set_raw(*o.message, "id", Uuid::random().raw());
    }
    matcher.table().add(*o.message);
  }
  for (CloudObject& o : objects) (void)matcher.resolve(o, &problems);
  if (problems.size() != before) return {};

  std::vector<PlanStep> steps, finishing;
  for (size_t i = 0; i < objects.size(); ++i) {
    CloudObject& o = objects[i];
    if (is_nameless(o)) {
      matches[i] = matcher.find_nameless(o);
      if (matches[i] == nullptr) codec::set_raw(*o.message, "id", Uuid::random().raw());
    }
    PlanStep step;
    if (matches[i] != nullptr) {
      step = plan_update(o, *matches[i], matcher.table(), problems);
    } else {
      for (codec::Problem& p : codec::validate(*o.message, o.path, o.line))
        problems.push_back(std::move(p));
      step = step_for(o, PlanStep::Kind::create);
      step.body = codec::encode(*o.message);
      step.changes = changes_of(step.body, nullptr, *o.message, matcher.table());
      if (o.resource->singular == "token") {
        problems.push_back({o.path, o.line,
                            "a file cannot make tokens: their secret is shown only once",
                            "make it with plexus token create"});
      }
    }
    hold_back(o, step, finishing);
    steps.push_back(std::move(step));
  }
  std::move(finishing.begin(), finishing.end(), std::back_inserter(steps));
  return steps;
}

std::vector<PlanStep> plan_delete(std::vector<CloudObject>& objects, const Existing& existing,
                                  Problems& problems) {
  Matcher matcher(existing);
  std::vector<PlanStep> steps;
  for (CloudObject& o : objects) {
    const bool resolved = matcher.resolve(o, nullptr);
    const Message* match = nullptr;
    if (is_nameless(o)) {
      if (resolved) match = matcher.find_nameless(o);
    } else {
      match = matcher.find(o, problems);
    }
    PlanStep step = step_for(o, match != nullptr ? PlanStep::Kind::remove : PlanStep::Kind::absent);
    if (match != nullptr) step.id = codec::get_text(*match, "id");
    steps.push_back(std::move(step));
  }
  std::reverse(steps.begin(), steps.end());
  return steps;
}

std::vector<const ResourceSpec*> mentioned_types(std::string_view file) {
  Problems problems;
  const Node root = codec::parse_yaml(file, problems);
  std::vector<const ResourceSpec*> out;
  for (const codec::Member& m : root.members) {
    if (const ResourceSpec* type = codec::find_collection(m.key)) out.push_back(type);
  }
  return out;
}

Pruning plan_prune(const std::vector<CloudObject>& objects,
                   const std::vector<const ResourceSpec*>& mentioned,
                   const std::vector<PlanStep>& steps, const Existing& existing,
                   const std::string& own_tenant) {
  Pruning out;
  std::set<std::string> tenants, kept;
  for (const CloudObject& o : objects) {
    if (o.resource->field("tenant") != nullptr) tenants.insert(o.tenant());
  }
  if (tenants.empty()) tenants.insert(own_tenant);
  for (const PlanStep& step : steps) kept.insert(step.id);
  // What refers to something that a tenant's token does not see was made for the tenant, who could not make it again.
  std::set<std::string> seen;
  for (const Message* m : existing) seen.insert(codec::get_text(*m, "id"));
  const auto is_made_for_it = [&](const Message& m) {
    if (own_tenant.empty()) return false;
    for (const FieldSpec& f : codec::resource_of(m)->fields) {
      if (!f.is_reference() || f.target().field("tenant") == nullptr) continue;
      for (const std::string& raw : codec::reference_ids(m, f))
        if (!seen.contains(codec::text_form(f.kind, raw))) return true;
    }
    return false;
  };
  std::set<std::string> going;  // ids
  for (const Message* m : existing) {
    const ResourceSpec* type = codec::resource_of(*m);
    if (type->field("tenant") == nullptr || type->singular == "token" ||
        std::find(mentioned.begin(), mentioned.end(), type) == mentioned.end() ||
        !tenants.contains(codec::get_text(*m, "tenant")) ||
        codec::get_text(*m, "deleting") == "true" || is_made_for_it(*m)) {
      continue;
    }
    ++out.in_scope;
    if (!kept.contains(codec::get_text(*m, "id"))) going.insert(codec::get_text(*m, "id"));
  }
  // What something refers to that stays, or that must wait itself, has to wait.
  std::set<std::string> waiting;
  std::vector<std::string> to_visit;
  const auto must_wait = [&](const std::string& id) {
    if (going.contains(id) && waiting.insert(id).second) to_visit.push_back(id);
  };
  std::map<std::string, std::vector<std::string>> refers_to;
  for (const Message* m : existing) {
    const std::string id = codec::get_text(*m, "id");
    for (const FieldSpec& f : codec::resource_of(*m)->fields) {
      if (!f.is_reference()) continue;
      for (const std::string& raw : codec::reference_ids(*m, f)) {
        const std::string target = codec::text_form(f.kind, raw);
        if (going.contains(id)) {
          refers_to[id].push_back(target);
        } else {
          must_wait(target);
        }
      }
    }
  }
  while (!to_visit.empty()) {
    const std::string id = std::move(to_visit.back());
    to_visit.pop_back();
    for (const std::string& target : refers_to[id]) must_wait(target);
  }
  // Referring types first.
  std::vector<const Message*> in_order;
  for (const ResourceSpec& type : codec::resources()) {
    for (const Message* m : existing) {
      if (codec::resource_of(*m) == &type && going.contains(codec::get_text(*m, "id")))
        in_order.push_back(m);
    }
  }
  for (auto it = in_order.rbegin(); it != in_order.rend(); ++it) {
    PlanStep step;
    step.kind = PlanStep::Kind::remove;
    step.resource = codec::resource_of(**it);
    step.id = codec::get_text(**it, "id");
    const std::string name = codec::get_text(**it, "name");
    step.label = step.resource->singular + " " + (name.empty() ? step.id : name);
    (waiting.contains(step.id) ? out.last : out.first).push_back(std::move(step));
  }
  return out;
}

}  // namespace plexus::cli
