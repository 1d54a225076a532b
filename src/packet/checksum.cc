// SPDX-License-Identifier: Apache-2.0
#include "packet/checksum.h"

#include "base/check.h"
#include "packet/bytes.h"

namespace plexus {
namespace {

/// The bytes that the transport checksum covers, pseudo header aside. UDP says its own length; a
/// wrong one is answered with what the IP header says.
std::span<const uint8_t> covered_message(const ParsedPacket& parsed,
                                         std::span<const uint8_t> frame) {
  auto message = frame.first(parsed.length).subspan(parsed.l4_offset);
  if (parsed.key.ip_proto == ip_proto::kUdp) {
    const size_t length = be16_at(message, 4);
    if (length >= 8 && length < message.size()) message = message.first(length);
  }
  return message;
}

uint64_t pseudo_sum_of(const ParsedPacket& parsed, size_t length) {
  if (!covers_pseudo_header(parsed.key)) return 0;
  return pseudo_header_sum(parsed.key.src_ip(), parsed.key.dst_ip(), parsed.key.ip_proto,
                           static_cast<uint32_t>(length));
}

bool is_fragment(const ParsedPacket& parsed) {
  return parsed.key.ip_frag != static_cast<uint8_t>(FragKind::none);
}

}  // namespace

uint64_t checksum_add(uint64_t sum, std::span<const uint8_t> bytes) {
  size_t i = 0;
  for (; i + 1 < bytes.size(); i += 2) sum += be16_at(bytes, i);
  if (i < bytes.size()) sum += uint64_t{bytes[i]} << 8;
  return sum;
}

uint16_t checksum_fold(uint64_t sum) {
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

uint16_t internet_checksum(std::span<const uint8_t> bytes) {
  return static_cast<uint16_t>(~checksum_fold(checksum_add(0, bytes)));
}

uint16_t checksum_update(uint16_t checksum, uint16_t old_word, uint16_t new_word) {
  const uint64_t sum =
      uint64_t{static_cast<uint16_t>(~checksum)} + static_cast<uint16_t>(~old_word) + new_word;
  return static_cast<uint16_t>(~checksum_fold(sum));
}

uint16_t checksum_update(uint16_t checksum, std::span<const uint8_t> old_bytes,
                         std::span<const uint8_t> new_bytes) {
  PLEXUS_CHECK(old_bytes.size() == new_bytes.size() && old_bytes.size() % 2 == 0,
               "an incremental update replaces whole words");
  for (size_t i = 0; i < old_bytes.size(); i += 2)
    checksum = checksum_update(checksum, be16_at(old_bytes, i), be16_at(new_bytes, i));
  return checksum;
}

uint64_t pseudo_header_sum(const IpAddr& src, const IpAddr& dst, uint8_t protocol,
                           uint32_t length) {
  uint64_t sum = checksum_add(0, wire_bytes(src));
  sum = checksum_add(sum, wire_bytes(dst));
  return sum + protocol + (length >> 16) + (length & 0xffff);
}

bool covers_pseudo_header(const FlowKey& key) {
  return key.ip_proto == ip_proto::kTcp || key.ip_proto == ip_proto::kUdp ||
         (key.ip_proto == ip_proto::kIcmpv6 && key.is_ipv6());
}

uint32_t sctp_checksum(std::span<const uint8_t> message) {
  constexpr uint32_t kPolynomial = 0x82f63b78;  // Castagnoli's, bits reversed
  constexpr size_t kField = 8;
  PLEXUS_CHECK(message.size() >= kField + 4, "a whole SCTP header");
  uint32_t crc = 0xffffffff;
  for (size_t i = 0; i < message.size(); ++i) {
    crc ^= i >= kField && i < kField + 4 ? 0u : message[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? kPolynomial : 0u);
  }
  // It travels with its lowest byte first.
  crc = ~crc;
  return crc << 24 | (crc & 0xff00) << 8 | (crc >> 8 & 0xff00) | crc >> 24;
}

std::optional<size_t> transport_checksum_offset(const ParsedPacket& parsed) {
  if (parsed.error != ParseError::none || parsed.l4_offset == 0) return std::nullopt;
  switch (parsed.key.ip_proto) {
    case ip_proto::kTcp:
      return parsed.l4_offset + size_t{16};
    case ip_proto::kUdp:
      return parsed.l4_offset + size_t{6};
    case ip_proto::kIcmp:
    case ip_proto::kIcmpv6:
      return parsed.l4_offset + size_t{2};
    default:
      return std::nullopt;
  }
}

bool ipv4_checksum_ok(const ParsedPacket& parsed, std::span<const uint8_t> frame) {
  if (!parsed.key.is_ipv4()) return true;
  if (parsed.error != ParseError::none && parsed.error != ParseError::truncated_l4 &&
      parsed.error != ParseError::bad_l4)
    return false;
  const size_t header = size_t{frame[parsed.l3_offset]} % 16 * 4;
  return internet_checksum(frame.subspan(parsed.l3_offset, header)) == 0;
}

bool transport_checksum_ok(const ParsedPacket& parsed, std::span<const uint8_t> frame) {
  const auto at = transport_checksum_offset(parsed);
  if (!at || is_fragment(parsed)) return true;
  // RFC 768: zero says "no checksum"; RFC 8200 8.1 forbids it over IPv6.
  if (parsed.key.ip_proto == ip_proto::kUdp && be16_at(frame, *at) == 0)
    return parsed.key.is_ipv4();
  const auto message = covered_message(parsed, frame);
  const uint64_t sum = pseudo_sum_of(parsed, message.size());
  return checksum_fold(checksum_add(sum, message)) == 0xffff;
}

std::optional<uint16_t> partial_checksum_of(const ParsedPacket& parsed,
                                            std::span<const uint8_t> frame) {
  if (!transport_checksum_offset(parsed) || is_fragment(parsed) ||
      !covers_pseudo_header(parsed.key))
    return std::nullopt;
  return checksum_fold(pseudo_sum_of(parsed, covered_message(parsed, frame).size()));
}

bool transport_checksum_is_partial(const ParsedPacket& parsed, std::span<const uint8_t> frame) {
  const auto sum = partial_checksum_of(parsed, frame);
  return sum && be16_at(frame, *transport_checksum_offset(parsed)) == *sum;
}

bool complete_checksum(const ParsedPacket& parsed, std::span<uint8_t> frame) {
  const auto at = transport_checksum_offset(parsed);
  if (!at || is_fragment(parsed)) return false;
  put_be16(frame, *at, 0);
  const auto message = covered_message(parsed, frame);
  uint16_t sum = static_cast<uint16_t>(
      ~checksum_fold(checksum_add(pseudo_sum_of(parsed, message.size()), message)));
  // RFC 768: a computed zero is sent as all ones.
  if (sum == 0 && parsed.key.ip_proto == ip_proto::kUdp) sum = 0xffff;
  put_be16(frame, *at, sum);
  return true;
}

}  // namespace plexus
