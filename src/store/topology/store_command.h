// SPDX-License-Identifier: Apache-2.0
// The program plexus-store: what it does with its arguments.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

namespace plexus::store {

/// Exit status: 0 done, 1 failed, 2 wrong usage, 3 the check found something wrong.
int store_command(const std::vector<std::string>& arguments, FILE* in, FILE* out, FILE* err);

}  // namespace plexus::store
