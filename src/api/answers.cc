// SPDX-License-Identifier: Apache-2.0
#include "api/answers.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "codec/format.h"
#include "codec/json.h"
#include "codec/nearest.h"

namespace plexus::api {

using codec::Node;

namespace {

/// What the topology says when a tenant has all that it may have; the disk has other words.
bool is_quota(const Error& error) {
  return error.code == ErrorCode::no_space && error.message.find("tenant ") != std::string::npos &&
         error.message.find(" may have ") != std::string::npos;
}

int status_of(const Error& error, bool conditional) {
  switch (error.code) {
    case ErrorCode::invalid:
      return 422;
    case ErrorCode::not_found:
      return 404;
    case ErrorCode::conflict:
      return conditional ? 412 : 409;
    case ErrorCode::exists:
    case ErrorCode::in_use:
    case ErrorCode::unsupported:
      return 409;
    case ErrorCode::unavailable:
      return 503;
    case ErrorCode::no_space:
      return is_quota(error) ? 409 : 507;
    case ErrorCode::denied:
      return 403;
    case ErrorCode::internal:
      return 500;
  }
  return 500;
}

std::string_view code_of(const Error& error) {
  return is_quota(error) ? "quota" : to_string(error.code);
}

/// The topology says "port vm1 (<id>): mac: <why>; <remedy>": which field it is about, for programs. Names have no colon.
std::string blamed_field(const Error& error) {
  if (error.code != ErrorCode::invalid) return {};
  const std::string& m = error.message;
  const size_t begin = m.find(": ");
  if (begin == std::string::npos) return {};
  const size_t field = begin + 2, end = m.find(": ", field);
  if (end == std::string::npos || end == field ||
      m.find_first_not_of("abcdefghijklmnopqrstuvwxyz_", field) != end) {
    return {};
  }
  Node e = Node::map_of({});
  e.add("field", Node::of_text(std::string_view(m).substr(field, end - field)));
  e.add("detail", Node::of_text(std::string_view(m).substr(end + 2)));
  return ",\"errors\":" + codec::write_json(Node::list_of({std::move(e)}));
}

}  // namespace

Response failure(const Error& error, bool conditional, std::string_view extra) {
  Response r = problem(status_of(error, conditional), error.message,
                       fmt::format(",\"code\":{}{}{}", codec::json_string(code_of(error)),
                                   blamed_field(error), extra));
  if (r.status == 503) r.headers.emplace_back("Retry-After", "1");
  if (r.status >= 500) log_error("api", "answered {}: {}", r.status, error.message);
  return r;
}

Response failure(int status, const codec::Problems& problems, std::string_view extra) {
  Node errors = Node::list_of({});
  for (const codec::Problem& p : problems) {
    Node e = Node::map_of({});
    e.add("field", Node::of_text(p.field));
    if (p.line > 0) e.add("line", Node::of_number(static_cast<uint64_t>(p.line)));
    e.add("detail", Node::of_text(p.what));
    if (!p.remedy.empty()) e.add("remedy", Node::of_text(p.remedy));
    errors.items.push_back(std::move(e));
  }
  std::string detail = problems[0].sentence();
  if (problems.size() > 1) detail += fmt::format(" (and {} more)", problems.size() - 1);
  return problem(status, detail, ",\"errors\":" + codec::write_json(errors) + std::string(extra));
}

Response field_failure(int status, std::string_view field, std::string_view detail,
                       std::string_view remedy, std::string_view extra) {
  return failure(status,
                 codec::Problems{{std::string(field), 0, std::string(detail), std::string(remedy)}},
                 extra);
}

Response not_allowed(const Request& request, std::string_view allowed) {
  Response r = problem(405, fmt::format("{} cannot be done here; allowed are {}",
                                        codec::in_quotes(request.method), allowed));
  r.headers.emplace_back("Allow", std::string(allowed));
  return r;
}

Response forbidden(std::string_view detail) {
  return problem(403, detail);
}

Response precondition_failed(std::string_view extra) {
  return problem(412, "If-Match is none of this object's tags; read it again and repeat", extra);
}

Response json_answer(int status, const Node& node) {
  Response r;
  r.status = status;
  r.body = codec::write_json(node) + "\n";
  return r;
}

Condition condition_of(std::string_view tag) {
  Condition c;
  c.given = !tag.empty();
  if (!c.given || tag == "*") return c;
  const auto number = tag.size() > 2 && tag.front() == '"' && tag.back() == '"'
                          ? codec::parse_number(tag.substr(1, tag.size() - 2))
                          : std::nullopt;
  if (number) {
    c.version = *number;
  } else {
    c.never = true;
  }
  return c;
}

std::string etag_of(int64_t version) {
  return fmt::format("\"{}\"", version);
}

std::variant<Node, Response> body_of(const Request& request) {
  if (!request.content_type.empty() && request.content_type != "application/json" &&
      request.content_type != "application/merge-patch+json") {
    return problem(
        415, codec::in_quotes(request.content_type) + " is not understood; send application/json");
  }
  codec::Problems problems;
  Node node = codec::parse_json(request.body, problems);
  if (!problems.empty()) return failure(400, problems);
  return node;
}

Result<uint32_t> number_parameter(const Request& request, std::string_view name, uint32_t otherwise,
                                  uint32_t max) {
  const auto text = request.parameter(name);
  if (!text) return otherwise;
  const auto number = codec::parse_number(*text);
  if (!number || *number < 1 || *number > max) {
    return Error{ErrorCode::invalid, fmt::format("{}: {} is not a whole number from 1 to {}", name,
                                                 codec::in_quotes(*text), max)};
  }
  return *number;
}

std::optional<Response> unknown_parameter(const Request& request,
                                          const std::vector<std::string>& known) {
  for (const auto& [key, value] : request.query) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return problem(400, fmt::format("unknown parameter {}; {}", codec::in_quotes(key),
                                      codec::suggestion(key, known)));
    }
  }
  return std::nullopt;
}

}  // namespace plexus::api
