// SPDX-License-Identifier: Apache-2.0
#include "cli/waiting.h"

#include <fmt/format.h>

#include <algorithm>

namespace plexus::cli {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::seconds;

/// One question waits at most this long: connections that stay silent for longer are cut by middle boxes.
constexpr seconds kSlice{30};
/// With a host that is not waited for, the server cannot know when we have seen enough.
constexpr seconds kShortSlice{1};

std::string few(const std::vector<std::string>& names) {
  constexpr size_t kMost = 10;
  const size_t n = std::min(names.size(), kMost);
  std::string out =
      fmt::format("{}", fmt::join(names.begin(), names.begin() + static_cast<ptrdiff_t>(n), ", "));
  if (names.size() > n) out += fmt::format(" and {} more", names.size() - n);
  return out;
}

}  // namespace

Result<Convergence> wait_for_hosts(ApiClient& api, const std::string& revision, seconds timeout,
                                   const std::string& except) {
  const auto end = Clock::now() + timeout;
  std::string until = revision;
  for (;;) {
    const auto left = std::chrono::ceil<seconds>(end - Clock::now());
    auto answer =
        api.convergence(until, std::clamp(left, seconds(0), except.empty() ? kSlice : kShortSlice));
    if (!answer) return answer.error();
    if (!except.empty()) {
      std::erase(answer->laggards, except);
      std::erase(answer->unknown, except);
      answer->converged = answer->converged || answer->laggards.empty();
    }
    if (answer->converged || Clock::now() >= end) return answer;
    // "Now" is when we asked first, or it would never be over.
    until = answer->revision;
  }
}

std::string convergence_text(const Convergence& c, std::chrono::duration<double> took) {
  const std::string unknown =
      c.unknown.empty() ? "" : "; not live, so not known: " + few(c.unknown);
  const auto hosts = [](size_t n) { return fmt::format("{} host{}", n, n == 1 ? "" : "s"); };
  if (c.converged)
    return fmt::format("applied on {} in {:.2f} s{}", hosts(c.applied), took.count(), unknown);
  return fmt::format("applied on {} of {} after {:.1f} s; not on {}{}", c.applied, hosts(c.hosts),
                     took.count(), few(c.laggards), unknown);
}

int wait_and_say(ApiClient& api, const std::string& revision, const Invocation& invocation,
                 Terminal& terminal, const std::string& except) {
  const auto begin = Clock::now();
  const auto answer = wait_for_hosts(api, revision, invocation.timeout, except);
  if (!answer) return fail(answer.error(), terminal);
  const std::string text = convergence_text(*answer, Clock::now() - begin);
  if (!answer->converged) {
    terminal.err << "plexus: " << text << "\n";
    return kTimeout;
  }
  if (!invocation.quiet)
    (invocation.output == Output::text ? terminal.out : terminal.err) << text << "\n";
  return kOk;
}

}  // namespace plexus::cli
