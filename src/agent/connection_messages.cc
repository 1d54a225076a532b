// SPDX-License-Identifier: Apache-2.0
#include "agent/connection_messages.h"

#include <algorithm>

#include "packet/bytes.h"
#include "state/connection_wire.h"

namespace plexus::agent {
namespace {

constexpr uint8_t kMagic[] = {'P', 'C'};
constexpr uint8_t kVersion = 1;
constexpr size_t kHead = 20;
static_assert(kHead + state::kMaxWireBytes <= kMaxMessageBytes);

}  // namespace

std::vector<uint8_t> encode(const ConnectionMessage& message, MonoTime now) {
  const std::vector<uint8_t> record = state::encode(message.connection, now);
  std::vector<uint8_t> out(kHead + record.size());
  out[0] = kMagic[0];
  out[1] = kMagic[1];
  out[2] = kVersion;
  out[3] = static_cast<uint8_t>(message.kind);
  put_bytes(out, 4, message.from.uuid.bytes);
  put_bytes(out, kHead, record);
  return out;
}

Result<ConnectionMessage> decode_message(std::span<const uint8_t> bytes, MonoTime now) {
  if (bytes.size() < kHead || bytes[0] != kMagic[0] || bytes[1] != kMagic[1])
    return Error{ErrorCode::invalid, "not a message about a connection"};
  if (bytes[2] != kVersion)
    return Error{ErrorCode::unsupported,
                 "a message of version " + std::to_string(bytes[2]) + "; this agent knows 1"};
  if (bytes[3] < static_cast<uint8_t>(MessageKind::record) ||
      bytes[3] > static_cast<uint8_t>(MessageKind::taken))
    return Error{ErrorCode::invalid, "a message of no known kind"};
  auto connection = state::decode(bytes.subspan(kHead), now);
  if (!connection) return connection.error();
  ConnectionMessage message{static_cast<MessageKind>(bytes[3]), {}, std::move(*connection)};
  std::copy_n(bytes.begin() + 4, message.from.uuid.bytes.size(), message.from.uuid.bytes.begin());
  return message;
}

}  // namespace plexus::agent
