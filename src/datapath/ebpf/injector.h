// SPDX-License-Identifier: Apache-2.0
// Injector: how user space sends a frame through the kernel programs. A packet socket on a veth of our own; on that
// device's way out sits the program from_agent, which runs the injection entry's actions on what we send. The program
// runs inside send(), so one entry is enough. Large frames and unfinished checksums go down as they are, described by a
// virtio_net_hdr (PACKET_VNET_HDR), for the kernel or the hardware to finish.
//
// Many ordinary frames go at once as live frames of an XDP test run (bpf/lib/inject.h), which come in by the same device. The program
// is attached to the veth's other end, where nothing ever arrives: a test run of a program that is attached nowhere takes 24 ms.
//
// One thread.
#pragma once

#include <memory>
#include <vector>

#include "base/unique_fd.h"
#include "bpf/abi.h"
#include "datapath/datapath.h"
#include "datapath/ebpf/mapped_array.h"
#include "netlink/route.h"

struct bpf_link;
struct tc_programs;

namespace plexus::datapath {

inline constexpr const char* kInjectionDevice = "plexus-inj0";
inline constexpr const char* kInjectionPeer = "plexus-inj1";

class Injector {
 public:
  /// Makes the device when it is not there; its index is index().
  static Result<Injector> open(netlink::Route& route);
  /// Removes the device.
  static Result<void> remove(netlink::Route& route);

  [[nodiscard]] uint32_t index() const { return index_; }
  /// Sends; when it returns the actions have run. invalid: no Ethernet header, or an offload that does not fit the packet.
  /// unavailable: the program dropped it (its counters say why).
  Result<void> send(std::span<const uint8_t> frame, const Offload& offload) const;

  /// From now on add() and send_added() work, if the kernel lets them.
  Result<void> prepare_batches(const tc_programs& programs);
  /// Whether they do.
  [[nodiscard]] bool has_batches() const { return batches_ != nullptr; }
  /// Batches have worked and then failed: prepare_batches() is worth another try.
  [[nodiscard]] bool lost_batches() const { return lost_batches_; }
  /// Lets go of the other end, where another injector can attach only then.
  void release_batches();
  /// Whether a frame may be add()ed now.
  [[nodiscard]] bool takes(std::span<const uint8_t> frame, const Offload& offload) const;
  /// How many frames have been added since the last send_added().
  [[nodiscard]] size_t added() const { return added_; }
  /// Adds a frame that takes() lets in, to be sent by the actions of `entry`.
  void add(std::span<const uint8_t> frame, uint32_t entry);
  /// Sends what was added, in this order; when it returns the actions have run. If it fails, only the first delivered() of them
  /// were sent, or lost on their way, and takes() says no until prepare_batches().
  Result<void> send_added();
  [[nodiscard]] size_t delivered() const { return delivered_; }

 private:
  struct Detach {
    void operator()(bpf_link* link) const;
  };
  struct Batches {
    MappedArray<plexus_injected> frames;
    volatile uint32_t* next;  ///< the program's
    int program;
    std::unique_ptr<bpf_link, Detach> attached;
  };
  Injector(UniqueFd socket, uint32_t index) : socket_(std::move(socket)), index_(index) {}
  Result<void> send_one(std::span<const uint8_t> frame, const Offload& offload,
                        const ParsedPacket& parsed) const;

  UniqueFd socket_;
  uint32_t index_ = 0;
  std::unique_ptr<Batches> batches_;
  size_t added_ = 0;
  size_t delivered_ = 0;  ///< of the last send_added()
  bool batches_worked_ = false, lost_batches_ = false;
};

/// Cuts a large UDP packet into datagrams of `payload` bytes with complete checksums, as hardware would (the kernel takes such
/// packets from a packet socket only from 6.2 on). Empty when it is no whole UDP packet,
/// or would become more than PLEXUS_MAX_UDP_SEGMENTS.
[[nodiscard]] std::vector<std::vector<uint8_t>> cut_udp(std::span<const uint8_t> frame,
                                                        const ParsedPacket& parsed, size_t payload);

}  // namespace plexus::datapath
