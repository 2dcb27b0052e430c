"""What a test may ask of the simulator itself, below /_lab/.

Owns faults, the list of what exists, the record of calls and what befalls a
machine. Refuses paths that it has not, with 404.

    GET    /_lab/state                      {"resources": [{type, id, name, tags}]}
    GET    /_lab/calls                      {"calls": [{service, action, status, key}]}
    GET    /_lab/instances                  {"instances": [{id, name, public, ...}]}
    GET    /_lab/address                    the caller's public address, as text
    POST   /_lab/faults                     see faults.Fault
    GET    /_lab/faults                     {"struck": [action]}: so far, in order
    DELETE /_lab/faults
    POST   /_lab/ami                        newer images appear
    POST   /_lab/quotas                     {"L-1216C47A": 200.0}: from now on
    POST   /_lab/policies                   {"denied": ["iam:CreateRole"]}: to a simulation
    POST   /_lab/eks                        {"endpoint": ..., "certificate_authority": base64}: of new clusters
    POST   /_lab/registry                   {"up": false}: machines made from now on
    POST   /_lab/instances/ID/kill          {"then": "terminated" | "stopped" | "running"}
    POST   /_lab/instances/ID/refuse_ssh
    POST   /_lab/instances/ID/accept_ssh
    POST   /_lab/instances/ID/new_host_key
    POST   /_lab/instances/ID/fill_disk     and empty_disk, of Docker's data
    POST   /_lab/instances/ID/run           {"script": "..."}: as root; what it printed
"""

import json

from . import places, policies, quotas, tools
from .faults import Faults
from .wire import Answer
from .world import World

NEW_HOST_KEY = """
for key in $(sshd -T | sed -n 's/^hostkey //p'); do
  rm -f "$key" "$key.pub"
  ssh-keygen -q -t ed25519 -N '' -f "$key"
done
systemctl restart ssh
"""

FILL_DISK = """
disk=/var/lib/docker
free=$(df --output=avail -B1 $disk | tail -n 1)
fallocate --length $((free / 1000 * 999)) $disk/.filled
dd if=/dev/zero of=$disk/.filled oflag=append conv=notrunc bs=1M status=none || true
"""

SCRIPTS = {
    "refuse_ssh": "systemctl stop ssh",
    "accept_ssh": "systemctl start ssh",
    "new_host_key": NEW_HOST_KEY,
    "fill_disk": FILL_DISK,
    "empty_disk": "rm -f /var/lib/docker/.filled",
}


class Control:
    """Answers those requests."""

    def __init__(self, world: World, faults: Faults, calls: list[dict]) -> None:
        self.world = world
        self.faults = faults
        self.calls = calls

    def answer(self, method: str, path: str, body: bytes, sender: str) -> Answer:
        """Answers one, whatever goes wrong."""
        try:
            if (method, path) == ("GET", "/_lab/address"):
                return text(200, f"{self._public_of(sender)}\n")
            given = json.loads(body) if body.strip() else {}
            return self._answer(method, path.removeprefix("/_lab/").split("/"), given)
        except (ValueError, TypeError) as error:
            return text(400, str(error))
        except KeyError as error:
            return text(404, f"there is no {error}")
        except tools.Failed as error:
            return text(500, str(error))

    def _answer(self, method: str, path: list[str], given: dict) -> Answer:
        match method, path:
            case "GET", ["state"]:
                return shown({"resources": self.world.resources()})
            case "GET", ["calls"]:
                return shown({"calls": list(self.calls)})
            case "GET", ["instances"]:
                return shown({"instances": self._instances()})
            case "POST", ["faults"]:
                self.faults.add(given)
                return shown({})
            case "GET", ["faults"]:
                return shown({"struck": list(self.faults.struck)})
            case "DELETE", ["faults"]:
                self.faults.clear()
                return shown({})
            case "POST", ["ami"]:
                with self.world.lock:
                    new = self.world.ec2.release_image()
                return shown({"images": {it["architecture"]: it["ami_id"] for it in new}})
            case "POST", ["quotas"]:
                quotas.raised(given)
                return shown({})
            case "POST", ["policies"]:
                policies.deny(given["denied"])
                return shown({})
            case "POST", ["eks"]:
                self.world.eks.real.update(given)
                return shown({})
            case "POST", ["registry"]:
                self.world.ec2.registry = self.world.lightsail.registry = bool(given["up"])
                return shown({})
            case "POST", ["instances", name, what]:
                return self._machine(name, what, given)
        raise KeyError("/".join(path))

    def _public_of(self, sender: str) -> str:
        """The public address of a machine by its own; any other caller is the operator."""
        inside = {it["inside"]: it["public"] for it in self._instances()}
        return inside.get(sender) or places.OPERATOR

    def _machine(self, name: str, what: str, given: dict) -> Answer:
        with self.world.lock:
            machine = self.world.machine(name)
        if what == "kill":
            return self._kill(machine, given.get("then", "terminated"))
        if what == "run":
            return text(200, machine.run(given["script"]))
        return text(200, machine.run(SCRIPTS[what]))

    def _kill(self, machine, then: str) -> Answer:
        if then not in ("terminated", "stopped", "running"):
            raise ValueError(f"a killed machine is terminated, stopped or running, not {then}")
        machine.kill()
        with self.world.lock:
            if then == "terminated":
                machine.remove()
            else:
                machine.state = then
            self.world.ec2.machine_changed(machine)
            self.world.reconcile()
        return shown({})

    def _instances(self) -> list[dict]:
        with self.world.lock:
            found = []
            for instance in self.world.ec2.instances():
                machine = self.world.ec2.machines.get(instance.id)
                if machine and instance.state != "terminated":
                    names = [it["value"] for it in instance.get_tags() if it["key"] == "Name"]
                    about = describe("ec2", instance.id, (names or [""])[0], machine)
                    found.append({**about, "public": instance.public_ip})
            for instance in self.world.lightsail.instances():
                about = describe("lightsail", instance.name, instance.name, instance.machine)
                found.append({**about, "public": self.world.lightsail.public(instance)})
            return found


def describe(service: str, identity: str, name: str, machine) -> dict:
    """A machine, for a test."""
    return {
        "service": service,
        "id": identity,
        "name": name,
        "state": machine.state,
        "container": machine.container,
        "inside": machine.address,
        "trouble": machine.trouble,
    }


def shown(answer: dict) -> Answer:
    """An answer in JSON."""
    return Answer(200, [("content-type", "application/json")], json.dumps(answer).encode())


def text(status: int, said: str) -> Answer:
    """An answer in words."""
    return Answer(status, [("content-type", "text/plain; charset=utf-8")], said.encode())
