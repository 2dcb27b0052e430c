"""Where things are: what the launcher hands over, and names made of it.

Owns the names by which a later run finds what a killed one has left. Refuses to
guess: a variable that the launcher did not set is an error.
"""

import os
from pathlib import Path

PID = os.getpid()

RUN = Path(os.environ["LAB_RUN"])
"""The lab's run directory, which the engine's users share."""

HOME = Path(os.environ["LAB_HOME"])
"""The lab's cache."""

SOURCE = Path(os.environ["LAB_SOURCE"])
"""The lab's scripts."""

DOCKER_HOST = os.environ["LAB_DOCKER_HOST"]
INSTANCE_IMAGE = os.environ["LAB_INSTANCE_IMAGE"]
NET = os.environ["LAB_NET"]
BRIDGE_ADDRESS = os.environ["LAB_BRIDGE_CIDR"].split("/", 1)[0]

OWN = RUN / "cloud"
"""What the simulators of this machine keep between them."""

LOCK = OWN / "lock"
"""Held while addresses or tables that all of them see are changed."""

PUBLIC = "203.0.113.0/25"
"""The public addresses; the upper half of the /24 is the network namespaces'."""

OPERATOR = "203.0.113.1"
"""The public address that this machine itself has in this cloud's internet."""


def tag(pid: int = PID) -> str:
    """What the names of a simulator's things contain."""
    return f"oclab-{pid}-"


def is_gone(pid: int) -> bool:
    """Whether a process has ended."""
    return not Path(f"/proc/{pid}").exists()
