// SPDX-License-Identifier: Apache-2.0
#include "datapath/ebpf/old_layout.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <set>

#include "base/unique_fd.h"
#include "datapath/ebpf/compile.h"

namespace plexus::datapath {
namespace {

/// plexus_flow of version 1. Everything else was as it is now.
struct FlowV1 {
  plexus_key key;
  uint64_t cookie;
  uint32_t stats;
  uint16_t outputs;
  uint16_t block;
  plexus_rewrite rewrite;  // its tag bits and vlan_tci were zero
  plexus_output inline_outputs[PLEXUS_INLINE_OUTPUTS];
};
/// Of plexus_tunnel up to version 2: what came then is renewed by each agent.
constexpr uint32_t kTunnelBytesV2 = 24;
/// And of version 3, which knew no interface of the underlay.
constexpr uint32_t kTunnelBytesV3 = 32;
// A reader of earlier versions needs these to stay as they were then.
static_assert(sizeof(FlowV1) == 240 && sizeof(plexus_key) == 72 && sizeof(plexus_rewrite) == 56 &&
              sizeof(plexus_output) == 24 && sizeof(plexus_port) == 40 &&
              sizeof(plexus_tunnel) == kTunnelBytesV3 + 4 && sizeof(plexus_flow_stats) == 32);

constexpr uint32_t tunnel_bytes(int version) {
  return version <= 2 ? kTunnelBytesV2 : version == 3 ? kTunnelBytesV3 : sizeof(plexus_tunnel);
}

plexus_flow from_v1(const FlowV1& old) {
  plexus_flow out{};
  out.key = old.key;
  out.cookie = old.cookie;
  out.stats = old.stats;
  out.outputs = old.outputs;
  out.block = old.block;
  out.rewrite = old.rewrite;
  std::copy(std::begin(old.inline_outputs), std::end(old.inline_outputs), out.inline_outputs);
  return out;
}

/// A pinned map whose keys and values are of the expected size.
class PinnedMap {
 public:
  static Result<PinnedMap> open(const std::string& path, uint32_t key_size, uint32_t value_size) {
    PinnedMap out;
    out.fd_ = UniqueFd(bpf_obj_get(path.c_str()));
    bpf_map_info info{};
    uint32_t length = sizeof info;
    if (!out.fd_.valid() || bpf_obj_get_info_by_fd(out.fd_.get(), &info, &length) != 0)
      return errno_error("opening " + path, errno);
    if (info.key_size != key_size || info.value_size != value_size)
      return Error{ErrorCode::unsupported, path + " has keys or values of another size"};
    return out;
  }
  template <typename Key, typename Value>
  [[nodiscard]] bool find(const Key& key, Value& out) const {
    return bpf_map_lookup_elem(fd_.get(), &key, &out) == 0;
  }
  template <typename Key>
  [[nodiscard]] std::vector<Key> keys() const {
    std::vector<Key> out;
    Key next{};
    const void* previous = nullptr;
    Key key{};
    while (bpf_map_get_next_key(fd_.get(), previous, &next) == 0) {
      key = next;
      previous = &key;
      out.push_back(key);
    }
    return out;
  }

 private:
  UniqueFd fd_;
};

/// The maps that flows are made of.
struct FlowMaps {
  int version;
  PinnedMap flows_short, flows_ipv6, entries, masks, stats, blocks;

  [[nodiscard]] bool entry(uint32_t slot, plexus_flow& out) const {
    if (slot < PLEXUS_INJECT_ENTRIES) return false;
    if (version != 1) return entries.find(slot, out);
    FlowV1 old;
    if (!entries.find(slot, old)) return false;
    out = from_v1(old);
    return true;
  }

  /// The flow that `key` names `slot` for; none if that makes no sense.
  [[nodiscard]] std::optional<FlowEntry> flow(const plexus_key& key, uint32_t slot) const {
    FlowEntry out;
    plexus_key mask{};
    for (int n = 0; n < PLEXUS_MAX_GROUPS; ++n) {
      plexus_flow group{};
      if (!entry(slot, group) || group.outputs > PLEXUS_MAX_OUTPUTS) return std::nullopt;
      if (n == 0) {
        const uint32_t mask_id = key.reserved;
        if (std::memcmp(&group.key, &key, sizeof key) != 0 || !masks.find(mask_id, mask))
          return std::nullopt;
        FlowKey flow_key = from_kernel(key);
        flow_key.reserved = 0;
        out.flow.match = {flow_key, from_kernel(mask)};
        out.flow.cookie = group.cookie;
        if (group.drop_reason < sim::kDropReasonCount && version >= 2)
          out.flow.drop_reason = static_cast<sim::DropReason>(group.drop_reason);
        plexus_flow_stats counted{};
        if (stats.find(group.stats, counted))
          out.stats = {counted.packets, counted.bytes,
                       MonoTime{static_cast<int64_t>(counted.last_used)}};
      }
      plexus_output_block block{};
      const uint32_t at = group.block;
      std::span<const plexus_output> outputs(group.inline_outputs, PLEXUS_INLINE_OUTPUTS);
      if (group.outputs > PLEXUS_INLINE_OUTPUTS) {
        if (!blocks.find(at, block)) return std::nullopt;
        outputs = block.outputs;
      }
      decompile(group, outputs.first(group.outputs), out.flow.actions);
      slot = group.next;
      if (slot == 0) return out;
    }
    return std::nullopt;
  }
};

Result<FlowMaps> open_flow_maps(const std::string& directory, int version) {
  const auto open = [&](const char* name, size_t key, size_t value) {
    return PinnedMap::open(directory + "/" + name, static_cast<uint32_t>(key),
                           static_cast<uint32_t>(value));
  };
  auto flows_short = open("flows_short", sizeof(plexus_key_short), sizeof(plexus_flow_ref));
  if (!flows_short) return flows_short.error();
  auto flows_ipv6 = open("flows_ipv6", sizeof(plexus_key), sizeof(plexus_flow_ref));
  if (!flows_ipv6) return flows_ipv6.error();
  auto entries = open("flow_entries", 4, version == 1 ? sizeof(FlowV1) : sizeof(plexus_flow));
  if (!entries) return entries.error();
  auto masks = open("masks", 4, sizeof(plexus_key));
  if (!masks) return masks.error();
  auto stats = open("flow_stats", 4, sizeof(plexus_flow_stats));
  if (!stats) return stats.error();
  auto blocks = open("output_blocks", 4, sizeof(plexus_output_block));
  if (!blocks) return blocks.error();
  return FlowMaps{
      version,           std::move(*flows_short), std::move(*flows_ipv6), std::move(*entries),
      std::move(*masks), std::move(*stats),       std::move(*blocks)};
}

}  // namespace

Result<OldLayout> read_layout(const std::string& directory) {
  const std::string name = std::filesystem::path(directory).filename();
  int version = 0;
  if (name.empty() || name[0] != 'v' ||
      std::from_chars(name.data() + 1, name.data() + name.size(), version).ec != std::errc{} ||
      version < 1 || version > PLEXUS_LAYOUT_VERSION)
    return Error{ErrorCode::unsupported, "maps of layout " + name};

  OldLayout out;
  auto ports = PinnedMap::open(directory + "/ports", 4, sizeof(plexus_port));
  if (!ports) return ports.error();
  for (const uint32_t number : ports->keys<uint32_t>()) {
    plexus_port port{};
    if (ports->find(number, port)) out.ports.emplace_back(number, port);
  }
  auto tunnel = PinnedMap::open(directory + "/tunnel", 4, tunnel_bytes(version));
  if (!tunnel) return tunnel.error();
  (void)tunnel->find(uint32_t{0}, out.tunnel);
  auto peers = PinnedMap::open(directory + "/peers", sizeof(plexus_peer), 4);
  if (!peers) return peers.error();
  for (const plexus_peer& peer : peers->keys<plexus_peer>())
    out.peers.push_back(address_from_kernel(peer.address));

  auto maps = open_flow_maps(directory, version);
  if (!maps) return maps.error();
  std::set<uint32_t> seen;  // a flow may be in both maps
  const auto add = [&](const PinnedMap& from, const plexus_key& key) {
    plexus_flow_ref ref{};
    if (!from.find(key, ref) || !seen.insert(ref.entry).second) return;
    if (auto flow = maps->flow(key, ref.entry)) out.flows.push_back(std::move(*flow));
  };
  for (const plexus_key_short& key : maps->flows_short.keys<plexus_key_short>()) {
    plexus_key whole{};
    std::memcpy(&whole, &key, sizeof key);
    add(maps->flows_short, whole);
  }
  for (const plexus_key& key : maps->flows_ipv6.keys<plexus_key>()) add(maps->flows_ipv6, key);
  return out;
}

}  // namespace plexus::datapath
