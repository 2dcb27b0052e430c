"""One region's resources, and the operations that made them.

Owns names (which are unique in a region, whatever they name), tags and the record
of operations. Refuses tags on what cannot have any: static addresses and ports.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from ..machines import Machine
from ..wire import Refused

ACCOUNT = "123456789012"


@dataclass
class Resource:
    """What every kind of resource has."""

    kind: str
    name: str
    region: str
    zone: str
    made: float = field(default_factory=time.time)
    tags: dict[str, str] = field(default_factory=dict)
    identity: str = field(default_factory=lambda: str(uuid.uuid4()))

    def about(self) -> dict:
        """Those members in the API's words."""
        return {
            "name": self.name,
            "arn": f"arn:aws:lightsail:{self.region}:{ACCOUNT}:{self.kind}/{self.identity}",
            "supportCode": f"{ACCOUNT}/{self.identity[:17]}",
            "createdAt": round(self.made, 3),
            "location": {"availabilityZone": self.zone, "regionName": self.region},
            "resourceType": self.kind,
        }

    def tag_list(self) -> list[dict]:
        """Its tags in the API's words."""
        return [{"key": key, "value": value} for key, value in self.tags.items()]


@dataclass
class Instance(Resource):
    """A machine with what Lightsail knows of it."""

    machine: Machine | None = None
    bundle: str = ""
    blueprint: str = ""
    key: str = ""
    inside: str = ""
    dynamic: str | None = None
    addressing: str = "dualstack"
    ports: list[dict] = field(default_factory=list)
    metadata: dict = field(default_factory=dict)


@dataclass
class StaticIp(Resource):
    """An address of its own."""

    address: str = ""
    attached: str | None = None


@dataclass
class KeyPair(Resource):
    """A key that new instances let in."""

    public: str = ""
    private: str | None = None
    fingerprint: str = ""


@dataclass
class Operation:
    """Something that was asked for, and how far it is."""

    about: dict
    follow: Callable[[], str] | None = None
    trouble: Callable[[], str | None] | None = None

    def show(self) -> dict:
        """It in the API's words, as far as it is now."""
        status = self.follow() if self.follow else "Succeeded"
        if status in ("Succeeded", "Failed"):
            self.follow = (lambda: "Succeeded") if status == "Succeeded" else self.follow
        shown = {**self.about, "status": status, "isTerminal": status != "Started"}
        if status == "Failed":
            shown["errorCode"] = "InternalFailure"
            shown["errorDetails"] = (self.trouble and self.trouble()) or "it failed"
        return shown


class Store:
    """A region."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.resources: dict[str, Resource] = {}
        self.operations: dict[str, Operation] = {}

    def find(self, kind: str, name: str):
        """A resource, which must be there."""
        found = self.resources.get(name)
        if found is None or found.kind != kind:
            raise Refused("NotFoundException", f"The {kind} does not exist: {name}")
        return found

    def all(self, kind: str) -> list:
        """Those of a kind, by age."""
        return [found for found in self.resources.values() if found.kind == kind]

    def add(self, resource: Resource) -> None:
        """Takes a new one, whose name must be free."""
        if resource.name in self.resources:
            raise Refused(
                "InvalidInputException", f"Some names are already in use: {resource.name}"
            )
        self.resources[resource.name] = resource

    def operation(self, resource: Resource, kind: str = "", details: str = "", follow=None) -> dict:
        """Records that something is done to a resource. The model has no name for some
        kinds, which then go without."""
        now = round(time.time(), 3)
        about = {
            "id": str(uuid.uuid4()),
            "resourceName": resource.name,
            "resourceType": resource.kind,
            "createdAt": now,
            "location": {"availabilityZone": resource.zone, "regionName": resource.region},
            "operationDetails": details,
            "statusChangedAt": now,
        }
        if kind:
            about["operationType"] = kind
        machine = getattr(resource, "machine", None)
        trouble = (lambda: machine.trouble) if machine else None
        self.operations[about["id"]] = done = Operation(about, follow, trouble)
        return done.show()

    def tag(self, given: dict, change: Callable[[dict], None]) -> dict:
        """Changes the tags of a resource by its name."""
        found = self.resources.get(given["resourceName"])
        if found is None:
            name = given["resourceName"]
            raise Refused("NotFoundException", f"The resource does not exist: {name}")
        if found.kind == "StaticIp":
            raise Refused("InvalidInputException", "Static IPs cannot be tagged.")
        change(found.tags)
        return {"operations": [self.operation(found)]}


def tags_of(given: list[dict] | None) -> dict[str, str]:
    """A request's tags by key."""
    return {tag["key"]: tag.get("value", "") for tag in given or []}
