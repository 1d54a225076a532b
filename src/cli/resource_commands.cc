// SPDX-License-Identifier: Apache-2.0
// create, list, show, update, delete of one resource type.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <algorithm>

#include "cli/api_client.h"
#include "cli/commands.h"
#include "cli/finder.h"
#include "cli/host_use.h"
#include "cli/status_view.h"
#include "cli/waiting.h"
#include "codec/decode.h"
#include "codec/encode.h"

namespace plexus::cli {
namespace {

using codec::FieldSpec;
using codec::Node;
using codec::Problems;
using codec::ResourceSpec;

class ResourceCommand {
 public:
  ResourceCommand(const Invocation& invocation, ApiClient& api, Terminal& terminal)
      : in_(invocation),
        resource_(*invocation.resource),
        api_(api),
        terminal_(terminal),
        finder_(api) {}

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
  /// Whose objects are meant by the names that a new or a changed object refers to.
  Result<std::string> tenant_of_references() {
    for (const auto& [field, values] : in_.values) {
      if (field->name == "tenant") return values[0];
    }
    if (!in_.tenant.empty()) return in_.tenant;
    if (in_.verb == Verb::create) return own_tenant(in_, api_);
    auto object = finder_.find(resource_, in_.object);
    if (!object) return object.error();
    return codec::get_text(*object->message, "tenant");
  }

  /// A request's body from the options, with names replaced by ids.
  Result<Node> body() {
    Node given = Node::map_of({});
    for (const auto& [field, values] : in_.values) {
      if (!field->repeated) {
        given.add(field->name, Node::of_plain(values[0]));
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
    Result<std::string> tenant = std::string();
    if (!names.empty()) tenant = tenant_of_references();
    if (!tenant) return tenant.error();
    for (const codec::NameReference& r : names) {
      auto id = finder_.reference(r.field->target(), *tenant, r.name);
      if (!id) return id.error().in(r.field->name);
      codec::set_reference(*message, r, *id);
    }
    Node out = codec::encode(*message);
    // encode() leaves secrets out; here they are what the user wants to set.
    for (const auto& [field, values] : in_.values) {
      if (field->secret) out.add(field->name, Node::of_text(values[0]));
    }
    return out;
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
      // Ids will do where a token may not see the names.
      if (auto r = api_.learn_names(target, table); !r && r.error().code != ErrorCode::denied)
        return r.error();
    }
    return table;
  }

  /// References by name.
  static std::vector<std::string> texts_of(const google::protobuf::Message& message,
                                           const FieldSpec& field, const codec::NameTable& names) {
    if (!field.is_reference()) return codec::field_texts(message, field);
    std::vector<std::string> out;
    for (const std::string& raw : codec::reference_ids(message, field))
      out.push_back(names.name_of(raw));
    if (field.repeated) std::sort(out.begin(), out.end());
    return out;
  }

  static std::string cell(const google::protobuf::Message& message, const FieldSpec& field,
                          const codec::NameTable& names) {
    return fmt::format("{}", fmt::join(texts_of(message, field, names), " "));
  }

  /// What hosts say about objects of this type; nothing where there is nothing to say, or a token may not see it.
  Result<std::optional<StatusView>> status_of(codec::NameTable& names) {
    if (!StatusView::exists_for(resource_)) return std::optional<StatusView>();
    auto view = StatusView::load(api_, resource_, names);
    if (view) return std::optional<StatusView>(std::move(*view));
    if (view.error().code == ErrorCode::denied) return std::optional<StatusView>();
    return view.error();
  }

  static std::string name_or_id(const Object& object) {
    const std::string name = object.name();
    return name.empty() ? object.id() : name;
  }

  int print(const Object& object, bool with_status) {
    if (in_.output == Output::name) {
      terminal_.out << name_or_id(object) << "\n";
      return kOk;
    }
    std::optional<StatusView> status;
    codec::NameTable names;
    if (in_.output == Output::text) {
      auto learned = names_for({object.message.get()});
      if (!learned) return fail(learned.error(), terminal_);
      names = std::move(*learned);
    }
    if (with_status) {
      auto loaded = status_of(names);
      if (!loaded) return fail(loaded.error(), terminal_);
      status = std::move(*loaded);
    }
    if (in_.output != Output::text) {
      Node document = object.document;
      if (status) document.add("status", status->document(*object.message, names));
      print_document(document, in_.output, terminal_);
      return kOk;
    }
    std::vector<std::pair<std::string, std::string>> rows;
    for (const FieldSpec& field : resource_.fields) {
      const std::string value = cell(*object.message, field, names);
      if (!value.empty()) rows.emplace_back(field.name, value);
    }
    if (status) {
      const Row headers = StatusView::headers(resource_);
      const Row cells = status->cells(*object.message, names);
      for (size_t i = 0; i < headers.size(); ++i) {
        if (!cells[i].empty()) rows.emplace_back(headers[i], cells[i]);
      }
    }
    // A token's secret: the schema does not know it, it is never seen again.
    const std::string secret = text_of(object.document, "secret");
    if (!secret.empty()) rows.emplace_back("secret", secret);
    terminal_.out << fields(rows);
    return kOk;
  }

  /// After a change: what became of it, and with --wait, when all hosts have it.
  int done(const Object& object) {
    const std::string revision = api_.revision();
    const bool has_secret = !text_of(object.document, "secret").empty();
    if (!in_.quiet || in_.output != Output::text || has_secret) {
      if (const int status = print(object, false); status != kOk) return status;
    }
    if (has_secret && in_.output == Output::text)
      terminal_.err << "Keep the secret: it is shown this once and cannot be read again.\n";
    return in_.wait ? wait_and_say(api_, revision, in_, terminal_) : kOk;
  }

  int create() {
    auto request = body();
    if (!request) return fail(request.error(), terminal_);
    auto object = api_.create(resource_, *request);
    if (!object) return fail(object.error(), terminal_);
    return done(*object);
  }

  int update() {
    auto request = body();
    if (!request) return fail(request.error(), terminal_);
    for (const std::string& field : in_.clear) request->add(field, Node{});
    auto object = api_.patch(resource_, in_.object, *request, scope());
    if (!object) return fail(finder_.explain(object.error(), resource_, in_.object), terminal_);
    return done(*object);
  }

  int show() {
    auto object = finder_.find(resource_, in_.object, in_.tenant);
    if (!object) return fail(object.error(), terminal_);
    return print(*object, true);
  }

  /// A host that serves is not deleted by mistake: what goes by its ports stops.
  Result<bool> may_remove() {
    if (resource_.singular != "host" || in_.yes) return true;
    const auto host = finder_.find(resource_, in_.object);
    if (!host) return host.error();
    const auto use = HostUse::load(api_);
    if (!use) return use.error();
    const std::string what = use->words_of(*host->message);
    return what.empty() || confirm_harm(what, "All its traffic stops. Delete it?", in_, terminal_);
  }

  int remove() {
    const auto may = may_remove();
    if (!may) return fail(may.error(), terminal_);
    if (!*may) return kFailed;
    auto answer = api_.remove(resource_, in_.object, scope());
    if (!answer) return fail(finder_.explain(answer.error(), resource_, in_.object), terminal_);
    const std::string revision = api_.revision();
    say_removed(*answer);
    return in_.wait ? wait_and_say(api_, revision, in_, terminal_) : kOk;
  }

  void say_removed(const Node& answer) {
    if (in_.output == Output::json || in_.output == Output::yaml) {
      print_document(answer, in_.output, terminal_);
      return;
    }
    if (in_.output == Output::name) {
      terminal_.out << in_.object << "\n";
      return;
    }
    if (in_.quiet) return;
    terminal_.out << "deleted " << resource_.singular << " " << in_.object;
    const auto also = [&](std::string_view key, std::string_view words) {
      const std::string n = text_of(answer, key);
      if (!n.empty() && n != "0") terminal_.out << ", " << n << " " << words;
    };
    also("cascaded", "more with it");
    also("cleared", "references to it cleared");
    terminal_.out << "\n";
    say_touched(answer, "cascaded_objects", "deleted with it");
    say_touched(answer, "cleared_objects", "no longer refer to it");
  }

  /// "  deleted with it: pools web, api; vips http".
  void say_touched(const Node& answer, std::string_view key, std::string_view words) {
    constexpr size_t kNamed = 10;  // of each collection
    const Node* list = answer.find(key);
    if (list == nullptr) return;
    std::vector<std::pair<std::string, std::vector<std::string>>> collections;
    for (const Node& object : list->items) {
      const std::string collection = text_of(object, "collection"), name = text_of(object, "name");
      const auto it = std::find_if(collections.begin(), collections.end(),
                                   [&](const auto& c) { return c.first == collection; });
      auto& names = it != collections.end()
                        ? it->second
                        : collections.emplace_back(collection, std::vector<std::string>()).second;
      names.push_back(name.empty() ? text_of(object, "id") : name);
    }
    std::string line;
    for (auto& [collection, names] : collections) {
      std::sort(names.begin(), names.end());
      const size_t shown = std::min(names.size(), kNamed);
      line += fmt::format(
          "{}{} {}{}", line.empty() ? "" : "; ", collection,
          fmt::join(names.begin(), names.begin() + static_cast<ptrdiff_t>(shown), ", "),
          names.size() > shown ? fmt::format(" and {} more", names.size() - shown) : "");
    }
    terminal_.out << "  " << words << ": " << line << "\n";
  }

  int list() {
    Query query;
    std::string tenant;
    for (const auto& [field, values] : in_.values) {
      if (field->name == "tenant") tenant = values[0];
    }
    for (const auto& [field, values] : in_.values) {
      std::string value = values[0];
      if (field->is_reference() && !Uuid::parse(value)) {
        if (!tenant.empty() && field->target().field("tenant") != nullptr) {
          const auto id = finder_.reference(field->target(), tenant, value);
          if (!id) return fail(id.error(), terminal_);
          value = id->str();
        } else {
          auto object = finder_.find(field->target(), value);
          if (!object) return fail(object.error(), terminal_);
          value = object->id();
        }
      }
      query.emplace_back(field->name, value);
    }
    auto objects = api_.list(resource_, query);
    if (!objects) return fail(objects.error(), terminal_);
    const std::string revision = api_.revision();
    std::stable_sort(objects->begin(), objects->end(),
                     [](const Object& a, const Object& b) { return a.name() < b.name(); });
    // What has a place among others is read in that order.
    if (resource_.field("position") != nullptr) {
      const auto place = [&](const Object& o) {
        const std::string position = codec::get_text(*o.message, "position");
        return std::pair(codec::get_raw(*o.message, resource_.name_scope.at(0)),
                         codec::parse_number(position).value_or(0));
      };
      std::stable_sort(objects->begin(), objects->end(),
                       [&](const Object& a, const Object& b) { return place(a) < place(b); });
    }
    if (in_.output == Output::name) {
      for (const Object& o : *objects) terminal_.out << name_or_id(o) << "\n";
      return kOk;
    }
    std::vector<const google::protobuf::Message*> messages;
    for (const Object& o : *objects) messages.push_back(o.message.get());
    codec::NameTable names;
    if (in_.output == Output::text) {
      auto learned = names_for(messages);
      if (!learned) return fail(learned.error(), terminal_);
      names = std::move(*learned);
    }
    std::optional<StatusView> status;
    if (!objects->empty()) {
      auto loaded = status_of(names);
      if (!loaded) return fail(loaded.error(), terminal_);
      status = std::move(*loaded);
    }
    if (in_.output != Output::text) {
      Node items = Node::list_of({});
      for (Object& o : *objects) {
        if (status) o.document.add("status", status->document(*o.message, names));
        items.items.push_back(std::move(o.document));
      }
      Node out = Node::map_of({});
      out.add("items", std::move(items));
      if (!revision.empty()) out.add("revision", Node::of_text(revision));
      print_document(out, in_.output, terminal_);
      return kOk;
    }
    if (objects->empty() && !in_.quiet)
      terminal_.err << "no " << resource_.collection << (query.empty() ? "" : " like that") << "\n";
    print_table(messages, names, status);
    return kOk;
  }

  /// Of a long list the first entries, and how many more: a table of address groups stays a table.
  static std::string short_cell(const google::protobuf::Message& message, const FieldSpec& field,
                                const codec::NameTable& names) {
    constexpr size_t kShown = 4;
    std::vector<std::string> texts = texts_of(message, field, names);
    if (texts.size() <= kShown + 1) return fmt::format("{}", fmt::join(texts, " "));
    const size_t more = texts.size() - kShown;
    texts.resize(kShown);
    return fmt::format("{} and {} more", fmt::join(texts, " "), more);
  }

  /// The name first and the id, long and dull, last.
  void print_table(const std::vector<const google::protobuf::Message*>& messages,
                   const codec::NameTable& names, const std::optional<StatusView>& status) {
    const Row more = status ? StatusView::headers(resource_) : Row{};
    std::vector<const FieldSpec*> columns;
    for (const FieldSpec& f : resource_.fields) {
      if (f.name == "id" || f.name == "min_reader" || f.secret) continue;
      if (!status || !StatusView::replaces(resource_, f.name)) columns.push_back(&f);
    }
    columns.push_back(resource_.field("id"));
    const auto insert_more = [&](const FieldSpec* behind, Row& row, const Row& cells) {
      if (status && behind->name == StatusView::behind(resource_))
        row.insert(row.end(), cells.begin(), cells.end());
    };
    Row headers;
    for (const FieldSpec* f : columns) {
      headers.push_back(f->name);
      insert_more(f, headers, more);
    }
    std::vector<Row> rows;
    for (const auto* m : messages) {
      const Row cells = status ? status->cells(*m, names) : Row{};
      Row row;
      for (const FieldSpec* f : columns) {
        row.push_back(short_cell(*m, *f, names));
        insert_more(f, row, cells);
      }
      rows.push_back(std::move(row));
    }
    terminal_.out << table(headers, rows, terminal_.width);
  }

  const Invocation& in_;
  const ResourceSpec& resource_;
  ApiClient& api_;
  Terminal& terminal_;
  Finder finder_;
};

}  // namespace

int run_resource(const Invocation& invocation, Terminal& terminal) {
  auto http = connect(invocation);
  if (!http) return misused(http.error(), terminal);
  ApiClient api(**http);
  return ResourceCommand(invocation, api, terminal).run();
}

}  // namespace plexus::cli
