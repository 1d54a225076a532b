// SPDX-License-Identifier: Apache-2.0
// NetNamespace: a network namespace without a name, alive as long as the object. For tests: header only. Works on the
// calling thread.
#pragma once

#include <fcntl.h>
#include <sched.h>

#include <cerrno>
#include <fstream>

#include "base/check.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace plexus::datapath {

class NetNamespace {
 public:
  /// The one that the thread is in.
  static NetNamespace current() {
    return NetNamespace(UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)));
  }
  /// A new one, without IPv6 on its interfaces unless asked. The thread stays where it is.
  static Result<NetNamespace> make(bool ipv6) {
    const NetNamespace home = current();
    if (::unshare(CLONE_NEWNET) != 0) return errno_error("making a network namespace", errno);
    NetNamespace fresh = current();
    if (!ipv6) {
      std::ofstream("/proc/sys/net/ipv6/conf/default/disable_ipv6") << "1";
      std::ofstream("/proc/sys/net/ipv6/conf/all/disable_ipv6") << "1";
    }
    home.enter();
    return fresh;
  }

  void enter() const {
    PLEXUS_CHECK(::setns(fd_.get(), CLONE_NEWNET) == 0, "entering a network namespace");
  }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  explicit NetNamespace(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

/// The thread is in a namespace for as long as this lives, then back where it was.
class InNamespace {
 public:
  explicit InNamespace(const NetNamespace& there) : home_(NetNamespace::current()) {
    there.enter();
  }
  ~InNamespace() { home_.enter(); }
  InNamespace(const InNamespace&) = delete;
  InNamespace& operator=(const InNamespace&) = delete;

 private:
  NetNamespace home_;
};

}  // namespace plexus::datapath
