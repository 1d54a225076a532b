// SPDX-License-Identifier: Apache-2.0
#include "packet/build_tunnel.h"

#include "base/check.h"
#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/tunnel_headers.h"

namespace plexus {

bool GreView::checksum_ok() const {
  return !has(kChecksum) || internet_checksum(bytes_) == 0;
}

Frame vxlan_packet(const PacketSpec& outer, uint16_t src_port, uint32_t vni,
                   std::span<const uint8_t> frame) {
  PLEXUS_CHECK(vni <= VxlanView::kMaxVni, "a VNI has 24 bits");
  std::vector<uint8_t> datagram(VxlanView::kSize);
  datagram[0] = VxlanView::kValidVni;
  put_be32(datagram, 4, vni << 8);
  datagram.insert(datagram.end(), frame.begin(), frame.end());
  return udp_packet(outer, src_port, VxlanView::kUdpPort, datagram);
}

std::vector<uint8_t> gre_message(const GreSpec& gre, std::span<const uint8_t> payload) {
  std::vector<uint8_t> out(GreView::kMinSize);
  const auto add_word = [&](uint32_t word) {
    out.resize(out.size() + 4);
    put_be32(out, out.size() - 4, word);
  };
  put_be16(out, 0,
           static_cast<uint16_t>((gre.checksum ? GreView::kChecksum : 0) |
                                 (gre.key ? GreView::kKey : 0) |
                                 (gre.sequence ? GreView::kSequence : 0)));
  put_be16(out, 2, gre.protocol);
  if (gre.checksum) add_word(0);
  if (gre.key) add_word(*gre.key);
  if (gre.sequence) add_word(*gre.sequence);
  out.insert(out.end(), payload.begin(), payload.end());
  if (gre.checksum) put_be16(out, GreView::kMinSize, internet_checksum(out));
  return out;
}

Frame gre_packet(const PacketSpec& outer, const GreSpec& gre, std::span<const uint8_t> payload) {
  return ip_packet(outer, GreView::kIpProtocol, gre_message(gre, payload));
}

Frame sctp_packet(const PacketSpec& spec, uint16_t src_port, uint16_t dst_port,
                  uint32_t verification_tag, std::span<const uint8_t> chunks) {
  std::vector<uint8_t> message(12);
  put_be16(message, 0, src_port);
  put_be16(message, 2, dst_port);
  put_be32(message, 4, verification_tag);
  message.insert(message.end(), chunks.begin(), chunks.end());
  put_be32(message, 8, sctp_checksum(message));
  return ip_packet(spec, ip_proto::kSctp, message);
}

}  // namespace plexus
