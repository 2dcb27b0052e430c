"""The one door: every request comes in here, is named, recorded, and answered.

Owns the order of things: a fault strikes before the call or loses its answer after
it. Refuses nothing of AWS's itself.
"""

import socket
import sys
import traceback
from http import HTTPStatus

from . import metadata, policies, presigned, quotas, wire
from .control import Control
from .eks import routes
from .faults import Fault, Faults
from .world import World

# A test asks for the last ones; a run that makes more than these is lost anyhow.
CALLS = 20_000
CREATES = ("RunInstances", "CreateInstances", "StartInstances", "StartInstance")


class App:
    """The WSGI application."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.faults = Faults()
        self.calls: list[dict] = []
        self.control = Control(world, self.faults, self.calls)
        self.metadata = metadata.Metadata(world.ec2)

    def __call__(self, environ: dict, start_response):
        path = environ.get("PATH_INFO", "/")
        call = wire.read(environ)
        if call.service == "eks":
            call.action, _ = routes.find(environ["REQUEST_METHOD"], path)
        if path.startswith("/_lab/"):
            sender = environ.get("REMOTE_ADDR", "")
            answer = self.control.answer(environ["REQUEST_METHOD"], path, call.body, sender)
        elif path.startswith(metadata.PREFIX):
            with self.world.lock:
                answer = self.metadata.answer(environ)
        else:
            answer = self._recorded(call, environ)
        status = f"{answer.status} {phrase(answer.status)}"
        headers = [it for it in answer.headers if it[0].lower() != "content-length"]
        headers.append(("content-length", str(len(answer.body))))
        start_response(status, headers)
        return [answer.body]

    def _recorded(self, call: wire.Call, environ: dict) -> wire.Answer:
        try:
            answer = self._answer(call, environ)
        except wire.Refused as refused:
            answer = wire.error(call.service, refused)
        except Exception:  # A mistake of the simulator's: seen by the test, not swallowed.
            traceback.print_exc(file=sys.stderr)
            refused = wire.Refused("InternalFailure", "the lab's simulator failed", 500)
            answer = wire.error(call.service, refused)
        if len(self.calls) < CALLS:
            self.calls.append(
                {
                    "service": call.service,
                    "action": call.action,
                    "status": answer.status,
                    "key": call.key,
                }
            )
        return answer

    def _answer(self, call: wire.Call, environ: dict) -> wire.Answer:
        fault = self.faults.strike(call)
        if fault:
            fault.wait()
        if fault and not fault.after and (refused := fault.refused()):
            hang_up(fault, environ)
            raise refused
        query = presigned.parameters(environ)
        if query and (code := presigned.trouble(environ, query)):
            raise wire.Refused(code, "the signature in the query is none", 403)
        with self.world.lock:
            self.metadata.permit(call)
        if call.action in CREATES:
            self.world.serve_images()
        if call.service == "lightsail":
            answer = self.world.lightsail_call(call)
        elif call.service == "eks":
            answer = self.world.eks_call(call, environ)
        elif call.service == "servicequotas":
            answer = quotas.answer(call)
        elif policies.answers(call):
            answer = policies.answer(call)
        else:
            answer = self.world.moto_call(call, lambda: self._moto(environ))
            if call.action == "GetCallerIdentity":
                answer.body = answer.body.replace(*self.metadata.caller(call))
        if fault and fault.after and (refused := fault.refused()):
            hang_up(fault, environ)
            raise refused
        return answer

    def _moto(self, environ: dict) -> wire.Answer:
        kept: dict = {}

        def start_response(status, headers, _error=None):
            kept.update(status=int(status.split(" ", 1)[0]), headers=list(headers))

        parts = self.world.ec2.application(environ, start_response)
        try:
            body = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        return wire.Answer(kept["status"], kept["headers"], body)


def hang_up(fault: Fault, environ: dict) -> None:
    """Cuts the connection that a call came by, where the fault is that."""
    if fault.cut:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)


def phrase(status: int) -> str:
    """The words of a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
