# SPDX-License-Identifier: Apache-2.0
"""Random clouds that both Plexus and OVN can build, and random packets for them. All from a seed."""
import random
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Machine:
    name: str
    switch: str
    mac: str
    v4: str
    v6: str
    host: str


@dataclass(frozen=True)
class Leg:
    """A port of a router, on a switch or wired to a leg of another router."""
    name: str
    router: str
    mac: str
    v4: str          # with prefix length
    v6: str
    switch: str = ""
    peer: str = ""


@dataclass(frozen=True)
class Route:
    name: str
    router: str
    prefix: str
    leg: str = ""        # none: packets are thrown away
    next_hop: str = ""


@dataclass(frozen=True)
class Allow:
    """A rule of a security group."""
    group: str
    ingress: bool
    family: int
    protocol: str = ""        # any
    ports: tuple = ()         # first and last destination port, of tcp and udp
    prefix: str = ""          # the other end's
    remote_group: str = ""


@dataclass
class Cloud:
    seed: int
    switches: list = field(default_factory=list)
    routers: list = field(default_factory=list)
    machines: list = field(default_factory=list)
    legs: list = field(default_factory=list)
    routes: list = field(default_factory=list)
    groups: dict = field(default_factory=dict)    # security groups: name -> names of members
    allows: list = field(default_factory=list)
    stateful: bool = False    # the security groups

    def groups_of(self, machine):
        return [name for name, members in self.groups.items() if machine in members]

    def legs_of(self, router):
        return [leg for leg in self.legs if leg.router == router]


@dataclass(frozen=True)
class Probe:
    """A packet as it enters. protocol: udp, tcp, icmp (echo), arp. Neighbour solicitations are left out: ovn-trace 23.03
    aborts on them."""
    machine: Machine
    eth_src: str
    eth_dst: str
    family: int
    src: str
    dst: str
    ttl: int
    protocol: str
    sport: int = 0       # of an echo: the identifier
    dport: int = 0
    answer: bool = False

    def answered(self, machine, eth_src, src, dst):
        """What the machine that got the packet says, when it came with these addresses."""
        return Probe(machine, machine.mac, eth_src, self.family, dst, src, 64, self.protocol,
                     *((self.sport, 0) if self.protocol == "icmp" else (self.dport, self.sport)), answer=True)


def mac_of(kind, number):
    return f"02:00:00:{kind:02x}:{number >> 8:02x}:{number & 255:02x}"


def random_cloud(seed):
    r = random.Random(seed)
    cloud = Cloud(seed)
    cloud.switches = [f"s{i}" for i in range(r.randint(1, 5))]
    cloud.routers = [f"r{i}" for i in range(r.randint(0, 4))]
    for i in range(r.randint(2, 14)):
        net = r.randrange(len(cloud.switches))
        cloud.machines.append(Machine(f"v{i}", f"s{net}", mac_of(1, i), f"10.0.{net}.{10 + i}", f"fd00:{net}::{10 + i:x}",
                                      f"h{r.randrange(3)}"))
    # Each switch has one router of its own, as networks of tenants have; a few have two, a few none.
    for net, switch in enumerate(cloud.switches):
        for n, router in enumerate(r.sample(cloud.routers, min(len(cloud.routers), r.choice((0, 1, 1, 1, 2))))):
            number = len(cloud.legs)
            cloud.legs.append(Leg(f"leg{number}", router, mac_of(2, number), f"10.0.{net}.{1 + n}/24", f"fd00:{net}::{1 + n}/64",
                                  switch=switch))
    # Routers in a row, so that packets pass several.
    for i in range(len(cloud.routers) - 1):
        if r.random() < 0.8:
            a, b = len(cloud.legs), len(cloud.legs) + 1
            cloud.legs.append(Leg(f"leg{a}", f"r{i}", mac_of(2, a), f"10.9.{i}.1/30", f"fd09:{i}::1/64", peer=f"leg{b}"))
            cloud.legs.append(Leg(f"leg{b}", f"r{i + 1}", mac_of(2, b), f"10.9.{i}.2/30", f"fd09:{i}::2/64", peer=f"leg{a}"))
    by_name = {leg.name: leg for leg in cloud.legs}
    for router in cloud.routers:
        mine = cloud.legs_of(router)
        for _ in range(r.randint(0, 5)):
            family, net = r.choice((4, 6)), r.randrange(7)
            prefix = r.choice((f"10.0.{net}.0/24", f"10.{net}.0.0/16", "0.0.0.0/0", f"10.0.{net}.{r.randint(10, 20)}/32")
                              if family == 4 else
                              (f"fd00:{net}::/64", "fd00::/16", "::/0", f"fd00:{net}::{r.randint(10, 20):x}/128"))
            number = len(cloud.routes)
            if any(route.router == router and route.prefix == prefix for route in cloud.routes):
                continue     # several ways to one place are chosen by hashes that differ
            if not mine or r.random() < 0.2:
                cloud.routes.append(Route(f"route{number}", router, prefix))
                continue
            leg = r.choice(mine)
            own = leg.v4 if family == 4 else leg.v6
            if leg.peer:
                peer = by_name[leg.peer]
                hop = (peer.v4 if family == 4 else peer.v6).split("/")[0]
            else:
                there = [m for m in cloud.machines if m.switch == leg.switch]
                others = [o for o in cloud.legs if o.switch == leg.switch and o != leg]
                pool = [m.v4 if family == 4 else m.v6 for m in there]
                pool += [(o.v4 if family == 4 else o.v6).split("/")[0] for o in others]
                hop = r.choice(pool) if pool and r.random() < 0.9 else own.split("/")[0].rsplit(".", 1)[0] + ".99" \
                    if family == 4 else own.split("::")[0] + "::99"
            cloud.routes.append(Route(f"route{number}", router, prefix, leg.name, hop))
    if r.random() < 0.6:
        _add_groups(r, cloud)
    cloud.stateful = seed % 3 != 0
    return cloud


def _add_groups(r, cloud):
    names = [m.name for m in cloud.machines]
    for i in range(r.randint(1, 3)):
        cloud.groups[f"g{i}"] = sorted(r.sample(names, r.randint(1, len(names))))
    for _ in range(r.randint(2, 14)):
        family, protocol, net = r.choice((4, 6)), r.choice(("", "tcp", "udp", "icmp")), r.randrange(5)
        ports = ()
        if protocol in ("tcp", "udp") and r.random() < 0.7:
            first = r.choice((22, 53, 80, 443, 1024))
            ports = (first, r.choice((first, first + 100, 65535)))
        other = r.random()
        prefix = r.choice((f"10.0.{net}.0/24", "10.0.0.0/16", f"10.0.{net}.12/30", "0.0.0.0/0") if family == 4 else
                          (f"fd00:{net}::/64", "fd00::/16", f"fd00:{net}::c/126", "::/0")) if other < 0.4 else ""
        group = r.choice(list(cloud.groups)) if other > 0.65 else ""
        cloud.allows.append(Allow(r.choice(list(cloud.groups)), r.random() < 0.5, family, protocol, ports, prefix, group))


def random_probes(cloud, count):
    r = random.Random(cloud.seed * 1_000_003 + 1)
    asked = set()
    probes = []
    while len(probes) < count:
        probe = _random_probe(r, cloud)
        key = (probe.dst, probe.family)
        if not _somebody(cloud, probe.dst):
            # A question for an address is asked once for all that wait for it, so a second packet would show nothing.
            if key in asked:
                if r.random() < 0.98:
                    continue
            asked.add(key)
        probes.append(probe)
    return probes


def _somebody(cloud, address):
    return any(address in (m.v4, m.v6) for m in cloud.machines) or \
        any(address in (leg.v4.split("/")[0], leg.v6.split("/")[0]) for leg in cloud.legs)


def _random_probe(r, cloud):
    machine = r.choice(cloud.machines)
    family = r.choice((4, 6))
    gateways = [leg for leg in cloud.legs if leg.switch == machine.switch]
    peers = [m for m in cloud.machines if m.switch == machine.switch and m != machine]
    src = machine.v4 if family == 4 else machine.v6
    dst = _random_destination(r, cloud, family)
    protocol = r.choice(("udp", "udp", "tcp", "icmp") + ("arp",) * (family == 4))
    ttl = r.choice((64, 64, 64, 255, 3, 2, 1))
    eth_dst = r.choice([leg.mac for leg in gateways]) if gateways and r.random() < 0.8 else \
        r.choice([m.mac for m in peers] + [mac_of(9, 1)])
    if protocol == "arp":
        eth_dst, ttl = "ff:ff:ff:ff:ff:ff", 0
        dst = r.choice([m.v4 for m in peers] + [leg.v4.split("/")[0] for leg in gateways] + [f"10.0.0.{r.randint(30, 250)}"])
    else:
        direct = [m for m in peers if dst in (m.v4, m.v6)]
        if direct and r.random() < 0.9:
            eth_dst = direct[0].mac
    return Probe(machine, machine.mac, eth_dst, family, src, dst, ttl, protocol, r.randint(1024, 65535),
                 r.choice((22, 53, 80, 443, r.randint(1, 65535))))


def _random_destination(r, cloud, family):
    kind = r.random()
    if kind < 0.6:
        other = r.choice(cloud.machines)
        return other.v4 if family == 4 else other.v6
    if kind < 0.75 and cloud.legs:
        leg = r.choice(cloud.legs)
        return (leg.v4 if family == 4 else leg.v6).split("/")[0]
    net, last = r.randrange(7), r.randint(2, 250)
    return r.choice((f"10.0.{net}.{last}", f"10.{net}.0.{last}", f"198.51.100.{last}") if family == 4 else
                    (f"fd00:{net}::{last:x}", f"fd01:{net}::{last:x}", f"2001:db8::{last:x}"))
