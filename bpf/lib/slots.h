// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// Finding a port by its number and an interface by its index: first in an array, by the low bits, which costs a load; where
// another one has that place, in the hash map. User space gives a place to another one only after an RCU grace period, so what is
// found does not change under our eyes.
#ifndef PLEXUS_LIB_SLOTS_H
#define PLEXUS_LIB_SLOTS_H

#include "maps.h"

static __always_inline const struct plexus_port* port_of(__u32 number) {
  __u32 at = number & (PLEXUS_SLOTS - 1);
  const struct plexus_port* port = bpf_map_lookup_elem(&port_slots, &at);
  if (port && port->number == number) return port;
  return bpf_map_lookup_elem(&ports, &number);
}

static __always_inline const struct plexus_interface* interface_of(__u32 ifindex) {
  __u32 at = ifindex & (PLEXUS_SLOTS - 1);
  const struct plexus_interface* interface = bpf_map_lookup_elem(&interface_slots, &at);
  if (interface && interface->ifindex == ifindex) return interface;
  return bpf_map_lookup_elem(&interfaces, &ifindex);
}

#endif
