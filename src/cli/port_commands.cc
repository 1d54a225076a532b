// SPDX-License-Identifier: Apache-2.0
// port bind, unbind, migrate.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <thread>

#include "cli/commands.h"
#include "cli/finder.h"
#include "cli/status_view.h"
#include "cli/waiting.h"

namespace plexus::cli {
namespace {

using codec::Node;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{100};

class PortCommand {
 public:
  PortCommand(const Invocation& invocation, ApiClient& api, Terminal& terminal)
      : in_(invocation), type_(*invocation.resource), api_(api), terminal_(terminal) {}

  int run() {
    Finder finder(api_);
    auto port = finder.find(type_, in_.object, in_.tenant);
    if (!port) return fail(port.error(), terminal_);
    id_ = port->id();
    name_ = port->name();
    if (!in_.host.empty()) {
      auto host = finder.find(*codec::find_singular("host"), in_.host);
      if (!host) return fail(host.error(), terminal_);
      host_id_ = host->id();
      host_name_ = host->name();
    }
    switch (in_.verb) {
      case Verb::port_bind:
        return bind();
      case Verb::port_unbind:
        return unbind(*port);
      default:
        return migrate(*port);
    }
  }

 private:
  void say(const std::string& text) {
    if (!in_.quiet) (in_.output == Output::text ? terminal_.out : terminal_.err) << text << "\n";
  }

  /// The object as it became goes out as JSON, YAML or a name when that is wanted.
  int change(const Node& body, const std::string& words) {
    auto object = api_.patch(type_, id_, body);
    if (!object) return fail(object.error(), terminal_);
    revision_ = api_.revision();
    if (in_.output == Output::name) {
      terminal_.out << name_ << "\n";
    } else if (in_.output != Output::text) {
      print_document(object->document, in_.output, terminal_);
    } else {
      say(words);
    }
    return kOk;
  }

  int wait() { return wait_and_say(api_, revision_, in_, terminal_); }

  int bind() {
    Node body = Node::map_of({});
    body.add("host", Node::of_text(host_id_));
    body.add("interface", Node::of_text(in_.interface));
    if (const int r = change(
            body, fmt::format("port {} is wanted at {}:{}", name_, host_name_, in_.interface));
        r != kOk || !in_.wait) {
      return r;
    }
    if (const int r = wait(); r != kOk) return r;
    return look_for_interface();
  }

  /// Until the port is up: a host answers the barrier before it has written down that the interface is there, and the
  /// interface may come later.
  int look_for_interface() {
    for (;;) {
      const auto bindings = api_.items("status/bindings");
      if (!bindings) return fail(bindings.error(), terminal_);
      if (StatusView({}, *bindings).is_active(id_, host_id_)) {
        say(fmt::format("port {} is active on host {}", name_, host_name_));
        return kOk;
      }
      if (Clock::now() >= end_) break;
      std::this_thread::sleep_for(kPoll);
    }
    terminal_.err << fmt::format(
        "plexus: port {} is not active after {} s: host {} has no such interface, or is not live\n",
        name_, in_.timeout.count(), host_name_);
    return kTimeout;
  }

  int unbind(const Object& port) {
    Node body = Node::map_of({});
    for (const char* field : {"host", "interface", "migrating_to"}) {
      if (codec::has_field(*port.message, field)) body.add(field, Node{});
    }
    if (body.members.empty()) {
      say(fmt::format("port {} is wanted nowhere already", name_));
      return kOk;
    }
    const int r = change(body, fmt::format("port {} is wanted nowhere now", name_));
    return r == kOk && in_.wait ? wait() : r;
  }

  int migrate(const Object& port) {
    const std::string from = codec::get_text(*port.message, "host");
    const std::string target = codec::get_text(*port.message, "migrating_to");
    if (from.empty()) {
      return fail({ErrorCode::invalid,
                   fmt::format("port {} is on no host; plexus port bind {} --host {} --interface "
                               "INTERFACE brings it to one",
                               name_, name_, host_name_)},
                  terminal_);
    }
    if (from == host_id_ && target.empty()) {
      say(fmt::format("port {} is wanted at host {} already", name_, host_name_));
      return kOk;
    }
    if (from == host_id_) {
      Node stay = Node::map_of({});
      stay.add("migrating_to", Node{});
      const int r = change(stay, fmt::format("port {} stays at host {}", name_, host_name_));
      return r == kOk && in_.wait ? wait() : r;
    }
    if (target != host_id_) {
      Node prepare = Node::map_of({});
      prepare.add("migrating_to", Node::of_text(host_id_));
      if (in_.activate) {
        // All must know where it goes before it goes.
        auto object = api_.patch(type_, id_, prepare);
        if (!object) return fail(object.error(), terminal_);
        const auto known = wait_for_hosts(api_, api_.revision(), in_.timeout);
        if (!known) return fail(known.error(), terminal_);
        if (!known->converged && !in_.quiet)
          terminal_.err << "not yet known on "
                        << fmt::format("{}", fmt::join(known->laggards, ", ")) << "; going on\n";
      } else {
        const int r = change(
            prepare,
            fmt::format("port {} is migrating to host {}: it takes over with its first frame",
                        name_, host_name_));
        return r == kOk && in_.wait ? wait() : r;
      }
    }
    if (!in_.activate) {
      say(fmt::format("port {} is migrating to host {} already; --activate ends it", name_,
                      host_name_));
      return kOk;
    }
    Node body = Node::map_of({});
    body.add("host", Node::of_text(host_id_));
    body.add("migrating_to", Node{});
    if (const int r = change(body, fmt::format("port {} is wanted at host {}", name_, host_name_));
        r != kOk || !in_.wait) {
      return r;
    }
    if (const int r = wait(); r != kOk) return r;
    return look_for_interface();
  }

  const Invocation& in_;
  const codec::ResourceSpec& type_;
  ApiClient& api_;
  Terminal& terminal_;
  std::string id_, name_, host_id_, host_name_, revision_;
  const Clock::time_point end_ = Clock::now() + in_.timeout;
};

}  // namespace

int run_port(const Invocation& invocation, Terminal& terminal) {
  auto http = connect(invocation);
  if (!http) return misused(http.error(), terminal);
  ApiClient api(**http);
  return PortCommand(invocation, api, terminal).run();
}

}  // namespace plexus::cli
