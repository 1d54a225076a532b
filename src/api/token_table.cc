// SPDX-License-Identifier: Apache-2.0
#include "api/token_table.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <sys/random.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "plexus/v1/resources.pb.h"
#include "store/topology/writer.h"

namespace plexus::api {
namespace {

constexpr std::string_view kPrefix = "plx_";
constexpr size_t kSecretBytes = 32, kSecretText = 4 + 43;
/// Unknown secrets make us read the tokens again at most this often.
constexpr double kLooks = 40, kLooksPerSecond = 20;

std::string base64url(std::string_view bytes) {
  static constexpr char kAlphabet[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string out;
  uint32_t bits = 0;
  int have = 0;
  for (const char c : bytes) {
    bits = (bits << 8) | static_cast<uint8_t>(c);
    have += 8;
    while (have >= 6) {
      have -= 6;
      out += kAlphabet[(bits >> have) & 63];
    }
  }
  if (have > 0) out += kAlphabet[(bits << (6 - have)) & 63];
  return out;
}

}  // namespace

std::string sha256(std::string_view text) {
  std::string out(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
         reinterpret_cast<unsigned char*>(out.data()));
  return out;
}

Secret make_secret() {
  std::array<char, kSecretBytes> random{};
  PLEXUS_CHECK(::getrandom(random.data(), random.size(), 0) == ssize_t{random.size()},
               "the kernel gives no random numbers");
  Secret secret;
  secret.text = std::string(kPrefix) + base64url({random.data(), random.size()});
  secret.sha256 = sha256(secret.text);
  OPENSSL_cleanse(random.data(), random.size());
  return secret;
}

Result<void> TokenTable::reload() {
  const std::lock_guard one_at_a_time(reloading_);
  auto all = store::TopologyWriter(store_).list(*v1::Token::descriptor());
  if (!all) return all.error();
  std::unordered_map<std::string, Entry> by_hash;
  std::unordered_map<Uuid, std::string> hash_of;
  for (const store::StoredResource& stored : *all) {
    const auto& token = static_cast<const v1::Token&>(*stored.message);
    const auto id = Uuid::from_bytes(token.id());
    if (!id || token.sha256().size() != SHA256_DIGEST_LENGTH || token.deleting()) continue;
    Entry entry;
    entry.sha256 = token.sha256();
    entry.caller.who = "token " + token.name();
    entry.caller.token = *id;
    entry.caller.tenant = token.tenant();
    if (token.has_expires()) entry.expires = token.expires();
    // What is not understood gives no right: a role of a newer schema, a tenant's token without tenant.
    if (token.role() == v1::ADMIN) {
      entry.caller.role = Caller::Role::admin;
      entry.caller.tenant.clear();
    } else if (token.role() == v1::TENANT && !token.tenant().empty()) {
      entry.caller.role = Caller::Role::tenant;
    } else if (token.role() == v1::READER) {
      entry.caller.role = Caller::Role::reader;
    } else {
      continue;
    }
    hash_of.emplace(*id, entry.sha256);
    by_hash.emplace(entry.sha256, std::move(entry));
  }
  const std::lock_guard lock(mutex_);
  by_hash_.swap(by_hash);
  hash_of_.swap(hash_of);
  return Ok{};
}

std::optional<TokenTable::Entry> TokenTable::known(const std::string& hash) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_hash_.find(hash);
  if (found == by_hash_.end() ||
      CRYPTO_memcmp(found->second.sha256.data(), hash.data(), hash.size()) != 0) {
    return std::nullopt;
  }
  return found->second;
}

bool TokenTable::may_look_again() {
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  looks_ = std::min(
      kLooks, looks_ + kLooksPerSecond * std::chrono::duration<double>(now - last_look_).count());
  last_look_ = now;
  if (looks_ < 1) return false;
  looks_ -= 1;
  return true;
}

Result<std::optional<Caller>> TokenTable::find(std::string_view secret, int64_t unix_seconds) {
  if (secret.size() != kSecretText || secret.substr(0, kPrefix.size()) != kPrefix)
    return std::optional<Caller>();
  const std::string hash = sha256(secret);
  auto entry = known(hash);
  if (!entry && may_look_again()) {
    if (auto done = reload(); !done) return done.error();
    entry = known(hash);
  }
  if (!entry || !entry->good(unix_seconds)) return std::optional<Caller>();
  return std::optional<Caller>(std::move(entry->caller));
}

bool TokenTable::good(const Uuid& token, int64_t unix_seconds) const {
  const std::lock_guard lock(mutex_);
  const auto hash = hash_of_.find(token);
  if (hash == hash_of_.end()) return false;
  const auto entry = by_hash_.find(hash->second);
  return entry != by_hash_.end() && entry->second.good(unix_seconds);
}

size_t TokenTable::size() const {
  const std::lock_guard lock(mutex_);
  return by_hash_.size();
}

bool FailureLimit::note(const std::string& source, std::chrono::steady_clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (buckets_.size() >= kSources && !buckets_.contains(source)) buckets_.clear();
  Bucket& bucket = buckets_.try_emplace(source, Bucket{kBurst, now}).first->second;
  bucket.left = std::min(
      kBurst, bucket.left + kPerSecond * std::chrono::duration<double>(now - bucket.at).count());
  bucket.at = now;
  if (bucket.left < 1) return false;
  bucket.left -= 1;
  return true;
}

}  // namespace plexus::api
