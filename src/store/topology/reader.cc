// SPDX-License-Identifier: Apache-2.0
#include "store/topology/reader.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "base/check.h"
#include "base/log.h"
#include "base/unique_fd.h"
#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/convert.h"
#include "store/topology/index.h"
#include "store/topology/layout.h"

namespace plexus::store {
namespace {

enum class Kind : uint8_t {
  host,
  host_state,
  bridge,
  router,
  port,
  route,
  binding,
  neighbours,
  head,
  bucket
};
/// The indexes that a closure follows. `none` for keys that are not part of one.
enum class Index : uint8_t { none, wanted_ports, bridge_ports, router_ports, router_routes };

/// Names one key of the store.
struct Name {
  Kind kind = Kind::host;
  Index index = Index::none;
  uint32_t bucket = 0;
  Uuid id;
  bool operator==(const Name&) const = default;
};
struct NameHash {
  size_t operator()(const Name& name) const {
    return std::hash<Uuid>{}(name.id) ^ (static_cast<size_t>(name.kind) * 0x9e3779b97f4a7c15ULL +
                                         static_cast<size_t>(name.index) * 0xff51afd7ed558ccdULL +
                                         name.bucket * 0xc4ceb9fe1a85ec53ULL);
  }
};

std::string index_directory(const Name& name) {
  switch (name.index) {
    case Index::wanted_ports:
      return index_path("host", name.id, "port.host");
    case Index::bridge_ports:
      return index_path("bridge", name.id, "port.bridge");
    case Index::router_ports:
      return index_path("router", name.id, "port.router");
    case Index::router_routes:
      return index_path("router", name.id, "route.router");
    case Index::none:
      break;
  }
  PLEXUS_CHECK(false, "a key of no index");
}

std::string path_of(const Name& name) {
  switch (name.kind) {
    case Kind::host:
      return object_path("host", name.id);
    case Kind::host_state:
      return host_state_path(name.id);
    case Kind::bridge:
      return object_path("bridge", name.id);
    case Kind::router:
      return object_path("router", name.id);
    case Kind::port:
      return object_path("port", name.id);
    case Kind::route:
      return object_path("route", name.id);
    case Kind::binding:
      return binding_path(name.id);
    case Kind::neighbours:
      return neighbours_path(name.id);
    case Kind::head:
      return index_head_path(index_directory(name));
    case Kind::bucket:
      return index_bucket_path(index_directory(name), name.bucket);
  }
  PLEXUS_CHECK(false, "a key of no kind");
}

/// Which object of the model a key is part of; the kind is that of its main record. nullopt: none.
struct ModelName {
  Kind kind = Kind::host;
  Uuid id;
  bool operator==(const ModelName&) const = default;
};
struct ModelNameHash {
  size_t operator()(const ModelName& name) const {
    return std::hash<Uuid>{}(name.id) ^ (static_cast<size_t>(name.kind) * 0x9e3779b97f4a7c15ULL);
  }
};

std::optional<ModelName> model_of(const Name& name) {
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
        case Index::wanted_ports:
        case Index::none:
          return std::nullopt;
      }
      return std::nullopt;
    default:
      return ModelName{name.kind, name.id};
  }
}

/// What the store's thread leaves for the reader: the latest record of each key, and whether the
/// store has said all.
class Inbox {
 public:
  Inbox() : event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    PLEXUS_CHECK(event_.valid(), "eventfd for the closure reader");
  }
  [[nodiscard]] int fd() const { return event_.get(); }

  void put(const Name& name, const std::optional<Record>& record) {
    std::lock_guard lock(mutex_);
    records_[name] = record;
    settled_ = false;
    ring();
  }
  void settle(Revision revision) {
    std::lock_guard lock(mutex_);
    settled_ = true;
    revision_ = revision;
    ring();
  }
  void forget(const Name& name) {
    std::lock_guard lock(mutex_);
    records_.erase(name);
  }

  struct Content {
    std::unordered_map<Name, std::optional<Record>, NameHash> records;
    bool settled = false;  ///< nothing more was to come when this was taken
    Revision revision;
  };
  Content take() {
    std::lock_guard lock(mutex_);
    uint64_t count = 0;
    [[maybe_unused]] auto n = ::read(event_.get(), &count, sizeof count);
    rung_ = false;
    Content content{std::move(records_), settled_, revision_};
    records_.clear();
    return content;
  }

 private:
  void ring() {
    if (rung_) return;
    rung_ = true;
    const uint64_t one = 1;
    [[maybe_unused]] auto n = ::write(event_.get(), &one, sizeof one);
  }
  UniqueFd event_;
  std::mutex mutex_;
  std::unordered_map<Name, std::optional<Record>, NameHash> records_;
  bool settled_ = false;
  bool rung_ = false;
  Revision revision_;
};

Uuid uuid_of(const std::string& raw) {
  return Uuid::from_bytes(raw).value_or(Uuid{});
}

}  // namespace

class ClosureReader::Closure {
 public:
  Closure(Store& store, HostId self, Publish publish)
      : store_(store),
        self_(self),
        publish_(std::move(publish)),
        inbox_(std::make_shared<Inbox>()) {
    roots_ = {ensure({Kind::host, Index::none, 0, self.uuid}),
              ensure({Kind::host_state, Index::none, 0, self.uuid}),
              ensure({Kind::head, Index::wanted_ports, 0, self.uuid}),
              ensure({Kind::bucket, Index::wanted_ports, 0, self.uuid})};
    settled_ =
        store.watch_settled([inbox = inbox_](Revision revision) { inbox->settle(revision); });
  }

  [[nodiscard]] int fd() const { return inbox_->fd(); }
  void process(MonoTime now);
  [[nodiscard]] std::optional<MonoTime> deadline() const {
    if (!synced_ || !dirty_since_) return std::nullopt;
    return *dirty_since_ + kMaxDelay;
  }
  [[nodiscard]] bool synced() const { return synced_; }
  [[nodiscard]] size_t watched() const { return keys_.size(); }
  [[nodiscard]] size_t unread() const { return unread_; }

 private:
  /// One key of the store that the closure contains.
  struct Key {
    Name name;
    bool read = false;
    uint64_t mark = 0;  ///< the last walk that came here
    std::optional<std::string> value;
    std::vector<Key*> leads_to;
    std::unique_ptr<Watch> watch;
  };

  Key* ensure(const Name& name);
  void take_in(Key& key, const std::optional<Record>& record);
  [[nodiscard]] std::vector<Name> follow(const Key& key) const;
  void sweep();
  void publish(bool consistent);
  [[nodiscard]] std::optional<model::Change> change_of(const ModelName& name);
  [[nodiscard]] const Key* find(Kind kind, const Uuid& id) const;
  /// The ids that an index of `id` lists, sorted.
  template <typename IdType>
  std::vector<IdType> listed(Index index, const Uuid& id) const;
  /// A record as a message, and whether it could be decoded.
  template <typename M>
  static std::pair<M, bool> decode(const Key& key);

  Store& store_;
  const HostId self_;
  const Publish publish_;
  std::shared_ptr<Inbox> inbox_;
  std::unordered_map<Name, std::unique_ptr<Key>, NameHash> keys_;
  std::vector<Key*> roots_;
  std::unique_ptr<Watch> settled_;
  std::unordered_set<ModelName, ModelNameHash> changed_;
  std::unordered_set<ModelName, ModelNameHash> published_;
  size_t unread_ = 0;
  uint64_t walks_ = 0;
  bool lost_an_edge_ = false;
  bool synced_ = false;
  Revision revision_;
  std::optional<MonoTime> dirty_since_;
};

ClosureReader::Closure::Key* ClosureReader::Closure::ensure(const Name& name) {
  auto& slot = keys_[name];
  if (slot) return slot.get();
  slot = std::make_unique<Key>();
  slot->name = name;
  ++unread_;
  slot->watch = store_.watch(path_of(name), [inbox = inbox_, name](const WatchEvent& event) {
    inbox->put(name, event.record);
  });
  return slot.get();
}

template <typename M>
std::pair<M, bool> ClosureReader::Closure::decode(const Key& key) {
  std::pair<M, bool> result;
  result.second = key.value && result.first.ParseFromString(*key.value);
  if (key.value && !result.second) {
    log_error("store", "the record {} is damaged: it cannot be decoded", path_of(key.name));
    result.first.Clear();
  }
  return result;
}

std::vector<Name> ClosureReader::Closure::follow(const Key& key) const {
  std::vector<Name> next;
  const Uuid& id = key.name.id;
  const auto add = [&](Kind kind, const Uuid& to, Index index = Index::none, uint32_t bucket = 0) {
    if (!to.is_nil()) next.push_back({kind, index, bucket, to});
  };
  // Most indexes have one bucket: its number needs no waiting for the head.
  const auto add_index = [&](Index index) {
    add(Kind::head, id, index);
    add(Kind::bucket, id, index, 0);
  };
  if (key.name.kind == Kind::head) {
    const uint32_t depth = decode<v1::IndexHead>(key).first.depth();
    for (uint32_t b = 0; b < 1u << std::min(depth, kMaxDepth); ++b) {
      add(Kind::bucket, id, key.name.index, b);
    }
    return next;
  }
  if (!key.value) return next;
  switch (key.name.kind) {
    case Kind::bridge:
      add_index(Index::bridge_ports);
      break;
    case Kind::router:
      add_index(Index::router_ports);
      add_index(Index::router_routes);
      break;
    case Kind::port: {
      const auto port = decode<v1::Port>(key).first;
      add(Kind::bridge, uuid_of(port.bridge()));
      add(Kind::router, uuid_of(port.router()));
      add(Kind::port, uuid_of(port.peer()));
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
      const Kind listed = key.name.index == Index::router_routes ? Kind::route : Kind::port;
      const auto bucket = decode<v1::RefBucket>(key).first;
      for (const auto& entry : bucket.entries()) add(listed, uuid_of(entry.id()));
      break;
    }
    default:
      break;
  }
  return next;
}

void ClosureReader::Closure::take_in(Key& key, const std::optional<Record>& record) {
  const bool first = !key.read;
  if (first) {
    key.read = true;
    --unread_;
  }
  if (!first && record.has_value() == key.value.has_value() &&
      (!record || record->value == *key.value)) {
    return;
  }
  if (record) {
    key.value = record->value;
  } else {
    key.value.reset();
  }
  if (const auto name = model_of(key.name)) changed_.insert(*name);
  std::vector<Key*> leads_to;
  for (const Name& name : follow(key)) leads_to.push_back(ensure(name));
  std::sort(leads_to.begin(), leads_to.end());
  if (!std::includes(leads_to.begin(), leads_to.end(), key.leads_to.begin(), key.leads_to.end())) {
    lost_an_edge_ = true;
  }
  key.leads_to = std::move(leads_to);
}

void ClosureReader::Closure::sweep() {
  if (!lost_an_edge_) return;
  lost_an_edge_ = false;
  ++walks_;
  std::vector<Key*> open = roots_;
  for (Key* key : open) key->mark = walks_;
  while (!open.empty()) {
    const Key* key = open.back();
    open.pop_back();
    for (Key* next : key->leads_to) {
      if (next->mark == walks_) continue;
      next->mark = walks_;
      open.push_back(next);
    }
  }
  for (auto it = keys_.begin(); it != keys_.end();) {
    Key& key = *it->second;
    if (key.mark == walks_) {
      ++it;
      continue;
    }
    if (!key.read) --unread_;
    if (const auto name = model_of(key.name)) changed_.insert(*name);
    // First no more reports, then forget the one that may be waiting.
    key.watch.reset();
    inbox_->forget(key.name);
    it = keys_.erase(it);
  }
}

const ClosureReader::Closure::Key* ClosureReader::Closure::find(Kind kind, const Uuid& id) const {
  const auto found = keys_.find({kind, Index::none, 0, id});
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
  const Key* key = find(name.kind, name.id);
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
        const Key* host = find(Kind::host, name.id);
        change.now = to_model(decode<v1::HostState>(*key).first,
                              host != nullptr ? decode<v1::Host>(*host).first.name() : "");
        change.now->id = change.id;
      }
      return change;
    }
    default:
      return std::nullopt;
  }
}

void ClosureReader::Closure::publish(bool consistent) {
  ClosureBatch batch;
  batch.consistent = consistent;
  batch.revision = revision_;
  for (const ModelName& name : changed_) {
    if (auto change = change_of(name)) batch.changes.push_back(std::move(*change));
  }
  changed_.clear();
  dirty_since_.reset();
  if (batch.changes.empty() && synced_) return;
  synced_ = true;
  publish_(std::move(batch));
}

void ClosureReader::Closure::process(MonoTime now) {
  Inbox::Content content = inbox_->take();
  for (const auto& [name, record] : content.records) {
    const auto key = keys_.find(name);
    if (key != keys_.end()) take_in(*key->second, record);
  }
  if (content.settled) revision_ = content.revision;
  if (synced_ && changed_.empty() && !lost_an_edge_) return;
  if (!dirty_since_) dirty_since_ = now;
  if (content.settled && unread_ == 0) {
    sweep();
    publish(true);
  } else if (synced_ && now - *dirty_since_ >= kMaxDelay) {
    publish(false);
  }
}

ClosureReader::ClosureReader(Store& store, HostId self, Publish publish)
    : closure_(std::make_unique<Closure>(store, self, std::move(publish))) {}
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

}  // namespace plexus::store
