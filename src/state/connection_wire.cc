// SPDX-License-Identifier: Apache-2.0
#include "state/connection_wire.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "packet/bytes.h"

namespace plexus::state {
namespace {

constexpr uint8_t kCountBits = 7, kV6Bit = 8, kOtherZoneBit = 64;
constexpr unsigned kEchoShift = 4;
constexpr uint8_t kSrc = 1, kDst = 2, kSrcPort = 4, kDstPort = 8, kAnyField = 15;
constexpr int64_t kMillisecond = 1'000'000;

class Writer {
 public:
  explicit Writer(std::vector<uint8_t>& out) : out_(out) {}
  void byte(unsigned v) { out_.push_back(static_cast<uint8_t>(v)); }
  void u16(uint16_t v) {
    byte(v >> 8);
    byte(v & 0xffu);
  }
  void u32(uint32_t v) {
    u16(static_cast<uint16_t>(v >> 16));
    u16(static_cast<uint16_t>(v));
  }
  void bytes(std::span<const uint8_t> b) { out_.insert(out_.end(), b.begin(), b.end()); }
  void id(const Uuid& id) { bytes(id.bytes); }
  void address(const IpAddr& a) { bytes(wire_bytes(a)); }

 private:
  std::vector<uint8_t>& out_;
};

/// Reads within its span; after a read too far everything is zero and ok() is false.
class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : left_(bytes) {}
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool at_end() const { return ok_ && left_.empty(); }
  uint8_t byte() {
    const auto b = take(1);
    return b.empty() ? uint8_t{0} : b[0];
  }
  uint16_t u16() {
    const auto b = take(2);
    return b.empty() ? uint16_t{0} : be16_at(b, 0);
  }
  uint32_t u32() {
    const auto b = take(4);
    return b.empty() ? 0 : be32_at(b, 0);
  }
  Uuid id() {
    Uuid id;
    const auto b = take(id.bytes.size());
    std::copy(b.begin(), b.end(), id.bytes.begin());
    return id;
  }
  IpAddr address(bool v6) {
    const auto b = take(v6 ? 16 : 4);
    if (b.empty()) return {};
    return v6 ? ipv6_at(b, 0) : ipv4_at(b, 0);
  }

 private:
  std::span<const uint8_t> take(size_t n) {
    if (!ok_ || left_.size() < n) {
      ok_ = false;
      return {};
    }
    const auto taken = left_.first(n);
    left_ = left_.subspan(n);
    return taken;
  }
  std::span<const uint8_t> left_;
  bool ok_ = true;
};

uint8_t changed_fields(const Tuple& before, const Tuple& after) {
  return static_cast<uint8_t>((before.src != after.src ? kSrc : 0) |
                              (before.dst != after.dst ? kDst : 0) |
                              (before.src_port != after.src_port ? kSrcPort : 0) |
                              (before.dst_port != after.dst_port ? kDstPort : 0));
}

Error malformed(const char* what) {
  return {ErrorCode::invalid, std::string("connection record: ") + what};
}

}  // namespace

std::vector<uint8_t> encode(const Connection& c, MonoTime now) {
  PLEXUS_CHECK(is_sound(c), "only sound connections are told to others");
  std::vector<uint8_t> out;
  out.reserve(kMaxWireBytes);
  Writer w(out);
  const bool other_zone = c.reply_zone != c.zone;
  w.byte(kWireVersion);
  w.byte(static_cast<unsigned>(c.translations.size()) | (c.original.src.is_v6() ? kV6Bit : 0u) |
         static_cast<unsigned>(c.original.echo) << kEchoShift | (other_zone ? kOtherZoneBit : 0u));
  w.byte(c.original.protocol);
  w.byte(c.seen[0]);
  w.byte(c.seen[1]);
  w.byte(c.tenant.is_nil() ? 0 : 1);
  w.u32(c.stamp.epoch);
  const int64_t idle = std::max<int64_t>(0, (now.ns - c.last_seen.ns) / kMillisecond);
  w.u32(static_cast<uint32_t>(std::min<int64_t>(idle, std::numeric_limits<uint32_t>::max())));
  w.id(c.stamp.origin.uuid);
  w.id(c.zone.device);
  w.id(c.port.uuid);
  w.id(c.reply_port.uuid);
  if (other_zone) w.id(c.reply_zone.device);
  if (!c.tenant.is_nil()) w.id(c.tenant);
  w.address(c.original.src);
  w.address(c.original.dst);
  w.u16(c.original.src_port);
  w.u16(c.original.dst_port);
  const Tuple* before = &c.original;
  for (const Translation& t : c.translations) {
    const uint8_t changed = changed_fields(*before, t.after);
    w.byte(static_cast<uint8_t>(t.kind));
    w.byte(changed);
    w.id(t.device);
    w.id(t.choice);
    if ((changed & kSrc) != 0) w.address(t.after.src);
    if ((changed & kDst) != 0) w.address(t.after.dst);
    if ((changed & kSrcPort) != 0) w.u16(t.after.src_port);
    if ((changed & kDstPort) != 0) w.u16(t.after.dst_port);
    before = &t.after;
  }
  return out;
}

Result<Connection> decode(std::span<const uint8_t> bytes, MonoTime now) {
  Reader r(bytes);
  const uint8_t version = r.byte();
  if (!r.ok()) return malformed("empty");
  if (version != kWireVersion) {
    return Error{ErrorCode::unsupported, "connection record: version " + std::to_string(version) +
                                             ", this build knows " + std::to_string(kWireVersion)};
  }
  Connection c;
  const uint8_t kinds = r.byte();
  const size_t count = kinds & kCountBits;
  const bool v6 = (kinds & kV6Bit) != 0, other_zone = (kinds & kOtherZoneBit) != 0;
  const unsigned echo = kinds >> kEchoShift & 3;
  if (kinds >> 7 != 0 || count > kMaxTranslations || echo > 2) return malformed("its second byte");
  c.original.echo = static_cast<EchoRole>(echo);
  c.original.protocol = r.byte();
  c.seen = {r.byte(), r.byte()};
  const uint8_t tenant = r.byte();
  if (tenant > 1) return malformed("neither with nor without a tenant");
  c.stamp.epoch = r.u32();
  const uint32_t idle = r.u32();
  c.last_seen = MonoTime{now.ns - int64_t{idle} * kMillisecond};
  c.stamp.origin.uuid = r.id();
  c.zone.device = r.id();
  c.port.uuid = r.id();
  c.reply_port.uuid = r.id();
  c.reply_zone.device = other_zone ? r.id() : c.zone.device;
  if (other_zone && c.reply_zone == c.zone) return malformed("another zone that is the same");
  if (tenant == 1) {
    c.tenant = r.id();
    if (c.tenant.is_nil()) return malformed("a tenant that is none");
  }
  c.original.src = r.address(v6);
  c.original.dst = r.address(v6);
  c.original.src_port = r.u16();
  c.original.dst_port = r.u16();
  Tuple before = c.original;
  for (size_t i = 0; i < count; ++i) {
    Translation t;
    const uint8_t kind = r.byte(), changed = r.byte();
    if (!r.ok() || !is_translation_kind(kind)) return malformed("a kind of translation");
    if (changed == 0 || changed > kAnyField) return malformed("what a translation changes");
    t.kind = static_cast<TranslationKind>(kind);
    t.device = r.id();
    t.choice = r.id();
    t.after = before;
    if ((changed & kSrc) != 0) t.after.src = r.address(v6);
    if ((changed & kDst) != 0) t.after.dst = r.address(v6);
    if ((changed & kSrcPort) != 0) t.after.src_port = r.u16();
    if ((changed & kDstPort) != 0) t.after.dst_port = r.u16();
    if (!r.ok()) return malformed("cut off");
    if (changed_fields(before, t.after) != changed) return malformed("a change that is none");
    before = t.after;
    c.translations.push_back(t);
  }
  if (!r.at_end()) return malformed(r.ok() ? "too long" : "cut off");
  if (!is_sound(c)) return malformed("no connection has these tuples");
  return c;
}

}  // namespace plexus::state
