# SPDX-License-Identifier: Apache-2.0
"""What came out, in one form for both sides; and the differences that are meant, each with its reason (docs/oracle.md)."""
import ipaddress
from collections import namedtuple

# kind: packet, error, reset, echo-request, echo-reply, question, answer. `what` says the rest: ports, ICMP type and code. Left
# out, being empty or 0, is what nobody could miss: the TTL of packets that a router makes, and of neighbour solicitations all
# but the question, because ovn-trace prints no more of them.
Event = namedtuple("Event", "port kind eth_src eth_dst src dst ttl what")

_UNREACHABLE = {4: {"net": 0, "host": 1, "port": 3, "admin": 13}, 6: {"net": 0, "admin": 1, "host": 3, "port": 4}}
_ERRORS = {4: {"unreachable": 3, "time-exceeded": 11}, 6: {"unreachable": 1, "time-exceeded": 3}}


def address(text):
    return str(ipaddress.ip_address(int(text, 16) if text.startswith("0x") else text))


def _v4(text):
    return str(ipaddress.IPv4Address(int(text, 16) if text.startswith("0x") else text))


def _ttl_of(kind, ttl):
    return 0 if kind == "echo-reply" else ttl


def plexus_event(port, text):
    eth, *layers = text.split(" | ")
    _, eth_src, _, eth_dst = eth.split()[:4]
    words = layers[0].split()
    if words[0] == "arp":
        if words[1] == "request":
            return Event(port, "question", eth_src, eth_dst, words[5], words[3], 0, "")
        return Event(port, "answer", eth_src, eth_dst, words[2], words[4], 0, f"is at {words[words.index('sha') + 1]}")
    family = int(words[0][3])
    src, dst, ttl = address(words[1]), address(words[3]), int(words[words.index("ttl") + 1]) if "ttl" in words else 255
    rest = layers[1].split()
    if rest[0] == "nd":
        return Event(port, "question", eth_src, "", "", address(rest[3]), 0, "")
    if rest[0] == "icmp" and rest[1] in _ERRORS[family]:
        code = 0
        if rest[1] == "unreachable":
            code = _UNREACHABLE[family][rest[2]] if rest[2] in _UNREACHABLE[family] else int(rest[3])
        return Event(port, "error", eth_src, eth_dst, src, dst, 0, f"{_ERRORS[family][rest[1]]}/{code}")
    if rest[0] == "icmp":
        return Event(port, rest[1], eth_src, eth_dst, src, dst, _ttl_of(rest[1], ttl), "")
    if rest[0] == "tcp" and "R" in rest[rest.index("flags") + 1]:
        return Event(port, "reset", eth_src, eth_dst, src, dst, 0, "")
    return Event(port, "packet", eth_src, eth_dst, src, dst, ttl, " ".join(rest[:4]))


def ovn_event(port, fields):
    made = fields.get("made")
    if "arp.op" in fields or made == "arp":
        what = f"is at {fields['arp.sha']}" if fields["arp.op"] == "2" else ""
        kind = "answer" if what else "question"
        return Event(port, kind, fields["eth.src"], fields["eth.dst"], _v4(fields["arp.spa"]), _v4(fields["arp.tpa"]), 0,
                     what)
    family = 4 if "ip4.src" in fields else 6
    src, dst, ttl = address(fields[f"ip{family}.src"]), address(fields[f"ip{family}.dst"]), int(fields["ip.ttl"])
    ends = (port,), (fields["eth.src"], fields["eth.dst"], src, dst)
    if made == "nd_ns":
        return Event(port, "question", fields["eth.src"], "", "", address(fields["nd.target"]), 0, "")
    if made in ("icmp4", "icmp6", "icmp4_error", "icmp6_error"):
        what = f"{fields[f'icmp{family}.type']}/{fields[f'icmp{family}.code']}"
        return Event(*ends[0], "error", *ends[1], 0, what)
    if made == "tcp_reset":
        return Event(*ends[0], "reset", *ends[1], 0, "")
    assert made is None, f"what is {made}? {fields}"
    for protocol in ("udp", "tcp"):
        if f"{protocol}.src" in fields:
            return Event(*ends[0], "packet", *ends[1], ttl, f"{protocol} {fields[protocol + '.src']} > {fields[protocol + '.dst']}")
    kind = {"8": "echo-request", "128": "echo-request", "0": "echo-reply", "129": "echo-reply"}[fields[f"icmp{family}.type"]]
    return Event(*ends[0], kind, *ends[1], _ttl_of(kind, ttl), "")


# Rows of the table in docs/oracle.md.
EXPLANATIONS = ("no-route-told", "unknown-mac-flooded", "errors-are-routed", "solicitations-in-the-trace",
                "asked-once", "loop-cut", "answers-in-the-trace")


def explained(ours, theirs, reasons, asked, grouped, stateful):
    """The explanation of a difference; none: nobody has explained it. `asked`: addresses that we have asked for before; `grouped`:
    machines in security groups, which are stateful or not."""
    kinds, their_kinds = [e.kind for e in ours], [e.kind for e in theirs]
    if reasons == ["no_route"] and kinds in (["error"], []) and not theirs:
        return "no-route-told"
    if not theirs and kinds and all(e.eth_dst.startswith("02:00:00:09") for e in ours):
        return "unknown-mac-flooded"
    if set(kinds) == {"question"} and set(their_kinds) <= {"question"} and len({e.dst for e in ours}) == 1 and \
            ":" in ours[0].dst and {e.dst for e in theirs} <= {ours[0].dst}:
        ports, their_ports = {e.port for e in ours}, {e.port for e in theirs}
        if their_ports <= ports and ports - their_ports <= grouped:
            return "solicitations-in-the-trace"
    if not ours and reasons in ([], ["too_many_waiting"]) and set(their_kinds) == {"question"} and {e.dst for e in theirs} <= asked:
        return "asked-once"
    if not ours and reasons == ["too_many_devices"] and set(their_kinds) <= {"error"}:
        return "loop-cut"
    if stateful and not theirs and kinds in (["echo-reply"], ["error"], ["reset"]) and ours[0].port in grouped and ours[0].ttl == 0:
        return "answers-in-the-trace"
    # The same error, by another way, or to nobody because no route leads back.
    if reasons in (["ttl_exceeded"], ["router_port_closed"]) and set(kinds) <= {"error", "reset", "question"} and \
            set(their_kinds) <= {"error", "reset"}:
        if not {"error", "reset"} & set(kinds) or not theirs or ours[0][4:] == theirs[0][4:]:
            return "errors-are-routed"
    return None
