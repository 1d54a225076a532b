// SPDX-License-Identifier: Apache-2.0
#include "store/topology/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "packet/addr.h"
#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/claims_check.h"
#include "store/topology/convert.h"
#include "store/topology/index.h"
#include "store/topology/layout.h"
#include "store/topology/port_blocks_check.h"
#include "store/topology/schema.h"
#include "store/topology/validate.h"

namespace plexus::store {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::Message;

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> parts;
  for (size_t start = 1; start <= path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    parts.push_back(path.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

Uuid uuid_of(const std::string& raw) {
  return Uuid::from_bytes(raw).value_or(Uuid{});
}

class Check {
 public:
  explicit Check(std::vector<std::pair<std::string, Record>> records)
      : records_(std::move(records)) {}

  CheckReport run() {
    for (const auto& [path, record] : records_) sort_in(path, record.value);
    for (const auto& [path, object] : objects_) check_object(path, *object);
    check_indexes();
    claims_.run(
        objects_, [this](const Descriptor& type, const Uuid& id) { return find(type, id); },
        report_.problems, report_.remedies);
    check_router_networks();
    check_what_hosts_wrote();
    for (const std::string& text : port_blocks_.problems(
             [this](const Uuid& id) { return find(*v1::Router::descriptor(), id) != nullptr; },
             [this](const Uuid& id) { return find(*v1::Host::descriptor(), id) != nullptr; }))
      problem("{}", text);
    check_log();
    check_usage();
    check_removals();
    check_circles();
    std::sort(report_.problems.begin(), report_.problems.end());
    if (report_.foreign) report_.remedies.clear();
    report_.records = records_.size();
    report_.resources = objects_.size();
    return std::move(report_);
  }

 private:
  /// Who refers to an object, and the facts about each.
  using Listed = std::map<Uuid, v1::RefEntry>;
  struct IndexRecords {
    bool has_head = false;
    uint32_t depth = 0;
    std::map<uint32_t, v1::RefBucket> buckets;
  };

  template <typename... Args>
  void problem(fmt::format_string<Args...> format, Args&&... args) {
    report_.problems.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  template <typename M>
  std::optional<M> parse(const std::string& path, const std::string& value) {
    M message;
    if (message.ParseFromString(value)) return message;
    report_.foreign = true;
    problem("{}: cannot be decoded", path);
    return std::nullopt;
  }

  void sort_in(const std::string& path, const std::string& value) {
    const auto parts = split(path);
    const std::string_view area = parts.size() > 1 ? parts[1] : "";
    if (area == "o" && parts.size() >= 5) return sort_in_object(path, parts, value);
    if (area == "h" && parts.size() == 3) {
      if (auto state = parse<v1::HostState>(path, value)) host_states_[path] = std::move(*state);
      return;
    }
    if (area == "h" && parts.size() == 5 && parts[3] == "p") {
      return sort_in_index(path, "/p1/h/" + std::string(parts[2]) + "/p", parts[4], value);
    }
    if (area == "u" && parts.size() == 5 && parts[2] == "router.networks") {
      if (auto n = parse<v1::RouterNetworks>(path, value)) networks_[path] = std::move(*n);
      return;
    }
    if (area == "u" && parts.size() == 6 && is_claimed(parts[2])) {
      // Whoever else has a part in it we could only leave out.
      if (!claims_.sort_in(path, value, version_of(path))) report_.foreign = true;
      return;
    }
    if (area == "b" && parts.size() == 4) {
      if (auto binding = parse<v1::Binding>(path, value)) bindings_[path] = std::move(*binding);
      return;
    }
    if (area == "n" && parts.size() == 4) {
      if (auto n = parse<v1::NeighbourTable>(path, value)) neighbours_[path] = std::move(*n);
      return;
    }
    if (path == gen_path()) {
      if (!Uuid::parse(value)) problem("{}: holds no id", path);
      return;
    }
    if (area == "k" && parts.size() == 3) {
      if (auto keys = parse<v1::TunnelKeys>(path, value)) next_keys_[path] = keys->next();
      return;
    }
    sort_in_the_rest(path, parts, value);
  }

  void sort_in_the_rest(const std::string& path, const std::vector<std::string_view>& parts,
                        const std::string& value) {
    const std::string_view area = parts.size() > 1 ? parts[1] : "";
    if (path == loading_path()) {
      return problem("{}: a load ({}) was interrupted: run it again", path, value);
    }
    if (path == level_path()) {
      if (value.empty() || value.find_first_not_of("0123456789") != std::string::npos) {
        problem("{}: holds no level", path);
      } else if (std::strtoul(value.c_str(), nullptr, 10) > kSchemaLevel) {
        report_.foreign = true;
      }
      return;
    }
    if (path == barrier_path()) {
      parse<v1::Barrier>(path, value);
      return;
    }
    if (area == "h" && parts.size() == 4 && parts[3] == "live") {
      parse<v1::LiveHost>(path, value);
      return;
    }
    if (area == "w" && parts.size() == 4 && Uuid::parse(parts[2]) && Uuid::parse(parts[3])) return;
    if (path.starts_with(log_path() + "/e") && parts.size() == 4) {
      const auto number =
          static_cast<uint32_t>(std::strtoul(std::string(parts[3].substr(1)).c_str(), nullptr, 10));
      if (sequence_path(log_path(), number) == path) {
        if (auto entry = parse<v1::LogEntry>(path, value)) log_[number] = std::move(*entry);
        return;
      }
    }
    if (area == "q" && parts.size() == 3) {
      if (auto usage = parse<v1::TenantUsage>(path, value)) usages_[path] = std::move(*usage);
      return;
    }
    if (area == "removing" && parts.size() == 3) {
      if (auto removal = parse<v1::Removal>(path, value)) removals_[path] = std::move(*removal);
      return;
    }
    if (port_blocks_.sort_in(path, value)) return;
    unknown(path);
  }

  void unknown(const std::string& path) {
    report_.foreign = true;
    problem("{}: no such record is part of the layout", path);
  }

  void sort_in_object(const std::string& path, const std::vector<std::string_view>& parts,
                      const std::string& value) {
    const Descriptor* type = find_resource_type(parts[2]);
    const auto id = Uuid::parse(parts[4]);
    if (type == nullptr || !id ||
        object_path(parts[2], *id) != path.substr(0, object_path(parts[2], *id).size())) {
      return unknown(path);
    }
    const bool index = std::any_of(
        references_to(*type).begin(), references_to(*type).end(), [&](const ReferenceField& r) {
          return parts.size() == 7 && !r.symmetric && r.index_name() == parts[5];
        });
    if (index) {
      return sort_in_index(path, object_path(parts[2], *id) + "/" + std::string(parts[5]), parts[6],
                           value);
    }
    if (parts.size() != 5) return unknown(path);
    auto message = new_message(*type);
    if (!message->ParseFromString(value)) {
      report_.foreign = true;
      return problem("{}: cannot be decoded", path);
    }
    if (id_of(*message) != *id) problem("{}: holds the id {}", path, id_of(*message).str());
    objects_[path] = std::move(message);
  }

  void sort_in_index(const std::string& path, const std::string& directory, std::string_view last,
                     const std::string& value) {
    auto& index = indexes_[directory];
    if (last == "h") {
      index.has_head = true;
      if (auto head = parse<v1::IndexHead>(path, value)) index.depth = head->depth();
      return;
    }
    auto bucket = parse<v1::RefBucket>(path, value);
    if (!bucket) return;
    const auto number = static_cast<uint32_t>(std::strtoul(std::string(last).c_str(), nullptr, 10));
    if (std::to_string(number) != last) return problem("{}: is no bucket", path);
    index.buckets[number] = std::move(*bucket);
  }

  [[nodiscard]] const Message* find(const Descriptor& type, const Uuid& id) const {
    const auto found = objects_.find(object_path(options_of(type).singular(), id));
    return found == objects_.end() ? nullptr : found->second.get();
  }
  [[nodiscard]] const v1::Port* port(const Uuid& id) const {
    return static_cast<const v1::Port*>(find(*v1::Port::descriptor(), id));
  }

  void check_object(const std::string& path, const Message& object) {
    // Of what a newer schema wrote we can judge the references only.
    if (!fully_known(object)) {
      report_.foreign = true;
    } else {
      if (auto ok = validate_resource(object); !ok.ok())
        problem("{}: {}", path, ok.error().message);
    }
    for (const ReferenceField& reference : references_from(*object.GetDescriptor())) {
      for (const Uuid& target : targets_of(&object, reference)) {
        check_reference(path, object, reference, target);
      }
    }
    if (const auto* route = dynamic_cast<const v1::Route*>(&object)) check_route(path, *route);
  }

  void check_reference(const std::string& path, const Message& object,
                       const ReferenceField& reference, const Uuid& target) {
    const Message* other = find(*reference.target, target);
    if (other == nullptr) {
      problem("{}: {} refers by {} to {}, which does not exist", path, describe(object),
              reference.field->name(), target.str());
    } else if (!reference.symmetric) {
      expected_[index_path(options_of(*reference.target).singular(), target,
                           reference.index_name())][id_of(object)] = facts_of(&object, reference);
    } else if (uuid_field(*other, *reference.field) != id_of(object)) {
      problem("{}: {} refers by {} to {}, but not the other way round", path, describe(object),
              reference.field->name(), describe(*other));
    }
  }

  void check_route(const std::string& path, const v1::Route& route) {
    const v1::Port* out = route.has_port() ? port(uuid_of(route.port())) : nullptr;
    if (out == nullptr) return;
    if (out->router() != route.router()) {
      problem("{}: {} leaves by {} of another device", path, describe(route), describe(*out));
    }
    const auto hop = IpAddr::from_bytes(route.next_hop());
    if (!hop || hop->is_link_local()) return;
    for (const std::string& raw : out->networks()) {
      const auto network = IpPrefix::from_bytes(raw);
      if (network && network->contains(*hop)) return;
    }
    problem("{}: the next hop {} is in no network of {}", path, hop->str(), describe(*out));
  }

  void check_indexes() {
    for (const auto& [directory, index] : indexes_) {
      const auto parts = split(directory);
      const bool of_host = parts[1] == "h";
      const auto id = Uuid::parse(of_host ? parts[2] : parts[4]);
      const Descriptor* type = find_resource_type(of_host ? "host" : parts[2]);
      if (!id || type == nullptr || find(*type, *id) == nullptr) {
        problem("{}: an index of an object that does not exist", directory);
        continue;
      }
      if (!index.has_head) problem("{}: has no head", directory);
      for (uint32_t b = 0; index.depth <= kMaxDepth && b < 1u << index.depth; ++b) {
        if (!index.buckets.contains(b)) problem("{}: bucket {} is missing", directory, b);
      }
      Listed listed;
      for (const auto& [number, bucket] : index.buckets) {
        if (index.depth > kMaxDepth || number >= 1u << index.depth) {
          problem("{}: bucket {} at depth {}", directory, number, index.depth);
          continue;
        }
        std::string last;
        for (const auto& entry : bucket.entries()) {
          const Uuid listed_id = uuid_of(entry.id());
          if (bucket_of(listed_id, index.depth) != number) {
            problem("{}: {} is in bucket {}", directory, listed_id.str(), number);
          }
          if (entry.id() <= last) problem("{}: bucket {} is not sorted", directory, number);
          last = entry.id();
          listed[listed_id] = entry;
        }
      }
      compare(directory, expected_[directory], listed);
      mend_facts(directory, index, expected_[directory]);
    }
    for (const auto& [directory, ids] : expected_) {
      if (!indexes_.contains(directory)) compare(directory, ids, {});
    }
  }

  void compare(const std::string& directory, const Listed& expected, const Listed& listed) {
    for (const auto& [id, facts] : expected) {
      const auto found = listed.find(id);
      if (found == listed.end()) {
        problem("{}: {} is missing", directory, id.str());
      } else if (!same_facts(found->second, facts)) {
        problem("{}: what it says of {} is not so", directory, id.str());
      }
    }
    for (const auto& [id, facts] : listed) {
      if (!expected.contains(id)) problem("{}: {} does not refer to it", directory, id.str());
    }
  }

  /// Facts that an earlier program did not write.
  void mend_facts(const std::string& directory, const IndexRecords& index, const Listed& expected) {
    for (const auto& [number, bucket] : index.buckets) {
      v1::RefBucket mended = bucket;
      for (auto& entry : *mended.mutable_entries()) {
        const auto facts = expected.find(uuid_of(entry.id()));
        if (facts == expected.end() || same_facts(entry, facts->second)) continue;
        *entry.mutable_addresses() = facts->second.addresses();
        entry.clear_chain();
        if (facts->second.has_chain()) entry.set_chain(facts->second.chain());
      }
      const std::string is = mended.SerializeAsString();
      const std::string path = index_bucket_path(directory, number);
      if (is != bucket.SerializeAsString())
        report_.remedies.emplace_back(Set{path, is, version_of(path), {}});
    }
  }

  [[nodiscard]] int64_t version_of(const std::string& path) const {
    const auto found =
        std::lower_bound(records_.begin(), records_.end(), path,
                         [](const auto& record, const std::string& p) { return record.first < p; });
    return found != records_.end() && found->first == path ? found->second.version : 0;
  }

  void check_router_networks() {
    std::map<std::string, std::vector<std::pair<Uuid, IpPrefix>>> expected;
    for (const auto& [path, object] : objects_) {
      const auto* p = dynamic_cast<const v1::Port*>(object.get());
      if (p == nullptr || !p->has_router()) continue;
      for (const std::string& raw : p->networks()) {
        if (const auto network = IpPrefix::from_bytes(raw)) {
          expected[networks_path(uuid_of(p->router()))].emplace_back(id_of(*p), network->network());
        }
      }
    }
    for (auto& [path, wanted] : expected) {
      std::sort(wanted.begin(), wanted.end());
      for (size_t i = 0; i < wanted.size(); ++i) {
        for (size_t j = i + 1; j < wanted.size(); ++j) {
          if (wanted[i].first != wanted[j].first && !wanted[i].second.addr.is_link_local() &&
              wanted[i].second.overlaps(wanted[j].second)) {
            problem("{}: {} overlaps {}", path, wanted[i].second.str(), wanted[j].second.str());
          }
        }
      }
      networks_.try_emplace(path);
    }
    for (const auto& [path, record] : networks_) {
      std::vector<std::pair<Uuid, IpPrefix>> listed;
      for (const auto& entry : record.entries()) {
        listed.emplace_back(uuid_of(entry.port()),
                            IpPrefix::from_bytes(entry.network()).value_or(IpPrefix{}));
      }
      std::sort(listed.begin(), listed.end());
      if (listed != expected[path]) problem("{}: is not what the router's ports have", path);
      const auto router = Uuid::parse(split(path).back());
      if (!router || find(*v1::Router::descriptor(), *router) == nullptr) {
        problem("{}: of a router that does not exist", path);
      }
    }
  }

  void check_what_hosts_wrote() {
    std::map<std::pair<Uuid, uint32_t>, std::string> keys;
    for (const auto& [path, state] : host_states_) {
      const Uuid host = uuid_of(state.id());
      if (host_state_path(host) != path) problem("{}: holds the id {}", path, host.str());
      if (find(*v1::Host::descriptor(), host) == nullptr) {
        problem("{}: of a host that does not exist", path);
      }
      for (const auto& key : state.flood_keys()) take_key(keys, host, key.key(), path);
    }
    for (const auto& [path, binding] : bindings_) {
      const Uuid id = uuid_of(binding.port());
      if (binding_path(id) != path) problem("{}: holds the port {}", path, id.str());
      if (port(id) == nullptr) problem("{}: of a port that does not exist", path);
      // Its host may be gone: nobody can speak for it then, and nobody sends to it.
      if (binding.has_host()) take_key(keys, uuid_of(binding.host()), binding.tunnel_key(), path);
    }
    for (const auto& [path, table] : neighbours_) {
      const auto id = Uuid::parse(split(path).back());
      const v1::Port* owner = id ? port(*id) : nullptr;
      if (owner == nullptr) {
        problem("{}: of a port that does not exist", path);
      } else if (!owner->has_router()) {
        problem("{}: of {}, which is no router's", path, describe(*owner));
      }
    }
  }

  void check_log() {
    if (log_.empty()) return;
    uint32_t expected = log_.begin()->first;
    for (const auto& [number, entry] : log_) {
      const std::string path = sequence_path(log_path(), number);
      if (number != expected) problem("{}: the entry before it is missing", path);
      expected = number + 1;
      if (entry.changes_size() == 0) problem("{}: says of no change", path);
      for (const auto& change : entry.changes()) {
        if (!Uuid::from_bytes(change.id()) || change.type().empty() ||
            change.verb() == v1::LOG_VERB_UNSPECIFIED) {
          problem("{}: does not say what changed", path);
        }
      }
    }
  }

  void check_usage() {
    std::map<std::string, std::map<std::string, uint32_t>> real;
    for (const auto& [path, object] : objects_) {
      const std::string tenant = tenant_of(*object);
      if (tenant.empty()) continue;
      ++real[usage_path(tenant)][options_of(*object->GetDescriptor()).singular()];
      usages_.try_emplace(usage_path(tenant));
    }
    for (const auto& [path, usage] : usages_) {
      auto& counts = real[path];
      std::string last;
      for (const auto& count : usage.counts()) {
        if (count.type() <= last) problem("{}: is not sorted", path);
        last = count.type();
        if (counts[count.type()] != count.count()) {
          problem("{}: counts {} of type {}, but there are {}", path, count.count(), count.type(),
                  counts[count.type()]);
        }
        counts.erase(count.type());
      }
      for (const auto& [type, count] : counts) {
        if (count > 0) problem("{}: counts no {}, but there are {}", path, type, count);
      }
    }
  }

  /// A packet must come out of every chain.
  void check_circles() {
    std::map<std::string, std::set<std::string>> jumps;
    for (const auto& [path, object] : objects_) {
      const auto* rule = dynamic_cast<const v1::Rule*>(object.get());
      if (rule != nullptr && rule->has_jump_chain())
        jumps[rule->chain()].insert(rule->jump_chain());
    }
    // What leads to nothing that is left is in no circle.
    for (bool some = true; some;) {
      some = false;
      for (auto it = jumps.begin(); it != jumps.end();) {
        std::erase_if(it->second, [&](const std::string& next) { return !jumps.contains(next); });
        some |= it->second.empty();
        it = it->second.empty() ? jumps.erase(it) : std::next(it);
      }
    }
    for (const auto& [chain, next] : jumps) {
      problem("{}: its rules lead to a circle of chains", object_path("chain", uuid_of(chain)));
    }
  }

  void check_removals() {
    std::set<const Message*> going;
    for (const auto& [path, removal] : removals_) {
      const Uuid id = uuid_of(removal.id());
      const Descriptor* type = find_resource_type(removal.type());
      const Message* object = type != nullptr ? find(*type, id) : nullptr;
      if (removing_path(id) != path) problem("{}: holds the id {}", path, id.str());
      if (object == nullptr) {
        problem("{}: of an object that does not exist", path);
      } else if (!is_deleting(*object)) {
        problem("{}: {} is not being removed", path, describe(*object));
      }
      going.insert(object);
    }
    for (const auto& [path, object] : objects_) {
      if (is_deleting(*object) && !going.contains(object.get())) {
        problem("{}: {} is being removed, but nobody will go on with it", path, describe(*object));
      }
    }
  }

  void take_key(std::map<std::pair<Uuid, uint32_t>, std::string>& keys, const Uuid& host,
                uint32_t key, const std::string& path) {
    if (key == 0 || key >= next_keys_[tunnel_keys_path(host)]) {
      problem("{}: tunnel key {} of host {} was never given out", path, key, host.str());
    }
    const auto [other, fresh] = keys.emplace(std::pair(host, key), path);
    if (!fresh) problem("{}: tunnel key {} is also that of {}", path, key, other->second);
  }

  const std::vector<std::pair<std::string, Record>> records_;
  CheckReport report_;
  std::map<std::string, std::unique_ptr<Message>> objects_;
  std::map<std::string, IndexRecords> indexes_;
  std::map<std::string, Listed> expected_;
  ClaimsCheck claims_;
  std::map<std::string, v1::RouterNetworks> networks_;
  std::map<std::string, v1::HostState> host_states_;
  std::map<std::string, uint32_t> next_keys_;
  std::map<std::string, v1::Binding> bindings_;
  std::map<std::string, v1::NeighbourTable> neighbours_;
  std::map<uint32_t, v1::LogEntry> log_;
  std::map<std::string, v1::TenantUsage> usages_;
  std::map<std::string, v1::Removal> removals_;
  PortBlocksCheck port_blocks_;
};

}  // namespace

Result<CheckReport> check_store(Store& store) {
  auto records = store.scan(kRoot);
  if (!records.ok()) return records.error();
  return Check(std::move(*records)).run();
}

}  // namespace plexus::store
