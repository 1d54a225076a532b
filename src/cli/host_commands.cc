// SPDX-License-Identifier: Apache-2.0
// host drain, undrain, fence, unfence, credentials.
#include <fcntl.h>
#include <fmt/format.h>
#include <google/protobuf/message.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "cli/commands.h"
#include "cli/finder.h"
#include "cli/host_use.h"
#include "cli/status_view.h"
#include "cli/waiting.h"

namespace plexus::cli {
namespace {

using codec::Node;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{500};

/// Writes a file that only its owner can read; what was there is replaced at once or not at all.
Result<void> write_private(const std::string& path, const std::string& text) {
  const std::string part = path + ".new";
  ::unlink(part.c_str());
  const int fd = ::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return errno_error("writing " + part, errno);
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    done += static_cast<size_t>(n);
  }
  const bool written = done == text.size() && ::fsync(fd) == 0;
  const int error = errno;
  ::close(fd);
  if (!written) {
    ::unlink(part.c_str());
    return errno_error("writing " + part, error);
  }
  if (::rename(part.c_str(), path.c_str()) != 0) {
    const int rename_error = errno;
    ::unlink(part.c_str());
    return errno_error("writing " + path, rename_error);
  }
  return Ok{};
}

class HostCommand {
 public:
  HostCommand(const Invocation& invocation, ApiClient& api, Terminal& terminal)
      : in_(invocation), type_(*invocation.resource), api_(api), terminal_(terminal) {}

  int run() {
    auto host = Finder(api_).find(type_, in_.object);
    if (!host) return fail(host.error(), terminal_);
    id_ = host->id();
    name_ = host->name();
    switch (in_.verb) {
      case Verb::host_drain:
        return drain();
      case Verb::host_undrain:
        return set("draining", false, "takes ports again");
      case Verb::host_fence:
        return fence(*host);
      case Verb::host_unfence:
        return set("fenced", false, "takes part again");
      default:
        return credentials();
    }
  }

 private:
  void say(const std::string& text) {
    if (!in_.quiet) (in_.output == Output::text ? terminal_.out : terminal_.err) << text << "\n";
  }

  /// False unsets: that is what a host is without.
  Result<std::string> patch(std::string_view field, bool value) {
    Node body = Node::map_of({});
    body.add(field, value ? Node::of_bool(true) : Node{});
    auto object = api_.patch(type_, id_, body);
    if (!object) return object.error();
    return api_.revision();
  }

  int set(std::string_view field, bool value, std::string_view words) {
    const auto revision = patch(field, value);
    if (!revision) return fail(revision.error(), terminal_);
    say(fmt::format("host {} {}", name_, words));
    return in_.wait ? wait_and_say(api_, *revision, in_, terminal_) : kOk;
  }

  /// The ports that are wanted there or still are there.
  Result<std::vector<std::string>> ports_left() {
    const auto use = HostUse::load(api_);
    if (!use) return use.error();
    return use->ports_of(id_);
  }

  int drain() {
    if (const auto revision = patch("draining", true); !revision)
      return fail(revision.error(), terminal_);
    const auto end = Clock::now() + in_.timeout;
    std::optional<size_t> said;
    for (;;) {
      const auto left = ports_left();
      if (!left) return fail(left.error(), terminal_);
      if (left->empty()) {
        say(fmt::format("host {} is drained", name_));
        return kOk;
      }
      if (!said) say_left(*left);
      if (!in_.wait) return kOk;
      if (said && *said != left->size() && !in_.quiet)
        terminal_.err << fmt::format("{} left\n", left->size());
      said = left->size();
      if (Clock::now() >= end) {
        terminal_.err << fmt::format("plexus: {} still on host {} after {} s: {}\n",
                                     counted(left->size()), name_, in_.timeout.count(),
                                     fmt::join(*left, ", "));
        return kTimeout;
      }
      std::this_thread::sleep_for(kPoll);
    }
  }

  static std::string counted(size_t n) { return fmt::format("{} port{}", n, n == 1 ? "" : "s"); }

  void say_left(const std::vector<std::string>& left) {
    if (in_.output == Output::name) {
      for (const std::string& name : left) terminal_.out << name << "\n";
      return;
    }
    if (in_.output != Output::text) {
      Node list = Node::list_of({});
      for (const std::string& name : left) list.items.push_back(Node::of_text(name));
      Node out = Node::map_of({});
      out.add("host", Node::of_text(name_));
      out.add("left", std::move(list));
      print_document(out, in_.output, terminal_);
      return;
    }
    if (in_.quiet) return;
    terminal_.out << fmt::format("host {} is draining; {} left there:\n", name_,
                                 counted(left.size()));
    for (const std::string& name : left) terminal_.out << "  " << name << "\n";
    terminal_.out << "move them: plexus port migrate NAME --to HOST --activate\n";
  }

  int fence(const Object& host) {
    codec::NameTable names;
    const auto status = StatusView::load(api_, type_, names);
    if (!status) return fail(status.error(), terminal_);
    const HostStatus now = status->of_host(*host.message);
    if (now.live) {
      const std::string what =
          fmt::format("host {} is live and has {}", name_, counted(now.active));
      if (!confirm_harm(what, "All other hosts will cut it off. Fence it?", in_, terminal_))
        return kFailed;
    }
    const auto revision = patch("fenced", true);
    if (!revision) return fail(revision.error(), terminal_);
    say(fmt::format("host {} is fenced", name_));
    return wait_and_say(api_, *revision, in_, terminal_, name_);
  }

  int credentials() {
    const Node nothing = Node::map_of({});
    const auto answer =
        api_.call("POST", "/v1/hosts/" + url_encoded(id_) + "/credentials", &nothing);
    if (!answer) return fail(answer.error(), terminal_);
    std::string identity = text_of(*answer, "identity");
    if (identity.empty()) {
      return fail({ErrorCode::internal, "the server's answer holds no identity"}, terminal_);
    }
    if (identity.back() != '\n') identity += '\n';
    if (!in_.file.empty() && in_.file != "-") {
      if (const auto r = write_private(in_.file, identity); !r) return fail(r.error(), terminal_);
      say(fmt::format("wrote {}: bring it to host {}, for plexus-agent --identity", in_.file,
                      name_));
    } else if (in_.output == Output::json || in_.output == Output::yaml) {
      print_document(*answer, in_.output, terminal_);
    } else {
      terminal_.out << identity;
    }
    return kOk;
  }

  const Invocation& in_;
  const codec::ResourceSpec& type_;
  ApiClient& api_;
  Terminal& terminal_;
  std::string id_, name_;
};

}  // namespace

int run_host(const Invocation& invocation, Terminal& terminal) {
  auto http = connect(invocation);
  if (!http) return misused(http.error(), terminal);
  ApiClient api(**http);
  return HostCommand(invocation, api, terminal).run();
}

}  // namespace plexus::cli
