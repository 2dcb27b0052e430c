"""Child processes and the locks between simulators.

Owns how a program of the system is run: with a deadline, and an error that says
what it wrote. Refuses to hand a lock down to a child.
"""

import contextlib
import fcntl
import os
import subprocess
import sys

from . import places


# How long a program may take on busy cores: less than whoever asks waits for an answer.
PATIENCE_S = 100.0


class Failed(Exception):
    """A program that ended with an error, and what it said."""


def say(message: str) -> None:
    """A line for whoever reads the simulator's standard error."""
    print(f"cloud: {message}", file=sys.stderr, flush=True)


def run(*command: str, stdin: bytes | None = None, timeout: float = PATIENCE_S) -> str:
    """What a program printed; it must succeed."""
    environment = {**os.environ, "DOCKER_HOST": places.DOCKER_HOST}
    environment.pop("DOCKER_CONTEXT", None)
    try:
        done = subprocess.run(
            command, input=stdin or b"", capture_output=True, timeout=timeout, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{' '.join(command[:4])}: not within {timeout:.0f} s") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise Failed(f"{' '.join(command[:4])}: {said or f'exit code {done.returncode}'}")
    return done.stdout.decode(errors="replace").strip()


def docker(*arguments: str, stdin: bytes | None = None, timeout: float = PATIENCE_S) -> str:
    """The same for the lab's own engine."""
    return run("docker", *arguments, stdin=stdin, timeout=timeout)


def docker_events(*filters: str):
    """What happens in the engine from now on, as (name, exit code), for as long as it runs."""
    form = "{{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}"
    wanted = [word for filter in filters for word in ("--filter", filter)]
    environment = {**os.environ, "DOCKER_HOST": places.DOCKER_HOST}
    # Ends with this process, however that ends.
    command = ["setpriv", "--pdeathsig", "KILL", "docker", "events", "--format", form, *wanted]
    events = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment
    )
    for line in events.stdout or ():
        name, _, code = line.strip().partition(" ")
        yield name, code


def attempt(*command: str) -> bool:
    """Whether a program succeeded, for what may already be as wanted."""
    with contextlib.suppress(Failed):
        run(*command)
        return True
    return False


@contextlib.contextmanager
def locked():
    """Keeps the other simulators of this machine out."""
    places.OWN.mkdir(parents=True, exist_ok=True)
    with open(places.LOCK, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def join_users(path):
    """Says, for as long as this process lives, that it uses what the lock stands for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    users = open(path, "a")
    fcntl.flock(users, fcntl.LOCK_SH)
    return users
