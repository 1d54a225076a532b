// SPDX-License-Identifier: Apache-2.0
// plexus store: becomes plexus-store, which speaks to the store without an API server.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "cli/commands.h"

namespace plexus::cli {

int run_store(const Invocation& invocation, Terminal& terminal) {
  std::error_code ec;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", ec);
  const std::string program = (self.parent_path() / "plexus-store").string();
  std::vector<char*> arguments = {const_cast<char*>("plexus-store")};
  for (const std::string& word : invocation.rest)
    arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  terminal.out.flush();
  ::execv(program.c_str(), arguments.data());
  terminal.err << "plexus: cannot run " << program << ": " << strerror(errno)
               << "; it belongs beside plexus\n";
  return kFailed;
}

}  // namespace plexus::cli
