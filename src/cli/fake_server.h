// SPDX-License-Identifier: Apache-2.0
// FakeServer: an HTTP server for tests, on a unix socket of its own, that answers what the test says and remembers what
// it was asked. One connection at a time, closed after each answer. Its own thread calls the answerer.
#pragma once

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"

namespace plexus::cli {

struct FakeRequest {
  std::string method, target, head, body;
};

struct FakeAnswer {
  int status = 200;
  std::string body = "{}";
  std::string headers = {};  ///< lines, each with CR LF
  bool hang_up = false;      ///< no answer at all
};

class FakeServer {
 public:
  using Answerer = std::function<FakeAnswer(const FakeRequest&)>;

  explicit FakeServer(Answerer answerer) : answerer_(std::move(answerer)) {
    std::string name = (std::filesystem::temp_directory_path() / "plexus-fake-XXXXXX").string();
    PLEXUS_CHECK(::mkdtemp(name.data()) != nullptr, "no temporary folder");
    folder_ = name;
    listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path().copy(address.sun_path, sizeof(address.sun_path) - 1);
    PLEXUS_CHECK(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
                     ::listen(listener_, 16) == 0,
                 "no socket for a fake server");
    stop_ = ::eventfd(0, EFD_CLOEXEC);
    thread_ = std::thread([this] { serve(); });
  }

  ~FakeServer() {
    const uint64_t one = 1;
    PLEXUS_CHECK(::write(stop_, &one, sizeof(one)) == sizeof(one), "eventfd");
    thread_.join();
    ::close(listener_);
    ::close(stop_);
    std::filesystem::remove_all(folder_);
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  [[nodiscard]] std::string path() const { return folder_ + "/socket"; }
  [[nodiscard]] std::string address() const { return "unix:" + path(); }

  [[nodiscard]] std::vector<FakeRequest> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  /// How many there were that are no GET.
  [[nodiscard]] size_t writes() const {
    size_t n = 0;
    for (const FakeRequest& r : requests()) n += r.method != "GET";
    return n;
  }

 private:
  void serve() {
    for (;;) {
      pollfd waits[] = {{listener_, POLLIN, 0}, {stop_, POLLIN, 0}};
      if (::poll(waits, 2, -1) < 0) continue;
      if (waits[1].revents != 0) return;
      const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (connection < 0) continue;
      answer(connection);
      ::close(connection);
    }
  }

  void answer(int connection) {
    std::string text;
    size_t head_end = 0, length = 0;
    while (head_end == 0 || text.size() < head_end + length) {
      char buffer[65536];
      const ssize_t n = ::read(connection, buffer, sizeof(buffer));
      if (n <= 0) return;
      text.append(buffer, static_cast<size_t>(n));
      const size_t end = text.find("\r\n\r\n");
      if (head_end != 0 || end == std::string::npos) continue;
      head_end = end + 4;
      const size_t at = text.find("Content-Length: ");
      if (at != std::string::npos && at < head_end) length = std::stoul(text.substr(at + 16));
    }
    FakeRequest request;
    request.head = text.substr(0, head_end);
    request.body = text.substr(head_end);
    request.method = text.substr(0, text.find(' '));
    const size_t begin = request.method.size() + 1;
    request.target = text.substr(begin, text.find(' ', begin) - begin);
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    const FakeAnswer answer = answerer_(request);
    if (answer.hang_up) return;
    const std::string reply = "HTTP/1.1 " + std::to_string(answer.status) + " x\r\n" +
                              answer.headers + "Connection: close\r\n\r\n" + answer.body;
    for (size_t done = 0; done < reply.size();) {
      const ssize_t n = ::send(connection, reply.data() + done, reply.size() - done, MSG_NOSIGNAL);
      if (n <= 0) return;
      done += static_cast<size_t>(n);
    }
  }

  Answerer answerer_;
  std::string folder_;
  int listener_ = -1, stop_ = -1;
  mutable std::mutex mutex_;
  std::vector<FakeRequest> requests_;
  std::thread thread_;
};

}  // namespace plexus::cli
