// SPDX-License-Identifier: Apache-2.0
#include "netlink/socket.h"

#include <sys/socket.h>

#include <cerrno>

namespace plexus::netlink {
namespace {

/// The kernel's answer to a request: an errno, and sometimes a sentence (NETLINK_EXT_ACK).
Result<void> acknowledgement(const Message& message) {
  const auto error = message.fixed<nlmsgerr>();
  if (!error) return Error{ErrorCode::internal, "a netlink acknowledgement is too short"};
  if (error->error == 0) return {};
  // The rejected request is repeated, unless capped; the attributes follow it.
  size_t skip = sizeof(nlmsgerr);
  if ((message.flags & NLM_F_CAPPED) == 0 && error->msg.nlmsg_len > sizeof(nlmsghdr))
    skip += NLMSG_ALIGN(error->msg.nlmsg_len - sizeof(nlmsghdr));
  std::string words;
  if ((message.flags & NLM_F_ACK_TLVS) != 0 && message.payload.size() > skip)
    words = Attributes(message.payload.subspan(skip)).string(NLMSGERR_ATTR_MSG);
  return errno_error(words.empty() ? "netlink" : "netlink: " + words, -error->error);
}

}  // namespace

Result<Socket> Socket::open(int protocol, uint32_t groups) {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!fd.valid()) return errno_error("opening a netlink socket", errno);
  const int on = 1;
  // Best effort: without these the kernel is just less talkative.
  (void)::setsockopt(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  (void)::setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return errno_error("binding a netlink socket", errno);
  return Socket(std::move(fd));
}

Result<Bytes> Socket::read_datagram(int flags) {
  // MSG_TRUNC gives the true size, so that a larger datagram is seen and fetched with a larger buffer.
  ssize_t n = 0;
  for (;;) {
    n = ::recv(fd_.get(), buffer_.data(), buffer_.size(), flags | MSG_PEEK | MSG_TRUNC);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("reading a netlink socket", errno);
    if (static_cast<size_t>(n) <= buffer_.size()) break;
    buffer_.resize(static_cast<size_t>(n));
  }
  n = ::recv(fd_.get(), buffer_.data(), buffer_.size(), 0);
  if (n < 0) return errno_error("reading a netlink socket", errno);
  return Bytes(buffer_).first(static_cast<size_t>(n));
}

Result<void> Socket::request(Writer& request, const std::function<void(const Message&)>& sink) {
  const uint32_t sequence = ++sequence_;
  const Bytes bytes = request.finish(sequence);
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (::sendto(fd_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&kernel),
               sizeof kernel) < 0)
    return errno_error("sending a netlink request", errno);
  for (;;) {
    auto datagram = read_datagram(0);
    if (!datagram) return datagram.error();
    for (const Message& message : split(*datagram)) {
      if (message.sequence != sequence) continue;  // the rest of an answer that was given up
      if (message.type == NLMSG_ERROR) return acknowledgement(message);
      if (message.type == NLMSG_DONE) {
        // The end of a dump carries its errno.
        const auto error = message.fixed<int>();
        if (error && *error < 0) return errno_error("netlink", -*error);
        return {};
      }
      if (sink) sink(message);
    }
  }
}

Result<void> Socket::receive(const std::function<void(const Message&)>& sink) {
  for (;;) {
    ssize_t n =
        ::recv(fd_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC);
    if (n < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return {};
      if (errno == EINTR) continue;
      if (errno == ENOBUFS) return Error{ErrorCode::no_space, "netlink messages were lost"};
      return errno_error("reading a netlink socket", errno);
    }
    auto datagram = read_datagram(MSG_DONTWAIT);
    if (!datagram) return datagram.error();
    for (const Message& message : split(*datagram)) sink(message);
  }
}

}  // namespace plexus::netlink
