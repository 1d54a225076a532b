// SPDX-License-Identifier: Apache-2.0
// PeerLinks: what becomes of messages from one virtual host's agent to another's: they arrive, are lost, or wait.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace plexus::scenario {

enum class PeerLink : uint8_t { on, lost, held };

class PeerLinks {
 public:
  struct Message {
    std::string from, to;  ///< hosts
    std::vector<uint8_t> bytes;
  };

  void set(const std::string& from, const std::string& to, PeerLink link) {
    links_[{from, to}] = link;
  }
  void post(Message message) {
    const auto link = links_.find({message.from, message.to});
    if (link != links_.end() && link->second == PeerLink::lost) return;
    waiting_.push_back(std::move(message));
  }
  /// Those that arrive now, in the order in which they were sent.
  [[nodiscard]] std::vector<Message> take() {
    std::vector<Message> out, kept;
    for (Message& m : waiting_) {
      const auto link = links_.find({m.from, m.to});
      const bool held = link != links_.end() && link->second == PeerLink::held;
      (held ? kept : out).push_back(std::move(m));
    }
    waiting_ = std::move(kept);
    return out;
  }

 private:
  std::map<std::pair<std::string, std::string>, PeerLink> links_;
  std::vector<Message> waiting_;
};

}  // namespace plexus::scenario
