// SPDX-License-Identifier: Apache-2.0
#include "state/connection.h"

namespace plexus::state {
namespace {

bool same_kind(const Tuple& a, const Tuple& b) {
  return a.protocol == b.protocol && a.echo == b.echo && a.src.family == b.src.family;
}

}  // namespace

std::string_view to_string(TranslationKind kind) {
  switch (kind) {
    case TranslationKind::destination:
      return "destination";
    case TranslationKind::source:
      return "source";
    case TranslationKind::one_to_one:
      return "one_to_one";
    case TranslationKind::member:
      return "member";
  }
  return "unknown";
}

bool is_translation_kind(uint8_t number) {
  return number >= static_cast<uint8_t>(TranslationKind::destination) &&
         number <= static_cast<uint8_t>(TranslationKind::member);
}

std::string_view to_string(ConnectionState state) {
  switch (state) {
    case ConnectionState::untracked:
      return "untracked";
    case ConnectionState::new_:
      return "new";
    case ConnectionState::established:
      return "established";
    case ConnectionState::related:
      return "related";
    case ConnectionState::invalid:
      return "invalid";
  }
  return "unknown";
}

TuplesAlong tuples_along(const Connection& c, Direction d) {
  TuplesAlong along;
  along.push_back(c.original);
  for (const Translation& t : c.translations) along.push_back(t.after);
  if (d == Direction::original) return along;
  TuplesAlong back;
  for (size_t i = along.size(); i > 0; --i) back.push_back(along[i - 1].reversed());
  return back;
}

bool is_sound(const Connection& c) {
  if (!is_sound(c.original) || c.original.echo == EchoRole::reply) return false;
  const Tuple* before = &c.original;
  for (const Translation& t : c.translations) {
    if (!is_translation_kind(static_cast<uint8_t>(t.kind)) || !is_sound(t.after) ||
        !same_kind(*before, t.after) || t.after == *before)
      return false;
    before = &t.after;
  }
  return (c.seen[0] | c.seen[1] | seen::kAll) == seen::kAll && c.seen[0] + c.seen[1] != 0;
}

Duration timeout_of(uint8_t protocol, SeenBits seen, const Timeouts& t) {
  const bool replied = seen[1] != 0;
  switch (protocol) {
    case ip_proto::kTcp:
      switch (tcp_state_of(seen)) {
        case TcpState::syn_sent:
        case TcpState::syn_crossed:
          return t.tcp_syn_sent;
        case TcpState::syn_received:
        case TcpState::fin_wait:
          return t.tcp_transitory;
        case TcpState::established:
          return replied ? t.tcp_established : t.tcp_transitory;
        case TcpState::time_wait:
        case TcpState::closed:
          return t.tcp_closed;
      }
      return t.tcp_transitory;
    case ip_proto::kUdp:
      return replied ? t.udp_replied : t.udp_unreplied;
    case ip_proto::kIcmp:
    case ip_proto::kIcmpv6:
      return t.icmp;
    default:
      return replied ? t.other_replied : t.other_unreplied;
  }
}

}  // namespace plexus::state
