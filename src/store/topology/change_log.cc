// SPDX-License-Identifier: Apache-2.0
#include "store/topology/change_log.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <charconv>
#include <chrono>

#include "store/topology/layout.h"
#include "store/topology/schema.h"
#include "store/topology/transaction.h"

namespace plexus::store {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

namespace {

constexpr size_t kChunk = 64;       ///< entries read at once
constexpr size_t kTrimBatch = 500;  ///< entries removed in one transaction

std::vector<std::string> changed_fields(const Message& before, const Message& now) {
  const auto& type = *now.GetDescriptor();
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    // The differencer takes an unset field for one that holds its default.
    const bool presence =
        !field->is_repeated() && before.GetReflection()->HasField(before, field) !=
                                     now.GetReflection()->HasField(now, field);
    google::protobuf::util::MessageDifferencer differencer;
    if (presence || !differencer.CompareWithFields(before, now, {field}, {field})) {
      names.push_back(field->name());
    }
  }
  return names;
}

Result<std::vector<uint32_t>> log_numbers(Store& store) {
  auto names = store.list(log_path());
  if (!names.ok()) return names.error();
  std::vector<uint32_t> numbers;
  for (const std::string& name : *names) {
    uint32_t number = 0;
    const char* end = name.data() + name.size();
    if (name.size() < 2 || name.front() != 'e' ||
        std::from_chars(name.data() + 1, end, number).ptr != end) {
      return Error{ErrorCode::internal, log_path() + "/" + name + " is no entry of the change log"};
    }
    numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace

v1::LogChange log_change(const Message* before, const Message* now) {
  const Message& either = now != nullptr ? *now : *before;
  v1::LogChange change;
  change.set_type(options_of(*either.GetDescriptor()).singular());
  change.set_id(id_of(either).raw());
  change.set_verb(before == nullptr ? v1::CREATED : now == nullptr ? v1::DELETED : v1::UPDATED);
  if (const std::string tenant = tenant_of(either); !tenant.empty()) change.set_tenant(tenant);
  if (const std::string name = name_of(either); !name.empty()) change.set_name(name);
  if (change.verb() == v1::UPDATED) {
    for (std::string& field : changed_fields(*before, *now)) change.add_fields(std::move(field));
  }
  return change;
}

v1::LogEntry new_log_entry(const Author& author) {
  v1::LogEntry entry;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  entry.set_time_ms(
      static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count()));
  if (!author.who.empty()) entry.set_who(author.who);
  if (!author.request.empty()) entry.set_request(author.request);
  return entry;
}

Result<LogRange> log_range(Store& store) {
  auto numbers = log_numbers(store);
  if (!numbers.ok()) return numbers.error();
  if (numbers->empty()) return LogRange{};
  return LogRange{numbers->front(), numbers->back() + 1};
}

Result<std::vector<LogRecord>> read_log(Store& store, uint32_t from, size_t limit) {
  std::vector<LogRecord> found;
  while (found.size() < limit) {
    const auto begin = from + static_cast<uint32_t>(found.size());
    std::vector<std::string> paths;
    for (size_t i = 0; i < std::min(kChunk, limit - found.size()); ++i) {
      paths.push_back(sequence_path(log_path(), begin + static_cast<uint32_t>(i)));
    }
    auto records = store.get_many(paths);
    if (!records.ok()) return records.error();
    for (size_t i = 0; i < paths.size(); ++i) {
      const auto& record = (*records)[i];
      if (!record) {
        if (!found.empty()) return found;
        // Not there yet, or not there any more?
        auto range = log_range(store);
        if (!range.ok()) return range.error();
        if (from >= range->next) return found;
        if (from >= range->first) continue;  // it came just now: the next reading has it
        return Error{ErrorCode::not_found, "entry " + std::to_string(from) +
                                               " of the change log was trimmed; the oldest " +
                                               "is " + std::to_string(range->first)};
      }
      LogRecord entry{begin + static_cast<uint32_t>(i), record->revision, {}};
      if (!entry.entry.ParseFromString(record->value)) return Transaction::damaged(paths[i]);
      found.push_back(std::move(entry));
    }
  }
  return found;
}

Result<size_t> trim_log(Store& store, size_t keep) {
  auto numbers = log_numbers(store);
  if (!numbers.ok()) return numbers.error();
  const size_t kept = std::max<size_t>(keep, 1);
  if (numbers->size() <= kept) return size_t{0};
  const size_t surplus = numbers->size() - kept;
  size_t done = 0;
  for (size_t begin = 0; begin < surplus; begin += kTrimBatch) {
    std::vector<Step> steps;
    // An entry never changes: it is at version 1.
    for (size_t i = begin; i < std::min(begin + kTrimBatch, surplus); ++i) {
      steps.emplace_back(Delete{sequence_path(log_path(), (*numbers)[i]), 1});
    }
    auto removed = store.transact(steps);
    if (removed.ok()) {
      done += steps.size();
      continue;
    }
    if (removed.error().code != ErrorCode::not_found) return removed.error();
    return done;  // somebody else is trimming
  }
  return done;
}

}  // namespace plexus::store
