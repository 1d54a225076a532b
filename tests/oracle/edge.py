# SPDX-License-Identifier: Apache-2.0
"""Random clouds behind a router that translates: floating addresses, leased sources, load balancers; and packets for them."""
import random
from dataclasses import dataclass, field

from cloud import Cloud, Leg, Machine, Probe, mac_of
from compare import address

OUTSIDE = {4: "203.0.113.{}", 6: "2001:db8::{:x}"}
BITS = {4: 24, 6: 64}


@dataclass(frozen=True)
class Balancer:
    family: int
    protocol: str
    vip: str
    members: tuple      # names of machines


@dataclass
class EdgeCloud(Cloud):
    floating: list = field(default_factory=list)     # (machine, family, outside address)
    sources: dict = field(default_factory=dict)      # family -> outside address of all that have no floating one
    balancers: list = field(default_factory=list)

    uplink = "leg-out"

    def outside(self):
        return [m for m in self.machines if m.switch == "out"]

    def inside(self):
        return [m for m in self.machines if m.switch != "out"]

    def floating_of(self, machine, family):
        return next((a for m, f, a in self.floating if (m, f) == (machine, family)), None)


def address_of(machine, family):
    return machine.v4 if family == 4 else machine.v6


def outside_address(family, number):
    return OUTSIDE[family].format(number)


def edge_cloud(seed):
    r = random.Random(seed)
    cloud = EdgeCloud(seed)
    nets = r.randint(1, 3)
    cloud.switches = [f"s{i}" for i in range(nets)] + ["out"]
    cloud.routers = ["edge"]
    for i in range(r.randint(2, 8)):
        net = r.randrange(nets)
        cloud.machines.append(Machine(f"v{i}", f"s{net}", mac_of(1, i), f"10.0.{net}.{10 + i}", f"fd00:{net}::{10 + i:x}",
                                      f"h{r.randrange(3)}"))
    for i in range(r.randint(1, 3)):
        cloud.machines.append(Machine(f"x{i}", "out", mac_of(3, i), outside_address(4, 10 + i), outside_address(6, 10 + i),
                                      f"h{r.randrange(3)}"))
    for net in range(nets):
        cloud.legs.append(Leg(f"leg{net}", "edge", mac_of(2, net), f"10.0.{net}.1/24", f"fd00:{net}::1/64", switch=f"s{net}"))
    cloud.legs.append(Leg(cloud.uplink, "edge", mac_of(2, 99), outside_address(4, 1) + "/24", outside_address(6, 1) + "/64",
                          switch="out"))
    for family in (4, 6):
        cloud.sources[family] = outside_address(family, 90)
        for number, machine in enumerate(cloud.inside()):
            if r.random() < 0.4:
                cloud.floating.append((machine, family, outside_address(family, 100 + number)))
        if r.random() < 0.8:
            members = r.sample(cloud.inside(), r.randint(1, len(cloud.inside())))
            cloud.balancers.append(Balancer(family, r.choice(("tcp", "udp")), outside_address(family, 80),
                                            tuple(m.name for m in members)))
    return cloud


def edge_probes(cloud, count):
    r = random.Random(cloud.seed * 1_000_003 + 2)
    return [_probe(r, cloud) for _ in range(count)]


def _probe(r, cloud):
    machine, family = r.choice(cloud.machines), r.choice((4, 6))
    other = r.choice([m for m in cloud.machines if m != machine])
    protocol, dport = r.choice(("tcp", "udp", "icmp")), r.choice((22, 80, 8080))
    destinations = [address_of(other, family)] * 3
    destinations += [a for m, f, a in cloud.floating if f == family and m != machine] * 2
    for balancer in cloud.balancers:
        if balancer.family == family and r.random() < 0.4:
            destinations, protocol, dport = [balancer.vip], balancer.protocol, 80
    dst = r.choice(destinations)
    near = [m for m in cloud.machines if m.switch == machine.switch and address_of(m, family) == dst]
    leg = next(leg for leg in cloud.legs if leg.switch == machine.switch)
    return Probe(machine, machine.mac, near[0].mac if near else leg.mac, family, address_of(machine, family), dst,
                 r.choice((64, 64, 255, 3)), protocol, r.randint(1024, 65535), dport)


def ovn_commands(cloud):
    """What ovn-nbctl is told beside the topology."""
    yield "lrp-set-gateway-chassis", cloud.uplink, "gateway"
    for machine, family, outside in cloud.floating:
        yield "lr-nat-add", "edge", "dnat_and_snat", outside, address_of(machine, family)
    for family, outside in cloud.sources.items():
        for net in range(len(cloud.switches) - 1):
            yield "lr-nat-add", "edge", "snat", outside, f"10.0.{net}.0/24" if family == 4 else f"fd00:{net}::/64"
    by_name = {m.name: m for m in cloud.machines}
    for number, balancer in enumerate(cloud.balancers):
        def end(address, port, family=balancer.family):
            return f"{address}:{port}" if family == 4 else f"[{address}]:{port}"
        members = ",".join(end(address_of(by_name[m], balancer.family), 8080) for m in balancer.members)
        yield "lb-add", f"lb{number}", end(balancer.vip, 80), members, balancer.protocol
        yield "lr-lb-add", "edge", f"lb{number}"


def plexus_lines(cloud):
    """What the scenario says behind the topology."""
    lines = ["apply", "  chains: [{name: leaving}]", "  snat-pools:"]
    for family, outside in cloud.sources.items():
        lines.append(f'    - {{name: sources{family}, router: edge, addresses: ["{outside}"]}}')
    lines.append("  rules:")
    for family in cloud.sources:
        lines.append(f"    - {{chain: leaving, name: four{family}, position: {family}, action: snat, ethertype: ipv{family}, "
                     f"out_port: {cloud.uplink}, snat_pool: sources{family}}}")
    lines.append("  routers: [{name: edge, out_chain: leaving}]")
    if cloud.floating:
        lines.append("  floating-ips:")
    for machine, family, outside in cloud.floating:
        lines.append(f'    - {{name: f{family}-{machine.name}, router: edge, address: "{outside}", '
                     f'inside: "{address_of(machine, family)}"}}')
    if not cloud.balancers:
        return lines
    by_name = {m.name: m for m in cloud.machines}
    lines.append("  load-balancers: [{name: lb, router: edge}]")
    lines.append("  pools: [" + ", ".join(f"{{name: pool{b.family}, load_balancer: lb}}" for b in cloud.balancers) + "]")
    lines.append("  pool-members:")
    for b in cloud.balancers:
        lines += [f'    - {{name: {m}-{b.family}, pool: pool{b.family}, address: "{address_of(by_name[m], b.family)}", port: 8080}}'
                  for m in b.members]
    lines.append("  vips:")
    lines += [f'    - {{name: vip{b.family}, load_balancer: lb, address: "{b.vip}", protocol: {b.protocol}, port: 80, '
              f"pool: pool{b.family}}}" for b in cloud.balancers]
    return lines


def alike(cloud, probe, events):
    """Without what each side chooses for itself: the port of a leased source, and the member of a load balancer."""
    out = []
    for e in events:
        balancer = next((b for b in cloud.balancers if (b.vip, b.protocol, 80) == (probe.dst, probe.protocol, probe.dport)), None)
        words = e.what.split()
        if balancer and e.kind == "packet" and e.port in balancer.members:
            out.append(e._replace(port="a member", eth_src="", eth_dst="", dst="", what=" ".join(words[:2])))
        elif e.kind == "packet" and e.src in cloud.sources.values():
            out.append(e._replace(what=f"{words[0]} * > {words[3]}"))
        else:
            out.append(e)
    return sorted(out)


# Rows of the table in docs/oracle.md.
EXPLANATIONS = ("hidden-source", "hairpin-passes-once")


def explained(cloud, probe, ours, theirs):
    """The explanation of a difference that translations make; none: nobody has explained it."""
    if probe.machine.switch == "out" or len(ours) != 1 or len(theirs) != 1:
        return None
    here, there = ours[0], theirs[0]
    if here.ttl == there.ttl + 1 and here._replace(ttl=0) == there._replace(ttl=0):
        return "hairpin-passes-once"
    hidden = here.src.startswith(("100.64.", "100.65.", "64:ff9b:1::"))
    if hidden and there.src in (*cloud.sources.values(), address(probe.src), cloud.floating_of(probe.machine, probe.family)) and \
            (here.port, here.dst) == (there.port, there.dst):
        return "hidden-source"
    return None
