// SPDX-License-Identifier: Apache-2.0
// The manual page plexus(1), made from the command tree. docs/man/plexus.1 is a copy; a test compares.
#pragma once

#include <string>

namespace plexus::cli {

/// As roff, for the macro package man.
[[nodiscard]] std::string man_page();

}  // namespace plexus::cli
