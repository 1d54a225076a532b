// SPDX-License-Identifier: Apache-2.0
#include "cli/topology_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

namespace plexus::cli {
namespace {

using codec::Node;

std::string text(const Node& object, std::string_view field) {
  const Node* n = object.find(field);
  if (n == nullptr) return {};
  if (n->kind != Node::Kind::list) return n->text;
  std::string out;
  for (const Node& item : n->items) out += (out.empty() ? "" : "  ") + item.text;
  return out;
}

/// A device or a port that is switched off.
bool is_down(const Node& object) {
  return text(object, "admin_up") == "false";
}

std::string repeated(std::string_view piece, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += piece;
  return out;
}

class Drawing {
 public:
  Drawing(const TopologyDocuments& t, const Palette& palette) : t_(t), c_(palette) {
    for (const auto* list : {&t.hosts, &t.bridges, &t.routers, &t.ports}) {
      for (const Node& n : *list) by_id_[text(n, "id")] = &n;
    }
    for (const Node& p : t.ports) {
      const std::string bridge = text(p, "bridge"), router = text(p, "router");
      ports_of_[bridge.empty() ? router : bridge].push_back(&p);
    }
    for (const Node& r : t.routes) routes_of_[text(r, "router")].push_back(&r);
    for (const Node& b : t.bindings) binding_of_[text(b, "port")] = &b;
  }

  std::string draw() {
    for (const Node& r : t_.routers) router(r);
    for (const Node& b : t_.bridges) {
      if (drawn_.insert(text(b, "id")).second) {
        box("bridge", b, !ports_of_[text(b, "id")].empty());
        bridge_ports(b, "  ", {});
        out_ += '\n';
      }
    }
    hosts();
    if (out_.empty())
      return "The topology is empty. Try: plexus apply -f FILE, or plexus bridge create --name "
             "web\n";
    return out_;
  }

 private:
  std::string name_of(const std::string& id) const {
    const auto it = by_id_.find(id);
    if (it == by_id_.end()) return id.empty() ? "?" : "(unknown " + id + ")";
    const std::string name = text(*it->second, "name");
    return name.empty() ? id : name;
  }

  void box(std::string_view kind, const Node& device, bool has_children) {
    const std::string name = text(device, "name");
    std::string tail = is_down(device) ? "   " + c_.red("switched off") : std::string();
    if (const std::string tenant = text(device, "tenant"); !tenant.empty())
      tail = "   " + c_.dim("tenant " + tenant) + tail;
    const size_t width = kind.size() + 1 + display_width(name) + 2;
    out_ += "╭" + repeated("─", width) + "╮\n";
    out_ += "│ " + std::string(kind) + " " + c_.bold(name) + " │" + tail + "\n";
    out_ += has_children ? "╰─┬" + repeated("─", width - 2) + "╯\n"
                         : "╰" + repeated("─", width) + "╯\n";
  }

  void router(const Node& r) {
    const std::string id = text(r, "id");
    const std::vector<const Node*>& ports = ports_of_[id];
    const std::vector<const Node*>& routes = routes_of_[id];
    box("router", r, !ports.empty() || !routes.empty());
    size_t name_width = 0, network_width = 0;
    for (const Node* p : ports) {
      name_width = std::max(name_width, display_width(text(*p, "name")));
      network_width = std::max(network_width, display_width(text(*p, "networks")));
    }
    for (size_t i = 0; i < ports.size(); ++i) {
      const Node& p = *ports[i];
      const bool last = i + 1 == ports.size() && routes.empty();
      std::string line = last ? "  ╰─" : "  ├─";
      line += "● " + c_.bold(padded(text(p, "name"), name_width)) + "  " +
              c_.cyan(padded(text(p, "networks"), network_width)) + "  " + c_.dim(text(p, "mac"));
      if (is_down(p)) line += "  " + c_.red("switched off");
      const std::string place = placement(p);
      if (!place.empty()) line += "  " + place;
      add_line(line);
      const std::string bar = last ? "   " : "  │";
      peer(p, bar + " ");
      if (!last) add_line(bar);
    }
    for (size_t i = 0; i < routes.size(); ++i) route(*routes[i], i + 1 == routes.size());
    out_ += '\n';
  }

  void route(const Node& r, bool last) {
    std::string line = last ? "  ╰─" : "  ├─";
    line += "→ " + c_.cyan(text(r, "destination"));
    if (const std::string source = text(r, "source"); !source.empty()) line += "  from " + source;
    const std::string kind = text(r, "kind"), hop = text(r, "next_hop"), port = text(r, "port"),
                      metric = text(r, "metric");
    if (!kind.empty() && kind != "forward") line += "  " + c_.yellow(kind);
    if (!hop.empty()) line += "  via " + hop;
    if (!port.empty()) line += "  out of " + name_of(port);
    if (!metric.empty()) line += "  metric " + metric;
    if (const std::string weight = text(r, "weight"); !weight.empty()) line += "  weight " + weight;
    if (const std::string name = text(r, "name"); !name.empty())
      line += "  " + c_.dim("(" + name + ")");
    add_line(line);
  }

  /// What a router's port is wired to.
  void peer(const Node& port, const std::string& indent) {
    const std::string peer_id = text(port, "peer");
    if (peer_id.empty()) return;
    const auto it = by_id_.find(peer_id);
    if (it == by_id_.end()) {
      add_line(indent + "╚═ " + c_.red("a port that is not there: " + peer_id));
      return;
    }
    const Node& far = *it->second;
    const std::string bridge = text(far, "bridge"), router = text(far, "router");
    if (bridge.empty()) {
      add_line(indent + "╚═ router " + c_.bold(name_of(router)) +
               c_.dim(" by its port " + text(far, "name")));
      return;
    }
    const auto device = by_id_.find(bridge);
    std::string line = indent + "╚═ bridge " + c_.bold(name_of(bridge)) +
                       c_.dim(" by its port " + text(far, "name"));
    if (device == by_id_.end()) {
      add_line(line + "  " + c_.red("not there"));
      return;
    }
    if (is_down(*device->second)) line += "  " + c_.red("switched off");
    if (is_down(far)) line += "  " + c_.red("its port is switched off");
    const bool first = drawn_.insert(bridge).second;
    if (!first) line += c_.dim("  (drawn above)");
    add_line(line);
    if (first) bridge_ports(*device->second, indent + "   ", peer_id);
  }

  /// All ports of a bridge but the one we came by.
  void bridge_ports(const Node& bridge, const std::string& indent, const std::string& except) {
    std::vector<const Node*> ports;
    for (const Node* p : ports_of_[text(bridge, "id")]) {
      if (text(*p, "id") != except) ports.push_back(p);
    }
    std::vector<Row> rows;
    Row widths_row(4);
    std::vector<size_t> widths(3, 0);
    for (const Node* p : ports) {
      Row row = {text(*p, "name"), text(*p, "mac"), text(*p, "addresses"), placement(*p)};
      for (size_t i = 0; i < widths.size(); ++i)
        widths[i] = std::max(widths[i], display_width(row[i]));
      rows.push_back(std::move(row));
    }
    for (size_t i = 0; i < ports.size(); ++i) {
      std::string line = indent + (i + 1 == ports.size() ? "╰─" : "├─");
      line += "○ " + c_.bold(padded(rows[i][0], widths[0]));
      if (widths[1] > 0) line += "  " + c_.dim(padded(rows[i][1], widths[1]));
      if (widths[2] > 0) line += "  " + c_.cyan(padded(rows[i][2], widths[2]));
      line += "  " + rows[i][3];
      if (is_down(*ports[i])) line += "  " + c_.red("switched off");
      const std::string peer_id = text(*ports[i], "peer");
      if (!peer_id.empty()) line += "═ " + device_of(peer_id);
      add_line(line);
    }
  }

  std::string device_of(const std::string& port_id) const {
    const auto it = by_id_.find(port_id);
    if (it == by_id_.end()) return c_.red("a port that is not there");
    const std::string router = text(*it->second, "router"), bridge = text(*it->second, "bridge");
    return (router.empty() ? "bridge " + name_of(bridge) : "router " + name_of(router)) +
           c_.dim(" by its port " + text(*it->second, "name"));
  }

  /// Where an exterior port is, and where it should be. Traffic follows where it is.
  std::string placement(const Node& port) const {
    const std::string wanted = text(port, "host"), interface = text(port, "interface");
    if (const std::string parent = text(port, "parent"); !parent.empty()) {
      const auto to = by_id_.find(parent);
      const std::string name = to == by_id_.end() ? parent : text(*to->second, "name");
      return c_.dim("VLAN " + text(port, "vlan") + " of ") + name;
    }
    const auto it = binding_of_.find(text(port, "id"));
    const std::string where = name_of(wanted) + (interface.empty() ? "" : ":" + interface);
    if (it == binding_of_.end()) {
      if (wanted.empty()) return {};
      return c_.yellow("◌ " + where) + c_.dim(" not bound yet");
    }
    const std::string actual = text(*it->second, "host");
    const bool active = text(*it->second, "active") == "true";
    if (!wanted.empty() && actual != wanted) {
      return c_.yellow("◐ on " + name_of(actual)) + c_.dim(", wanted at " + where);
    }
    const std::string here = name_of(actual) + (interface.empty() ? "" : ":" + interface);
    if (!active)
      return wanted.empty() ? std::string() : c_.yellow("◌ " + here) + c_.dim(" interface missing");
    return c_.green("◉ " + here) + (wanted.empty() ? c_.dim(", wanted nowhere") : "");
  }

  void hosts() {
    if (t_.hosts.empty()) return;
    std::map<std::string, const Node*> state;
    for (const Node& s : t_.host_states) state[text(s, "id")] = &s;
    std::map<std::string, size_t> bound;
    for (const Node& b : t_.bindings) {
      if (text(b, "active") == "true") ++bound[text(b, "host")];
    }
    out_ += "hosts\n";
    size_t name_width = 0, address_width = 0;
    for (const Node& h : t_.hosts) {
      name_width = std::max(name_width, display_width(text(h, "name")));
      const auto it = state.find(text(h, "id"));
      if (it != state.end()) {
        address_width =
            std::max(address_width, display_width(text(*it->second, "tunnel_addresses")));
      }
    }
    for (const Node& h : t_.hosts) {
      const std::string id = text(h, "id");
      const auto it = state.find(id);
      const bool live = it != state.end() && text(*it->second, "live") == "true";
      std::string line = "  " + (live ? c_.green("●") : c_.yellow("○")) + " " +
                         c_.bold(padded(text(h, "name"), name_width));
      line += "  " + c_.cyan(padded(it == state.end() ? "" : text(*it->second, "tunnel_addresses"),
                                    address_width));
      const size_t n = bound[id];
      line += fmt::format("  {} port{}", n, n == 1 ? "" : "s");
      if (!live) line += "  " + c_.yellow(it == state.end() ? "never seen" : "not live");
      add_line(line);
    }
  }

  void add_line(std::string line) {
    while (!line.empty() && line.back() == ' ') line.pop_back();
    out_ += line + "\n";
  }

  const TopologyDocuments& t_;
  const Palette& c_;
  std::map<std::string, const Node*> by_id_;
  std::map<std::string, std::vector<const Node*>> ports_of_, routes_of_;
  std::map<std::string, const Node*> binding_of_;
  std::set<std::string> drawn_;  ///< bridges
  std::string out_;
};

}  // namespace

std::string draw_topology(const TopologyDocuments& topology, const Palette& palette) {
  return Drawing(topology, palette).draw();
}

}  // namespace plexus::cli
