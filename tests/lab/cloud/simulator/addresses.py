"""Public addresses of 203.0.113.0/25, each held by one simulator of this machine.

Owns the local routes that make an address this machine's, and the notes that say
whose it is. Refuses to hand out one that another simulator or process holds: the
kernel has one route for it, and the note is made under the lock.
"""

import ipaddress
from pathlib import Path

from . import places, tools

NOTES = places.OWN / "addresses"


class NoAddressLeft(Exception):
    """All of them are in use."""


class Addresses:
    """What one simulator holds."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        hosts = [str(host) for host in ipaddress.ip_network(places.PUBLIC).hosts()]
        self._pool = [host for host in hosts if host != places.OPERATOR]
        # Not always the same ones, and none again at once: whoever still knows
        # the last machine behind an address would take the next one for it.
        self._next = places.PID * 17 % len(self._pool)

    def open(self) -> None:
        """Gives this machine its own address. Whoever connects to an instance from
        here comes from it (it is the routes' preferred source)."""
        NOTES.mkdir(parents=True, exist_ok=True)
        tools.run("ip", "addr", "replace", f"{places.OPERATOR}/32", "dev", "lo")

    def claim(self, *_ignored) -> str:
        """A new one."""
        with tools.locked():
            for _ in self._pool:
                address = self._pool[self._next]
                self._next = (self._next + 1) % len(self._pool)
                note = NOTES / address
                if note.exists() or not tools.attempt("ip", "route", "add", *route(address)):
                    continue
                note.write_text(str(places.PID))
                self.held.add(address)
                return address
        raise NoAddressLeft(places.PUBLIC)

    def release(self, address: str) -> None:
        """Gives one back."""
        with tools.locked():
            drop(address)
            self.held.discard(address)


def route(address: str) -> list[str]:
    """The local route of an address."""
    return ["local", f"{address}/32", "dev", "lo", "src", places.OPERATOR, "table", "local"]


def drop(address: str) -> None:
    """Removes an address and its note. The caller holds the lock."""
    tools.attempt("ip", "route", "del", *route(address))
    (NOTES / address).unlink(missing_ok=True)


def notes() -> list[tuple[str, int]]:
    """Every address that is held on this machine, and by which process."""
    found = []
    for note in NOTES.glob("*") if NOTES.is_dir() else ():
        text = Path(note).read_text().strip()
        found.append((note.name, int(text) if text.isdigit() else -1))
    return found


def close_last() -> None:
    """Takes this machine's own address away. The caller holds the lock, and knows
    that nobody uses it any more."""
    tools.attempt("ip", "addr", "del", f"{places.OPERATOR}/32", "dev", "lo")
