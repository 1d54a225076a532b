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
#include <boost/asio/socket_base.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <thread>

#include "api/url.h"
#include "base/log.h"
#include "codec/json.h"

namespace plexus::api {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

/// One protocol type for TCP and unix sockets, so that the session is compiled once.
using Generic = asio::generic::stream_protocol;
using Acceptor = asio::basic_socket_acceptor<Generic, asio::any_io_executor>;
using Stream = beast::basic_stream<Generic, asio::any_io_executor>;
constexpr auto kNoThrow = asio::as_tuple(asio::use_awaitable);

constexpr uint32_t kMaxHeader = 16 * 1024;

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

}  // namespace

struct HttpServer::Running {
  explicit Running(HttpOptions o)
      : options(std::move(o)),
        io(std::make_unique<asio::io_context>(static_cast<int>(options.threads))) {}

  HttpOptions options;
  std::unique_ptr<asio::io_context> io;  ///< null once stopped
  std::vector<ListenAddress> addresses;
  std::vector<std::string> socket_files;
  std::vector<std::thread> threads;
  std::atomic<unsigned> connections{0};

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
    begin(std::move(acceptor), false);
    return Ok{};
  }

  Result<void> listen_tcp(ListenAddress address) {
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
    begin(std::move(acceptor), true);
    return Ok{};
  }

  void begin(Acceptor acceptor, bool from_network) {
    const auto executor = acceptor.get_executor();
    asio::co_spawn(executor, accept_loop(std::move(acceptor), from_network), asio::detached);
  }

  asio::awaitable<void> accept_loop(Acceptor acceptor, bool from_network) {
    asio::steady_timer pause(acceptor.get_executor());
    while (true) {
      if (connections >= options.max_connections) {
        pause.expires_after(std::chrono::milliseconds(20));
        co_await pause.async_wait(kNoThrow);
        continue;
      }
      auto [ec, socket] = co_await acceptor.async_accept(asio::make_strand(*io), kNoThrow);
      if (ec == asio::error::operation_aborted) co_return;
      if (ec) {
        // Out of file descriptors, mostly: others will close some.
        pause.expires_after(std::chrono::milliseconds(100));
        co_await pause.async_wait(kNoThrow);
        continue;
      }
      ++connections;
      const auto executor = socket.get_executor();
      asio::co_spawn(executor, session(Stream(std::move(socket)), from_network),
                     [this](const std::exception_ptr&) { --connections; });
    }
  }

  asio::awaitable<void> session(Stream stream, bool from_network) {
    beast::flat_buffer buffer;
    while (true) {
      http::request_parser<http::string_body> parser;
      parser.header_limit(kMaxHeader);
      parser.body_limit(options.max_body);
      stream.expires_after(options.timeout);
      const auto [read_error, n] = co_await http::async_read(stream, buffer, parser, kNoThrow);
      if (read_error) {
        if (auto answer = answer_to(read_error)) {
          auto message = to_message(std::move(*answer), 11, false, false);
          stream.expires_after(std::chrono::seconds(1));
          co_await http::async_write(stream, message, kNoThrow);
          co_await linger(stream);
        }
        break;
      }
      const http::request<http::string_body>& request = parser.get();
      const bool keep_alive = request.keep_alive();
      auto message = to_message(answer_to(request, from_network), request.version(), keep_alive,
                                request.method() == http::verb::head);
      stream.expires_after(options.timeout);
      const auto [write_error, written] = co_await http::async_write(stream, message, kNoThrow);
      if (write_error || !message.keep_alive()) break;
    }
    error_code ignored;
    ignored = stream.socket().shutdown(asio::socket_base::shutdown_send, ignored);
  }

  /// Reads on for a moment, so that a client that is still sending sees our answer and not a reset.
  asio::awaitable<void> linger(Stream& stream) {
    error_code ec;
    ec = stream.socket().shutdown(asio::socket_base::shutdown_send, ec);
    std::array<char, 4096> rest{};
    stream.expires_after(std::chrono::seconds(1));
    for (size_t total = 0; !ec && total < options.max_body * 4;) {
      const auto [e, n] = co_await stream.async_read_some(asio::buffer(rest), kNoThrow);
      ec = e;
      total += n;
    }
  }

  /// What to say to a request that could not be read; nullopt: nothing, the client is gone.
  std::optional<Response> answer_to(const error_code& ec) const {
    if (ec == http::error::end_of_stream || ec == asio::error::operation_aborted)
      return std::nullopt;
    if (ec == beast::error::timeout) return std::nullopt;
    if (ec == http::error::body_limit) {
      return problem(413, fmt::format("the body is larger than {} bytes; send less at once",
                                      options.max_body));
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

  Response answer_to(const http::request<http::string_body>& message, bool from_network) const {
    const auto header = [&](http::field name) { return std::string(view(message[name])); };
    auto target = parse_target(view(message.target()));
    if (!target) return problem(400, "the request target is no path, or has a broken %-escape");
    Request request;
    request.method = std::string(view(message.method_string()));
    request.path = std::move(target->path);
    request.query = std::move(target->query);
    request.content_type = lower_media_type(header(http::field::content_type));
    request.if_match = header(http::field::if_match);
    request.has_origin = message.count(http::field::origin) > 0;
    request.host = header(http::field::host);
    request.from_network = from_network;
    request.body = message.body();
    if (request.method == "HEAD") request.method = "GET";
    try {
      return options.handler(request);
    } catch (const std::exception& e) {
      log_error("api", "{} {}: {}", request.method, request.path, e.what());
      return problem(500, "the server failed on this request; its log says why");
    }
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
    for (unsigned i = 0; i < options.threads; ++i) {
      threads.emplace_back([this] {
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
  }

  void stop() {
    if (!io) return;
    io->stop();
    for (std::thread& t : threads) t.join();
    threads.clear();
    io.reset();  // ends the sessions and closes their sockets
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

const std::vector<ListenAddress>& HttpServer::addresses() const {
  return running_->addresses;
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpOptions options) {
  PLEXUS_CHECK(options.handler && options.threads > 0,
               "an HTTP server needs a handler and a thread");
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

std::string ListenAddress::str() const {
  if (is_unix) return "unix:" + path;
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

Result<ListenAddress> ListenAddress::parse(std::string_view text) {
  const Error form{
      ErrorCode::invalid,
      codec::in_quotes(text) +
          " is no address to listen on; write unix:/PATH, 127.0.0.1:PORT or [::1]:PORT"};
  ListenAddress out;
  if (text.substr(0, 5) == "unix:") {
    out.is_unix = true;
    out.path = text.substr(5);
    if (out.path.empty() || out.path[0] != '/' || out.path.find('\0') != std::string::npos)
      return form;
    return out;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return form;
  std::string_view host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return form;
  }
  uint32_t port = 0;
  const std::string_view digits = text.substr(colon + 1);
  if (digits.empty() || digits.size() > 5) return form;
  for (const char c : digits) {
    if (c < '0' || c > '9') return form;
    port = port * 10 + static_cast<uint32_t>(c - '0');
  }
  if (port > 65535) return form;
  error_code ec;
  const auto ip = asio::ip::make_address(std::string(host), ec);
  if (ec) return form;
  if (!ip.is_loopback()) {
    return Error{
        ErrorCode::invalid,
        fmt::format("{} can be reached from other machines, and there is no authentication "
                    "yet; listen on 127.0.0.1:{} or on a unix socket",
                    text, port)};
  }
  out.host = std::string(host);
  out.port = static_cast<uint16_t>(port);
  return out;
}

std::string_view reason_phrase(int status) {
  return view(http::obsolete_reason(static_cast<http::status>(status)));
}

Response problem(int status, std::string_view detail, std::string_view extra) {
  Response r;
  r.status = status;
  r.content_type = "application/problem+json";
  r.body = fmt::format(R"({{"type":"about:blank","title":{},"status":{},"detail":{}{}}})",
                       codec::json_string(reason_phrase(status)), status,
                       codec::json_string(detail), extra);
  return r;
}

}  // namespace plexus::api
