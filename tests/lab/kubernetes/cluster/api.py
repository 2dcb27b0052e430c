"""The cluster's API, for the stand-ins.

Owns a connection for each call. Refuses to know what is asked.
"""

import json
import ssl
import urllib.error
import urllib.request

from . import places
from .identities import TOKENS


class Refused(Exception):
    """An answer that is none, by its status."""

    def __init__(self, status: int, said: str):
        super().__init__(f"{status}: {said}")
        self.status = status


def call(method: str, path: str, body: dict | None = None, kind: str = "application/json") -> dict:
    """What the API answers."""
    request = urllib.request.Request(
        places.SERVER + path, method=method, data=None if body is None else json.dumps(body).encode()
    )
    request.add_header("Authorization", f"Bearer {TOKENS['stand-ins']}")
    request.add_header("Content-Type", kind)
    context = ssl.create_default_context(cafile=places.ETC / "ca.crt")
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Refused(error.code, error.read().decode(errors="replace")[:500]) from error


def items(path: str) -> list[dict]:
    """What there is."""
    return call("GET", path)["items"]


def patch(path: str, body: dict) -> dict:
    """Changes something."""
    return call("PATCH", path, body, "application/merge-patch+json")
