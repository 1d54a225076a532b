// SPDX-License-Identifier: Apache-2.0
// plexus-store: dumps, loads and checks the topology store.
#include <cstdio>

#include "store/topology/store_command.h"

int main(int argc, char** argv) {
  return plexus::store::store_command({argv + 1, argv + argc}, stdin, stdout, stderr);
}
