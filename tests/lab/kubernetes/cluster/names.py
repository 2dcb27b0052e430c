"""The stand-in for the cluster's DNS.

Owns the names of load balancers, as the hosts file has them. Of the cluster's own domain it says that
nothing is there, and of the rest that nobody can tell: no test waits for a name. Refuses to ask anybody.
"""

import socket
import struct
import threading

from . import places
from .balancers import HOSTS

PORT = 53
DOMAIN = ".cluster.local"
# What is asked for: an address of IPv4.
ADDRESS = 1
ANSWERED, FAILED, ABSENT = 0, 2, 3
TTL_S = 1


def begin() -> None:
    """Listens, for as long as the cluster is there."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind((places.NODE, PORT))
    threading.Thread(target=serve, args=(listener,), daemon=True).start()


def serve(listener: socket.socket) -> None:
    """Answers one question after the other."""
    while True:
        asked, asker = listener.recvfrom(4096)
        try:
            listener.sendto(answer(asked), asker)
        except (IndexError, OSError, struct.error, UnicodeError):
            # No question, or nobody who waits for its answer.
            pass


def answer(asked: bytes) -> bytes:
    """What is answered to a question."""
    labels, at = [], 12
    while asked[at]:
        labels.append(asked[at + 1 : at + 1 + asked[at]].decode("ascii").lower())
        at += 1 + asked[at]
    question = asked[12 : at + 5]
    (kind,) = struct.unpack("!H", asked[at + 1 : at + 3])
    name = ".".join(labels)
    address = known().get(name)
    code = ANSWERED if address else ABSENT if name.endswith(DOMAIN) else FAILED
    records = b""
    if address and kind == ADDRESS:
        # Its name is that of the question, which begins at the twelfth byte.
        records = struct.pack("!HHHLH", 0xC00C, ADDRESS, 1, TTL_S, 4) + socket.inet_aton(address)
    header = asked[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, bool(records), 0, 0)
    return header + question + records


def known() -> dict[str, str]:
    """The names that there are."""
    lines = (line.split() for line in HOSTS.read_text().splitlines())
    return {name: address for address, name in lines}
