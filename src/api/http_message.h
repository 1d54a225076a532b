// SPDX-License-Identifier: Apache-2.0
// Request and Response: HTTP messages as values, apart from the server that reads and writes them. BodyStream: a body
// that goes on, fed by any thread.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace plexus::api {

struct Request {
  std::string method;  ///< "GET", as sent
  std::string path;  ///< "/v1/bridges/web", percent-decoded by segment: a segment never gains a '/'
  std::vector<std::pair<std::string, std::string>> query;  ///< decoded, in order
  std::string content_type;  ///< lower case, without parameters; empty: none
  std::string if_match;
  std::string if_none_match;
  std::string authorization;  ///< the header; never log it
  std::string request_id;     ///< X-Request-Id, as sent
  std::string last_event_id;  ///< Last-Event-ID, as sent
  bool has_origin = false;    ///< a web browser sent it
  std::string host;           ///< the Host header
  bool from_network = false;  ///< came over TCP, not over a unix socket
  bool encrypted = false;     ///< by TLS
  std::string remote;         ///< numeric address of the client; empty over a unix socket
  std::optional<uid_t> uid;   ///< of the client over a unix socket
  std::string body;

  /// The first value of that query parameter.
  [[nodiscard]] std::optional<std::string> parameter(std::string_view name) const;
};

/// A body without an end known beforehand. The server sends what is pushed as it comes. What waits is bounded: who
/// pushes more than the client takes loses the client. Threads: any.
class BodyStream {
 public:
  using Chunk = std::shared_ptr<const std::string>;

  /// `limit`: bytes that may wait for the client.
  explicit BodyStream(size_t limit = 1u << 20) : limit_(limit) {}

  /// False: the client is gone, or was too slow and is cut off now.
  bool push(Chunk chunk);
  bool push(std::string text) { return push(std::make_shared<const std::string>(std::move(text))); }
  /// The body ends after what has been pushed.
  void end();
  /// The client is gone, or the stream was ended.
  [[nodiscard]] bool closed() const;
  /// Bytes that wait for the client.
  [[nodiscard]] size_t waiting() const;

  // The server's side.
  struct Taken {
    std::vector<Chunk> chunks;
    bool ended = false;   ///< nothing follows
    bool broken = false;  ///< the client was too slow
  };
  /// What waits; it goes on counting as waiting until the next call.
  [[nodiscard]] Taken take();
  /// `wake` runs, on the pusher's thread, whenever something waits that did not before. Null: never again.
  void on_more(std::function<void()> wake);
  /// `room` runs when the client has taken all that waited: then it is time to push more. Null: never again.
  void on_room(std::function<void()> room);
  /// The client is gone.
  void close();

 private:
  const size_t limit_;
  mutable std::mutex mutex_;
  std::vector<Chunk> chunks_;
  size_t waiting_ = 0, taken_ = 0;
  bool ended_ = false, broken_ = false, closed_ = false;
  std::function<void()> more_, room_;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string body = {};
  std::shared_ptr<BodyStream> stream = {};  ///< given: the body, instead of `body`
  std::shared_ptr<void> place = {};         ///< kept until the answer is sent or its client is gone

  [[nodiscard]] std::string header(std::string_view name) const;
};

/// A problem document (RFC 9457): {"type":"about:blank","title":...,"status":...,"detail":...}. `extra` is JSON members
/// to add, each as `,"name":value`; empty: none.
[[nodiscard]] Response problem(int status, std::string_view detail, std::string_view extra = {});
/// The reason phrase of a status: "Not Found".
[[nodiscard]] std::string_view reason_phrase(int status);

}  // namespace plexus::api
