// SPDX-License-Identifier: Apache-2.0
// Bed: a datapath with a world around it, for the conformance suite: VMs behind ports, a fabric behind the tunnel. One
// implementation for each provider; the suite sees only this.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "datapath/datapath.h"
#include "datapath/fake/fake_datapath.h"
#include "packet/build.h"

namespace plexus::datapath {

/// A frame as a VM sees it.
struct Received {
  Offload offload;
  Frame frame;
};

struct BedOptions {
  uint32_t max_flows = 4096;
  uint32_t upcall_rate = 20000, upcall_burst = 2000;
};

class Bed {
 public:
  virtual ~Bed() = default;

  virtual Datapath& dp() = 0;

  /// A VM's interface with this name, not yet a port.
  virtual void add_interface(const std::string& name) = 0;
  virtual void remove_interface(const std::string& name) = 0;
  [[nodiscard]] virtual MacAddr vm_mac(const std::string& name) = 0;
  /// The VM behind the interface sends.
  virtual void vm_sends(const std::string& name, const Frame& frame,
                        const Offload& offload = {}) = 0;
  /// What the VM has received; waits until there are `expected` frames (2 s at most), then a moment for more.
  virtual std::vector<Received> vm_received(const std::string& name, size_t expected) = 0;

  /// The fabric's other hosts. `remote` sends to our tunnel address of its family.
  virtual void fabric_sends(const IpAddr& remote, uint32_t key, const Frame& frame) = 0;
  /// What left by the tunnel: where to, and the inner frame.
  virtual std::vector<SentFrame> fabric_received(size_t expected) = 0;

  /// The agent ends; what it leaves keeps working. False when the provider keeps nothing.
  virtual bool stop_agent() = 0;
  virtual void start_agent() = 0;
  /// Lets this much time pass for the token buckets.
  virtual void pass(Duration time) = 0;

  // -- for all

  /// The VM `vm<number>` on port `number`.
  void add_vm(uint32_t number) {
    add_interface(vm(number));
    const auto added = dp().add_port({DpPort{number}, vm(number)});
    ASSERT_TRUE(added.ok()) << added.error().message;
  }
  static std::string vm(uint32_t number) { return "vm" + std::to_string(number); }
  MacAddr mac(uint32_t number) { return vm_mac(vm(number)); }
  void sends(uint32_t number, const Frame& frame, const Offload& offload = {}) {
    vm_sends(vm(number), frame, offload);
  }
  std::vector<Received> received(uint32_t number, size_t expected) {
    return vm_received(vm(number), expected);
  }
  /// Waiting upcalls; waits until there are `expected` (2 s at most), then a moment for more.
  std::vector<Upcall> upcalls(size_t expected);

  static TunnelSpec tunnel() {
    TunnelSpec spec;
    spec.local = IpAddr::v4(0xc0000201);
    spec.peers = {peer(), peer6()};
    return spec;
  }
  static IpAddr peer() { return *IpAddr::parse("192.0.2.2"); }
  static IpAddr stranger() { return *IpAddr::parse("192.0.2.66"); }
  static IpAddr local6() { return *IpAddr::parse("fd00:2::1"); }
  static IpAddr peer6() { return *IpAddr::parse("fd00:2::2"); }
};

std::unique_ptr<Bed> make_fake_bed(const BedOptions& options);
/// nullptr and a reason when this machine cannot.
std::unique_ptr<Bed> make_kernel_bed(const BedOptions& options, std::string& why_not);

}  // namespace plexus::datapath
