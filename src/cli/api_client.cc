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
    case 410:
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

/// No name has a slash, and no path takes one: the server could not even say what is wrong.
Result<void> check_name(const ResourceSpec& resource, std::string_view id_or_name) {
  if (!id_or_name.empty() && id_or_name.find('/') == std::string_view::npos) return Ok{};
  return Error{ErrorCode::not_found, fmt::format("there is no {} {}", resource.singular,
                                                 codec::in_quotes(std::string(id_or_name)))};
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

/// What can be done about a status, for servers that do not say it.
std::string_view remedy_of(int status) {
  switch (status) {
    case 401:
      return "give a token with --token or $PLEXUS_TOKEN; root on the server's machine needs none "
             "on its unix socket";
    case 403:
      return "use a token that may: plexus whoami says what yours is";
    case 404:
      return "list what there is";
    case 409:
      return "look at what is there, then change or remove that first";
    case 412:
      return "somebody changed it meanwhile; look at it again and repeat";
    case 503:
      return "the server runs, but its store does not answer it; try again in a moment";
    default:
      return {};
  }
}

std::string with_remedy(std::string message, int status) {
  // Servers separate the remedy by a semicolon or a colon. What they say of headers (401) is nothing to a person.
  const std::string_view remedy = remedy_of(status);
  if (!remedy.empty() && message.find(';') == std::string::npos &&
      (status == 401 || message.find(": ") == std::string::npos))
    message += "; " + std::string(remedy);
  return message;
}

/// Asks for pages of this many.
constexpr char kPage[] = "1000";

}  // namespace

std::string text_of(const Node& map, std::string_view key) {
  const Node* n = map.find(key);
  return n != nullptr && n->is_scalar() ? n->text : std::string();
}

std::vector<std::string> texts_of(const Node& map, std::string_view key) {
  std::vector<std::string> out;
  if (const Node* n = map.find(key)) {
    for (const Node& item : n->items) out.push_back(item.text);
  }
  return out;
}

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
    return Error{code,
                 with_remedy(fmt::format("the server answered {}", reply.status), reply.status)};
  }
  std::string message;
  // The detail says it all where there is one, with the object's name where that is known.
  if (const Node* errors = node.find("errors"); errors != nullptr && errors->items.size() > 1) {
    for (const Node& e : errors->items) {
      const auto text = [&](std::string_view key) {
        const Node* n = e.find(key);
        return n != nullptr ? n->text : std::string();
      };
      if (!message.empty()) message += '\n';
      message += codec::Problem{text("field"), 0, text("detail"), text("remedy")}.sentence();
    }
  }
  if (message.empty()) message = node.find("detail")->text;
  return Error{code, with_remedy(std::move(message), reply.status)};
}

Result<Node> ApiClient::call(const std::string& method, const std::string& target,
                             const Node* body) {
  auto reply =
      http_.request(method, target, body != nullptr ? codec::write_json(*body) : std::string());
  if (!reply) return reply.error();
  if (reply->status >= 300) return error_of(*reply);
  revision_ = reply->revision;
  if (reply->body.empty()) return Node::map_of({});
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

Result<std::vector<Node>> ApiClient::items(const std::string& path, const Query& query) {
  std::vector<Node> out;
  Query page = query;
  page.emplace_back("limit", kPage);
  page.emplace_back("after", "");
  std::string first;  // what all pages together hold at least
  for (std::string after;;) {
    page.back().second = after;
    const Query asked(page.begin(), page.end() - (after.empty() ? 1 : 0));
    auto answer = call("GET", "/v1/" + path + query_text(asked));
    if (!answer) return answer.error();
    if (after.empty()) first = revision_;
    revision_ = first;
    for (codec::Member& m : answer->members) {
      if (m.key != "items") continue;
      std::move(m.value.items.begin(), m.value.items.end(), std::back_inserter(out));
    }
    const std::string next = text_of(*answer, "next");
    if (next.empty()) return out;
    if (next == after)
      return Error{ErrorCode::internal, http_.address() + " gives the same page again and again"};
    after = next;
  }
}

Result<std::vector<Object>> ApiClient::list(const ResourceSpec& resource, const Query& query) {
  auto documents = items(resource.collection, query);
  if (!documents) return documents.error();
  std::vector<Object> out;
  out.reserve(documents->size());
  for (Node& document : *documents) {
    auto object = object_of(resource, std::move(document));
    if (!object) return object.error();
    out.push_back(std::move(*object));
  }
  return out;
}

Result<Node> ApiClient::batch(Node operations, std::optional<size_t>* failed) {
  Node body = Node::map_of({});
  body.add("operations", std::move(operations));
  auto reply = http_.request("POST", "/v1/batch", codec::write_json(body));
  if (!reply) return reply.error();
  Problems problems;
  codec::DocumentLimits limits;
  limits.bytes = 256u << 20;
  Node answer = codec::parse_json(reply->body, problems, limits);
  if (reply->status >= 300) {
    if (const auto n = codec::parse_number(text_of(answer, "operation")); n && failed != nullptr)
      *failed = *n;
    return error_of(*reply);
  }
  if (!problems.empty()) return codec::to_error(problems, "the server's answer");
  revision_ = text_of(answer, "revision");
  return answer;
}

Result<Convergence> ApiClient::convergence(const std::string& revision,
                                           std::chrono::seconds patience) {
  Query query = {{"timeout", std::to_string(patience.count())}};
  if (!revision.empty()) query.emplace_back("revision", revision);
  // The server waits that long on purpose.
  const auto usual = http_.timeout();
  http_.set_timeout(
      std::max<std::chrono::milliseconds>(usual, patience + std::chrono::seconds(10)));
  const auto answer = call("GET", "/v1/convergence" + query_text(query));
  http_.set_timeout(usual);
  if (!answer) return answer.error();
  Convergence out;
  out.revision = text_of(*answer, "revision");
  out.converged = text_of(*answer, "converged") == "true";
  out.hosts = codec::parse_number(text_of(*answer, "hosts")).value_or(0);
  out.applied = codec::parse_number(text_of(*answer, "applied")).value_or(0);
  out.laggards = texts_of(*answer, "laggards");
  out.unknown = texts_of(*answer, "unknown");
  return out;
}

Result<Object> ApiClient::get(const ResourceSpec& resource, std::string_view id_or_name,
                              const Query& query) {
  if (auto ok = check_name(resource, id_or_name); !ok) return ok.error();
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
  if (auto ok = check_name(resource, id_or_name); !ok) return ok.error();
  auto answer = call("PATCH", target_of(resource, id_or_name, query), &body);
  if (!answer) return answer.error();
  return object_of(resource, std::move(*answer));
}

Result<Node> ApiClient::remove(const ResourceSpec& resource, std::string_view id_or_name,
                               const Query& query) {
  if (auto ok = check_name(resource, id_or_name); !ok) return ok.error();
  return call("DELETE", target_of(resource, id_or_name, query));
}

Result<void> ApiClient::learn_names(const ResourceSpec& resource, codec::NameTable& table) {
  auto objects = list(resource);
  if (!objects) return objects.error();
  for (const Object& o : *objects) table.add(*o.message);
  return Ok{};
}

}  // namespace plexus::cli
