"""Static addresses, and the ports that an instance opens.

Owns which address leads to which instance. Refuses to give an attached address
away, and to attach one twice.
"""

import ipaddress

from .. import firewall
from ..wire import Refused
from .store import Instance, StaticIp, Store

EVERYWHERE = {"cidrs": ["0.0.0.0/0"], "ipv6Cidrs": ["::/0"], "cidrListAliases": []}

DEFAULT_PORTS = [
    {"fromPort": 22, "toPort": 22, "protocol": "tcp", **EVERYWHERE},
    {"fromPort": 80, "toPort": 80, "protocol": "tcp", **EVERYWHERE},
]

COMMON_NAMES = {22: "SSH", 80: "HTTP", 443: "HTTPS"}


class Network:
    """One region's, with the addresses that it may hand out."""

    def __init__(self, store: Store, claim) -> None:
        self.store = store
        self.claim = claim

    # Static addresses.

    def allocate(self, given: dict) -> dict:
        """AllocateStaticIp."""
        zone, name = "all", given["staticIpName"]
        if name in self.store.resources:
            raise Refused("InvalidInputException", f"Some names are already in use: {name}")
        found = StaticIp("StaticIp", name, self.store.region, zone, address=self.claim())
        self.store.add(found)
        return {"operations": [self.store.operation(found, "AllocateStaticIp")]}

    def get(self, given: dict) -> dict:
        """GetStaticIp."""
        return {"staticIp": describe(self.store.find("StaticIp", given["staticIpName"]))}

    def get_all(self, _given: dict) -> dict:
        """GetStaticIps."""
        return {"staticIps": [describe(it) for it in self.store.all("StaticIp")]}

    def release(self, given: dict) -> dict:
        """ReleaseStaticIp."""
        found = self.store.find("StaticIp", given["staticIpName"])
        if found.attached:
            raise Refused(
                "InvalidInputException", f"{found.name} is attached to {found.attached}."
            )
        del self.store.resources[found.name]
        return {"operations": [self.store.operation(found, "ReleaseStaticIp")]}

    def attach(self, given: dict) -> dict:
        """AttachStaticIp."""
        found = self.store.find("StaticIp", given["staticIpName"])
        instance = self.store.find("Instance", given["instanceName"])
        if found.attached:
            raise Refused(
                "InvalidInputException", f"{found.name} is already attached to {found.attached}."
            )
        if static_of(self.store, instance):
            raise Refused(
                "InvalidInputException", f"{instance.name} already has a static IP attached."
            )
        found.attached = instance.name
        instance.dynamic = None
        details = instance.name
        return {
            "operations": [
                self.store.operation(found, "AttachStaticIp", details),
                self.store.operation(instance, "AttachStaticIp", found.name),
            ]
        }

    def detach(self, given: dict) -> dict:
        """DetachStaticIp."""
        found = self.store.find("StaticIp", given["staticIpName"])
        if not found.attached:
            raise Refused("InvalidInputException", f"{found.name} is not attached.")
        return {"operations": self.take_from(found)}

    def take_from(self, found: StaticIp) -> list[dict]:
        """Takes an address from its instance, which gets another."""
        instance = self.store.find("Instance", found.attached)
        found.attached = None
        instance.dynamic = self.claim()
        return [
            self.store.operation(found, "DetachStaticIp", instance.name),
            self.store.operation(instance, "DetachStaticIp", found.name),
        ]

    # Ports.

    def put(self, given: dict) -> dict:
        """PutInstancePublicPorts: these, and no others."""
        instance = self.store.find("Instance", given["instanceName"])
        instance.ports = [read_port(port) for port in given["portInfos"]]
        return {"operation": self.store.operation(instance, "PutInstancePublicPorts")}

    def open(self, given: dict) -> dict:
        """OpenInstancePublicPorts."""
        instance = self.store.find("Instance", given["instanceName"])
        port = read_port(given["portInfo"])
        instance.ports = [it for it in instance.ports if span(it) != span(port)] + [port]
        return {"operation": self.store.operation(instance, "OpenInstancePublicPorts")}

    def close(self, given: dict) -> dict:
        """CloseInstancePublicPorts."""
        instance = self.store.find("Instance", given["instanceName"])
        port = read_port(given["portInfo"])
        instance.ports = [it for it in instance.ports if span(it) != span(port)]
        return {"operation": self.store.operation(instance, "CloseInstancePublicPorts")}

    def states(self, given: dict) -> dict:
        """GetInstancePortStates."""
        instance = self.store.find("Instance", given["instanceName"])
        return {"portStates": [{**port, "state": "open"} for port in instance.ports]}


def describe(found: StaticIp) -> dict:
    """One in the API's words."""
    shown = {**found.about(), "ipAddress": found.address, "isAttached": bool(found.attached)}
    if found.attached:
        shown["attachedTo"] = found.attached
    return shown


def span(port: dict) -> tuple:
    """What makes two port infos the same."""
    return port["protocol"], port["fromPort"], port["toPort"]


def read_port(given: dict) -> dict:
    """A port info with everything that it leaves to the service."""
    protocol = given.get("protocol", "tcp")
    first = given.get("fromPort", 0)
    last = given.get("toPort", 65535 if protocol == "all" else first)
    if not -1 <= first <= 65535 or not -1 <= last <= 65535 or last < first:
        raise Refused("InvalidInputException", f"{first} to {last} is no range of ports.")
    ranges = {key: list(given.get(key) or []) for key in EVERYWHERE}
    for key, version in (("cidrs", 4), ("ipv6Cidrs", 6)):
        for cidr in ranges[key]:
            try:
                good = ipaddress.ip_network(cidr).version == version
            except ValueError:
                good = False
            if not good:
                raise Refused("InvalidInputException", f"Invalid CIDR: {cidr}")
    if not any(ranges.values()):
        ranges = {key: list(values) for key, values in EVERYWHERE.items()}
    return {"fromPort": first, "toPort": last, "protocol": protocol, **ranges}


def static_of(store: Store, instance: Instance) -> StaticIp | None:
    """The static address of an instance."""
    held = (it for it in store.all("StaticIp") if it.attached == instance.name)
    return next(held, None)


def public_of(store: Store, instance: Instance) -> str | None:
    """The address that leads to an instance."""
    static = static_of(store, instance)
    return static.address if static else instance.dynamic


def openings(instance: Instance) -> list[firewall.Opening]:
    """Its ports, for the firewall."""
    return [
        firewall.Opening(port["protocol"], max(port["fromPort"], 0), port["toPort"], cidr)
        for port in instance.ports
        for cidr in port["cidrs"]
        if port["protocol"] != "icmpv6"
    ]


def shown_ports(instance: Instance) -> list[dict]:
    """Its ports, as GetInstance shows them."""
    return [
        {
            **port,
            "accessFrom": "Anywhere (0.0.0.0/0)" if "0.0.0.0/0" in port["cidrs"] else "Custom",
            "accessType": "Public",
            "accessDirection": "inbound",
            "commonName": COMMON_NAMES.get(port["fromPort"], ""),
        }
        for port in instance.ports
    ]
