// SPDX-License-Identifier: Apache-2.0
// plexus-scenario: runs scenario texts (docs/scenario-format.md) and says of each "ok NAME", "FAIL NAME" or "skip NAME: WHY".
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <optional>
#include <random>
#include <sstream>

#include "packet/text.h"
#include "scenarios/cloud.h"

namespace plexus::scenario {
namespace {

struct Statement {
  int line = 0;                    ///< where it stands, from 1
  std::string text;                ///< its first line
  std::vector<std::string> block;  ///< the indented lines below, without the common indentation
};

struct Script {
  std::vector<std::string> header;  ///< comments and blank lines before the first statement
  std::vector<Statement> statements;
};

constexpr std::string_view kIndent = "  ";

Script read_script(std::istream& in) {
  Script script;
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    while (!line.empty() && line.back() == ' ') line.pop_back();
    if (line.starts_with(kIndent) && !script.statements.empty()) {
      script.statements.back().block.push_back(line.substr(kIndent.size()));
    } else if (script.statements.empty() && (line.empty() || line.front() == '#')) {
      script.header.push_back(line);
    } else {
      script.statements.push_back({number, line, {}});
    }
  }
  return script;
}

/// Splits off the first word.
std::pair<std::string, std::string> first_word(const std::string& text) {
  const size_t space = text.find(' ');
  if (space == std::string::npos) return {text, ""};
  const size_t rest = text.find_first_not_of(' ', space);
  return {text.substr(0, space), rest == std::string::npos ? "" : text.substr(rest)};
}

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out += line + "\n";
  return out;
}

class Run {
 public:
  explicit Run(Lab& lab) : cloud_(lab) {}

  /// Runs one statement. Statements that show something compare it with their block, or with `update` replace it.
  Result<void> step(Statement& statement, bool update) {
    const auto [verb, rest] = first_word(statement.text);
    if (verb.empty() || verb[0] == '#') return {};
    if (verb == "topology" || verb == "apply") return cloud_.apply(joined(statement.block));
    if (verb == "delete") {
      const auto [type, name] = first_word(rest);
      return cloud_.remove(type, name);
    }
    if (verb == "newer") {
      const auto [type, name] = first_word(rest);
      return cloud_.make_newer(type, name);
    }
    if (verb == "unplug" || verb == "plug") {
      const auto [host, interface] = place(rest);
      return cloud_.plug(host, interface, verb == "plug");
    }
    if (verb == "underlay") {
      const auto [family, mtu_text] = first_word(rest);
      uint32_t mtu = 0;
      std::from_chars(mtu_text.data(), mtu_text.data() + mtu_text.size(), mtu);
      if ((family != "ipv4" && family != "ipv6") || mtu_text != std::to_string(mtu)) {
        return Error{ErrorCode::invalid, "'" + rest + "' is no underlay: write ipv4 1500"};
      }
      return cloud_.set_underlay(family == "ipv4" ? IpFamily::v4 : IpFamily::v6, mtu);
    }
    std::vector<std::string> shown;
    if (const auto done = show(verb, rest, shown); !done) return done.error();
    if (update) {
      statement.block = shown;
      return {};
    }
    if (shown == statement.block) return {};
    std::string message = "expected:\n";
    for (const auto& l : statement.block) message += "    " + l + "\n";
    message += "  seen:\n";
    for (const auto& l : shown) message += "    " + l + "\n";
    return Error{ErrorCode::invalid, message};
  }

  [[nodiscard]] ScenarioCloud& cloud() { return cloud_; }

 private:
  static std::pair<std::string, std::string> place(const std::string& text) {
    const size_t slash = text.find('/');
    if (slash == std::string::npos) return {text, ""};
    return {text.substr(0, slash), text.substr(slash + 1)};
  }

  static Result<std::vector<uint8_t>> frame_of(const std::string& text) {
    auto frame = parse_frame(text);
    if (!frame) return frame.error();
    return std::vector<uint8_t>(frame->begin(), frame->end());
  }

  Result<void> show(const std::string& verb, const std::string& rest,
                    std::vector<std::string>& shown) {
    if (verb == "send" || verb == "trace") {
      auto [where, text] = first_word(rest);
      const auto [host, interface] = place(where);
      datapath::Offload offload;
      if (const auto [word, behind] = first_word(text); word == "gso") {
        const auto [size, packet] = first_word(behind);
        std::from_chars(size.data(), size.data() + size.size(), offload.gso_size);
        if (verb != "send" || offload.gso_size == 0 || size != std::to_string(offload.gso_size))
          return Error{ErrorCode::invalid, "'" + behind + "': write send h1/tap1 gso 1400 PACKET"};
        offload.partial_checksum = true;
        text = packet;
      }
      const auto frame = frame_of(text);
      if (!frame) return frame.error();
      if (verb == "trace") {
        auto lines = cloud_.trace(host, interface, *frame);
        if (!lines) return lines.error();
        shown = std::move(*lines);
        return {};
      }
      if (const auto sent = cloud_.send(host, interface, *frame, offload); !sent)
        return sent.error();
    } else if (verb == "tunnel") {  // tunnel HOST FROM KEY PACKET
      const auto [host, r1] = first_word(rest);
      const auto [from_text, r2] = first_word(r1);
      const auto [key_text, text] = first_word(r2);
      const auto from = IpAddr::parse(from_text);
      uint32_t key = 0;
      std::from_chars(key_text.data(), key_text.data() + key_text.size(), key);
      const auto frame = frame_of(text);
      if (!from) return Error{ErrorCode::invalid, "'" + from_text + "' is not an address"};
      if (!frame) return frame.error();
      if (const auto sent = cloud_.send_tunnel(host, *from, key, *frame); !sent)
        return sent.error();
    } else if (verb == "after") {
      int seconds = 0;
      std::from_chars(rest.data(), rest.data() + rest.size(), seconds);
      if (seconds <= 0 || rest != std::to_string(seconds) + "s") {
        return Error{ErrorCode::invalid, "'" + rest + "' is not a time: write 5s"};
      }
      if (const auto passed = cloud_.pass(std::chrono::seconds(seconds)); !passed)
        return passed.error();
    } else if (verb == "flows") {
      auto lines = cloud_.flows(rest);
      if (!lines) return lines.error();
      shown = std::move(*lines);
      return {};
    } else if (verb != "results") {
      return Error{ErrorCode::invalid,
                   "unknown statement '" + verb +
                       "': expected topology, apply, delete, newer, underlay, plug, "
                       "unplug, send, tunnel, after, results, trace "
                       "or flows"};
    }
    shown = cloud_.take_results();
    if (shown.empty()) shown = {"nothing"};
    return {};
  }

  ScenarioCloud cloud_;
};

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
  for (Statement& statement : script.statements) {
    if (const auto done = run.step(statement, update); !done) {
      if (done.error().code == ErrorCode::unsupported)
        return {Verdict::skipped,
                "line " + std::to_string(statement.line) + ": " + done.error().message};
      return {Verdict::failed, at(statement) + done.error().message};
    }
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
    for (const auto& line : script.header) out << line << '\n';
    for (const Statement& s : script.statements) {
      out << s.text << '\n';
      for (const auto& line : s.block) out << kIndent << line << '\n';
    }
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
