// SPDX-License-Identifier: Apache-2.0
// The kernel takes the programs, at a cost that leaves room: the verifier gives up at a million instructions.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tc_programs.skel.h"

namespace {

TEST(Verifier, TakesTheProgramsAtAReasonableCost) {
  if (::geteuid() != 0) GTEST_SKIP() << "loading kernel programs needs root";
  tc_programs* programs = tc_programs__open_and_load();
  ASSERT_NE(programs, nullptr) << std::strerror(errno);
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, programs->obj) {
    bpf_prog_info info{};
    uint32_t length = sizeof info;
    ASSERT_EQ(bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &length), 0);
    std::printf("%s: %u instructions verified, %u bytes of machine code\n", info.name,
                info.verified_insns, info.jited_prog_len);
    EXPECT_LT(info.verified_insns, 200'000u) << info.name;
  }
  tc_programs__destroy(programs);
}

}  // namespace
