// SPDX-License-Identifier: Apache-2.0
#include "api/http_message.h"

#include <fmt/format.h>

#include "codec/json.h"

namespace plexus::api {

std::optional<std::string> Request::parameter(std::string_view name) const {
  for (const auto& [key, value] : query) {
    if (key == name) return value;
  }
  return std::nullopt;
}

std::string Response::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

bool BodyStream::push(Chunk chunk) {
  std::function<void()> wake;
  bool taken = true;
  {
    const std::lock_guard lock(mutex_);
    if (closed_ || ended_ || broken_) return false;
    if (waiting_ + taken_ + chunk->size() > limit_) {
      broken_ = true;
      chunks_.clear();
      taken = false;
    } else {
      waiting_ += chunk->size();
      chunks_.push_back(std::move(chunk));
    }
    if (!taken || chunks_.size() == 1) wake = more_;
  }
  if (wake) wake();
  return taken;
}

void BodyStream::end() {
  std::function<void()> wake;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    wake = more_;
  }
  if (wake) wake();
}

bool BodyStream::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_ || ended_ || broken_;
}

size_t BodyStream::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_ + taken_;
}

BodyStream::Taken BodyStream::take() {
  Taken out;
  std::function<void()> room;
  {
    const std::lock_guard lock(mutex_);
    taken_ = waiting_;
    waiting_ = 0;
    out.chunks.swap(chunks_);
    out.ended = ended_;
    out.broken = broken_;
    if (out.chunks.empty() && !ended_ && !broken_) room = room_;
  }
  if (room) room();
  return out;
}

void BodyStream::on_more(std::function<void()> wake) {
  const std::lock_guard lock(mutex_);
  more_ = std::move(wake);
}

void BodyStream::on_room(std::function<void()> room) {
  const std::lock_guard lock(mutex_);
  room_ = std::move(room);
}

void BodyStream::close() {
  std::function<void()> more, room;  // destroyed without the lock: they may own this
  const std::lock_guard lock(mutex_);
  closed_ = true;
  chunks_.clear();
  waiting_ = taken_ = 0;
  more.swap(more_);
  room.swap(room_);
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Payload Too Large";
    case 415:
      return "Unsupported Media Type";
    case 422:
      return "Unprocessable Entity";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    case 507:
      return "Insufficient Storage";
    default:
      return "Unknown";
  }
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
