// SPDX-License-Identifier: Apache-2.0
// A plan for people and for programs, and as the API's batches. Pure functions; any thread.
#pragma once

#include <string>
#include <vector>

#include "cli/cloud_plan.h"
#include "cli/table.h"

namespace plexus::cli {

/// What one step does: "+ port vm1" and its fields, "~ port vm2" and "host: h1 -> h2" for each field, "- port vm3".
/// Empty for steps that do nothing, and for `finish`, whose fields the step before has named.
[[nodiscard]] std::string diff_text(const PlanStep& step, const Palette& palette);

/// {"op":"update","collection":"ports","id":...,"fields":{"host":{"from":"h1","to":"h2"}}}; null for the same steps.
[[nodiscard]] codec::Node diff_document(const PlanStep& step);

/// One request's worth of a plan: steps[first, end) and their operations.
struct Batch {
  size_t first = 0, end = 0;
  std::vector<size_t> steps;  ///< the step of each operation
  codec::Node operations;

  /// Takes the later half away and returns it.
  Batch split();
  /// Leaves one operation out.
  void drop(size_t operation);
};

/// The next batch, from step `first` on: at most `kMostOperations`, and not much more than `kMostBytes` of bodies.
/// Without operations: the rest of the plan writes nothing.
[[nodiscard]] Batch next_batch(const std::vector<PlanStep>& steps, size_t first);

inline constexpr size_t kMostOperations = 200;
inline constexpr size_t kMostBytes = 4u << 20;

}  // namespace plexus::cli
