// SPDX-License-Identifier: Apache-2.0
#include "store/topology/layout.h"

#include <fmt/format.h>

namespace plexus::store {
namespace {

// Spreads the children of a directory: none has more than 1/256 of all.
std::string two_digits(uint8_t byte) {
  return fmt::format("{:02x}", byte);
}

std::string spread(std::string_view directory, const Uuid& id) {
  return fmt::format("{}/{}/{}", directory, two_digits(id.bytes[0]), id.str());
}

uint8_t short_hash(std::string_view text) {
  uint32_t h = 2166136261u;
  for (const char c : text) h = (h ^ static_cast<uint8_t>(c)) * 16777619u;
  return static_cast<uint8_t>(h ^ (h >> 8) ^ (h >> 16) ^ (h >> 24));
}

std::string escaped(std::string_view value) {
  std::string out;
  for (const char c : value) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == ':' || (c == '.' && !out.empty());
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02x}", static_cast<uint8_t>(c));
    }
  }
  return out;
}

}  // namespace

std::string gen_path() {
  return "/p1/gen";
}

std::string objects_path(std::string_view type) {
  return fmt::format("/p1/o/{}", type);
}

std::string object_path(std::string_view type, const Uuid& id) {
  return spread(objects_path(type), id);
}

std::string index_path(std::string_view type, const Uuid& id, std::string_view index) {
  // Beside what the host writes about itself, so that an agent's first read finds both.
  if (type == "host" && index == "port.host") return host_state_path(id) + "/p";
  return fmt::format("{}/{}", object_path(type, id), index);
}

std::string index_head_path(std::string_view index_path) {
  return fmt::format("{}/h", index_path);
}

std::string index_bucket_path(std::string_view index_path, uint32_t bucket) {
  return fmt::format("{}/{}", index_path, bucket);
}

std::string claim_path(std::string_view what, std::string_view scope, std::string_view value) {
  const std::string text = escaped(value);
  return fmt::format("/p1/u/{}/{}/{}/{}", what, scope.empty() ? "_" : scope,
                     two_digits(short_hash(text)), text);
}

std::string networks_path(const Uuid& router) {
  return spread("/p1/u/router.networks", router);
}
std::string host_state_path(const Uuid& host) {
  return "/p1/h/" + host.str();
}
std::string tunnel_keys_path(const Uuid& host) {
  return "/p1/k/" + host.str();
}
std::string binding_path(const Uuid& port) {
  return spread("/p1/b", port);
}
std::string neighbours_path(const Uuid& port) {
  return spread("/p1/n", port);
}
std::string leased_addresses_path(const Uuid& router) {
  return spread("/p1/s", router);
}
std::string port_block_part_path(const Uuid& router, std::string_view address, unsigned part) {
  return fmt::format("{}/{}-{}", leased_addresses_path(router), address, part);
}
std::string host_blocks_path(const Uuid& host) {
  return "/p1/c/" + host.str();
}
std::string live_path(const Uuid& host) {
  return host_state_path(host) + "/live";
}
std::string log_path() {
  return "/p1/log/0";
}
std::string usage_path(std::string_view tenant) {
  return fmt::format("/p1/q/{}", tenant);
}
std::string barrier_path() {
  return "/p1/barrier";
}
std::string barrier_answers_path(const Uuid& barrier) {
  return "/p1/w/" + barrier.str();
}
std::string removing_path(const Uuid& id) {
  return removals_path() + "/" + id.str();
}
std::string removals_path() {
  return "/p1/removing";
}
std::string level_path() {
  return "/p1/level";
}
std::string loading_path() {
  return "/p1/loading";
}

bool is_passing(std::string_view path) {
  return path == barrier_path() || path.starts_with("/p1/w/") ||
         (path.starts_with("/p1/h/") && path.ends_with("/live"));
}

Access access_of(std::string_view path) {
  Access access;
  const auto below = [&](std::string_view directory) {
    return path.substr(0, directory.size()) == directory;
  };
  access.secret = below("/p1/o/token/") || below("/p1/log/") || below("/p1/q/");
  // Who takes over a block of a host that is gone takes it from that host's list, too.
  access.any_host = below("/p1/n/") || below("/p1/w/") || below("/p1/s/") || below("/p1/c/");
  // "/p1/h/<host>" and "/p1/k/<host>", not what the API keeps below them.
  constexpr size_t kPrefix = 6, kId = 36;
  if ((below("/p1/h/") || below("/p1/k/")) && path.size() == kPrefix + kId) {
    if (const auto host = Uuid::parse(path.substr(kPrefix))) access.hosts.push_back(HostId{*host});
  }
  return access;
}

Error being_loaded() {
  return {ErrorCode::unavailable,
          "a dump is being loaded into this store; try again when plexus-store load is done (if it "
          "was interrupted, run it again)"};
}

Result<Uuid> store_life(Store& store) {
  for (int tries = 0;; ++tries) {
    auto record = store.get(gen_path());
    if (!record.ok()) return record.error();
    if (*record) {
      if (auto id = Uuid::parse((*record)->value)) return *id;
      return Error{ErrorCode::internal, "the record /p1/gen is damaged: it holds no id"};
    }
    const Uuid id = Uuid::random();
    auto done = store.transact({Create{gen_path(), id.str()}});
    if (done.ok()) return id;
    if (done.error().code != ErrorCode::exists || tries > 3) return done.error();
  }
}

}  // namespace plexus::store
