// SPDX-License-Identifier: Apache-2.0
#include "store/zookeeper/zookeeper_store.h"

#include <algorithm>

#include "store/path.h"

namespace plexus::store {

namespace {

constexpr std::string_view kRoot = "/plexus";
// How long open() waits for a server that may turn it away.
constexpr std::chrono::milliseconds kOpening{1000};

struct Place {
  std::string servers, root;
};

Error bad_address(std::string_view address, std::string_view why) {
  return {ErrorCode::invalid, "store address 'zookeeper:" + std::string(address) +
                                  "': " + std::string(why) +
                                  "; want zookeeper:HOST:PORT[,HOST:PORT...][/CHROOT]"};
}

Result<Place> parse_address(std::string_view address) {
  const size_t slash = address.find('/');
  Place place{std::string(address.substr(0, slash)),
              std::string(slash == std::string_view::npos ? kRoot : address.substr(slash))};
  if (auto ok = check_path(place.root); !ok.ok()) {
    return bad_address(address, "'" + place.root + "' cannot be a chroot");
  }
  for (size_t start = 0; start <= place.servers.size();) {
    const size_t comma = std::min(place.servers.find(',', start), place.servers.size());
    const std::string server = place.servers.substr(start, comma - start);
    const size_t colon = server.rfind(':');
    const std::string port = colon == std::string::npos ? "" : server.substr(colon + 1);
    const bool number =
        !port.empty() && port.size() <= 5 &&
        std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (colon == 0 || !number || std::stoi(port) < 1 || std::stoi(port) > 65535) {
      return bad_address(address, "'" + server + "' is not HOST:PORT");
    }
    start = comma + 1;
  }
  return place;
}

}  // namespace

Result<std::unique_ptr<Store>> ZookeeperStore::open(std::string_view address,
                                                    const OpenOptions& open,
                                                    const ZookeeperOptions& options) {
  auto place = parse_address(address);
  if (!place.ok()) return place.error();
  std::optional<Identity> identity;
  if (!open.identity.empty()) {
    auto parsed = parse_identity(open.identity);
    if (!parsed.ok()) return parsed.error();
    identity = std::move(*parsed);
  }
  std::unique_ptr<ZookeeperStore> store(
      new ZookeeperStore(place->servers, place->root, std::move(identity), options));
  auto main = store->follower_->main(Clock::now() + std::min(kOpening, options.patience));
  if (!main.ok() && main.error().code == ErrorCode::denied) return main.error();
  return std::unique_ptr<Store>(std::move(store));
}

ZookeeperStore::ZookeeperStore(const std::string& servers, std::string root,
                               std::optional<Identity> identity, const ZookeeperOptions& options)
    : root_(std::move(root)), options_(options), access_(std::move(identity)) {
  follower_ = std::make_unique<Follower>(servers, root_, access_, options_,
                                         [this] { later([this] { put_again(); }); });
}

ZookeeperStore::~ZookeeperStore() {
  {
    std::lock_guard lock(chores_mutex_);
    stopping_ = true;
    chores_changed_.notify_one();
  }
  if (worker_.joinable()) worker_.join();
  follower_.reset();
}

std::unique_ptr<Watch> ZookeeperStore::watch(std::string path, WatchCallback callback) {
  return follower_->add(std::move(path), std::move(callback));
}

std::unique_ptr<Watch> ZookeeperStore::watch_settled(std::function<void(Revision)> callback) {
  return follower_->add_settled(std::move(callback));
}

}  // namespace plexus::store
