// SPDX-License-Identifier: Apache-2.0
// A cloud file: many objects in one YAML (or JSON) document, a list for each collection, references by name or id:
//
//   bridges:
//     - name: web
//   ports:
//     - {name: vm1, bridge: web, host: h1, interface: tap-vm1, mac: "02:00:00:00:00:01", addresses: [10.0.1.11]}
//
// `plexus apply` and the scenario runner read it. parse_cloud_file() gives the objects in an order in which they can be
// created; resolve() then replaces names by ids. Pure functions; any thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "codec/decode.h"

namespace plexus::codec {

struct CloudObject {
  const ResourceSpec* resource = nullptr;
  MessagePtr message;  ///< references by name hold the nil id until resolve()
  std::string path;    ///< "ports[2]"
  std::string name;    ///< empty: it has none (routes need none)
  int line = 0;
  std::vector<NameReference> references;  ///< those written as names
  std::vector<std::string> cleared;       ///< fields written as null: an update clears them
  /// Fields that refer to an object further down (two ports that name each other as peer): leave them out when
  /// creating and set them afterwards.
  std::vector<std::string> late;

  [[nodiscard]] std::string tenant() const { return get_text(*message, "tenant"); }
  /// "port vm1", or "route (line 12)" without a name.
  [[nodiscard]] std::string label() const;
};

/// Reads the document: each object once, after the objects it refers to. Unknown collections and fields, bad values
/// and names given twice are problems, with lines. JSON is read too: it is YAML.
/// What only the whole object can tell (required fields) is left to validate(), because an update need not repeat it.
[[nodiscard]] std::vector<CloudObject> parse_cloud_file(std::string_view text, Problems& problems);

/// The id of the object of that type and name that an object of `tenant` may refer to.
using IdOfName = std::function<std::optional<Uuid>(const ResourceSpec& type,
                                                   std::string_view tenant, std::string_view name)>;
/// The names there are of a type, for suggestions. May be empty.
using NamesOfType = std::function<std::vector<std::string>(const ResourceSpec& type)>;

/// Replaces the names by ids, in the object's own message.
[[nodiscard]] Problems resolve(CloudObject& object, const IdOfName& id_of,
                               const NamesOfType& names_of = {});

/// What makes a name unique: the type, the fields of its name_scope and the name. Two objects with equal keys cannot be.
/// Works on resolved messages.
[[nodiscard]] std::string name_key(const google::protobuf::Message& message);

/// A table of names: fill it with messages, then it answers IdOfName. An object without a tenant is seen by all
/// tenants, its own tenant's objects win.
class NameTable {
 public:
  /// Adds or replaces what is known of the message's id. Messages without id or name are passed over.
  void add(const google::protobuf::Message& message);
  void add(const ResourceSpec& type, std::string_view tenant, std::string_view name,
           const Uuid& id);
  /// nullopt: there is none, or there are several (names of pools are their load balancer's own).
  [[nodiscard]] std::optional<Uuid> id_of(const ResourceSpec& type, std::string_view tenant,
                                          std::string_view name) const;
  [[nodiscard]] bool is_ambiguous(const ResourceSpec& type, std::string_view tenant,
                                  std::string_view name) const;
  /// The name of an object; the id's text if it has none or is not known.
  [[nodiscard]] std::string name_of(std::string_view raw_id) const;
  [[nodiscard]] std::vector<std::string> names(const ResourceSpec& type) const;

 private:
  struct Entry {
    const ResourceSpec* type;
    std::string tenant;
    std::string name;
    Uuid id;
  };
  /// Those of the tenant; when it has none, those of nobody.
  [[nodiscard]] const std::vector<size_t>* find(const ResourceSpec& type, std::string_view tenant,
                                                std::string_view name) const;

  std::vector<Entry> entries_;
  std::unordered_map<std::string, std::vector<size_t>> by_name_;  ///< type, tenant and name
  std::unordered_map<Uuid, size_t> by_id_;
};

}  // namespace plexus::codec
