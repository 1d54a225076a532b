// SPDX-License-Identifier: Apache-2.0
#include "store/topology/store_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "base/unique_fd.h"
#include "store/store.h"
#include "store/topology/check.h"
#include "store/topology/dump.h"
#include "store/topology/level.h"
#include "store/topology/mend.h"

namespace plexus::store {
namespace {

constexpr int kDone = 0, kFailed = 1, kUsage = 2, kProblems = 3;

constexpr char kHelp[] =
    R"(usage: plexus-store [--store ADDRESS] [--identity FILE] COMMAND

  dump [-o FILE] [--without-secrets]   writes all that the store holds to FILE (or standard output)
  load [-f FILE] [--force]             fills an empty store from FILE (or standard input)
  check                                verifies that the topology is whole
  mend                                 writes what follows from the resources and is missing or wrong
  level [N]                            shows, or raises, the schema level of the cloud

  --store ADDRESS     embedded:/DIRECTORY or zookeeper:HOST:PORT[,HOST:PORT...][/CHROOT]
                      (embedded:/var/lib/plexus/store)
  --identity FILE     who we are to a store that asks: an API server's identity file
  --without-secrets   leaves out the hashes of tokens; these tokens will not work after a load
  --force             removes what the store holds
  --help, --version

Stop the API servers before a load, and before mend. Agents go on forwarding, and read everything anew afterwards.
Exit status: 0 done, 1 failed, 2 wrong usage, 3 the check (or mend, afterwards) found something wrong.
)";

struct Options {
  std::string store = "embedded:/var/lib/plexus/store";
  std::string identity, output, input;
  bool without_secrets = false, force = false;
  std::vector<std::string> words;
};

size_t distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t best = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = std::exchange(row[j], best);
    }
  }
  return row.back();
}

std::string suggestion(const std::string& word, const std::vector<std::string>& known) {
  const auto nearest = std::min_element(
      known.begin(), known.end(),
      [&](const auto& a, const auto& b) { return distance(word, a) < distance(word, b); });
  if (distance(word, *nearest) <= std::max<size_t>(2, nearest->size() / 3)) {
    return "did you mean " + *nearest + "?";
  }
  return fmt::format("one of {}", fmt::join(known, ", "));
}

/// One line on a terminal's patience: at most one in two seconds.
class Progress {
 public:
  explicit Progress(FILE* err) : err_(err) {}
  void operator()(const char* what, size_t done, size_t all) {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::seconds(2)) return;
    last_ = now;
    fmt::print(err_, "plexus-store: {} {} of {} records\n", what, done, all);
  }

 private:
  FILE* err_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

Result<std::string> read_all(FILE* in, const std::string& name) {
  std::string text;
  char buffer[65536];
  size_t count = 0;
  while ((count = fread(buffer, 1, sizeof buffer, in)) > 0) text.append(buffer, count);
  if (ferror(in) != 0) return errno_error("reading " + name, errno);
  return text;
}

Result<std::string> read_file(const std::string& path) {
  FILE* file = fopen(path.c_str(), "re");
  if (file == nullptr) return errno_error("opening " + path, errno);
  auto text = read_all(file, path);
  fclose(file);
  return text;
}

Result<void> write_all(int fd, std::string_view text, const std::string& name) {
  while (!text.empty()) {
    const ssize_t count = ::write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno_error("writing " + name, errno);
    text.remove_prefix(static_cast<size_t>(count));
  }
  return Ok{};
}

/// A file is replaced as a whole: a full disk leaves the old one.
Result<void> write_file(const std::string& path, const std::string& text) {
  struct stat status {};
  const bool special = ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
  if (special) {
    UniqueFd device(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!device.valid()) return errno_error("opening " + path, errno);
    return write_all(device.get(), text, path);
  }
  const std::string fresh = path + ".new";
  ::unlink(fresh.c_str());
  UniqueFd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.valid()) return errno_error("making " + fresh, errno);
  auto done = write_all(file.get(), text, fresh);
  if (done.ok() && ::fsync(file.get()) != 0) done = errno_error("writing " + fresh, errno);
  if (done.ok() && ::rename(fresh.c_str(), path.c_str()) != 0) {
    done = errno_error("renaming " + fresh + " to " + path, errno);
  }
  if (!done.ok()) {
    ::unlink(fresh.c_str());
    return done;
  }
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const UniqueFd parent(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent.valid() || ::fsync(parent.get()) != 0)
    return errno_error("writing " + directory, errno);
  return Ok{};
}

class Command {
 public:
  Command(FILE* in, FILE* out, FILE* err) : in_(in), out_(out), err_(err) {}

  int run(const std::vector<std::string>& arguments) {
    if (const auto status = read_options(arguments)) return *status;
    const std::string& verb = options_.words.front();
    OpenOptions opening;
    if (!options_.identity.empty()) {
      auto identity = read_file(options_.identity);
      if (!identity.ok()) return failed(identity.error());
      opening.identity = *identity;
    }
    // Whatever is wrong with the file shows before the store is touched.
    std::optional<Dump> dump;
    if (verb == "load") {
      auto text =
          options_.input.empty() ? read_all(in_, "standard input") : read_file(options_.input);
      if (!text.ok()) return failed(text.error());
      auto parsed = parse_dump(*text);
      if (!parsed.ok()) return failed(parsed.error());
      dump = std::move(*parsed);
    }
    // A mistyped address must not leave an empty store there.
    opening.create = verb == "load";
    auto store = open_store(options_.store, opening);
    if (!store.ok()) return failed(store.error().in("opening the store " + options_.store));
    if (verb == "dump") return write_dump(**store);
    if (verb == "load") return load(**store, *dump);
    if (verb == "check") return check(**store);
    if (verb == "mend") return mend(**store);
    return level(**store);
  }

 private:
  int usage(const std::string& message) {
    fmt::print(err_, "plexus-store: {}\nTry: plexus-store --help\n", message);
    return kUsage;
  }
  int failed(const Error& error) {
    fmt::print(err_, "plexus-store: {}\n", error.message);
    return kFailed;
  }

  std::optional<int> read_options(const std::vector<std::string>& arguments) {
    static const std::vector<std::string> kFlags = {"--store", "--identity",        "--output",
                                                    "--file",  "--without-secrets", "--force",
                                                    "--help",  "--version"};
    static const std::vector<std::string> kCommands = {"dump", "load", "check", "mend", "level"};
    for (size_t i = 0; i < arguments.size(); ++i) {
      std::string name = arguments[i];
      if (name.empty() || name[0] != '-') {
        options_.words.push_back(name);
        continue;
      }
      std::optional<std::string> value;
      if (const size_t equal = name.find('=');
          name.starts_with("--") && equal != std::string::npos) {
        value = name.substr(equal + 1);
        name.resize(equal);
      }
      if (name == "-o") name = "--output";
      if (name == "-f") name = "--file";
      if (name == "-h") name = "--help";
      if (std::find(kFlags.begin(), kFlags.end(), name) == kFlags.end()) {
        return usage("unknown flag '" + name + "'; " + suggestion(name, kFlags));
      }
      const bool plain = name == "--without-secrets" || name == "--force" || name == "--help" ||
                         name == "--version";
      if (plain && value) return usage(name + " takes no value");
      if (!plain && !value) {
        if (i + 1 == arguments.size()) return usage(name + " needs a value");
        value = arguments[++i];
      }
      if (name == "--help") {
        fmt::print(out_, "{}", kHelp);
        return kDone;
      }
      if (name == "--version") {
        fmt::print(out_, "plexus-store 0.1\n");
        return kDone;
      }
      if (name == "--store") options_.store = *value;
      if (name == "--identity") options_.identity = *value;
      if (name == "--output") options_.output = *value;
      if (name == "--file") options_.input = *value;
      if (name == "--without-secrets") options_.without_secrets = true;
      if (name == "--force") options_.force = true;
    }
    auto& words = options_.words;
    if (words.empty()) return usage("no command; one of dump, load, check, mend, level");
    const std::string& verb = words.front();
    if (std::find(kCommands.begin(), kCommands.end(), verb) == kCommands.end()) {
      return usage("unknown command '" + verb + "'; " + suggestion(verb, kCommands));
    }
    if (words.size() > (verb == "level" ? 2 : 1)) {
      return usage("'" + words.back() + "' is too much for " + verb);
    }
    const auto only_for = [&](bool given, const char* flag, const char* command) {
      return given && verb != command
                 ? std::optional<int>(usage(fmt::format("{} is for {}", flag, command)))
                 : std::nullopt;
    };
    if (auto status = only_for(!options_.output.empty(), "-o", "dump")) return status;
    if (auto status = only_for(options_.without_secrets, "--without-secrets", "dump"))
      return status;
    if (auto status = only_for(!options_.input.empty(), "-f", "load")) return status;
    return only_for(options_.force, "--force", "load");
  }

  int write_dump(Store& store) {
    auto dump = dump_store(store, !options_.without_secrets);
    if (!dump.ok()) return failed(dump.error());
    const std::string text = dump_text(*dump);
    if (options_.output.empty()) {
      if (fwrite(text.data(), 1, text.size(), out_) != text.size() || fflush(out_) != 0) {
        return failed(errno_error("writing standard output", errno));
      }
    } else if (auto done = write_file(options_.output, text); !done.ok()) {
      return failed(done.error());
    }
    fmt::print(err_, "plexus-store: {} records at revision {}\n", dump->records.size(),
               dump->revision);
    if (dump->secrets) {
      fmt::print(err_,
                 "plexus-store: the dump holds the hashes of the API's tokens: keep it as you "
                 "keep secrets\n");
    }
    return kDone;
  }

  int load(Store& store, const Dump& dump) {
    Progress progress(err_);
    LoadOptions how;
    how.force = options_.force;
    how.progress = std::ref(progress);
    if (auto done = load_dump(store, dump, how); !done.ok()) {
      auto half = load_interrupted(store);
      const bool half_loaded = half.ok() && *half;
      return failed(
          {done.error().code,
           done.error().message + (half_loaded ? "; the store is half loaded: load again" : "")});
    }
    fmt::print(err_, "plexus-store: loaded {} records of {}; checking\n", dump.records.size(),
               dump.time);
    return check(store);
  }

  int check(Store& store) {
    auto report = check_store(store);
    if (!report.ok()) return failed(report.error());
    return show(*report);
  }

  int mend(Store& store) {
    auto mended = mend_store(store);
    if (!mended.ok()) {
      const bool raced = mended.error().code == ErrorCode::conflict;
      return failed(
          {mended.error().code,
           mended.error().message +
               (raced ? ": somebody writes; stop the API servers, and run it again" : "")});
    }
    fmt::print(err_, "plexus-store: {} records mended\n", mended->records);
    if (mended->left.foreign) {
      fmt::print(err_,
                 "plexus-store: the store holds what this program does not know or cannot decode, "
                 "so it mends nothing: use a newer one, or load a dump\n");
    }
    return show(mended->left);
  }

  int show(const CheckReport& report) {
    if (report.records == 0) {
      return failed({ErrorCode::not_found,
                     "the store " + options_.store + " is empty: nothing has ever used it"});
    }
    for (const std::string& problem : report.problems) fmt::print(out_, "{}\n", problem);
    const std::string can_mend =
        report.remedies.empty()
            ? ""
            : fmt::format("; plexus-store mend would write {} records", report.remedies.size());
    fmt::print(out_, "{} records, {} resources: {}{}\n", report.records, report.resources,
               report.problems.empty() ? "no problems"
                                       : fmt::format("{} problems", report.problems.size()),
               can_mend);
    return report.problems.empty() ? kDone : kProblems;
  }

  int level(Store& store) {
    if (options_.words.size() == 2) {
      const std::string& text = options_.words[1];
      const bool number = text.size() < 6 && std::all_of(text.begin(), text.end(), [](char c) {
                            return c >= '0' && c <= '9';
                          });
      if (!number || std::stoul("0" + text) == 0) return usage("level '" + text + "' is no number");
      auto done = raise_schema_level(store, static_cast<uint32_t>(std::stoul(text)));
      if (!done.ok()) return failed(done.error());
    }
    auto level = schema_level(store);
    if (!level.ok()) return failed(level.error());
    fmt::print(out_, "{}\n", *level);
    return kDone;
  }

  FILE *in_, *out_, *err_;
  Options options_;
};

}  // namespace

int store_command(const std::vector<std::string>& arguments, FILE* in, FILE* out, FILE* err) {
  return Command(in, out, err).run(arguments);
}

}  // namespace plexus::store
