// SPDX-License-Identifier: Apache-2.0
// PacketTraces: what became of the packets that trace requests asked for, at this host. So many of each request, then no
// more until the request changes; the newest are kept for whoever asks, and each is a line of the log.
//
// What is kept is shared: when there is no room, the oldest trace goes of whoever has the most, and of theirs of the request
// that has the most. Who asks for more traces pushes out their own, once they have their share. Requests at ports are shared
// by the ports' tenants; whose a bridge or a router is an agent does not know, so each of these counts for itself. Lines of
// the log are so many a second for each of them.
//
// A packet is followed before anything comes of it, and concluded when the worker has done what it does: that may be
// something else than what its simulation says, where a limit, another connection or another fragment has a say.
//
// One thread: the worker's.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "codec/node.h"
#include "model/snapshot.h"
#include "sim/simulate.h"

namespace plexus::agent {

class PacketTraces {
 public:
  static constexpr size_t kKept = 256;      ///< traces, of all requests
  static constexpr size_t kMaxSteps = 256;  ///< of one; the others are counted
  static constexpr size_t kMaxLine =
      4096;  ///< characters: of what is larger than an Ethernet frame the beginning
  static constexpr size_t kMaxBytes = 1 << 22;     ///< of all texts
  static constexpr unsigned kLinesPerSecond = 20;  ///< of the log, of one owner

  struct Entry {
    uint64_t number = 0;  ///< since the agent's start, from 1
    TraceRequestId request;
    Uuid owner;                       ///< who shares: a tenant, or a place that has none
    std::string name;                 ///< the request's
    uint32_t packets = 0, limit = 0;  ///< of the request: this one is the how manieth of how many
    MonoTime at;
    std::string packet;
    std::string
        outcome;  ///< of the packet, not of what mirrors have: "forward", "drop no_route", "postpone"
    std::vector<std::string> steps;  ///< as `plexus trace` shows them, and what the agent did else
  };

  /// A new version of the topology: requests that are gone or changed count from nothing again. Traces stay.
  void publish(const model::Snapshot& snapshot);
  /// Follows a packet that `outcome.traced` asks for; `view` as for its own simulation, before anything came of it.
  /// `last_try`: as simulate_last_try() has it.
  void follow(const sim::Packet& packet, const sim::Outcome& outcome,
              const model::Snapshot& snapshot, const sim::ConnectionView& view, MonoTime now,
              bool last_try = false);
  /// Of the packet that is followed: the agent drops it, has it wait ("postpone") for its first fragment, or does with it what
  /// it did with that one. Nothing is followed: nothing.
  void dropped(sim::DropReason reason);
  void waits_for_first();
  void goes_like_first(const sim::Outcome& outcome);
  /// It has been followed: its lines are written.
  void conclude();

  /// Requests that have had their packets; sorted.
  [[nodiscard]] const std::vector<TraceRequestId>& spent() const { return spent_; }
  /// Oldest first.
  [[nodiscard]] const std::deque<Entry>& kept() const { return kept_; }

 private:
  struct OfRequest {
    model::TraceRequest record;  ///< as it was when its first packet came
    uint32_t packets = 0;
  };
  void amend(const std::string& outcome, const std::string& step);
  void log(const Entry& entry);
  void drop_one();

  std::map<TraceRequestId, OfRequest> requests_;
  std::vector<TraceRequestId> spent_;
  std::deque<Entry> kept_;
  size_t bytes_ = 0;   ///< of the texts of kept_
  size_t opened_ = 0;  ///< of these, the last ones: of the packet that is followed
  uint64_t number_ = 0;
  MonoTime second_;  ///< of the log
  std::map<Uuid, unsigned> lines_;
  uint64_t left_out_ = 0;
};

/// {"traces": [{"number", "request", "request_id", "age_ms", "packet", "outcome", "steps": [text, ...]}, ...]}, oldest first.
[[nodiscard]] codec::Node traces_document(const PacketTraces& traces, MonoTime now);

}  // namespace plexus::agent
