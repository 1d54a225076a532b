// SPDX-License-Identifier: Apache-2.0
// plexus: the command line.
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "cli/commands.h"
#include "cli/invocation.h"

namespace {

std::string environment(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr ? value : "";
}

/// Columns of the terminal on standard output; 0: it is none.
size_t terminal_width() {
  winsize size{};
  if (::isatty(STDOUT_FILENO) != 1 || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace plexus::cli;
  const auto parsed = parse_command_line({argv + 1, argv + argc},
                                         {environment("PLEXUS_API"), environment("PLEXUS_TOKEN")});
  if (const auto* ending = std::get_if<Ending>(&parsed)) {
    (ending->status == kOk ? std::cout : std::cerr) << ending->text;
    return ending->status;
  }
  // Colours for people only, and not for those who do not want them (no-color.org).
  const bool colours = ::isatty(STDOUT_FILENO) == 1 && environment("NO_COLOR").empty();
  Terminal terminal{std::cout, std::cerr, Palette(colours)};
  terminal.width = terminal_width();
  terminal.err_is_terminal = ::isatty(STDERR_FILENO) == 1;
  if (::isatty(STDIN_FILENO) == 1 && terminal.err_is_terminal) terminal.in = &std::cin;
  const int status = run(std::get<Invocation>(parsed), terminal);
  std::cout.flush();
  if (!std::cout) {
    std::cerr << "plexus: writing to standard output failed\n";
    return kFailed;
  }
  return status;
}
