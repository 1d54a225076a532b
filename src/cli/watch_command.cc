// SPDX-License-Identifier: Apache-2.0
// plexus watch: changes as they come, over broken connections and restarted servers.
#include <fmt/format.h>

#include <thread>

#include "cli/commands.h"
#include "cli/event_stream.h"
#include "codec/json.h"

namespace plexus::cli {
namespace {

using codec::Node;
using std::chrono::milliseconds;

/// The server says something each 15 s.
constexpr std::chrono::seconds kIdle{45};
constexpr milliseconds kFirstPause{200}, kLongestPause{5000};

class Watch {
 public:
  Watch(const Invocation& invocation, HttpClient& http, Terminal& terminal)
      : in_(invocation), http_(http), terminal_(terminal), since_(invocation.since) {}

  int run() {
    milliseconds pause = kFirstPause;
    for (;;) {
      const auto reply = http_.stream(target(), kIdle, [&](std::string_view bytes) {
        connected_ = true;
        pause = kFirstPause;
        return reader_.feed(bytes, [&](const Event& e) { return take(e); });
      });
      reader_ = {};
      if (finished_) return kOk;
      if (reply && reply->status == 410) {
        gone();
        continue;
      }
      if (reply && reply->status != 200 && (reply->status < 500 || !connected_))
        return fail(error_of(*reply), terminal_);
      if (!connected_ && !reply) return fail(reply.error(), terminal_);
      if (!reply && reply.error().code != ErrorCode::unavailable &&
          reply.error().code != ErrorCode::internal) {
        return fail(reply.error(), terminal_);
      }
      if (!in_.quiet && pause == kFirstPause)
        terminal_.err << fmt::format("{} is gone; connecting again\n", http_.address());
      std::this_thread::sleep_for(pause);
      pause = std::min(pause * 2, kLongestPause);
    }
  }

 private:
  [[nodiscard]] std::string target() const {
    Query query;
    if (!since_.empty()) query.emplace_back("since", since_);
    std::string collections;
    for (const codec::ResourceSpec* type : in_.collections)
      collections += (collections.empty() ? "" : ",") + type->collection;
    if (!collections.empty()) query.emplace_back("collection", collections);
    return "/v1/watch" + query_text(query);
  }

  void gone() {
    if (is_json()) {
      Node line = Node::map_of({});
      line.add("gap", Node::of_bool(true));
      line.add("since", Node::of_text(since_));
      terminal_.out << codec::write_json(line) << std::endl;
    }
    terminal_.err << fmt::format(
        "The server no longer has the changes since {}. Going on from now: list again what you "
        "follow.\n",
        since_);
    since_.clear();
  }

  bool take(const Event& event) {
    if (!event.id.empty()) since_ = event.id;
    if (event.name != "change") return true;
    codec::Problems problems;
    Node change = codec::parse_json(event.data, problems);
    if (!problems.empty()) {
      terminal_.err << "plexus: a change that is no JSON: " << problems[0].str() << "\n";
      return true;
    }
    if (is_json()) {
      change.add("revision", Node::of_text(event.id));
      terminal_.out << codec::write_json(change) << std::endl;
    } else {
      print(change);
    }
    finished_ = in_.count > 0 && ++printed_ == in_.count;
    return !finished_ && terminal_.out.good();
  }

  [[nodiscard]] bool is_json() const {
    return in_.output == Output::json || in_.output == Output::yaml;
  }

  void print(const Node& change) {
    const std::string verb = text_of(change, "verb"), collection = text_of(change, "collection");
    const codec::ResourceSpec* type = codec::find_collection(collection);
    std::string name = text_of(change, "name");
    if (name.empty()) name = text_of(change, "id");
    if (in_.output == Output::name) {
      terminal_.out << name << std::endl;
      return;
    }
    const Palette& c = terminal_.palette;
    const std::string word = padded(verb, 8);
    const std::string tenant = text_of(change, "tenant");
    terminal_.out << (verb == "created"   ? c.green(word)
                      : verb == "deleted" ? c.red(word)
                                          : c.yellow(word))
                  << " " << (type != nullptr ? type->singular : collection) << " " << c.bold(name)
                  << (tenant.empty() ? "" : c.dim(" of tenant " + tenant)) << std::endl;
  }

  const Invocation& in_;
  HttpClient& http_;
  Terminal& terminal_;
  std::string since_;
  EventReader reader_;
  bool connected_ = false;  ///< at least once
  bool finished_ = false;
  uint32_t printed_ = 0;
};

}  // namespace

int run_watch(const Invocation& invocation, Terminal& terminal) {
  auto http = connect(invocation);
  if (!http) return misused(http.error(), terminal);
  return Watch(invocation, **http, terminal).run();
}

}  // namespace plexus::cli
