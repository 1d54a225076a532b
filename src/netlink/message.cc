// SPDX-License-Identifier: Apache-2.0
#include "netlink/message.h"

#include <algorithm>

#include "base/check.h"

namespace plexus::netlink {
namespace {

constexpr size_t aligned(size_t n) {
  return (n + 3) & ~size_t{3};
}

}  // namespace

Writer::Writer(uint16_t type, uint16_t flags) : bytes_(sizeof(nlmsghdr)) {
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<uint16_t>(flags | NLM_F_REQUEST);
  std::memcpy(bytes_.data(), &header, sizeof header);
}

void Writer::append(Bytes value) {
  bytes_.insert(bytes_.end(), value.begin(), value.end());
  bytes_.resize(aligned(bytes_.size()));
}

void Writer::put(uint16_t attribute, Bytes value) {
  nlattr header{};
  header.nla_type = attribute;
  header.nla_len = static_cast<uint16_t>(sizeof header + value.size());
  PLEXUS_CHECK(sizeof header + value.size() <= UINT16_MAX, "netlink attribute too long");
  append(Bytes(reinterpret_cast<const uint8_t*>(&header), sizeof header));
  append(value);
}

void Writer::put_be16(uint16_t attribute, uint16_t host) {
  const uint8_t wire[2] = {static_cast<uint8_t>(host >> 8), static_cast<uint8_t>(host)};
  put(attribute, wire);
}

void Writer::put_string(uint16_t attribute, std::string_view value) {
  std::vector<uint8_t> text(value.begin(), value.end());
  text.push_back(0);
  put(attribute, text);
}

size_t Writer::begin(uint16_t attribute) {
  const size_t mark = bytes_.size();
  put(static_cast<uint16_t>(attribute | NLA_F_NESTED));
  return mark;
}

void Writer::end(size_t mark) {
  const auto length = static_cast<uint16_t>(bytes_.size() - mark);
  std::memcpy(bytes_.data() + mark + offsetof(nlattr, nla_len), &length, sizeof length);
}

Bytes Writer::finish(uint32_t sequence) {
  const auto length = static_cast<uint32_t>(bytes_.size());
  std::memcpy(bytes_.data() + offsetof(nlmsghdr, nlmsg_len), &length, sizeof length);
  std::memcpy(bytes_.data() + offsetof(nlmsghdr, nlmsg_seq), &sequence, sizeof sequence);
  return bytes_;
}

Attributes::Attributes(Bytes bytes) {
  while (bytes.size() >= sizeof(nlattr)) {
    nlattr header;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.nla_len < sizeof header || header.nla_len > bytes.size()) return;
    all_.emplace_back(static_cast<uint16_t>(header.nla_type & NLA_TYPE_MASK),
                      bytes.subspan(sizeof header, header.nla_len - sizeof header));
    bytes = bytes.subspan(std::min(aligned(header.nla_len), bytes.size()));
  }
}

std::optional<Bytes> Attributes::find(uint16_t attribute) const {
  for (const auto& [type, value] : all_)
    if (type == attribute) return value;
  return std::nullopt;
}

Attributes Attributes::nested(uint16_t attribute) const {
  return Attributes(find(attribute).value_or(Bytes{}));
}

std::optional<uint32_t> Attributes::u32(uint16_t attribute) const {
  const auto value = find(attribute);
  if (!value || value->size() != 4) return std::nullopt;
  uint32_t out = 0;
  std::memcpy(&out, value->data(), 4);
  return out;
}

std::string Attributes::string(uint16_t attribute) const {
  const auto value = find(attribute).value_or(Bytes{});
  return {value.begin(), std::find(value.begin(), value.end(), uint8_t{0})};
}

std::vector<Message> split(Bytes datagram) {
  std::vector<Message> out;
  while (datagram.size() >= sizeof(nlmsghdr)) {
    nlmsghdr header;
    std::memcpy(&header, datagram.data(), sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > datagram.size()) break;
    out.push_back({header.nlmsg_type, header.nlmsg_flags, header.nlmsg_seq,
                   datagram.subspan(sizeof header, header.nlmsg_len - sizeof header)});
    datagram = datagram.subspan(std::min(aligned(header.nlmsg_len), datagram.size()));
  }
  return out;
}

}  // namespace plexus::netlink
