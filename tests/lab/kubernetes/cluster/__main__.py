"""Runs the cluster until its standard input closes.

Owns the order in which its parts start, and the orders that it takes, a line each: `stop PART`,
`start PART`, `restart PART`; `pause PART` and `resume PART` for a stand-in or a program that is to
hang. Each is answered by a line. Refuses to clean up: everything ends with its namespaces.
"""

import json
import shutil
import signal
import sys
import threading
import time
import traceback

from . import api, identities, images, names, parts, places, volumes
from .balancers import Balancers

# How often the stand-ins look.
LOOK_EVERY_S = 0.2


class StandIn(threading.Thread):
    """Looks again and again whether there is something to do."""

    def __init__(self, turn):
        super().__init__(daemon=True)
        self.turn = turn
        self.paused = False

    def run(self) -> None:
        while True:
            time.sleep(LOOK_EVERY_S)
            if self.paused:
                continue
            try:
                self.turn()
            except OSError:
                # The API is being restarted.
                pass
            except api.Refused as refused:
                # Gone, or changed by somebody, since it was listed.
                if refused.status not in (404, 409, 429, 500, 503):
                    traceback.print_exc()
            except Exception:  # noqa: BLE001 # half an answer of one that was killed, too
                traceback.print_exc()


def main() -> None:
    """All of it."""
    shutil.rmtree(places.DISK, ignore_errors=True)
    for directory in (places.DISK, places.VOLUMES, places.IMAGES, places.LOG):
        directory.mkdir(parents=True, exist_ok=True)
    for log in places.LOG.glob("*.log"):
        log.unlink()
    identities.make()
    running = {
        part.name: part
        for part in (parts.etcd(), parts.containerd(), parts.apiserver())
    }
    for part in running.values():
        part.start()
        if part.name == "containerd":
            images.forget_tags()
            if images.remove_containers():
                # It knows them until then.
                part.stop()
                part.start()
    for part in (parts.controller_manager(), parts.scheduler(), parts.kubelet(), parts.proxy()):
        running[part.name] = part
        part.start(wait_for_it=False)
    volumes.register()
    stand_ins = {"volumes": StandIn(volumes.turn), "balancers": StandIn(Balancers().turn)}
    names.begin()
    for stand_in in stand_ins.values():
        stand_in.start()
    every_part = running.values()
    parts.wait("the node is ready", lambda: all(it.is_up() for it in every_part) and node_is_ready())
    print(json.dumps({"kubeconfig": str(places.KUBECONFIG), "server": places.SERVER}), flush=True)
    for line in sys.stdin:
        verb, _, name = line.strip().partition(" ")
        try:
            obey(verb, name, running, stand_ins)
            print("done", flush=True)
        except Exception as error:  # noqa: BLE001 # whoever asked is told
            print(f"failed: {error}", flush=True)


def obey(verb: str, name: str, running: dict, stand_ins: dict) -> None:
    """Does what a line says."""
    if name in stand_ins:
        stand_ins[name].paused = {"pause": True, "resume": False}[verb]
        return
    part = running[name]
    match verb:
        case "stop":
            part.stop()
        case "start":
            part.start()
        case "restart":
            part.stop()
            part.start()
        case "pause":
            part.process.send_signal(signal.SIGSTOP)
        case "resume":
            part.process.send_signal(signal.SIGCONT)
        case _:
            raise ValueError(f"no such order: {verb}")


def node_is_ready() -> bool:
    """Whether pods can be placed."""
    try:
        node = api.call("GET", f"/api/v1/nodes/{places.NODE_NAME}")
        api.call("GET", "/api/v1/namespaces/default/serviceaccounts/default")
    except (OSError, api.Refused):
        return False
    conditions = node.get("status", {}).get("conditions", [])
    return any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)


main()
