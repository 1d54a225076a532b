// SPDX-License-Identifier: Apache-2.0
#include "generator/class_generator.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sched.h>

#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"
#include "class_generator.skel.h"

namespace plexus::bench {
namespace {

constexpr uint64_t kProbes = 65536;

Result<void> enter(const UniqueFd& netns) {
  if (::setns(netns.get(), CLONE_NEWNET) != 0) return errno_error("entering a namespace", errno);
  return {};
}

Result<void> attach_sink(const Sink& sink, int program) {
  UniqueFd home(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  UniqueFd there(::open(("/run/netns/" + sink.netns).c_str(), O_RDONLY | O_CLOEXEC));
  if (!home.valid() || !there.valid()) return errno_error("namespace " + sink.netns, errno);
  if (auto entered = enter(there); !entered) return entered;
  const unsigned index = ::if_nametoindex(sink.interface.c_str());
  DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(index),
                      .attach_point = BPF_TC_INGRESS);
  DECLARE_LIBBPF_OPTS(bpf_tc_opts, filter, .prog_fd = program, .flags = BPF_TC_F_REPLACE,
                      .handle = 1, .priority = 1);
  int err = index == 0 ? -ENODEV : bpf_tc_hook_create(&hook);
  if (err == 0 || err == -EEXIST) err = bpf_tc_attach(&hook, &filter);
  auto back = enter(home);
  if (err != 0) return errno_error("attaching the sink to " + sink.interface, -err);
  return back;
}

}  // namespace

void ClassGenerator::Closer::operator()(class_generator* skeleton) const {
  class_generator__destroy(skeleton);
}

Result<ClassGenerator> ClassGenerator::open(const std::string& spare, const Sink& sink) {
  (void)libbpf_set_print(nullptr);  // that a qdisc is there already is no news
  ClassGenerator out;
  out.programs_.reset(class_generator__open_and_load());
  if (!out.programs_) return errno_error("loading the generator's programs", errno);
  const unsigned index = ::if_nametoindex(spare.c_str());
  if (index == 0) return errno_error("interface " + spare, errno);
  out.programs_->links.generate_classes =
      bpf_program__attach_xdp(out.programs_->progs.generate_classes, static_cast<int>(index));
  if (out.programs_->links.generate_classes == nullptr)
    return errno_error("attaching the generator to " + spare, errno);
  if (auto done = attach_sink(sink, bpf_program__fd(out.programs_->progs.sink_classes)); !done)
    return done.error();
  return out;
}

Result<void> ClassGenerator::send(uint32_t ifindex, std::span<const uint8_t> frame,
                                  uint32_t first_destination, uint32_t count) {
  if (frame.size() != kFrameBytes)
    return Error{ErrorCode::invalid, "the generator's frames have 64 bytes"};
  std::memcpy(programs_->bss->template_words, frame.data(), frame.size());
  programs_->bss->next_destination = first_destination;
  xdp_md where{};
  where.data_end = kFrameBytes;
  where.ingress_ifindex = ifindex;
  DECLARE_LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame.data(), .data_size_in = kFrameBytes,
                      .ctx_in = &where, .ctx_size_in = sizeof where,
                      .repeat = static_cast<int>(count), .flags = BPF_F_TEST_XDP_LIVE_FRAMES);
  const int err = bpf_prog_test_run_opts(bpf_program__fd(programs_->progs.generate_classes), &run);
  if (err != 0) return errno_error("running the generator", -err);
  return {};
}

uint64_t ClassGenerator::arrived() const {
  return __atomic_load_n(&programs_->bss->arrived, __ATOMIC_ACQUIRE);
}

uint64_t ClassGenerator::probes_arrived() const {
  return __atomic_load_n(&programs_->bss->probes_arrived, __ATOMIC_ACQUIRE);
}

Result<uint64_t> ClassGenerator::probe_time(uint64_t n) const {
  const auto key = static_cast<uint32_t>(n % kProbes);
  uint64_t value = 0;
  if (bpf_map_lookup_elem(bpf_map__fd(programs_->maps.probe_times), &key, &value) != 0)
    return errno_error("reading a probe's time", errno);
  return value;
}

}  // namespace plexus::bench
