// SPDX-License-Identifier: Apache-2.0
#include "cli/http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <cstring>

#include "codec/node.h"

namespace plexus::cli {
namespace {

constexpr size_t kMaxReply = 256u << 20;

/// What libcurl's callbacks write to.
struct Receiver {
  CURL* curl;
  HttpReply& reply;
  const HttpClient::OnBytes* on_bytes;  ///< nullptr: all into the reply
  bool enough = false;
};

size_t on_body(char* data, size_t size, size_t count, void* user) {
  auto& r = *static_cast<Receiver*>(user);
  if (r.on_bytes != nullptr) {
    long status = 0;
    curl_easy_getinfo(r.curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200) {
      if ((*r.on_bytes)({data, size * count})) return size * count;
      r.enough = true;
      return 0;
    }
  }
  if (r.reply.body.size() + size * count > kMaxReply) return 0;
  r.reply.body.append(data, size * count);
  return size * count;
}

size_t on_header(char* data, size_t size, size_t count, void* user) {
  constexpr std::string_view kRevision = "plexus-revision:";
  std::string_view line(data, size * count);
  if (line.size() > kRevision.size() &&
      strncasecmp(line.data(), kRevision.data(), kRevision.size()) == 0) {
    line.remove_prefix(kRevision.size());
    const size_t first = line.find_first_not_of(" \t");
    const size_t last = line.find_last_not_of(" \t\r\n");
    if (first != std::string_view::npos)
      static_cast<Receiver*>(user)->reply.revision = line.substr(first, last - first + 1);
  }
  return size * count;
}

bool is_local(std::string_view base) {
  std::string_view host = base.substr(base.find("://") + 3);
  host = host.substr(0, host.rfind(':'));
  return host == "localhost" || host == "[::1]" ||
         (host.starts_with("127.") &&
          host.find_first_not_of("0123456789.") == std::string_view::npos);
}

Result<Endpoint> parse_address(const std::string& address) {
  const auto wrong = [&](std::string_view remedy) {
    return Error{ErrorCode::invalid,
                 codec::in_quotes(address) + " is no address; " + std::string(remedy)};
  };
  Endpoint out;
  out.address = address;
  if (address.starts_with("unix:")) {
    out.socket = address.substr(5);
    if (out.socket.empty() || out.socket[0] != '/')
      return wrong("write unix:/PATH with an absolute path");
    if (out.socket.size() > 107) return wrong("the path of a unix socket has at most 107 bytes");
    out.base = "http://localhost";
    return out;
  }
  out.base = address.find("://") == std::string::npos ? "http://" + address : address;
  constexpr std::string_view kRemedy =
      "write unix:/PATH, http://127.0.0.1:PORT or https://HOST:PORT";
  if (!out.base.starts_with("http://") && !out.base.starts_with("https://")) return wrong(kRemedy);
  while (out.base.back() == '/') out.base.pop_back();
  const size_t begin = out.base.find("://");
  const std::string_view rest = begin == std::string::npos
                                    ? std::string_view()
                                    : std::string_view(out.base).substr(begin + 3);
  if (rest.empty() || rest.find(':') == std::string_view::npos ||
      rest.find_first_of("/@?# ") != std::string_view::npos) {
    return wrong(kRemedy);
  }
  return out;
}

}  // namespace

Result<std::vector<Endpoint>> parse_addresses(std::string_view addresses) {
  std::vector<Endpoint> out;
  for (size_t begin = 0; begin <= addresses.size();) {
    const size_t end = std::min(addresses.find(',', begin), addresses.size());
    std::string_view one = addresses.substr(begin, end - begin);
    while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
    while (!one.empty() && one.back() == ' ') one.remove_suffix(1);
    auto endpoint = parse_address(std::string(one));
    if (!endpoint) return endpoint.error();
    out.push_back(std::move(*endpoint));
    begin = end + 1;
  }
  return out;
}

struct HttpClient::Handle {
  Handle() : curl(curl_easy_init()) { PLEXUS_CHECK(curl != nullptr, "libcurl has no memory"); }
  ~Handle() { curl_easy_cleanup(curl); }
  CURL* curl;
};

/// What came of asking one server.
struct HttpClient::Attempt {
  Result<HttpReply> result;
  bool sent = true;  ///< false: it certainly did not get the request
};

HttpClient::HttpClient(std::vector<Endpoint> endpoints, Credentials credentials)
    : endpoints_(std::move(endpoints)),
      credentials_(std::move(credentials)),
      handle_(std::make_unique<Handle>()) {}

HttpClient::~HttpClient() = default;

Result<std::unique_ptr<HttpClient>> HttpClient::to(std::string_view addresses,
                                                   Credentials credentials) {
  auto endpoints = parse_addresses(addresses);
  if (!endpoints) return endpoints.error();
  for (const Endpoint& e : *endpoints) {
    if (credentials.token.empty() || !e.socket.empty() || e.base.starts_with("https://") ||
        is_local(e.base)) {
      continue;
    }
    return Error{ErrorCode::invalid,
                 fmt::format("the token would be sent to {} for everybody to read; write https://",
                             e.address)};
  }
  return std::unique_ptr<HttpClient>(new HttpClient(std::move(*endpoints), std::move(credentials)));
}

HttpClient::Attempt HttpClient::ask(const std::string& method, const std::string& target,
                                    const std::string& body, const OnBytes* on_bytes,
                                    std::chrono::seconds idle) {
  const Endpoint& to = endpoints_[current_];
  CURL* curl = handle_->curl;
  curl_easy_reset(curl);  // options only: the connection stays open
  HttpReply reply;
  Receiver receiver{curl, reply, on_bytes};
  char error[CURL_ERROR_SIZE] = "";
  const std::string url = to.base + target;
  curl_slist* headers = curl_slist_append(nullptr, "Expect:");
  if (!body.empty()) headers = curl_slist_append(headers, "Content-Type: application/json");
  if (on_bytes != nullptr) headers = curl_slist_append(headers, "Accept: text/event-stream");
  if (!credentials_.token.empty()) {
    headers = curl_slist_append(headers, ("Authorization: Bearer " + credentials_.token).c_str());
  }
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method.c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  // An http_proxy of the environment is not meant for the control plane.
  curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
  if (on_bytes == nullptr) {
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout_.count()));
  } else {
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(idle.count()));
  }
  if (!credentials_.ca_file.empty())
    curl_easy_setopt(curl, CURLOPT_CAINFO, credentials_.ca_file.c_str());
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &receiver);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &receiver);
  if (!to.socket.empty()) curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, to.socket.c_str());
  if (!body.empty()) {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.data());
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  }
  const CURLcode code = curl_easy_perform(curl);
  curl_slist_free_all(headers);
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  reply.status = static_cast<int>(status);
  if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && receiver.enough)) {
    const char* type = nullptr;
    curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
    if (type != nullptr) {
      reply.content_type = type;
      reply.content_type = reply.content_type.substr(0, reply.content_type.find(';'));
    }
    return {std::move(reply)};
  }
  long os_error = 0;
  curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &os_error);
  const std::string why = os_error != 0
                              ? std::string(strerror(static_cast<int>(os_error)))
                              : std::string(error[0] != '\0' ? error : curl_easy_strerror(code));
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      if (on_bytes != nullptr) {
        return {Error{ErrorCode::unavailable, to.address + " has fallen silent"}};
      }
      return {
          Error{ErrorCode::internal,
                fmt::format(
                    "{} gave no answer within {} s{}", to.address, timeout_.count() / 1000,
                    method == "GET" ? "" : "; it may have been done: look before you repeat it")}};
    case CURLE_PEER_FAILED_VERIFICATION:
      return {Error{ErrorCode::denied,
                    fmt::format("{} is not trusted: {}; give its authority's certificate with "
                                "--cacert FILE",
                                to.address, why)},
              false};
    case CURLE_SSL_CACERT_BADFILE:
      return {Error{ErrorCode::invalid, fmt::format("--cacert: {} holds no certificates",
                                                    codec::in_quotes(credentials_.ca_file))},
              false};
    case CURLE_SSL_CONNECT_ERROR:
      return {Error{ErrorCode::unavailable,
                    fmt::format("{} does not speak TLS: {}; is it an http:// address?", to.address,
                                why)},
              false};
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
      return {Error{ErrorCode::unavailable,
                    fmt::format("{} does not answer: {}; is its server running?", to.address, why)},
              false};
    case CURLE_WRITE_ERROR:
      return {Error{ErrorCode::internal, fmt::format("the answer of {} is larger than {} MiB",
                                                     to.address, kMaxReply >> 20)}};
    default:
      return {Error{ErrorCode::unavailable,
                    fmt::format("{} broke off: {}{}", to.address, why,
                                method == "GET" ? "" : "; it may have done what was asked")}};
  }
}

Result<HttpReply> HttpClient::try_servers(const std::string& method, const std::string& target,
                                          const std::string& body, const OnBytes* on_bytes,
                                          std::chrono::seconds idle) {
  std::string failures;
  for (size_t tried = 1;; ++tried) {
    Attempt attempt = ask(method, target, body, on_bytes, idle);
    Result<HttpReply>& result = attempt.result;
    const bool down = result.ok() ? result->status == 503
                                  : result.error().code == ErrorCode::unavailable ||
                                        result.error().code == ErrorCode::internal;
    if (!down || endpoints_.size() == 1) return std::move(result);
    // Whatever is asked next goes to another server. What may have been done already is not done again here.
    current_ = (current_ + 1) % endpoints_.size();
    if (!result.ok()) failures += (failures.empty() ? "" : "; ") + result.error().message;
    const bool again = (method == "GET" && !delivered_) || !attempt.sent;
    if (again && tried < endpoints_.size()) continue;
    if (result.ok()) return std::move(result);
    return Error{result.error().code, failures};
  }
}

Result<HttpReply> HttpClient::request(const std::string& method, const std::string& target,
                                      const std::string& body) {
  return try_servers(method, target, body, nullptr, {});
}

Result<HttpReply> HttpClient::stream(const std::string& target, std::chrono::seconds idle,
                                     const OnBytes& on_bytes) {
  delivered_ = false;
  const OnBytes noting = [&](std::string_view data) {
    delivered_ = true;
    return on_bytes(data);
  };
  auto reply = try_servers("GET", target, {}, &noting, idle);
  delivered_ = false;
  return reply;
}

std::string url_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    out += plain ? std::string(1, c)
                 : fmt::format("%{:02X}", static_cast<unsigned>(static_cast<uint8_t>(c)));
  }
  return out;
}

}  // namespace plexus::cli
