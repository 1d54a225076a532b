// SPDX-License-Identifier: Apache-2.0
#include "codec/batch_document.h"

#include <fmt/format.h>

#include "codec/nearest.h"

namespace plexus::codec {
namespace {

const std::vector<std::string> kVerbs = {"create", "update", "delete"};
const std::vector<std::string> kMembers = {"op", "collection", "id", "body", "if_match"};

void unknown(const Member& member, const std::string& path, const std::vector<std::string>& known,
             Problems& problems) {
  problems.push_back(
      {path, member.line, "unknown field " + in_quotes(member.key), suggestion(member.key, known)});
}

/// The text of a member that must be there.
const std::string* text_of(const Node& node, const char* name, const std::string& path,
                           const std::string& remedy, Problems& problems) {
  const Node* member = node.find(name);
  if (member == nullptr) {
    problems.push_back({path + "." + name, node.line, "this field is required", remedy});
    return nullptr;
  }
  if (member->kind != Node::Kind::text) {
    problems.push_back({path + "." + name, member->line,
                        fmt::format("expected a text, found {}", describe(member->kind)), remedy});
    return nullptr;
  }
  return &member->text;
}

void parse_one(Node& node, const std::string& path, BatchOperation& out, Problems& problems) {
  if (node.kind != Node::Kind::map) {
    problems.push_back({path, node.line,
                        fmt::format("expected an object, found {}", describe(node.kind)),
                        R"(write {"op":"create","collection":"ports","body":{...}})"});
    return;
  }
  for (const Member& m : node.members) {
    if (std::find(kMembers.begin(), kMembers.end(), m.key) == kMembers.end())
      unknown(m, path, kMembers, problems);
  }
  const std::string* op = text_of(node, "op", path, "create, update or delete", problems);
  const std::string* collection = text_of(node, "collection", path, "for example ports", problems);
  if (op == nullptr || collection == nullptr || !problems.empty()) return;
  if (*op == "create") {
    out.verb = BatchOperation::Verb::create;
  } else if (*op == "update") {
    out.verb = BatchOperation::Verb::update;
  } else if (*op == "delete") {
    out.verb = BatchOperation::Verb::remove;
  } else {
    problems.push_back({path + ".op", node.find("op")->line, "unknown operation " + in_quotes(*op),
                        suggestion(*op, kVerbs)});
    return;
  }
  out.resource = find_collection(*collection);
  if (out.resource == nullptr) {
    problems.push_back({path + ".collection", node.find("collection")->line,
                        "unknown collection " + in_quotes(*collection),
                        suggestion(*collection, collection_names())});
    return;
  }
  const bool creates = out.verb == BatchOperation::Verb::create;
  const bool removes = out.verb == BatchOperation::Verb::remove;
  const auto has_no = [&](const char* name, const char* remedy) {
    if (const Node* member = node.find(name)) {
      problems.push_back(
          {path + "." + name, member->line, fmt::format("{} takes no {}", *op, name), remedy});
    }
  };
  if (creates) {
    has_no("id", "choose the id in the body");
    has_no("if_match", "leave it out");
  } else {
    const std::string* id =
        text_of(node, "id", path, "write the id of a " + out.resource->singular, problems);
    if (id != nullptr) {
      if (const auto uuid = Uuid::parse(*id)) {
        out.id = *uuid;
      } else {
        problems.push_back({path + ".id", node.find("id")->line, in_quotes(*id) + " is no id",
                            "write the id of a " + out.resource->singular + ", not its name"});
      }
    }
    if (node.find("if_match") != nullptr) {
      const std::string* tag =
          text_of(node, "if_match", path, R"(write an ETag, for example "\"3\"")", problems);
      if (tag != nullptr) out.if_match = *tag;
    }
  }
  if (removes) {
    has_no("body", "leave it out");
  } else {
    for (Member& m : node.members) {
      if (m.key == "body") out.body = std::move(m.value);
    }
    if (out.body.kind != Node::Kind::map) {
      problems.push_back(
          {path + ".body", node.line,
           out.body.kind == Node::Kind::null
               ? std::string("this field is required")
               : fmt::format("expected an object, found {}", describe(out.body.kind)),
           "write the fields of a " + out.resource->singular});
    }
  }
  out.path = path + ".body";
  out.line = node.line;
}

}  // namespace

BatchDocument parse_batch(Node document, size_t limit, Problems& problems) {
  BatchDocument out;
  const std::string remedy = R"(write {"operations":[...]})";
  if (document.kind != Node::Kind::map) {
    problems.push_back({"", document.line,
                        fmt::format("expected an object, found {}", describe(document.kind)),
                        remedy});
    return out;
  }
  Node* list = nullptr;
  for (Member& m : document.members) {
    if (m.key == "operations") {
      list = &m.value;
    } else {
      unknown(m, m.key, {"operations"}, problems);
    }
  }
  if (!problems.empty()) return out;
  if (list == nullptr || list->kind != Node::Kind::list) {
    problems.push_back({"operations", list == nullptr ? document.line : list->line,
                        "a list of operations is required", remedy});
    return out;
  }
  if (list->items.size() > limit) {
    problems.push_back({"operations", list->line, fmt::format("{} operations", list->items.size()),
                        fmt::format("send at most {} at once", limit)});
    return out;
  }
  for (size_t i = 0; i < list->items.size(); ++i) {
    BatchOperation& operation = out.operations.emplace_back();
    parse_one(list->items[i], fmt::format("operations[{}]", i), operation, problems);
    if (!problems.empty()) {
      out.failed = i;
      return out;
    }
  }
  return out;
}

}  // namespace plexus::codec
