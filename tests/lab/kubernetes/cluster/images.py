"""What an earlier cluster left in containerd's store, where images are kept between clusters.

Owns that containers and what they wrote are gone, and that what a tag names is asked anew. Refuses to
remove an image: its layers are there when it is pulled again.
"""

import subprocess

from . import places


def ran(*arguments: str) -> subprocess.CompletedProcess:
    """What became of containerd's own tool."""
    command = ["ctr", "--address", str(places.CONTAINERD), "--namespace", "k8s.io", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def ctr(*arguments: str) -> list[str]:
    """What containerd's own tool prints, by lines."""
    done = ran(*arguments)
    if done.returncode:
        raise RuntimeError(f"ctr {' '.join(arguments[:2])}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def can_be_asked() -> bool:
    """Whether containerd answers. Its socket may be one that an earlier one left."""
    return ran("version").returncode == 0


def forget_tags() -> None:
    """Forgets what each tag named, which may have been put into the registry anew since."""
    names = ctr("images", "list", "--quiet")
    tags = [it for it in names if "@" not in it and not it.startswith("sha256:")]
    if tags:
        ctr("images", "remove", *tags)


def remove_containers() -> bool:
    """Removes every container, and what it wrote; answers whether there was one."""
    containers = ctr("containers", "list", "--quiet")
    for container in containers:
        ctr("containers", "delete", container)
    for line in ctr("snapshots", "list")[1:]:
        if line.split()[-1] == "Active":
            ctr("snapshots", "remove", line.split()[0])
    return bool(containers)
