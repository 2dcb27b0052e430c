"""Key pairs.

Owns which keys Lightsail takes: those of the kind ssh-rsa. Refuses every other, as
the real one does, ed25519 too.
"""

import base64
import hashlib

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ..wire import Refused
from .store import KeyPair, Store, tags_of

DEFAULT = "LightsailDefaultKeyPair"


def read_public(given: str) -> tuple[str, str]:
    """A public key as one line, and its fingerprint. It comes as the line that
    ssh-keygen writes, as the second word of it, or that once more in base64."""
    text = given.strip()
    if not text.startswith("ssh-"):
        try:
            plain = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise Refused("InvalidInputException", "The public key is not base64.") from error
        text = plain.decode(errors="replace").strip()
        if not text.startswith("ssh-"):
            text = f"ssh-rsa {given.strip()}"
    kind, _, rest = text.partition(" ")
    blob = rest.split(" ")[0]
    try:
        key = base64.b64decode(blob, validate=True)
    except ValueError:
        key = b""
    if kind != "ssh-rsa" or not key.startswith(b"\x00\x00\x00\x07ssh-rsa"):
        raise Refused(
            "InvalidInputException",
            "Unable to import the key pair: the public key must be of the ssh-rsa type.",
        )
    digest = hashlib.md5(key, usedforsecurity=False).hexdigest()
    return text, ":".join(digest[at : at + 2] for at in range(0, 32, 2))


def describe(pair: KeyPair) -> dict:
    """One in the API's words."""
    return {**pair.about(), "tags": pair.tag_list(), "fingerprint": pair.fingerprint}


def generate(store: Store, name: str, tags: dict[str, str]) -> KeyPair:
    """A new pair, made by the service."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    line, fingerprint = read_public(public.decode())
    return KeyPair(
        "KeyPair", name, store.region, "all", tags=tags, public=line,
        private=private.decode(), fingerprint=fingerprint,
    )  # fmt: skip


def import_key_pair(store: Store, given: dict) -> dict:
    """ImportKeyPair."""
    line, fingerprint = read_public(given["publicKeyBase64"])
    pair = KeyPair(
        "KeyPair", given["keyPairName"], store.region, "all", public=line, fingerprint=fingerprint
    )
    store.add(pair)
    return {"operation": store.operation(pair)}


def create_key_pair(store: Store, given: dict) -> dict:
    """CreateKeyPair."""
    pair = generate(store, given["keyPairName"], tags_of(given.get("tags")))
    store.add(pair)
    return {
        "keyPair": describe(pair),
        "publicKeyBase64": pair.public,
        "privateKeyBase64": pair.private,
        "operation": store.operation(pair),
    }


def get_key_pair(store: Store, given: dict) -> dict:
    """GetKeyPair."""
    return {"keyPair": describe(store.find("KeyPair", given["keyPairName"]))}


def get_key_pairs(store: Store, given: dict) -> dict:
    """GetKeyPairs."""
    pairs = store.all("KeyPair")
    if not given.get("includeDefaultKeyPair"):
        pairs = [it for it in pairs if it.name != DEFAULT]
    return {"keyPairs": [describe(it) for it in pairs]}


def delete_key_pair(store: Store, given: dict) -> dict:
    """DeleteKeyPair."""
    pair = store.find("KeyPair", given["keyPairName"])
    del store.resources[pair.name]
    return {"operation": store.operation(pair)}


def default(store: Store) -> KeyPair:
    """The region's own pair, for instances that name none."""
    if DEFAULT not in store.resources:
        store.add(generate(store, DEFAULT, {}))
    return store.find("KeyPair", DEFAULT)


def download_default(store: Store, _given: dict) -> dict:
    """DownloadDefaultKeyPair."""
    pair = default(store)
    return {
        "publicKeyBase64": pair.public,
        "privateKeyBase64": pair.private,
        "createdAt": round(pair.made, 3),
    }
