// SPDX-License-Identifier: Apache-2.0
#include "store/zookeeper/access_lists.h"

#include <openssl/evp.h>

#include <array>

#include "base/check.h"

namespace plexus::store {
namespace {

const int32_t kRead = 1, kWrite = 2, kCreate = 4, kDelete = 8, kAdmin = 16;
const int32_t kUse = kRead | kWrite | kCreate | kDelete;
const int32_t kAll = kUse | kAdmin;

/// What the server keeps of a name and its secret: the name and a hash of both.
std::string digest_id(const std::string& name, const std::string& secret) {
  const std::string text = name + ":" + secret;
  std::array<uint8_t, EVP_MAX_MD_SIZE> hash{};
  unsigned size = 0;
  const int done = EVP_Digest(text.data(), text.size(), hash.data(), &size, EVP_sha1(), nullptr);
  PLEXUS_CHECK(done == 1 && size == 20, "SHA-1 needs nothing that can be missing");
  std::array<uint8_t, 64> base64{};
  EVP_EncodeBlock(base64.data(), hash.data(), static_cast<int>(size));
  return name + ":" + reinterpret_cast<const char*>(base64.data());
}

}  // namespace

AccessLists::AccessLists(std::optional<Identity> identity) : identity_(std::move(identity)) {
  open_ = std::make_shared<const Acl>(Acl{{kAll, "world", "anyone"}});
  if (!identity_) {
    plain_ = directory_ = beacons_ = own_ = open_;
    return;
  }
  hosts_ = digest_id("hosts", identity_->shared);
  me_ = digest_id(identity_->name(), identity_->secret);
  if (identity_->role == Identity::Role::api) api_ = me_;
  const int32_t mine = api_.empty() ? kUse : kAll;
  plain_ = std::make_shared<const Acl>(Acl{{mine, "digest", me_}, {kRead, "digest", hosts_}});
  directory_ = plain_;
  beacons_ =
      std::make_shared<const Acl>(Acl{{mine, "digest", me_}, {kRead | kCreate, "digest", hosts_}});
  own_ = std::make_shared<const Acl>(Acl{{kAll, "digest", me_}});
}

std::optional<std::string> AccessLists::host_id(HostId host) {
  if (identity_->role == Identity::Role::host) {
    // It cannot know another host's.
    return host == identity_->host ? std::optional(me_) : std::nullopt;
  }
  std::lock_guard lock(mutex_);
  std::string& id = host_ids_[host];
  if (id.empty()) id = digest_id(host_name(host), host_secret(*identity_, host));
  return id;
}

std::shared_ptr<const Acl> AccessLists::of(const Access& access) {
  if (!enforced() || access == Access{}) return plain_;
  Acl acl;
  if (api_.empty()) {
    acl.push_back({kUse, "digest", me_});
  } else {
    acl.push_back({kAll, "digest", api_});
  }
  if (access.any_host) {
    acl.push_back({kUse, "digest", hosts_});
  } else if (!access.secret) {
    acl.push_back({kRead, "digest", hosts_});
  }
  for (const HostId& host : access.hosts) {
    if (host.is_nil()) continue;
    if (auto id = host_id(host); id && *id != acl.front().id) {
      acl.push_back({kUse, "digest", *id});
    }
  }
  return std::make_shared<const Acl>(std::move(acl));
}

std::vector<Session::Credential> AccessLists::credentials() const {
  if (!identity_) return {};
  return {{identity_->name(), identity_->secret}, {"hosts", identity_->shared}};
}

std::string AccessLists::who() const {
  return identity_ ? "the identity " + identity_->name()
                   : "a process without identity (--identity FILE)";
}

}  // namespace plexus::store
