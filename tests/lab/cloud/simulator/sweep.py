"""Removes what simulators that have ended could not remove themselves.

Owns the rule for what is left over: its name or note says a process that is gone.
Refuses to touch what belongs to one that lives.
"""

from . import addresses, disks, firewall, places, tools


def owner(name: str) -> int | None:
    """The process whose tag a name begins with."""
    words = name.split("-")
    if words[0] == "oclab" and len(words) > 2 and words[1].isdigit():
        return int(words[1])
    return None


def orphaned(name: str) -> bool:
    """Whether the one that made it has ended."""
    pid = owner(name)
    return pid is not None and places.is_gone(pid)


def containers() -> None:
    """Machines and their disks."""
    filters = ("--filter", "label=openclaw-lab.cloud")
    listed = tools.docker("ps", "--all", *filters, "--format", "{{.Names}}").split()
    remove_machines([name for name in {*listed, *disks.names()} if orphaned(name)])


def remove_machines(names: list[str]) -> None:
    """Removes containers, then their disks. Another process may be removing the same
    ones: failing is fine."""
    if names:
        tools.attempt("docker", "rm", "--force", "--volumes", *names)
    for name in names:
        disks.remove(name)


def network() -> None:
    """Addresses and rules."""
    for address, pid in addresses.notes():
        if places.is_gone(pid):
            addresses.drop(address)
    for pid in firewall.owners():
        if places.is_gone(pid):
            firewall.remove(pid)


def everything() -> None:
    """All of it."""
    with tools.locked():
        network()
        containers()
