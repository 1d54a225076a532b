// SPDX-License-Identifier: Apache-2.0
#include "datapath/ebpf/programs.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstdarg>
#include <filesystem>
#include <functional>
#include <vector>

#include "base/log.h"
#include "bpf/abi.h"
#include "tc_programs.skel.h"

namespace plexus::datapath {
namespace {

namespace fs = std::filesystem;

/// What libbpf complained about first on this thread: the reason behind an errno.
thread_local std::string first_complaint;

int keep_complaint(enum libbpf_print_level level, const char* format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
int keep_complaint(enum libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG) return 0;
  char text[4096];
  const int n = std::vsnprintf(text, sizeof text, format, arguments);
  if (n <= 0) return 0;
  std::string line(text);
  while (!line.empty() && line.back() == '\n') line.pop_back();
  // The whole verifier log goes to the log only.
  log_debug("datapath", "{}", line);
  if (level == LIBBPF_WARN && first_complaint.empty()) first_complaint = line.substr(0, 300);
  return n;
}

bool is_bpffs(const std::string& path) {
  struct statfs buffer {};
  return ::statfs(path.c_str(), &buffer) == 0 && buffer.f_type == BPF_FS_MAGIC;
}

Result<void> mount_bpffs(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return errno_error("creating " + path, error.value());
  if (is_bpffs(path)) return {};
  if (::mount("bpf", path.c_str(), "bpf", 0, "mode=0700") != 0)
    return errno_error("mounting a bpffs at " + path, errno);
  return {};
}

void remove_layout(const fs::path& directory) {
  std::error_code error;
  fs::remove_all(directory, error);
  if (error) log_warn("datapath", "cannot remove {}: {}", directory.string(), error.message());
}

/// The maps that outlive us.
void for_each_pinned(tc_programs& s, const std::function<void(bpf_map*)>& visit) {
  for (bpf_map* map : {s.maps.ports, s.maps.interfaces, s.maps.port_stats, s.maps.buckets,
                       s.maps.tunnel, s.maps.peers, s.maps.masks, s.maps.mask_lists,
                       s.maps.flows_short, s.maps.flows_ipv6, s.maps.flow_entries,
                       s.maps.flow_stats, s.maps.output_blocks, s.maps.counters, s.maps.flow_drops})
    visit(map);
}

uint32_t output_blocks(uint32_t max_flows) {
  return std::min(max_flows, 1024u) + 2;
}

void set_sizes(tc_programs& s, const EbpfOptions& o) {
  const auto size = [](bpf_map* map, uint32_t entries) {
    (void)bpf_map__set_max_entries(map, entries);  // fails only after loading
  };
  for (bpf_map* map :
       {s.maps.ports, s.maps.interfaces, s.maps.port_stats, s.maps.buckets, s.maps.storm_buckets})
    size(map, o.max_ports);
  size(s.maps.upcalls_waiting, o.max_ports);
  size(s.maps.mask_lists, o.max_ports * 2);
  size(s.maps.flows_short, o.max_flows);
  size(s.maps.flows_ipv6, o.max_flows);
  size(s.maps.flow_entries, flow_slots(o.max_flows));
  size(s.maps.flow_stats, flow_slots(o.max_flows));
  size(s.maps.output_blocks, output_blocks(o.max_flows));
  size(s.maps.upcalls, o.upcall_ring_bytes);
  s.rodata->upcall_interval = 1'000'000'000 / std::max(o.upcall_rate, 1u);
  s.rodata->upcall_burst = s.rodata->upcall_interval * std::max(o.upcall_burst, 1u);
  s.rodata->upcall_waiting = std::max(o.upcall_waiting_bytes, 1u);
}

/// nullptr with errno set when it fails.
tc_programs* load_once(const EbpfOptions& options, const std::string& pins) {
  tc_programs* s = tc_programs__open();
  if (s == nullptr) return nullptr;
  set_sizes(*s, options);
  int error = 0;
  for_each_pinned(*s, [&](bpf_map* map) {
    const std::string path = pins + "/" + bpf_map__name(map);
    if (const int e = bpf_map__set_pin_path(map, path.c_str()); e != 0) error = -e;
  });
  if (error == 0) error = -tc_programs__load(s);
  if (error == 0) return s;
  tc_programs__destroy(s);
  errno = error;
  return nullptr;
}

}  // namespace

uint32_t flow_slots(uint32_t max_flows) {
  return PLEXUS_INJECT_ENTRIES + max_flows + chained_entries(max_flows) +
         std::max(1024u, max_flows / 8);
}

uint32_t chained_entries(uint32_t max_flows) {
  return std::min(max_flows, 1024u);
}

void Programs::Closer::operator()(tc_programs* skeleton) const {
  tc_programs__destroy(skeleton);
}

Result<Programs> Programs::load(const EbpfOptions& options) {
  if (options.max_flows == 0 || options.max_ports < 2 || options.max_ports > UINT16_MAX)
    return Error{ErrorCode::invalid, "the datapath needs room for flows, and for 2 to 65535 ports"};
  const std::string bpffs = options.run_dir + "/bpf";
  if (auto mounted = mount_bpffs(bpffs); !mounted) return mounted.error();
  const std::string layout = "v" + std::to_string(PLEXUS_LAYOUT_VERSION) + "-f" +
                             std::to_string(options.max_flows) + "-p" +
                             std::to_string(options.max_ports);
  const std::string pins = bpffs + "/" + layout;
  libbpf_set_print(keep_complaint);
  first_complaint.clear();

  std::error_code ignored;
  bool adopted = fs::exists(pins + "/flow_entries", ignored);
  tc_programs* skeleton = load_once(options, pins);
  if (skeleton == nullptr && adopted) {
    log_warn("datapath", "the maps in {} cannot be used ({}); starting with empty ones", pins,
             first_complaint);
    remove_layout(pins);
    adopted = false;
    first_complaint.clear();
    skeleton = load_once(options, pins);
  }
  if (skeleton == nullptr) {
    Error error = errno_error("loading the kernel programs", errno);
    if (!first_complaint.empty()) error.message += " (" + first_complaint + ")";
    return error;
  }
  return Programs({skeleton, Closer{}}, bpffs, layout, adopted);
}

std::vector<std::string> Programs::other_layouts() const {
  std::vector<std::string> others;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(bpffs_, ignored))
    // The kernel puts files of its own into a bpffs.
    if (entry.is_directory(ignored) && entry.path().filename() != layout_)
      others.push_back(entry.path());
  return others;
}

bool Programs::remove_other_layouts() const {
  const auto others = other_layouts();
  for (const auto& other : others) remove_layout(other);
  return !others.empty();
}

Result<void> Programs::unpin() const {
  remove_layout(fs::path(bpffs_) / layout_);
  if (::umount2(bpffs_.c_str(), MNT_DETACH) != 0 && errno != EINVAL)
    return errno_error("unmounting " + bpffs_, errno);
  std::error_code ignored;
  fs::remove(bpffs_, ignored);
  return {};
}

}  // namespace plexus::datapath
