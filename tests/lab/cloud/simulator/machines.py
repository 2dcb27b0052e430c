"""Machines: each a container of the instance image, with a disk that outlives a stop.

Owns the container's life and what it is told at its first boot. Refuses to run
one thing of a machine beside another: each has a thread of its own, which does
what it is asked in order.
"""

import io
import json
import queue
import re
import tarfile
import threading
import time
from collections.abc import Callable

from . import disks, places, tools

# Found by trial: what systemd and a Docker engine need within a container, short
# of --privileged, which some hosts refuse.
FLAGS = [
    "--cgroupns=private",
    "--cap-add=SYS_ADMIN",
    "--cap-add=NET_ADMIN",
    # `docker exec` enters the namespaces of another user's process.
    "--cap-add=SYS_PTRACE",
    # Ends the container's own processes, and says by the exit code which it was.
    "--cap-add=SYS_BOOT",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--security-opt=systempaths=unconfined",
    "--tmpfs=/run",
    "--tmpfs=/tmp:exec,mode=1777",
]
STOP_SECONDS = "5"
DAEMON = {"insecure-registries": ["ghcr.io"]}
SEED = "var/lib/cloud/seed/nocloud"
# Of a first process that asked the kernel for it: 128 and the signal it is ended with.
REBOOTED = "129"
NOWHERE = "10.213.0.254"
MIRROR = "/opt/openclaw-lab/providers"


def providers() -> list[str]:
    """Where a Terraform that runs on a machine finds its provider: this host's mirror,
    which stands in for the registry."""
    settings = (places.HOME / "cloud" / "terraform.rc").read_text()
    mirror = re.search(r'^ *path *= "(.*)"$', settings, re.MULTILINE)
    assert mirror, "the lab's settings for Terraform name a mirror"
    return ["--mount", f"type=bind,src={mirror[1]},dst={MIRROR},readonly"]


class Machine:
    """One of them. `changed` is called, on its thread, whenever its state changed."""

    def __init__(
        self, name: str, hostname: str, keys: list[str], user_data: bytes, disk_gb: int,
        registry: bool, changed: Callable[["Machine"], None],
    ) -> None:
        self.name = name
        self.disk_gb = disk_gb
        self.container = f"{places.tag()}{name}"
        self.hostname = hostname
        self.keys = keys
        self.user_data = user_data
        self.registry = registry
        self.state = "pending"
        self.address: str | None = None
        self.trouble: str | None = None
        self._changed = changed
        self._killed = False
        self._work: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._halted = False
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()
        self._work.put(self._create)

    # What may be asked of it. Each sets the state that shows until it is done.

    def stop(self) -> None:
        """Shuts it down. The disk stays."""
        self.state = "stopping"
        self._work.put(self._stop)

    def start(self) -> None:
        """Boots it again."""
        self.state = "pending"
        self._work.put(self._start)

    def reboot(self) -> None:
        """Boots it anew, while it shows as running."""
        self._work.put(self._reboot)

    def remove(self) -> None:
        """Takes it away with its disk."""
        self.state = "shutting-down"
        self._work.put(self._remove)

    def kill(self) -> None:
        """What failing hardware does: it is gone, now, and nobody was told."""
        self._killed = True
        tools.attempt("docker", "kill", self.container)
        self.address = None

    def died(self, code: str) -> None:
        """Takes in that its first process has ended, which may be what was asked of it."""
        self._work.put(lambda: self._died(code))

    def run(self, script: str, timeout: float = 60) -> str:
        """Runs something in it, as root."""
        return tools.docker("exec", self.container, "bash", "-c", script, timeout=timeout)

    def halt(self) -> None:
        """Nothing more is done with it, and what is being done stops where it can."""
        self._halted = True
        self._work.put(None)

    def wait(self) -> None:
        """Waits until what is being done is done."""
        self._thread.join(timeout=tools.PATIENCE_S)

    # How it is done.

    def _loop(self) -> None:
        while (work := self._work.get()) is not None and not self._halted:
            try:
                work()
            except Exception as error:  # A machine's trouble is its own: the others go on.
                self.trouble = str(error)
                self.state = "failed"
                self.address = None
                tools.say(f"{self.name}: {error}")
            try:
                self._changed(self)
            except Exception as error:  # What comes next is done all the same.
                tools.say(f"{self.name}: {error}")

    def _create(self) -> None:
        disk = disks.make(self.container, self.disk_gb)
        ghcr = places.BRIDGE_ADDRESS if self.registry else NOWHERE
        tools.docker(
            "create", "--name", self.container, "--hostname", self.hostname, *FLAGS,
            "--label", f"openclaw-lab.cloud={places.PID}",
            "--mount", f"type=bind,src={disk},dst=/var/lib/docker",
            "--add-host", f"ghcr.io:{ghcr}", *providers(), places.INSTANCE_IMAGE,
        )  # fmt: skip
        tools.docker("cp", "-", f"{self.container}:/", stdin=self._seed())
        if not self._halted:
            self._start()

    def _seed(self) -> bytes:
        """What cloud-init finds: who the machine is, and what its owner wants of it."""
        about = {
            "instance-id": self.name,
            "local-hostname": self.hostname,
            "public-keys": self.keys,
        }
        files = {
            f"{SEED}/meta-data": json.dumps(about).encode(),
            f"{SEED}/user-data": self.user_data,
            "etc/docker/daemon.json": json.dumps(DAEMON).encode(),
        }
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path, content in files.items():
                header = tarfile.TarInfo(path)
                header.size = len(content)
                header.mode = 0o600
                header.mtime = int(time.time())
                tar.addfile(header, io.BytesIO(content))
        return archive.getvalue()

    def _start(self) -> None:
        self._killed = False
        tools.docker("start", self.container)
        self._look()

    def _look(self) -> None:
        address = "{{.NetworkSettings.IPAddress}}"
        self.address = tools.docker("inspect", "--format", address, self.container) or None
        if self.state == "pending":
            self.state = "running"

    def _stop(self) -> None:
        tools.docker("stop", "--time", STOP_SECONDS, self.container)
        self.address = None
        if self.state == "stopping":
            self.state = "stopped"

    def _reboot(self) -> None:
        tools.docker("restart", "--time", STOP_SECONDS, self.container)
        self._look()

    def _died(self, code: str) -> None:
        if self._killed or self.state != "running":
            return
        up = tools.docker("inspect", "--format", "{{.State.Running}}", self.container)
        if up == "true":
            return
        if code == REBOOTED:
            self._start()
        else:
            self.address = None
            self.state = "stopped"

    def _remove(self) -> None:
        tools.attempt("docker", "rm", "--force", "--volumes", self.container)
        disks.remove(self.container)
        self.address = None
        self.state = "terminated"
