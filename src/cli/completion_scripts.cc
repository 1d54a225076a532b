// SPDX-License-Identifier: Apache-2.0
#include "cli/completion.h"

namespace plexus::cli {
namespace {

// All three ask the program itself. It prints one candidate a line, "WORD<tab>help", and ":files" where the shell's own
// completion of file names is wanted.
constexpr char kBash[] = R"(# bash completion for plexus; plexus completion bash writes it
_plexus() {
  local line word files= current="${COMP_WORDS[COMP_CWORD]}"
  COMPREPLY=()
  [ "$current" = "=" ] && current=
  while IFS= read -r line; do
    if [ "$line" = ":files" ]; then files=1; continue; fi
    word="${line%%$'\t'*}"
    # bash has split --option=value at the equals sign: only the value is replaced
    case "$word" in --*=*) word="${word#*=}" ;; esac
    COMPREPLY+=("$word")
  done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  if [ -n "$files" ]; then
    compopt -o filenames 2>/dev/null
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$current")
  fi
}
complete -F _plexus plexus
)";

constexpr char kZsh[] = R"(#compdef plexus
# zsh completion for plexus; plexus completion zsh writes it
_plexus() {
  local line files=
  local -a found
  while IFS= read -r line; do
    if [[ "$line" = ":files" ]]; then files=1; continue; fi
    if [[ "$line" = *$'\t'* ]]; then
      found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    else
      found+=("${line//:/\\:}")
    fi
  done < <("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
  (( ${#found} )) && _describe -V plexus found
  [[ -n "$files" ]] && _files
}
if [ "$funcstack[1]" = "_plexus" ]; then _plexus "$@"; else compdef _plexus plexus; fi
)";

constexpr char kFish[] = R"(# fish completion for plexus; plexus completion fish writes it
function __plexus_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path "$current"
        else
            echo $line
        end
    end
end
complete -c plexus -f -k -a '(__plexus_complete)'
)";

}  // namespace

std::string completion_script(const std::string& shell) {
  return shell == "zsh" ? kZsh : shell == "fish" ? kFish : kBash;
}

}  // namespace plexus::cli
