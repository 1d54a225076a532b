// SPDX-License-Identifier: Apache-2.0
#include "codec/cloud_file.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <map>
#include <set>

#include "codec/json.h"
#include "codec/nearest.h"
#include "codec/yaml.h"

namespace plexus::codec {
namespace {

namespace pb = google::protobuf;

void append(Problems& to, Problems from) {
  for (Problem& p : from) {
    if (to.size() >= kMaxProblems) return;
    to.push_back(std::move(p));
  }
}

/// Fields of one key never run into each other.
std::string joined(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (const std::string_view part : parts) {
    out += part;
    out += '\0';
  }
  return out;
}

/// The text of a field of an object whose references may still be names.
std::string unresolved_text(const CloudObject& object, const std::string& field) {
  for (const NameReference& r : object.references) {
    if (r.field->name == field) return r.name;
  }
  return get_text(*object.message, field);
}

std::string unresolved_key(const CloudObject& object) {
  std::string key = joined({object.resource->type, object.name});
  for (const std::string& field : object.resource->name_scope)
    key += joined({unresolved_text(object, field)});
  return key;
}

class Orderer {
 public:
  explicit Orderer(std::vector<CloudObject>& objects) : objects_(objects) {
    for (size_t i = 0; i < objects.size(); ++i) {
      if (!objects[i].name.empty())
        by_name_[joined({objects[i].resource->type, objects[i].name})].push_back(i);
      const std::string id = get_raw(*objects[i].message, "id");
      if (!id.empty()) by_id_[id] = i;
    }
    state_.resize(objects.size(), State::fresh);
  }

  /// Types come in the order of resources() already; within a type, what is referred to goes first. A reference that
  /// closes a circle becomes late.
  std::vector<CloudObject> run() {
    for (size_t i = 0; i < objects_.size(); ++i) visit(i);
    std::vector<CloudObject> out;
    out.reserve(order_.size());
    for (const size_t i : order_) out.push_back(std::move(objects_[i]));
    return out;
  }

 private:
  enum class State : uint8_t { fresh, open, placed };

  /// The objects of this file that a reference field may mean. With several tenants a name may fit several: all count.
  std::vector<size_t> targets(const CloudObject& object, const FieldSpec& field) const {
    std::vector<size_t> found;
    for (const NameReference& r : object.references) {
      if (r.field != &field) continue;
      const auto it = by_name_.find(joined({field.reference, r.name}));
      if (it != by_name_.end()) found.insert(found.end(), it->second.begin(), it->second.end());
    }
    for (const std::string& id : reference_ids(*object.message, field)) {
      if (const auto it = by_id_.find(id); it != by_id_.end()) found.push_back(it->second);
    }
    return found;
  }

  struct Step {
    size_t object;
    std::vector<std::pair<const FieldSpec*, size_t>> edges;
    size_t next = 0;
  };

  Step open(size_t i) {
    state_[i] = State::open;
    Step step{i, {}, 0};
    for (const FieldSpec& f : objects_[i].resource->fields) {
      if (!f.is_reference() || f.reference != objects_[i].resource->type) continue;
      for (const size_t target : targets(objects_[i], f)) step.edges.emplace_back(&f, target);
    }
    return step;
  }

  /// Depth first, with its own stack: a chain of references may be as long as the file.
  void visit(size_t root) {
    if (state_[root] != State::fresh) return;
    std::vector<Step> stack;
    stack.push_back(open(root));
    while (!stack.empty()) {
      Step& step = stack.back();
      if (step.next == step.edges.size()) {
        state_[step.object] = State::placed;
        order_.push_back(step.object);
        stack.pop_back();
        continue;
      }
      const auto [field, target] = step.edges[step.next++];
      if (state_[target] == State::open) {
        std::vector<std::string>& late = objects_[step.object].late;
        if (std::find(late.begin(), late.end(), field->name) == late.end())
          late.push_back(field->name);
      } else if (state_[target] == State::fresh) {
        stack.push_back(open(target));
      }
    }
  }

  std::vector<CloudObject>& objects_;
  std::map<std::string, std::vector<size_t>> by_name_;
  std::map<std::string, size_t> by_id_;
  std::vector<State> state_;
  std::vector<size_t> order_;
};

void parse_collection(const ResourceSpec& resource, const Node& list,
                      std::vector<CloudObject>& objects, Problems& problems) {
  if (list.kind == Node::Kind::null) return;
  if (list.kind != Node::Kind::list) {
    append(
        problems,
        {{resource.collection, list.line,
          fmt::format("expected a list of {}, found {}", resource.collection, describe(list.kind)),
          "start each object with a dash: - name: ..."}});
    return;
  }
  for (size_t i = 0; i < list.items.size(); ++i) {
    CloudObject object;
    object.resource = &resource;
    object.message = resource.new_message();
    object.path = fmt::format("{}[{}]", resource.collection, i);
    object.line = list.items[i].line;
    DecodeOptions options;
    options.path = object.path;
    options.names = &object.references;
    options.cleared = &object.cleared;
    Problems found = decode(list.items[i], options, *object.message);
    object.name = get_text(*object.message, "name");
    const bool named = !object.name.empty() || !found.empty();
    const FieldSpec* name = resource.field("name");
    if (!named && name != nullptr && name->required && !has_field(*object.message, "id")) {
      found.push_back({object.path, object.line, "a " + resource.singular + " without a name",
                       "add name: ..."});
    }
    append(problems, std::move(found));
    objects.push_back(std::move(object));
  }
}

/// What YAML says of JSON that ends too early is about something else.
Problems cut_off(std::string_view text) {
  Problems problems;
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin != std::string_view::npos && text[begin] == '{') (void)parse_json(text, problems);
  std::erase_if(problems, [](const Problem& p) { return !p.what.ends_with("found the end"); });
  return problems;
}

}  // namespace

std::string CloudObject::label() const {
  return name.empty() ? fmt::format("{} (line {})", resource->singular, line)
                      : resource->singular + " " + name;
}

std::vector<CloudObject> parse_cloud_file(std::string_view text, Problems& problems) {
  const size_t before = problems.size();
  Problems unread;
  const Node root = parse_yaml(text, unread);
  if (!unread.empty()) {
    Problems early = cut_off(text);
    append(problems, early.empty() ? std::move(unread) : std::move(early));
    return {};
  }
  if (root.kind == Node::Kind::null) return {};
  if (root.kind != Node::Kind::map) {
    problems.push_back({{},
                        root.line,
                        fmt::format("expected collections, found {}", describe(root.kind)),
                        "start with a line like 'bridges:'"});
    return {};
  }
  for (const Member& m : root.members) {
    if (find_collection(m.key) == nullptr) {
      append(problems, {{{},
                         m.line,
                         "unknown collection " + in_quotes(m.key),
                         suggestion(m.key, collection_names())}});
    }
  }
  std::vector<CloudObject> objects;
  for (const ResourceSpec& resource : resources()) {
    const Node* list = root.find(resource.collection);
    if (list != nullptr) parse_collection(resource, *list, objects, problems);
  }
  std::map<std::string, int> line_of_name;
  for (const CloudObject& o : objects) {
    if (o.name.empty()) continue;
    const auto [it, is_new] = line_of_name.emplace(unresolved_key(o), o.line);
    if (!is_new) {
      append(problems, {{o.path + ".name", o.line,
                         fmt::format("the {} {} is already in line {}", o.resource->singular,
                                     in_quotes(o.name), it->second),
                         "give it another name, or remove one of the two"}});
    }
  }
  if (problems.size() != before) return {};
  return Orderer(objects).run();
}

Problems resolve(CloudObject& object, const IdOfName& id_of, const NamesOfType& names_of) {
  Problems problems;
  const std::string tenant = object.tenant();
  for (const NameReference& r : object.references) {
    const ResourceSpec& type = r.field->target();
    if (const auto id = id_of(type, tenant, r.name)) {
      set_reference(*object.message, r, *id);
      continue;
    }
    std::string remedy;
    const std::vector<std::string> names = names_of ? names_of(type) : std::vector<std::string>();
    if (std::count(names.begin(), names.end(), r.name) > 1) {
      problems.push_back(
          {object.path + "." + r.field->name, r.line,
           fmt::format("several {} are called {}", type.collection, in_quotes(r.name)),
           "write the id of the one that is meant, or give them names of their own"});
      continue;
    }
    if (names_of) remedy = suggestion(r.name, names);
    if (remedy.empty()) remedy = "create it first";
    problems.push_back({object.path + "." + r.field->name, r.line,
                        fmt::format("there is no {} {}", type.singular, in_quotes(r.name)),
                        std::move(remedy)});
  }
  return problems;
}

std::string name_key(const pb::Message& message) {
  const ResourceSpec* resource = resource_of(message);
  PLEXUS_CHECK(resource != nullptr, "only resources have name keys");
  std::string key = joined({resource->type, get_text(message, "name")});
  for (const std::string& field : resource->name_scope) key += joined({get_text(message, field)});
  return key;
}

void NameTable::add(const pb::Message& message) {
  const ResourceSpec* type = resource_of(message);
  const auto id = Uuid::from_bytes(get_raw(message, "id"));
  if (type == nullptr || !id) return;
  add(*type, get_text(message, "tenant"), get_text(message, "name"), *id);
}

void NameTable::add(const ResourceSpec& type, std::string_view tenant, std::string_view name,
                    const Uuid& id) {
  if (name.empty()) return;
  if (const auto known = by_id_.find(id); known != by_id_.end()) {
    Entry& e = entries_[known->second];
    std::erase(by_name_[joined({e.type->type, e.tenant, e.name})], known->second);
    e = {&type, std::string(tenant), std::string(name), id};
    by_name_[joined({type.type, tenant, name})].push_back(known->second);
    return;
  }
  entries_.push_back({&type, std::string(tenant), std::string(name), id});
  by_id_[id] = entries_.size() - 1;
  by_name_[joined({type.type, tenant, name})].push_back(entries_.size() - 1);
}

std::optional<Uuid> NameTable::id_of(const ResourceSpec& type, std::string_view tenant,
                                     std::string_view name) const {
  const std::vector<size_t>* found = find(type, tenant, name);
  if (found == nullptr || found->size() > 1) return std::nullopt;
  return entries_[found->front()].id;
}

bool NameTable::is_ambiguous(const ResourceSpec& type, std::string_view tenant,
                             std::string_view name) const {
  const std::vector<size_t>* found = find(type, tenant, name);
  return found != nullptr && found->size() > 1;
}

const std::vector<size_t>* NameTable::find(const ResourceSpec& type, std::string_view tenant,
                                           std::string_view name) const {
  for (const std::string_view t : {tenant, std::string_view()}) {
    const auto it = by_name_.find(joined({type.type, t, name}));
    if (it != by_name_.end() && !it->second.empty()) return &it->second;
  }
  return nullptr;
}

std::string NameTable::name_of(std::string_view raw_id) const {
  const auto id = Uuid::from_bytes(raw_id);
  if (!id) return text_form(ValueKind::uuid, raw_id);
  const auto it = by_id_.find(*id);
  return it == by_id_.end() ? id->str() : entries_[it->second].name;
}

std::vector<std::string> NameTable::names(const ResourceSpec& type) const {
  std::vector<std::string> out;
  for (const Entry& e : entries_) {
    if (e.type == &type) out.push_back(e.name);
  }
  return out;
}

}  // namespace plexus::codec
