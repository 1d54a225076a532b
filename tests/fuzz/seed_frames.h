// SPDX-License-Identifier: Apache-2.0
// Frames to start from, one of each kind that the packet syntax knows: for every fuzzer that takes frames or their texts.
#pragma once

#include <string_view>

namespace plexus::fuzz {

inline constexpr std::string_view kSeedFrames[] = {
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv4 10.0.1.10 > 10.0.2.10 | udp 1000 > 53 | "
    "payload \"hello\"",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | vlan 12 | ipv4 10.0.1.10 > 10.0.2.10 | tcp 1000 > "
    "80 options 020405b4",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | vlan 100 tpid 0x88a8 | vlan 12 pcp 3 | ipv6 "
    "fd00::1 > fd00::2 tos 1 flow 7 | tcp 1000 > 80 flags SA sum partial | payload \"x\"",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv4 10.0.1.10 > 10.0.2.10 ttl 1 tos 4 id 7 df "
    "options 94040000 | icmp echo-request id 1 seq 2 | payload \"abcd\" | pad 6",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv6 fd00::1 > fd00::2 | icmp echo-request id 1 "
    "seq 2 | payload \"abcd\"",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv4 10.0.1.10 > 10.0.2.10 id 7 frag off 0 more | "
    "udp 1 > 2 len 3008 | payload 16 bytes",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv4 10.0.1.10 > 10.0.2.10 proto 17 id 7 frag off "
    "1480 | payload \"rest\"",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv6 fd00::1 > fd00::2 | frag off 0 more id 7 | "
    "udp 1 > 2 len 3008 | payload 16 bytes",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv6 fd00::1 > fd00::2 proto 17 | frag off 1448 "
    "id "
    "7 | payload \"rest\"",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv6 fd00::1 > fd00::2 | ext hop-by-hop "
    "010400000000 | ext routing 000000000000 | ext destination 010400000000 | udp 1 > 2",
    "eth 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff | arp request who 10.0.1.1 tell 10.0.1.10",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | arp reply 10.0.1.10 to 10.0.1.1 | pad 18",
    "eth 02:00:00:00:00:01 > 33:33:ff:00:00:01 | ipv6 fd00::a > ff02::1:ff00:1 | nd solicit target "
    "fd00::1 slla 02:00:00:00:00:01",
    "eth 02:00:00:00:00:01 > 33:33:ff:00:00:01 | ipv6 :: > ff02::1:ff00:1 | nd solicit target "
    "fd00::1",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv6 fd00::1 > fd00::a | nd advert target fd00::1 "
    "router solicited override tlla 02:00:00:00:00:01",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv4 10.0.1.10 > 10.0.2.10 | icmp too-big mtu "
    "1400 "
    "| quoted hex 4500001c000000000111a2d00a0001010a000201000100020008e8d9",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv6 fd00::1 > fd00::2 | icmp unreachable port | "
    "quoted hex 60000000",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv4 10.0.1.10 > 10.0.2.10 | sctp 1 > 2 tag 7 | "
    "payload hex 0a00",
    "eth 02:00:00:00:00:01 > 01:00:5e:00:00:16 | ipv4 10.0.1.10 > 224.0.0.22 ttl 1 proto 2 options "
    "94040000 | payload hex 2200",
    "eth 02:00:00:00:00:01 > 33:33:00:00:00:16 | ipv6 fe80::1 > ff02::16 ttl 1 | ext hop-by-hop "
    "050200000100 | icmp type 143 rest 0x1 | payload 20 bytes",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv4 192.0.2.1 > 192.0.2.2 | udp 50000 > 4789 sum "
    "0 | vxlan vni 42 | eth 02:00:00:00:00:03 > 02:00:00:00:00:04 | ipv6 fd00::1 > fd00::2 | udp 1 "
    "> 2",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv4 192.0.2.1 > 192.0.2.2 | gre key 7 seq 9 "
    "checksum | ipv4 10.0.0.1 > 10.0.0.2 | udp 1 > 2",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv6 fd00::1 > fd00::2 | gre key 7 | eth "
    "02:00:00:00:00:03 > ff:ff:ff:ff:ff:ff | arp request who 10.0.1.1 tell 10.0.1.10",
    "eth 02:00:00:00:00:01 > 01:80:c2:00:00:0e type 0x88cc | payload hex 0207",
    "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 type 0x0026 | payload \"an 802.3 frame\"",
    "raw 0102030405",
};

}  // namespace plexus::fuzz
