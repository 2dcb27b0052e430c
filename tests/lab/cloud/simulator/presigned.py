"""Calls that one signs and another makes: the signature stands in the query.

Owns working the signature out anew, as AWS's documentation has it, with the one secret that the lab
gives out. Refuses a call that was signed with another one, for other headers, or too long ago. Who has
a role's key is taken at their word.
"""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote

# What `Cloud::environment` of the tests names.
SECRETS = {"AKIALAB0000000000001": "lab-secret-access-key"}
NOTHING = hashlib.sha256(b"").hexdigest()


def parameters(environ: dict) -> dict[str, str]:
    """The query of such a call; nothing, where it is none."""
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    return query if "X-Amz-Credential" in query else {}


def trouble(environ: dict, query: dict[str, str]) -> str | None:
    """Why it is not taken, if it is not."""
    key, scope = query["X-Amz-Credential"].split("/", 1)
    date = query["X-Amz-Date"]
    begun = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if datetime.now(UTC) > begun + timedelta(seconds=int(query["X-Amz-Expires"])):
        return "ExpiredToken"
    if key not in SECRETS:
        return None
    names = query["X-Amz-SignedHeaders"].split(";")
    headers = "".join(f"{name}:{header(environ, name)}\n" for name in names)
    pairs = sorted((name, value) for name, value in query.items() if name != "X-Amz-Signature")
    said = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
    request = "\n".join(
        [environ["REQUEST_METHOD"], environ["PATH_INFO"], said, headers, ";".join(names), NOTHING]
    )
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}"
    signing = f"AWS4{SECRETS[key]}".encode()
    for part in scope.split("/"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    signature = hmac.new(signing, text.encode(), "sha256").hexdigest()
    is_its = hmac.compare_digest(signature, query.get("X-Amz-Signature", ""))
    return None if is_its else "SignatureDoesNotMatch"


def header(environ: dict, name: str) -> str:
    """A header of the call, as it is signed."""
    return environ.get(f"HTTP_{name.upper().replace('-', '_')}", "").strip()
