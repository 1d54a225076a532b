// SPDX-License-Identifier: Apache-2.0
// POST /v1/batch: several operations in one transaction.
#include <fmt/format.h>

#include <optional>

#include "api/answers.h"
#include "api/api.h"
#include "api/zone_cover.h"
#include "codec/batch_document.h"
#include "codec/decode.h"
#include "plexus/v1/resources.pb.h"
#include "store/topology/schema.h"

namespace plexus::api {

using codec::BatchOperation;
using codec::Node;
using codec::Problems;
using google::protobuf::Message;
using Verb = BatchOperation::Verb;

Response Api::batch(const Call& call) {
  auto body = body_of(call.request);
  if (auto* answer = std::get_if<Response>(&body)) return std::move(*answer);
  Problems problems;
  codec::BatchDocument document = codec::parse_batch(
      std::move(std::get<Node>(body)), store::TopologyWriter::kMaxOperations, problems);
  const auto blame = [](size_t index) { return fmt::format(",\"operation\":{}", index); };
  if (!problems.empty())
    return failure(422, problems, document.failed ? blame(*document.failed) : std::string());

  Tenancy tenancy(store_, call.caller);
  std::vector<store::Operation> operations;
  size_t failing = 0;  // the operation that `problems`, filled by an edit, are about
  bool conditional = false;
  ZoneChanges zones;
  std::optional<size_t> zone_goes;  // an operation that takes one away
  for (size_t i = 0; i < document.operations.size(); ++i) {
    BatchOperation& wanted = document.operations[i];
    const codec::ResourceSpec& resource = *wanted.resource;
    store::Operation& operation = operations.emplace_back();
    operation.type = resource.descriptor;
    operation.id = wanted.id;
    if (!belongs_to_tenants(resource) && !call.caller.is_admin()) {
      return problem(403,
                     resource.collection + " are for administrators; use a token with role admin",
                     blame(i));
    }
    const Condition condition = condition_of(wanted.if_match);
    if (condition.never) return precondition_failed(blame(i));
    operation.version = condition.version;
    conditional = conditional || condition.given;
    if (wanted.verb == Verb::create) {
      if (resource.descriptor == v1::Token::descriptor()) {
        return field_failure(422, fmt::format("operations[{}].collection", i),
                             "tokens are made one at a time, because each answers with its secret",
                             "POST /v1/tokens", blame(i));
      }
      operation.kind = store::Operation::Kind::create;
      operation.resource = store::new_message(*resource.descriptor);
      codec::DecodeOptions options;
      options.path = wanted.path;
      problems = codec::decode(wanted.body, options, *operation.resource);
      if (problems.empty()) {
        auto refused = tenancy.check_new(resource, *operation.resource, wanted.path);
        if (!refused) return failure(refused.error(), false, blame(i));
        problems = std::move(*refused);
      }
      if (problems.empty())
        problems = codec::validate(*operation.resource, wanted.path, wanted.line);
      if (!problems.empty()) return failure(422, problems, blame(i));
      tenancy.will_exist(*operation.resource);
      if (const auto* zone = dynamic_cast<const v1::TunnelZone*>(operation.resource.get());
          zone != nullptr)
        zones.becomes(*zone);
      continue;
    }
    if (wanted.verb == Verb::remove) {
      operation.kind = store::Operation::Kind::remove;
      if (auto may = tenancy.check_removal(resource, wanted.id); !may)
        return failure(may.error(), false, blame(i));
      if (resource.descriptor == v1::Host::descriptor()) zones.gone_hosts.insert(wanted.id);
      if (resource.descriptor == v1::TunnelZone::descriptor()) {
        zones.goes(wanted.id);
        zone_goes = i;
      }
      continue;
    }
    operation.kind = store::Operation::Kind::modify;
    if (resource.descriptor == v1::TunnelZone::descriptor()) {
      // A removal is judged before any change is made.
      v1::TunnelZone will_be;
      codec::DecodeOptions options;
      options.merge = codec::Merge::patch;
      if (codec::decode(wanted.body, options, will_be).empty() && will_be.prefixes_size() > 0) {
        will_be.set_id(wanted.id.raw());
        zones.becomes(will_be);
      }
    }
    if (auto exists = tenancy.check_exists(resource, wanted.id); !exists)
      return failure(exists.error(), false, blame(i));
    operation.edit = [&, i](Message& message) -> Result<void> {
      const BatchOperation& own = document.operations[i];
      const codec::MessagePtr before = codec::clone(message);
      codec::DecodeOptions options;
      options.merge = codec::Merge::patch;
      options.path = own.path;
      failing = i;
      problems = codec::decode(own.body, options, message);
      if (problems.empty()) {
        auto refused = tenancy.check_change(*own.resource, *before, message, own.body, own.path);
        if (!refused) return refused.error();
        problems = std::move(*refused);
      }
      if (problems.empty()) problems = codec::validate(message, own.path, own.line);
      if (!problems.empty()) return codec::to_error(problems);
      const auto* zone = dynamic_cast<const v1::TunnelZone*>(&message);
      if (zone == nullptr) return Ok{};
      zones.becomes(*zone);
      return check_hosts_stay_covered(store_, zones);
    };
  }
  if (zone_goes) {
    if (auto may = check_hosts_stay_covered(store_, zones); !may)
      return failure(may.error(), false, blame(*zone_goes));
  }
  size_t failed = 0;
  auto done = store::TopologyWriter(store_, call.author()).batch(operations, &failed);
  if (!problems.empty()) return failure(422, problems, blame(failing));
  if (!done) {
    const bool tagged =
        failed < document.operations.size() && !document.operations[failed].if_match.empty();
    return failure(done.error(), conditional && tagged, blame(failed));
  }
  Node results = Node::list_of({});
  for (size_t i = 0; i < document.operations.size(); ++i) {
    const BatchOperation& wanted = document.operations[i];
    const store::StoredResource& stored = done->resources[i];
    Node result = Node::map_of({});
    result.add("op", Node::of_text(wanted.verb == Verb::create   ? "create"
                                   : wanted.verb == Verb::update ? "update"
                                                                 : "delete"));
    const Uuid id = stored.message ? store::id_of(*stored.message) : wanted.id;
    result.add("id", Node::of_text(id.str()));
    if (stored.message)
      result.add("version", Node::of_number(static_cast<uint64_t>(stored.version)));
    results.items.push_back(std::move(result));
    changed(*wanted.resource);
  }
  Node out = Node::map_of({});
  out.add("revision", Node::of_text(feed_.token(done->revision)));
  out.add("results", std::move(results));
  Response r = json_answer(200, out);
  r.headers.emplace_back("Plexus-Revision", feed_.token(done->revision));
  return r;
}

}  // namespace plexus::api
