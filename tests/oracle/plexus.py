# SPDX-License-Identifier: Apache-2.0
"""Plexus's answers for the same clouds: a scenario is written, run with --update, and its results are read back."""
import re
import subprocess


def topology_of(cloud):
    lines = ["topology", "  hosts: [" + ", ".join(f"{{name: h{i}}}" for i in range(3)) + "]"]
    # OVN learns no MACs here: its ports have said theirs.
    lines.append("  bridges: [" + ", ".join(f"{{name: {s}, learning: false}}" for s in cloud.switches) + "]")
    if cloud.routers:
        lines.append("  routers: [" + ", ".join(f"{{name: {r}, icmp_rate: 1000000}}" for r in cloud.routers) + "]")
    lines.append("  ports:")
    for m in cloud.machines:
        lines.append(f'    - {{name: {m.name}, bridge: {m.switch}, host: {m.host}, interface: {m.name}, mac: "{m.mac}", '
                     f'addresses: [{m.v4}, "{m.v6}"], security_groups: [{", ".join(cloud.groups_of(m.name))}]}}')
    for leg in cloud.legs:
        peer = leg.peer or f"to-{leg.name}"
        lines.append(f'    - {{name: {leg.name}, router: {leg.router}, mac: "{leg.mac}", networks: [{leg.v4}, "{leg.v6}"], '
                     f"peer: {peer}{', outside: true' * (leg.name == getattr(cloud, 'uplink', None))}}}")
        if leg.switch:
            lines.append(f"    - {{name: to-{leg.name}, bridge: {leg.switch}}}")
    if cloud.routes:
        lines.append("  routes:")
    for route in cloud.routes:
        way = f'port: {route.leg}, next_hop: "{route.next_hop}"' if route.leg else "kind: blackhole"
        lines.append(f'    - {{name: {route.name}, router: {route.router}, destination: "{route.prefix}", {way}}}')
    if cloud.groups:
        lines.append("  security-groups: [" + ", ".join(f"{{name: {g}, stateful: {'true' if cloud.stateful else 'false'}}}" for g in cloud.groups) + "]")
        lines.append("  security-rules:")
    for number, allow in enumerate(cloud.allows):
        words = [f"name: a{number}", f"security_group: {allow.group}", f"direction: {'ingress' if allow.ingress else 'egress'}",
                 f"ethertype: ipv{allow.family}"]
        if allow.protocol:
            words.append(f"protocol: {'icmpv6' if allow.protocol == 'icmp' and allow.family == 6 else allow.protocol}")
        if allow.ports:
            words.append(f'ports: "{allow.ports[0]}-{allow.ports[1]}"' if allow.ports[0] != allow.ports[1] else
                         f'ports: "{allow.ports[0]}"')
        if allow.prefix:
            words.append(f'remote_prefix: "{allow.prefix}"')
        if allow.remote_group:
            words.append(f"remote_group: {allow.remote_group}")
        lines.append("    - {" + ", ".join(words) + "}")
    return lines


def text_of(probe):
    """In the packet syntax."""
    eth = f"eth {probe.eth_src} > {probe.eth_dst}"
    if probe.protocol == "arp":
        return f"{eth} | arp request who {probe.dst} tell {probe.src}"
    ip = f"{eth} | ipv{probe.family} {probe.src} > {probe.dst} ttl {probe.ttl}"
    if probe.protocol == "icmp":
        return f"{ip} | icmp echo-{'reply' if probe.answer else 'request'} id {probe.sport}"
    flags = " flags SA" if probe.answer and probe.protocol == "tcp" else ""
    return f"{ip} | {probe.protocol} {probe.sport} > {probe.dport}{flags}"


def ask(program, cloud, probes, directory, more=()):
    """The result lines of each probe; `more`: lines of the scenario behind the topology."""
    path = f"{directory}/cloud-{cloud.seed}.scn"
    with open(path, "w", encoding="utf-8") as file:
        print("# Pins: nothing, made from a seed", "# Matters: to the comparison with OVN", "# Checks: at the end", sep="\n",
              file=file)
        print("\n".join([*topology_of(cloud), *more]), file=file)
        print("results", file=file)  # outside addresses are announced
        for probe in probes:
            print(f"send {probe.machine.host}/{probe.machine.name} {text_of(probe)}", file=file)
    done = subprocess.run([program, "--update", f"--seed={cloud.seed}", path], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    answers, current = [], None
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith("send "):
                current = []
                answers.append(current)
            elif current is not None and line.startswith("  "):
                current.append(line.strip())
    assert len(answers) == len(probes)
    return answers


def events_of(answer):
    """(port, text of the packet) of each that came out."""
    return [(where[1], where[2]) for line in answer if (where := re.match(r"h\d+/(\S+) (.*)", line))]
