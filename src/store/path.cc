// SPDX-License-Identifier: Apache-2.0
#include "store/path.h"

#include <fmt/format.h>

#include <algorithm>

namespace plexus::store {
namespace {

Error bad_path(std::string_view path, std::string_view why) {
  return {ErrorCode::invalid,
          "'" + std::string(path.substr(0, 200)) + "' is no store path: " + std::string(why)};
}

}  // namespace

Result<void> check_path(std::string_view path) {
  if (path.size() < 2 || path.front() != '/') return bad_path(path, "it must look like /a/b");
  if (path.size() > kMaxPathBytes) return bad_path(path, "too long");
  if (std::any_of(path.begin(), path.end(), [](char c) { return c < 0x20 || c > 0x7e; })) {
    return bad_path(path, "only printable ASCII is allowed");
  }
  for (size_t start = 1; start <= path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string_view part = path.substr(start, end - start);
    if (part.empty() || part == "." || part == "..") {
      return bad_path(path, "empty, '.' and '..' components are not allowed");
    }
    start = end + 1;
  }
  return Ok{};
}

const std::string& path_of(const Step& step) {
  return std::visit([](const auto& s) -> const std::string& { return s.path; }, step);
}

std::string sequence_path(std::string_view path, uint32_t number) {
  return fmt::format("{}/e{:010}", path, number);
}

Result<void> check_steps(const std::vector<Step>& steps) {
  for (const Step& step : steps) {
    if (auto ok = check_path(path_of(step)); !ok.ok()) return ok;
    const std::string* value = nullptr;
    if (const auto* create = std::get_if<Create>(&step)) value = &create->value;
    if (const auto* set = std::get_if<Set>(&step)) value = &set->value;
    if (const auto* append = std::get_if<Append>(&step)) value = &append->value;
    if (value != nullptr && value->size() > kMaxValueBytes) {
      return Error{ErrorCode::invalid,
                   path_of(step) + ": a value of " + std::to_string(value->size()) +
                       " bytes is too large; the limit is " + std::to_string(kMaxValueBytes)};
    }
  }
  return Ok{};
}

}  // namespace plexus::store
