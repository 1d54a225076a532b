// SPDX-License-Identifier: Apache-2.0
// How convert.cc and convert_services.cc read the fields of a record. Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "packet/addr.h"

namespace plexus::store {

inline constexpr uint32_t kMaxVlan = 4094;  // IEEE 802.1Q: 4095 is reserved

/// Reads bytes fields; what is set but impossible makes the record unreadable.
class Fields {
 public:
  explicit Fields(bool known) : unreadable_(!known) {}
  template <typename IdType>
  IdType id(const std::string& raw) {
    return IdType{need(Uuid::from_bytes(raw))};
  }
  template <typename IdType>
  std::optional<IdType> optional_id(bool has, const std::string& raw) {
    if (!has) return std::nullopt;
    return id<IdType>(raw);
  }
  MacAddr mac(bool has, const std::string& raw) {
    return has ? need(MacAddr::from_bytes(raw)) : MacAddr{};
  }
  IpAddr address(const std::string& raw) { return need(IpAddr::from_bytes(raw)); }
  IpPrefix prefix(const std::string& raw) { return need(IpPrefix::from_bytes(raw)); }
  /// Sorted, each once.
  template <typename IdType, typename List>
  std::vector<IdType> ids(const List& list) {
    std::vector<IdType> out;
    for (const std::string& raw : list) out.push_back(id<IdType>(raw));
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }
  /// A value that `parse` reads, where the field is set.
  template <typename T>
  std::optional<T> optional(bool has, const std::string& raw,
                            std::optional<T> (*parse)(std::string_view)) {
    if (!has) return std::nullopt;
    return need(parse(raw));
  }
  std::optional<uint8_t> byte(bool has, uint32_t value) {
    if (!has) return std::nullopt;
    refuse_unless(value <= 0xff);
    return static_cast<uint8_t>(value);
  }
  /// A differentiated services code point.
  std::optional<uint8_t> code_point(bool has, uint32_t value) {
    refuse_unless(value < 64);
    return byte(has, value);
  }
  /// A port of TCP, UDP or SCTP; 0 where it is not set.
  uint16_t transport_port(bool has, uint32_t value) {
    refuse_unless(!has || (value > 0 && value <= 0xffff));
    return has ? static_cast<uint16_t>(value) : uint16_t{0};
  }
  void refuse_unless(bool possible) { unreadable_ |= !possible; }
  template <typename T>
  T need(std::optional<T> value) {
    if (value) return *value;
    unreadable_ = true;
    return T{};
  }
  [[nodiscard]] bool unreadable() const { return unreadable_; }

 private:
  bool unreadable_;
};

/// A switch that is on unless it says otherwise.
inline bool up(bool has, bool value) {
  return !has || value;
}

}  // namespace plexus::store
