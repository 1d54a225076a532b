// SPDX-License-Identifier: Apache-2.0
// open_store(): which provider an address means. Here, and not beside the seam, because it is the
// one place that knows them all.
#include "store/embedded/embedded_store.h"
#include "store/store.h"
#include "store/zookeeper/zookeeper_store.h"

namespace plexus::store {

Result<std::unique_ptr<Store>> open_store(std::string_view address, const OpenOptions& options) {
  const size_t colon = address.find(':');
  const std::string_view scheme = address.substr(0, colon);
  const std::string_view rest =
      colon == std::string_view::npos ? std::string_view() : address.substr(colon + 1);
  if (colon != std::string_view::npos && scheme == "embedded") {
    if (rest.empty()) {
      return Error{ErrorCode::invalid,
                   "store address 'embedded:' names no directory: embedded:/var/lib/plexus/store"};
    }
    return EmbeddedStore::open(std::string(rest), {.create = options.create});
  }
  if (colon != std::string_view::npos && scheme == "zookeeper") {
    return ZookeeperStore::open(rest, options);
  }
  return Error{ErrorCode::invalid, "store address '" + std::string(address) +
                                       "': want embedded:DIRECTORY (one machine) or "
                                       "zookeeper:HOST:PORT[,HOST:PORT...][/CHROOT]"};
}

}  // namespace plexus::store
