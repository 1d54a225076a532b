// SPDX-License-Identifier: Apache-2.0
// The lab in memory: FakeDatapath is its own world.
#include "datapath/fake/fake_datapath.h"
#include "scenarios/lab.h"

namespace plexus::scenario {
namespace {

class FakeHost final : public LabHost {
 public:
  explicit FakeHost(std::function<MonoTime()> clock) : datapath_(options(std::move(clock))) {}

  datapath::Datapath& datapath() override { return datapath_; }
  Result<void> set_address(const IpAddr&) override { return {}; }
  Result<void> add_interface(const std::string& name) override {
    datapath_.add_interface(name);
    return {};
  }
  Result<void> remove_interface(const std::string& name) override {
    datapath_.remove_interface(name);
    return {};
  }
  Result<void> send(const std::string&, DpPort port, std::span<const uint8_t> frame,
                    const datapath::Offload& offload) override {
    datapath_.inject(port, frame, offload);
    return {};
  }
  Result<void> send_tunnel(const IpAddr& from, uint32_t key,
                           std::span<const uint8_t> frame) override {
    datapath_.inject_tunnel(from, key, frame);
    return {};
  }
  Result<void> deliver(const IpAddr& from, const Left& crossing) override {
    return send_tunnel(from, crossing.tunnel.key, crossing.frame);
  }
  std::vector<Left> take_left() override {
    std::vector<Left> out;
    for (datapath::SentFrame& sent : datapath_.take_sent()) {
      Left left;
      left.frame = std::move(sent.frame);
      if (const auto* tunnel = std::get_if<TunnelOutput>(&sent.output)) {
        left.tunnel = *tunnel;
      } else {
        left.interface = name_of(std::get<LocalOutput>(sent.output).port);
      }
      out.push_back(std::move(left));
    }
    return out;
  }

 private:
  static datapath::FakeOptions options(std::function<MonoTime()> clock) {
    datapath::FakeOptions out;
    out.clock = std::move(clock);
    return out;
  }
  [[nodiscard]] std::string name_of(DpPort port) const {
    for (const datapath::PortSpec& spec : datapath_.ports())
      if (spec.number == port) return spec.interface;
    return "?";
  }

  datapath::FakeDatapath datapath_;
};

class FakeLab final : public Lab {
 public:
  [[nodiscard]] std::string kind() const override { return "fake"; }
  Result<LabHost*> take_host(std::function<MonoTime()> clock) override {
    return hosts_.emplace_back(std::make_unique<FakeHost>(std::move(clock))).get();
  }
  void settle() override {}  // a fake datapath is done when a call returns
  Result<void> reset() override {
    hosts_.clear();
    return {};
  }

 private:
  std::vector<std::unique_ptr<FakeHost>> hosts_;
};

}  // namespace

std::unique_ptr<Lab> make_fake_lab() {
  return std::make_unique<FakeLab>();
}

}  // namespace plexus::scenario
