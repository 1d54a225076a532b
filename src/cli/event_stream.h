// SPDX-License-Identifier: Apache-2.0
// EventReader: server-sent events (text/event-stream, as the WHATWG HTML standard says) from bytes that come in pieces.
// Not thread-safe.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace plexus::cli {

struct Event {
  std::string name;  ///< "message" when the stream gives none
  std::string id;    ///< the newest there was, of this or an earlier event
  std::string data;
};

class EventReader {
 public:
  using OnEvent = std::function<bool(const Event&)>;

  /// Takes the next bytes and calls `on_event` for each event that they complete. False: `on_event` said enough, or an
  /// event is larger than kMaxEvent.
  bool feed(std::string_view bytes, const OnEvent& on_event);

  static constexpr size_t kMaxEvent = 1u << 20;

 private:
  bool line(std::string_view text, const OnEvent& on_event);

  std::string partial_;  ///< a line that has no end yet
  bool after_return_ = false;
  bool has_data_ = false;
  Event event_;
};

}  // namespace plexus::cli
