// SPDX-License-Identifier: Apache-2.0
// Programs: the kernel programs, loaded, with their maps. The maps are pinned under a directory whose name tells their
// layout; a later start with the same layout takes them over with their contents.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "datapath/ebpf/ebpf_options.h"

struct tc_programs;  // the skeleton that bpftool generates

namespace plexus::datapath {

class Programs {
 public:
  /// Mounts `<run_dir>/bpf` where it is not mounted, loads, pins. denied: not root; unsupported: the kernel refuses the programs.
  static Result<Programs> load(const EbpfOptions& options);

  [[nodiscard]] const tc_programs& skeleton() const { return *skeleton_; }
  /// True when the maps were there already.
  [[nodiscard]] bool adopted() const { return adopted_; }
  /// The directories of what starts with other layouts have pinned.
  [[nodiscard]] std::vector<std::string> other_layouts() const;
  /// Removes what starts with other layouts have pinned; true when there was any.
  [[nodiscard]] bool remove_other_layouts() const;
  /// Removes our pins and, when we mounted it, the bpffs.
  Result<void> unpin() const;

 private:
  struct Closer {
    void operator()(tc_programs* skeleton) const;
  };
  Programs(std::unique_ptr<tc_programs, Closer> skeleton, std::string bpffs, std::string layout,
           bool adopted)
      : skeleton_(std::move(skeleton)),
        bpffs_(std::move(bpffs)),
        layout_(std::move(layout)),
        adopted_(adopted) {}

  std::unique_ptr<tc_programs, Closer> skeleton_;
  std::string bpffs_;   ///< path
  std::string layout_;  ///< directory in it
  bool adopted_ = false;
};

/// How many entries the arrays have: more than flows, because removed ones rest before they are used again.
[[nodiscard]] uint32_t flow_slots(uint32_t max_flows);
/// How many of them may be for further rewrites of flows that have several.
[[nodiscard]] uint32_t chained_entries(uint32_t max_flows);

}  // namespace plexus::datapath
