// SPDX-License-Identifier: Apache-2.0
// The log front. Lines go to standard error: time, level, room, message. spdlog stays behind
// log.cc, so that its headers cost one file. Any thread.
#pragma once

#include <fmt/format.h>

#include <string_view>

namespace plexus {

enum class LogLevel : uint8_t { debug, info, warn, error };

/// Lines below this level are dropped. Default: info.
void set_log_level(LogLevel level);
[[nodiscard]] LogLevel log_level();
/// Parses "debug", "info", "warn", "error"; false for anything else.
[[nodiscard]] bool parse_log_level(std::string_view text, LogLevel& out);

void log_line(LogLevel level, std::string_view room, std::string_view message);

template <typename... Args>
void log(LogLevel level, std::string_view room, fmt::format_string<Args...> format,
         Args&&... args) {
  if (level < log_level()) return;
  log_line(level, room, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_debug(std::string_view room, fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::debug, room, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_info(std::string_view room, fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::info, room, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_warn(std::string_view room, fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::warn, room, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_error(std::string_view room, fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::error, room, format, std::forward<Args>(args)...);
}

}  // namespace plexus
