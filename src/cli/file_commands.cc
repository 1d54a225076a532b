// SPDX-License-Identifier: Apache-2.0
// apply and delete of a cloud file.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>

#include "cli/api_client.h"
#include "cli/cloud_plan.h"
#include "cli/commands.h"
#include "cli/host_use.h"
#include "cli/plan_text.h"
#include "cli/waiting.h"

namespace plexus::cli {
namespace {

using codec::Node;
using codec::Problems;
using codec::ResourceSpec;
using Kind = PlanStep::Kind;
using Clock = std::chrono::steady_clock;

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

/// "operations[3].body.mac: ..." is about a request that nobody has seen: "mac: ...".
std::string without_place_in_batch(const std::string& message) {
  std::string out;
  for (size_t begin = 0; begin < message.size();) {
    const size_t end = std::min(message.find('\n', begin), message.size());
    std::string_view line = std::string_view(message).substr(begin, end - begin);
    if (line.starts_with("operations[")) {
      line.remove_prefix(std::min(line.find(']') + 1, line.size()));
      if (line.starts_with(".body")) line.remove_prefix(5);
      while (!line.empty() && (line[0] == '.' || line[0] == ':' || line[0] == ' '))
        line.remove_prefix(1);
    }
    out += (out.empty() ? "" : "\n") + std::string(line);
    begin = end + 1;
  }
  return out;
}

/// Says how far it is, to whom waits for longer than two seconds.
class Progress {
 public:
  Progress(Terminal& terminal, bool quiet) : terminal_(terminal), quiet_(quiet) {}
  ~Progress() {
    if (said_ && terminal_.err_is_terminal) terminal_.err << "\n";
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void at(size_t done, size_t all) {
    const auto now = Clock::now();
    if (quiet_ || now < next_) return;
    next_ = now + std::chrono::seconds(1);
    said_ = true;
    terminal_.err << (terminal_.err_is_terminal ? "\r" : "") << done << " of " << all << " written"
                  << (terminal_.err_is_terminal ? "" : "\n") << std::flush;
  }

 private:
  Terminal& terminal_;
  bool quiet_;
  bool said_ = false;
  Clock::time_point next_ = Clock::now() + std::chrono::seconds(2);
};

struct Counts {
  size_t created = 0, updated = 0, unchanged = 0, removed = 0, absent = 0;

  void add(Kind kind) {
    switch (kind) {
      case Kind::create:
        ++created;
        return;
      case Kind::update:
        ++updated;
        return;
      case Kind::unchanged:
        ++unchanged;
        return;
      case Kind::remove:
        ++removed;
        return;
      case Kind::absent:
        ++absent;
        return;
      case Kind::finish:
        return;
    }
  }
};

class FileCommand {
 public:
  FileCommand(const Invocation& invocation, ApiClient& api, Terminal& terminal)
      : in_(invocation),
        api_(api),
        terminal_(terminal),
        is_apply_(in_.verb == Verb::apply),
        source_(in_.file == "-" ? "standard input" : in_.file) {}

  int run() {
    auto content = read_file(in_.file);
    if (!content) return fail(content.error(), terminal_);
    Problems problems;
    objects_ = codec::parse_cloud_file(*content, problems);
    if (!problems.empty()) return refuse(problems);
    if (in_.prune) mentioned_ = mentioned_types(*content);
    auto tenant = own_tenant(in_, api_);
    if (!tenant) return fail(tenant.error(), terminal_);
    tenant_ = std::move(*tenant);
    give_tenant(objects_, tenant_);
    for (size_t attempt = 1;; ++attempt) {
      auto steps = plan(problems);
      if (!problems.empty()) return refuse(problems);
      if (!steps) return fail(steps.error(), terminal_);
      if (in_.dry_run) return show(*steps);
      if (attempt == 1 && !may_prune()) return kFailed;
      if (attempt == 1) {
        const auto may = may_delete_hosts(*steps);
        if (!may) return fail(may.error(), terminal_);
        if (!*may) return kFailed;
      }
      if (attempt == 1) {
        for (const PlanStep& step : *steps) {
          if (step.kind == Kind::unchanged) counts_.add(step.kind);
        }
      }
      auto written = write(*steps);
      if (written) return finish();
      // Another server may still be there. What was done is seen by planning again.
      if (written.error().code == ErrorCode::unavailable && attempt < api_.http().server_count()) {
        terminal_.err << "plexus: " << written.error().message << "; going on with "
                      << api_.http().address() << "\n";
        continue;
      }
      summary();
      return fail(written.error(), terminal_);
    }
  }

 private:
  int refuse(const Problems& problems) {
    terminal_.err << codec::to_error(problems, source_).message << "\n";
    return kFailed;
  }

  [[nodiscard]] bool is_document() const {
    return in_.output == Output::json || in_.output == Output::yaml;
  }

  /// What is there, and what has to be done about it.
  Result<std::vector<PlanStep>> plan(Problems& problems) {
    std::vector<const ResourceSpec*> types = needed_types(objects_);
    if (in_.prune) {
      // Who refers to what may be pruned decides about the order.
      for (const ResourceSpec& type : codec::resources()) {
        if (type.field("tenant") != nullptr && type.singular != "token" &&
            std::find(types.begin(), types.end(), &type) == types.end())
          types.push_back(&type);
      }
    }
    std::vector<Object> existing;
    Existing messages;
    for (const ResourceSpec* type : types) {
      auto list = api_.list(*type);
      if (!list) return list.error();
      std::move(list->begin(), list->end(), std::back_inserter(existing));
    }
    for (const Object& o : existing) messages.push_back(o.message.get());
    std::vector<PlanStep> steps = is_apply_ ? plan_apply(objects_, messages, problems)
                                            : plan_delete(objects_, messages, problems);
    if (!in_.prune || !problems.empty()) return steps;
    pruning_ = plan_prune(objects_, mentioned_, steps, messages, tenant_);
    std::vector<PlanStep> all = pruning_.first;
    std::move(steps.begin(), steps.end(), std::back_inserter(all));
    all.insert(all.end(), pruning_.last.begin(), pruning_.last.end());
    return all;
  }

  [[nodiscard]] size_t prune_count() const { return pruning_.first.size() + pruning_.last.size(); }

  bool is_too_much() {
    if (in_.force || prune_count() * 2 <= pruning_.in_scope) return false;
    terminal_.err << fmt::format(
        "plexus: --prune would remove {} of the {} objects that are there; nothing was done; add "
        "--force if that is "
        "meant\n",
        prune_count(), pruning_.in_scope);
    return true;
  }

  /// Shows what will go, and asks.
  bool may_prune() {
    if (prune_count() == 0) return true;
    if (!in_.quiet) {
      for (const auto* part : {&pruning_.first, &pruning_.last}) {
        for (const PlanStep& step : *part) terminal_.err << diff_text(step, Palette(false));
      }
    }
    if (is_too_much()) return false;
    const bool yes =
        confirm(fmt::format("Remove {} object{}?", prune_count(), prune_count() == 1 ? "" : "s"),
                in_, terminal_);
    if (!yes) terminal_.err << "nothing was done\n";
    return yes;
  }

  /// A host that serves is not deleted by mistake. Its ports that go by the same file do not count.
  Result<bool> may_delete_hosts(const std::vector<PlanStep>& steps) {
    std::set<std::string> going, hosts;
    for (const PlanStep& step : steps) {
      if (step.kind != Kind::remove) continue;
      (step.resource->singular == "host" ? hosts : going).insert(step.id);
    }
    if (hosts.empty() || in_.yes) return true;
    const auto use = HostUse::load(api_);
    if (!use) return use.error();
    const auto all = api_.list(*codec::find_singular("host"));
    if (!all) return all.error();
    std::string what;
    for (const Object& host : *all) {
      if (!hosts.contains(host.id())) continue;
      const std::string words = use->words_of(*host.message, going);
      if (!words.empty()) what += (what.empty() ? "" : "; ") + words;
    }
    return what.empty() ||
           confirm_harm(what, "All their traffic stops. Delete them?", in_, terminal_);
  }

  /// --dry-run.
  int show(const std::vector<PlanStep>& steps) {
    size_t writes = 0, requests = 0;
    for (size_t at = 0; at < steps.size();) {
      const Batch batch = next_batch(steps, at);
      writes += batch.steps.size();
      if (!batch.steps.empty()) ++requests;
      at = batch.end;
    }
    Node changes = Node::list_of({});
    for (const PlanStep& step : steps) {
      counts_.add(step.kind);
      if (is_document()) {
        Node change = diff_document(step);
        if (change.kind != Node::Kind::null) changes.items.push_back(std::move(change));
      } else if (in_.output == Output::name) {
        if (step.writes() && step.kind != Kind::finish) terminal_.out << step.label << "\n";
      } else {
        terminal_.out << diff_text(step, terminal_.palette);
      }
    }
    if (is_document()) {
      Node out = counts_document();
      out.add("writes", Node::of_number(writes));
      out.add("changes", std::move(changes));
      print_document(out, in_.output, terminal_);
    } else if (in_.output == Output::text) {
      terminal_.out << counts_text() << " (dry run: nothing was done; "
                    << fmt::format("{} write{} in {} request{}", writes, writes == 1 ? "" : "s",
                                   requests, requests == 1 ? "" : "s")
                    << ")\n";
    }
    // Who refers to what is the store's to check.
    if (!in_.quiet && counts_.removed > 0)
      terminal_.err << "what is still in use is refused by the real run only\n";
    return is_too_much() ? kFailed : kOk;
  }

  Result<void> write(const std::vector<PlanStep>& steps) {
    size_t all = 0, done = 0;
    all = static_cast<size_t>(
        std::count_if(steps.begin(), steps.end(), [](const PlanStep& s) { return s.writes(); }));
    Progress progress(terminal_, in_.quiet);
    for (size_t at = 0; at < steps.size();) {
      Batch batch = next_batch(steps, at);
      if (!batch.steps.empty()) {
        if (auto r = send(steps, batch); !r) return r.error();
      }
      for (size_t i = batch.first; i < batch.end; ++i) say(steps[i]);
      at = batch.end;
      done += batch.steps.size();
      progress.at(done, all);
    }
    return Ok{};
  }

  /// One request. Objects to be removed that are gone already (with something else, or by somebody else) are left out;
  /// what is too large for one transaction goes in halves.
  Result<void> send(const std::vector<PlanStep>& steps, Batch& batch) {
    while (!batch.steps.empty()) {
      std::optional<size_t> failed;
      auto answer = api_.batch(batch.operations, &failed);
      if (answer) {
        revision_ = api_.revision();
        return Ok{};
      }
      const Error& error = answer.error();
      const bool blamed = failed && *failed < batch.steps.size();
      // The server's words are all that tells this from a mistake in one of the operations.
      const bool too_large = error.code == ErrorCode::invalid &&
                             error.message.find("one transaction") != std::string::npos;
      if (too_large && batch.steps.size() > 1) {
        Batch half = batch.split();
        if (auto r = send(steps, batch); !r) return r;
        batch = std::move(half);
        continue;
      }
      if (!blamed && batch.steps.size() > 1) return error;
      const size_t at = blamed ? *failed : 0;
      const PlanStep& step = steps[batch.steps[at]];
      if (step.kind == Kind::remove && error.code == ErrorCode::not_found) {
        gone_.insert(step.id);
        batch.drop(at);
        continue;
      }
      if (step.kind == Kind::remove && too_large) return remove_alone(step);
      return at_step(step, error);
    }
    return Ok{};
  }

  /// A removal of its own may take as many transactions as it needs.
  Result<void> remove_alone(const PlanStep& step) {
    const auto answer = api_.remove(*step.resource, step.id);
    if (!answer && answer.error().code == ErrorCode::not_found) {
      gone_.insert(step.id);
      return Ok{};
    }
    if (!answer) return at_step(step, answer.error());
    revision_ = api_.revision();
    return Ok{};
  }

  [[nodiscard]] Error at_step(const PlanStep& step, Error error) const {
    error.message = without_place_in_batch(error.message);
    return error.in(step.line > 0 ? fmt::format("{}:{}: {}", source_, step.line, step.label)
                                  : step.label);
  }

  /// After a step is done.
  void say(const PlanStep& step) {
    if (step.kind == Kind::unchanged || step.kind == Kind::finish) return;
    const bool is_gone = step.kind == Kind::absent || gone_.contains(step.id);
    counts_.add(is_gone ? Kind::absent : step.kind);
    if (is_gone) return;
    if (in_.output == Output::name) {
      terminal_.out << step.label << "\n";
      return;
    }
    if (in_.output != Output::text || in_.quiet) return;
    const std::string_view word = step.kind == Kind::create   ? "created"
                                  : step.kind == Kind::update ? "updated"
                                                              : "deleted";
    std::string more;
    if (step.kind == Kind::update) {
      for (const FieldChange& c : step.changes) more += (more.empty() ? " (" : ", ") + c.field;
      more += ")";
    }
    terminal_.out << fmt::format("{:<9} {}{}\n", word, step.label, more);
  }

  [[nodiscard]] std::vector<std::pair<std::string, size_t>> counts() const {
    std::vector<std::pair<std::string, size_t>> out;
    if (is_apply_) {
      out = {{"created", counts_.created},
             {"updated", counts_.updated},
             {"unchanged", counts_.unchanged}};
      if (in_.prune) out.emplace_back("removed", counts_.removed);
    } else {
      out = {{"deleted", counts_.removed}, {"absent", counts_.absent}};
    }
    return out;
  }

  [[nodiscard]] std::string counts_text() const {
    std::string line;
    for (const auto& [word, n] : counts())
      line += fmt::format("{}{} {}", line.empty() ? "" : ", ", n, word);
    return line;
  }

  [[nodiscard]] Node counts_document() const {
    Node out = Node::map_of({});
    for (const auto& [word, n] : counts()) out.add(word, Node::of_number(n));
    out.add("dry_run", Node::of_bool(in_.dry_run));
    if (!revision_.empty()) out.add("revision", Node::of_text(revision_));
    return out;
  }

  void summary() {
    if (is_document()) {
      print_document(counts_document(), in_.output, terminal_);
    } else if (in_.output == Output::text && !in_.quiet) {
      terminal_.out << counts_text() << "\n";
    }
  }

  int finish() {
    summary();
    // Without a write, what there is may still be on its way to the hosts.
    return in_.wait ? wait_and_say(api_, revision_, in_, terminal_) : kOk;
  }

  const Invocation& in_;
  ApiClient& api_;
  Terminal& terminal_;
  bool is_apply_;
  std::string source_;
  std::vector<codec::CloudObject> objects_;
  std::vector<const ResourceSpec*> mentioned_;
  std::string tenant_;  ///< the token's; empty: it has none
  Pruning pruning_;
  Counts counts_;
  std::set<std::string> gone_;  ///< ids of what somebody else removed
  std::string revision_;        ///< of the last write; empty: there was none
};

}  // namespace

int run_file(const Invocation& invocation, Terminal& terminal) {
  auto http = connect(invocation);
  if (!http) return misused(http.error(), terminal);
  ApiClient api(**http);
  return FileCommand(invocation, api, terminal).run();
}

}  // namespace plexus::cli
