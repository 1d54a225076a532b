// SPDX-License-Identifier: Apache-2.0
#include "cli/event_stream.h"

namespace plexus::cli {

bool EventReader::feed(std::string_view bytes, const OnEvent& on_event) {
  for (const char c : bytes) {
    // Lines end with LF, CR or CR LF.
    if (c == '\n' && after_return_) {
      after_return_ = false;
      continue;
    }
    after_return_ = c == '\r';
    if (c != '\n' && c != '\r') {
      if (partial_.size() + event_.data.size() >= kMaxEvent) return false;
      partial_ += c;
      continue;
    }
    const std::string text = std::move(partial_);
    partial_.clear();
    if (!line(text, on_event)) return false;
  }
  return true;
}

bool EventReader::line(std::string_view text, const OnEvent& on_event) {
  if (text.empty()) {
    Event done = event_;
    const bool complete = has_data_ || !done.name.empty();
    event_.name.clear();
    event_.data.clear();
    has_data_ = false;
    if (!complete) return true;
    if (done.name.empty()) done.name = "message";
    return on_event(done);
  }
  const size_t colon = text.find(':');
  if (colon == 0) return true;  // a comment
  const std::string_view field = text.substr(0, colon);
  std::string_view value =
      colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  if (!value.empty() && value[0] == ' ') value.remove_prefix(1);
  if (field == "event") {
    event_.name = value;
  } else if (field == "id") {
    event_.id = value;
  } else if (field == "data") {
    if (has_data_) event_.data += '\n';
    event_.data += value;
    has_data_ = true;
  }
  return true;
}

}  // namespace plexus::cli
