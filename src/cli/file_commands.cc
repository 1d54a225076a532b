// SPDX-License-Identifier: Apache-2.0
// apply and delete of a cloud file.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <fstream>
#include <iostream>

#include "cli/api_client.h"
#include "cli/cloud_plan.h"
#include "cli/commands.h"

namespace plexus::cli {
namespace {

using codec::Node;
using codec::Problems;

Result<std::string> read_file(const std::string& path) {
  std::ostringstream text;
  if (path == "-") {
    text << std::cin.rdbuf();
    return text.str();
  }
  std::ifstream in(path, std::ios::binary);
  if (!in) return errno_error("reading " + path, errno);
  if (in.peek() != std::ifstream::traits_type::eof()) text << in.rdbuf();
  if (in.bad() || text.fail()) return errno_error("reading " + path, errno);
  return text.str();
}

class FileCommand {
 public:
  FileCommand(const Invocation& invocation, ApiClient& api, Terminal& terminal)
      : in_(invocation),
        api_(api),
        terminal_(terminal),
        source_(in_.file == "-" ? "standard input" : in_.file) {}

  int run() {
    auto content = read_file(in_.file);
    if (!content) return fail(content.error(), terminal_);
    Problems problems;
    std::vector<codec::CloudObject> objects = codec::parse_cloud_file(*content, problems);
    if (!problems.empty()) return refuse(problems);
    std::vector<Object> existing;
    Existing messages;
    for (const codec::ResourceSpec* type : needed_types(objects)) {
      auto list = api_.list(*type);
      if (!list) return fail(list.error(), terminal_);
      for (Object& o : *list) existing.push_back(std::move(o));
    }
    for (const Object& o : existing) messages.push_back(o.message.get());
    const bool is_apply = in_.verb == Verb::apply;
    const std::vector<PlanStep> steps = is_apply ? plan_apply(objects, messages, problems)
                                                 : plan_delete(objects, messages, problems);
    if (!problems.empty()) return refuse(problems);
    for (const PlanStep& step : steps) {
      if (auto r = carry_out(step); !r) {
        summary(is_apply);
        Error error = r.error();
        error.message = fmt::format("{}:{}: {}: {}", source_, step.line, step.label, error.message);
        return fail(error, terminal_);
      }
    }
    summary(is_apply);
    return kOk;
  }

 private:
  int refuse(const Problems& problems) {
    terminal_.err << codec::to_error(problems, source_).message << "\n";
    return kFailed;
  }

  void say(std::string_view word, const PlanStep& step, const std::string& more = {}) {
    if (in_.output != Output::text) return;
    terminal_.out << fmt::format("{}{:<9} {}{}\n", in_.dry_run ? "would be " : "", word, step.label,
                                 more);
  }

  Result<void> carry_out(const PlanStep& step) {
    using Kind = PlanStep::Kind;
    const bool send = !in_.dry_run;
    switch (step.kind) {
      case Kind::create:
        if (send) {
          if (auto r = api_.create(*step.resource, step.body); !r) return r.error();
        }
        ++created_;
        say("created", step);
        return Ok{};
      case Kind::update:
        if (send && !step.body.members.empty()) {
          if (auto r = api_.patch(*step.resource, step.id, step.body); !r) return r.error();
        }
        ++updated_;
        say("updated", step, fmt::format(" ({})", fmt::join(step.fields, ", ")));
        return Ok{};
      case Kind::finish:
        if (send) {
          if (auto r = api_.patch(*step.resource, step.id, step.body); !r) return r.error();
        }
        return Ok{};
      case Kind::unchanged:
        ++unchanged_;
        return Ok{};
      case Kind::remove:
        if (send) {
          auto r = api_.remove(*step.resource, step.id);
          if (!r && r.error().code == ErrorCode::not_found) {  // went with something else
            ++absent_;
            return Ok{};
          }
          if (!r) return r.error();
        }
        ++deleted_;
        say("deleted", step);
        return Ok{};
      case Kind::absent:
        ++absent_;
        return Ok{};
    }
    return Ok{};
  }

  void summary(bool is_apply) {
    const std::vector<std::pair<std::string, size_t>> counts =
        is_apply ? std::vector<std::pair<std::string, size_t>>{{"created", created_},
                                                               {"updated", updated_},
                                                               {"unchanged", unchanged_}}
                 : std::vector<std::pair<std::string, size_t>>{{"deleted", deleted_},
                                                               {"absent", absent_}};
    if (in_.output != Output::text) {
      Node out = Node::map_of({});
      for (const auto& [word, n] : counts) out.add(word, Node::of_number(n));
      out.add("dry_run", Node::of_bool(in_.dry_run));
      print_document(out, in_.output, terminal_);
      return;
    }
    std::string line;
    for (const auto& [word, n] : counts)
      line += fmt::format("{}{} {}", line.empty() ? "" : ", ", n, word);
    terminal_.out << line << (in_.dry_run ? " (dry run: nothing was done)" : "") << "\n";
  }

  const Invocation& in_;
  ApiClient& api_;
  Terminal& terminal_;
  std::string source_;
  size_t created_ = 0, updated_ = 0, unchanged_ = 0, deleted_ = 0, absent_ = 0;
};

}  // namespace

int run_file(const Invocation& invocation, Terminal& terminal) {
  auto http = HttpClient::to(invocation.api);
  if (!http) return fail(http.error(), terminal);
  (*http)->set_timeout(invocation.timeout);
  ApiClient api(**http);
  return FileCommand(invocation, api, terminal).run();
}

}  // namespace plexus::cli
