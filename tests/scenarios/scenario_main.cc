// SPDX-License-Identifier: Apache-2.0
// plexus-scenario: runs scenario texts (docs/scenario-format.md) and says of each "ok NAME", "FAIL NAME" or "skip NAME: WHY".
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <optional>
#include <random>

#include "base/log.h"
#include "scenarios/script.h"

namespace plexus::scenario {
namespace {

/// How a file went.
struct Verdict {
  enum Kind { passed, failed, skipped } kind = passed;
  std::string why;
};

/// What the header says behind `# Only: KIND:`, when that is not the lab's kind. Fails without a reason.
std::optional<Verdict> excluded(const Script& script, const Lab& lab) {
  constexpr std::string_view kOnly = "# Only: ";
  for (const std::string& line : script.header) {
    if (!line.starts_with(kOnly)) continue;
    const size_t colon = line.find(": ", kOnly.size());
    if (colon == std::string::npos)
      return Verdict{Verdict::failed, "'" + line + "' says no reason: '# Only: KIND: WHY'"};
    if (line.substr(kOnly.size(), colon - kOnly.size()) == lab.kind()) return std::nullopt;
    return Verdict{Verdict::skipped, line.substr(colon + 2)};
  }
  return std::nullopt;
}

Verdict run_script(const std::string& path, Script& script, Lab& lab, bool update, uint64_t seed) {
  Run run(lab);
  const auto at = [&](const Statement& s) {
    return path + ":" + std::to_string(s.line) + ": " + s.text + "\n  ";
  };
  // With a thousand packets, the checks after each would take minutes and find what the last ones find.
  const bool at_end = std::find(script.header.begin(), script.header.end(),
                                "# Checks: at the end") != script.header.end();
  for (Statement& statement : script.statements) {
    if (const auto done = run.step(statement, update); !done) {
      if (done.error().code == ErrorCode::unsupported)
        return {Verdict::skipped,
                "line " + std::to_string(statement.line) + ": " + done.error().message};
      return {Verdict::failed, at(statement) + done.error().message};
    }
    if (at_end && &statement != &script.statements.back()) continue;
    if (const auto findings = run.cloud().check(seed); !findings.empty()) {
      return {Verdict::failed, at(statement) + "afterwards (seed " + std::to_string(seed) +
                                   "):\n    " + findings[0]};
    }
  }
  const auto left = run.cloud().check_teardown();
  if (!left) return {Verdict::failed, path + ": " + left.error().message};
  if (!left->empty()) return {Verdict::failed, path + ":\n    " + left->front()};
  return {};
}

Verdict run_file(const std::string& path, Lab& lab, bool update, uint64_t seed) {
  std::ifstream in(path);
  if (!in) return {Verdict::failed, path + ": cannot be read"};
  Script script = read_script(in);
  for (const char* wanted : {"# Pins:", "# Matters:"}) {
    const bool there = std::any_of(script.header.begin(), script.header.end(),
                                   [&](const std::string& l) { return l.starts_with(wanted); });
    if (!there) return {Verdict::failed, path + ": lacks its line '" + wanted + " ...'"};
  }
  if (auto verdict = excluded(script, lab)) return *verdict;
  Verdict verdict = run_script(path, script, lab, update, seed);
  if (const auto done = lab.reset(); !done)
    return {Verdict::failed, path + ": taking the hosts back: " + done.error().message};
  if (update && verdict.kind == Verdict::passed) {
    std::ofstream out(path, std::ios::trunc);
    write_script(script, out);
    if (!out.flush()) return {Verdict::failed, path + ": cannot be written"};
  }
  return verdict;
}

std::string base_name(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

constexpr const char* kUsage =
    "usage: plexus-scenario [--update] [--seed=N] [--datapath fake|ebpf] FILE.scn...\n"
    "Runs scenarios (docs/scenario-format.md) on virtual hosts in memory, or with --datapath ebpf "
    "in\n"
    "network namespaces of this machine (root). --update writes what was seen into the files.";

int run_all(int argc, char** argv) {
  bool update = false, kernel = false;
  uint64_t seed = std::random_device{}();
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--update") {
      update = true;
    } else if (argument.starts_with("--seed=")) {
      seed = std::stoull(argument.substr(7));
    } else if (argument == "--datapath" && i + 1 < argc &&
               (argv[i + 1] == std::string("fake") || argv[i + 1] == std::string("ebpf"))) {
      kernel = argv[++i] == std::string("ebpf");
    } else if (argument == "--help") {
      std::puts(kUsage);
      return 0;
    } else if (argument.starts_with("--")) {
      std::fprintf(stderr, "plexus-scenario: what is '%s'?\n%s\n", argument.c_str(), kUsage);
      return 2;
    } else {
      files.push_back(argument);
    }
  }
  if (files.empty()) {
    std::fputs("plexus-scenario: no files given (see --help)\n", stderr);
    return 2;
  }
  set_log_level(LogLevel::warn);  // agents that start again say what they found
  std::unique_ptr<Lab> lab;
  if (kernel) {
    auto made = make_kernel_lab();
    if (!made) {
      std::fprintf(stderr, "plexus-scenario: %s\n", made.error().message.c_str());
      return 1;
    }
    lab = std::move(*made);
  } else {
    lab = make_fake_lab();
  }
  const std::string suffix = kernel ? " (ebpf)" : "";
  size_t passed = 0, failed = 0, skipped = 0;
  for (const std::string& file : files) {
    const Verdict verdict = run_file(file, *lab, update, seed);
    const std::string name = base_name(file) + suffix;
    switch (verdict.kind) {
      case Verdict::passed:
        ++passed;
        std::printf("ok %s\n", name.c_str());
        break;
      case Verdict::failed:
        ++failed;
        std::printf("FAIL %s\n  %s\n", name.c_str(), verdict.why.c_str());
        break;
      case Verdict::skipped:
        ++skipped;
        std::printf("skip %s: %s\n", name.c_str(), verdict.why.c_str());
        break;
    }
    std::fflush(stdout);
  }
  std::printf("%zu passed, %zu failed, %zu skipped\n", passed, failed, skipped);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace plexus::scenario

int main(int argc, char** argv) {
  return plexus::scenario::run_all(argc, argv);
}
