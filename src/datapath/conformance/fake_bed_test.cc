// SPDX-License-Identifier: Apache-2.0
// The fake datapath's bed.
#include <poll.h>

#include "datapath/conformance/bed.h"

namespace plexus::datapath {

std::vector<Upcall> Bed::upcalls(size_t expected) {
  std::vector<Upcall> out;
  const auto take = [&] {
    dp().receive(1000, [&](Upcall&& upcall) { out.push_back(std::move(upcall)); });
  };
  pollfd readable{dp().upcall_fd(), POLLIN, 0};
  const MonoTime end = mono_now() + std::chrono::seconds(2);
  while (out.size() < expected && mono_now() < end) {
    ::poll(&readable, 1, 10);
    take();
  }
  ::poll(&readable, 1, 10);
  take();
  return out;
}

namespace {

class FakeBed final : public Bed {
 public:
  explicit FakeBed(const BedOptions& options) : datapath_(fake_options(options)) {}

  Datapath& dp() override { return datapath_; }
  void add_interface(const std::string& name) override {
    datapath_.add_interface(name);
    macs_[name] = MacAddr{{2, 0, 0, 0, 1, static_cast<uint8_t>(macs_.size())}};
  }
  void remove_interface(const std::string& name) override { datapath_.remove_interface(name); }
  MacAddr vm_mac(const std::string& name) override { return macs_.at(name); }
  void vm_sends(const std::string& name, const Frame& frame, const Offload& offload) override {
    for (const PortSpec& port : datapath_.ports())
      if (port.interface == name) datapath_.inject(port.number, frame, offload);
  }
  std::vector<Received> vm_received(const std::string& name, size_t) override {
    std::vector<Received> out;
    sort_sent();
    for (const PortSpec& port : datapath_.ports())
      if (port.interface == name)
        for (SentFrame& sent : std::exchange(local_[port.number], {}))
          out.push_back({sent.offload, std::move(sent.frame)});
    return out;
  }
  void fabric_sends(const IpAddr& remote, uint32_t key, const Frame& frame) override {
    datapath_.inject_tunnel(remote, key, frame);
  }
  std::vector<SentFrame> fabric_received(size_t) override {
    sort_sent();
    return std::exchange(fabric_, {});
  }
  bool stop_agent() override { return false; }
  void start_agent() override {}
  void pass(Duration time) override { now_ = now_ + time; }

 private:
  FakeOptions fake_options(const BedOptions& options) {
    FakeOptions out;
    out.clock = [this] { return now_; };
    out.max_flows = options.max_flows;
    out.upcall_rate = options.upcall_rate;
    out.upcall_burst = options.upcall_burst;
    return out;
  }
  void sort_sent() {
    for (SentFrame& sent : datapath_.take_sent()) {
      if (const auto* local = std::get_if<LocalOutput>(&sent.output))
        local_[local->port].push_back(std::move(sent));
      else
        fabric_.push_back(std::move(sent));
    }
  }

  MonoTime now_{std::chrono::nanoseconds(std::chrono::hours(1)).count()};
  FakeDatapath datapath_;
  std::map<std::string, MacAddr> macs_;
  std::map<DpPort, std::vector<SentFrame>> local_;
  std::vector<SentFrame> fabric_;
};

}  // namespace

std::unique_ptr<Bed> make_fake_bed(const BedOptions& options) {
  return std::make_unique<FakeBed>(options);
}

}  // namespace plexus::datapath
