"""The stand-in for a cloud's load balancers.

Owns an address of the outside world for each service that asks for one, and the rules, before the
node, that lead from there to the node's port, with the client's address kept, as a network load
balancer does with instances as its targets. One that asks for AWS's kind is known by a host name, as
there, while the cluster has AWS's driver of volumes; the names stand in a hosts file. What leads to a
service by a class (entries.py) has an address too, and a proxy before the node (proxy.py). Refuses to
check whether anything answers behind it.
"""

import ipaddress
import subprocess
import sys

from . import api, entries, places, volumes

SERVICES = "/api/v1/services"
AWS = "service.beta.kubernetes.io/aws-load-balancer-type"
DOMAIN = "elb.us-east-1.lab.test"
HOSTS = places.RUN / "etc" / "hosts"
CHAIN = "LAB-BALANCERS"


def before_node(*words: str) -> None:
    """Runs a program in the network before the node."""
    edge = ["nsenter", f"--net=/run/netns/{places.EDGE}"]
    subprocess.run([*edge, *words], check=True, capture_output=True)


def rule(*words: str) -> None:
    """A change of the rules before the node."""
    before_node("iptables", "--wait", "5", "-t", "nat", *words)


class Balancers:
    """Those that there are."""

    def __init__(self) -> None:
        self.free = [str(it) for it in ipaddress.ip_network(places.BALANCERS).hosts()]
        # By the id of the service or entry: its address, and what leads where.
        self.known: dict[str, tuple[str, tuple]] = {}
        # What hands requests on, by where to and with which certificate: the program, and its port.
        self.proxies: dict[tuple, tuple[subprocess.Popen, int]] = {}
        HOSTS.write_text("")
        before_node("ip", "route", "replace", places.SERVICES, "via", places.NODE)
        rule("-N", CHAIN)
        rule("-A", "PREROUTING", "-d", places.BALANCERS, "-j", CHAIN)
        # A pod's own way out and back in, where a cloud's NAT has another address for it, too.
        rule("-A", "POSTROUTING", "-s", places.NODE, "-d", places.NODE, "-j", "MASQUERADE")

    def turn(self) -> None:
        """What there is to do now."""
        services = api.items(SERVICES)
        entered = entries.all_of(services)
        wanted = {it.uid: self.leads_of(it) for it in entered}
        self.end_proxies(entered)
        balanced = [it for it in services if it["spec"].get("type") == "LoadBalancer"]
        wanted |= {it["metadata"]["uid"]: leads_to_node(it) for it in balanced}
        changed = False
        for gone in self.known.keys() - wanted.keys():
            self.free.append(self.known.pop(gone)[0])
            changed = True
        for uid, leads in wanted.items():
            address = self.known[uid][0] if uid in self.known else self.free.pop(0)
            if self.known.get(uid) != (address, leads):
                self.known[uid] = (address, leads)
                changed = True
        if changed:
            self.lead()
        on_aws = bool(balanced) and any(
            it["metadata"]["name"] == volumes.PROVISIONER for it in api.items(volumes.DRIVERS)
        )
        for service in balanced:
            about = service["metadata"]
            address = self.known[about["uid"]][0]
            entry = {"ip": address, "ipMode": "Proxy"}
            if on_aws and AWS in about.get("annotations", {}):
                entry = {"hostname": f"k8s-{about['uid'][:8]}.{DOMAIN}"}
                name(address, entry["hostname"])
            said = {"loadBalancer": {"ingress": [entry]}}
            entries.say("/api/v1/namespaces", "services", service, said)
        for entry in entered:
            address = self.known[entry.uid][0]
            name(address, entry.host)
            entry.tell(address)

    def leads_of(self, entry: entries.Entry) -> tuple:
        """That its port leads to its service, by a proxy before the node."""
        key = (entry.to, entry.certificate)
        if key not in self.proxies:
            self.proxies[key] = begin_proxy(*key)
        return ((entry.port, f"{places.EDGE_ADDRESS}:{self.proxies[key][1]}"),), ("0.0.0.0/0",)

    def end_proxies(self, entered: list[entries.Entry]) -> None:
        """Those by which nobody goes any more."""
        for key in self.proxies.keys() - {(it.to, it.certificate) for it in entered}:
            program, _ = self.proxies.pop(key)
            program.kill()
            program.wait()

    def lead(self) -> None:
        """Puts the rules in force."""
        rule("-F", CHAIN)
        for address, (leads, sources) in self.known.values():
            for port, to in leads:
                for source in sources:
                    rule(
                        "-A", CHAIN, "-s", source, "-d", address, "-p", "tcp", "--dport", str(port),
                        "-j", "DNAT", "--to-destination", to,
                    )


def begin_proxy(
    to: str, certificate: entries.Certificate | None
) -> tuple[subprocess.Popen, int]:
    """A proxy before the node, and the port at which it listens there."""
    there = ["nsenter", f"--net=/run/netns/{places.EDGE}", sys.executable, "-B", "-m"]
    program = subprocess.Popen(
        [*there, "cluster.proxy", places.EDGE_ADDRESS, *to.rsplit(":", 1)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    program.stdin.write(certificate.chain + certificate.key if certificate else "")
    program.stdin.close()
    return program, int(program.stdout.readline())


def leads_to_node(service: dict) -> tuple:
    """Which port leads to which of the node's, and for whom."""
    spec = service["spec"]
    ports = [it for it in spec["ports"] if it.get("nodePort")]
    leads = tuple((it["port"], f"{places.NODE}:{it['nodePort']}") for it in ports)
    return leads, tuple(spec.get("loadBalancerSourceRanges") or ["0.0.0.0/0"])


def name(address: str, host: str) -> None:
    """Has a name lead to an address, and to no other one that it had before."""
    line = f"{address} {host}"
    lines = HOSTS.read_text().splitlines()
    if line not in lines:
        others = [it for it in lines if it.split()[1] != host]
        # In place: it is mounted over that of whoever looks names up, and never without them.
        with HOSTS.open("r+") as hosts:
            hosts.write("".join(f"{it}\n" for it in [*others, line]))
            hosts.truncate()
