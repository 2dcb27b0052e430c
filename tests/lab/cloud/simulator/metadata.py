"""What an instance is told about itself, at its link-local address (IMDSv2), and what
its role may do.

Owns the sessions, the role's credentials, and the question whether a call that is
signed with them stands in one of the role's policies. Refuses whoever has no session,
as an instance whose tokens are required does. Of a policy it knows the actions and the
regions: what else binds a statement is looked at by the product's own tests of it.
"""

import fnmatch
import json
import secrets
import time

from . import wire
from .wire import Answer

ADDRESS = "169.254.169.254"
PREFIX = "/latest/"
CREDENTIALS = "meta-data/iam/security-credentials/"
LIFE_SECONDS = 6 * 3600


class Metadata:
    """Of all the machines of EC2."""

    def __init__(self, ec2) -> None:
        self._ec2 = ec2
        self._sessions: dict[str, str] = {}
        # By access key: the role's name.
        self._keys: dict[str, str] = {}

    def answer(self, environ: dict) -> Answer:
        """Answers a request of a machine's."""
        instance = self._asked_by(environ.get("REMOTE_ADDR", ""))
        if instance is None:
            return said(404, "")
        path = environ.get("PATH_INFO", "").removeprefix(PREFIX)
        if environ["REQUEST_METHOD"] == "PUT" and path == "api/token":
            if "HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS" not in environ:
                return said(400, "")
            token = secrets.token_urlsafe(32)
            self._sessions[token] = instance.id
            ttl = environ["HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS"]
            return said(200, token, [("x-aws-ec2-metadata-token-ttl-seconds", ttl)])
        session = environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN", "")
        if self._sessions.get(session) != instance.id:
            return said(401, "")
        found = self._about(instance, path)
        return said(404, "") if found is None else said(200, found)

    def permit(self, call: wire.Call) -> None:
        """Refuses a call of a role that none of its policies allows."""
        role = self._keys.get(call.key)
        # Who one is may be asked by everybody, and a bucket has a policy of its own.
        if role is None or call.service in ("sts", "s3"):
            return
        action = f"{call.service}:{call.action}"
        if not any(allows(it, action, call.region) for it in self._statements(role)):
            message = f"The role {role} is not authorized to perform: {action}"
            code = "UnauthorizedOperation" if call.service == "ec2" else "AccessDeniedException"
            raise wire.Refused(code, message, 403 if call.service == "ec2" else 400)

    def caller(self, call: wire.Call) -> tuple[bytes, bytes]:
        """moto's name for whoever it does not know, and the one that the caller has."""
        from .ec2 import ACCOUNT

        role = self._keys.get(call.key)
        name = f"sts::{ACCOUNT}:assumed-role/{role}/machine" if role else f"iam::{ACCOUNT}:user/lab"
        return f"sts::{ACCOUNT}:user/moto".encode(), name.encode()

    def _asked_by(self, address: str):
        for instance in self._ec2.instances():
            machine = self._ec2.machines.get(instance.id)
            if machine is not None and machine.address == address:
                return instance
        return None

    def _about(self, instance, path: str) -> str | None:
        known = {
            "meta-data/instance-id": instance.id,
            "meta-data/public-ipv4": instance.public_ip,
            "meta-data/placement/region": instance.ec2_backend.region_name,
            "dynamic/instance-identity/document": json.dumps(
                {"region": instance.ec2_backend.region_name, "instanceId": instance.id}
            ),
        }
        if path in known:
            return known[path]
        role = self._role_of(instance)
        if role is None or not path.startswith(CREDENTIALS):
            return None
        name = path.removeprefix(CREDENTIALS)
        if not name:
            return role
        return json.dumps(self._credentials(role)) if name == role else None

    def _role_of(self, instance) -> str | None:
        held = instance.ec2_backend.iam_instance_profile_associations.get(instance.id)
        roles = held.iam_instance_profile.roles if held else []
        return roles[0].name if roles else None

    def _credentials(self, role: str) -> dict:
        key = f"ASIA{secrets.token_hex(8).upper()}"
        self._keys[key] = role
        now = time.time()
        return {
            "Code": "Success",
            "LastUpdated": stamp(now),
            "Type": "AWS-HMAC",
            "AccessKeyId": key,
            "SecretAccessKey": secrets.token_hex(20),
            "Token": secrets.token_hex(64),
            "Expiration": stamp(now + LIFE_SECONDS),
        }

    def _statements(self, role: str) -> list[dict]:
        from moto.iam.models import iam_backends

        from .ec2 import ACCOUNT

        iam = iam_backends[ACCOUNT]["aws"]
        texts = list(iam.get_role(role).policies.values())
        texts += [it.document for it in iam.get_role(role).managed_policies.values()]
        return [it for text in texts for it in listed(json.loads(text)["Statement"])]


def allows(statement: dict, action: str, region: str) -> bool:
    """Whether it allows the action in the region."""
    if statement["Effect"] != "Allow":
        return False
    regions = statement.get("Condition", {}).get("StringEquals", {}).get("aws:RequestedRegion")
    if regions is not None and region not in listed(regions):
        return False
    patterns = [it.lower() for it in listed(statement.get("Action", []))]
    return any(fnmatch.fnmatchcase(action.lower(), it) for it in patterns)


def listed(value) -> list:
    """A policy's one or several."""
    return value if isinstance(value, list) else [value]


def stamp(seconds: float) -> str:
    """A time as AWS writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def said(status: int, text: str, headers: list[tuple[str, str]] | None = None) -> Answer:
    """An answer in words."""
    return Answer(status, [("content-type", "text/plain"), *(headers or [])], text.encode())
