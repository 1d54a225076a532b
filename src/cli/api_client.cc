// SPDX-License-Identifier: Apache-2.0
#include "cli/api_client.h"

#include <fmt/format.h>

#include "codec/decode.h"
#include "codec/json.h"

namespace plexus::cli {
namespace {

using codec::Node;
using codec::Problems;
using codec::ResourceSpec;

ErrorCode code_of(int status) {
  switch (status) {
    case 400:
    case 405:
    case 413:
    case 415:
    case 422:
      return ErrorCode::invalid;
    case 401:
    case 403:
      return ErrorCode::denied;
    case 404:
      return ErrorCode::not_found;
    case 409:
      return ErrorCode::exists;
    case 412:
      return ErrorCode::conflict;
    case 503:
      return ErrorCode::unavailable;
    case 507:
      return ErrorCode::no_space;
    default:
      return ErrorCode::internal;
  }
}

std::string target_of(const ResourceSpec& resource, std::string_view id_or_name,
                      const Query& query) {
  return "/v1/" + resource.collection + "/" + url_encoded(id_or_name) + query_text(query);
}

Result<Object> object_of(const ResourceSpec& resource, Node document) {
  Object out;
  out.message = resource.new_message();
  codec::DecodeOptions options;
  options.answer = true;
  const Problems problems = codec::decode(document, options, *out.message);
  if (!problems.empty()) return codec::to_error(problems, "the server's answer");
  out.document = std::move(document);
  return out;
}

}  // namespace

std::string query_text(const Query& query) {
  std::string out;
  for (const auto& [key, value] : query) {
    out += (out.empty() ? '?' : '&') + url_encoded(key) + "=" + url_encoded(value);
  }
  return out;
}

Error error_of(const HttpReply& reply) {
  const ErrorCode code = code_of(reply.status);
  Problems problems;
  const Node node = codec::parse_json(reply.body, problems);
  if (!problems.empty() || node.find("detail") == nullptr) {
    return Error{code, fmt::format("the server answered {}", reply.status)};
  }
  std::string message;
  if (const Node* errors = node.find("errors")) {
    for (const Node& e : errors->items) {
      const auto text = [&](std::string_view key) {
        const Node* n = e.find(key);
        return n != nullptr ? n->text : std::string();
      };
      if (!message.empty()) message += '\n';
      message += codec::Problem{text("field"), 0, text("detail"), text("remedy")}.sentence();
    }
  }
  return Error{code, message.empty() ? node.find("detail")->text : message};
}

Result<Node> ApiClient::call(const std::string& method, const std::string& target,
                             const Node* body) {
  auto reply =
      http_.request(method, target, body != nullptr ? codec::write_json(*body) : std::string());
  if (!reply) return reply.error();
  if (reply->status >= 300) return error_of(*reply);
  Problems problems;
  codec::DocumentLimits limits;
  limits.bytes = 256u << 20;
  limits.nodes = 50'000'000;
  Node node = codec::parse_json(reply->body, problems, limits);
  if (!problems.empty()) {
    return Error{ErrorCode::internal,
                 http_.address() + " answers, but not like a Plexus server: " + problems[0].str()};
  }
  return node;
}

Result<std::vector<Object>> ApiClient::list(const ResourceSpec& resource, const Query& query) {
  auto answer = call("GET", "/v1/" + resource.collection + query_text(query));
  if (!answer) return answer.error();
  std::vector<Object> out;
  for (codec::Member& m : answer->members) {
    if (m.key != "items") continue;
    for (Node& item : m.value.items) {
      auto object = object_of(resource, std::move(item));
      if (!object) return object.error();
      out.push_back(std::move(*object));
    }
  }
  return out;
}

Result<Object> ApiClient::get(const ResourceSpec& resource, std::string_view id_or_name,
                              const Query& query) {
  auto answer = call("GET", target_of(resource, id_or_name, query));
  if (!answer) return answer.error();
  return object_of(resource, std::move(*answer));
}

Result<Object> ApiClient::create(const ResourceSpec& resource, const Node& body) {
  auto answer = call("POST", "/v1/" + resource.collection, &body);
  if (!answer) return answer.error();
  return object_of(resource, std::move(*answer));
}

Result<Object> ApiClient::patch(const ResourceSpec& resource, std::string_view id_or_name,
                                const Node& body, const Query& query) {
  auto answer = call("PATCH", target_of(resource, id_or_name, query), &body);
  if (!answer) return answer.error();
  return object_of(resource, std::move(*answer));
}

Result<Node> ApiClient::remove(const ResourceSpec& resource, std::string_view id_or_name,
                               const Query& query) {
  return call("DELETE", target_of(resource, id_or_name, query));
}

Result<void> ApiClient::learn_names(const ResourceSpec& resource, codec::NameTable& table) {
  auto objects = list(resource);
  if (!objects) return objects.error();
  for (const Object& o : *objects) table.add(*o.message);
  return Ok{};
}

}  // namespace plexus::cli
