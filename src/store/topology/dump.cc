// SPDX-License-Identifier: Apache-2.0
#include "store/topology/dump.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <map>
#include <thread>

#include "plexus/v1/resources.pb.h"
#include "store/topology/belongings.h"
#include "store/topology/layout.h"
#include "store/topology/schema.h"
#include "store/topology/transaction.h"

namespace plexus::store {
namespace {

constexpr std::string_view kMagic = "plexus-store-dump ";
constexpr uint32_t kFormat = 1;
constexpr int kTries = 10;
// Agents let go of their ports within a moment, some thousand of them within seconds.
constexpr int kRemovals = 500;
constexpr std::chrono::milliseconds kBetweenRemovals{20};
constexpr size_t kBatchSteps = 300;
constexpr size_t kBatchBytes = kMaxTransactionBytes / 2;

uint32_t crc32(std::string_view bytes) {
  static const auto table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int k = 0; k < 8; ++k) c = (c & 1) != 0 ? 0xedb88320u ^ (c >> 1) : c >> 1;
      t[i] = c;
    }
    return t;
  }();
  uint32_t crc = 0xffffffffu;
  for (const char byte : bytes) crc = table[(crc ^ static_cast<uint8_t>(byte)) & 0xff] ^ (crc >> 8);
  return crc ^ 0xffffffffu;
}

constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string base64(std::string_view bytes) {
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t word = 0;
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    for (size_t k = 0; k < 3; ++k) {
      word = word << 8 | (k < count ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    }
    for (size_t k = 0; k < 4; ++k) {
      out += k <= count ? kDigits[(word >> (18 - 6 * k)) & 63] : '=';
    }
  }
  return out;
}

std::optional<std::string> from_base64(std::string_view text) {
  static const auto values = [] {
    std::array<int8_t, 256> t{};
    t.fill(-1);
    for (int8_t i = 0; i < 64; ++i) t[static_cast<uint8_t>(kDigits[i])] = i;
    return t;
  }();
  if (text.size() % 4 != 0) return std::nullopt;
  std::string out;
  for (size_t i = 0; i < text.size(); i += 4) {
    uint32_t word = 0;
    size_t count = 4;
    while (count > 2 && i + 4 == text.size() && text[i + count - 1] == '=') --count;
    for (size_t k = 0; k < 4; ++k) {
      const int8_t value = k < count ? values[static_cast<uint8_t>(text[i + k])] : int8_t{0};
      if (value < 0) return std::nullopt;
      word = word << 6 | static_cast<uint32_t>(value);
    }
    for (size_t k = 0; k + 1 < count; ++k) out += static_cast<char>(word >> (16 - 8 * k));
  }
  return out;
}

using Scan = std::vector<std::pair<std::string, Record>>;

bool same(const Scan& a, const Scan& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.version == y.second.version &&
           x.second.revision == y.second.revision;
  });
}

Result<Scan> scan_lasting(Store& store) {
  auto all = store.scan(kRoot);
  if (!all.ok()) return all.error();
  std::erase_if(*all, [](const auto& record) { return is_passing(record.first); });
  return std::move(*all);
}

/// The resource type whose object lies at this path; nullptr: something else does.
const google::protobuf::Descriptor* object_type(std::string_view path) {
  // /p1/o/<type>/<hh>/<id>
  if (!path.starts_with("/p1/o/")) return nullptr;
  const std::string_view rest = path.substr(6);
  const size_t slash = rest.find('/');
  if (slash == std::string_view::npos || rest.size() != slash + 4 + 36) return nullptr;
  return find_resource_type(rest.substr(0, slash));
}

std::string without_secrets(const std::string& path, std::string value) {
  const auto* type = object_type(path);
  if (type == nullptr) return value;
  auto message = new_message(*type);
  if (!message->ParseFromString(value)) return value;
  for (int i = 0; i < type->field_count(); ++i) {
    const auto* field = type->field(i);
    // A secret reference is none to who reads a dump: without it the store would not be whole.
    if (field->options().GetExtension(v1::secret) && !field->options().HasExtension(v1::ref)) {
      message->GetReflection()->ClearField(message.get(), field);
    }
  }
  return message->SerializeAsString();
}

}  // namespace

Result<Dump> dump_store(Store& store, bool with_secrets) {
  auto revision = store.sync();
  if (!revision.ok()) return revision.error();
  auto scan = scan_lasting(store);
  if (!scan.ok()) return scan.error();
  // Two readings that agree: between them it was all like that at once.
  for (int tries = 0;; ++tries) {
    auto now = store.sync();
    if (!now.ok()) return now.error();
    if (*now == *revision) break;
    if (tries == kTries) {
      return Error{ErrorCode::unavailable,
                   fmt::format("the store changed during each of {} readings: try again when less "
                               "is written, or stop the API servers for the while",
                               kTries)};
    }
    auto again = scan_lasting(store);
    if (!again.ok()) return again.error();
    const bool stable = same(*scan, *again);
    scan = std::move(again);
    revision = now;
    if (stable) break;
  }
  Dump dump;
  dump.revision = revision->value;
  dump.secrets = with_secrets;
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  dump.time = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(now));
  for (auto& [path, record] : *scan) {
    if (path == gen_path()) {
      dump.gen = record.value;
    } else if (path == loading_path()) {
      return Error{ErrorCode::conflict,
                   "this store is half loaded: load it again before it is dumped"};
    } else {
      if (!with_secrets) record.value = without_secrets(path, std::move(record.value));
      dump.records.emplace_back(path, std::move(record.value));
    }
  }
  if (dump.gen.empty()) {
    return Error{ErrorCode::not_found, "this store is empty: nothing has ever used it"};
  }
  std::sort(dump.records.begin(), dump.records.end());
  return dump;
}

std::string dump_text(const Dump& dump) {
  std::string text = fmt::format("{}{}\ngen {}\nrevision {}\ntime {}\nsecrets {}\ncount {}\n",
                                 kMagic, kFormat, dump.gen, dump.revision, dump.time,
                                 dump.secrets ? "yes" : "no", dump.records.size());
  for (const auto& [path, value] : dump.records) text += path + " " + base64(value) + "\n";
  text += fmt::format("end {:08x}\n", crc32(text));
  return text;
}

namespace {

/// Takes line by line from a text.
class Lines {
 public:
  explicit Lines(std::string_view text) : text_(text) {}
  std::optional<std::string_view> next() {
    const size_t end = text_.find('\n', at_);
    if (end == std::string_view::npos) return std::nullopt;
    const auto line = text_.substr(at_, end - at_);
    at_ = end + 1;
    ++number_;
    return line;
  }
  /// The value of the header line `name`.
  Result<std::string> header(std::string_view name) {
    const auto line = next();
    if (!line || !line->starts_with(std::string(name) + " ")) {
      return damaged(fmt::format("the line \"{} ...\" is missing", name));
    }
    return std::string(line->substr(name.size() + 1));
  }
  [[nodiscard]] Error damaged(const std::string& why) const {
    return {ErrorCode::invalid,
            fmt::format("the dump is damaged or cut off at line {}: {}", number_, why)};
  }
  [[nodiscard]] size_t position() const { return at_; }
  [[nodiscard]] bool at_end() const { return at_ == text_.size(); }

 private:
  std::string_view text_;
  size_t at_ = 0;
  size_t number_ = 0;
};

template <typename N>
bool to_number(const std::string& text, N& out) {
  const char* end = text.data() + text.size();
  return !text.empty() && std::from_chars(text.data(), end, out).ptr == end;
}

}  // namespace

Result<Dump> parse_dump(std::string_view text) {
  if (!text.starts_with(kMagic)) {
    return Error{ErrorCode::invalid, "this is no dump of a store: it does not begin with \"" +
                                         std::string(kMagic) + "\""};
  }
  Lines lines(text);
  const auto first = lines.next();
  uint32_t format = 0;
  if (!first || !to_number(std::string(first->substr(kMagic.size())), format)) {
    return lines.damaged("no format number");
  }
  if (format > kFormat) {
    return Error{ErrorCode::unsupported,
                 fmt::format("the dump has format {}, this program knows {}: use a newer one",
                             format, kFormat)};
  }
  Dump dump;
  size_t count = 0;
  using Take = std::function<bool(const std::string&)>;
  const std::vector<std::pair<const char*, Take>> headers = {
      {"gen", [&](const auto& v) { return Uuid::parse(dump.gen = v).has_value(); }},
      {"revision", [&](const auto& v) { return to_number(v, dump.revision); }},
      {"time", [&](const auto& v) { return !(dump.time = v).empty(); }},
      {"secrets", [&](const auto& v) { return (dump.secrets = v == "yes") || v == "no"; }},
      {"count", [&](const auto& v) { return to_number(v, count); }}};
  for (const auto& [name, take] : headers) {
    auto value = lines.header(name);
    if (!value.ok()) return value.error();
    if (!take(*value)) return lines.damaged(fmt::format("{} is \"{}\"", name, *value));
  }
  for (size_t i = 0; i < count; ++i) {
    const auto line = lines.next();
    if (!line) return lines.damaged(fmt::format("{} of {} records are there", i, count));
    const size_t space = line->find(' ');
    auto value =
        space == std::string_view::npos ? std::nullopt : from_base64(line->substr(space + 1));
    if (!value || !line->starts_with("/p1/")) return lines.damaged("this is no record");
    dump.records.emplace_back(line->substr(0, space), std::move(*value));
  }
  const std::string_view summed = text.substr(0, lines.position());
  auto sum = lines.header("end");
  if (!sum.ok()) return sum.error();
  if (*sum != fmt::format("{:08x}", crc32(summed))) return lines.damaged("the checksum is wrong");
  if (!lines.at_end()) return lines.damaged("something follows the end");
  return dump;
}

namespace {

/// Collects steps and commits them in parts that fit.
class Parts {
 public:
  Parts(Store& store, const LoadOptions& options, const char* what, size_t all)
      : store_(store), options_(options), what_(what), all_(all) {}

  Result<void> add(Step step, size_t bytes) {
    steps_.push_back(std::move(step));
    bytes_ += bytes + 200;
    if (steps_.size() < kBatchSteps && bytes_ < kBatchBytes) return Ok{};
    return flush();
  }
  Result<void> flush() {
    if (steps_.empty()) return Ok{};
    auto done = store_.transact(steps_);
    if (!done.ok()) return done.error();
    done_ += steps_.size();
    steps_.clear();
    bytes_ = 0;
    if (options_.progress) options_.progress(what_, done_, all_);
    return Ok{};
  }

 private:
  Store& store_;
  const LoadOptions& options_;
  const char* what_;
  size_t all_;
  std::vector<Step> steps_;
  size_t bytes_ = 0, done_ = 0;
};

bool is_log_entry(std::string_view path) {
  return path.starts_with(log_path() + "/");
}

/// Access as the writer would have given it.
std::map<std::string, Access> binding_accesses(const Dump& dump) {
  std::map<std::string, v1::Port> ports;  // by id
  for (const auto& [path, value] : dump.records) {
    v1::Port port;
    if (object_type(path) != v1::Port::descriptor() || !port.ParseFromString(value)) continue;
    ports[port.id()] = std::move(port);
  }
  std::map<std::string, Access> accesses;
  for (const auto& [id, port] : ports) {
    const auto parent = port.has_parent() ? ports.find(port.parent()) : ports.end();
    accesses[binding_path(id_of(port))] =
        binding_access(parent == ports.end() ? port : parent->second);
  }
  return accesses;
}

Result<void> mark_loading(Store& store, const Dump& dump) {
  auto mark = store.get(loading_path());
  if (!mark.ok()) return mark.error();
  const std::string text = "dump of " + dump.time;
  const Step step = *mark ? Step{Set{loading_path(), text, (*mark)->version}}
                          : Step{Create{loading_path(), text, access_of(loading_path())}};
  auto done = store.transact({step});
  return done.ok() ? Result<void>(Ok{}) : Result<void>(done.error());
}

Result<void> remove_once(Store& store, const LoadOptions& options) {
  auto scan = store.scan(kRoot);
  if (!scan.ok()) return scan.error();
  Parts parts(store, options, "removed", scan->size());
  // What lies deeper goes first.
  for (auto it = scan->rbegin(); it != scan->rend(); ++it) {
    if (it->first == gen_path() || it->first == loading_path()) continue;
    if (auto done = parts.add(Delete{it->first, it->second.version}, it->first.size()); !done.ok())
      return done;
  }
  return parts.flush();
}

/// Agents run on, and what they have just begun to say of their ports changes what is to go.
Result<void> remove_all(Store& store, const LoadOptions& options) {
  for (int tries = 0;; ++tries) {
    auto done = remove_once(store, options);
    if (done.ok() || tries == kRemovals) return done;
    const ErrorCode code = done.error().code;
    if (code != ErrorCode::conflict && code != ErrorCode::not_found && code != ErrorCode::in_use) {
      return done;
    }
    std::this_thread::sleep_for(kBetweenRemovals);
  }
}

Result<void> begin_new_life(Store& store) {
  auto gen = store.get(gen_path());
  if (!gen.ok()) return gen.error();
  auto mark = store.get(loading_path());
  if (!mark.ok()) return mark.error();
  if (!*mark) return Error{ErrorCode::conflict, "somebody else loaded into this store meanwhile"};
  const std::string id = Uuid::random().str();
  const Step life = *gen ? Step{Set{gen_path(), id, (*gen)->version}}
                         : Step{Create{gen_path(), id, access_of(gen_path())}};
  auto done = store.transact({life, Delete{loading_path(), (*mark)->version}});
  return done.ok() ? Result<void>(Ok{}) : Result<void>(done.error());
}

}  // namespace

Result<bool> load_interrupted(Store& store) {
  auto mark = store.get(loading_path());
  if (!mark.ok()) return mark.error();
  return mark->has_value();
}

Result<void> load_dump(Store& store, const Dump& dump, const LoadOptions& options) {
  auto scan = store.scan(kRoot);
  if (!scan.ok()) return scan.error();
  const bool half_loaded = std::any_of(scan->begin(), scan->end(), [](const auto& record) {
    return record.first == loading_path();
  });
  const auto held = std::count_if(scan->begin(), scan->end(), [](const auto& record) {
    return record.first != gen_path() && !is_passing(record.first);
  });
  if (held > 0 && !half_loaded && !options.force) {
    return Error{ErrorCode::exists,
                 fmt::format("the store holds {} records: name an empty one, or let --force remove "
                             "them",
                             held)};
  }
  // From here on whoever looks knows that it is not whole.
  if (auto done = mark_loading(store, dump); !done.ok()) return done;
  if (auto done = remove_all(store, options); !done.ok()) return done;
  const auto bindings = binding_accesses(dump);
  Parts parts(store, options, "loaded", dump.records.size());
  for (const bool log : {false, true}) {
    for (const auto& [path, value] : dump.records) {
      if (is_log_entry(path) != log) continue;
      const auto binding = bindings.find(path);
      Access access = binding != bindings.end() ? binding->second : access_of(path);
      Step step = log ? Step{Append{log_path(), value, std::move(access)}}
                      : Step{Create{path, value, std::move(access)}};
      if (auto done = parts.add(std::move(step), path.size() + value.size()); !done.ok()) {
        return done;
      }
    }
  }
  if (auto done = parts.flush(); !done.ok()) return done;
  // Last: by this agents see that everything is new.
  return begin_new_life(store);
}

}  // namespace plexus::store
