// SPDX-License-Identifier: Apache-2.0
#include "raw_zookeeper.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace plexus::bench {
namespace {

// zookeeper.jute and ZooDefs.OpCode.
constexpr int32_t kCreate = 1, kExists = 3, kGetData = 4, kSetData = 5, kMulti = 14;
constexpr int32_t kAllPermissions = 31, kEphemeral = 1, kEventXid = -1;
constexpr int32_t kTimeoutMs = 60'000;

// Of a Stat: czxid, mzxid, ctime, mtime come before the version.
constexpr size_t kBeforeVersion = 32;

void put32(std::string& out, int32_t value) {
  const uint32_t wire = htonl(static_cast<uint32_t>(value));
  out.append(reinterpret_cast<const char*>(&wire), sizeof wire);
}

void put64(std::string& out, int64_t value) {
  put32(out, static_cast<int32_t>(value >> 32));
  put32(out, static_cast<int32_t>(value));
}

void put_text(std::string& out, std::string_view text) {
  put32(out, static_cast<int32_t>(text.size()));
  out.append(text);
}

/// Takes from the front; 0 from what has ended.
int32_t take32(std::string_view& in) {
  uint32_t wire = 0;
  if (in.size() < sizeof wire) return in = {}, 0;
  std::memcpy(&wire, in.data(), sizeof wire);
  in.remove_prefix(sizeof wire);
  return static_cast<int32_t>(ntohl(wire));
}

std::string_view take_text(std::string_view& in) {
  const auto size = static_cast<size_t>(std::max(take32(in), 0));
  const std::string_view text = in.substr(0, size);
  in.remove_prefix(text.size());
  return text;
}

std::string frame(std::string_view body) {
  std::string out;
  put_text(out, body);
  return out;
}

Error lost(const char* what) {
  return {ErrorCode::unavailable,
          fmt::format("a session of ZooKeeper is lost: {}: {}", what, std::strerror(errno))};
}

Result<UniqueFd> open_session(const sockaddr_in& server) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid() ||
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&server), sizeof server) != 0) {
    return lost("connecting");
  }
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  std::string hello;
  put32(hello, 0);  // protocol
  put64(hello, 0);  // seen so far
  put32(hello, kTimeoutMs);
  put64(hello, 0);  // a new session
  put_text(hello, std::string(16, '\0'));
  hello = frame(hello);
  if (::send(fd.get(), hello.data(), hello.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(hello.size())) {
    return lost("beginning");
  }
  std::array<char, 4> length{};
  std::array<char, 256> rest{};
  if (::recv(fd.get(), length.data(), length.size(), MSG_WAITALL) != 4) return lost("beginning");
  std::string_view view(length.data(), length.size());
  const auto size = static_cast<size_t>(take32(view));
  if (size > rest.size() ||
      ::recv(fd.get(), rest.data(), size, MSG_WAITALL) != static_cast<ssize_t>(size)) {
    return lost("beginning");
  }
  if (::fcntl(fd.get(), F_SETFL, O_NONBLOCK) != 0) return lost("beginning");
  return fd;
}

}  // namespace

std::string_view value_of(std::string_view body) {
  return take_text(body);
}

int32_t version_of(std::string_view body) {
  (void)take_text(body);
  body = body.substr(std::min(body.size(), kBeforeVersion));
  return take32(body);
}

Result<RawZookeeper> RawZookeeper::connect(std::string_view server, size_t count, Fired fired) {
  const size_t colon = server.find(':');
  sockaddr_in address{};
  address.sin_family = AF_INET;
  uint16_t port = 0;
  const std::string_view digits = colon == std::string_view::npos ? "" : server.substr(colon + 1);
  if (std::from_chars(digits.begin(), digits.end(), port).ptr != digits.end() || port == 0 ||
      ::inet_pton(AF_INET, std::string(server.substr(0, colon)).c_str(), &address.sin_addr) != 1) {
    return Error{ErrorCode::invalid, fmt::format("{} is not ADDRESS:PORT", server)};
  }
  address.sin_port = htons(port);
  RawZookeeper out;
  out.fired_ = std::move(fired);
  out.epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  out.sessions_.resize(count);
  for (size_t i = 0; i < count; ++i) {
    auto fd = open_session(address);
    if (!fd) return fd.error();
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = i;
    if (::epoll_ctl(out.epoll_.get(), EPOLL_CTL_ADD, fd->get(), &event) != 0) {
      return lost("waiting for it");
    }
    out.sessions_[i].fd = std::move(*fd);
  }
  return out;
}

void RawZookeeper::request(size_t session, int32_t type, std::string_view body, Answer answer) {
  Session& s = sessions_[session];
  std::string message;
  put32(message, ++s.xid);
  put32(message, type);
  message.append(body);
  if (s.out.empty()) to_send_.push_back(session);
  s.out += frame(message);
  s.answers.push_back(std::move(answer));
}

void RawZookeeper::get(size_t session, std::string_view path, bool watch, Answer answer) {
  std::string body;
  put_text(body, path);
  body.push_back(watch ? 1 : 0);
  request(session, kGetData, body, std::move(answer));
}

void RawZookeeper::exists(size_t session, std::string_view path, bool watch, Answer answer) {
  std::string body;
  put_text(body, path);
  body.push_back(watch ? 1 : 0);
  request(session, kExists, body, std::move(answer));
}

void RawZookeeper::create(size_t session, std::string_view path, std::string_view value,
                          bool ephemeral, Answer answer) {
  std::string body;
  const auto operation = [&](int32_t type, bool end) {
    put32(body, type);
    body.push_back(end ? 1 : 0);
    put32(body, -1);
  };
  operation(kCreate, false);
  put_text(body, path);
  put_text(body, "");
  put32(body, 1);
  put32(body, kAllPermissions);
  put_text(body, "world");
  put_text(body, "anyone");
  put32(body, ephemeral ? kEphemeral : 0);
  operation(kSetData, false);
  put_text(body, path);
  put_text(body, value);
  put32(body, 0);
  operation(-1, true);
  request(session, kMulti, body, std::move(answer));
}

Result<void> RawZookeeper::send(Session& session) {
  const ssize_t sent =
      ::send(session.fd.get(), session.out.data(), session.out.size(), MSG_NOSIGNAL);
  // What is asked is small and answered before more is asked: the socket's buffer holds it.
  if (sent != static_cast<ssize_t>(session.out.size())) return lost("sending");
  session.out.clear();
  return Ok{};
}

Result<void> RawZookeeper::receive(size_t index) {
  std::array<char, 16 * 1024> chunk;
  const ssize_t got = ::recv(sessions_[index].fd.get(), chunk.data(), chunk.size(), 0);
  if (got <= 0) return lost("receiving");
  sessions_[index].in.append(chunk.data(), static_cast<size_t>(got));
  const std::string in = std::move(sessions_[index].in);
  std::string_view left = in;
  while (true) {
    std::string_view view = left;
    if (view.size() < 4) break;
    const auto size = static_cast<size_t>(take32(view));
    if (view.size() < size) break;
    std::string_view body = view.substr(0, size);
    left = view.substr(size);
    const int32_t xid = take32(body);
    (void)take32(body), (void)take32(body);
    const int32_t error = take32(body);
    if (xid == kEventXid) {
      (void)take32(body), (void)take32(body);  // what happened, state of the session
      fired_(index, take_text(body));
      continue;
    }
    auto& answers = sessions_[index].answers;
    if (answers.empty()) return Error{ErrorCode::internal, "an answer to nothing"};
    const Answer answer = std::move(answers.front());
    answers.pop_front();
    answer(error, body);
  }
  sessions_[index].in.assign(left);
  return Ok{};
}

Result<void> RawZookeeper::run(Duration limit) {
  std::array<epoll_event, 256> events;
  const auto send_all = [&]() -> Result<void> {
    std::vector<size_t> now;
    now.swap(to_send_);
    for (const size_t session : now) {
      if (auto done = send(sessions_[session]); !done) return done;
    }
    return Ok{};
  };
  if (auto done = send_all(); !done) return done;
  const int n = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                             static_cast<int>(limit / std::chrono::milliseconds(1)));
  if (n < 0 && errno != EINTR) return lost("waiting for it");
  for (int i = 0; i < n; ++i) {
    if (auto done = receive(events[static_cast<size_t>(i)].data.u64); !done) return done;
  }
  return send_all();
}

}  // namespace plexus::bench
