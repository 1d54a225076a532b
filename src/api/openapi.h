// SPDX-License-Identifier: Apache-2.0
// The OpenAPI 3.1 document of the API, made from the descriptors of the resources. Pure.
#pragma once

#include <string>

namespace plexus::api {

/// JSON; the same at each call.
[[nodiscard]] const std::string& openapi_document();

}  // namespace plexus::api
