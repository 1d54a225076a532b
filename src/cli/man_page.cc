// SPDX-License-Identifier: Apache-2.0
#include "cli/man_page.h"

#include <fmt/format.h>

#include "cli/command_tree.h"

namespace plexus::cli {
namespace {

/// Text that roff prints as it is.
std::string escaped(std::string_view text) {
  std::string out;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && (c == '.' || c == '\'')) out += "\\&";
    line_start = c == '\n';
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else if (c == '"') {
      out += "\\(dq";
    } else {
      out += c;
    }
  }
  return out;
}

class Page {
 public:
  std::string write() {
    const CommandSpec& root = command_tree();
    out_ = fmt::format(
        ".\\\" SPDX-License-Identifier: Apache-2.0\n.\\\" Written by `plexus man`.\n"
        ".TH PLEXUS 1 \"\" \"Plexus {}\" \"User commands\"\n",
        kVersion);
    section("NAME");
    line("plexus \\- the command line of Plexus, a virtual network");
    section("SYNOPSIS");
    line(".B plexus\n.RI [ OPTIONS ]\n.I COMMAND\n.RI [ ... ]");
    section("DESCRIPTION");
    paragraphs(root.description);
    section("OPTIONS FOR ALL COMMANDS");
    options(root.options);
    section("RESOURCES");
    line(
        escaped("Each takes create, list, show, update and delete, and its plural stands for it as "
                "well. Options are "
                "the fields of the schema; those that hold lists take commas, or the option again. "
                "list takes fields "
                "to look for."));
    for (const CommandSpec& c : root.commands) {
      if (c.resource != nullptr) resource(c);
    }
    std::string group;
    for (const CommandSpec& c : root.commands) {
      if (c.hidden || c.resource != nullptr) continue;
      if (c.group != group) section(upper(group = c.group));
      command(c, c.name);
    }
    section("EXIT STATUS");
    for (const ExitWords& e : exit_words()) item(std::to_string(e.status), e.meaning);
    section("ENVIRONMENT");
    for (const EnvironmentWords& e : environment_words()) item(e.variable, e.meaning);
    section("EXAMPLES");
    examples(root.examples);
    section("SEE ALSO");
    line(".BR plexus\\-api (8),\n.BR plexus\\-agent (8)");
    return std::move(out_);
  }

 private:
  void line(std::string_view text) {
    out_ += text;
    out_ += '\n';
  }

  void section(const std::string& title) { line(".SH \"" + title + "\""); }

  static std::string upper(std::string text) {
    for (char& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    return text;
  }

  void item(std::string_view what, std::string_view text) {
    line(".TP\n.B " + escaped(what));
    line(escaped(text));
  }

  void paragraphs(const std::string& text) {
    size_t begin = 0;
    while (begin < text.size()) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      line(".PP\n" + escaped(std::string_view(text).substr(begin, end - begin)));
      begin = end + 1;
    }
  }

  void examples(const std::vector<std::string>& all) {
    if (all.empty()) return;
    line(".PP\n.EX");
    for (const std::string& e : all) line(escaped("  " + e));
    line(".EE");
  }

  void options(const std::vector<OptionSpec>& all) {
    for (const OptionSpec& o : all) {
      std::string head = o.letter != 0 ? fmt::format("\\fB\\-{}\\fR, ", o.letter) : "";
      head += "\\fB" + escaped("--" + o.name) + "\\fR";
      if (!o.placeholder.empty()) head += " \\fI" + escaped(o.placeholder) + "\\fR";
      line(".TP\n" + head);
      line(escaped(o.help + (o.required ? " (required)" : "")));
    }
  }

  static std::string synopsis(const CommandSpec& c, const std::string& path) {
    std::string out = "\\fB" + escaped("plexus " + path) + "\\fR";
    for (const OptionSpec& o : c.options) {
      if (o.required)
        out +=
            fmt::format(" \\fB{}\\fR \\fI{}\\fR", escaped("--" + o.name), escaped(o.placeholder));
    }
    for (const OptionSpec& a : c.arguments) {
      const std::string text = "\\fI" + escaped(a.placeholder) + "\\fR";
      out += a.required ? " " + text : " [" + text + (a.repeated ? "...]" : "]");
    }
    if (c.raw) out += " \\fIARGUMENTS\\fR";
    return out;
  }

  void command(const CommandSpec& c, const std::string& path) {
    if (!c.commands.empty()) {
      for (const CommandSpec& sub : c.commands) command(sub, path + " " + sub.name);
      return;
    }
    line(".SS " + synopsis(c, path));
    line(escaped(c.help + "."));
    paragraphs(c.description);
    options(c.options);
    examples(c.examples);
  }

  /// The fields once, with what may be done with each; then the verbs that are special.
  void resource(const CommandSpec& noun) {
    line(".SS " + escaped(noun.name));
    line(escaped(noun.help));
    for (const codec::FieldSpec& f : noun.resource->fields) {
      const CommandSpec& create = *noun.find("create");
      std::string option = f.name;
      std::replace(option.begin(), option.end(), '_', '-');
      const OptionSpec* o = create.option(option);
      if (o == nullptr || o->field != &f) continue;
      line(".TP\n\\fB" + escaped("--" + o->name) + "\\fR \\fI" + escaped(o->placeholder) + "\\fR");
      std::string text = o->help;
      if (f.required) text += " Required.";
      if (f.immutable) text += " At creation only.";
      line(escaped(text));
    }
    for (const CommandSpec& c : noun.commands) {
      const bool is_special = c.verb > Verb::remove;
      if (!is_special && c.description.empty() && c.examples.empty()) continue;
      line(".PP\n" + synopsis(c, noun.name + " " + c.name));
      line(".RS");
      line(escaped(c.help + "."));
      paragraphs(c.description);
      if (is_special) options(c.options);
      examples(c.examples);
      line(".RE");
    }
  }

  std::string out_;
};

}  // namespace

std::string man_page() {
  return Page().write();
}

}  // namespace plexus::cli
