"""Instances.

Owns their life and what is told about them. Refuses sizes, images, zones and keys
that there are not, before anything is made.
"""

import base64
import hashlib
import secrets

from .. import tools
from ..machines import Machine
from ..wire import Refused
from . import catalog, keys, network
from .store import Instance, Store, tags_of

CODES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
    "failed": 80,
}

# What the real one puts before a launch script. It begins with a line of its own, so
# the script's first line chooses no interpreter: all of it runs under sh, and
# what is no shell script (cloud-config, MIME parts) is none here either.
PREAMBLE = """#!/bin/sh
cat > /etc/ssh/lightsail_instance_ca.pub <<'EOF'
EOF
systemctl restart sshd
"""

USER_DATA_BYTES = 16 * 1024

METADATA = {
    "state": "applied",
    "httpTokens": "optional",
    "httpEndpoint": "enabled",
    "httpPutResponseHopLimit": 1,
    "httpProtocolIpv6": "disabled",
}


class Instances:
    """One region's."""

    def __init__(self, store: Store, net: network.Network, service) -> None:
        self.store = store
        self.network = net
        self.service = service

    def create(self, given: dict) -> dict:
        """CreateInstances."""
        zone = given["availabilityZone"]
        if zone not in [f"{self.store.region}{letter}" for letter in catalog.ZONES]:
            raise Refused("InvalidInputException", f"The zone {zone} is not in this region.")
        if given["blueprintId"] not in catalog.blueprints():
            raise Refused(
                "InvalidInputException", f"The blueprint does not exist: {given['blueprintId']}"
            )
        if given["bundleId"] not in catalog.bundles():
            raise Refused(
                "InvalidInputException", f"The bundle does not exist: {given['bundleId']}"
            )
        if len(given.get("userData", "").encode()) > USER_DATA_BYTES:
            raise Refused("InvalidInputException", "The launch script is longer than 16 KB.")
        addressing = given.get("ipAddressType", "dualstack")
        if addressing == "ipv6":
            raise Refused("InvalidInputException", "This bundle has a public IPv4 address.")
        name = given.get("keyPairName")
        pair = self.store.find("KeyPair", name) if name else keys.default(self.store)
        names = given["instanceNames"]
        if taken := [it for it in names if it in self.store.resources]:
            raise Refused(
                "InvalidInputException", f"Some names are already in use: {', '.join(taken)}"
            )
        return {"operations": [self._create(it, given, zone, pair, addressing) for it in names]}

    def _create(self, name: str, given: dict, zone: str, pair, addressing: str) -> dict:
        inside = f"172.26.{secrets.randbelow(16)}.{4 + secrets.randbelow(250)}"
        script = given.get("userData", "")
        machine = Machine(
            self.service.machine_name(name), f"ip-{inside.replace('.', '-')}", [pair.public],
            (PREAMBLE + script).encode(), catalog.bundles()[given["bundleId"]]["diskSizeInGb"],
            self.service.registry, self.service.changed,
        )  # fmt: skip
        instance = Instance(
            "Instance", name, self.store.region, zone, tags=tags_of(given.get("tags")),
            machine=machine, bundle=given["bundleId"], blueprint=given["blueprintId"],
            key=pair.name, inside=inside, dynamic=self.network.claim(), addressing=addressing,
            ports=[dict(port) for port in network.DEFAULT_PORTS], metadata=dict(METADATA),
        )  # fmt: skip
        self.store.add(instance)
        return self.store.operation(instance, "CreateInstance", follow=up(machine))

    def get(self, given: dict) -> dict:
        """GetInstance."""
        return {"instance": self.describe(self.store.find("Instance", given["instanceName"]))}

    def get_all(self, _given: dict) -> dict:
        """GetInstances."""
        return {"instances": [self.describe(it) for it in self.store.all("Instance")]}

    def state(self, given: dict) -> dict:
        """GetInstanceState."""
        return {"state": state_of(self.store.find("Instance", given["instanceName"]))}

    def delete(self, given: dict) -> dict:
        """DeleteInstance. A static address stays, without it."""
        instance = self.store.find("Instance", given["instanceName"])
        if static := network.static_of(self.store, instance):
            static.attached = None
        if instance.machine.state not in ("shutting-down", "terminated"):
            instance.machine.remove()
        follow = gone(instance.machine)
        return {"operations": [self.store.operation(instance, "DeleteInstance", follow=follow)]}

    def start(self, given: dict) -> dict:
        """StartInstance. Its address is another one, unless it is static."""
        instance = self._in(given, "stopped", "be started")
        if instance.dynamic:
            instance.dynamic = self.network.claim()
        instance.machine.start()
        operation = self.store.operation(instance, "StartInstance", follow=up(instance.machine))
        return {"operations": [operation]}

    def stop(self, given: dict) -> dict:
        """StopInstance."""
        instance = self._in(given, "running", "be stopped")
        instance.machine.stop()
        follow = down(instance.machine)
        return {"operations": [self.store.operation(instance, "StopInstance", follow=follow)]}

    def reboot(self, given: dict) -> dict:
        """RebootInstance."""
        instance = self._in(given, "running", "be rebooted")
        instance.machine.reboot()
        return {"operations": [self.store.operation(instance, "RebootInstance")]}

    def _in(self, given: dict, state: str, what: str) -> Instance:
        instance = self.store.find("Instance", given["instanceName"])
        if instance.machine.state != state:
            now = instance.machine.state
            raise Refused("OperationFailureException", f"An instance that is {now} cannot {what}.")
        return instance

    def set_addressing(self, given: dict) -> dict:
        """SetIpAddressType."""
        if given["resourceType"] != "Instance" or given["ipAddressType"] == "ipv6":
            raise Refused("InvalidInputException", "Only instances, and not to ipv6 alone.")
        instance = self.store.find("Instance", given["resourceName"])
        instance.addressing = given["ipAddressType"]
        return {"operations": [self.store.operation(instance, "SetIpAddressType")]}

    def set_metadata(self, given: dict) -> dict:
        """UpdateInstanceMetadataOptions."""
        instance = self.store.find("Instance", given["instanceName"])
        wanted = {key: value for key, value in given.items() if key in METADATA}
        instance.metadata.update(wanted)
        return {"operation": self.store.operation(instance, "UpdateInstanceMetadataOptions")}

    def access(self, given: dict) -> dict:
        """GetInstanceAccessDetails, without the one-time key."""
        instance = self.store.find("Instance", given["instanceName"])
        public = network.public_of(self.store, instance)
        shown = {
            "instanceName": instance.name,
            "username": "ec2-user",
            "protocol": given.get("protocol", "ssh"),
            "hostKeys": host_keys(instance),
        }
        if public:
            shown["ipAddress"] = public
        return {"accessDetails": shown}

    def describe(self, instance: Instance) -> dict:
        """One in the API's words."""
        bundle = catalog.bundles()[instance.bundle]
        public = network.public_of(self.store, instance)
        disk = {
            "createdAt": round(instance.made, 3),
            "sizeInGb": bundle["diskSizeInGb"],
            "isSystemDisk": True,
            "iops": 100,
            "path": "/dev/xvda",
            "attachedTo": instance.name,
            "attachmentState": "attached",
        }
        shown = {
            **instance.about(),
            "tags": instance.tag_list(),
            "blueprintId": instance.blueprint,
            "blueprintName": catalog.blueprints()[instance.blueprint]["name"],
            "bundleId": instance.bundle,
            "addOns": [],
            "isStaticIp": network.static_of(self.store, instance) is not None,
            "privateIpAddress": instance.inside,
            "ipv6Addresses": [] if instance.addressing == "ipv4" else [ipv6(instance)],
            "ipAddressType": instance.addressing,
            "hardware": {
                "cpuCount": bundle["cpuCount"],
                "disks": [disk],
                "ramSizeInGb": bundle["ramSizeInGb"],
            },
            "networking": {
                "monthlyTransfer": {"gbPerMonthAllocated": bundle["transferPerMonthInGb"]},
                "ports": network.shown_ports(instance),
            },
            "state": state_of(instance),
            "username": "ec2-user",
            "sshKeyName": instance.key,
            "metadataOptions": instance.metadata,
        }
        if public and instance.machine.state not in ("stopped", "stopping"):
            shown["publicIpAddress"] = public
        elif network.static_of(self.store, instance):
            shown["publicIpAddress"] = public
        return shown


def state_of(instance: Instance) -> dict:
    """What it does now."""
    state = instance.machine.state
    return {"code": CODES[state], "name": "stopped" if state == "failed" else state}


def ipv6(instance: Instance) -> str:
    """An address for documents, for lack of a real one."""
    digest = hashlib.sha256(instance.identity.encode()).hexdigest()
    return f"2001:db8:{digest[:4]}:{digest[4:8]}::1"


def up(machine: Machine):
    """Whether a machine has come up, as an operation's status."""
    return lambda: {"running": "Succeeded", "failed": "Failed"}.get(machine.state, "Started")


def down(machine: Machine):
    """Whether it is down."""
    return lambda: "Succeeded" if machine.state == "stopped" else "Started"


def gone(machine: Machine):
    """Whether it is gone."""
    return lambda: "Succeeded" if machine.state == "terminated" else "Started"


def host_keys(instance: Instance) -> list[dict]:
    """Those that its sshd has now; none as long as it is not up."""
    if instance.machine.address is None:
        return []
    try:
        printed = instance.machine.run("cat /etc/ssh/ssh_host_*_key.pub")
    except tools.Failed:
        return []
    found = []
    for line in printed.splitlines():
        algorithm, blob = line.split()[:2]
        key = base64.b64decode(blob)
        digest = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
        found.append(
            {
                "algorithm": algorithm,
                "publicKey": blob,
                "fingerprintSHA256": f"SHA256:{digest}",
                "witnessedAt": round(instance.made, 3),
            }
        )
    return found
