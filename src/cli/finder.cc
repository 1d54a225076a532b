// SPDX-License-Identifier: Apache-2.0
#include "cli/finder.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include "codec/nearest.h"

namespace plexus::cli {

using codec::ResourceSpec;

std::string hint(const std::string& name, const std::vector<std::string>& names) {
  constexpr size_t kMost = 12;
  if (names.size() <= kMost) return codec::suggestion(name, names);
  const std::string best = codec::nearest(name, names);
  return codec::edit_distance(name, best) * 2 <= std::max(name.size(), best.size())
             ? "did you mean '" + best + "'?"
             : "the nearest of " + std::to_string(names.size()) + " is '" + best + "'";
}

Result<Object> Finder::find(const ResourceSpec& type, const std::string& id_or_name,
                            const std::string& tenant) {
  auto object = api_.get(type, id_or_name, tenant.empty() ? Query{} : Query{{"tenant", tenant}});
  if (!object) return explain(object.error(), type, id_or_name);
  return object;
}

Result<Uuid> Finder::reference(const ResourceSpec& type, const std::string& tenant,
                               const std::string& name) {
  codec::NameTable table;
  const auto some = api_.list(type, {{"name", name}});
  if (!some) return some.error();
  for (const Object& o : *some) table.add(*o.message);
  if (const auto id = table.id_of(type, tenant, name)) return *id;
  if (some->empty()) return missing(type, name);
  if (table.is_ambiguous(type, tenant, name))
    return explain({ErrorCode::exists, "several have this name"}, type, name);
  const std::string owner = codec::get_text(*(*some)[0].message, "tenant");
  return Error{
      ErrorCode::not_found,
      fmt::format("the {} '{}' is of tenant '{}'{}; give its id, or --tenant {}", type.singular,
                  name, owner, tenant.empty() ? "" : ", not of '" + tenant + "'", owner)};
}

Error Finder::explain(Error error, const ResourceSpec& type, const std::string& id_or_name) {
  if (Uuid::parse(id_or_name)) return error;
  if (error.code == ErrorCode::not_found) return missing(type, id_or_name);
  if (error.code != ErrorCode::exists || error.message.find("several") == std::string::npos)
    return error;
  const auto some = api_.list(type, {{"name", id_or_name}});
  if (!some || some->size() < 2) return error;
  std::string candidates;
  bool by_tenant = true;
  for (const Object& o : *some) {
    const std::string tenant = codec::get_text(*o.message, "tenant");
    by_tenant =
        by_tenant && !tenant.empty() && type.name_scope == std::vector<std::string>{"tenant"};
    candidates += (candidates.empty() ? "" : ", ") + o.id() + whose(type, o);
  }
  return Error{ErrorCode::exists,
               fmt::format("several {} are called {}: {}; give {}", type.collection,
                           codec::in_quotes(id_or_name), candidates,
                           by_tenant ? "--tenant, or the id" : "the id")};
}

std::string Finder::whose(const ResourceSpec& type, const Object& object) {
  const std::string tenant = codec::get_text(*object.message, "tenant");
  std::string out = tenant.empty() ? "" : " of tenant " + tenant;
  for (const std::string& scope : type.name_scope) {
    const codec::FieldSpec* field = type.field(scope);
    if (field == nullptr || !field->is_reference()) continue;
    const auto owner = api_.get(field->target(), codec::get_text(*object.message, scope));
    if (owner) out += " of " + field->target().singular + " " + owner->name();
  }
  return out;
}

Error Finder::missing(const ResourceSpec& type, const std::string& name) {
  Error error{ErrorCode::not_found,
              fmt::format("there is no {} {}", type.singular, codec::in_quotes(name))};
  // One of that name may be there, though not where it was looked for.
  const auto same = api_.list(type, {{"name", name}});
  if (same && !same->empty()) {
    std::string owners;
    for (const Object& o : *same) owners += (owners.empty() ? "" : ", ") + o.id() + whose(type, o);
    error.message += fmt::format(" there; there is {}: give its id, or --tenant", owners);
    return error;
  }
  codec::NameTable table;
  if (api_.learn_names(type, table)) {
    const std::string nearest = hint(name, table.names(type));
    if (!nearest.empty()) error.message += "; " + nearest;
  }
  return error;
}

}  // namespace plexus::cli
