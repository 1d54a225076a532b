// SPDX-License-Identifier: Apache-2.0
#include "store/identity.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace plexus::store {
namespace {

constexpr size_t kLeastSecret = 32, kMostSecret = 200;
// What the derivation is for: another use of the same secret must have another text.
constexpr std::string_view kHosts = "hosts", kHost = "host:";

std::string base64url(const uint8_t* bytes, size_t size) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (size_t i = 0; i < size; ++i) {
    bits = (bits << 8) | bytes[i];
    for (count += 8; count >= 6; count -= 6) out += kDigits[(bits >> (count - 6)) & 63];
  }
  if (count > 0) out += kDigits[(bits << (6 - count)) & 63];
  return out;
}

std::string derive(std::string_view secret, std::string_view purpose) {
  std::array<uint8_t, EVP_MAX_MD_SIZE> out{};
  unsigned size = 0;
  const auto* done =
      HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
           reinterpret_cast<const uint8_t*>(purpose.data()), purpose.size(), out.data(), &size);
  PLEXUS_CHECK(done != nullptr && size == 32, "HMAC-SHA256 needs nothing that can be missing");
  return base64url(out.data(), size);
}

Error bad(std::string_view why) {
  return {ErrorCode::invalid, "the identity is not valid: " + std::string(why) +
                                  "; want one line 'api:SECRET' or 'host:UUID:SECRET:SHARED'"};
}

Result<void> check_secret(std::string_view what, std::string_view secret) {
  const bool plain = std::all_of(secret.begin(), secret.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
  if (!plain) return bad(std::string(what) + " may hold only A-Z, a-z, 0-9, '_' and '-'");
  if (secret.size() < kLeastSecret || secret.size() > kMostSecret) {
    return bad(std::string(what) + " has " + std::to_string(secret.size()) + " characters, not " +
               std::to_string(kLeastSecret) + " to " + std::to_string(kMostSecret));
  }
  return Ok{};
}

}  // namespace

std::string host_name(HostId host) {
  return "h-" + host.str();
}

std::string Identity::name() const {
  return role == Role::api ? "api" : host_name(host);
}

std::string host_secret(const Identity& api, HostId host) {
  return derive(api.secret, std::string(kHost) + host.str());
}

Result<Identity> parse_identity(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) {
    text.remove_suffix(1);
  }
  if (text.find('\n') != std::string_view::npos) return bad("it has more than one line");
  Identity identity;
  if (text.starts_with("api:")) {
    identity.secret = text.substr(4);
    if (auto ok = check_secret("the secret", identity.secret); !ok.ok()) return ok.error();
    identity.shared = derive(identity.secret, kHosts);
    return identity;
  }
  if (!text.starts_with("host:")) return bad("it begins neither with 'api:' nor with 'host:'");
  identity.role = Identity::Role::host;
  text.remove_prefix(5);
  const size_t first = text.find(':');
  const size_t second = first == std::string_view::npos ? first : text.find(':', first + 1);
  if (second == std::string_view::npos) return bad("a host's has three parts after 'host:'");
  const auto host = Uuid::parse(text.substr(0, first));
  if (!host) return bad("the part after 'host:' is no UUID");
  identity.host = HostId{*host};
  identity.secret = text.substr(first + 1, second - first - 1);
  identity.shared = text.substr(second + 1);
  if (auto ok = check_secret("the host's secret", identity.secret); !ok.ok()) return ok.error();
  if (auto ok = check_secret("the hosts' shared secret", identity.shared); !ok.ok()) {
    return ok.error();
  }
  return identity;
}

Result<std::string> host_identity(std::string_view api_identity_text, HostId host) {
  auto api = parse_identity(api_identity_text);
  if (!api.ok()) return api.error();
  if (api->role != Identity::Role::api) {
    return bad("only an API server's identity makes those of hosts");
  }
  return "host:" + host.str() + ":" + host_secret(*api, host) + ":" + api->shared;
}

}  // namespace plexus::store
