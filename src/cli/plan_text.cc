// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_text.h"

#include <fmt/format.h>

#include "codec/json.h"

namespace plexus::cli {

using codec::Node;
using Kind = PlanStep::Kind;

std::string diff_text(const PlanStep& step, const Palette& palette) {
  const std::string where = step.line > 0 ? palette.dim(fmt::format("  line {}", step.line)) : "";
  std::string out;
  switch (step.kind) {
    case Kind::create:
      out = palette.green("+ " + step.label) + where + "\n";
      for (const FieldChange& c : step.changes)
        out += fmt::format("    {}: {}\n", c.field, c.after);
      return out;
    case Kind::update:
      out = palette.yellow("~ " + step.label) + where + "\n";
      for (const FieldChange& c : step.changes) {
        const auto value = [](const std::string& v) { return v.empty() ? "(unset)" : v; };
        out += fmt::format("    {}: {} -> {}\n", c.field, value(c.before), value(c.after));
      }
      return out;
    case Kind::remove:
      return palette.red("- " + step.label) + where + "\n";
    case Kind::unchanged:
    case Kind::finish:
    case Kind::absent:
      return {};
  }
  return {};
}

Node diff_document(const PlanStep& step) {
  if (step.kind != Kind::create && step.kind != Kind::update && step.kind != Kind::remove)
    return {};
  Node out = Node::map_of({});
  out.add("op", Node::of_text(step.kind == Kind::create   ? "create"
                              : step.kind == Kind::update ? "update"
                                                          : "delete"));
  out.add("collection", Node::of_text(step.resource->collection));
  out.add("object", Node::of_text(step.label));
  // The id of a new object is made anew each time.
  if (step.kind != Kind::create) out.add("id", Node::of_text(step.id));
  if (step.line > 0) out.add("line", Node::of_number(static_cast<uint64_t>(step.line)));
  if (step.changes.empty()) return out;
  Node fields = Node::map_of({});
  for (const FieldChange& c : step.changes) {
    Node change = Node::map_of({});
    if (!c.before.empty()) change.add("from", Node::of_text(c.before));
    if (!c.after.empty()) change.add("to", Node::of_text(c.after));
    fields.add(c.field, std::move(change));
  }
  out.add("fields", std::move(fields));
  return out;
}

Batch Batch::split() {
  Batch half;
  half.first = first;
  half.end = end;
  half.operations = Node::list_of({});
  const auto middle = static_cast<ptrdiff_t>(steps.size() / 2);
  half.steps.assign(steps.begin() + middle, steps.end());
  std::move(operations.items.begin() + middle, operations.items.end(),
            std::back_inserter(half.operations.items));
  steps.resize(static_cast<size_t>(middle));
  operations.items.resize(static_cast<size_t>(middle));
  return half;
}

void Batch::drop(size_t operation) {
  const auto at = static_cast<ptrdiff_t>(operation);
  steps.erase(steps.begin() + at);
  operations.items.erase(operations.items.begin() + at);
}

Batch next_batch(const std::vector<PlanStep>& steps, size_t first) {
  Batch out;
  out.first = out.end = first;
  out.operations = Node::list_of({});
  size_t bytes = 0;
  for (; out.end < steps.size() && out.steps.size() < kMostOperations && bytes < kMostBytes;
       ++out.end) {
    const PlanStep& step = steps[out.end];
    if (!step.writes()) continue;
    Node operation = Node::map_of({});
    const bool is_create = step.kind == Kind::create;
    operation.add("op", Node::of_text(is_create                   ? "create"
                                      : step.kind == Kind::remove ? "delete"
                                                                  : "update"));
    operation.add("collection", Node::of_text(step.resource->collection));
    if (!is_create) operation.add("id", Node::of_text(step.id));
    if (step.kind != Kind::remove) {
      bytes += codec::write_json(step.body).size();
      operation.add("body", step.body);
    }
    out.operations.items.push_back(std::move(operation));
    out.steps.push_back(out.end);
  }
  return out;
}

}  // namespace plexus::cli
