// SPDX-License-Identifier: Apache-2.0
#include "sim/fragments.h"

#include <algorithm>
#include <array>

#include "model/maglev.h"
#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/headers.h"

namespace plexus::sim {
namespace {

constexpr size_t kUdpHeader = 8;
constexpr uint8_t kFin = 0x01, kPush = 0x08, kCwr = 0x80;

/// One segment: the headers of `frame` with `payload` behind them.
Frame segment(const ParsedPacket& parsed, std::span<const uint8_t> frame, size_t headers,
              std::span<const uint8_t> payload, size_t at, size_t number, bool last) {
  Frame f(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(headers));
  f.insert(f.end(), payload.begin(), payload.end());
  const auto ip = std::span<uint8_t>(f).subspan(parsed.l3_offset);
  put_be16(ip, 2, static_cast<uint16_t>(ip.size()));
  put_be16(ip, 4, static_cast<uint16_t>(be16_at(ip, 4) + number));
  put_be16(ip, 10, 0);
  put_be16(ip, 10, internet_checksum(ip.first(size_t{parsed.l4_offset} - parsed.l3_offset)));
  const auto l4 = std::span<uint8_t>(f).subspan(parsed.l4_offset);
  if (parsed.key.ip_proto == ip_proto::kTcp) {
    put_be32(l4, 4, static_cast<uint32_t>(be32_at(l4, 4) + at));
    if (!last) l4[13] = static_cast<uint8_t>(l4[13] & ~(kFin | kPush));
    if (number > 0) l4[13] = static_cast<uint8_t>(l4[13] & ~kCwr);
  } else {
    put_be16(l4, 4, static_cast<uint16_t>(l4.size()));
  }
  return f;
}

Frame completed(Frame frame) {
  const ParsedPacket parsed = parse_packet(frame);
  if (transport_checksum_offset(parsed)) complete_checksum(parsed, frame);
  return frame;
}

}  // namespace

std::vector<Frame> segments_of(const ParsedPacket& parsed, std::span<const uint8_t> frame,
                               uint16_t gso_size) {
  const uint8_t protocol = parsed.key.ip_proto;
  const bool tcp = protocol == ip_proto::kTcp;
  if (gso_size == 0 || !parsed.key.is_ipv4() || parsed.l4_offset == 0 ||
      (!tcp && protocol != ip_proto::kUdp))
    return {completed(Frame(frame.begin(), frame.end()))};
  const size_t headers =
      parsed.l4_offset + (tcp ? size_t{frame[parsed.l4_offset + 12u]} >> 4 << 2 : kUdpHeader);
  const auto payload = frame.first(parsed.length).subspan(headers);
  std::vector<Frame> out;
  for (size_t at = 0; at < payload.size() || out.empty(); at += gso_size) {
    const auto piece = payload.subspan(at, std::min<size_t>(gso_size, payload.size() - at));
    const bool last = at + piece.size() >= payload.size();
    out.push_back(completed(segment(parsed, frame, headers, piece, at, out.size(), last)));
  }
  return out;
}

std::vector<Frame> fragments_of(const ParsedPacket& parsed, std::span<const uint8_t> frame,
                                const OffloadLeft& offload, uint32_t mtu) {
  if (!parsed.key.is_ipv4()) return {};
  if (offload.gso_size == 0) {
    return fragment(offload.partial_checksum ? completed(Frame(frame.begin(), frame.end()))
                                             : Frame(frame.begin(), frame.end()),
                    mtu);
  }
  std::vector<Frame> out;
  for (const Frame& whole : segments_of(parsed, frame, offload.gso_size)) {
    auto pieces = fragment(whole, mtu);
    if (pieces.empty()) return {};
    std::move(pieces.begin(), pieces.end(), std::back_inserter(out));
  }
  return out;
}

std::vector<Frame> own_fragments(Frame frame, uint32_t mtu) {
  const ParsedPacket parsed = parse_packet(frame);
  if (parsed.error != ParseError::none || !parsed.key.is_ip()) return {};
  // What the packet says gives it an identification: two that differ do not mix in reassembly.
  std::vector<uint64_t> words;
  for (size_t at = parsed.l3_offset; at + 4 <= frame.size(); at += 4)
    words.push_back(be32_at(frame, at));
  const auto id = static_cast<uint32_t>(model::fixed_hash(0, words));
  if (parsed.key.is_ipv4()) put_be16(frame, parsed.l3_offset + 4u, static_cast<uint16_t>(id));
  return fragment(frame, mtu, id);
}

}  // namespace plexus::sim
