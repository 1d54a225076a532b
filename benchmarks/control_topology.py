# SPDX-License-Identifier: Apache-2.0
"""The topology of ./bench control: many bridges with many ports each, all on one router."""
import dataclasses
import json


@dataclasses.dataclass(frozen=True)
class Size:
    bridges: int
    ports: int  # on each bridge

    @property
    def total(self):
        return self.bridges * self.ports


def mac(bridge, port):
    return f"0a:00:00:{bridge % 256:02x}:{port // 256:02x}:{port % 256:02x}"


def address(bridge, port):
    return f"10.{bridge // 256}.{bridge % 256}.{port + 10}"


def interface(bridge, port):
    return f"t{bridge}-{port}"


def all_spread(hosts):
    """Every port wanted on a host, evenly."""
    names = [f"h{n}" for n in range(1, hosts + 1)]
    return lambda bridge, port: names[(bridge + port) % hosts]


def first_of_each_bridge(bridge, port):
    """One port of each bridge on the only host, the others nowhere: what the peer's driver binds."""
    del bridge
    return "h1" if port == 1 else None


def cloud(size, placed, group=None):
    """The cloud as a file; `placed(bridge, port)` names a host, or None. `group`: a security group that all machines are in."""
    ports = []
    for b in range(1, size.bridges + 1):
        ports.append({"name": f"r0-s{b}", "router": "r0", "mac": f"00:00:00:00:{b // 256:02x}:{b % 256:02x}",
                      "networks": [f"10.{b // 256}.{b % 256}.1/24"], "peer": f"s{b}-r0"})
        ports.append({"name": f"s{b}-r0", "bridge": f"s{b}"})
        for p in range(1, size.ports + 1):
            port = {"name": f"p{b}-{p}", "bridge": f"s{b}", "mac": mac(b, p), "addresses": [address(b, p)]}
            if host := placed(b, p):
                port |= {"host": host, "interface": interface(b, p)}
            if group:
                port["security_groups"] = [group]
            ports.append(port)
    document = {"routers": [{"name": "r0"}], "bridges": [{"name": f"s{b}"} for b in range(1, size.bridges + 1)],
                "ports": ports}
    if group:
        document["security-groups"] = [{"name": group}]
        document["security-rules"] = [{"security_group": group, "direction": "egress"}]
    return document


def write(path, document):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)
