// SPDX-License-Identifier: Apache-2.0
#include "store/zookeeper/session.h"

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/log.h"

namespace plexus::store {

std::string code_text(int code) {
  const char* text = zerror(code);
  return text != nullptr ? text : "error " + std::to_string(code);
}

bool lost(int code) {
  switch (code) {
    case ZCONNECTIONLOSS:
    case ZOPERATIONTIMEOUT:
    case ZINVALIDSTATE:
    case ZSESSIONEXPIRED:
    case ZCLOSING:
    case ZSESSIONMOVED:
    case ZTHROTTLEDOP:
      return true;
    default:
      return false;
  }
}

namespace {

/// An Acl as the client wants it. Points into `acl`, which must outlive it.
class CAcl {
 public:
  explicit CAcl(const Acl& acl) {
    for (const AclEntry& e : acl) {
      entries_.push_back(ACL{
          e.permissions, {const_cast<char*>(e.scheme.c_str()), const_cast<char*>(e.id.c_str())}});
    }
    vector_.count = static_cast<int32_t>(entries_.size());
    vector_.data = entries_.data();
  }
  CAcl(const CAcl&) = delete;
  CAcl& operator=(const CAcl&) = delete;
  [[nodiscard]] ACL_vector* get() { return &vector_; }

 private:
  std::vector<ACL> entries_;
  ACL_vector vector_{};
};

}  // namespace

/// What is under way: who wants to know. Exactly one of the callbacks is set.
struct Session::Request {
  Session* session = nullptr;
  ValueDone data;
  StatDone stat;
  NamesDone names;
  AclDone acl;
  Done done;
  std::unique_ptr<MultiRequest> multi;

  void fail(int code);
};

struct Session::MultiRequest {
  std::vector<ZnodeOperation> operations;
  MultiDone done;
  std::vector<zoo_op_t> ops;
  std::vector<zoo_op_result_t> results;
  std::vector<Stat> stats;
  std::vector<std::unique_ptr<CAcl>> acls;
  std::vector<std::string> names;  ///< where the client writes the names of what it created

  void finish(int code) {
    size_t failed = ops.size();
    int64_t revision = 0;
    for (size_t i = 0; i < ops.size(); ++i) {
      const int err = results[i].err;
      if (failed == ops.size() && err != ZOK && err != ZRUNTIMEINCONSISTENCY) failed = i;
      if (code == ZOK && operations[i].kind == ZnodeOperation::Kind::set) revision = stats[i].mzxid;
    }
    if (code == ZOK || lost(code)) failed = ops.size();
    done(failed < ops.size() ? results[failed].err : code, failed, revision);
  }
};

void Session::Request::fail(int code) {
  const Stat none{};
  if (data) data(code, {}, none);
  if (stat) stat(code, none);
  if (names) names(code, {});
  if (acl) acl(code, {});
  if (done) done(code);
  if (multi) multi->done(code, multi->ops.size(), 0);
}

struct Session::Calls {
  static Request& from(const void* request) {
    return *static_cast<Request*>(const_cast<void*>(request));
  }
  static std::unique_ptr<Request> take(const void* request) {
    return from(request).session->take(request);
  }

  static void data(int code, const char* value, int length, const Stat* stat, const void* r) {
    const auto request = take(r);
    std::string bytes;
    if (code == ZOK && value != nullptr && length > 0) {
      bytes.assign(value, static_cast<size_t>(length));
    }
    request->data(code, std::move(bytes), code == ZOK && stat != nullptr ? *stat : Stat{});
  }
  static void stat(int code, const Stat* stat, const void* r) {
    take(r)->stat(code, code == ZOK && stat != nullptr ? *stat : Stat{});
  }
  static void names(int code, const String_vector* strings, const void* r) {
    const auto request = take(r);
    std::vector<std::string> names;
    if (code == ZOK && strings != nullptr) {
      for (int32_t i = 0; i < strings->count; ++i) names.emplace_back(strings->data[i]);
    }
    request->names(code, std::move(names));
  }
  static void acl(int code, ACL_vector* list, Stat* /*stat*/, const void* r) {
    const auto request = take(r);
    Acl acl;
    if (code == ZOK && list != nullptr) {
      for (int32_t i = 0; i < list->count; ++i) {
        acl.push_back({list->data[i].perms, list->data[i].id.scheme, list->data[i].id.id});
      }
    }
    request->acl(code, std::move(acl));
  }
  static void string(int code, const char* /*value*/, const void* r) { take(r)->done(code); }
  static void nothing(int code, const void* r) { take(r)->done(code); }
  static void multi(int code, const void* r) { take(r)->multi->finish(code); }

  static void session_event(zhandle_t* /*handle*/, int type, int state, const char* /*path*/,
                            void* context) {
    if (type != ZOO_SESSION_EVENT) return;
    auto* session = static_cast<Session*>(context);
    if (state == ZOO_CONNECTED_STATE) {
      session->on_event_(Event::connected);
    } else if (state == ZOO_EXPIRED_SESSION_STATE || state == ZOO_AUTH_FAILED_STATE) {
      session->on_event_(Event::expired);
    } else {
      session->on_event_(Event::disconnected);
    }
  }
  // One function and one context for all paths: the client then calls it once for a session event,
  // not once for each path.
  static void fired(zhandle_t* /*handle*/, int type, int /*state*/, const char* path,
                    void* context) {
    if (type == ZOO_SESSION_EVENT || type == ZOO_NOTWATCHING_EVENT) return;
    static_cast<Session*>(context)->on_fired_(path);
  }
  static void log(const char* message) { log_debug("store", "zookeeper client: {}", message); }
};

Session::Session(EventCallback on_event, WatchFired on_fired)
    : on_event_(std::move(on_event)), on_fired_(std::move(on_fired)) {}

Result<std::shared_ptr<Session>> Session::start(const Settings& settings, EventCallback on_event,
                                                WatchFired on_fired) {
  // What it would say we say ourselves, once, when the state changes.
  zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
  std::shared_ptr<Session> session(new Session(std::move(on_event), std::move(on_fired)));
  std::unique_lock lock(session->mutex_);
  session->handle_ = zookeeper_init2(settings.servers.c_str(), &Calls::session_event,
                                     static_cast<int>(settings.timeout.count()), nullptr,
                                     session.get(), ZOO_NO_LOG_CLIENTENV, &Calls::log);
  if (session->handle_ == nullptr) {
    return Error{ErrorCode::unavailable, "zookeeper " + settings.servers +
                                             ": cannot start a session: " + std::strerror(errno)};
  }
  // Otherwise it resolves the servers' names each time it looks at its socket.
  zoo_set_servers_resolution_delay(session->handle_, -1);
  for (const Credential& c : settings.credentials) {
    const std::string text = c.name + ":" + c.secret;
    zoo_add_auth(session->handle_, "digest", text.data(), static_cast<int>(text.size()), nullptr,
                 nullptr);
  }
  return session;
}

Session::~Session() {
  close();
}

void Session::close() {
  zhandle_t* handle = nullptr;
  {
    std::unique_lock lock(mutex_);
    std::swap(handle, handle_);
  }
  if (handle != nullptr) zookeeper_close(handle);
  std::unordered_set<Request*> left;
  {
    std::lock_guard lock(requests_mutex_);
    left.swap(requests_);
  }
  for (Request* request : left) {
    request->fail(ZCLOSING);
    delete request;
  }
}

int64_t Session::id() const {
  std::shared_lock lock(mutex_);
  return handle_ != nullptr ? zoo_client_id(handle_)->client_id : 0;
}

std::unique_ptr<Session::Request> Session::take(const void* request) {
  auto* mine = static_cast<Request*>(const_cast<void*>(request));
  std::lock_guard lock(requests_mutex_);
  PLEXUS_CHECK(requests_.erase(mine) == 1, "the client answers each request once");
  return std::unique_ptr<Request>(mine);
}

template <typename Send>
void Session::issue(std::unique_ptr<Request> request, const Send& send) {
  request->session = this;
  Request* raw = request.get();
  {
    std::lock_guard lock(requests_mutex_);
    requests_.insert(request.release());
  }
  int code = ZCLOSING;
  {
    std::shared_lock lock(mutex_);
    if (handle_ != nullptr) code = send(handle_, raw);
  }
  if (code == ZOK) return;
  // close() may have taken it.
  {
    std::lock_guard lock(requests_mutex_);
    if (requests_.erase(raw) == 0) return;
  }
  const std::unique_ptr<Request> failed(raw);
  failed->fail(code);
}

void Session::get(const std::string& path, bool watch, ValueDone done) {
  auto request = std::make_unique<Request>();
  request->data = std::move(done);
  issue(std::move(request), [&](zhandle_t* handle, Request* r) {
    return zoo_awget(handle, path.c_str(), watch ? &Calls::fired : nullptr, this, &Calls::data, r);
  });
}

void Session::exists(const std::string& path, bool watch, StatDone done) {
  auto request = std::make_unique<Request>();
  request->stat = std::move(done);
  issue(std::move(request), [&](zhandle_t* handle, Request* r) {
    return zoo_awexists(handle, path.c_str(), watch ? &Calls::fired : nullptr, this, &Calls::stat,
                        r);
  });
}

void Session::children(const std::string& path, NamesDone done) {
  auto request = std::make_unique<Request>();
  request->names = std::move(done);
  issue(std::move(request), [&](zhandle_t* handle, Request* r) {
    return zoo_aget_children(handle, path.c_str(), 0, &Calls::names, r);
  });
}

void Session::get_acl(const std::string& path, AclDone done) {
  auto request = std::make_unique<Request>();
  request->acl = std::move(done);
  issue(std::move(request), [&](zhandle_t* handle, Request* r) {
    return zoo_aget_acl(handle, path.c_str(), &Calls::acl, r);
  });
}

void Session::set_acl(const std::string& path, const Acl& acl, Done done) {
  auto request = std::make_unique<Request>();
  request->done = std::move(done);
  CAcl list(acl);
  issue(std::move(request), [&](zhandle_t* handle, Request* r) {
    return zoo_aset_acl(handle, path.c_str(), -1, list.get(), &Calls::nothing, r);
  });
}

void Session::sync(const std::string& path, Done done) {
  auto request = std::make_unique<Request>();
  request->done = std::move(done);
  issue(std::move(request), [&](zhandle_t* handle, Request* r) {
    return zoo_async(handle, path.c_str(), &Calls::string, r);
  });
}

void Session::remove_watch(const std::string& path, Done done) {
  auto request = std::make_unique<Request>();
  request->done = std::move(done);
  issue(std::move(request), [&](zhandle_t* handle, Request* r) {
    // The prototype says "pointer to completion", the client uses it as the completion itself.
    return zoo_aremove_all_watches(handle, path.c_str(), ZWATCHTYPE_DATA, 0,
                                   reinterpret_cast<void_completion_t*>(&Calls::nothing), r);
  });
}

void Session::multi(std::vector<ZnodeOperation> operations, MultiDone done) {
  auto request = std::make_unique<Request>();
  request->multi = std::make_unique<MultiRequest>();
  MultiRequest& m = *request->multi;
  m.operations = std::move(operations);
  m.done = std::move(done);
  const size_t count = m.operations.size();
  m.ops.resize(count);
  m.results.resize(count);
  m.stats.resize(count);
  m.names.resize(count);
  for (size_t i = 0; i < count; ++i) {
    ZnodeOperation& o = m.operations[i];
    zoo_op_t* op = &m.ops[i];
    const auto length = static_cast<int>(o.value.size());
    switch (o.kind) {
      case ZnodeOperation::Kind::check:
        zoo_check_op_init(op, o.path.c_str(), o.version);
        break;
      case ZnodeOperation::Kind::create:
        PLEXUS_CHECK(o.acl != nullptr, "a znode is created with its access");
        m.names[i].resize(o.path.size() + 16);
        m.acls.push_back(std::make_unique<CAcl>(*o.acl));
        zoo_create_op_init(op, o.path.c_str(), o.value.data(), length, m.acls.back()->get(),
                           o.flags, m.names[i].data(), static_cast<int>(m.names[i].size()));
        break;
      case ZnodeOperation::Kind::set:
        zoo_set_op_init(op, o.path.c_str(), o.value.data(), length, o.version, &m.stats[i]);
        break;
      case ZnodeOperation::Kind::remove:
        zoo_delete_op_init(op, o.path.c_str(), o.version);
        break;
    }
  }
  issue(std::move(request), [&](zhandle_t* handle, Request* r) {
    return zoo_amulti(handle, static_cast<int>(count), r->multi->ops.data(),
                      r->multi->results.data(), &Calls::multi, r);
  });
}

}  // namespace plexus::store
