// SPDX-License-Identifier: Apache-2.0
#include "codec/encode.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "codec/decode.h"
#include "codec/nearest.h"

namespace plexus::codec {
namespace {

namespace pb = google::protobuf;

std::string lower(std::string s) {
  for (char& c : s) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return s;
}

/// Value `i` of the field (0 of a singular one).
Node value_of(const pb::Message& m, const FieldSpec& f, int i) {
  const pb::Reflection& r = *m.GetReflection();
  const pb::FieldDescriptor* d = f.descriptor;
  switch (f.kind) {
    case ValueKind::message:
      return encode(f.repeated ? r.GetRepeatedMessage(m, d, i) : r.GetMessage(m, d));
    case ValueKind::boolean:
      return Node::of_bool(f.repeated ? r.GetRepeatedBool(m, d, i) : r.GetBool(m, d));
    case ValueKind::number:
      return Node::of_number(f.repeated ? r.GetRepeatedUInt32(m, d, i) : r.GetUInt32(m, d));
    case ValueKind::enumeration:
      return Node::of_text(
          lower((f.repeated ? r.GetRepeatedEnum(m, d, i) : r.GetEnum(m, d))->name()));
    default:
      return Node::of_text(
          text_form(f.kind, f.repeated ? r.GetRepeatedString(m, d, i) : r.GetString(m, d)));
  }
}

int count_of(const pb::Message& m, const FieldSpec& f) {
  const pb::Reflection& r = *m.GetReflection();
  return f.repeated ? r.FieldSize(m, f.descriptor) : (r.HasField(m, f.descriptor) ? 1 : 0);
}

}  // namespace

Node encode(const pb::Message& message) {
  Node out = Node::map_of({});
  for (const FieldSpec& f : fields_of(*message.GetDescriptor())) {
    const int count = count_of(message, f);
    if (count == 0 || f.secret) continue;
    if (!f.repeated) {
      out.add(f.name, value_of(message, f, 0));
      continue;
    }
    Node list = Node::list_of({});
    for (int i = 0; i < count; ++i) list.items.push_back(value_of(message, f, i));
    out.add(f.name, std::move(list));
  }
  return out;
}

std::vector<std::string> field_texts(const pb::Message& message, const FieldSpec& field) {
  std::vector<std::string> out;
  if (field.secret || field.kind == ValueKind::message) return out;
  const int count = count_of(message, field);
  for (int i = 0; i < count; ++i) out.push_back(value_of(message, field, i).text);
  return out;
}

std::string value_when_unset(const FieldSpec& field) {
  if (field.repeated) return {};
  const bool is_boolean = field.kind == ValueKind::boolean;
  if (!is_boolean && field.kind != ValueKind::number && field.kind != ValueKind::enumeration)
    return {};
  for (const std::string_view words : {" when unset", " (when unset)"}) {
    const size_t end = field.help.find(words);
    if (end == std::string::npos) continue;
    const size_t before = field.help.find_last_of(" ;,(", end - 1);
    const size_t begin = before == std::string::npos ? 0 : before + 1;
    std::string word = field.help.substr(begin, end - begin);
    const bool known =
        is_boolean ? word == "true" || word == "false"
        : field.kind == ValueKind::number
            ? parse_number(word).has_value()
            : std::find(field.words.begin(), field.words.end(), word) != field.words.end();
    if (known) return word;
  }
  return is_boolean ? "false" : "";
}

Result<Filter> parse_filter(const ResourceSpec& resource, std::string_view name,
                            std::string_view value) {
  const FieldSpec* field = resource.field(name);
  if (field == nullptr || field->secret || field->kind == ValueKind::message) {
    std::vector<std::string> known;
    for (const FieldSpec& f : resource.fields) {
      if (!f.secret && f.kind != ValueKind::message) known.push_back(f.name);
    }
    return Error{ErrorCode::invalid, "unknown field " + in_quotes(name) + " of " +
                                         resource.singular + " in the filter; " +
                                         suggestion(name, known)};
  }
  // The decoder checks and makes the text canonical.
  Node scalar = Node::of_plain(value);
  Node document = Node::map_of({});
  document.add(name, field->repeated ? Node::list_of({scalar}) : scalar);
  const MessagePtr scratch = resource.new_message();
  if (field->output_only) {
    const auto number = parse_number(value);
    if (!number)
      return Error{ErrorCode::invalid,
                   std::string(name) + ": " + in_quotes(value) + " is not a number"};
    return Filter{field, std::to_string(*number), false};
  }
  const Problems problems = decode(document, {}, *scratch);
  if (!problems.empty()) return to_error(problems);
  const std::vector<std::string> texts = field_texts(*scratch, *field);
  if (texts.empty())
    return Error{ErrorCode::invalid, std::string(name) + ": the filter is empty; give a value"};
  return Filter{field, texts[0], value_when_unset(*field) == texts[0]};
}

bool matches(const pb::Message& message, const Filter& filter) {
  const std::vector<std::string> texts = field_texts(message, *filter.field);
  if (texts.empty()) return filter.matches_unset;
  return std::find(texts.begin(), texts.end(), filter.text) != texts.end();
}

}  // namespace plexus::codec
