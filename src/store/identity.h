// SPDX-License-Identifier: Apache-2.0
// Identities: who a process is to a store that asks (zookeeper). The text of an identity file is one
// line:
//   api:SECRET                         an API server: may do everything
//   host:<uuid>:SECRET:SHARED          one host: reads what is not secret, writes its own records
// An API server's SECRET is chosen by the operator: 32 to 200 characters of A-Z a-z 0-9 _ -. A host's
// two are derived from it by HMAC-SHA256, so that API servers can make and check them without storing
// any: SECRET proves that it is this host, SHARED that it is one of the hosts.
//
// No error message and no log line holds a secret. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"

namespace plexus::store {

struct Identity {
  enum class Role : uint8_t { api, host };
  Role role = Role::api;
  HostId host;  ///< of a host
  std::string secret;
  std::string shared;  ///< what proves to be one of the hosts; the API has it, too

  /// "api" or "h-<uuid>": how the store calls it.
  [[nodiscard]] std::string name() const;
};

/// invalid: what is wrong with the text, without quoting it.
Result<Identity> parse_identity(std::string_view text);

/// The text of a host's identity file. invalid: the text given is not an API server's.
Result<std::string> host_identity(std::string_view api_identity_text, HostId host);

/// Of an API server's identity: the secret of a host.
[[nodiscard]] std::string host_secret(const Identity& api, HostId host);
[[nodiscard]] std::string host_name(HostId host);

}  // namespace plexus::store
