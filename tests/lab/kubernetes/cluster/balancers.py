"""The stand-in for a cloud's load balancers.

Owns an address of the outside world for each service that asks for one, and the rules, before the
node, that lead from there to the node's port, with the client's address kept, as a network load balancer does with
instances as its targets. One that asks for AWS's kind is known by a host name, as there; the names
stand in a hosts file. Refuses to check whether anything answers behind it.
"""

import ipaddress
import subprocess

from . import api, places

SERVICES = "/api/v1/services"
AWS = "service.beta.kubernetes.io/aws-load-balancer-type"
DOMAIN = "elb.us-east-1.lab.test"
HOSTS = places.RUN / "etc" / "hosts"
CHAIN = "LAB-BALANCERS"


def rule(*words: str) -> None:
    """A change of the rules before the node."""
    edge = ["nsenter", f"--net=/run/netns/{places.EDGE}", "iptables", "--wait", "5", "-t", "nat"]
    subprocess.run([*edge, *words], check=True, capture_output=True)


class Balancers:
    """Those that there are."""

    def __init__(self) -> None:
        self.free = [str(it) for it in ipaddress.ip_network(places.BALANCERS).hosts()]
        # By the service's id: its address, and what leads where.
        self.known: dict[str, tuple[str, tuple]] = {}
        HOSTS.write_text("")
        rule("-N", CHAIN)
        rule("-A", "PREROUTING", "-d", places.BALANCERS, "-j", CHAIN)

    def turn(self) -> None:
        """What there is to do now."""
        wanted = {}
        for service in api.items(SERVICES):
            if service["spec"].get("type") == "LoadBalancer":
                wanted[service["metadata"]["uid"]] = service
        changed = False
        for gone in self.known.keys() - wanted.keys():
            self.free.append(self.known.pop(gone)[0])
            changed = True
        for uid, service in wanted.items():
            ports = tuple((it["port"], it.get("nodePort")) for it in service["spec"]["ports"])
            sources = tuple(service["spec"].get("loadBalancerSourceRanges") or ["0.0.0.0/0"])
            address = self.known[uid][0] if uid in self.known else self.free.pop(0)
            if self.known.get(uid) != (address, (ports, sources)):
                self.known[uid] = (address, (ports, sources))
                changed = True
        if changed:
            self.lead()
        for uid, service in wanted.items():
            self.tell(service, self.known[uid][0])

    def lead(self) -> None:
        """Puts the rules in force."""
        rule("-F", CHAIN)
        for address, (ports, sources) in self.known.values():
            for port, node_port in ports:
                for source in sources if node_port else ():
                    rule(
                        "-A", CHAIN, "-s", source, "-d", address, "-p", "tcp", "--dport", str(port),
                        "-j", "DNAT", "--to-destination", f"{places.NODE}:{node_port}",
                    )

    def tell(self, service: dict, address: str) -> None:
        """Says in its status where it is reached."""
        about = service["metadata"]
        entry = {"ip": address, "ipMode": "Proxy"}
        if AWS in about.get("annotations", {}):
            entry = {"hostname": f"k8s-{about['uid'][:8]}.{DOMAIN}"}
            line = f"{address} {entry['hostname']}\n"
            if line not in HOSTS.read_text():
                with HOSTS.open("a") as hosts:
                    hosts.write(line)
        if service.get("status", {}).get("loadBalancer", {}).get("ingress") == [entry]:
            return
        path = f"/api/v1/namespaces/{about['namespace']}/services/{about['name']}/status"
        api.patch(path, {"status": {"loadBalancer": {"ingress": [entry]}}})
