// SPDX-License-Identifier: Apache-2.0
// Any bytes as a DHCPv4 and as a DHCPv6 message: the views stay inside them, what a view says builds a message that says the
// same, and a datagram with it has a text that gives it again.
#include <algorithm>

#include "fuzz.h"
#include "packet/build.h"
#include "packet/dhcp.h"
#include "packet/dhcp6.h"
#include "packet/text.h"

namespace plexus {
namespace {

Frame datagram(bool v6, std::span<const uint8_t> payload) {
  const PacketSpec spec{.eth_src = {{2, 0, 0, 0, 0, 1}},
                        .eth_dst = {{2, 0, 0, 0, 0, 2}},
                        .src = v6 ? link_local_of({{2, 0, 0, 0, 0, 1}}) : IpAddr::v4(0x0a000001),
                        .dst = v6 ? dhcp6::all_servers() : IpAddr::v4(0x0a000002),
                        .vlan_tci = {}};
  return v6 ? udp_packet(spec, dhcp6::kClientPort, dhcp6::kServerPort, payload)
            : udp_packet(spec, dhcp::kClientPort, dhcp::kServerPort, payload);
}

/// The frame's text gives the frame again; true when it names the layer.
bool check_text(const Frame& frame, std::string_view layer) {
  const std::string text = format_frame(frame);
  const auto back = parse_frame(text);
  FUZZ_CHECK(back.ok() && *back == frame, text);
  return text.find(layer) != text.npos;
}

uint64_t run(std::span<const uint8_t> bytes) {
  if (bytes.size() > 4000) return 0;
  uint64_t reached = 0;
  if (const auto view = DhcpView::of(bytes)) {
    const dhcp::Message message = view->message();
    reached |= 1u | (message.reply ? 2u : 0u) | uint64_t{message.options.size()} << 8;
    if (const auto type = view->type()) reached |= uint64_t{static_cast<uint8_t>(*type)} << 4;
    const auto again = dhcp::encode(message);
    const auto same = DhcpView::of(again);
    FUZZ_CHECK(same && same->xid() == view->xid() && same->mac() == view->mac() &&
                   same->message().file == message.file &&
                   same->message().options == message.options,
               "DHCPv4");
    FUZZ_CHECK(view->option(1).has_value() == same->option(1).has_value(), "option");
    // Whatever a client sends first, its message type, has a text, unless the boot file's name is none.
    const bool usual =
        !message.options.empty() && view->type() &&
        std::ranges::all_of(message.file, [](char c) { return c >= ' ' && c <= '~'; }) &&
        message.options.front().first == dhcp::option::kMessageType &&
        message.reply == (view->type() == dhcp::Type::offer || view->type() == dhcp::Type::ack ||
                          view->type() == dhcp::Type::nak);
    FUZZ_CHECK(check_text(datagram(false, again), "| dhcp ") || !usual, "text");
  }
  (void)check_text(datagram(false, bytes), "| dhcp ");
  if (const auto view = Dhcp6View::of(bytes)) {
    const dhcp6::Message message = view->message();
    reached |= uint64_t{message.type} << 24 | uint64_t{message.options.size()} << 32;
    const auto again = dhcp6::encode(message);
    FUZZ_CHECK(std::equal(bytes.begin(), bytes.end(), again.begin(), again.end()), "DHCPv6");
    for (const auto& [code, value] : message.options) {
      if (code != dhcp6::option::kIaNa) continue;
      const auto association = dhcp6::decode_association(value);
      reached |= association ? uint64_t{1} << 48 : uint64_t{1} << 49;
      if (association)
        FUZZ_CHECK(dhcp6::decode_association(dhcp6::encode(*association)) == association, "IA");
    }
    FUZZ_CHECK(check_text(datagram(true, bytes), "| dhcp6 "), "text of DHCPv6");
  }
  return reached;
}

}  // namespace
}  // namespace plexus

int main(int argc, char** argv) {
  using namespace plexus;
  fuzz::Subject subject{.seeds = {}, .words = {}, .run = run};
  const auto add = [&](const char* layer) {
    const bool v6 = std::string_view(layer).starts_with("dhcp6");
    const Frame frame = *parse_frame((v6 ? "ipv6 fe80::1 > ff02::1:2 | udp 546 > 547 | "
                                         : "ipv4 0.0.0.0 > 10.0.0.1 | udp 68 > 67 | ") +
                                     std::string(layer));
    const auto payload = *udp_payload(parse_packet(frame), frame);
    subject.seeds.emplace_back(payload.begin(), payload.end());
  };
  add("dhcp discover xid 7 broadcast mac 02:00:00:00:00:01 client-id 01 parameters 1,3,6,121 size "
      "0");
  add("dhcp request requested 10.0.0.9 server-id 10.0.0.1 max-message 576 size 0");
  add("dhcp ack your 10.0.0.9 mask 255.255.255.0 dns 10.0.0.1,10.0.0.2 domain \"a\" mtu 1400 lease "
      "60 "
      "t1 30 t2 52 routes 0.0.0.0/0>10.0.0.1,10.1.0.0/16>10.0.0.9 option 43 0102 size 0");
  add("dhcp6 solicit xid 7 client-id 00030001020000000001 ia 1 0 0 parameters 23,24 rapid-commit "
      "elapsed 10");
  add("dhcp6 reply client-id 0001 server-id 0002 ia 1 2 3 address fd00::1 4 5 ia-status 2 dns "
      "fd00::2 "
      "status 0 preference 255 refresh 60 option 25 0102");
  return fuzz::fuzz_main(argc, argv, subject);
}
