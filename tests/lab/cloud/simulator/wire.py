"""A request of the AWS protocols: which action of which service it is, and errors
in the form that the service's own clients read.

Owns the request's body: it is read once, here. Refuses nothing; what it cannot
name is left to whoever answers it.
"""

import io
import json
import uuid
from dataclasses import dataclass, field
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from . import presigned

TARGETS = {
    "Lightsail_20161128": "lightsail",
    "AmazonSSM": "ssm",
    "ServiceQuotasV20190624": "servicequotas",
}


@dataclass
class Call:
    """A request, named."""

    service: str
    action: str
    region: str
    body: bytes
    key: str = ""
    form: dict[str, str] = field(default_factory=dict)

    def json(self) -> dict:
        """The body of a JSON protocol."""
        try:
            found = json.loads(self.body or b"{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass
class Answer:
    """What is sent back."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Refused(Exception):
    """An error of the API's, by its real name."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def read(environ: dict) -> Call:
    """Names a request. Its body can be read again afterwards."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length) if length else b""
    environ["wsgi.input"] = io.BytesIO(body)
    if query := presigned.parameters(environ):
        # Where a client itself has its signature, the services look for it.
        environ["HTTP_AUTHORIZATION"] = f"AWS4-HMAC-SHA256 Credential={query['X-Amz-Credential']}"
        key, service, region = scope(environ["HTTP_AUTHORIZATION"])
        return Call(service, query.get("Action", ""), region, body, key, query)
    key, service, region = scope(environ.get("HTTP_AUTHORIZATION", ""))
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if "." in target:
        prefix, action = target.rsplit(".", 1)
        return Call(TARGETS.get(prefix, service), action, region, body, key)
    kind = environ.get("CONTENT_TYPE", "")
    if kind.startswith("application/x-www-form-urlencoded"):
        read_form = parse_qs(body.decode(errors="replace"), keep_blank_values=True)
        form = {key: values[-1] for key, values in read_form.items()}
        return Call(service, form.get("Action", ""), region, body, key, form)
    path = environ.get("PATH_INFO", "/")
    return Call(service or "s3", f"{environ.get('REQUEST_METHOD')} {path}", region, body, key)


def scope(authorization: str) -> tuple[str, str, str]:
    """Access key, service and region of a signature
    (Credential=KEY/DAY/REGION/SERVICE/aws4_request)."""
    if "Credential=" not in authorization:
        return "", "", "us-east-1"
    words = authorization.split("Credential=", 1)[1].split(",", 1)[0].strip().split("/")
    if len(words) < 5:
        return "", "", "us-east-1"
    return words[0], words[3].lower(), words[2]


def error(service: str, refused: Refused) -> Answer:
    """An error as the service says it."""
    request = str(uuid.uuid4())
    code, message = escape(refused.code), escape(refused.message)
    said = f"<Code>{code}</Code><Message>{message}</Message>"
    if service in ("eks", "lightsail", "ssm", "servicequotas"):
        body = json.dumps({"__type": refused.code, "message": refused.message})
        headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amzn-requestid", request),
            ("x-amzn-errortype", refused.code),
        ]
        return Answer(refused.status, headers, body.encode())
    if service == "ec2":
        body = (
            f"<Response><Errors><Error>{said}</Error></Errors>"
            f"<RequestID>{request}</RequestID></Response>"
        )
    elif service == "s3":
        body = f"<Error>{said}<RequestId>{request}</RequestId></Error>"
    else:
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type>{said}</Error>"
            f"<RequestId>{request}</RequestId></ErrorResponse>"
        )
    return Answer(refused.status, [("content-type", "text/xml")], body.encode())
