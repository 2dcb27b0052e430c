"""What an address lets through, and to which machine.

Owns five chains in the tables that the lab's engine uses. A packet to a port that
is open to its sender gets the machine's own address and keeps its sender's; any
other is dropped, as a security group drops it. Refuses to forward in user space,
which would hide the sender.
"""

import ipaddress
from dataclasses import dataclass, field

from . import metadata, places, tools

TABLES = str(places.RUN / "bin" / "iptables")
RESTORE = str(places.RUN / "bin" / "iptables-restore")

JUMPS = [
    ("nat", "PREROUTING", "to", ["-d", places.PUBLIC]),
    ("nat", "PREROUTING", "about", ["-s", places.NET, "-d", metadata.ADDRESS]),
    ("nat", "OUTPUT", "to", ["-d", places.PUBLIC]),
    ("nat", "POSTROUTING", "from", ["-s", places.NET, "-m", "conntrack", "--ctstate", "DNAT"]),
    ("filter", "INPUT", "in", ["-d", places.PUBLIC]),
    ("filter", "FORWARD", "on", ["-m", "conntrack", "--ctstate", "DNAT"]),
]


@dataclass(frozen=True)
class Opening:
    """Ports that are open to a range of senders."""

    protocol: str  # tcp, udp, icmp or all
    first: int
    last: int
    source: str


@dataclass
class Route:
    """An address, and the machine behind it, if one is."""

    public: str
    machine: str | None = None
    openings: list[Opening] = field(default_factory=list)


def chain(what: str, pid: int = places.PID) -> str:
    """The name of one of a simulator's chains."""
    return f"{places.tag(pid)}{what}"


class Firewall:
    """One simulator's rules."""

    def __init__(self) -> None:
        self._applied: str | None = None

    def open(self) -> None:
        """Makes the chains and the ways into them."""
        with tools.locked():
            self.apply([])
            for table, at, what, match in JUMPS:
                tools.run(
                    TABLES, "--wait", "10", "-t", table, "-I", at, *match, "-j", chain(what)
                )

    def apply(self, routes: list[Route], told: list[str] = (), port: int | None = None) -> None:
        """Replaces every rule by these, at once. The machines that are `told` about
        themselves find it at `port`."""
        text = render(routes, told, port)
        if text != self._applied:
            tools.run(RESTORE, "--noflush", "--wait", "10", stdin=text.encode())
            self._applied = text

    def close(self) -> None:
        """Removes them."""
        with tools.locked():
            remove(places.PID)


def render(routes: list[Route], told: list[str], port: int | None) -> str:
    """The rules, as iptables-restore reads them. Naming a chain empties it."""
    to, source, drop = [], [], []
    known = [route for route in routes if route.machine]
    for route in sorted(routes, key=lambda route: route.public):
        drop.append(f"-A {chain('in')} -d {route.public} -j DROP")
        if not route.machine:
            continue
        # What one machine sends to another's public address comes from its own.
        source.append(
            f"-A {chain('from')} -s {route.machine} -j SNAT --to-source {route.public}"
        )
        for opening in dict.fromkeys(route.openings):
            for sender in senders(opening.source, known):
                match = f"-A {chain('to')} -s {sender} -d {route.public}"
                if opening.protocol != "all":
                    match += f" -p {opening.protocol}"
                if opening.protocol in ("tcp", "udp"):
                    match += f" --dport {opening.first}:{opening.last}"
                to.append(f"{match} -j DNAT --to-destination {route.machine}")
    about = [
        f"-A {chain('about')} -s {machine} -p tcp --dport 80"
        f" -j DNAT --to-destination {places.BRIDGE_ADDRESS}:{port}"
        for machine in sorted(told)
    ]
    chains = [f":{chain(what)} -" for what in ("to", "about", "from")]
    nat = [*chains, *to, *about, *source]
    # The engine's own rules, or another engine's policy, may refuse what it did not publish.
    on = [f"-A {chain('on')} {way} {places.NET} -j ACCEPT" for way in ("-s", "-d")]
    filters = [f":{chain('in')} -", f":{chain('on')} -", *drop, *on]
    return "\n".join(["*nat", *nat, "COMMIT", "*filter", *filters, "COMMIT", ""])


def senders(source: str, routes: list[Route]) -> list[str]:
    """The range, and the machines whose public address is in it: their packets have
    their inner address until they are on their way."""
    network = ipaddress.ip_network(source, strict=False)
    if network.prefixlen == 0:
        return [source]
    within = [it.machine for it in routes if ipaddress.ip_address(it.public) in network]
    return [str(network), *(machine for machine in within if machine)]


def remove(pid: int) -> None:
    """Removes a simulator's chains and the ways into them. The caller holds the lock."""
    for table, at, what, match in JUMPS:
        while tools.attempt(
            TABLES, "--wait", "10", "-t", table, "-D", at, *match, "-j", chain(what, pid)
        ):
            pass
    for table, what in dict.fromkeys((table, what) for table, _, what, _ in JUMPS):
        for verb in ("-F", "-X"):
            tools.attempt(TABLES, "--wait", "10", "-t", table, verb, chain(what, pid))


def owners() -> set[int]:
    """The processes whose chains there are."""
    found = set()
    for table in ("nat", "filter"):
        for line in tools.run(TABLES, "--wait", "10", "-t", table, "-S").splitlines():
            words = line.split()
            if words[:1] == ["-N"] and words[1].startswith("oclab-"):
                pid = words[1].split("-")[1]
                if pid.isdigit():
                    found.add(int(pid))
    return found
