// SPDX-License-Identifier: Apache-2.0
#include "cli/http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

namespace plexus::cli {
namespace {

constexpr size_t kMaxReply = 256u << 20;

size_t append(char* data, size_t size, size_t count, void* user) {
  auto& body = *static_cast<std::string*>(user);
  if (body.size() + size * count > kMaxReply) return 0;
  body.append(data, size * count);
  return size * count;
}

}  // namespace

struct HttpClient::Handle {
  Handle() : curl(curl_easy_init()) { PLEXUS_CHECK(curl != nullptr, "libcurl has no memory"); }
  ~Handle() { curl_easy_cleanup(curl); }
  CURL* curl;
};

HttpClient::HttpClient(std::string address, std::string socket, std::string base)
    : address_(std::move(address)),
      socket_(std::move(socket)),
      base_(std::move(base)),
      handle_(std::make_unique<Handle>()) {}

HttpClient::~HttpClient() = default;

Result<std::unique_ptr<HttpClient>> HttpClient::to(std::string_view address) {
  std::string socket, base;
  if (address.substr(0, 5) == "unix:") {
    socket = address.substr(5);
    if (socket.empty() || socket[0] != '/') {
      return Error{ErrorCode::invalid,
                   fmt::format("'{}': write unix:/PATH with an absolute path", address)};
    }
    if (socket.size() > 107) {
      return Error{ErrorCode::invalid,
                   fmt::format("'{}': the path of a unix socket has at most 107 bytes", address)};
    }
    base = "http://localhost";
  } else {
    base =
        address.substr(0, 7) == "http://" ? std::string(address) : "http://" + std::string(address);
    while (base.size() > 7 && base.back() == '/') base.pop_back();
    const std::string_view rest = std::string_view(base).substr(7);
    if (rest.empty() || rest.find(':') == std::string_view::npos ||
        rest.find('/') != std::string_view::npos) {
      return Error{
          ErrorCode::invalid,
          fmt::format("'{}' is no address; write unix:/PATH or http://127.0.0.1:PORT", address)};
    }
  }
  return std::unique_ptr<HttpClient>(
      new HttpClient(std::string(address), std::move(socket), std::move(base)));
}

Result<HttpReply> HttpClient::request(const std::string& method, const std::string& target,
                                      const std::string& body) {
  CURL* curl = handle_->curl;
  curl_easy_reset(curl);  // options only: the connection stays open
  HttpReply reply;
  char error[CURL_ERROR_SIZE] = "";
  const std::string url = base_ + target;
  curl_slist* headers = nullptr;
  headers = curl_slist_append(headers, "Expect:");
  if (!body.empty()) headers = curl_slist_append(headers, "Content-Type: application/json");
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method.c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_PROXY,
                   "");  // an http_proxy of the environment is not meant for the control plane
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout_.count()));
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &append);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply.body);
  if (!socket_.empty()) curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket_.c_str());
  if (!body.empty()) {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.data());
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  }
  const CURLcode code = curl_easy_perform(curl);
  curl_slist_free_all(headers);
  if (code == CURLE_OPERATION_TIMEDOUT) {
    return Error{ErrorCode::internal,
                 fmt::format("{} gave no answer within {} s", address_, timeout_.count() / 1000)};
  }
  if (code != CURLE_OK) {
    long os_error = 0;
    curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &os_error);
    const std::string why = os_error != 0
                                ? std::string(strerror(static_cast<int>(os_error)))
                                : std::string(error[0] != '\0' ? error : curl_easy_strerror(code));
    return Error{ErrorCode::unavailable,
                 fmt::format("{} does not answer: {}; is its server running?", address_, why)};
  }
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  reply.status = static_cast<int>(status);
  const char* type = nullptr;
  curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
  if (type != nullptr) {
    reply.content_type = type;
    reply.content_type = reply.content_type.substr(0, reply.content_type.find(';'));
  }
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
