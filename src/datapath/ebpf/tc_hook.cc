// SPDX-License-Identifier: Apache-2.0
#include "datapath/ebpf/tc_hook.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>

#include "bpf/abi.h"

namespace plexus::datapath {
namespace {

bpf_tc_hook hook_of(uint32_t ifindex, Direction direction) {
  bpf_tc_hook hook{};
  hook.sz = sizeof hook;
  hook.ifindex = static_cast<int>(ifindex);
  hook.attach_point = direction == Direction::ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS;
  return hook;
}

bpf_tc_opts our_place() {
  bpf_tc_opts options{};
  options.sz = sizeof options;
  options.handle = PLEXUS_TC_HANDLE;
  options.priority = PLEXUS_TC_PRIORITY;
  return options;
}

}  // namespace

Result<void> attach(uint32_t ifindex, Direction direction, int program_fd) {
  bpf_tc_hook hook = hook_of(ifindex, direction);
  if (const int error = bpf_tc_hook_create(&hook); error != 0 && error != -EEXIST)
    return errno_error("adding clsact", -error);
  bpf_tc_opts options = our_place();
  options.prog_fd = program_fd;
  options.flags = BPF_TC_F_REPLACE;
  if (const int error = bpf_tc_attach(&hook, &options); error != 0)
    return errno_error("attaching a program", -error);
  return {};
}

bool is_attached(uint32_t ifindex, Direction direction, int program_fd) {
  bpf_tc_hook hook = hook_of(ifindex, direction);
  bpf_tc_opts options = our_place();
  if (bpf_tc_query(&hook, &options) != 0) return false;
  bpf_prog_info info{};
  uint32_t length = sizeof info;
  return bpf_obj_get_info_by_fd(program_fd, &info, &length) == 0 && info.id == options.prog_id;
}

void detach(netlink::Route& route, uint32_t ifindex, Direction direction) {
  bpf_tc_hook hook = hook_of(ifindex, direction);
  bpf_tc_opts options = our_place();
  // Asking first keeps the kernel from complaining about interfaces that never had a filter.
  if (bpf_tc_query(&hook, &options) != 0) return;
  bpf_tc_opts place = our_place();
  if (bpf_tc_detach(&hook, &place) != 0) return;
  const auto left = route.count_tc_filters(ifindex);
  if (left && *left == 0) (void)route.delete_clsact(ifindex).ok();
}

}  // namespace plexus::datapath
