// SPDX-License-Identifier: Apache-2.0
#include "store/topology/reader.h"

#include <algorithm>
#include <deque>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "base/check.h"
#include "base/log.h"
#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/closure_inbox.h"
#include "store/topology/convert.h"
#include "store/topology/index.h"
#include "store/topology/port_blocks.h"

namespace plexus::store {
namespace {

using Kind = ClosureKey::Kind;
using Index = ClosureKey::Index;

/// Which object of the model a key is part of; the kind is that of its main record. nullopt: none.
struct ModelName {
  Kind kind = Kind::host;
  Uuid id;
  uint32_t part = 0;  ///< kind bucket: of the members of a group
  bool operator==(const ModelName&) const = default;
};
struct ModelNameHash {
  size_t operator()(const ModelName& name) const {
    return std::hash<Uuid>{}(name.id) ^ (static_cast<size_t>(name.kind) * 0x9e3779b97f4a7c15ULL +
                                         name.part * 0xc4ceb9fe1a85ec53ULL);
  }
};

std::optional<ModelName> model_of(const ClosureKey& name) {
  switch (name.kind) {
    case Kind::host:
    case Kind::host_state:
      return ModelName{Kind::host_state, name.id};
    case Kind::head:
    case Kind::bucket:
      switch (name.index) {
        case Index::bridge_ports:
          return ModelName{Kind::bridge, name.id};
        case Index::router_ports:
        case Index::router_routes:
          return ModelName{Kind::router, name.id};
        case Index::chain_rules:
          return ModelName{Kind::chain, name.id};
        case Index::group_rules:
          return ModelName{Kind::security_group, name.id};
        case Index::group_members:
          if (name.kind == Kind::head) return std::nullopt;
          return ModelName{Kind::bucket, name.id, name.bucket};
        case Index::wanted_ports:
        case Index::migrating_ports:
        case Index::router_floating_ips:
        case Index::router_snat_pools:
        case Index::router_balancers:
        case Index::balancer_vips:
        case Index::pool_members:
        case Index::bridge_subnets:
        case Index::bridge_mirrors:
        case Index::router_mirrors:
        case Index::bridge_trace_requests:
        case Index::router_trace_requests:
        case Index::sub_ports:
        case Index::none:
          return std::nullopt;
      }
      return std::nullopt;
    case Kind::tunnel_keys:
      return std::nullopt;
    default:
      return ModelName{name.kind, name.id};
  }
}

/// How long a port is followed that has gone from here: longer than its new host takes to bind it, and than packets and
/// records that come here for it are passed on.
constexpr Duration kLeaving = std::chrono::seconds(60);

/// What the entries of an index are.
Kind listed_by(Index index) {
  switch (index) {
    case Index::router_routes:
      return Kind::route;
    case Index::chain_rules:
      return Kind::rule;
    case Index::group_rules:
      return Kind::security_rule;
    case Index::router_floating_ips:
      return Kind::floating_ip;
    case Index::router_snat_pools:
      return Kind::snat_pool;
    case Index::router_balancers:
      return Kind::load_balancer;
    case Index::balancer_vips:
      return Kind::vip;
    case Index::pool_members:
      return Kind::pool_member;
    case Index::bridge_subnets:
      return Kind::dhcp_subnet;
    case Index::bridge_mirrors:
    case Index::router_mirrors:
      return Kind::mirror;
    case Index::bridge_trace_requests:
    case Index::router_trace_requests:
      return Kind::trace_request;
    default:
      return Kind::port;
  }
}

Uuid uuid_of(const std::string& raw) {
  return Uuid::from_bytes(raw).value_or(Uuid{});
}

}  // namespace

class ClosureReader::Closure {
 public:
  Closure(HostId self, Publish publish)
      : self_(self), publish_(std::move(publish)), inbox_(std::make_shared<ClosureInbox>()) {
    const Uuid& id = self.uuid;
    // In the order in which they are asked for: what says about this host itself comes first.
    for (const ClosureKey& key : {ClosureKey{Kind::host, Index::none, 0, id},
                                  ClosureKey{Kind::host_state, Index::none, 0, id},
                                  ClosureKey{Kind::tunnel_keys, Index::none, 0, id},
                                  ClosureKey{Kind::host_blocks, Index::none, 0, id},
                                  ClosureKey{Kind::head, Index::wanted_ports, 0, id},
                                  ClosureKey{Kind::bucket, Index::wanted_ports, 0, id},
                                  ClosureKey{Kind::head, Index::migrating_ports, 0, id},
                                  ClosureKey{Kind::bucket, Index::migrating_ports, 0, id}}) {
      roots_.push_back(ensure(key));
    }
  }

  void load(std::vector<ClosureRecord> records);
  void follow(Store& store);
  [[nodiscard]] int fd() const { return inbox_->fd(); }
  void process(MonoTime now);
  [[nodiscard]] std::optional<MonoTime> deadline() const {
    std::optional<MonoTime> first;
    if (synced_ && dirty_since_) first = *dirty_since_ + delay();
    for (const auto& [key, until] : leaving_) first = first ? std::min(*first, until) : until;
    return first;
  }
  [[nodiscard]] bool synced() const { return synced_; }
  [[nodiscard]] size_t watched() const { return keys_.size(); }
  [[nodiscard]] size_t unread() const { return unread_; }
  [[nodiscard]] size_t unconfirmed() const { return unconfirmed_; }
  [[nodiscard]] Revision applied() const { return applied_; }
  [[nodiscard]] uint64_t changes() const { return changes_; }
  [[nodiscard]] uint64_t received() const { return inbox_->received(); }
  void each_record(
      const std::function<void(const ClosureKey&, const std::string*, int64_t)>& visit) const {
    for (const auto& [name, key] : keys_) {
      if (key->read) visit(name, key->value ? &*key->value : nullptr, key->version);
    }
  }

 private:
  /// One key of the store that the closure contains.
  struct Entry {
    ClosureKey name;
    bool read = false;       ///< something is known of it, from the store or from a disk
    bool confirmed = false;  ///< the store that is followed now has said it
    uint32_t mark = 0;       ///< the last walk that came here
    int64_t version = 0;
    std::optional<std::string> value;
    std::vector<Entry*> leads_to;
    std::unique_ptr<Watch> watch;
  };

  Entry* ensure(const ClosureKey& name);
  void take_in(Entry& key, const std::optional<Record>& record);
  void take_value(Entry& key, std::optional<std::string> value);
  void ask_more();
  [[nodiscard]] Duration delay() const { return resyncing_ ? kMaxResyncDelay : kMaxDelay; }
  [[nodiscard]] std::vector<ClosureKey> next_of(const Entry& key) const;
  void note_leaving(const Entry& bucket, const std::vector<Entry*>& leads_to);
  void let_leave(MonoTime now);
  void sweep();
  void publish(bool consistent);
  [[nodiscard]] bool must_wait(const ModelName& name) const;
  [[nodiscard]] bool chain_is_whole(const Uuid& id) const;
  [[nodiscard]] std::optional<model::Change> change_of(const ModelName& name);
  void add_port_blocks(std::vector<model::Change>& changes);
  [[nodiscard]] const Entry* find(Kind kind, const Uuid& id) const;
  [[nodiscard]] const Entry* find_members(const Uuid& group, uint32_t part) const;
  /// The ids that an index of `id` lists, sorted.
  template <typename IdType>
  std::vector<IdType> listed(Index index, const Uuid& id) const;
  /// A record as a message, and whether it could be decoded.
  template <typename M>
  static std::pair<M, bool> decode(const Entry& key);

  Store* store_ = nullptr;
  const HostId self_;
  const Publish publish_;
  std::shared_ptr<ClosureInbox> inbox_;
  std::unordered_map<ClosureKey, ClosureRecord>* loading_ = nullptr;  ///< while in load()
  std::deque<Entry*> loaded_;  ///< in load(): found there, not looked into yet
  std::deque<ClosureKey> to_ask_;
  size_t asked_ = 0;  ///< watched, no answer yet
  std::unordered_map<ClosureKey, std::unique_ptr<Entry>> keys_;
  std::vector<Entry*> roots_;
  std::unique_ptr<Watch> settled_;
  std::unordered_set<ModelName, ModelNameHash> changed_;
  std::unordered_set<ModelName, ModelNameHash> published_;
  std::map<SnatPoolId, std::vector<model::PortBlock>> port_blocks_;  ///< as published
  size_t unread_ = 0;
  size_t unconfirmed_ = 0;
  uint32_t walks_ = 0;
  uint64_t changes_ = 0;
  bool resyncing_ = false;
  bool lost_an_edge_ = false;
  /// Ports that are wanted elsewhere now and were bound here, with what leads to their sub-ports: followed until then, or nobody
  /// here would hear where they have gone. Zero: since this batch.
  std::unordered_map<Entry*, MonoTime> leaving_;
  bool synced_ = false;
  Revision revision_;
  Revision applied_;
  std::optional<MonoTime> dirty_since_;
};

ClosureReader::Closure::Entry* ClosureReader::Closure::ensure(const ClosureKey& name) {
  auto& slot = keys_[name];
  if (slot) return slot.get();
  slot = std::make_unique<Entry>();
  slot->name = name;
  ++unread_;
  ++unconfirmed_;
  if (loading_ != nullptr && loading_->contains(name)) loaded_.push_back(slot.get());
  if (store_ != nullptr) to_ask_.push_back(name);
  return slot.get();
}

/// Watches what is not watched yet, never too many without an answer: their answers wait in memory.
void ClosureReader::Closure::ask_more() {
  while (!to_ask_.empty() && asked_ < kMaxAsked) {
    const ClosureKey name = to_ask_.front();
    to_ask_.pop_front();
    const auto found = keys_.find(name);
    if (found == keys_.end() || found->second->watch) continue;
    ++asked_;
    found->second->watch = store_->watch(
        path_of(name),
        [inbox = inbox_.get(), name](const WatchEvent& event) { inbox->put(name, event); });
  }
}

void ClosureReader::Closure::load(std::vector<ClosureRecord> records) {
  std::unordered_map<ClosureKey, ClosureRecord> by_key;
  by_key.reserve(records.size());
  for (ClosureRecord& record : records) {
    const ClosureKey key = record.key;
    by_key.insert_or_assign(key, std::move(record));
  }
  records.clear();
  loading_ = &by_key;
  for (const auto& [name, key] : keys_) {
    if (by_key.contains(name)) loaded_.push_back(key.get());
  }
  while (!loaded_.empty()) {
    Entry& key = *loaded_.front();
    loaded_.pop_front();
    if (key.read) continue;
    ClosureRecord& record = by_key.at(key.name);
    key.version = record.version;
    take_value(key, std::move(record.value));
  }
  loading_ = nullptr;
  publish(unread_ == 0);
}

void ClosureReader::Closure::follow(Store& store) {
  for (const auto& [name, key] : keys_) key->watch.reset();
  settled_.reset();
  inbox_->reset();
  store_ = &store;
  to_ask_.clear();
  asked_ = 0;
  applied_ = {};
  revision_ = {};
  resyncing_ = synced_;
  unconfirmed_ = keys_.size();
  for (const auto& [name, key] : keys_) key->confirmed = false;
  // What leads to the rest first.
  for (const Entry* root : roots_) to_ask_.push_back(root->name);
  for (const auto& [name, key] : keys_) to_ask_.push_back(name);
  settled_ =
      store.watch_settled([inbox = inbox_.get()](Revision revision) { inbox->settle(revision); });
  ask_more();
}

template <typename M>
std::pair<M, bool> ClosureReader::Closure::decode(const Entry& key) {
  std::pair<M, bool> result;
  result.second = key.value && result.first.ParseFromString(*key.value);
  if (key.value && !result.second) {
    log_error("store", "the record {} is damaged: it cannot be decoded", path_of(key.name));
    result.first.Clear();
  }
  return result;
}

std::vector<ClosureKey> ClosureReader::Closure::next_of(const Entry& key) const {
  std::vector<ClosureKey> next;
  const Uuid& id = key.name.id;
  const auto add = [&](Kind kind, const Uuid& to, Index index = Index::none, uint32_t bucket = 0) {
    if (!to.is_nil()) next.push_back({kind, index, bucket, to});
  };
  // Most indexes have one bucket: its number needs no waiting for the head.
  const auto add_index_of = [&](Index index, const Uuid& of) {
    add(Kind::head, of, index);
    add(Kind::bucket, of, index, 0);
  };
  const auto add_index = [&](Index index) { add_index_of(index, id); };
  if (key.name.kind == Kind::head) {
    const uint32_t depth = decode<v1::IndexHead>(key).first.depth();
    for (uint32_t b = 0; b < 1u << std::min(depth, kMaxDepth); ++b) {
      add(Kind::bucket, id, key.name.index, b);
    }
    return next;
  }
  if (!key.value) return next;
  switch (key.name.kind) {
    case Kind::bridge: {
      const auto bridge = decode<v1::Bridge>(key).first;
      add(Kind::chain, uuid_of(bridge.in_chain()));
      add(Kind::chain, uuid_of(bridge.out_chain()));
      for (const Index index : {Index::bridge_ports, Index::bridge_subnets, Index::bridge_mirrors,
                                Index::bridge_trace_requests})
        add_index(index);
      break;
    }
    case Kind::router: {
      const auto router = decode<v1::Router>(key).first;
      add(Kind::chain, uuid_of(router.in_chain()));
      add(Kind::chain, uuid_of(router.out_chain()));
      for (const Index index :
           {Index::router_ports, Index::router_routes, Index::router_floating_ips,
            Index::router_snat_pools, Index::router_balancers, Index::router_mirrors,
            Index::router_trace_requests})
        add_index(index);
      break;
    }
    case Kind::load_balancer:
      add_index(Index::balancer_vips);
      break;
    case Kind::vip:
      // Pools that no virtual address names serve nobody.
      add(Kind::pool, uuid_of(decode<v1::Vip>(key).first.pool()));
      break;
    case Kind::pool:
      add_index(Index::pool_members);
      break;
    case Kind::mirror: {
      const auto mirror = decode<v1::Mirror>(key).first;
      add(Kind::port, uuid_of(mirror.to_port()));
      break;
    }
    case Kind::chain:
      add_index(Index::chain_rules);
      break;
    case Kind::rule: {
      // Not in_port, out_port, through_bridge and through_router: what is not here anyway, no packet comes by.
      const auto rule = decode<v1::Rule>(key).first;
      add(Kind::chain, uuid_of(rule.jump_chain()));
      for (const std::string* group : {&rule.source_group(), &rule.destination_group()})
        add(Kind::address_group, uuid_of(*group));
      for (const std::string* group : {&rule.in_port_group(), &rule.out_port_group()})
        add(Kind::port_group, uuid_of(*group));
      add(Kind::snat_pool, uuid_of(rule.snat_pool()));
      add(Kind::port, uuid_of(rule.redirect_port()));
      break;
    }
    case Kind::security_group:
      add_index(Index::group_rules);
      break;
    case Kind::security_rule: {
      const auto rule = decode<v1::SecurityRule>(key).first;
      add(Kind::address_group, uuid_of(rule.remote_address_group()));
      // Its members only: its rules are for them, wherever they are.
      if (const Uuid remote = uuid_of(rule.remote_group()); !remote.is_nil()) {
        add(Kind::head, remote, Index::group_members);
        add(Kind::bucket, remote, Index::group_members, 0);
      }
      break;
    }
    case Kind::port: {
      const auto port = decode<v1::Port>(key).first;
      add(Kind::chain, uuid_of(port.in_chain()));
      add(Kind::chain, uuid_of(port.out_chain()));
      for (const std::string& group : port.security_groups())
        add(Kind::security_group, uuid_of(group));
      for (const std::string& group : port.port_groups()) add(Kind::port_group, uuid_of(group));
      add(Kind::bridge, uuid_of(port.bridge()));
      add(Kind::router, uuid_of(port.router()));
      add(Kind::port, uuid_of(port.peer()));
      add(Kind::port, uuid_of(port.parent()));
      if (!port.has_peer()) add(Kind::binding, id);
      if (port.has_router()) add(Kind::neighbours, id);
      break;
    }
    case Kind::binding: {
      const auto host = uuid_of(decode<v1::Binding>(key).first.host());
      add(Kind::host, host);
      add(Kind::host_state, host);
      break;
    }
    case Kind::bucket: {
      if (key.name.index == Index::group_members) break;
      const Kind listed = listed_by(key.name.index);
      // Whose interface is here may have sub-ports here.
      const bool here =
          key.name.index == Index::wanted_ports || key.name.index == Index::migrating_ports;
      const auto bucket = decode<v1::RefBucket>(key).first;
      for (const auto& entry : bucket.entries()) {
        add(listed, uuid_of(entry.id()));
        if (here) add_index_of(Index::sub_ports, uuid_of(entry.id()));
      }
      break;
    }
    default:
      break;
  }
  return next;
}

void ClosureReader::Closure::take_in(Entry& key, const std::optional<Record>& record) {
  if (!key.confirmed) {
    key.confirmed = true;
    --unconfirmed_;
    --asked_;
  }
  key.version = record ? record->version : 0;
  take_value(key, record ? std::optional(record->value) : std::nullopt);
}

void ClosureReader::Closure::take_value(Entry& key, std::optional<std::string> value) {
  if (!key.read) {
    key.read = true;
    --unread_;
  } else if (value == key.value) {
    return;
  }
  key.value = std::move(value);
  ++changes_;
  if (const auto name = model_of(key.name)) changed_.insert(*name);
  std::vector<Entry*> leads_to;
  for (const ClosureKey& name : next_of(key)) leads_to.push_back(ensure(name));
  std::sort(leads_to.begin(), leads_to.end());
  if (!std::includes(leads_to.begin(), leads_to.end(), key.leads_to.begin(), key.leads_to.end())) {
    lost_an_edge_ = true;
  }
  note_leaving(key, leads_to);
  key.leads_to = std::move(leads_to);
}

void ClosureReader::Closure::note_leaving(const Entry& bucket,
                                          const std::vector<Entry*>& leads_to) {
  if (bucket.name.kind != Kind::bucket ||
      (bucket.name.index != Index::wanted_ports && bucket.name.index != Index::migrating_ports))
    return;
  for (Entry* before : bucket.leads_to) {
    if (std::binary_search(leads_to.begin(), leads_to.end(), before)) continue;
    const Entry* binding = find(Kind::binding, before->name.id);
    if (binding != nullptr && uuid_of(decode<v1::Binding>(*binding).first.host()) == self_.uuid)
      leaving_.insert_or_assign(before, MonoTime{});
  }
}

/// Those that are no more, or have had their time, are like all others again.
void ClosureReader::Closure::let_leave(MonoTime now) {
  for (auto& [key, until] : leaving_)
    if (until == MonoTime{}) until = now + kLeaving;
  const size_t over = std::erase_if(leaving_, [&](const auto& entry) {
    const Entry* port = find(Kind::port, entry.first->name.id);
    return entry.second <= now || port == nullptr || (port->read && !port->value);
  });
  if (over != 0) lost_an_edge_ = true;
}

void ClosureReader::Closure::sweep() {
  if (!lost_an_edge_) return;
  lost_an_edge_ = false;
  ++walks_;
  std::vector<Entry*> open = roots_;
  for (const auto& [key, until] : leaving_) open.push_back(key);
  for (Entry* key : open) key->mark = walks_;
  while (!open.empty()) {
    const Entry* key = open.back();
    open.pop_back();
    for (Entry* next : key->leads_to) {
      if (next->mark == walks_) continue;
      next->mark = walks_;
      open.push_back(next);
    }
  }
  for (auto it = keys_.begin(); it != keys_.end();) {
    Entry& key = *it->second;
    if (key.mark == walks_) {
      ++it;
      continue;
    }
    if (!key.read) --unread_;
    if (!key.confirmed) {
      --unconfirmed_;
      if (key.watch) --asked_;
    }
    if (const auto name = model_of(key.name)) changed_.insert(*name);
    // First no more reports, then forget the one that may be waiting.
    key.watch.reset();
    inbox_->forget(key.name);
    it = keys_.erase(it);
    ++changes_;
  }
}

const ClosureReader::Closure::Entry* ClosureReader::Closure::find(Kind kind, const Uuid& id) const {
  const auto found = keys_.find({kind, Index::none, 0, id});
  return found == keys_.end() ? nullptr : found->second.get();
}

const ClosureReader::Closure::Entry* ClosureReader::Closure::find_members(const Uuid& group,
                                                                          uint32_t part) const {
  const auto found = keys_.find({Kind::bucket, Index::group_members, part, group});
  return found == keys_.end() ? nullptr : found->second.get();
}

template <typename IdType>
std::vector<IdType> ClosureReader::Closure::listed(Index index, const Uuid& id) const {
  std::vector<IdType> ids;
  const auto head = keys_.find({Kind::head, index, 0, id});
  if (head == keys_.end()) return ids;
  const uint32_t depth = std::min(decode<v1::IndexHead>(*head->second).first.depth(), kMaxDepth);
  for (uint32_t b = 0; b < 1u << depth; ++b) {
    const auto bucket = keys_.find({Kind::bucket, index, b, id});
    if (bucket == keys_.end()) continue;
    const auto message = decode<v1::RefBucket>(*bucket->second).first;
    for (const auto& entry : message.entries()) ids.push_back(IdType{uuid_of(entry.id())});
  }
  std::sort(ids.begin(), ids.end());
  // In an incomplete batch the halves of a bucket that was just split may both list an id.
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

std::optional<model::Change> ClosureReader::Closure::change_of(const ModelName& name) {
  const Entry* key =
      name.kind == Kind::bucket ? find_members(name.id, name.part) : find(name.kind, name.id);
  if (key != nullptr && !key->read) return std::nullopt;  // its time comes
  const bool present = key != nullptr && key->value.has_value();
  if (!present && published_.erase(name) == 0) return std::nullopt;
  if (present) published_.insert(name);

  // The path says which object it is; what could not be decoded is unreadable, not absent.
  const auto device = [&](auto message, auto change) -> model::Change {
    using Wire = decltype(message);
    if (!present) return change;
    const auto [record, whole] = decode<Wire>(*key);
    change.now = to_model(record);
    change.now->id = change.id;
    change.now->unreadable |= !whole;
    return change;
  };
  switch (name.kind) {
    case Kind::bridge: {
      auto change = device(v1::Bridge(), model::BridgeChange{BridgeId{name.id}, std::nullopt});
      if (auto& now = std::get<model::BridgeChange>(change).now) {
        now->ports = listed<PortId>(Index::bridge_ports, name.id);
      }
      return change;
    }
    case Kind::router: {
      auto change = device(v1::Router(), model::RouterChange{RouterId{name.id}, std::nullopt});
      if (auto& now = std::get<model::RouterChange>(change).now) {
        now->ports = listed<PortId>(Index::router_ports, name.id);
        now->routes = listed<RouteId>(Index::router_routes, name.id);
      }
      return change;
    }
    case Kind::port:
      return device(v1::Port(), model::PortChange{PortId{name.id}, std::nullopt});
    case Kind::route:
      return device(v1::Route(), model::RouteChange{RouteId{name.id}, std::nullopt});
    case Kind::chain: {
      auto change = device(v1::Chain(), model::ChainChange{ChainId{name.id}, std::nullopt});
      if (auto& now = std::get<model::ChainChange>(change).now) {
        now->rules = listed<RuleId>(Index::chain_rules, name.id);
      }
      return change;
    }
    case Kind::rule:
      return device(v1::Rule(), model::RuleChange{RuleId{name.id}, std::nullopt});
    case Kind::address_group:
      return device(v1::AddressGroup(),
                    model::AddressGroupChange{AddressGroupId{name.id}, std::nullopt});
    case Kind::port_group:
      return device(v1::PortGroup(), model::PortGroupChange{PortGroupId{name.id}, std::nullopt});
    case Kind::security_group: {
      auto change = device(v1::SecurityGroup(),
                           model::SecurityGroupChange{SecurityGroupId{name.id}, std::nullopt});
      if (auto& now = std::get<model::SecurityGroupChange>(change).now) {
        now->rules = listed<SecurityRuleId>(Index::group_rules, name.id);
      }
      return change;
    }
    case Kind::security_rule:
      return device(v1::SecurityRule(),
                    model::SecurityRuleChange{SecurityRuleId{name.id}, std::nullopt});
    case Kind::floating_ip:
      return device(v1::FloatingIp(), model::FloatingIpChange{FloatingIpId{name.id}, std::nullopt});
    case Kind::snat_pool:
      return device(v1::SnatPool(), model::SnatPoolChange{SnatPoolId{name.id}, std::nullopt});
    case Kind::load_balancer:
      return device(v1::LoadBalancer(),
                    model::LoadBalancerChange{LoadBalancerId{name.id}, std::nullopt});
    case Kind::vip:
      return device(v1::Vip(), model::VipChange{VipId{name.id}, std::nullopt});
    case Kind::pool:
      return device(v1::Pool(), model::PoolChange{PoolId{name.id}, std::nullopt});
    case Kind::pool_member:
      return device(v1::PoolMember(), model::PoolMemberChange{PoolMemberId{name.id}, std::nullopt});
    case Kind::dhcp_subnet:
      return device(v1::DhcpSubnet(), model::DhcpSubnetChange{DhcpSubnetId{name.id}, std::nullopt});
    case Kind::mirror:
      return device(v1::Mirror(), model::MirrorChange{MirrorId{name.id}, std::nullopt});
    case Kind::trace_request:
      return device(v1::TraceRequest(),
                    model::TraceRequestChange{TraceRequestId{name.id}, std::nullopt});
    case Kind::bucket: {
      model::GroupMembersChange change{SecurityGroupId{name.id}, name.part, {}};
      if (present) change.now = to_members(decode<v1::RefBucket>(*key).first);
      return change;
    }
    case Kind::binding: {
      model::BindingChange change{PortId{name.id}, std::nullopt};
      if (present) {
        // Without a host it leads nowhere: made by the writer, taken by nobody yet.
        const auto record = decode<v1::Binding>(*key).first;
        if (!record.has_host()) return change;
        change.now = to_model(record);
        change.now->port = change.id;
      }
      return change;
    }
    case Kind::neighbours: {
      model::NeighboursChange change{PortId{name.id}, {}};
      if (present) change.now = to_model(change.port, decode<v1::NeighbourTable>(*key).first);
      return change;
    }
    case Kind::host_state: {
      model::HostChange change{HostId{name.id}, std::nullopt};
      if (present) {
        const Entry* host = find(Kind::host, name.id);
        const auto resource = host != nullptr ? decode<v1::Host>(*host).first : v1::Host();
        change.now = to_model(decode<v1::HostState>(*key).first, resource.name());
        change.now->fenced = resource.fenced();
        change.now->id = change.id;
      }
      return change;
    }
    default:
      return std::nullopt;
  }
}

/// A chain accepts what no rule decides, so one of which a part is missing, or old and new are mixed, would let pass what it
/// must not; one that is not known drops. Chains change with all their rules, in whole batches only. What was kept on a disk
/// is all of one time: there each chain counts for itself.
bool ClosureReader::Closure::must_wait(const ModelName& name) const {
  if (store_ != nullptr) return name.kind == Kind::chain || name.kind == Kind::rule;
  return name.kind == Kind::chain && !chain_is_whole(name.id);
}

bool ClosureReader::Closure::chain_is_whole(const Uuid& id) const {
  const auto has = [this](const ClosureKey& key) {
    const auto found = keys_.find(key);
    return found != keys_.end() && found->second->read;
  };
  const auto head = keys_.find({Kind::head, Index::chain_rules, 0, id});
  if (head == keys_.end() || !head->second->read) return false;
  const uint32_t depth = std::min(decode<v1::IndexHead>(*head->second).first.depth(), kMaxDepth);
  for (uint32_t b = 0; b < 1u << depth; ++b)
    if (!has({Kind::bucket, Index::chain_rules, b, id})) return false;
  for (const RuleId rule : listed<RuleId>(Index::chain_rules, id)) {
    const Entry* entry = find(Kind::rule, rule.uuid);
    if (entry == nullptr || !entry->read || !entry->value) return false;
  }
  return true;
}

/// One record is about many pools: those of which it said something that it says no more have none.
void ClosureReader::Closure::add_port_blocks(std::vector<model::Change>& changes) {
  const Entry* key = find(Kind::host_blocks, self_.uuid);
  std::map<SnatPoolId, std::vector<model::PortBlock>> now;
  if (key != nullptr && key->value) {
    for (auto& change : to_model(decode<v1::HostBlocks>(*key).first))
      now.emplace(change.pool, std::move(change.now));
  }
  for (const auto& [pool, blocks] : port_blocks_)
    if (!now.contains(pool)) changes.emplace_back(model::PortBlocksChange{pool, {}});
  for (const auto& [pool, blocks] : now) {
    const auto old = port_blocks_.find(pool);
    if (old == port_blocks_.end() || old->second != blocks)
      changes.emplace_back(model::PortBlocksChange{pool, blocks});
  }
  port_blocks_ = std::move(now);
}

void ClosureReader::Closure::publish(bool consistent) {
  ClosureBatch batch;
  batch.consistent = consistent;
  batch.revision = revision_;
  std::unordered_set<ModelName, ModelNameHash> later;
  for (const ModelName& name : changed_) {
    if (!consistent && must_wait(name))
      later.insert(name);
    else if (name.kind == Kind::host_blocks)
      add_port_blocks(batch.changes);
    else if (auto change = change_of(name))
      batch.changes.push_back(std::move(*change));
  }
  changed_ = std::move(later);
  dirty_since_.reset();
  if (batch.changes.empty() && synced_) return;
  synced_ = true;
  publish_(std::move(batch));
}

void ClosureReader::Closure::process(MonoTime now) {
  ClosureInbox::Content content = inbox_->take();
  for (const auto& [name, record] : content.records) {
    const auto key = keys_.find(name);
    if (key != keys_.end()) take_in(*key->second, record);
  }
  let_leave(now);
  ask_more();
  if (content.settled) revision_ = content.revision;
  const bool whole = content.settled && unconfirmed_ == 0;
  if (!synced_ || !changed_.empty() || lost_an_edge_) {
    if (!dirty_since_) dirty_since_ = now;
    if (whole) {
      sweep();
      publish(true);
    } else if (synced_ && now - *dirty_since_ >= delay()) {
      publish(false);
    }
  }
  if (!whole) return;
  resyncing_ = false;
  applied_ = revision_;
}

ClosureReader::ClosureReader(HostId self, Publish publish)
    : closure_(std::make_unique<Closure>(self, std::move(publish))) {}
ClosureReader::ClosureReader(Store& store, HostId self, Publish publish)
    : ClosureReader(self, std::move(publish)) {
  closure_->follow(store);
}
ClosureReader::~ClosureReader() = default;
int ClosureReader::fd() const {
  return closure_->fd();
}
void ClosureReader::process(MonoTime now) {
  closure_->process(now);
}
std::optional<MonoTime> ClosureReader::deadline() const {
  return closure_->deadline();
}
bool ClosureReader::synced() const {
  return closure_->synced();
}
size_t ClosureReader::watched() const {
  return closure_->watched();
}
size_t ClosureReader::unread() const {
  return closure_->unread();
}
size_t ClosureReader::unconfirmed() const {
  return closure_->unconfirmed();
}
Revision ClosureReader::applied() const {
  return closure_->applied();
}
uint64_t ClosureReader::received() const {
  return closure_->received();
}

uint64_t ClosureReader::changes() const {
  return closure_->changes();
}
void ClosureReader::load(std::vector<ClosureRecord> records) {
  closure_->load(std::move(records));
}
void ClosureReader::follow(Store& store) {
  closure_->follow(store);
}
void ClosureReader::each_record(
    const std::function<void(const ClosureKey&, const std::string*, int64_t)>& visit) const {
  closure_->each_record(visit);
}

}  // namespace plexus::store
