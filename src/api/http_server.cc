// SPDX-License-Identifier: Apache-2.0
// The only file that includes Beast: it takes many seconds to compile.
#include "api/http_server.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/socket_base.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <list>
#include <thread>
#include <utility>

#include "api/url.h"
#include "base/log.h"

namespace plexus::api {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using boost::system::error_code;

/// One protocol type for TCP and unix sockets, so that the session is compiled once for plain and once for TLS.
using Generic = asio::generic::stream_protocol;
using Acceptor = asio::basic_socket_acceptor<Generic, asio::any_io_executor>;
using Plain = beast::basic_stream<Generic, asio::any_io_executor>;
using Encrypted = ssl::stream<Plain>;
using Executor = asio::any_io_executor;
using Certificate = std::shared_ptr<ssl::context>;
constexpr auto kNoThrow = asio::as_tuple(asio::use_awaitable);

constexpr uint32_t kMaxHeader = 16 * 1024;
/// A handler that answers later does it within this time; the API's longest wait is 60 s.
constexpr std::chrono::seconds kLatestAnswer{120};
/// Who has let the server wait for so long gives way when all places are taken.
constexpr std::chrono::seconds kPatience{1};
constexpr std::chrono::seconds kSayAgain{10};
/// Streams to clients that have vanished without a word end after this time: bookmarks go unacknowledged.
constexpr unsigned kVanishedMs = 30'000;

Error io_error(const std::string& what, const error_code& ec) {
  return errno_error(what, ec.value());
}

/// A socket file that nobody answers on is what a killed process left.
Result<void> clear_stale_socket(const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) {
    if (errno == ENOENT) return Ok{};
    return errno_error("looking at " + path, errno);
  }
  if (!S_ISSOCK(st.st_mode)) {
    return Error{ErrorCode::exists,
                 path + " is there and is no socket; remove it or listen elsewhere"};
  }
  asio::io_context io;
  asio::local::stream_protocol::socket probe(io);
  error_code ec;
  ec = probe.connect(asio::local::stream_protocol::endpoint(path), ec);
  if (!ec) return Error{ErrorCode::exists, "another process serves " + path + "; stop it first"};
  if (ec != asio::error::connection_refused) return io_error("probing " + path, ec);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return errno_error("removing stale " + path, errno);
  return Ok{};
}

std::string lower_media_type(std::string_view value) {
  value = value.substr(0, value.find(';'));
  while (!value.empty() && value.back() == ' ') value.remove_suffix(1);
  std::string out(value);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

std::string_view view(beast::string_view s) {
  return {s.data(), s.size()};
}

Result<Certificate> load_certificate(const std::string& certificate, const std::string& key) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  error_code ec;
  ec = context->set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 |
                                ssl::context::no_sslv3 | ssl::context::no_tlsv1 |
                                ssl::context::no_tlsv1_1 | ssl::context::single_dh_use,
                            ec);
  if (!ec) ec = context->use_certificate_chain_file(certificate, ec);
  if (ec) {
    return Error{ErrorCode::invalid, fmt::format("the certificate {}: {}; it must be a PEM file",
                                                 certificate, ec.message())};
  }
  ec = context->use_private_key_file(key, ssl::context::pem, ec);
  if (ec) {
    return Error{ErrorCode::invalid,
                 fmt::format("the key {}: {}; it must be the PEM file of the key of {}", key,
                             ec.message(), certificate)};
  }
  // Session tickets would have to be shared between servers; nobody needs them.
  SSL_CTX_set_options(context->native_handle(), SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  return context;
}

/// Whom a connection comes from.
struct Peer {
  bool from_network = false;
  bool encrypted = false;
  std::string remote;
  std::optional<uid_t> uid;
};

template <typename Socket>
Peer peer_of(Socket& socket, bool from_network) {
  Peer peer;
  peer.from_network = from_network;
  if (!from_network) {
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0)
      peer.uid = credentials.uid;
    return peer;
  }
  // Short answers and events go out at once.
  const int on = 1;
  ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT, &kVanishedMs,
               sizeof kVanishedMs);
  error_code ec;
  const Generic::endpoint remote = socket.remote_endpoint(ec);
  if (ec) return peer;
  asio::ip::tcp::endpoint tcp;
  std::memcpy(tcp.data(), remote.data(), remote.size());
  tcp.resize(remote.size());
  peer.remote = tcp.address().to_string();
  return peer;
}

/// Something that a session waits for and another thread brings.
struct Waiting {
  explicit Waiting(const Executor& executor) : timer(executor) {}
  /// A stream that has come and is not taken any more, because the server stops, ends.
  ~Waiting() {
    if (response && response->stream) response->stream->close();
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  asio::steady_timer timer;
  std::optional<Response> response;
  bool more = false;
};

/// What other threads reach of a server: nothing, once it has stopped. They hold no executor of their own, because a
/// strand must not outlive its io_context.
class Gate {
 public:
  /// Runs f(Waiting&) where the session runs, if both are still there; false if either was gone already.
  template <typename F>
  bool post(const std::weak_ptr<Waiting>& waiting, F f) {
    const std::lock_guard lock(mutex_);
    if (!open_) return false;
    const auto target = waiting.lock();
    if (!target) return false;
    asio::post(target->timer.get_executor(), [waiting, f = std::move(f)]() mutable {
      if (const auto w = waiting.lock()) f(*w);
    });
    return true;
  }
  void close() {
    const std::lock_guard lock(mutex_);
    open_ = false;
  }

 private:
  std::mutex mutex_;
  bool open_ = true;
};

/// However a session ends, whoever feeds its stream hears of it.
struct CloseAtEnd {
  std::shared_ptr<BodyStream> body;
  ~CloseAtEnd() { body->close(); }
};

/// A stream that never reaches its session ends, so that whoever feeds it stops.
struct CloseUnlessTaken {
  std::shared_ptr<BodyStream> body;
  explicit CloseUnlessTaken(std::shared_ptr<BodyStream> b) : body(std::move(b)) {}
  CloseUnlessTaken(CloseUnlessTaken&& other) noexcept : body(std::exchange(other.body, nullptr)) {}
  CloseUnlessTaken& operator=(CloseUnlessTaken&&) = delete;
  ~CloseUnlessTaken() {
    if (body) body->close();
  }
};

Plain& plain(Plain& stream) {
  return stream;
}
Plain& plain(Encrypted& stream) {
  return stream.next_layer();
}

/// A connection whose client has to do something now: send a request, take an answer.
struct Awaited {
  Plain* stream;  ///< null: closed for others
  bool from_network;
  std::chrono::steady_clock::time_point since;
};
using AllAwaited = std::list<Awaited>;  ///< the longest first

/// As long as it lives, a connection is one of them.
class AwaitsClient {
 public:
  AwaitsClient(AllAwaited& all, Plain& stream, bool from_network)
      : all_(all),
        at_(all.insert(all.end(), {&stream, from_network, std::chrono::steady_clock::now()})) {}
  ~AwaitsClient() { all_.erase(at_); }
  AwaitsClient(const AwaitsClient&) = delete;
  AwaitsClient& operator=(const AwaitsClient&) = delete;

 private:
  AllAwaited& all_;
  AllAwaited::iterator at_;
};

}  // namespace

struct HttpServer::Running {
  explicit Running(HttpOptions o)
      : options(std::move(o)),
        counts(options.counts ? options.counts : std::make_shared<ConnectionCounts>()),
        io(std::make_unique<asio::io_context>(1)),
        handlers(std::make_unique<asio::thread_pool>(options.threads)) {}

  HttpOptions options;
  const std::shared_ptr<ConnectionCounts> counts;
  // Of the thread of the sockets, which runs all strands.
  AllAwaited awaited;
  std::chrono::steady_clock::time_point said_full{};
  std::unique_ptr<asio::io_context> io;  ///< null once stopped
  std::unique_ptr<asio::thread_pool> handlers;
  std::shared_ptr<Gate> gate = std::make_shared<Gate>();
  std::vector<ListenAddress> addresses;
  std::vector<std::string> socket_files;
  std::thread thread;
  std::mutex certificate_mutex;
  Certificate certificate;  ///< guarded by certificate_mutex

  Result<void> listen(const ListenAddress& address) {
    return address.is_unix ? listen_unix(address) : listen_tcp(address);
  }

  Result<void> listen_unix(const ListenAddress& address) {
    if (address.path.size() >= sizeof(sockaddr_un::sun_path)) {
      return Error{ErrorCode::invalid,
                   address.path + ": the path of a unix socket has at most 107 bytes"};
    }
    if (auto r = clear_stale_socket(address.path); !r) return r;
    Acceptor acceptor(asio::make_strand(*io));
    error_code ec;
    const Generic::endpoint endpoint(asio::local::stream_protocol::endpoint(address.path));
    ec = acceptor.open(endpoint.protocol(), ec);
    if (!ec) ec = acceptor.bind(endpoint, ec);
    if (ec) return io_error("listening on " + address.str(), ec);
    socket_files.push_back(address.path);
    // Before listen(): nobody can connect while the mode is still the umask's.
    if (::chmod(address.path.c_str(), options.socket_mode) != 0) {
      return errno_error("setting the mode of " + address.path, errno);
    }
    ec = acceptor.listen(asio::socket_base::max_listen_connections, ec);
    if (ec) return io_error("listening on " + address.str(), ec);
    addresses.push_back(address);
    begin(std::move(acceptor), false, false);
    return Ok{};
  }

  Result<void> listen_tcp(ListenAddress address) {
    if (address.tls && !certificate) {
      if (options.tls_certificate.empty() || options.tls_key.empty()) {
        return Error{ErrorCode::invalid,
                     address.str() + " needs a certificate and its key; give both files"};
      }
      if (auto r = load(); !r) return r;
    }
    error_code ec;
    const auto ip = asio::ip::make_address(address.host, ec);
    if (ec) return io_error("the address " + address.host, ec);
    Acceptor acceptor(asio::make_strand(*io));
    const asio::ip::tcp::endpoint endpoint(ip, address.port);
    ec = acceptor.open(Generic::endpoint(endpoint).protocol(), ec);
    if (!ec) ec = acceptor.set_option(asio::socket_base::reuse_address(true), ec);
    if (!ec) ec = acceptor.bind(Generic::endpoint(endpoint), ec);
    if (!ec) ec = acceptor.listen(asio::socket_base::max_listen_connections, ec);
    if (ec) return io_error("listening on " + address.str(), ec);
    const Generic::endpoint bound = acceptor.local_endpoint(ec);
    if (ec) return io_error("listening on " + address.str(), ec);
    asio::ip::tcp::endpoint tcp;
    std::memcpy(tcp.data(), bound.data(), bound.size());
    tcp.resize(bound.size());
    address.port = tcp.port();
    addresses.push_back(address);
    begin(std::move(acceptor), true, address.tls);
    return Ok{};
  }

  Result<void> load() {
    auto loaded = load_certificate(options.tls_certificate, options.tls_key);
    if (!loaded) return loaded.error();
    const std::lock_guard lock(certificate_mutex);
    certificate = std::move(*loaded);
    return Ok{};
  }

  void begin(Acceptor acceptor, bool from_network, bool tls) {
    const auto executor = acceptor.get_executor();
    asio::co_spawn(executor, accept_loop(std::move(acceptor), from_network, tls), asio::detached);
  }

  asio::awaitable<void> accept_loop(Acceptor acceptor, bool from_network, bool tls) {
    asio::steady_timer pause(acceptor.get_executor());
    bool full = false;
    while (true) {
      const auto [none] = co_await acceptor.async_wait(asio::socket_base::wait_read, kNoThrow);
      if (none == asio::error::operation_aborted) co_return;
      if (!has_room(from_network)) {
        if (!std::exchange(full, true)) ++counts->found_full;
        const bool soon = make_room(from_network);
        pause.expires_after(std::chrono::milliseconds(soon ? 1 : 20));
        co_await pause.async_wait(kNoThrow);
        continue;
      }
      full = false;
      auto [ec, socket] = co_await acceptor.async_accept(asio::make_strand(*io), kNoThrow);
      if (ec == asio::error::operation_aborted) co_return;
      if (ec) {
        // Out of file descriptors, mostly: others will close some.
        pause.expires_after(std::chrono::milliseconds(100));
        co_await pause.async_wait(kNoThrow);
        continue;
      }
      ++counts->open;
      if (from_network) ++counts->by_network;
      Executor executor = socket.get_executor();
      Peer peer = peer_of(socket, from_network);
      Plain stream(std::move(socket));
      const auto ended = [this, from_network](const std::exception_ptr&) {
        --counts->open;
        if (from_network) --counts->by_network;
      };
      if (!tls) {
        asio::co_spawn(executor, plain_session(std::move(stream), std::move(peer)), ended);
      } else {
        peer.encrypted = true;
        asio::co_spawn(executor, tls_session(std::move(stream), std::move(peer)), ended);
      }
    }
  }

  [[nodiscard]] bool network_is_full() const {
    return counts->by_network >= options.max_connections - options.unix_reserve;
  }
  [[nodiscard]] bool has_room(bool from_network) const {
    return counts->open < options.max_connections && !(from_network && network_is_full());
  }

  /// True: a connection that could stay away gives way. Requests at work and streams do not.
  bool make_room(bool from_network) {
    const auto now = std::chrono::steady_clock::now();
    if (now - said_full >= kSayAgain) {
      said_full = now;
      log_warn("api",
               "all {} places for connections{} are taken; new ones wait until others end, or give "
               "way because they let the server wait",
               options.max_connections - (from_network ? options.unix_reserve : 0),
               from_network ? " over TCP" : "");
    }
    const bool only_network = from_network && network_is_full();
    for (Awaited& a : awaited) {
      if (now - a.since < kPatience) return false;
      if (a.stream == nullptr || (only_network && !a.from_network)) continue;
      std::exchange(a.stream, nullptr)->close();
      ++counts->gave_way;
      return true;
    }
    return false;
  }

  asio::awaitable<void> plain_session(Plain stream, Peer peer) {
    co_await session(stream, peer);
    error_code ignored;
    ignored = stream.socket().shutdown(asio::socket_base::shutdown_send, ignored);
  }

  asio::awaitable<void> tls_session(Plain socket, Peer peer) {
    Certificate mine;
    {
      const std::lock_guard lock(certificate_mutex);
      mine = certificate;
    }
    Encrypted stream(std::move(socket), *mine);
    plain(stream).expires_after(options.timeout);
    {
      const AwaitsClient awaits(awaited, plain(stream), peer.from_network);
      const auto [ec] = co_await stream.async_handshake(ssl::stream_base::server, kNoThrow);
      if (ec) co_return;
    }
    co_await session(stream, peer);
    plain(stream).expires_after(std::chrono::seconds(1));
    co_await stream.async_shutdown(kNoThrow);
  }

  template <typename Stream>
  asio::awaitable<void> session(Stream& stream, const Peer& peer) {
    beast::flat_buffer buffer;
    std::optional<AwaitsClient> awaits;
    while (true) {
      awaits.emplace(awaited, plain(stream), peer.from_network);
      http::request_parser<http::string_body> parser;
      parser.header_limit(kMaxHeader);
      parser.body_limit(boost::none);  // known when the target is
      plain(stream).expires_after(options.timeout);
      auto [read_error, n] = co_await http::async_read_header(stream, buffer, parser, kNoThrow);
      size_t limit = options.max_body;
      if (!read_error) {
        const auto& head = parser.get();
        if (options.body_limit)
          limit = options.body_limit(view(head.method_string()), view(head.target()));
        parser.body_limit(limit);
        const auto length = parser.content_length();
        if (length && *length > limit) {
          read_error = http::error::body_limit;
        } else if (!parser.is_done() && beast::iequals(head[http::field::expect], "100-continue")) {
          static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
          co_await asio::async_write(stream, asio::buffer(kContinue), kNoThrow);
        }
      }
      if (!read_error) {
        const auto [body_error, m] = co_await http::async_read(stream, buffer, parser, kNoThrow);
        read_error = body_error;
      }
      awaits.reset();
      if (read_error) {
        if (auto answer = answer_to(read_error, limit)) {
          auto message = to_message(std::move(*answer), 11, false, false);
          plain(stream).expires_after(std::chrono::seconds(1));
          co_await http::async_write(stream, message, kNoThrow);
          co_await linger(stream);
        }
        co_return;
      }
      const http::request<http::string_body>& request = parser.get();
      const bool head_only = request.method() == http::verb::head;
      Response response = co_await answer_to(stream.get_executor(), request, peer);
      if (response.stream) {
        co_await send_stream(stream, std::move(response), head_only);
        co_return;
      }
      const std::shared_ptr<void> place = std::move(response.place);
      const bool keep_alive = request.keep_alive() && has_room(peer.from_network);
      auto message = to_message(std::move(response), request.version(), keep_alive, head_only);
      awaits.emplace(awaited, plain(stream), peer.from_network);
      plain(stream).expires_after(options.timeout);
      const auto [write_error, written] = co_await http::async_write(stream, message, kNoThrow);
      if (write_error || !message.keep_alive()) co_return;
    }
  }

  /// Reads on for a moment, so that a client that is still sending sees our answer and not a reset.
  template <typename Stream>
  asio::awaitable<void> linger(Stream& stream) {
    error_code ec;
    if constexpr (std::is_same_v<Stream, Plain>)
      ec = stream.socket().shutdown(asio::socket_base::shutdown_send, ec);
    std::array<char, 4096> rest{};
    plain(stream).expires_after(std::chrono::seconds(1));
    for (size_t total = 0; !ec && total < options.max_body * 4;) {
      const auto [e, n] = co_await stream.async_read_some(asio::buffer(rest), kNoThrow);
      ec = e;
      total += n;
    }
  }

  template <typename Stream>
  asio::awaitable<void> send_stream(Stream& stream, Response response, bool head_only) {
    const std::shared_ptr<BodyStream> body = response.stream;
    const CloseAtEnd at_end{body};
    const auto waiting = std::make_shared<Waiting>(stream.get_executor());
    const auto wake = [gate = gate, weak = std::weak_ptr<Waiting>(waiting)] {
      gate->post(weak, [](Waiting& w) {
        w.more = true;
        w.timer.cancel();
      });
    };
    body->on_more(wake);
    http::response<http::empty_body> head(static_cast<http::status>(response.status), 11);
    head.set(http::field::content_type, response.content_type);
    for (const auto& [name, value] : response.headers) head.set(name, value);
    head.set(http::field::connection, "close");
    head.chunked(true);
    http::response_serializer<http::empty_body> serializer(head);
    plain(stream).expires_after(options.timeout);
    auto [ec, n] = co_await http::async_write_header(stream, serializer, kNoThrow);
    if (ec || head_only) co_return;
    // Whether the client is still there: it has nothing more to say, so a read ends with its end.
    plain(stream).expires_never();
    const auto gone = std::make_shared<bool>(false);
    const auto reading_done = std::make_shared<bool>(false);
    asio::co_spawn(
        stream.get_executor(),
        [&stream, gone, wake]() -> asio::awaitable<void> {
          std::array<char, 64> rest{};
          while (true) {
            const auto [e, m] = co_await stream.async_read_some(asio::buffer(rest), kNoThrow);
            if (e) break;
          }
          *gone = true;
          wake();
        },
        [reading_done, wake](const std::exception_ptr&) {
          *reading_done = true;
          wake();
        });
    while (!*gone) {
      waiting->more = false;
      BodyStream::Taken taken = body->take();
      if (taken.broken) break;
      if (!taken.chunks.empty()) {
        ec = co_await send_chunks(stream, taken.chunks);
        if (ec) break;
        continue;
      }
      if (taken.ended) {
        plain(stream).expires_after(options.timeout);
        co_await asio::async_write(stream, http::make_chunk_last(), kNoThrow);
        break;
      }
      while (!waiting->more && !*gone) {
        waiting->timer.expires_at(asio::steady_timer::time_point::max());
        co_await waiting->timer.async_wait(kNoThrow);
      }
    }
    body->close();
    // The reader refers to the stream, so it ends first.
    error_code ignored;
    ignored = plain(stream).socket().shutdown(asio::socket_base::shutdown_both, ignored);
    plain(stream).cancel();
    while (!*reading_done) {
      waiting->timer.expires_after(std::chrono::milliseconds(10));
      co_await waiting->timer.async_wait(kNoThrow);
    }
  }

  /// At most 256 KB in one write, each within the time limit.
  template <typename Stream>
  asio::awaitable<error_code> send_chunks(Stream& stream,
                                          const std::vector<BodyStream::Chunk>& chunks) {
    constexpr size_t kOneWrite = 256 * 1024;
    std::string frame;
    for (size_t i = 0; i < chunks.size();) {
      frame.clear();
      size_t size = 0, end = i;
      while (end < chunks.size() && (end == i || size + chunks[end]->size() <= kOneWrite))
        size += chunks[end++]->size();
      if (size > 0) {
        frame = fmt::format("{:x}\r\n", size);
        frame.reserve(frame.size() + size + 2);
        for (; i < end; ++i) frame += *chunks[i];
        frame += "\r\n";
        // The read that looks for the client's end has no limit; this is the write's.
        plain(stream).expires_after(options.timeout);
        const auto [ec, n] = co_await asio::async_write(stream, asio::buffer(frame), kNoThrow);
        if (ec) co_return ec;
      }
      i = end;
    }
    co_return error_code();
  }

  /// What to say to a request that could not be read; nullopt: nothing, the client is gone.
  static std::optional<Response> answer_to(const error_code& ec, size_t limit) {
    if (ec == http::error::end_of_stream || ec == asio::error::operation_aborted)
      return std::nullopt;
    if (ec == beast::error::timeout) return std::nullopt;
    if (ec == http::error::body_limit) {
      return problem(413,
                     fmt::format("the body is larger than {} bytes; send less at once", limit));
    }
    if (ec == http::error::header_limit || ec == http::error::buffer_overflow) {
      return problem(431, fmt::format("the header is larger than {} bytes", kMaxHeader));
    }
    // Everything else of the parser is the client's mistake; of the socket, its absence.
    if (ec.category() == make_error_code(http::error::bad_method).category() &&
        ec != http::error::partial_message) {
      return problem(400, "this is not HTTP/1.1: " + ec.message());
    }
    return std::nullopt;
  }

  static std::optional<Request> to_request(const http::request<http::string_body>& message,
                                           const Peer& peer) {
    const auto header = [&](http::field name) { return std::string(view(message[name])); };
    auto target = parse_target(view(message.target()));
    if (!target) return std::nullopt;
    Request request;
    request.method = std::string(view(message.method_string()));
    request.path = std::move(target->path);
    request.query = std::move(target->query);
    request.content_type = lower_media_type(header(http::field::content_type));
    request.if_match = header(http::field::if_match);
    request.if_none_match = header(http::field::if_none_match);
    request.authorization = header(http::field::authorization);
    request.request_id = std::string(view(message["X-Request-Id"]));
    request.last_event_id = std::string(view(message["Last-Event-ID"]));
    request.has_origin = message.count(http::field::origin) > 0;
    request.host = header(http::field::host);
    request.from_network = peer.from_network;
    request.encrypted = peer.encrypted;
    request.remote = peer.remote;
    request.uid = peer.uid;
    request.body = message.body();
    if (request.method == "HEAD") request.method = "GET";
    return request;
  }

  void handle(const Request& request, const Answer& answer) const {
    try {
      if (options.later_handler) {
        options.later_handler(request, answer);
      } else {
        answer(options.handler(request));
      }
    } catch (const std::exception& e) {
      log_error("api", "{} {}: {}", request.method, request.path, e.what());
      answer(problem(500, "the server failed on this request; its log says why"));
    }
  }

  /// The handler runs on its own threads; its answer comes back to the session's.
  asio::awaitable<Response> answer_to(Executor executor,
                                      const http::request<http::string_body>& message,
                                      const Peer& peer) {
    auto request = to_request(message, peer);
    if (!request) co_return problem(400, "the request target is no path, or has a broken %-escape");
    const auto waiting = std::make_shared<Waiting>(executor);
    waiting->timer.expires_after(kLatestAnswer);
    Answer answer = [gate = gate, weak = std::weak_ptr<Waiting>(waiting)](Response r) {
      CloseUnlessTaken stream{r.stream};
      gate->post(weak, [r = std::move(r), stream = std::move(stream)](Waiting& w) mutable {
        if (w.response) return;  // answered already
        stream.body.reset();
        w.response = std::move(r);
        w.timer.cancel();
      });
    };
    asio::post(*handlers, [this, request = std::move(*request), answer = std::move(answer)] {
      handle(request, answer);
    });
    const auto latest = asio::steady_timer::clock_type::now() + kLatestAnswer;
    while (!waiting->response) {
      if (asio::steady_timer::clock_type::now() >= latest) {
        co_return problem(503, "the server has found no answer in time; try again");
      }
      co_await waiting->timer.async_wait(kNoThrow);
    }
    co_return std::move(*waiting->response);
  }

  static http::response<http::string_body> to_message(Response response, unsigned version,
                                                      bool keep_alive, bool head_only) {
    http::response<http::string_body> message(static_cast<http::status>(response.status), version);
    if (!response.body.empty()) message.set(http::field::content_type, response.content_type);
    for (const auto& [name, value] : response.headers) message.set(name, value);
    message.keep_alive(keep_alive);
    const size_t size = response.body.size();
    if (!head_only) message.body() = std::move(response.body);
    message.prepare_payload();
    if (head_only) message.content_length(size);
    return message;
  }

  void run() {
    thread = std::thread([this] {
      while (true) {
        try {
          io->run();
          return;
        } catch (const std::exception& e) {
          log_error("api", "in the HTTP server: {}", e.what());
        }
      }
    });
  }

  void stop() {
    if (!io) return;
    handlers->stop();
    handlers->join();
    gate->close();
    io->stop();
    if (thread.joinable()) thread.join();
    io.reset();  // ends the sessions and closes their sockets
    counts->open = counts->by_network = 0;
    for (const std::string& path : socket_files) ::unlink(path.c_str());
    socket_files.clear();
  }
};

HttpServer::HttpServer(std::unique_ptr<Running> running) : running_(std::move(running)) {}

HttpServer::~HttpServer() {
  stop();
}

void HttpServer::stop() {
  running_->stop();
}

Result<void> HttpServer::reload_certificate() {
  return running_->options.tls_certificate.empty() ? Result<void>() : running_->load();
}

const std::vector<ListenAddress>& HttpServer::addresses() const {
  return running_->addresses;
}

unsigned HttpServer::connections() const {
  return running_->counts->open;
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpOptions options) {
  PLEXUS_CHECK((options.handler || options.later_handler) && options.threads > 0,
               "an HTTP server needs a handler and a thread");
  PLEXUS_CHECK(options.unix_reserve < options.max_connections,
               "the network needs places for connections, too");
  auto running = std::make_unique<Running>(std::move(options));
  for (const ListenAddress& address : running->options.listen) {
    if (auto r = running->listen(address); !r) {
      running->stop();
      return r.error();
    }
  }
  running->run();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(running)));
}

}  // namespace plexus::api
