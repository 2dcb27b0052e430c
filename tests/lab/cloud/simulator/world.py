"""Both services, the machines behind them and the way to them, held together.

Owns the one lock under which an API call and a machine's change of state are taken
in, and after which addresses and rules follow. Refuses to do slow work under it.
"""

import subprocess
import threading

from . import addresses, ec2, firewall, places, sweep, tools, wire
from .eks.service import Eks
from .lightsail.service import Lightsail
from .machines import Machine

# Reads change nothing that rules are made of.
READS = ("Describe", "Get", "List", "Head")


class World:
    """All that one simulator holds."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.addresses = addresses.Addresses()
        self.firewall = firewall.Firewall()
        self.ec2 = ec2.Ec2(self.addresses.claim, self._changed)
        self.lightsail = Lightsail(self.addresses.claim, self._changed)
        self.eks = Eks()
        self._users = [
            tools.join_users(places.RUN / "users"),
            tools.join_users(places.OWN / "users"),
        ]
        self._registry = None
        self._metadata: int | None = None
        self._closing = False

    def open(self) -> None:
        """Sweeps what others have left, and makes room for its own."""
        sweep.everything()
        self.addresses.open()
        self.firewall.open()
        threading.Thread(target=self._watch, daemon=True).start()

    def serve_metadata(self, port: int) -> None:
        """Lets machines of EC2 find what they are told about themselves, at this port."""
        self._metadata = port

    def _watch(self) -> None:
        """Notices machines that shut themselves down."""
        label = f"label=openclaw-lab.cloud={places.PID}"
        for name, code in tools.docker_events("event=die", label):
            with self.lock:
                for machine in self.machines():
                    if machine.container == name:
                        machine.died(code)

    def close(self) -> None:
        """Removes everything of its own, whatever fails."""
        with self.lock:
            self._closing = True
            machines = self.machines()
        for machine in machines:
            machine.halt()
        for machine in machines:
            machine.wait()
        names = [machine.container for machine in machines if machine.state != "terminated"]
        steps = [
            self.firewall.close,
            lambda: sweep.remove_machines(names),
            *(lambda held=held: self.addresses.release(held) for held in set(self.addresses.held)),
            self._leave,
        ]
        for step in steps:
            try:
                step()
            except (tools.Failed, OSError) as error:
                tools.say(f"while closing: {error}")

    def _leave(self) -> None:
        """Takes this machine's own address away if nobody else uses it."""
        import fcntl

        with tools.locked():
            users = self._users[-1]
            fcntl.flock(users, fcntl.LOCK_UN)
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return
            addresses.close_last()

    # Calls.

    def lightsail_call(self, call: wire.Call) -> wire.Answer:
        """Answers for Lightsail."""
        with self.lock:
            try:
                return self.lightsail.answer(call)
            finally:
                self._follow(call)

    def eks_call(self, call: wire.Call, environ: dict) -> wire.Answer:
        """Answers for EKS."""
        method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
        with self.lock:
            return self.eks.answer(call, method, environ.get("PATH_INFO", "/"), query)

    def moto_call(self, call: wire.Call, answer) -> wire.Answer:
        """Lets moto answer, by `answer`."""
        with self.lock:
            if (known := self.ec2.before(call)) is not None:
                return known
            given = answer()
            if call.service == "ec2":
                self.ec2.after(call, given)
            self._follow(call)
            return given

    def _follow(self, call: wire.Call) -> None:
        if not call.action.startswith(READS):
            self.reconcile()

    def _changed(self, machine: Machine) -> None:
        with self.lock:
            if self._closing:
                return
            self.ec2.machine_changed(machine)
            self.lightsail.machine_changed(machine)
            self.reconcile()

    def reconcile(self) -> None:
        """Gives addresses back that nobody has any more, and sets the rules."""
        used = self.ec2.addresses() | self.lightsail.addresses()
        gone = self.addresses.held - used
        told = [it.address for it in self.ec2.machines.values() if it.address]
        told = told if self._metadata is not None else []
        routes = self.ec2.routes() + self.lightsail.routes()
        self.firewall.apply(routes, told, self._metadata)
        for address in gone:
            self.addresses.release(address)

    # Machines.

    def machines(self) -> list[Machine]:
        """Every machine there is."""
        return [*self.ec2.machines.values(), *self.lightsail.machines()]

    def machine(self, name: str) -> Machine:
        """A machine by its instance's id, name or public address."""
        for instance in self.ec2.instances():
            if name in (instance.id, instance.public_ip if instance.nics else None):
                return self.ec2.machines[instance.id]
        for instance in self.lightsail.instances():
            if name == instance.name:
                return instance.machine
        raise KeyError(name)

    def resources(self) -> list[dict]:
        """Everything that somebody made and that is still there."""
        with self.lock:
            return ec2.resources(self.ec2) + self.lightsail.resources() + self.eks.resources()

    def serve_images(self) -> None:
        """Sees that the images' registry runs, for as long as this does. Without its
        data there is none, and a pull fails."""
        if self._registry is None:
            self._registry = tools.join_users(places.RUN / "registry" / "users")
            script = places.SOURCE / "cloud" / "registry"
            done = subprocess.run([script, "start"], stdin=subprocess.DEVNULL, check=False)
            if done.returncode != 0:
                tools.say("the images' registry did not start")
