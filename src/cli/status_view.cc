// SPDX-License-Identifier: Apache-2.0
#include "cli/status_view.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include "codec/format.h"

namespace plexus::cli {

using codec::Node;
using codec::ResourceSpec;
using google::protobuf::Message;

namespace {

bool is_true(const Message& m, std::string_view field) {
  return codec::get_text(m, field) == "true";
}

std::string name_of(const codec::NameTable& names, const std::string& id) {
  const auto uuid = Uuid::parse(id);
  return uuid ? names.name_of(uuid->raw()) : id;
}

}  // namespace

StatusView::StatusView(const std::vector<Node>& hosts, const std::vector<Node>& bindings) {
  for (const Node& h : hosts) hosts_[text_of(h, "id")] = h;
  for (const Node& b : bindings) {
    // A port that nobody has ever had has an empty binding.
    const std::string host = text_of(b, "host");
    if (host.empty()) continue;
    bindings_[text_of(b, "port")] = b;
    if (text_of(b, "active") == "true") ++active_[host];
  }
}

bool StatusView::exists_for(const ResourceSpec& type) {
  return type.singular == "host" || type.singular == "port";
}

Result<StatusView> StatusView::load(ApiClient& api, const ResourceSpec& type,
                                    codec::NameTable& names) {
  auto bindings = api.items("status/bindings");
  if (!bindings) return bindings.error();
  std::vector<Node> hosts;
  if (type.singular == "host") {
    auto states = api.items("status/hosts");
    if (!states) return states.error();
    hosts = std::move(*states);
  } else if (auto r = api.learn_names(*codec::find_singular("host"), names);
             !r && r.error().code != ErrorCode::denied) {
    return r.error();
  }
  StatusView view(hosts, *bindings);
  if (type.singular == "host") {
    auto ports = api.list(*codec::find_singular("port"));
    if (!ports) return ports.error();
    std::map<std::string, std::string> host_of;
    for (const Object& p : *ports) host_of[p.id()] = codec::get_text(*p.message, "host");
    for (const Object& p : *ports) {
      // A sub-port is wanted where its parent is.
      const std::string parent = codec::get_text(*p.message, "parent");
      view.count_wanted(host_of[parent.empty() ? p.id() : parent]);
    }
  }
  return view;
}

void StatusView::count_wanted(const std::string& host) {
  if (!host.empty()) ++wanted_[host];
}

PortStatus StatusView::of_port(const Message& port, const codec::NameTable& names) const {
  const std::string wanted = codec::get_text(port, "host");
  const std::string target = codec::get_text(port, "migrating_to");
  const auto binding = bindings_.find(codec::get_text(port, "id"));
  if (codec::has_field(port, "parent")) {
    const auto parent = bindings_.find(codec::get_text(port, "parent"));
    const std::string there = parent == bindings_.end() ? "" : text_of(parent->second, "host");
    if (binding == bindings_.end()) return {"", there.empty() ? "unplugged" : "unbound"};
    const std::string host = text_of(binding->second, "host");
    const bool is_active = text_of(binding->second, "active") == "true";
    return {name_of(names, host), host != there ? "moving" : is_active ? "active" : "inactive"};
  }
  if (binding == bindings_.end()) {
    if (codec::has_field(port, "peer")) return {"", "interior"};
    return {"", wanted.empty() ? "unplugged" : "unbound"};
  }
  const std::string actual = text_of(binding->second, "host");
  PortStatus out{name_of(names, actual), "active"};
  if (wanted.empty()) {
    out.state = text_of(binding->second, "active") == "true" ? "leaving" : "unplugged";
    if (out.state == "unplugged") out.host.clear();
  } else if (actual != wanted) {
    out.state = "moving";
  } else if (text_of(binding->second, "active") != "true") {
    out.state = "inactive";
  }
  if (!target.empty() && target != actual) out.state += ", migrating to " + name_of(names, target);
  return out;
}

HostStatus StatusView::of_host(const Message& host) const {
  HostStatus out;
  const std::string id = codec::get_text(host, "id");
  const auto state = hosts_.find(id);
  out.live = state != hosts_.end() && text_of(state->second, "live") == "true";
  // The state of a host that never came is an empty record.
  const bool seen =
      state != hosts_.end() && (out.live || !text_of(state->second, "incarnation").empty());
  out.state = out.live ? "live" : seen ? "not live" : "never seen";
  if (is_true(host, "fenced")) out.state += ", fenced";
  if (is_true(host, "draining")) out.state += ", draining";
  if (state != hosts_.end()) {
    out.tunnel_addresses =
        fmt::format("{}", fmt::join(texts_of(state->second, "tunnel_addresses"), " "));
    out.incarnation = text_of(state->second, "incarnation");
    out.level = text_of(state->second, "schema_level");
  }
  if (const auto n = active_.find(id); n != active_.end()) out.active = n->second;
  if (const auto n = wanted_.find(id); n != wanted_.end()) out.wanted = n->second;
  return out;
}

Row StatusView::headers(const ResourceSpec& type) {
  if (type.singular == "host")
    return {"state", "ports", "tunnel_addresses", "incarnation", "level"};
  if (type.singular == "port") return {"actual", "state"};
  return {};
}

std::string_view StatusView::behind(const ResourceSpec& type) {
  return type.singular == "host" ? "name" : "interface";
}

bool StatusView::replaces(const ResourceSpec& type, std::string_view field) {
  if (type.singular == "host") return field == "draining" || field == "fenced";
  return type.singular == "port" && field == "migrating_to";
}

Row StatusView::cells(const Message& object, const codec::NameTable& names) const {
  if (codec::resource_of(object)->singular == "host") {
    const HostStatus s = of_host(object);
    return {s.state, fmt::format("{}/{}", s.active, s.wanted), s.tunnel_addresses, s.incarnation,
            s.level};
  }
  const PortStatus s = of_port(object, names);
  return {s.host, s.state};
}

Node StatusView::document(const Message& object, const codec::NameTable& names) const {
  Node out = Node::map_of({});
  const std::string id = codec::get_text(object, "id");
  if (codec::resource_of(object)->singular == "host") {
    const HostStatus s = of_host(object);
    out.add("state", Node::of_text(s.state));
    out.add("live", Node::of_bool(s.live));
    out.add("ports_active", Node::of_number(s.active));
    out.add("ports_wanted", Node::of_number(s.wanted));
    if (const auto state = hosts_.find(id); state != hosts_.end()) {
      for (const codec::Member& m : state->second.members) {
        if (m.key != "id" && m.key != "live" && m.key != "flood_keys") out.add(m.key, m.value);
      }
    }
    return out;
  }
  const PortStatus s = of_port(object, names);
  out.add("state", Node::of_text(s.state));
  if (const auto binding = bindings_.find(id); binding != bindings_.end()) {
    for (const codec::Member& m : binding->second.members) {
      if (m.key != "port") out.add(m.key, m.value);
    }
  }
  return out;
}

bool StatusView::is_active(const std::string& port_id, const std::string& host_id) const {
  const auto binding = bindings_.find(port_id);
  return binding != bindings_.end() && text_of(binding->second, "host") == host_id &&
         text_of(binding->second, "active") == "true";
}

}  // namespace plexus::cli
