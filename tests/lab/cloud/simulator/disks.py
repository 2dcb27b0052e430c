"""Machines' disks: each a file system of its own size in a sparse file.

Owns the files and where they are mounted. So a machine can fill its disk, and this
host's stays as it is: `fallocate` reserves without writing. Refuses nothing; a disk
that cannot be made is an error of its machine's.
"""

import contextlib
from pathlib import Path

from . import places, tools

DISKS = places.HOME / "cloud" / "disks"


def make(name: str, size_gb: int) -> Path:
    """Makes a disk; what is bound into the machine is the answer."""
    place = DISKS / name
    place.mkdir(parents=True)
    file, mounted = place / "file", place / "mounted"
    with open(file, "wb") as disk:
        disk.truncate(size_gb << 30)
    options = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    tools.run("mkfs.ext4", "-q", "-m", "0", "-J", "size=32", "-E", options, str(file))
    mounted.mkdir()
    tools.run("mount", "-o", "loop,noatime", str(file), str(mounted))
    return mounted


def remove(name: str) -> None:
    """Removes a disk, as far as it is there. Its machine is gone."""
    place = DISKS / name
    # A loop device that was bound by mounting goes with the mount.
    tools.attempt("umount", "--lazy", str(place / "mounted"))
    (place / "file").unlink(missing_ok=True)
    for folder in (place / "mounted", place):
        # Another simulator may be removing the same one.
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()


def names() -> list[str]:
    """Every machine that has one."""
    return [place.name for place in DISKS.glob("*")] if DISKS.is_dir() else []
