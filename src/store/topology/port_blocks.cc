// SPDX-License-Identifier: Apache-2.0
#include "store/topology/port_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <map>
#include <set>
#include <tuple>

#include "store/topology/layout.h"

namespace plexus::store {
namespace {

/// Parts that one attempt looks at; the next one begins elsewhere.
constexpr size_t kMaxLookedAt = 32;
constexpr size_t kRoundTrip = 8;
/// Parts in which one attempt looks for hosts that are gone: some two reads for each holder.
constexpr size_t kMaxPartsOfGone = 4;
constexpr size_t kEndedAtOnce = 64;
constexpr unsigned kPartReserve = 4;  ///< a quarter of a part is not grown into

/// Ports that a pool gives out of one part.
struct Span {
  unsigned first = 0, last = 0;  ///< first > last: none
};
Span span_of(const model::PortRange& ports, unsigned part) {
  // Port 0 is nobody's.
  return {std::max({static_cast<unsigned>(ports.first), part * kPortsOfPart, 1u}),
          std::min(static_cast<unsigned>(ports.last), (part + 1) * kPortsOfPart - 1)};
}
unsigned first_aligned(const Span& span, unsigned length) {
  return (span.first + length - 1) / length * length;
}
bool has_room(const Span& span, unsigned length) {
  return span.first <= span.last && first_aligned(span, length) + length - 1 <= span.last;
}

struct Place {
  IpAddr address;
  unsigned part = 0;
};

std::string path_of(RouterId router, const Place& place) {
  return port_block_part_path(router.uuid, place.address.str(), place.part);
}
unsigned part_of(unsigned port) {
  return port / kPortsOfPart;
}

Uuid uuid_of(const std::string& raw) {
  return Uuid::from_bytes(raw).value_or(Uuid{});
}

v1::HostBlock entry_of(const v1::PortBlockClaim& claim, RouterId router, const IpAddr& address) {
  v1::HostBlock block;
  block.set_pool(claim.pool());
  block.set_router(router.uuid.raw());
  block.set_address(address.raw());
  block.set_first(claim.first());
  block.set_length(claim.length());
  return block;
}
std::tuple<const std::string&, const std::string&, uint32_t, uint32_t> place_key(
    const v1::HostBlock& b) {
  return {b.router(), b.address(), b.first(), b.length()};
}
std::tuple<const std::string&, const std::string&, uint32_t> sort_key(const v1::HostBlock& b) {
  return {b.pool(), b.address(), b.first()};
}

bool lists(const v1::HostBlocks& list, const v1::HostBlock& block) {
  return std::any_of(list.blocks().begin(), list.blocks().end(),
                     [&](const auto& b) { return place_key(b) == place_key(block); });
}
void unlist(v1::HostBlocks& list, const v1::HostBlock& block) {
  auto& blocks = *list.mutable_blocks();
  blocks.erase(std::remove_if(blocks.begin(), blocks.end(),
                              [&](const auto& b) { return place_key(b) == place_key(block); }),
               blocks.end());
}
void enlist(v1::HostBlocks& list, v1::HostBlock block) {
  *list.add_blocks() = std::move(block);
  std::sort(list.mutable_blocks()->begin(), list.mutable_blocks()->end(),
            [](const auto& a, const auto& b) { return sort_key(a) < sort_key(b); });
}

/// How a claim stands to a host that looks for room.
enum class Standing : uint8_t { taken, waiting, over, own };

Standing standing_of(const v1::PortBlockClaim& claim, HostId self, const v1::HostBlock& as_listed,
                     const v1::HostBlocks& own, int64_t now_ms) {
  const bool over = claim.has_ended_ms() &&
                    now_ms - static_cast<int64_t>(claim.ended_ms()) >= PortBlocks::kQuarantine;
  if (claim.host() == self.uuid.raw()) {
    return lists(own, as_listed) ? Standing::taken : over ? Standing::over : Standing::own;
  }
  if (!claim.has_ended_ms()) return Standing::taken;
  return over ? Standing::over : Standing::waiting;
}

bool overlap(const v1::PortBlockClaim& claim, unsigned first, unsigned length) {
  return claim.first() < first + length && first < claim.first() + claim.length();
}

/// What a part has room for.
struct Room {
  std::optional<unsigned> first;    ///< where a block can be
  unsigned ports = 0;               ///< that the pool gives out of the part
  unsigned taken = 0, waiting = 0;  ///< of these
  int64_t next_ms = 0;              ///< when the first of those that wait is free; 0: none waits
};

Room look(const v1::PortBlockPart& part, const Span& span, unsigned length, bool growth,
          HostId self, RouterId router, const IpAddr& address, const v1::HostBlocks& own,
          int64_t now_ms) {
  Room room;
  if (span.first > span.last) return room;
  room.ports = span.last - span.first + 1;
  std::vector<std::pair<const v1::PortBlockClaim*, Standing>> claims;
  for (const auto& claim : part.claims()) {
    const Standing standing =
        standing_of(claim, self, entry_of(claim, router, address), own, now_ms);
    claims.emplace_back(&claim, standing);
    const unsigned from = std::max(claim.first(), span.first);
    const unsigned to = std::min(claim.first() + claim.length() - 1, span.last);
    if (from > to) continue;
    if (standing == Standing::taken) room.taken += to - from + 1;
    if (standing == Standing::waiting) {
      room.waiting += to - from + 1;
      const int64_t free_at = static_cast<int64_t>(claim.ended_ms()) + PortBlocks::kQuarantine;
      if (room.next_ms == 0 || free_at < room.next_ms) room.next_ms = free_at;
    }
  }
  const unsigned free = room.ports - room.taken - room.waiting;
  if (free < length || (growth && free - length < room.ports / kPartReserve)) return room;
  // A place that was ours, else one that is nobody's, else one that has to be taken over. Of what was ours nothing may be left
  // over: it still rests, for others.
  unsigned best = 3;
  for (unsigned first = first_aligned(span, length); first + length - 1 <= span.last;
       first += length) {
    unsigned cost = 1;
    for (const auto& [claim, standing] : claims) {
      if (!overlap(*claim, first, length)) continue;
      const bool inside =
          claim->first() >= first && claim->first() + claim->length() <= first + length;
      const unsigned here = standing == Standing::over            ? 2
                            : standing == Standing::own && inside ? 0
                                                                  : 3;
      cost = cost == 1 ? here : std::max(cost, here);
    }
    if (cost >= best) continue;
    best = cost;
    room.first = first;
    if (cost == 0) break;
  }
  return room;
}

/// Whether the claim is nobody's any more: its host is removed, fenced, or does not list it.
struct Holder {
  bool gone = false;
  uint32_t version = 0;
  bool listed = false;
};
Result<Holder> holder_of(Transaction& transaction, const v1::PortBlockClaim& claim, RouterId router,
                         const IpAddr& address) {
  const Uuid host = uuid_of(claim.host());
  const std::string object = object_path("host", host);
  auto record = transaction.read_message<v1::Host>(object);
  if (!record.ok()) return record.error();
  auto list = transaction.read_message<v1::HostBlocks>(host_blocks_path(host));
  if (!list.ok()) return list.error();
  Holder holder;
  holder.version = static_cast<uint32_t>(transaction.version_read(object));
  holder.listed = *list && lists(**list, entry_of(claim, router, address));
  holder.gone = !*record || (*record)->fenced() || !holder.listed;
  return holder;
}

Result<void> prefetch_holders(Transaction& transaction,
                              const std::vector<const v1::PortBlockClaim*>& claims) {
  std::set<std::string> paths;
  for (const auto* claim : claims) {
    paths.insert(object_path("host", uuid_of(claim->host())));
    paths.insert(host_blocks_path(uuid_of(claim->host())));
  }
  return transaction.prefetch({paths.begin(), paths.end()});
}

}  // namespace

/// One block more.
struct PortBlocks::Wanted {
  const model::SnatPool& pool;
  IpFamily family;
  unsigned length = 0, least = 0;  ///< ports; `least` is taken when nothing longer is free
  bool growth = false;
};

namespace {

/// The length of a first block: what the pool has room for at all; 0: for none.
unsigned first_length(const model::SnatPool& pool) {
  for (unsigned length = PortBlocks::kFirstBlock; length > 0; length /= 2) {
    for (unsigned part = 0; part < kPartsOfAddress; ++part)
      if (has_room(span_of(pool.ports, part), length)) return length;
  }
  return 0;
}

std::vector<Place> places_of(const model::SnatPool& pool, IpFamily family, unsigned least) {
  std::vector<Place> places;
  for (const IpAddr& address : pool.addresses) {
    if (address.family != family) continue;
    for (unsigned part = 0; part < kPartsOfAddress; ++part)
      if (has_room(span_of(pool.ports, part), least)) places.push_back({address, part});
  }
  return places;
}

std::string_view name_of(IpFamily family) {
  return family == IpFamily::v4 ? "IPv4" : "IPv6";
}

Result<v1::HostBlocks> own_list(Transaction& transaction, HostId self) {
  auto list = transaction.read_message<v1::HostBlocks>(host_blocks_path(self.uuid));
  if (!list.ok()) return list.error();
  return *list ? std::move(**list) : v1::HostBlocks();
}

/// This host's blocks that the pool has, of a family; the largest first.
std::vector<v1::HostBlock> held(const v1::HostBlocks& list, const model::SnatPool& pool,
                                IpFamily family) {
  std::vector<v1::HostBlock> blocks;
  for (const auto& block : list.blocks()) {
    const auto address = IpAddr::from_bytes(block.address());
    if (block.pool() == pool.id.uuid.raw() && address && address->family == family &&
        std::find(pool.addresses.begin(), pool.addresses.end(), *address) != pool.addresses.end() &&
        block.first() >= pool.ports.first && block.first() + block.length() - 1 <= pool.ports.last)
      blocks.push_back(block);
  }
  std::stable_sort(blocks.begin(), blocks.end(),
                   [](const auto& a, const auto& b) { return a.length() > b.length(); });
  return blocks;
}

v1::PortBlockClaim* find_claim(v1::PortBlockPart& part, const v1::HostBlock& block, HostId host) {
  for (auto& claim : *part.mutable_claims())
    if (claim.first() == block.first() && claim.length() == block.length() &&
        claim.host() == host.uuid.raw())
      return &claim;
  return nullptr;
}

/// A claim of our own ends, in its part; the list is the caller's. A part that is gone went with its router.
Result<void> end_claim(Transaction& transaction, const v1::HostBlock& block, HostId self,
                       int64_t now_ms) {
  const auto address = IpAddr::from_bytes(block.address());
  if (!address) return Ok{};
  const std::string path =
      path_of(RouterId{uuid_of(block.router())}, {*address, part_of(block.first())});
  auto part = transaction.read_message<v1::PortBlockPart>(path);
  if (!part.ok()) return part.error();
  if (!*part) return Ok{};
  v1::PortBlockClaim* claim = find_claim(**part, block, self);
  if (claim == nullptr || (claim->has_ended_ms() && !claim->has_host_version())) return Ok{};
  claim->set_ended_ms(static_cast<uint64_t>(now_ms));
  claim->clear_host_version();
  transaction.write_message(path, **part);
  return Ok{};
}

}  // namespace

/// Ends this host's claims for which goes(block) says so, some at a time.
template <typename Goes>
Result<void> PortBlocks::end_own(const Goes& goes, int64_t now_ms) {
  for (bool more = true; more;) {
    auto done = commit_with_retries<bool>(store_, [&](Transaction& t) -> Result<bool> {
      auto list = own_list(t, self_);
      if (!list.ok()) return list.error();
      std::vector<v1::HostBlock> ending;
      for (const auto& block : list->blocks())
        if (ending.size() < kEndedAtOnce && goes(block)) ending.push_back(block);
      for (const auto& block : ending) {
        if (auto ended = end_claim(t, block, self_, now_ms); !ended.ok()) return ended.error();
        unlist(*list, block);
      }
      if (!ending.empty()) t.write_message(host_blocks_path(self_.uuid), *list);
      return ending.size() == kEndedAtOnce;
    });
    if (!done.ok()) return done.error().in("giving back blocks of ports");
    more = done->value;
  }
  return Ok{};
}

Result<void> PortBlocks::give_back(SnatPoolId pool, int64_t now_ms,
                                   const std::vector<model::PortBlock>* only) {
  const auto goes = [&](const v1::HostBlock& b) {
    if (b.pool() != pool.uuid.raw()) return false;
    const auto address = IpAddr::from_bytes(b.address());
    return only == nullptr ||
           std::any_of(only->begin(), only->end(), [&](const model::PortBlock& o) {
             return address == o.address && b.first() == o.first && b.length() == o.length;
           });
  };
  return end_own(goes, now_ms);
}

Result<void> PortBlocks::settle(const model::SnatPool& pool, int64_t now_ms) {
  auto record = store_.get(host_blocks_path(self_.uuid));
  if (!record.ok()) return record.error();
  v1::HostBlocks list;
  if (*record && !list.ParseFromString((*record)->value))
    return Transaction::damaged(host_blocks_path(self_.uuid));
  std::optional<Error> trouble;
  for (const IpFamily family : {IpFamily::v4, IpFamily::v6}) {
    const bool has = std::any_of(pool.addresses.begin(), pool.addresses.end(),
                                 [&](const IpAddr& a) { return a.family == family; });
    if (!has || !held(list, pool, family).empty()) continue;
    const unsigned length = first_length(pool);
    if (auto done = claim({pool, family, length, length, false}, now_ms); !done.ok())
      trouble = done.error();
  }
  return trouble ? Result<void>(*trouble) : Result<void>(Ok{});
}

Result<void> PortBlocks::grow(const model::SnatPool& pool, IpFamily family, int64_t now_ms) {
  auto record = store_.get(host_blocks_path(self_.uuid));
  if (!record.ok()) return record.error();
  v1::HostBlocks list;
  if (*record && !list.ParseFromString((*record)->value))
    return Transaction::damaged(host_blocks_path(self_.uuid));
  const auto blocks = held(list, pool, family);
  if (blocks.empty()) return settle(pool, now_ms);
  const size_t used = std::min(blocks.size(), kMaxBlocks);
  unsigned sum = 0;
  for (size_t i = 0; i < used; ++i) sum += blocks[i].length();
  const unsigned length = std::min(std::bit_ceil(sum), kMaxBlock);
  const unsigned least = used < kMaxBlocks ? first_length(pool) : blocks[used - 1].length() * 2;
  if (blocks.size() >= kMaxKept) {
    return Error{ErrorCode::no_space,
                 "pool " + pool.name + ": this host keeps " + std::to_string(blocks.size()) +
                     " blocks of " + std::string(name_of(family)) +
                     ", since connections use them: it gets another when it gives one back"};
  }
  if (least > length) {
    return Error{ErrorCode::no_space, "pool " + pool.name + ": this host has the most ports of " +
                                          std::string(name_of(family)) + " that one host gets (" +
                                          std::to_string(sum) + ")"};
  }
  return claim({pool, family, length, least, true}, now_ms);
}

Result<void> PortBlocks::claim(const Wanted& wanted, int64_t now_ms) {
  const model::SnatPool& pool = wanted.pool;
  auto places = places_of(pool, wanted.family, std::max(wanted.least, 1u));
  if (places.empty() || wanted.length == 0) {
    return Error{ErrorCode::no_space, "pool " + pool.name + " has no ports of " +
                                          std::string(name_of(wanted.family)) + " to give out"};
  }
  // A place of one's own; where all is taken, each attempt begins elsewhere.
  const size_t seed = std::hash<Uuid>{}(self_.uuid) ^ (std::hash<Uuid>{}(pool.id.uuid) >> 7);
  const size_t looked_at = std::min(places.size(), kMaxLookedAt);
  size_t start = seed % places.size();
  if (looked_at < places.size())
    start = (start + static_cast<size_t>(now_ms / 60'000) * looked_at) % places.size();

  std::rotate(places.begin(), places.begin() + static_cast<std::ptrdiff_t>(start), places.end());
  auto own_record = store_.get(host_blocks_path(self_.uuid));
  if (!own_record.ok()) return own_record.error();
  v1::HostBlocks own;
  if (*own_record) (void)own.ParseFromString((*own_record)->value);
  if (wanted.growth) {
    // Of an address that the host has no block of yet: without ports, one connection has an address towards each remote end.
    std::set<std::string> has;
    for (const auto& block : held(own, pool, wanted.family)) has.insert(block.address());
    std::stable_partition(places.begin(), places.end(),
                          [&](const Place& p) { return !has.contains(p.address.raw()); });
  }
  std::vector<std::string> paths;
  std::vector<std::optional<Record>> records;
  for (size_t i = 0; i < looked_at; ++i) paths.push_back(path_of(pool.router, places[i]));
  unsigned ports = 0, taken = 0, waiting = 0;
  int64_t next_ms = 0;
  for (unsigned length = wanted.length; length >= std::max(wanted.least, 1u); length /= 2) {
    ports = taken = waiting = 0;
    for (size_t i = 0; i < looked_at; ++i) {
      if (i >= records.size()) {
        const size_t some = records.empty() ? 1 : std::min(kRoundTrip, looked_at - i);
        auto read = store_.get_many({paths.begin() + static_cast<std::ptrdiff_t>(i),
                                     paths.begin() + static_cast<std::ptrdiff_t>(i + some)});
        if (!read.ok()) return read.error();
        std::move(read->begin(), read->end(), std::back_inserter(records));
      }
      const Place& place = places[i];
      v1::PortBlockPart part;
      if (!records[i]) {
        return Error{ErrorCode::not_found, "the router of pool " + pool.name +
                                               " gives out no ports of " + place.address.str() +
                                               " (any more)"};
      }
      if (!part.ParseFromString(records[i]->value)) return Transaction::damaged(paths[i]);
      const Room room = look(part, span_of(pool.ports, place.part), length, wanted.growth, self_,
                             pool.router, place.address, own, now_ms);
      ports += room.ports;
      taken += room.taken;
      waiting += room.waiting;
      if (room.next_ms != 0 && (next_ms == 0 || room.next_ms < next_ms)) next_ms = room.next_ms;
      if (!room.first) continue;
      auto done = claim_in(Wanted{pool, wanted.family, length, wanted.least, wanted.growth},
                           paths[i], place.address, place.part, now_ms);
      if (!done.ok()) return done.error().in("claiming a block of ports");
      if (*done) return Ok{};
    }
  }
  std::vector<std::string> suspects;
  for (size_t i = 0; i < std::min(looked_at, kMaxPartsOfGone); ++i)
    suspects.push_back(
        paths[(i + static_cast<size_t>(now_ms / 60'000) * kMaxPartsOfGone) % looked_at]);
  auto ended = end_claims_of_the_gone(suspects, now_ms);
  if (!ended.ok()) return ended.error().in("looking for hosts that are gone");
  if (*ended > 0 && next_ms == 0) next_ms = now_ms + kQuarantine;
  std::string text = fmt::format(
      "pool {} has no {} ports left{}: of {} looked at, {} are taken, {} were given back and must "
      "rest",
      pool.name, name_of(wanted.family), wanted.growth ? " to grow into" : "", ports,
      taken - std::min(taken, *ended), waiting + *ended);
  if (next_ms != 0)
    text += fmt::format(" (the first for {} min)", (next_ms - now_ms + 59'999) / 60'000);
  return Error{ErrorCode::no_space,
               text + "; give the pool more addresses, or remove or fence hosts that are gone"};
}

/// False: there is no room here after all.
Result<bool> PortBlocks::claim_in(const Wanted& wanted, const std::string& path,
                                  const IpAddr& address, unsigned number, int64_t now_ms) {
  enum class Outcome : uint8_t { claimed, corrected, full };
  const model::SnatPool& pool = wanted.pool;
  const auto attempt = [&](Transaction& t) -> Result<Outcome> {
    const std::string object = object_path("host", self_.uuid);
    if (auto read = t.prefetch({object, host_blocks_path(self_.uuid), path}); !read.ok())
      return read.error();
    auto host = t.read_message<v1::Host>(object);
    if (!host.ok()) return host.error();
    if (!*host)
      return Error{ErrorCode::not_found, "host " + self_.str() + " is not registered (any more)"};
    if ((*host)->fenced())
      return Error{ErrorCode::conflict, "this host is fenced: it claims no ports"};
    auto own = own_list(t, self_);
    if (!own.ok()) return own.error();
    auto stored = t.read_message<v1::PortBlockPart>(path);
    if (!stored.ok()) return stored.error();
    if (!*stored) return Error{ErrorCode::not_found, "the router is gone"};
    v1::PortBlockPart part = std::move(**stored);
    const auto mine = held(*own, pool, wanted.family);
    // Another thread of this host, or a try before of which the outcome was unknown.
    if (!wanted.growth && !mine.empty()) return Outcome::claimed;
    if (static_cast<size_t>(own->blocks_size()) >= kMaxBlocksOfHost)
      return Error{ErrorCode::no_space, "this host has too many blocks of ports in all"};
    const Room room = look(part, span_of(pool.ports, number), wanted.length, wanted.growth, self_,
                           pool.router, address, *own, now_ms);
    if (!room.first) return Outcome::full;

    v1::PortBlockPart now;
    std::vector<const v1::PortBlockClaim*> others;
    for (const auto& claim : part.claims())
      if (overlap(claim, *room.first, wanted.length) && claim.host() != self_.uuid.raw())
        others.push_back(&claim);
    if (auto read = prefetch_holders(t, others); !read.ok()) return read.error();
    bool corrected = false;
    for (auto& claim : *part.mutable_claims()) {
      if (!overlap(claim, *room.first, wanted.length) || claim.host() == self_.uuid.raw()) continue;
      auto holder = holder_of(t, claim, pool.router, address);
      if (!holder.ok()) return holder.error();
      if (!holder->listed) continue;
      if (!holder->gone || holder->version != claim.host_version()) {
        // It has been back meanwhile: its connections may be younger than we thought.
        corrected = true;
        if (holder->gone) {
          claim.set_ended_ms(static_cast<uint64_t>(now_ms));
          claim.set_host_version(holder->version);
        } else {
          claim.clear_ended_ms();
          claim.clear_host_version();
        }
        continue;
      }
      const std::string list_path = host_blocks_path(uuid_of(claim.host()));
      auto list = t.read_message<v1::HostBlocks>(list_path);
      if (!list.ok()) return list.error();
      unlist(**list, entry_of(claim, pool.router, address));
      t.write_message(list_path, **list);
    }
    if (corrected) {
      t.write_message(path, part);
      return Outcome::corrected;
    }
    for (const auto& claim : part.claims())
      if (!overlap(claim, *room.first, wanted.length)) *now.add_claims() = claim;
    v1::PortBlockClaim fresh;
    fresh.set_first(*room.first);
    fresh.set_length(wanted.length);
    fresh.set_host(self_.uuid.raw());
    fresh.set_pool(pool.id.uuid.raw());
    *now.add_claims() = fresh;
    std::sort(now.mutable_claims()->begin(), now.mutable_claims()->end(),
              [](const auto& a, const auto& b) { return a.first() < b.first(); });
    t.write_message(path, now);
    enlist(*own, entry_of(fresh, pool.router, address));
    t.write_message(host_blocks_path(self_.uuid), *own);
    return Outcome::claimed;
  };
  for (int tries = 0; tries < 3; ++tries) {
    auto done = commit_with_retries<Outcome>(store_, attempt);
    if (!done.ok()) return done.error();
    if (done->value != Outcome::corrected) return done->value == Outcome::claimed;
  }
  return false;
}

/// How many ports of the parts rest from now on because their host is gone.
Result<unsigned> PortBlocks::end_claims_of_the_gone(const std::vector<std::string>& parts,
                                                    int64_t now_ms) {
  unsigned ports = 0;
  for (const std::string& path : std::set<std::string>(parts.begin(), parts.end())) {
    const auto where = parse_port_block_part_path(path);
    if (!where) continue;
    auto done = commit_with_retries<unsigned>(store_, [&](Transaction& t) -> Result<unsigned> {
      auto stored = t.read_message<v1::PortBlockPart>(path);
      if (!stored.ok()) return stored.error();
      if (!*stored) return 0u;
      std::vector<const v1::PortBlockClaim*> active;
      for (const auto& claim : (*stored)->claims())
        if (!claim.has_ended_ms() && claim.host() != self_.uuid.raw()) active.push_back(&claim);
      if (auto read = prefetch_holders(t, active); !read.ok()) return read.error();
      unsigned ended = 0;
      for (auto& claim : *(*stored)->mutable_claims()) {
        if (claim.has_ended_ms() || claim.host() == self_.uuid.raw()) continue;
        auto holder = holder_of(t, claim, where->router, where->address);
        if (!holder.ok()) return holder.error();
        if (!holder->gone) continue;
        claim.set_ended_ms(static_cast<uint64_t>(now_ms));
        claim.set_host_version(holder->version);
        ended += claim.length();
      }
      if (ended > 0) t.write_message(path, **stored);
      return ended;
    });
    if (!done.ok()) return done.error();
    ports += done->value;
  }
  return ports;
}

std::vector<model::PortBlocksChange> to_model(const v1::HostBlocks& record) {
  std::map<SnatPoolId, std::vector<model::PortBlock>> by_pool;
  for (const auto& block : record.blocks()) {
    const auto address = IpAddr::from_bytes(block.address());
    const bool sound = address && block.length() <= PortBlocks::kMaxBlock &&
                       std::has_single_bit(block.length()) && block.first() != 0 &&
                       block.first() < 65536 && block.first() % block.length() == 0 &&
                       block.first() + block.length() <= 65536;
    if (!sound) continue;
    const std::string name = fmt::format("{} {} {} {}", uuid_of(block.router()).str(),
                                         address->str(), block.first(), block.length());
    by_pool[SnatPoolId{uuid_of(block.pool())}].push_back(
        {Uuid::derived("port-block", name), *address, static_cast<uint16_t>(block.first()),
         static_cast<uint16_t>(block.length())});
  }
  std::vector<model::PortBlocksChange> changes;
  for (auto& [pool, blocks] : by_pool) {
    std::sort(blocks.begin(), blocks.end());
    changes.push_back({pool, std::move(blocks)});
  }
  return changes;
}

std::optional<PortBlockPartPlace> parse_port_block_part_path(std::string_view path) {
  // "/p1/s/<hh>/<router>/<address>-<n>"
  constexpr size_t kDirectory = 9, kId = 36;
  if (!path.starts_with("/p1/s/") || path.size() <= kDirectory + kId + 1) return std::nullopt;
  const auto router = Uuid::parse(path.substr(kDirectory, kId));
  const std::string_view last = path.substr(kDirectory + kId + 1);
  const size_t hyphen = last.rfind('-');
  if (!router || hyphen == std::string_view::npos || hyphen + 2 != last.size()) return std::nullopt;
  const auto address = IpAddr::parse(last.substr(0, hyphen));
  const auto part = static_cast<unsigned>(last.back() - '0');
  if (!address || part >= kPartsOfAddress) return std::nullopt;
  PortBlockPartPlace place{RouterId{*router}, *address, part};
  // One path for one thing.
  if (port_block_part_path(*router, address->str(), part) != path) return std::nullopt;
  return place;
}

Result<void> keep_port_block_parts(Transaction& transaction, const v1::SnatPool& pool) {
  const Uuid router = uuid_of(pool.router());
  const std::string head = leased_addresses_path(router);
  auto stored = transaction.read_message<v1::LeasedAddresses>(head);
  if (!stored.ok()) return stored.error();
  std::set<std::string> all, fresh;
  if (*stored) all.insert((*stored)->addresses().begin(), (*stored)->addresses().end());
  for (const std::string& raw : pool.addresses())
    if (!all.contains(raw)) fresh.insert(raw);
  if (*stored && fresh.empty()) return Ok{};
  all.insert(fresh.begin(), fresh.end());
  if (all.size() > kMaxLeasedAddresses) {
    return Error{ErrorCode::no_space,
                 fmt::format("a router has at most {} addresses for source translation in its "
                             "life, those of pools that were removed included: use another router",
                             kMaxLeasedAddresses)};
  }
  std::vector<std::string> paths;
  for (const std::string& raw : fresh) {
    const auto address = IpAddr::from_bytes(raw);
    if (!address) continue;
    for (unsigned part = 0; part < kPartsOfAddress; ++part)
      paths.push_back(port_block_part_path(router, address->str(), part));
  }
  if (auto read = transaction.prefetch(paths); !read.ok()) return read;
  for (const std::string& path : paths) {
    auto part = transaction.read(path);
    if (!part.ok()) return part.error();
    if (*part == nullptr) transaction.write_message(path, v1::PortBlockPart());
  }
  v1::LeasedAddresses now;
  for (const std::string& raw : all) now.add_addresses(raw);
  transaction.write_message(head, now);
  return Ok{};
}

Result<void> drop_port_block_parts(Transaction& transaction, const Uuid& router) {
  const std::string head = leased_addresses_path(router);
  auto stored = transaction.read_message<v1::LeasedAddresses>(head);
  if (!stored.ok()) return stored.error();
  std::vector<std::string> paths;
  if (*stored) {
    for (const std::string& raw : (*stored)->addresses()) {
      const auto address = IpAddr::from_bytes(raw);
      for (unsigned part = 0; address && part < kPartsOfAddress; ++part)
        paths.push_back(port_block_part_path(router, address->str(), part));
    }
  }
  if (auto read = transaction.prefetch(paths); !read.ok()) return read;
  for (const std::string& path : paths) {
    if (auto part = transaction.read(path); !part.ok()) return part.error();
    transaction.remove(path);
  }
  transaction.remove(head);
  // Written with pools, and there is none, says the index.
  if (!*stored) transaction.trust_absence(head);
  return Ok{};
}

}  // namespace plexus::store
