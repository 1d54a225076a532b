// SPDX-License-Identifier: Apache-2.0
#include "api/openapi.h"

#include <google/protobuf/descriptor.h>

#include <initializer_list>
#include <utility>

#include "codec/decode.h"
#include "codec/json.h"
#include "codec/schema.h"

namespace plexus::api {
namespace {

using codec::FieldSpec;
using codec::Node;
using codec::ResourceSpec;
using codec::ValueKind;

Node text(std::string_view value) {
  return Node::of_text(value);
}

Node object(std::initializer_list<std::pair<std::string_view, Node>> members) {
  Node out = Node::map_of({});
  for (const auto& [key, value] : members) out.add(key, value);
  return out;
}

Node list(std::initializer_list<Node> items) {
  return Node::list_of(std::vector<Node>(items));
}

Node schema_ref(std::string_view name) {
  return object({{"$ref", text("#/components/schemas/" + std::string(name))}});
}

Node json_body(Node schema) {
  return object({{"application/json", object({{"schema", std::move(schema)}})}});
}

/// The schema of one value of a field.
Node value_schema(const FieldSpec& field);

Node message_schema(const google::protobuf::Descriptor& type) {
  Node properties = Node::map_of({}), required = Node::list_of({});
  for (const FieldSpec& field : codec::fields_of(type)) {
    if (field.secret) continue;
    Node schema = value_schema(field);
    if (field.repeated) {
      schema = object({{"type", text("array")},
                       {"items", std::move(schema)},
                       {"maxItems", Node::of_number(static_cast<uint32_t>(field.max_entries))},
                       {"uniqueItems", Node::of_bool(true)}});
    }
    std::string help = field.help;
    if (field.immutable) help += help.empty() ? "Set at creation only." : " Set at creation only.";
    if (field.is_reference())
      help += (help.empty() ? "Id of a " : " Id of a ") + field.target().singular + ".";
    if (!help.empty()) schema.add("description", text(help));
    if (field.output_only) schema.add("readOnly", Node::of_bool(true));
    properties.add(field.name, std::move(schema));
    if (field.required) required.items.push_back(text(field.name));
  }
  Node out = object({{"type", text("object")}, {"properties", std::move(properties)}});
  if (!required.items.empty()) out.add("required", std::move(required));
  out.add("additionalProperties", Node::of_bool(false));
  return out;
}

Node value_schema(const FieldSpec& field) {
  const auto formatted = [](std::string_view format) {
    return object({{"type", text("string")}, {"format", text(format)}});
  };
  const auto pattern = [](std::string_view expression) {
    return object({{"type", text("string")}, {"pattern", text(expression)}});
  };
  switch (field.kind) {
    case ValueKind::boolean:
      return object({{"type", text("boolean")}});
    case ValueKind::number:
      return object({{"type", text("integer")},
                     {"minimum", Node::of_number(field.min)},
                     {"maximum", Node::of_number(field.max)}});
    case ValueKind::enumeration: {
      Node words = Node::list_of({});
      for (const std::string& word : field.words) words.items.push_back(text(word));
      return object({{"type", text("string")}, {"enum", std::move(words)}});
    }
    case ValueKind::uuid:
      return formatted("uuid");
    case ValueKind::mac: {
      Node out = formatted("mac");
      out.add("pattern", text("^[0-9a-f]{2}(:[0-9a-f]{2}){5}$"));
      return out;
    }
    case ValueKind::ip:
      return formatted("ip");
    case ValueKind::prefix:
      return formatted("ip-prefix");
    case ValueKind::interface_address:
      return formatted("ip-interface");
    case ValueKind::name: {
      Node out = pattern("^[A-Za-z0-9][A-Za-z0-9._-]*$");
      out.add("maxLength", Node::of_number(63));
      return out;
    }
    case ValueKind::interface: {
      Node out = object({{"type", text("string")}});
      out.add("maxLength", Node::of_number(15));
      return out;
    }
    case ValueKind::ip_protocol:
      return pattern("^([a-z]+[0-9]?|[0-9]{1,3})$");
    case ValueKind::ethertype:
      return pattern("^([a-z]+[0-9]?|0x[0-9a-f]{4})$");
    case ValueKind::port_range:
      return pattern("^[0-9]{1,5}(-[0-9]{1,5})?$");
    case ValueKind::masked_mac:
      return pattern("^[0-9a-f]{2}(:[0-9a-f]{2}){5}(/[0-9a-f]{2}(:[0-9a-f]{2}){5})?$");
    case ValueKind::tcp_flags:
      return pattern("^([+-](fin|syn|rst|psh|ack|urg|ece|cwr))+$");
    case ValueKind::address_pair:
      return pattern("^[0-9a-f.:]+/[0-9]{1,3}(@[0-9a-f]{2}(:[0-9a-f]{2}){5})?$");
    case ValueKind::via:
      return pattern("^[0-9a-f.:]+/[0-9]{1,3} via [0-9a-f.:]+$");
    case ValueKind::dhcp_option:
      return pattern("^[0-9]{1,5} = (([0-9a-f]{2})+|\".*\")$");
    case ValueKind::domain: {
      Node out = pattern("^[0-9a-z_-]{1,63}([.][0-9a-z_-]{1,63})*$");
      out.add("maxLength", Node::of_number(253));
      return out;
    }
    case ValueKind::bytes:
      return pattern("^([0-9a-f]{2})*$");
    case ValueKind::message:
      return message_schema(*field.descriptor->message_type());
    case ValueKind::text:
      break;
  }
  return object({{"type", text("string")}});
}

Node resource_schema(const ResourceSpec& resource) {
  Node out = message_schema(*resource.descriptor);
  out.add("description", text(resource.help));
  // Of fields that exclude each other at most one is set, or exactly one.
  Node all = Node::list_of({});
  for (const codec::ExclusiveSpec& group : resource.exclusive) {
    Node choices = Node::list_of({}), any = Node::list_of({});
    for (const std::string& field : group.fields) {
      Node needs = object({{"required", list({text(field)})}});
      any.items.push_back(needs);
      choices.items.push_back(std::move(needs));
    }
    if (!group.required)
      choices.items.push_back(object({{"not", object({{"anyOf", std::move(any)}})}}));
    all.items.push_back(object({{"oneOf", std::move(choices)}}));
  }
  if (!all.items.empty()) out.add("allOf", std::move(all));
  return out;
}

/// A merge patch: nothing is required, null unsets.
Node patch_schema(const ResourceSpec& resource) {
  Node properties = Node::map_of({});
  for (const FieldSpec& field : resource.fields) {
    if (field.secret || field.output_only) continue;
    Node schema = schema_ref(resource.type);
    schema.members[0].value.text += "/properties/" + field.name;
    properties.add(
        field.name,
        field.required || field.immutable
            ? std::move(schema)
            : object({{"anyOf", list({std::move(schema), object({{"type", text("null")}})})}}));
  }
  return object({{"type", text("object")},
                 {"properties", std::move(properties)},
                 {"additionalProperties", Node::of_bool(false)}});
}

Node parameter(std::string_view name, std::string_view where, Node schema,
               std::string_view description = {}) {
  Node out = object({{"name", text(name)}, {"in", text(where)}});
  if (where == "path") out.add("required", Node::of_bool(true));
  if (!description.empty()) out.add("description", text(description));
  out.add("schema", std::move(schema));
  return out;
}

Node string_type() {
  return object({{"type", text("string")}});
}

Node answer(std::string_view description, Node content) {
  return object({{"description", text(description)}, {"content", std::move(content)}});
}

Node operation(std::string_view id, std::string_view summary, Node parameters, Node body,
               std::string_view status, Node good) {
  Node out = object({{"operationId", text(id)}, {"summary", text(summary)}});
  if (!parameters.items.empty()) out.add("parameters", std::move(parameters));
  if (body.kind == Node::Kind::map) {
    out.add("requestBody",
            object({{"required", Node::of_bool(true)}, {"content", std::move(body)}}));
  }
  Node responses = Node::map_of({});
  responses.add(status, std::move(good));
  responses.add("default", object({{"$ref", text("#/components/responses/Problem")}}));
  out.add("responses", std::move(responses));
  return out;
}

void add_resource(const ResourceSpec& resource, Node& paths, Node& schemas) {
  const std::string& type = resource.type;
  schemas.add(type, resource_schema(resource));
  schemas.add(type + "Patch", patch_schema(resource));
  schemas.add(
      type + "List",
      object({{"type", text("object")},
              {"properties",
               object({{"items", object({{"type", text("array")}, {"items", schema_ref(type)}})},
                       {"revision", schema_ref("Revision")},
                       {"next", string_type()}})},
              {"required", list({text("items"), text("revision")})}}));
  Node filters = Node::list_of({});
  for (const FieldSpec& field : resource.fields) {
    if (field.secret || field.kind == ValueKind::message) continue;
    filters.items.push_back(parameter(field.name, "query", value_schema(field)));
  }
  filters.items.push_back(parameter("limit", "query",
                                    object({{"type", text("integer")},
                                            {"minimum", Node::of_number(1)},
                                            {"maximum", Node::of_number(1000)}}),
                                    "At most so many, in the order of ids."));
  filters.items.push_back(
      parameter("after", "query", string_type(), "What the page before called next."));
  bool has_secret = false;
  for (const FieldSpec& field : resource.fields) has_secret = has_secret || field.secret;
  Node made = schema_ref(type);
  if (has_secret) {
    // The schema of the type allows no other member, so it cannot be combined with one.
    made = object({{"type", text("object")},
                   {"description",
                    text("A " + resource.singular + " and its secret, which is not shown again.")},
                   {"properties", object({{"secret", string_type()}})},
                   {"required", list({text("secret")})}});
  }
  paths.add(
      "/v1/" + resource.collection,
      object({{"get", operation("list_" + type, "List " + resource.collection + ".",
                                std::move(filters), {}, "200",
                                answer("All, or a page.", json_body(schema_ref(type + "List"))))},
              {"post", operation("create_" + type, "Create a " + resource.singular + ".",
                                 Node::list_of({}), json_body(schema_ref(type)), "201",
                                 answer("As it was created.", json_body(std::move(made))))}}));
  const auto if_match = [] { return parameter("If-Match", "header", string_type()); };
  const Node one = answer("The object.", json_body(schema_ref(type)));
  Node item =
      object({{"parameters", list({parameter("id", "path", string_type(), "Id or name.")})}});
  item.add("get",
           operation("get_" + type, "Read one.",
                     list({parameter("If-None-Match", "header", string_type())}), {}, "200", one));
  item.add(
      "patch",
      operation("patch_" + type, "Change given fields (RFC 7396).", list({if_match()}),
                object({{"application/merge-patch+json",
                         object({{"schema", schema_ref(type + "Patch")}})},
                        {"application/json", object({{"schema", schema_ref(type + "Patch")}})}}),
                "200", one));
  item.add("put", operation("replace_" + type, "Replace all fields.", list({if_match()}),
                            json_body(schema_ref(type)), "200", one));
  item.add("delete", operation("delete_" + type, "Remove it.", list({if_match()}), {}, "200",
                               answer("What went with it.", json_body(schema_ref("Removed")))));
  paths.add("/v1/" + resource.collection + "/{id}", std::move(item));
}

Node integer_type() {
  return object({{"type", text("integer")}});
}

Node texts_type() {
  return object({{"type", text("array")}, {"items", string_type()}});
}

/// What is not about one type.
void add_common(Node& paths, Node& schemas) {
  schemas.add("Revision", object({{"type", text("string")},
                                  {"description", text("Opaque; grows with each change.")}}));
  const Node touched =
      object({{"type", text("array")},
              {"description", text("The first 100 of them.")},
              {"items", object({{"type", text("object")},
                                {"properties", object({{"collection", string_type()},
                                                       {"id", string_type()},
                                                       {"name", string_type()}})}})}});
  schemas.add("Removed", object({{"type", text("object")},
                                 {"properties", object({{"removed", integer_type()},
                                                        {"cascaded", integer_type()},
                                                        {"cleared", integer_type()},
                                                        {"cascaded_objects", touched},
                                                        {"cleared_objects", touched}})}}));
  schemas.add(
      "Problem",
      object({{"type", text("object")},
              {"properties",
               object({{"type", string_type()},
                       {"title", string_type()},
                       {"status", integer_type()},
                       {"detail", string_type()},
                       {"code", string_type()},
                       {"operation", integer_type()},
                       {"request_id", string_type()},
                       {"errors",
                        object({{"type", text("array")},
                                {"items", object({{"type", text("object")},
                                                  {"properties",
                                                   object({{"field", string_type()},
                                                           {"line", integer_type()},
                                                           {"detail", string_type()},
                                                           {"remedy", string_type()}})}})}})}})},
              {"required", list({text("title"), text("status"), text("detail")})}}));
  Node collections = Node::list_of({});
  for (const std::string& name : codec::collection_names()) collections.items.push_back(text(name));
  const Node collection = object({{"type", text("string")}, {"enum", std::move(collections)}});
  schemas.add("Collection", collection);
  schemas.add(
      "Batch",
      object(
          {{"type", text("object")},
           {"properties",
            object({{"operations",
                     object({{"type", text("array")},
                             {"maxItems", Node::of_number(500)},
                             {"items",
                              object({{"type", text("object")},
                                      {"properties",
                                       object({{"op", object({{"type", text("string")},
                                                              {"enum",
                                                               list({text("create"), text("update"),
                                                                     text("delete")})}})},
                                               {"collection", schema_ref("Collection")},
                                               {"id", object({{"type", text("string")},
                                                              {"format", text("uuid")}})},
                                               {"body", object({{"type", text("object")}})},
                                               {"if_match", string_type()}})},
                                      {"required", list({text("op"), text("collection")})}})}})}})},
           {"required", list({text("operations")})}}));
  const Node any = object({{"type", text("object")}});
  paths.add("/v1/batch",
            object({{"post", operation("batch", "Several operations, all or nothing.",
                                       Node::list_of({}), json_body(schema_ref("Batch")), "200",
                                       answer("What each did.", json_body(any)))}}));
  const Node since = parameter("since", "query", schema_ref("Revision"));
  paths.add("/v1/watch",
            object({{"get", operation("watch", "Changes as they happen.",
                                      list({since, parameter("collection", "query", string_type(),
                                                             "Collections, with commas.")}),
                                      {}, "200",
                                      answer("Events change and bookmark.",
                                             object({{"text/event-stream",
                                                      object({{"schema", string_type()}})}})))}}));
  schemas.add("Convergence",
              object({{"type", text("object")},
                      {"properties", object({{"revision", schema_ref("Revision")},
                                             {"converged", object({{"type", text("boolean")}})},
                                             {"hosts", integer_type()},
                                             {"applied", integer_type()},
                                             {"laggards", texts_type()},
                                             {"unknown", texts_type()}})}}));
  paths.add(
      "/v1/convergence",
      object(
          {{"get",
            operation("convergence", "Waits until hosts have applied a revision.",
                      list({parameter("revision", "query", schema_ref("Revision")),
                            parameter("timeout", "query", integer_type(), "Seconds, at most 60.")}),
                      {}, "200",
                      answer("How far they are.", json_body(schema_ref("Convergence"))))}}));
  paths.add(
      "/v1/audit",
      object({{"get", operation("audit", "Who changed what.",
                                list({since, parameter("limit", "query", integer_type())}), {},
                                "200", answer("Entries, oldest first.", json_body(any)))}}));
  paths.add("/v1/whoami",
            object({{"get", operation("whoami", "Who the caller is.", Node::list_of({}), {}, "200",
                                      answer("Role and tenant.", json_body(any)))}}));
  paths.add("/v1/hosts/{id}/credentials",
            object({{"parameters", list({parameter("id", "path", string_type())})},
                    {"post", operation("host_credentials", "The identity file of a host.",
                                       Node::list_of({}), {}, "200",
                                       answer("The file's text.", json_body(any)))}}));
  for (const char* kind : {"bindings", "hosts"}) {
    paths.add(
        std::string("/v1/status/") + kind,
        object({{"get", operation(std::string("status_") + kind, "What hosts report.",
                                  Node::list_of({}), {}, "200", answer("All.", json_body(any)))}}));
  }
  paths.add("/health",
            object({{"get", operation("health", "Whether the store answers.", Node::list_of({}), {},
                                      "200", answer("It does.", json_body(any)))}}));
  paths.add(
      "/metrics",
      object({{"get",
               operation("metrics", "Figures for Prometheus.", Node::list_of({}), {}, "200",
                         answer("Text.",
                                object({{"text/plain", object({{"schema", string_type()}})}})))}}));
}

std::string build() {
  Node paths = Node::map_of({}), schemas = Node::map_of({});
  for (const ResourceSpec& resource : codec::resources()) add_resource(resource, paths, schemas);
  add_common(paths, schemas);
  Node problem =
      answer("What is wrong, and what to do about it (RFC 9457).",
             object({{"application/problem+json", object({{"schema", schema_ref("Problem")}})}}));
  Node document = object(
      {{"openapi", text("3.1.0")},
       {"info", object({{"title", text("Plexus")},
                        {"version", text("v1")},
                        {"description", text("The virtual topology of a cloud.")}})},
       {"security", list({object({{"token", Node::list_of({})}})})},
       {"paths", std::move(paths)},
       {"components",
        object({{"schemas", std::move(schemas)},
                {"responses", object({{"Problem", std::move(problem)}})},
                {"securitySchemes", object({{"token", object({{"type", text("http")},
                                                              {"scheme", text("bearer")}})}})}})}});
  return codec::write_json(document, codec::JsonStyle::pretty) + "\n";
}

}  // namespace

const std::string& openapi_document() {
  static const std::string document = build();
  return document;
}

}  // namespace plexus::api
