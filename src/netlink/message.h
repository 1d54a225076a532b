// SPDX-License-Identifier: Apache-2.0
// Netlink messages: Writer builds one request, Attributes reads what came back. Pure functions over bytes; nothing here
// knows a socket. Layout: linux/netlink.h. Integers are in host order, as netlink has them, unless a name says be.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace plexus::netlink {

using Bytes = std::span<const uint8_t>;

/// One request: the netlink header, a fixed part (ifinfomsg and the like), attributes. Nested attributes are opened and closed.
class Writer {
 public:
  Writer(uint16_t type, uint16_t flags);

  /// The fixed part behind the netlink header; first, and once.
  template <typename T>
  void fixed(const T& header) {
    static_assert(std::is_trivially_copyable_v<T>);
    append(Bytes(reinterpret_cast<const uint8_t*>(&header), sizeof header));
  }
  void put(uint16_t attribute, Bytes value);
  /// A flag attribute: no payload.
  void put(uint16_t attribute) { put(attribute, Bytes{}); }
  void put_u8(uint16_t attribute, uint8_t value) { put_value(attribute, value); }
  void put_u32(uint16_t attribute, uint32_t value) { put_value(attribute, value); }
  void put_be16(uint16_t attribute, uint16_t host);
  /// With the terminating zero that the kernel expects.
  void put_string(uint16_t attribute, std::string_view value);
  /// Opens a nested attribute; everything put until end() of the returned mark goes inside.
  [[nodiscard]] size_t begin(uint16_t attribute);
  void end(size_t mark);
  /// Raw bytes inside an attribute, padded to 4 (VETH_INFO_PEER starts with an ifinfomsg).
  void append(Bytes value);

  /// The message with its length filled in and the given sequence number. Valid until the next change.
  [[nodiscard]] Bytes finish(uint32_t sequence);

 private:
  template <typename T>
  void put_value(uint16_t attribute, T value) {
    put(attribute, Bytes(reinterpret_cast<const uint8_t*>(&value), sizeof value));
  }

  std::vector<uint8_t> bytes_;
};

/// The attributes of a message, each with its payload. Never reads past its span: what does not fit is left out.
/// Refers to the bytes that it was made from.
class Attributes {
 public:
  explicit Attributes(Bytes bytes);

  /// The first attribute of this type.
  [[nodiscard]] std::optional<Bytes> find(uint16_t attribute) const;
  /// The attributes nested in it; none when it is not there.
  [[nodiscard]] Attributes nested(uint16_t attribute) const;
  /// None when it is not there or has another size.
  [[nodiscard]] std::optional<uint32_t> u32(uint16_t attribute) const;
  /// Up to the first zero byte; empty when it is not there.
  [[nodiscard]] std::string string(uint16_t attribute) const;
  [[nodiscard]] size_t size() const { return all_.size(); }

 private:
  std::vector<std::pair<uint16_t, Bytes>> all_;
};

/// One message as received: its type and what follows the netlink header.
struct Message {
  uint16_t type = 0;
  uint16_t flags = 0;
  uint32_t sequence = 0;
  Bytes payload;

  /// The fixed part; none when the payload is too short.
  template <typename T>
  [[nodiscard]] std::optional<T> fixed() const {
    static_assert(std::is_trivially_copyable_v<T>);
    if (payload.size() < sizeof(T)) return std::nullopt;
    T header;
    std::memcpy(&header, payload.data(), sizeof header);
    return header;
  }
  /// The attributes behind a fixed part of type T.
  template <typename T>
  [[nodiscard]] Attributes attributes() const {
    const size_t size = NLMSG_ALIGN(sizeof(T));
    return Attributes(payload.size() < size ? Bytes{} : payload.subspan(size));
  }
};

/// Splits what one recv() returned into messages; stops at the first that does not fit.
[[nodiscard]] std::vector<Message> split(Bytes datagram);

}  // namespace plexus::netlink
