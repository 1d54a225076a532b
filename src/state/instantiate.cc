// SPDX-License-Identifier: Apache-2.0
#include "state/instantiate.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "base/check.h"
#include "packet/bytes.h"
#include "state/tracking.h"

namespace plexus::state {
namespace {

constexpr uint64_t kBlockSeed = 0x706c6578'75730011, kPortSeed = 0x706c6578'75730012;

uint64_t word_at(const IpAddr& a, size_t at) {
  return uint64_t{be32_at(a.bytes, at)} << 32 | be32_at(a.bytes, at + 4);
}

/// Of whom a port is leased for.
uint64_t client_hash(uint64_t seed, const Tuple& t, bool with_port) {
  const std::array<uint64_t, 3> words{
      word_at(t.src, 0), word_at(t.src, 8),
      uint64_t{t.protocol} << 16 | (with_port ? t.src_port : uint16_t{0})};
  return model::fixed_hash(seed, words);
}

/// SCTP's checksum covers the ports, and rewrites do not update it: its ports stay.
bool has_rewritable_ports(const Tuple& t) {
  return t.protocol == ip_proto::kTcp || t.protocol == ip_proto::kUdp;
}

/// The prefix in place of as many bits.
IpAddr under_prefix(const IpPrefix& prefix, const IpAddr& address) {
  IpAddr out = address;
  for (unsigned bit = 0; bit < prefix.length; bit += 8) {
    const unsigned n = std::min(8u, prefix.length - bit);
    const auto mask = static_cast<uint8_t>(0xff << (8 - n));
    uint8_t& b = out.bytes[bit / 8];
    b = static_cast<uint8_t>((b & ~mask) | (prefix.addr.bytes[bit / 8] & mask));
  }
  return out;
}

/// So many taken ports in a row are one in a thousand while half of a block is free, one in three when an eighth is.
constexpr unsigned kCrowdedAfter = 10;

/// Places of the table that are tried, each perhaps a member, when the first one cannot be told apart from what the client's port has there.
constexpr unsigned kOtherMembers = 16;

uint16_t shifted(const PortShift& shift, uint16_t port) {
  return static_cast<uint16_t>(shift.to + (port - shift.from));
}

/// Walks the stages; a lease tries its ports with all stages behind it.
class Chooser {
 public:
  Chooser(const Commit& commit, const IsFree& is_free, Connection& c, bool& crowded)
      : commit_(commit), is_free_(is_free), c_(c), crowded_(crowded) {}

  NoInstance run(size_t stage) {
    if (stage == commit_.stages.size()) {
      if ((!leased_ && !choosy_) || is_free_(c_.reply_zone, c_.entering(Direction::reply)))
        return NoInstance::none;
      return NoInstance::ports_exhausted;
    }
    return std::visit([&](const auto& s) { return take(s, stage); }, commit_.stages[stage]);
  }

 private:
  NoInstance take(const SelectMember& s, size_t stage) {
    if (s.set == nullptr || s.set->members.empty()) return NoInstance::no_member;
    const Tuple t = c_.final_tuple();
    model::FlowIdentity inputs{c_.original.src, t.dst, t.protocol, c_.original.src_port,
                               t.dst_port};
    if (s.by_source_address) inputs.protocol = 0, inputs.src_port = 0, inputs.dst_port = 0;
    const uint64_t hash = model::flow_hash(s.salt, inputs);
    const size_t first = s.set->table.member(hash);
    // The client's port may have a connection to the same member by another virtual address: answers could not be told apart.
    const bool outer = std::exchange(choosy_, true);
    if (!s.by_source_address && s.set->members.size() > 1 && !leases()) {
      uint64_t other = hash;
      for (unsigned n = 0; n <= kOtherMembers; ++n, other = model::next_hash(other)) {
        const size_t chosen = s.set->table.member(other);
        if (n > 0 && chosen == first) continue;
        if (take_member(s, chosen, t, stage) == NoInstance::none) {
          choosy_ = outer;
          return NoInstance::none;
        }
      }
    }
    choosy_ = outer;
    return take_member(s, first, t, stage);
  }

  NoInstance take_member(const SelectMember& s, size_t chosen, Tuple t, size_t stage) {
    const Member& m = s.set->members[chosen];
    if (m.address.family != t.dst.family) return NoInstance::wrong_family;
    t.dst = m.address;
    if (m.port != 0 && has_rewritable_ports(t)) t.dst_port = m.port;
    const Delivery before{c_.reply_port, c_.reply_zone};
    if (s.deliveries != nullptr) deliver_at((*s.deliveries)[chosen]);
    const NoInstance r = with({s.device, m.id, TranslationKind::member, t}, stage);
    if (r != NoInstance::none) deliver_at(before);
    return r;
  }

  NoInstance take(const LeasePort& s, size_t stage) {
    const Tuple before = c_.final_tuple();
    const bool port = has_leasable_port(before);
    NoInstance last = NoInstance::ports_exhausted;
    const bool leased_before = leased_;
    leased_ = true;
    const uint64_t turn = client_hash(kBlockSeed, before, false);
    for (size_t b = 0; b < s.blocks.size(); ++b) {
      const LeaseBlock& block = s.blocks[(turn + b) % s.blocks.size()];
      PLEXUS_CHECK(is_sound(block), "a leased block is a power of two, aligned");
      if (block.address.family != before.src.family) return NoInstance::wrong_family;
      const uint64_t hash = client_hash(kPortSeed, before, true);
      // An odd step meets every port of the block once.
      const auto start = static_cast<uint32_t>(hash), step = static_cast<uint32_t>(hash >> 32) | 1;
      const unsigned tries = port ? std::min<unsigned>(kLeaseProbes, block.length) : 1;
      for (unsigned n = 0; n < tries; ++n) {
        Tuple t = before;
        t.src = block.address;
        if (port) {
          const uint32_t place = (start + n * step) & (block.length - 1u);
          t.src_port = static_cast<uint16_t>(block.first + place);
        }
        if (port && b + 1 == s.blocks.size() && n == kCrowdedAfter) crowded_ = true;
        last = with({s.device, block.id, TranslationKind::source, t}, stage);
        if (last != NoInstance::ports_exhausted) return last;
      }
    }
    leased_ = leased_before;
    crowded_ = true;
    return last;
  }

  NoInstance take(const FixedTranslation& s, size_t stage) {
    Tuple t = c_.final_tuple();
    for (const auto& [prefix, address] : {std::pair(&s.src, &t.src), std::pair(&s.dst, &t.dst)}) {
      if (!*prefix) continue;
      if ((*prefix)->addr.family != address->family) return NoInstance::wrong_family;
      *address = under_prefix(**prefix, *address);
    }
    if (s.src_port && has_leasable_port(t)) t.src_port = shifted(*s.src_port, t.src_port);
    if (s.dst_port && has_rewritable_ports(t)) t.dst_port = shifted(*s.dst_port, t.dst_port);
    return with({s.device, s.rule, s.kind, t}, stage);
  }

  /// The stages behind, with this one's translation; taken back when they fail.
  NoInstance with(const Translation& t, size_t stage) {
    const bool changes = t.after != c_.final_tuple();
    if (changes) c_.translations.push_back(t);
    const NoInstance r = run(stage + 1);
    if (r != NoInstance::none && changes) c_.translations.pop_back();
    return r;
  }

  /// A lease finds a port for its member.
  [[nodiscard]] bool leases() const {
    return std::any_of(commit_.stages.begin(), commit_.stages.end(),
                       [](const Stage& s) { return std::holds_alternative<LeasePort>(s); });
  }

  void deliver_at(const Delivery& d) {
    c_.reply_port = d.port;
    c_.reply_zone = d.zone;
  }

  const Commit& commit_;
  const IsFree& is_free_;
  Connection& c_;
  bool& crowded_;
  bool leased_ = false, choosy_ = false;
};

}  // namespace

bool has_leasable_port(const Tuple& t) {
  return has_rewritable_ports(t) || t.echo == EchoRole::request;
}

std::string_view to_string(NoInstance reason) {
  switch (reason) {
    case NoInstance::none:
      return "none";
    case NoInstance::no_member:
      return "no_member";
    case NoInstance::ports_exhausted:
      return "ports_exhausted";
    case NoInstance::wrong_family:
      return "wrong_family";
    case NoInstance::untracked:
      return "untracked";
  }
  return "unknown";
}

bool is_sound(const LeaseBlock& b) {
  return std::has_single_bit(b.length) && b.first != 0 && b.first % b.length == 0 &&
         !b.address.is_none();
}

Instance instantiate(const Commit& commit, const Sighting& first, const Stamp& stamp, MonoTime now,
                     const IsFree& is_free) {
  Instance out;
  Connection& c = out.connection;
  if (first.kind != SightingKind::tracked || first.tuple.echo == EchoRole::reply) {
    out.reason = NoInstance::untracked;
    return out;
  }
  c.original = first.tuple;
  c.zone = commit.zone;
  c.port = commit.port;
  c.tenant = commit.tenant;
  c.reply_zone = commit.delivery.zone;
  c.reply_port = commit.delivery.port;
  c.stamp = stamp;
  c.seen = seen_at_first(first);
  c.last_seen = now;
  out.reason = Chooser(commit, is_free, c, out.crowded).run(0);
  return out;
}

Rewrite rewrite_of(const Connection& c, Direction d) {
  return rewrite_between(c.entering(d), c.leaving(d));
}

}  // namespace plexus::state
