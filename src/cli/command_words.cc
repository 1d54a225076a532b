// SPDX-License-Identifier: Apache-2.0
// What commands say beyond one line: descriptions for the man page, examples for --help and the man page.
#include "cli/command_tree.h"

namespace plexus::cli {

const std::vector<CommandWords>& command_words() {
  static const std::vector<CommandWords> all = {
      {"",
       "plexus is a client of plexus-api: whatever it does can be done over HTTP as well. Objects "
       "are named by name or "
       "by id. A name means the object without a tenant, or the only one of that name; --tenant "
       "says whose. A mistyped "
       "command, option or name is answered with the nearest there is.",
       {"plexus apply -f cloud.yaml             create or update what the file describes",
        "plexus topology                        draw it", "plexus port list --bridge web",
        "plexus port migrate vm1 --to h2 --activate --wait", "plexus trace --host h1 --in vm1 \\",
        "  'eth 02:00:00:00:01:11 > 02:00:00:00:01:01 | ipv4 10.1.1.11 > 10.1.2.14 | udp 1 > 53'"}},
      {"apply",
       "Reads the file and what there is, and writes only what differs, in requests of up to 200 "
       "writes that are each "
       "done wholly or not at all. An object of the file is the existing one of its name (or id); "
       "one without a name is "
       "one that has all the fields given. Fields that the file does not mention stay as they are; "
       "null unsets. Nothing "
       "is written when the file has a mistake. After a failure in the middle run it again: what "
       "is done is not done "
       "twice.\n"
       "With --prune, objects that the file does not name are removed as well: those of the "
       "collections that the file "
       "mentions (an empty list mentions one) and of the tenants whose objects it holds. Tunnel "
       "zones, hosts, tenants and "
       "tokens are never pruned. What will go is shown first, and asked for on a terminal. More "
       "than half of what there "
       "is goes with --force only.",
       {"plexus apply -f cloud.yaml --dry-run   what would change, field by field",
        "plexus apply -f cloud.yaml --prune --wait", "generate-cloud | plexus apply -f -"}},
      {"delete", "", {"plexus delete -f cloud.yaml --dry-run"}},
      {"wait",
       "Asks all live hosts whether they have applied everything, up to a revision or up to now. "
       "Hosts that are not live "
       "are named and not waited for.",
       {"plexus wait --timeout 5"}},
      {"watch",
       "Prints one line for each change. When the connection breaks it connects again and goes on "
       "where it was. When "
       "the server no longer has the changes since then, it says so and goes on from now: list "
       "again what you follow.",
       {"plexus watch ports hosts", "plexus watch --json | jq -r .name"}},
      {"audit", "For admins.", {"plexus audit --count 20"}},
      {"port create",
       "",
       {"plexus port create --name vm1 --bridge web --host h1 --interface tap-vm1 --addresses "
        "10.0.1.11",
        "plexus port create --name r1-web --router r1 --networks 10.0.1.1/24,fd00:1::1/64 --peer "
        "web-r1"}},
      {"port list",
       "HOST is where a port is wanted, ACTUAL where it is. STATE: active, moving (to another "
       "host), inactive (the "
       "interface is missing), unbound (no host has it yet), interior (wired to a peer), unplugged "
       "(wanted nowhere).",
       {"plexus port list --host h1", "plexus port list --bridge web -o name"}},
      {"port update",
       "",
       {"plexus port update vm1 --admin-up false", "plexus port update vm1 --clear mac,addresses"}},
      {"port bind", "", {"plexus port bind vm1 --host h1 --interface tap-vm1 --wait"}},
      {"port unbind", "", {"plexus port unbind vm1"}},
      {"port migrate",
       "The host makes the interface ready and takes the port over when the first frame comes "
       "there. With --activate it "
       "takes it over at once: first all hosts learn of the move, then it is done.",
       {"plexus port migrate vm1 --to h2", "plexus port migrate vm1 --to h2 --activate --wait"}},
      {"host list",
       "STATE: live, not live or never seen; fenced; draining. PORTS: those active there, of those "
       "wanted there.",
       {"plexus host list", "plexus host list --fenced true -o name"}},
      {"host drain",
       "Ports that are there stay until they are moved; they are listed. With --wait it waits "
       "until the last has gone.",
       {"plexus host drain h1", "plexus host drain h1 --wait --timeout 600"}},
      {"host fence",
       "For a host that is believed dead, or must be. All other hosts stop sending to it and drop "
       "what comes from it; it "
       "waits until they do. A host that is live is fenced after a question only, or with --yes.",
       {"plexus host fence h1 --yes"}},
      {"host credentials", "", {"plexus host credentials h1 -o /etc/plexus/identity"}},
      {"token create",
       "The secret is printed once and cannot be read again.",
       {"plexus token create --name ops --role admin",
        "plexus token create --name blue-ci --role tenant --tenant blue",
        "plexus token create --name ci --role reader --json | jq -r .secret > token"}},
      {"route create",
       "",
       {"plexus route create --router r1 --destination 0.0.0.0/0 --port r1-up --next-hop 192.0.2.1",
        "plexus route create --router r1 --destination 10.66.0.0/16 --kind blackhole"}},
      {"trace",
       "Where a copy leaves by tunnel for a host whose agent runs on this machine too, that agent "
       "is "
       "asked what becomes of it there. With --expect, the first stage that disagrees is named.",
       {"plexus trace --host h1 --in vm1 \\",
        "  'eth 02:00:00:00:01:11 > 02:00:00:00:01:01 | ipv4 10.1.1.11 > 10.1.2.14 | udp 1 > 53'",
        "plexus trace --host h1 --in vm1 --expect port:vm4 \\",
        "  'eth 02:00:00:00:01:11 > 02:00:00:00:01:01 | ipv4 10.1.1.11 > 10.1.2.14 | udp 1 > 53'"}},
      {"store",
       "Runs plexus-store, which works on the store directly and needs no API server, with the "
       "arguments given.",
       {"plexus store check --store embedded:/var/lib/plexus/store", "plexus store --help"}},
      {"completion",
       "",
       {"plexus completion bash > /usr/share/bash-completion/completions/plexus",
        "plexus completion zsh > /usr/share/zsh/vendor-completions/_plexus",
        "plexus completion fish > /usr/share/fish/vendor_completions.d/plexus.fish"}},
      {"man", "", {"plexus man | man -l -"}},
  };
  return all;
}

const std::vector<ExitWords>& exit_words() {
  static const std::vector<ExitWords> all = {
      {kOk, "done"},
      {kFailed, "refused or failed; standard error says why"},
      {kUsage, "wrong usage"},
      {kTimeout, "no answer, or not applied by all live hosts, within --timeout"},
      {kUnreachable, "no server or agent there, or its store does not answer"},
      {kDenied, "not allowed: no token, or one that may not do this"},
      {kUnmet, "the packet of plexus trace --expect ended otherwise"},
  };
  return all;
}

const std::vector<EnvironmentWords>& environment_words() {
  static const std::vector<EnvironmentWords> all = {
      {"PLEXUS_API", "replaces the default of --api, unix:/run/plexus/api.sock"},
      {"PLEXUS_TOKEN", "replaces the default of --token; a token, or @FILE"},
      {"PLEXUS_RUN", "the folder of the agents' sockets; /run/plexus when unset"},
      {"NO_COLOR", "no colours when it is set"},
  };
  return all;
}

}  // namespace plexus::cli
