// SPDX-License-Identifier: Apache-2.0
// An API that is asked with tokens.
#pragma once

#include <string>
#include <utility>

#include "api/api_fixture.h"

namespace plexus::api {

class AuthTest : public ApiFixture {
 protected:
  Response as(const std::string& token, const std::string& method, const std::string& path,
              const std::string& body = {}, Query query = {}) {
    return ask(
        {.method = method, .path = path, .body = body, .query = std::move(query), .token = token});
  }
  int status(const std::string& token, const std::string& method, const std::string& path,
             const std::string& body = {}) {
    return as(token, method, path, body).status;
  }
};

}  // namespace plexus::api
