// SPDX-License-Identifier: Apache-2.0
// plexus: the command line.
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "cli/commands.h"
#include "cli/invocation.h"

int main(int argc, char** argv) {
  using namespace plexus::cli;
  const char* api = std::getenv("PLEXUS_API");
  const auto parsed = parse_command_line({argv + 1, argv + argc}, api != nullptr ? api : "");
  if (const auto* ending = std::get_if<Ending>(&parsed)) {
    (ending->status == kOk ? std::cout : std::cerr) << ending->text;
    return ending->status;
  }
  // Colours for people only, and not for those who do not want them (no-color.org).
  const char* no_color = std::getenv("NO_COLOR");
  const bool colours = ::isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0');
  Terminal terminal{std::cout, std::cerr, Palette(colours)};
  const int status = run(std::get<Invocation>(parsed), terminal);
  std::cout.flush();
  if (!std::cout) {
    std::cerr << "plexus: writing to standard output failed\n";
    return kFailed;
  }
  return status;
}
