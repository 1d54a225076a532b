// SPDX-License-Identifier: Apache-2.0
#include "codec/decode.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <memory>
#include <unordered_set>

#include "base/ids.h"
#include "codec/nearest.h"

namespace plexus::codec {
namespace {

namespace pb = google::protobuf;

std::string join_path(const std::string& path, std::string_view name) {
  return path.empty() ? std::string(name) : path + "." + std::string(name);
}

std::string type_name(const pb::Descriptor& type) {
  for (const ResourceSpec& spec : resources()) {
    if (spec.descriptor == &type) return spec.singular;
  }
  return type.name();
}

const pb::EnumValueDescriptor* enum_value(const pb::EnumDescriptor& type, std::string_view word) {
  for (int i = 0; i < type.value_count(); ++i) {
    const pb::EnumValueDescriptor& value = *type.value(i);
    if (value.number() == 0) continue;  // "unspecified" is absence, never written
    const std::string& name = value.name();
    if (name.size() == word.size() &&
        std::equal(name.begin(), name.end(), word.begin(), [](char a, char b) {
          return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b;
        })) {
      return &value;
    }
  }
  return nullptr;
}

/// One field of two messages of one type holds the same.
bool same_field(const pb::Message& a, const pb::Message& b, const pb::FieldDescriptor& field) {
  // Only this field in two empty messages; their bytes decide.
  std::string bytes[2];
  const pb::Message* sides[] = {&a, &b};
  for (int i = 0; i < 2; ++i) {
    const std::unique_ptr<pb::Message> copy(sides[i]->New());
    copy->CopyFrom(*sides[i]);
    std::vector<const pb::FieldDescriptor*> set;
    copy->GetReflection()->ListFields(*copy, &set);
    for (const pb::FieldDescriptor* f : set) {
      if (f != &field) copy->GetReflection()->ClearField(copy.get(), f);
    }
    copy->GetReflection()->MutableUnknownFields(copy.get())->Clear();
    bytes[i] = copy->SerializeAsString();
  }
  return bytes[0] == bytes[1];
}

class Decoder {
 public:
  Decoder(const DecodeOptions& options, Problems& problems)
      : options_(options), problems_(problems) {}

  void message(const Node& node, const std::string& path, pb::Message& onto, Merge merge) {
    if (node.kind != Node::Kind::map) {
      problem(path, node.line, fmt::format("expected an object, found {}", describe(node.kind)),
              "write the fields of a " + type_name(*onto.GetDescriptor()));
      return;
    }
    const std::vector<FieldSpec>& fields = fields_of(*onto.GetDescriptor());
    if (merge == Merge::put) {
      for (const FieldSpec& f : fields) {
        if (!f.immutable && !f.output_only) onto.GetReflection()->ClearField(&onto, f.descriptor);
      }
      merge = Merge::patch;
    }
    for (const Member& m : node.members) {
      const auto f = std::find_if(fields.begin(), fields.end(),
                                  [&](const FieldSpec& s) { return s.name == m.key; });
      if (f == fields.end()) {
        if (options_.answer) continue;
        unknown_field(m, path, fields, *onto.GetDescriptor());
        continue;
      }
      member(*f, m, join_path(path, f->name), onto, merge);
    }
  }

 private:
  void problem(const std::string& path, int line, std::string what, std::string remedy = {}) {
    if (problems_.size() < kMaxProblems)
      problems_.push_back({path, line, std::move(what), std::move(remedy)});
  }

  void unknown_field(const Member& m, const std::string& path, const std::vector<FieldSpec>& fields,
                     const pb::Descriptor& type) {
    std::vector<std::string> known;
    for (const FieldSpec& f : fields) {
      if (!f.output_only) known.push_back(f.name);
    }
    problem(join_path(path, quoted_key(m.key)), m.line,
            fmt::format("unknown field {} of {}", in_quotes(m.key), type_name(type)),
            suggestion(m.key, known));
  }

  /// A key as part of a path: as it is when it looks like one, quoted otherwise.
  static std::string quoted_key(const std::string& key) {
    const bool simple =
        !key.empty() && key.size() <= 64 &&
        key.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
            std::string::npos;
    return simple ? key : in_quotes(key);
  }

  void member(const FieldSpec& field, const Member& m, const std::string& path, pb::Message& onto,
              Merge merge) {
    const bool guarded =
        (field.output_only && !options_.answer) || (field.immutable && merge != Merge::create);
    if (!guarded) {
      assign(field, m, path, onto, merge);
      return;
    }
    // Decode aside; the value it has already is welcome, so that what was read can be written back.
    const std::unique_ptr<pb::Message> aside(onto.New());
    const size_t before = problems_.size();
    assign(field, m, path, *aside, Merge::create);
    if (problems_.size() != before || same_field(*aside, onto, *field.descriptor)) return;
    if (field.output_only) {
      problem(path, m.line, "this field is set by the system", "leave it out");
    } else {
      problem(path, m.line, "this field can be set at creation only",
              "delete the object and create it anew");
    }
  }

  void assign(const FieldSpec& field, const Member& m, const std::string& path, pb::Message& onto,
              Merge merge) {
    const pb::Reflection& r = *onto.GetReflection();
    if (m.value.kind == Node::Kind::null) {
      r.ClearField(&onto, field.descriptor);
      if (merge == Merge::create && options_.cleared != nullptr)
        options_.cleared->push_back(field.name);
      return;
    }
    if (!field.repeated) {
      value(field, m.value, path, onto, merge);
      return;
    }
    if (m.value.kind != Node::Kind::list) {
      problem(path, m.value.line, fmt::format("expected a list, found {}", describe(m.value.kind)),
              "write [" + std::string(placeholder(field.kind)) + ", ...]");
      return;
    }
    r.ClearField(&onto, field.descriptor);
    if (m.value.items.size() > static_cast<size_t>(field.max_entries)) {
      problem(path, m.value.line, fmt::format("{} entries", m.value.items.size()),
              fmt::format("at most {} are allowed", field.max_entries));
      return;
    }
    entries_.clear();
    for (size_t i = 0; i < m.value.items.size(); ++i) {
      value(field, m.value.items[i], fmt::format("{}[{}]", path, i), onto, Merge::create);
    }
  }

  void value(const FieldSpec& field, const Node& node, const std::string& path, pb::Message& onto,
             Merge merge) {
    const pb::Reflection& r = *onto.GetReflection();
    const pb::FieldDescriptor* d = field.descriptor;
    if (field.kind == ValueKind::message) {
      pb::Message& inner = field.repeated ? *r.AddMessage(&onto, d) : *r.MutableMessage(&onto, d);
      message(node, path, inner, merge);
      return;
    }
    if (node.kind == Node::Kind::null) {
      problem(path, node.line, "null in a list", "leave the entry out");
      return;
    }
    if (!node.is_scalar()) {
      wrong_kind(field, node, path);
      return;
    }
    switch (field.kind) {
      case ValueKind::boolean: {
        const bool typed = node.kind == Node::Kind::boolean || node.kind == Node::Kind::plain;
        if (!typed || (node.text != "true" && node.text != "false"))
          return wrong_kind(field, node, path);
        const bool truth = node.text == "true";
        field.repeated ? r.AddBool(&onto, d, truth) : r.SetBool(&onto, d, truth);
        return;
      }
      case ValueKind::number: {
        const bool typed = node.kind == Node::Kind::number || node.kind == Node::Kind::plain;
        const auto number = parse_number(node.text);
        if (typed && !number && is_too_large(node.text)) {
          problem(path, node.line, fmt::format("{} is too large", in_quotes(node.text)),
                  range_remedy(field));
          return;
        }
        if (!typed || !number) return wrong_kind(field, node, path);
        if (*number < field.min || *number > field.max) {
          problem(path, node.line, fmt::format("{} is out of range", *number), range_remedy(field));
          return;
        }
        field.repeated ? r.AddUInt32(&onto, d, *number) : r.SetUInt32(&onto, d, *number);
        return;
      }
      case ValueKind::enumeration: {
        const bool typed = node.kind == Node::Kind::text || node.kind == Node::Kind::plain;
        const auto* word = typed ? enum_value(*d->enum_type(), node.text) : nullptr;
        if (word == nullptr && options_.answer) return;
        if (word == nullptr) {
          problem(path, node.line, fmt::format("unknown value {}", in_quotes(node.text)),
                  suggestion(node.text, field.words));
          return;
        }
        if (field.repeated && !is_new(word->name(), node, path)) return;
        field.repeated ? r.AddEnum(&onto, d, word) : r.SetEnum(&onto, d, word);
        return;
      }
      default:
        break;
    }
    // JSON's 443 is as good as "443".
    const bool number_will_do =
        node.kind == Node::Kind::number &&
        (field.kind == ValueKind::ip_protocol || field.kind == ValueKind::port_range);
    if (node.kind != Node::Kind::text && node.kind != Node::Kind::plain && !number_will_do)
      return wrong_kind(field, node, path);
    auto stored = stored_form(field.kind, node.text);
    if (!stored && field.is_reference() && options_.names != nullptr &&
        stored_form(ValueKind::name, node.text)) {
      if (field.repeated && !is_new(node.text, node, path)) return;
      const int index = field.repeated ? r.FieldSize(onto, d) : 0;
      options_.names->push_back({&field, node.text, node.line, index});
      stored = Uuid{}.raw();
    } else if (stored && field.repeated && !is_new(*stored, node, path)) {
      return;
    }
    if (!stored) return wrong_kind(field, node, path);
    if (field.repeated) {
      r.AddString(&onto, d, std::move(*stored));
    } else {
      r.SetString(&onto, d, std::move(*stored));
    }
  }

  /// Whether the list that is being decoded has no such entry yet; a problem when it has.
  bool is_new(const std::string& entry, const Node& node, const std::string& path) {
    if (entries_.insert(entry).second) return true;
    problem(path, node.line, in_quotes(node.text) + " appears twice in the list", "remove one");
    return false;
  }

  /// A number, but none of 32 bits.
  static bool is_too_large(const std::string& text) {
    return text.size() > 1 && text[0] != '0' &&
           text.find_first_not_of("0123456789") == std::string::npos;
  }

  static std::string range_remedy(const FieldSpec& field) {
    return fmt::format("use a number from {} to {}", field.min, field.max);
  }

  void wrong_kind(const FieldSpec& field, const Node& node, const std::string& path) {
    std::string remedy =
        node.is_scalar() ? particular_remedy(field.kind, node.text) : std::string();
    if (remedy.empty()) {
      if (field.is_reference()) {
        remedy = options_.names != nullptr
                     ? "write the name or the id of a " + field.target().singular
                     : "write the id of a " + field.target().singular;
      } else {
        remedy = "write " + std::string(expected_form(field.kind));
      }
    }
    // A number in the place of one is of another kind: negative, or no whole one.
    const bool mistyped = (node.kind == Node::Kind::number && field.kind != ValueKind::number) ||
                          node.kind == Node::Kind::boolean || !node.is_scalar();
    const std::string wanted = field.is_reference() ? "a reference to a " + field.target().singular
                                                    : std::string(kind_name(field.kind));
    if (mistyped || (node.kind == Node::Kind::text &&
                     (field.kind == ValueKind::number || field.kind == ValueKind::boolean))) {
      problem(path, node.line, fmt::format("expected {}, found {}", wanted, describe(node.kind)),
              remedy);
    } else {
      problem(path, node.line, fmt::format("{} is not {}", in_quotes(node.text), wanted), remedy);
    }
  }

  const DecodeOptions& options_;
  Problems& problems_;
  std::unordered_set<std::string> entries_;  ///< of the list that is being decoded
};

class Validator {
 public:
  Validator(int line, Problems& problems) : line_(line), problems_(problems) {}

  void message(const pb::Message& m, const std::string& path) {
    for (const FieldSpec& f : fields_of(*m.GetDescriptor())) field(m, f, join_path(path, f.name));
    if (const ResourceSpec* spec = resource_of(m)) exclusive(m, *spec, path);
  }

  void problem(const std::string& path, std::string what, std::string remedy) {
    if (problems_.size() < kMaxProblems)
      problems_.push_back({path, line_, std::move(what), std::move(remedy)});
  }

 private:
  void field(const pb::Message& m, const FieldSpec& f, const std::string& path) {
    const pb::Reflection& r = *m.GetReflection();
    const int count =
        f.repeated ? r.FieldSize(m, f.descriptor) : (r.HasField(m, f.descriptor) ? 1 : 0);
    if (count == 0) {
      if (f.required) {
        problem(path, "this field is required",
                f.words.empty() ? "set it to " + std::string(expected_form(f.kind))
                                : fmt::format("set it to one of {}", fmt::join(f.words, ", ")));
      }
      return;
    }
    if (count > f.max_entries) {
      problem(path, fmt::format("{} entries", count),
              fmt::format("at most {} are allowed", f.max_entries));
      return;
    }
    std::unordered_set<std::string> named;
    for (int i = 0; i < count; ++i) {
      const std::string place = f.repeated ? fmt::format("{}[{}]", path, i) : path;
      switch (f.kind) {
        case ValueKind::message:
          message(
              f.repeated ? r.GetRepeatedMessage(m, f.descriptor, i) : r.GetMessage(m, f.descriptor),
              place);
          break;
        case ValueKind::number: {
          const uint32_t n =
              f.repeated ? r.GetRepeatedUInt32(m, f.descriptor, i) : r.GetUInt32(m, f.descriptor);
          if (n < f.min || n > f.max) {
            problem(place, fmt::format("{} is out of range", n),
                    fmt::format("use a number from {} to {}", f.min, f.max));
          }
          break;
        }
        case ValueKind::boolean:
          break;
        case ValueKind::enumeration:
          // Unknown numbers may stand in records of newer writers; zero is never stored.
          if ((f.repeated ? r.GetRepeatedEnumValue(m, f.descriptor, i)
                          : r.GetEnumValue(m, f.descriptor)) == 0) {
            problem(place, "the value 'unspecified'", suggestion("", f.words));
          }
          break;
        default: {
          const std::string bytes =
              f.repeated ? r.GetRepeatedString(m, f.descriptor, i) : r.GetString(m, f.descriptor);
          // The nil id stands for a name that is not resolved yet.
          const bool pending = f.is_reference() && bytes == Uuid{}.raw();
          // Once by its name and once by its id, say.
          if (f.is_reference() && !pending && !named.insert(bytes).second) {
            problem(place, text_form(f.kind, bytes) + " appears twice in the list", "remove one");
          }
          if (!pending && !is_stored_form(f.kind, bytes)) {
            problem(place, text_form(f.kind, bytes) + " is not " + std::string(kind_name(f.kind)),
                    "set it to " + std::string(expected_form(f.kind)));
          }
        }
      }
    }
  }

  void exclusive(const pb::Message& m, const ResourceSpec& spec, const std::string& path) {
    for (const ExclusiveSpec& group : spec.exclusive) {
      std::vector<std::string> set;
      for (const std::string& name : group.fields) {
        if (has_field(m, name)) set.push_back(name);
      }
      if (set.size() > 1) {
        problem(join_path(path, set[1]), fmt::format("{} are both set", fmt::join(set, " and ")),
                "set one of them");
      } else if (set.empty() && group.required) {
        problem(join_path(path, group.fields[0]),
                fmt::format("a {} needs {}", spec.singular, fmt::join(group.fields, " or ")),
                "set one of them");
      }
    }
  }

  int line_;
  Problems& problems_;
};

}  // namespace

void set_reference(pb::Message& message, const NameReference& reference, const Uuid& id) {
  const pb::Reflection& r = *message.GetReflection();
  const pb::FieldDescriptor* d = reference.field->descriptor;
  if (reference.field->repeated) {
    r.SetRepeatedString(&message, d, reference.index, id.raw());
  } else {
    r.SetString(&message, d, id.raw());
  }
}

Problems decode(const Node& node, const DecodeOptions& options, pb::Message& onto) {
  Problems problems;
  Decoder(options, problems).message(node, options.path, onto, options.merge);
  return problems;
}

Problems validate(const pb::Message& message, const std::string& path, int line) {
  Problems problems;
  Validator validator(line, problems);
  validator.message(message, path);
  const size_t size = message.ByteSizeLong();
  const ResourceSpec* spec = resource_of(message);
  const size_t most = spec != nullptr ? spec->max_bytes : ResourceSpec().max_bytes;
  if (size > most) {
    validator.problem(path, fmt::format("the object has {} bytes", size),
                      fmt::format("at most {} are allowed", most));
  }
  return problems;
}

}  // namespace plexus::codec
