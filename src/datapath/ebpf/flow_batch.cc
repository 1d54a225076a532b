// SPDX-License-Identifier: Apache-2.0
// The part of FlowStore that puts many flows at once: each is prepared as by put(), then the kernel is told of all of one key size
// in one system call.
#include <bpf/bpf.h>

#include <cerrno>

#include "datapath/check_flow.h"
#include "datapath/ebpf/flow_store.h"

namespace plexus::datapath {

void FlowStore::put_many(std::span<const Flow> flows, std::span<Result<void>> done,
                         const std::function<std::optional<uint32_t>(uint32_t port)>& index_of) {
  wake_in_time();
  waiting_.clear();
  waiting_entries_.clear();
  for (size_t i = 0; i < flows.size(); ++i) {
    const Flow& flow = flows[i];
    if (auto valid = check_flow(flow); !valid) {
      done[i] = valid;
      continue;
    }
    const auto port_index = index_of(flow.match.key.in_port);
    if (!port_index) {
      done[i] = Error{ErrorCode::not_found, "no port " + std::to_string(flow.match.key.in_port)};
      continue;
    }
    if (find(flow.match)) {
      insert_waiting(done);  // it may be one of them
      done[i] = put(flow, *port_index);
      continue;
    }
    const auto compiled = compile(flow);
    if (!compiled) {
      done[i] = compiled.error();
      continue;
    }
    auto prepared = prepare(flow, *compiled, *port_index);
    if (!prepared) {
      done[i] = prepared.error();
      continue;
    }
    done[i] = {};
    keep(*prepared);
    waiting_.push_back(i);
    waiting_entries_.push_back(prepared->entry);
  }
  insert_waiting(done);
}

void FlowStore::insert_waiting(std::span<Result<void>> done) {
  insert_waiting(false, done);
  insert_waiting(true, done);
  for (size_t n = 0; n < waiting_.size(); ++n)
    if (!done[waiting_[n]].ok()) erase(waiting_entries_[n]);
  waiting_entries_.clear();
  waiting_.clear();
}

void FlowStore::insert_waiting(bool ipv6, std::span<Result<void>> done) {
  keys_.clear();
  short_keys_.clear();
  refs_.clear();
  places_.clear();
  for (size_t n = 0; n < waiting_.size(); ++n) {
    const size_t i = waiting_[n];
    const Installed flow = installed(waiting_entries_[n]);
    if (!done[i].ok() || !(ipv6 ? flow.ipv6_key : flow.short_key)) continue;
    const plexus_key& key = entries_[flow.entry].key;
    if (ipv6)
      keys_.push_back(key);
    else
      std::memcpy(&short_keys_.emplace_back(), &key, sizeof(plexus_key_short));
    refs_.push_back({flow.entry, 0});
    places_.push_back(i);
  }
  const int fd = ipv6 ? fds_.flows_ipv6 : fds_.flows_short;
  for (size_t from = 0; from < refs_.size();) {
    auto count = static_cast<uint32_t>(refs_.size() - from);
    const void* keys = ipv6 ? static_cast<const void*>(&keys_[from])
                            : static_cast<const void*>(&short_keys_[from]);
    if (bpf_map_update_batch(fd, keys, &refs_[from], &count, nullptr) == 0) return;
    // The one behind those that went in did not. EFAULT says nothing about how many there were.
    const int error = errno;
    if (error == EFAULT || from + count >= refs_.size()) count = 0;
    from += count;
    done[places_[from]] = errno_error(ipv6 ? "the IPv6 flow table" : "the flow table", error);
    ++from;
  }
}

}  // namespace plexus::datapath
