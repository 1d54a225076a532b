// SPDX-License-Identifier: Apache-2.0
// create, list, show, update, delete of one resource type.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include "cli/api_client.h"
#include "cli/commands.h"
#include "codec/decode.h"
#include "codec/encode.h"
#include "codec/nearest.h"

namespace plexus::cli {
namespace {

using codec::FieldSpec;
using codec::Node;
using codec::Problems;
using codec::ResourceSpec;

class ResourceCommand {
 public:
  ResourceCommand(const Invocation& invocation, ApiClient& api, Terminal& terminal)
      : in_(invocation), resource_(*invocation.resource), api_(api), terminal_(terminal) {}

  int run() {
    switch (in_.verb) {
      case Verb::create:
        return create();
      case Verb::list:
        return list();
      case Verb::show:
        return show();
      case Verb::update:
        return update();
      default:
        return remove();
    }
  }

 private:
  /// A request's body from the options, with names replaced by ids.
  Result<Node> body() {
    Node given = Node::map_of({});
    std::string tenant = in_.tenant;
    for (const auto& [field, values] : in_.values) {
      if (!field->repeated) {
        given.add(field->name, Node::of_plain(values[0]));
        if (field->name == "tenant") tenant = values[0];
        continue;
      }
      Node list = Node::list_of({});
      for (const std::string& v : values) list.items.push_back(Node::of_plain(v));
      given.add(field->name, std::move(list));
    }
    const codec::MessagePtr message = resource_.new_message();
    std::vector<codec::NameReference> names;
    codec::DecodeOptions options;
    options.names = &names;
    const Problems problems = codec::decode(given, options, *message);
    if (!problems.empty()) return codec::to_error(problems);
    for (const codec::NameReference& r : names) {
      auto id = id_of(r.field->target(), tenant, r.name);
      if (!id) return id.error().in(r.field->name);
      codec::set_raw(*message, r.field->name, id->raw());
    }
    Node out = codec::encode(*message);
    // encode() leaves secrets out; here they are what the user wants to set.
    for (const auto& [field, values] : in_.values) {
      if (field->secret) out.add(field->name, Node::of_text(values[0]));
    }
    return out;
  }

  Result<Uuid> id_of(const ResourceSpec& type, const std::string& tenant, const std::string& name) {
    codec::NameTable table;
    auto some = api_.list(type, {{"name", name}});
    if (!some) return some.error();
    for (const Object& o : *some) table.add(*o.message);
    if (const auto id = table.id_of(type, tenant, name)) return *id;
    if (some->size() == 1) {
      return Error{
          ErrorCode::not_found,
          fmt::format("the {} '{}' is of tenant '{}'; give --tenant, or its id", type.singular,
                      name, codec::get_text(*(*some)[0].message, "tenant"))};
    }
    return missing(type, name);
  }

  Error missing(const ResourceSpec& type, const std::string& name) {
    Error error{ErrorCode::not_found,
                fmt::format("there is no {} {}", type.singular, codec::in_quotes(name))};
    codec::NameTable table;
    if (api_.learn_names(type, table)) {
      const std::string hint = codec::suggestion(name, table.names(type));
      if (!hint.empty()) error.message += "; " + hint;
    }
    return error;
  }

  /// An error about `object`: with the nearest name if there is no such object.
  Error explain(Error error) {
    if (error.code == ErrorCode::not_found && !Uuid::parse(in_.object)) {
      return missing(resource_, in_.object);
    }
    return error;
  }

  [[nodiscard]] Query scope() const {
    return in_.tenant.empty() ? Query{} : Query{{"tenant", in_.tenant}};
  }

  /// The names of what the objects refer to.
  Result<codec::NameTable> names_for(
      const std::vector<const google::protobuf::Message*>& messages) {
    codec::NameTable table;
    std::vector<const ResourceSpec*> known;
    for (const FieldSpec& field : resource_.fields) {
      if (!field.is_reference()) continue;
      const ResourceSpec& target = field.target();
      const bool used = std::any_of(messages.begin(), messages.end(), [&](const auto* m) {
        return codec::has_field(*m, field.name);
      });
      if (!used || std::find(known.begin(), known.end(), &target) != known.end()) continue;
      known.push_back(&target);
      if (auto r = api_.learn_names(target, table); !r) return r.error();
    }
    return table;
  }

  static std::string cell(const google::protobuf::Message& message, const FieldSpec& field,
                          const codec::NameTable& names) {
    if (field.is_reference()) {
      const std::string raw = codec::get_raw(message, field.name);
      return raw.empty() ? "" : names.name_of(raw);
    }
    return fmt::format("{}", fmt::join(codec::field_texts(message, field), " "));
  }

  int print(const Object& object) {
    if (in_.output != Output::text) {
      print_document(object.document, in_.output, terminal_);
      return kOk;
    }
    auto names = names_for({object.message.get()});
    if (!names) return fail(names.error(), terminal_);
    std::vector<std::pair<std::string, std::string>> rows;
    for (const FieldSpec& field : resource_.fields) {
      const std::string value = cell(*object.message, field, *names);
      if (!value.empty()) rows.emplace_back(field.name, value);
    }
    terminal_.out << fields(rows);
    return kOk;
  }

  int create() {
    auto request = body();
    if (!request) return fail(request.error(), terminal_);
    auto object = api_.create(resource_, *request);
    if (!object) return fail(object.error(), terminal_);
    return print(*object);
  }

  int update() {
    auto request = body();
    if (!request) return fail(request.error(), terminal_);
    for (const std::string& field : in_.clear) request->add(field, Node{});
    auto object = api_.patch(resource_, in_.object, *request, scope());
    if (!object) return fail(explain(object.error()), terminal_);
    return print(*object);
  }

  int show() {
    auto object = api_.get(resource_, in_.object, scope());
    if (!object) return fail(explain(object.error()), terminal_);
    return print(*object);
  }

  int remove() {
    auto answer = api_.remove(resource_, in_.object, scope());
    if (!answer) return fail(explain(answer.error()), terminal_);
    if (in_.output != Output::text) {
      print_document(*answer, in_.output, terminal_);
      return kOk;
    }
    terminal_.out << "deleted " << resource_.singular << " " << in_.object;
    const auto also = [&](std::string_view key, std::string_view words) {
      const Node* n = answer->find(key);
      if (n != nullptr && n->text != "0") terminal_.out << ", " << n->text << " " << words;
    };
    also("cascaded", "more with it");
    also("cleared", "references to it cleared");
    terminal_.out << "\n";
    return kOk;
  }

  int list() {
    Query query;
    for (const auto& [field, values] : in_.values) {
      std::string value = values[0];
      if (field->is_reference() && !Uuid::parse(value)) {
        auto id = id_of(field->target(), {}, value);
        if (!id) return fail(id.error(), terminal_);
        value = id->str();
      }
      query.emplace_back(field->name, value);
    }
    auto objects = api_.list(resource_, query);
    if (!objects) return fail(objects.error(), terminal_);
    if (in_.output != Output::text) {
      Node items = Node::list_of({});
      for (Object& o : *objects) items.items.push_back(std::move(o.document));
      Node out = Node::map_of({});
      out.add("items", std::move(items));
      print_document(out, in_.output, terminal_);
      return kOk;
    }
    std::vector<const google::protobuf::Message*> messages;
    for (const Object& o : *objects) messages.push_back(o.message.get());
    auto names = names_for(messages);
    if (!names) return fail(names.error(), terminal_);
    // The name first and the id, long and dull, last.
    std::vector<const FieldSpec*> columns;
    for (const FieldSpec& f : resource_.fields) {
      if (f.name != "id" && f.name != "min_reader") columns.push_back(&f);
    }
    columns.push_back(resource_.field("id"));
    Row headers;
    for (const FieldSpec* f : columns) headers.push_back(f->name);
    std::vector<Row> rows;
    for (const auto* m : messages) {
      Row row;
      for (const FieldSpec* f : columns) row.push_back(cell(*m, *f, *names));
      rows.push_back(std::move(row));
    }
    if (rows.empty()) {
      terminal_.err << "no " << resource_.collection << (query.empty() ? "" : " like that") << "\n";
    }
    terminal_.out << table(headers, rows);
    return kOk;
  }

  const Invocation& in_;
  const ResourceSpec& resource_;
  ApiClient& api_;
  Terminal& terminal_;
};

}  // namespace

int run_resource(const Invocation& invocation, Terminal& terminal) {
  auto http = HttpClient::to(invocation.api);
  if (!http) return fail(http.error(), terminal);
  (*http)->set_timeout(invocation.timeout);
  ApiClient api(**http);
  return ResourceCommand(invocation, api, terminal).run();
}

}  // namespace plexus::cli
