// SPDX-License-Identifier: Apache-2.0
// Checked views of tunnel headers, as those of headers.h: `of(span)` looks once, every accessor is inside the span then.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "packet/headers.h"

namespace plexus {

/// VXLAN (RFC 7348), what a UDP datagram to kUdpPort carries: the I flag is set; the reserved bits may hold anything.
class VxlanView : public HeaderView {
 public:
  static constexpr size_t kSize = 8;
  static constexpr uint16_t kUdpPort = 4789;
  static constexpr uint8_t kValidVni = 0x08;
  static constexpr uint32_t kMaxVni = 0xffffff;
  [[nodiscard]] static std::optional<VxlanView> of(std::span<const uint8_t> datagram) {
    if (datagram.size() < kSize || (datagram[0] & kValidVni) == 0) return std::nullopt;
    return VxlanView(datagram);
  }
  [[nodiscard]] uint32_t vni() const { return be32_at(bytes_, 4) >> 8; }
  /// All 32 bits that are zero or ignored but the I flag: of a sender that keeps to the RFC.
  [[nodiscard]] bool reserved_bits_zero() const {
    return be32_at(bytes_, 0) == uint32_t{kValidVni} << 24 && bytes_[7] == 0;
  }
  /// The tunnelled Ethernet frame; it may be too short for one.
  [[nodiscard]] std::span<const uint8_t> frame() const { return bytes_.subspan(kSize); }

 private:
  using HeaderView::HeaderView;
};

/// GRE version 0 (RFC 2784) with key and sequence number (RFC 2890). Bits that a receiver must not accept are zero (routing,
/// bits 4 and 5); those that it ignores may hold anything. The header is whole, its checksum is not looked at.
class GreView : public HeaderView {
 public:
  static constexpr size_t kMinSize = 4;
  static constexpr uint8_t kIpProtocol = 47;
  static constexpr uint16_t kChecksum = 0x8000, kKey = 0x2000, kSequence = 0x1000;
  /// Protocol type of a tunnelled Ethernet frame (RFC 1701).
  static constexpr uint16_t kEthernet = 0x6558;
  [[nodiscard]] static std::optional<GreView> of(std::span<const uint8_t> packet) {
    constexpr uint16_t kMustBeZero = 0x4000 | 0x0800 | 0x0400 | 0x0007;
    if (packet.size() < kMinSize || (be16_at(packet, 0) & kMustBeZero) != 0) return std::nullopt;
    const GreView view(packet);
    if (packet.size() < view.header_length()) return std::nullopt;
    return view;
  }
  [[nodiscard]] size_t header_length() const {
    return kMinSize + 4 * (size_t{has(kChecksum)} + size_t{has(kKey)} + size_t{has(kSequence)});
  }
  /// The EtherType of what is inside.
  [[nodiscard]] uint16_t protocol() const { return be16_at(bytes_, 2); }
  [[nodiscard]] std::optional<uint16_t> checksum() const {
    return has(kChecksum) ? std::optional(be16_at(bytes_, kMinSize)) : std::nullopt;
  }
  /// Of header and payload (RFC 2784 2.5); true when there is no checksum.
  [[nodiscard]] bool checksum_ok() const;
  [[nodiscard]] std::optional<uint32_t> key() const { return field(kKey, has(kChecksum)); }
  [[nodiscard]] std::optional<uint32_t> sequence() const {
    return field(kSequence, size_t{has(kChecksum)} + size_t{has(kKey)});
  }
  /// False: some of the ignored bits (7 of the first word, 16 behind a checksum) are set.
  [[nodiscard]] bool reserved_bits_zero() const {
    return (be16_at(bytes_, 0) & 0x03f8) == 0 && (!has(kChecksum) || be16_at(bytes_, 6) == 0);
  }
  [[nodiscard]] std::span<const uint8_t> payload() const { return bytes_.subspan(header_length()); }

 private:
  using HeaderView::HeaderView;
  [[nodiscard]] bool has(uint16_t bit) const { return (be16_at(bytes_, 0) & bit) != 0; }
  [[nodiscard]] std::optional<uint32_t> field(uint16_t bit, size_t words_before) const {
    if (!has(bit)) return std::nullopt;
    return be32_at(bytes_, kMinSize + 4 * words_before);
  }
};

}  // namespace plexus
