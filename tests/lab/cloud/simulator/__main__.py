"""Runs a simulator until its standard input closes or it is told to end.

Owns the process: it prints one line of JSON when it is ready, and removes all of
its own when it ends. Refuses to begin without the lab's engine.
"""

import json
import os
import signal
import sys
import threading

from werkzeug.serving import WSGIRequestHandler, make_server

from . import places, tools
from .app import App
from .world import World


class Quiet(WSGIRequestHandler):
    """Keeps connections, and says nothing of each request."""

    protocol_version = "HTTP/1.1"

    def log(self, *_args) -> None:
        """The record of calls has it."""


def watch_input(end: threading.Event) -> None:
    """Ends when whoever started this has closed its end, or is gone."""
    while os.read(0, 4096):
        pass
    end.set()


def main() -> None:
    """All of it."""
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: end.set())
    tools.docker("image", "inspect", "--format", "{{.Id}}", places.INSTANCE_IMAGE)
    world = World()
    try:
        world.open()
        app = App(world)
        server, inside = (
            make_server(address, 0, app, threaded=True, request_handler=Quiet)
            for address in ("127.0.0.1", places.BRIDGE_ADDRESS)
        )
        for each in (server, inside):
            threading.Thread(target=each.serve_forever, daemon=True).start()
        world.serve_metadata(inside.server_port)
        threading.Thread(target=watch_input, args=(end,), daemon=True).start()
        ready = {
            "port": server.server_port,
            "inside": f"http://{places.BRIDGE_ADDRESS}:{inside.server_port}",
            "pid": os.getpid(),
            "operator": places.OPERATOR,
        }
        print(json.dumps(ready), flush=True)
        end.wait()
    finally:
        # Told again while at it, it goes on: what it would leave behind costs more.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        world.close()
    sys.stdout.flush()
    # Machines' threads may wait for the engine still; nothing of theirs is left.
    os._exit(0)


main()
