"""Which action is answered by what, in which region.

Owns the list of actions. Refuses those that it has not, in the API's own words, so
that a client that starts to need one is seen.
"""

import itertools
import json
import uuid
from collections.abc import Callable

from .. import firewall, wire
from ..machines import Machine
from ..model import Model
from . import catalog, keys, network
from .instances import Instances
from .store import Store, tags_of

MODEL = Model("lightsail", "InvalidInputException")


class Lightsail:
    """All regions."""

    def __init__(self, claim: Callable[[], str], changed: Callable[[Machine], None]) -> None:
        self.stores: dict[str, Store] = {}
        self.registry = True
        self.changed = changed
        self._claim = claim
        self._number = itertools.count(1)
        self._actions: dict[str, dict[str, Callable[[dict], dict]]] = {}

    def machine_name(self, name: str) -> str:
        """A name for a machine that no other had, even one of the same name."""
        return f"ls{next(self._number)}-{name}"[:60]

    def answer(self, call: wire.Call) -> wire.Answer:
        """Answers a request."""
        if call.region not in catalog.REGIONS:
            raise wire.Refused("InvalidInputException", f"Lightsail is not in {call.region}.")
        given = call.json()
        MODEL.check_request(call.action, given)
        actions = self._region(call.region)
        if call.action not in actions:
            raise wire.Refused("InvalidAction", f"the lab's Lightsail has no {call.action}", 501)
        answer = actions[call.action](given)
        MODEL.check_answer(call.action, answer)
        headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amzn-requestid", str(uuid.uuid4())),
        ]
        return wire.Answer(200, headers, json.dumps(answer).encode())

    def _region(self, region: str) -> dict[str, Callable[[dict], dict]]:
        if region not in self._actions:
            self.stores[region] = store = Store(region)
            net = network.Network(store, self._claim)
            self._actions[region] = actions(store, net, Instances(store, net, self))
        return self._actions[region]

    def instances(self) -> list:
        """Every instance of every region."""
        return [it for store in self.stores.values() for it in store.all("Instance")]

    def machines(self) -> list[Machine]:
        """Their machines."""
        return [it.machine for it in self.instances()]

    def public(self, instance) -> str | None:
        """The address that leads to an instance."""
        return network.public_of(self.stores[instance.region], instance)

    def machine_changed(self, machine: Machine) -> None:
        """Forgets an instance whose machine is gone."""
        if machine.state != "terminated":
            return
        for store in self.stores.values():
            for instance in store.all("Instance"):
                if instance.machine is machine:
                    if static := network.static_of(store, instance):
                        static.attached = None
                    del store.resources[instance.name]

    def addresses(self) -> set[str]:
        """The public addresses that are given to somebody."""
        found = set()
        for store in self.stores.values():
            found.update(it.address for it in store.all("StaticIp"))
            found.update(it.dynamic for it in store.all("Instance") if it.dynamic)
        return found

    def routes(self) -> list[firewall.Route]:
        """What each of them lets through."""
        routes = {address: firewall.Route(address) for address in self.addresses()}
        for store in self.stores.values():
            for instance in store.all("Instance"):
                route = routes.get(network.public_of(store, instance) or "")
                if route and instance.machine.address:
                    route.machine = instance.machine.address
                    route.openings = network.openings(instance)
        return list(routes.values())

    def resources(self) -> list[dict]:
        """Everything that somebody made and that is still there."""
        found = []
        for store in self.stores.values():
            for it in store.resources.values():
                if it.name != keys.DEFAULT:
                    kind = {"Instance": "instance", "StaticIp": "static-ip", "KeyPair": "key-pair"}
                    found.append(
                        {
                            "type": f"lightsail:{kind[it.kind]}",
                            "id": it.name,
                            "name": it.name,
                            "tags": dict(it.tags),
                        }
                    )
        return found


def actions(store: Store, net: network.Network, instances: Instances) -> dict:
    """Every action of a region."""

    def operation(given: dict) -> dict:
        found = store.operations.get(given["operationId"])
        if found is None:
            name = given["operationId"]
            raise wire.Refused("NotFoundException", f"The Operation does not exist: {name}")
        return {"operation": found.show()}

    def operations(given: dict) -> dict:
        name = given.get("resourceName")
        shown = [it.show() for it in store.operations.values()]
        return {"operations": [it for it in shown if name in (None, it["resourceName"])]}

    def tag(given: dict) -> dict:
        return store.tag(given, lambda tags: tags.update(tags_of(given["tags"])))

    def untag(given: dict) -> dict:
        return store.tag(given, lambda tags: [tags.pop(key, None) for key in given["tagKeys"]])

    return {
        "AllocateStaticIp": net.allocate,
        "AttachStaticIp": net.attach,
        "CloseInstancePublicPorts": net.close,
        "CreateInstances": instances.create,
        "CreateKeyPair": lambda given: keys.create_key_pair(store, given),
        "DeleteInstance": instances.delete,
        "DeleteKeyPair": lambda given: keys.delete_key_pair(store, given),
        "DetachStaticIp": net.detach,
        "DownloadDefaultKeyPair": lambda given: keys.download_default(store, given),
        "GetActiveNames": lambda _: {"activeNames": list(store.resources)},
        "GetBlueprints": lambda _: {"blueprints": list(catalog.blueprints().values())},
        "GetBundles": lambda _: {"bundles": list(catalog.bundles().values())},
        "GetInstance": instances.get,
        "GetInstanceAccessDetails": instances.access,
        "GetInstancePortStates": net.states,
        "GetInstanceState": instances.state,
        "GetInstances": instances.get_all,
        "GetKeyPair": lambda given: keys.get_key_pair(store, given),
        "GetKeyPairs": lambda given: keys.get_key_pairs(store, given),
        "GetOperation": operation,
        "GetOperations": operations,
        "GetOperationsForResource": operations,
        "GetRegions": lambda given: {
            "regions": catalog.regions(given.get("includeAvailabilityZones", False))
        },
        "GetStaticIp": net.get,
        "GetStaticIps": net.get_all,
        "ImportKeyPair": lambda given: keys.import_key_pair(store, given),
        "OpenInstancePublicPorts": net.open,
        "PutInstancePublicPorts": net.put,
        "RebootInstance": instances.reboot,
        "ReleaseStaticIp": net.release,
        "SetIpAddressType": instances.set_addressing,
        "StartInstance": instances.start,
        "StopInstance": instances.stop,
        "TagResource": tag,
        "UntagResource": untag,
        "UpdateInstanceMetadataOptions": instances.set_metadata,
    }
