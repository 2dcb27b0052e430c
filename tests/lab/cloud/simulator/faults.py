"""Faults that a test asked for, by action.

Owns how often each still strikes. Refuses a fault that names no action: one that
strikes anywhere would strike the test's own looks too.
"""

import threading
import time
from dataclasses import dataclass, field

from . import wire

# The longest that a call is held, in seconds.
HELD_MAX = 120

# What AWS says, where a fault names only the code.
USUAL = {
    "RequestLimitExceeded": (503, "Request limit exceeded."),
    "ThrottlingException": (400, "Rate exceeded"),
    "UnauthorizedOperation": (403, "You are not authorized to perform this operation."),
    "AccessDeniedException": (400, "User is not authorized to perform this action."),
    "InsufficientInstanceCapacity": (
        500,
        "We currently do not have sufficient capacity in the Availability Zone you requested.",
    ),
    "VcpuLimitExceeded": (
        400,
        "You have requested more vCPU capacity than your current vCPU limit of 5 allows.",
    ),
    "AddressLimitExceeded": (
        400,
        "The maximum number of addresses has been reached.",
    ),
    "AuthFailure": (401, "AWS was not able to validate the provided access credentials"),
    "InvalidClientTokenId": (403, "The security token included in the request is invalid."),
    "ExpiredToken": (403, "The security token included in the request is expired"),
    "InternalError": (500, "An internal error has occurred"),
    "ServiceException": (500, "An internal error has occurred"),
}


@dataclass
class Fault:
    """What befalls the next calls of an action."""

    action: str
    service: str | None = None
    times: int = 1
    code: str | None = None
    status: int = 400
    message: str = ""
    delay_ms: int = 0
    held: bool = False
    """Whether the call waits until all faults are forgotten, two minutes at most."""
    after: bool = False
    """Whether the call is carried out all the same, and only its answer lost."""
    cut: bool = False
    """Whether the connection is cut instead of an answer."""

    forgotten: threading.Event = field(default_factory=threading.Event, repr=False)
    """Set when all are forgotten, also for calls that it struck last."""

    def wait(self) -> None:
        """Lets the time pass that the call takes."""
        if self.held:
            self.forgotten.wait(HELD_MAX)
        time.sleep(self.delay_ms / 1000)

    def refused(self) -> wire.Refused | None:
        """The error, if it is more than a delay."""
        if self.cut:
            return wire.Refused("Cut", "nobody hears this", 500)
        return wire.Refused(self.code, self.message, self.status) if self.code else None


class Faults:
    """Those that are yet to strike."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[Fault] = []
        self._forgotten = threading.Event()
        self.struck: list[str] = []

    def add(self, described: dict) -> None:
        """Takes one as a test describes it: a JSON object with Fault's fields."""
        known = set(Fault.__dataclass_fields__) - {"forgotten"}
        if set(described) - known or not described.get("action"):
            raise ValueError(f"a fault has an action, and of these: {', '.join(sorted(known))}")
        fault = Fault(**described)
        status, message = USUAL.get(fault.code or "", (400, "The lab made this call fail."))
        fault.status = described.get("status", status)
        fault.message = described.get("message", message)
        with self._lock:
            fault.forgotten = self._forgotten
            self._pending.append(fault)

    def clear(self) -> None:
        """Forgets all."""
        with self._lock:
            self._pending.clear()
            self._forgotten.set()
            self._forgotten = threading.Event()

    def strike(self, call: wire.Call) -> Fault | None:
        """The one that befalls this call, which is then used up by one."""
        with self._lock:
            for fault in self._pending:
                if fault.action == call.action and fault.service in (None, call.service):
                    self.struck.append(fault.action)
                    fault.times -= 1
                    if fault.times <= 0:
                        self._pending.remove(fault)
                    return fault
        return None
