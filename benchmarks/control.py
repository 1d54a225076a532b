# SPDX-License-Identifier: Apache-2.0
"""What the control plane costs: how long a change takes to reach every agent, what it costs each, how long a big cloud
takes to apply, how soon an agent forwards. docs/benchmarks.md says how to read the figures."""
import argparse
import json
import sys
import time

import control_start
from control_cloud import ControlCloud, have_fake_datapath, have_zookeeper
from control_topology import Size, all_spread, cloud, first_of_each_bridge, interface, mac, write
from lab import RUN_DIR, BenchError, Lab, run
from ovn import Ovn
from path import require
from quiet import load
from rows import Report, make_row

SUITE = "control"
STILL_NS = 60_000_000  # no agent has had news for so long: the change has arrived everywhere


def p99(values):
    return round(sorted(values)[max(0, -(-len(values) * 99 // 100) - 1)], 3) if values else None


class Suite:
    """The cases, each made when it is asked for."""

    def __init__(self, options, lab, report):
        self._options, self._lab, self._report = options, lab, report
        self._load = 0.0
        quick = options.quick
        self._size = Size(5, 20) if quick else Size(50, 100)
        self._hosts = options.hosts or (4 if quick else 20)
        self._adds = options.adds or (5 if quick else 100)
        self._runs = (1 if quick else 3) if options.runs is None else max(1, options.runs)
        self._sessions = 50 if quick else 1000
        self._file = f"{RUN_DIR}/cloud.json"

    def run(self):
        for store in self._options.stores:
            self._group(f"{store}_apply", self._apply, store)
            self._group(f"{store}_add_port", self._changes, store)
            self._group(f"{store}_remote_group", self._remote_group, store)
            self._group(f"{store}_sessions", self._many_sessions, store)
            self._group(f"{store}_wait", self._wait, store)
            if store == "zookeeper":
                self._group(f"{store}_raw_sessions", self._many_sessions, store, True)
                self._group(f"{store}_raw_wait", self._wait, store, True)
        self._group("ovn_add_port", self._beside_ovn, self._options.stores[-1])
        self._group("ovn_remote_group", self._group_beside_ovn, self._options.stores[-1])
        self._group("start", self._start)

    def _group(self, name, measure, *arguments):
        """One set-up and all cases that are measured in it; its failure is a row, and the others go on."""
        if self._options.only not in name:
            return
        self._load = load()
        print(f"# {name} (load {self._load})", file=sys.stderr, flush=True)
        try:
            measure(*arguments)
        except BenchError as error:
            self._report.add(make_row(SUITE, name, "ms", [], error=str(error), load=self._load))

    def _add(self, case, unit, values, **more):
        if len(values) >= 20:
            more["p99"] = p99(values)
        self._report.add(make_row(SUITE, case, unit, values, load=self._load, **more))

    def _say(self, text):
        print(f"#   {text}", file=sys.stderr, flush=True)

    # ---- a big cloud applied ----

    def _apply(self, store):
        size = self._size
        first, again = [], []
        for _ in range(self._runs):
            with ControlCloud(self._lab, store) as made:
                made.create_hosts(self._hosts)
                write(self._file, cloud(size, all_spread(self._hosts)))
                start = made.api.ask("GET", "/v1/routers").revision
                seconds, said = made.apply(self._file)
                self._say(f"{seconds:.1f} s: {said}")
                if not made.api.get(f"/v1/audit?since={start}")["items"]:
                    raise BenchError("the audit log does not show what was written")
                first.append(seconds)
                before = made.api.ask("GET", "/v1/routers").revision
                # (A session that opens moves ZooKeeper's revision, too: what was written stands in the audit log.)
                seconds, said = made.apply(self._file)
                written = made.api.get(f"/v1/audit?since={before}")["items"]
                self._say(f"again, {seconds:.1f} s: {said}")
                if "unchanged" not in said or written:
                    raise BenchError(f"applying the same file again wrote something: {said}; {str(written)[:300]}")
                again.append(seconds)
        self._add(f"{store}_apply_{size.total}_ports", "s", first)
        self._add(f"{store}_apply_again_no_writes", "s", again)

    # ---- one change to many agents ----

    def _changes(self, store):
        with ControlCloud(self._lab, store) as made:
            self._agents_with_topology(made, self._hosts, all_spread(self._hosts))
            answered, asked, api, received, pages = [], [], [], [], []
            for n in range(1, self._adds + 1):
                before, files_before = made.received(), made.read_from_files()
                result = self._add_one(made, f"x{n}", n)
                after, files = made.received(), made.read_from_files()
                answered.append(result["after_answer"])
                asked.append(result["after_request"])
                api.append(result["api"])
                received.append(max(after[name] - before[name] for name in before) / 1024)
                pages.append(max(files[name] - files_before[name] for name in files) / 1024)
            label = f"{store}_add_port_{self._hosts}_agents"
            self._add(label, "ms", answered, measured="the API's answer to the last worker's epoch")
            self._add(f"{label}_from_request", "ms", asked)
            self._add(f"{label}_api", "ms", api)
            self._add(f"{label}_received", "KiB", received, measured="the agent that received most")
            if store == "embedded":
                self._add(f"{label}_read_from_files", "KiB", pages, measured="the agent that read most: pages of the database")
            bound = [self._add_one(made, f"y{n}", n, host=f"h{n % self._hosts + 1}")["after_answer"]
                     for n in range(1, self._adds + 1)]
            self._add(f"{store}_add_bound_port_{self._hosts}_agents", "ms", bound,
                      measured="until the host has plugged it in and all others know where it is")
            self._add(f"{store}_agent_resident", "MiB", [a.resident_bytes() / 2**20 for a in made.agents])

    def _agents_with_topology(self, made, hosts, placed, group=None):
        if not have_fake_datapath():
            raise BenchError("plexus-agent has no --datapath fake")
        made.start_agents(hosts)
        document = cloud(self._size, placed, group)
        write(self._file, document)
        seconds, said = made.apply(self._file)
        start = time.monotonic()
        states = made.settle(sum("host" in port for port in document["ports"]))
        self._say(f"{hosts} agents, {said} in {seconds:.1f} s, at rest {time.monotonic() - start:.1f} s later; "
                  f"{sum(s['ports_active'] for s in states)} ports active, "
                  f"{states[0]['watched_keys']} keys watched by {made.agents[0].name}")

    def _bridge_id(self, made, number):
        if not hasattr(made, "bridge_ids"):
            made.bridge_ids = {b["name"]: b["id"] for b in made.api.get("/v1/bridges")["items"]}
            made.host_ids = {h["name"]: h["id"] for h in made.api.get("/v1/hosts")["items"]}
        return made.bridge_ids[f"s{number}"]

    def _new_port(self, made, name, n, host=None):
        bridge = n % self._size.bridges + 1
        port = self._size.ports + n + (500 if host else 0)
        body = {"name": name, "bridge": self._bridge_id(made, bridge), "mac": mac(bridge, port),
                "addresses": [f"10.200.{port // 250}.{port % 250}"]}
        if host:
            body |= {"host": made.host_ids[host], "interface": f"x{interface(bridge, port)}"}
        return body

    def _add_one(self, made, name, n, host=None):
        """One port more."""
        body = self._new_port(made, name, n, host)
        return self._reach(made, f"port {name}", "POST", "/v1/ports", body)

    def _reach(self, made, what, verb, path, body=None):
        """One change: milliseconds from the API's answer, and from the request, to the last worker's last epoch."""
        before = {a.name: a.status()["applied_epoch"] for a in made.agents}
        answer = made.api.ask(verb, path, body)
        deadline = time.monotonic() + 30
        while True:
            # Not at once: questions to agents would compete with what is measured.
            time.sleep(0.08)
            states = {a.name: a.status() for a in made.agents}
            newest = max(s["applied_at_ns"] for s in states.values())
            late = [a for a, s in states.items() if s["applied_epoch"] == before[a]]
            if not late and time.monotonic_ns() - newest > STILL_NS:
                break
            if time.monotonic() > deadline:
                raise BenchError(f"{what} did not reach {', '.join(late) or 'rest'} within 30 s")
        return {"after_answer": max(0, newest - answer.answered) / 1e6, "after_request": (newest - answer.asked) / 1e6,
                "api": (answer.answered - answer.asked) / 1e6, "said": answer.json}

    # ---- a group that everybody is in ----

    def _remote_group(self, store):
        """All ports in one security group; a rule that names the group as the other end; a member more."""
        with ControlCloud(self._lab, store) as made:
            self._agents_with_topology(made, self._hosts, all_spread(self._hosts), group="all")
            group = made.api.get("/v1/security-groups")["items"][0]["id"]
            resident = {a.name: a.resident_bytes() for a in made.agents}
            rules, removed, members, more = [], [], [], []
            for n in range(1, max(3, self._adds // 5) + 1):
                done = self._reach(made, f"rule {n}", "POST", "/v1/security-rules",
                                   {"security_group": group, "direction": "ingress", "protocol": "tcp",
                                    "ports": f"{1000 + n}", "remote_group": group})
                rules.append(done["after_answer"])
                if n == 1:
                    more = [(a.resident_bytes() - resident[a.name]) / 2**20 for a in made.agents]
                body = self._new_port(made, f"m{n}", n) | {"security_groups": [group]}
                members.append(self._reach(made, f"member {n}", "POST", "/v1/ports", body)["after_answer"])
                removed.append(self._reach(made, f"end of rule {n}", "DELETE", f"/v1/security-rules/{done['said']['id']}")["after_answer"])
            label = f"{store}_remote_group_{self._size.total}_ports_{self._hosts}_agents"
            self._add(f"{label}_rule_added", "ms", rules, measured="the API's answer to the last worker's epoch")
            self._add(f"{label}_rule_removed", "ms", removed)
            self._add(f"{label}_member_added", "ms", members)
            self._add(f"{label}_more_resident", "MiB", more, measured="each agent, after the first rule")

    # ---- many sessions on one record ----

    def _many_sessions(self, store, raw=False):
        # The kernel gives a user 128 inotify instances; each session of the embedded store needs one.
        count = min(self._sessions, 50) if store == "embedded" else self._sessions
        with ControlCloud(self._lab, store) as made:
            out = json.loads(run(require("plexus-bench-swarm"), "raw-sessions" if raw else "sessions",
                                 "--store", made.address, "--count", str(count),
                                 "--changes", str(max(3, self._adds // 4)), netns=made.netns, timeout=600))
        self._say(f"{count} sessions opened in {out['opened_s']:.1f} s")
        self._add(f"{store}_{count}_{'raw_' if raw else ''}sessions_one_record", "ms", out["after_begin_ms"],
                  measured="the write's begin to the last session's having read it")

    # ---- --wait ----

    def _wait(self, store, raw=False):
        # As above: the embedded store is for one machine.
        count = min(self._sessions, 50) if store == "embedded" else self._sessions
        with ControlCloud(self._lab, store) as made:
            swarm = made.start_swarm(count, raw)
            self._say(f"{count} hosts live")
            values = []
            # The first are not counted: a server in Java becomes fast while it runs.
            warm_up = 0 if self._options.quick else 5
            for n in range(warm_up + max(3, self._adds // 4)):
                # The answers to the last question are removed when nobody asks any more.
                time.sleep(0.5)
                changed = made.api.ask("POST", "/v1/bridges", {"name": f"b{n}"})
                answer = made.api.ask("GET", f"/v1/convergence?revision={changed.revision}&timeout=30")
                said = answer.json
                if not said["converged"] or said["applied"] != count:
                    raise BenchError(f"not converged: {str(said)[:300]}")
                values.append((answer.answered - changed.answered) / 1e6)
            if swarm.poll() is not None:
                raise BenchError("the swarm ended")
            del values[:warm_up]
        self._add(f"{store}_wait_{count}_{'raw_' if raw else ''}hosts", "ms", values)

    # ---- beside OVN ----

    def _beside_ovn(self, store):
        with Ovn(self._lab) as ovn, ControlCloud(self._lab, store) as made:
            self._say(f"OVN has the topology after {ovn.build(self._size):.1f} s")
            self._agents_with_topology(made, 1, first_of_each_bridge)
            ours, theirs = [], []
            for n in range(1, (3 if self._options.quick else 20) + 1):
                theirs.append(ovn.add_port(f"x{n}", n % self._size.bridges + 1, 120 + n))
                body = self._new_port(made, f"x{n}", n)
                answer = made.api.ask("POST", "/v1/ports", body)
                done = made.api.ask("GET", f"/v1/convergence?revision={answer.revision}&timeout=30")
                if not done.json["converged"]:
                    raise BenchError(f"not converged: {done.json}")
                ours.append((done.answered - answer.asked) / 1e6)
            self._add(f"add_port_acknowledged_1_agent_{store}", "ms", ours, peer=ovn.name, peer_values=theirs,
                      measured="request to acknowledgement of the only host (ours: POST and GET /v1/convergence; "
                               "theirs: ovn-nbctl --wait=hv)")

    def _group_beside_ovn(self, store):
        with Ovn(self._lab) as ovn, ControlCloud(self._lab, store) as made:
            self._say(f"OVN has the topology after {ovn.build(self._size):.1f} s, the group after "
                      f"{ovn.group_of_all(self._size):.1f} s")
            self._agents_with_topology(made, 1, first_of_each_bridge, group="all")
            group = made.api.get("/v1/security-groups")["items"][0]["id"]
            ours, theirs = [], []
            for n in range(1, (3 if self._options.quick else 10) + 1):
                theirs.append(ovn.add_group_rule(1000 + n))
                answer = made.api.ask("POST", "/v1/security-rules",
                                      {"security_group": group, "direction": "ingress", "protocol": "tcp",
                                       "ports": f"{1000 + n}", "remote_group": group})
                done = made.api.ask("GET", f"/v1/convergence?revision={answer.revision}&timeout=30")
                if not done.json["converged"]:
                    raise BenchError(f"not converged: {done.json}")
                ours.append((done.answered - answer.asked) / 1e6)
            self._add(f"remote_group_rule_acknowledged_1_agent_{store}", "ms", ours, peer=ovn.name, peer_values=theirs,
                      measured="request to acknowledgement of the only host, a rule whose other end is a group of all ports")

    # ---- an agent's start ----

    def _start(self):
        size = Size(5, 20) if self._options.quick else Size(100, 100)
        for case, unit, values in control_start.measure(self._lab, size, max(3, self._runs), self._say):
            self._add(case, unit, values)


def main():
    parser = argparse.ArgumentParser(prog="./bench control", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write one JSON object a line")
    parser.add_argument("--runs", type=int, metavar="N", help="runs of what takes long (default 3)")
    parser.add_argument("--quick", action="store_true", help="small and few: to see that it works, not to quote")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases with this in their name")
    parser.add_argument("--store", choices=("embedded", "zookeeper", "both"), default="both")
    parser.add_argument("--hosts", type=int, metavar="N", help="agents (default 20)")
    parser.add_argument("--adds", type=int, metavar="N", help="ports added one by one (default 100)")
    options = parser.parse_args()
    options.stores = ["embedded", "zookeeper"] if options.store == "both" else [options.store]
    if "zookeeper" in options.stores and not have_zookeeper():
        raise BenchError("no ZooKeeper on this machine: tools/install-packages run (or --store embedded)")
    report = Report(options.json, "Plexus")
    with Lab() as lab:
        Suite(options, lab, report).run()
    if report.failures:
        raise BenchError(f"{report.failures} cases failed")


if __name__ == "__main__":
    try:
        main()
    except BenchError as problem:
        print(f"bench: {problem}", file=sys.stderr)
        sys.exit(1)
