// SPDX-License-Identifier: Apache-2.0
// One collection and one object: list, read, create, change, remove.
#include <fmt/format.h>

#include <algorithm>

#include "api/answers.h"
#include "api/api.h"
#include "api/zone_cover.h"
#include "codec/decode.h"
#include "codec/encode.h"
#include "codec/json.h"
#include "codec/nearest.h"
#include "plexus/v1/resources.pb.h"
#include "store/topology/layout.h"
#include "store/topology/schema.h"

namespace plexus::api {

using codec::Node;
using codec::Problems;
using codec::ResourceSpec;
using google::protobuf::Message;

namespace {

constexpr uint32_t kMaxPage = 1000;
constexpr std::string_view kPageToken = "p-";

/// The page token: after which id the next page begins. Ids do not move when objects come and go.
std::string page_token(const Uuid& after) {
  return std::string(kPageToken) + after.str();
}

std::optional<Uuid> parse_page_token(std::string_view text) {
  if (text.substr(0, kPageToken.size()) != kPageToken) return std::nullopt;
  return Uuid::parse(text.substr(kPageToken.size()));
}

Result<std::vector<codec::Filter>> filters_of(const Request& request,
                                              const ResourceSpec& resource) {
  std::vector<codec::Filter> filters;
  for (const auto& [key, value] : request.query) {
    if (key == "limit" || key == "after") continue;
    auto filter = codec::parse_filter(resource, key, value);
    if (!filter) return filter.error();
    filters.push_back(std::move(*filter));
  }
  return filters;
}

bool matches_all(const Message& message, const std::vector<codec::Filter>& filters) {
  return std::all_of(filters.begin(), filters.end(),
                     [&](const auto& f) { return matches(message, f); });
}

/// A tunnel zone that is changed must not leave hosts without one.
Result<void> keep_covered(store::Store& store, const Message& message) {
  const auto* zone = dynamic_cast<const v1::TunnelZone*>(&message);
  if (zone == nullptr) return Ok{};
  ZoneChanges changes;
  changes.becomes(*zone);
  return check_hosts_stay_covered(store, changes);
}

/// The answer to a removal: what else it touched, as far as the caller sees it.
Node removal_answer(const Caller& caller, const std::vector<store::Touched>& touched) {
  constexpr size_t kNamed = 100;
  struct Part {
    std::string_view count, objects;
    size_t n = 0;
    Node list = Node::list_of({});
  };
  Part cascaded{"cascaded", "cascaded_objects"}, cleared{"cleared", "cleared_objects"};
  for (const store::Touched& t : touched) {
    const ResourceSpec& type = *codec::find_type(t.type->name());
    if (caller.limited() && (!belongs_to_tenants(type) || !caller.sees(t.tenant))) continue;
    Part& part = t.removed ? cascaded : cleared;
    if (++part.n > kNamed) continue;
    Node object = Node::map_of({});
    object.add("collection", Node::of_text(type.collection));
    object.add("id", Node::of_text(t.id.str()));
    if (!t.name.empty()) object.add("name", Node::of_text(t.name));
    part.list.items.push_back(std::move(object));
  }
  Node out = Node::map_of({});
  out.add("removed", Node::of_number(1));
  for (Part* part : {&cascaded, &cleared}) out.add(part->count, Node::of_number(part->n));
  for (Part* part : {&cascaded, &cleared}) {
    if (part->n > 0) out.add(part->objects, std::move(part->list));
  }
  return out;
}

}  // namespace

Response Api::resource_answer(int status, const store::StoredResource& stored,
                              std::string_view secret) {
  Node node = codec::encode(*stored.message);
  if (!secret.empty()) node.add("secret", Node::of_text(secret));
  Response r = json_answer(status, node);
  r.headers.emplace_back("ETag", etag_of(stored.version));
  r.headers.emplace_back("Plexus-Revision", feed_.token(stored.revision));
  return r;
}

/// What this server must know at once of a change that it made.
void Api::changed(const ResourceSpec& resource) {
  if (resource.descriptor != v1::Token::descriptor()) return;
  (void)tokens_.reload().ok();  // otherwise the change log brings it
  feed_.check_streams();
}

Result<store::StoredResource> Api::look_up(const Call& call, const ResourceSpec& resource,
                                           const std::string& id_or_name) {
  store::TopologyWriter writer(store_);
  const Caller& caller = call.caller;
  const Error missing{ErrorCode::not_found, fmt::format("there is no {} {}", resource.singular,
                                                        codec::in_quotes(id_or_name))};
  if (const auto id = Uuid::parse(id_or_name)) {
    auto found = writer.get(*resource.descriptor, *id);
    if (found && !sees(caller, resource, *found->message))
      return Error{ErrorCode::not_found,
                   fmt::format("there is no {} {}", resource.singular, id->str())};
    return found;
  }
  // With a scope of at most one field the writer's index of names answers, otherwise (the same name in several
  // tenants) all are looked at.
  if (resource.name_scope.size() <= 1) {
    std::optional<std::string> scope;
    const bool by_tenant = !resource.name_scope.empty() && resource.name_scope[0] == "tenant";
    if (resource.name_scope.empty() || by_tenant) scope = "";
    if (!resource.name_scope.empty()) {
      if (const auto given = call.request.parameter(resource.name_scope[0])) scope = given;
    }
    if (by_tenant && caller.limited()) {
      if (!scope->empty() && *scope != caller.tenant) return missing;
      scope = caller.tenant;
    }
    if (scope) {
      auto found = writer.find(*resource.descriptor, *scope, id_or_name);
      if (found && !sees(caller, resource, *found->message)) return missing;
      if (found || found.error().code != ErrorCode::not_found || resource.name_scope.empty())
        return found;
      if (by_tenant && caller.limited()) return missing;
    }
  }
  auto filters = filters_of(call.request, resource);
  if (!filters) return filters.error();
  auto all = writer.list(*resource.descriptor);
  if (!all) return all.error();
  store::StoredResource* match = nullptr;
  for (store::StoredResource& stored : *all) {
    if (codec::get_raw(*stored.message, "name") != id_or_name ||
        !sees(caller, resource, *stored.message) || !matches_all(*stored.message, *filters)) {
      continue;
    }
    if (match != nullptr) {
      return Error{
          ErrorCode::exists,
          fmt::format("several {} are called {}; use the id, or add ?{}=...", resource.collection,
                      codec::in_quotes(id_or_name), fmt::join(resource.name_scope, "=...&"))};
    }
    match = &stored;
  }
  if (match == nullptr) return missing;
  return std::move(*match);
}

/// Objects with an id above `after`, in the order of ids, at most `limit`. Reads no more directories than it needs.
Result<std::vector<store::StoredResource>> Api::page(
    const ResourceSpec& resource, const Uuid& after, size_t limit,
    const std::function<bool(const Message&)>& wanted) {
  const std::string directory = store::objects_path(resource.singular);
  auto names = store_.list(directory);
  if (!names) return names.error();
  const std::string first = after.str().substr(0, 2);
  // "<directory>/hh/<36 characters>"; what is longer is an index.
  const size_t length = directory.size() + 4 + 36;
  std::vector<store::StoredResource> out;
  for (const std::string& name : *names) {
    if (name < first) continue;
    auto records = store_.scan(directory + "/" + name);
    if (!records) return records.error();
    for (const auto& [path, record] : *records) {
      if (path.size() != length) continue;
      const auto id = Uuid::parse(std::string_view(path).substr(length - 36));
      if (!id || *id <= after) continue;
      store::StoredResource stored{store::new_message(*resource.descriptor), record.version,
                                   record.revision};
      if (!stored.message->ParseFromString(record.value)) {
        return Error{ErrorCode::internal,
                     "the record " + path + " is damaged: it cannot be decoded"};
      }
      if (!wanted(*stored.message)) continue;
      out.push_back(std::move(stored));
      if (out.size() == limit) return out;
    }
  }
  return out;
}

Response Api::list(const Call& call, const ResourceSpec& resource) {
  const Request& request = call.request;
  auto filters = filters_of(request, resource);
  if (!filters) return problem(400, filters.error().message);
  const auto wanted = [&](const Message& message) {
    return sees(call.caller, resource, message) && matches_all(message, *filters);
  };
  const auto limit = number_parameter(request, "limit", kMaxPage, kMaxPage);
  if (!limit) return problem(400, limit.error().message);
  const auto after = request.parameter("after");
  const auto place = after ? parse_page_token(*after) : Uuid{};
  if (!place) {
    return problem(400, "after: " + codec::in_quotes(*after) +
                            " is no page; give what the last answer called \"next\"");
  }
  const bool paged = after || request.parameter("limit");
  // The revision first: the list holds at least all that it promises.
  const auto revision = store_.sync();
  if (!revision) return failure(revision.error());
  std::vector<store::StoredResource> found;
  if (paged) {
    auto some = page(resource, *place, size_t{*limit} + 1, wanted);
    if (!some) return failure(some.error());
    found = std::move(*some);
  } else {
    auto all = store::TopologyWriter(store_).list(*resource.descriptor);
    if (!all) return failure(all.error());
    std::erase_if(*all, [&](const auto& s) { return !wanted(*s.message); });
    std::stable_sort(all->begin(), all->end(), [](const auto& a, const auto& b) {
      return codec::get_raw(*a.message, "name") < codec::get_raw(*b.message, "name");
    });
    found = std::move(*all);
  }
  const bool more = paged && found.size() > *limit;
  if (more) found.pop_back();
  Node items = Node::list_of({});
  for (const store::StoredResource& stored : found)
    items.items.push_back(codec::encode(*stored.message));
  Node out = Node::map_of({});
  out.add("items", std::move(items));
  out.add("revision", Node::of_text(feed_.token(*revision)));
  if (more) out.add("next", Node::of_text(page_token(store::id_of(*found.back().message))));
  Response r = json_answer(200, out);
  r.headers.emplace_back("Plexus-Revision", feed_.token(*revision));
  return r;
}

Response Api::create(const Call& call, const ResourceSpec& resource) {
  auto body = body_of(call.request);
  if (auto* answer = std::get_if<Response>(&body)) return std::move(*answer);
  const codec::MessagePtr message = resource.new_message();
  Problems problems = codec::decode(std::get<Node>(body), {}, *message);
  if (problems.empty()) {
    auto refused = Tenancy(store_, call.caller).check_new(resource, *message, {});
    if (!refused) return failure(refused.error());
    problems = std::move(*refused);
  }
  if (problems.empty()) problems = codec::validate(*message);
  std::string secret;
  if (resource.descriptor == v1::Token::descriptor()) {
    auto& token = static_cast<v1::Token&>(*message);
    if (problems.empty() && token.role() == v1::TENANT && token.tenant().empty()) {
      problems.push_back({"tenant", 0, "a token with role tenant is for one tenant",
                          "set it to the tenant's name"});
    }
    if (problems.empty() && token.role() == v1::ADMIN && token.has_tenant()) {
      problems.push_back({"tenant", 0, "a token with role admin is for all tenants",
                          "leave it out, or choose role tenant"});
    }
    if (problems.empty() && !token.tenant().empty()) {
      // A mistyped name would be a tenant of its own, without limits.
      const auto tenant =
          store::TopologyWriter(store_).find(*v1::Tenant::descriptor(), "", token.tenant());
      if (!tenant && tenant.error().code != ErrorCode::not_found) return failure(tenant.error());
      if (!tenant) {
        problems.push_back({"tenant", 0, "there is no tenant " + codec::in_quotes(token.tenant()),
                            "create it first"});
      }
    }
    Secret made = make_secret();
    token.set_sha256(made.sha256);
    secret = std::move(made.text);
  }
  if (!problems.empty()) return failure(422, problems);
  const auto stored = store::TopologyWriter(store_, call.author()).create(*message);
  if (!stored) return failure(stored.error());
  changed(resource);
  Response r = resource_answer(201, *stored, secret);
  r.headers.emplace_back("Location", fmt::format("/v1/{}/{}", resource.collection,
                                                 codec::get_text(*stored->message, "id")));
  if (!secret.empty()) r.headers.emplace_back("Cache-Control", "no-store");
  return r;
}

Response Api::change(const Call& call, const ResourceSpec& resource, const Uuid& id, bool whole) {
  auto body = body_of(call.request);
  if (auto* answer = std::get_if<Response>(&body)) return std::move(*answer);
  const Node& node = std::get<Node>(body);
  const Condition condition = condition_of(call.request.if_match);
  Tenancy tenancy(store_, call.caller);
  if (auto exists = tenancy.check_exists(resource, id); !exists) return failure(exists.error());
  codec::DecodeOptions options;
  options.merge = whole ? codec::Merge::put : codec::Merge::patch;
  Problems problems;
  const auto stored = store::TopologyWriter(store_, call.author())
                          .modify(
                              *resource.descriptor, id,
                              [&](Message& message) -> Result<void> {
                                const codec::MessagePtr before = codec::clone(message);
                                problems = codec::decode(node, options, message);
                                if (problems.empty()) {
                                  auto refused =
                                      tenancy.check_change(resource, *before, message, node, {});
                                  if (!refused) return refused.error();
                                  problems = std::move(*refused);
                                }
                                if (problems.empty()) problems = codec::validate(message);
                                if (!problems.empty()) return codec::to_error(problems);
                                return keep_covered(store_, message);
                              },
                              condition.version);
  if (!problems.empty()) return failure(422, problems);
  if (!stored) return failure(stored.error(), condition.given);
  changed(resource);
  return resource_answer(200, *stored);
}

Response Api::remove(const Call& call, const ResourceSpec& resource, const Uuid& id) {
  const Condition condition = condition_of(call.request.if_match);
  if (auto may = Tenancy(store_, call.caller).check_removal(resource, id); !may)
    return failure(may.error());
  if (resource.descriptor == v1::TunnelZone::descriptor()) {
    ZoneChanges changes;
    changes.goes(id);
    if (auto may = check_hosts_stay_covered(store_, changes); !may) return failure(may.error());
  }
  const auto removed = store::TopologyWriter(store_, call.author())
                           .remove(*resource.descriptor, id, condition.version);
  if (!removed) return failure(removed.error(), condition.given);
  changed(resource);
  Response r = json_answer(200, removal_answer(call.caller, removed->touched));
  r.headers.emplace_back("Plexus-Revision", feed_.token(removed->revision));
  return r;
}

}  // namespace plexus::api
