"""IAM's simulation of the caller's policies, which moto has not.

Owns the actions that a test lets it deny; every other one is allowed. Refuses a
principal that has no policies, as IAM does. Of an action that no service has it says
that it is denied, so that a misspelt one is seen. It evaluates nothing: what the
calls themselves are answered is not for it to say.
"""

import functools
import re
import uuid
from xml.sax.saxutils import escape

from .wire import Answer, Call, Refused

PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:(user|group|role)/.+")
# What a policy can allow beside calls.
BESIDE = {"iam:PassRole"}

_denied: set[str] = set()


def deny(actions: list[str]) -> None:
    """Lets these be denied, and no others."""
    _denied.clear()
    _denied.update(actions)


def answers(call: Call) -> bool:
    """Whether it is asked for."""
    return (call.service, call.action) == ("iam", "SimulatePrincipalPolicy")


def answer(call: Call) -> Answer:
    """Answers a request."""
    source = call.form.get("PolicySourceArn", "")
    if not PRINCIPAL.fullmatch(source):
        raise Refused("InvalidInput", f"Invalid Entity Arn: {source} does not clearly define one")
    actions = listed(call, "ActionNames")
    resources = listed(call, "ResourceArns") or ["*"]
    if not actions:
        raise Refused("ValidationError", "ActionNames must not be empty")
    said = "".join(evaluated(action, resource) for action in actions for resource in resources)
    body = (
        "<SimulatePrincipalPolicyResponse>"
        "<SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated>"
        f"<EvaluationResults>{said}</EvaluationResults></SimulatePrincipalPolicyResult>"
        f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata>"
        "</SimulatePrincipalPolicyResponse>"
    )
    return Answer(200, [("content-type", "text/xml")], body.encode())


def evaluated(action: str, resource: str) -> str:
    """What is said to one action on one thing."""
    is_allowed = action not in _denied and is_one(action)
    return (
        f"<member><EvalActionName>{escape(action)}</EvalActionName>"
        f"<EvalResourceName>{escape(resource)}</EvalResourceName>"
        f"<EvalDecision>{'allowed' if is_allowed else 'implicitDeny'}</EvalDecision>"
        "<MatchedStatements/><MissingContextValues/></member>"
    )


def is_one(action: str) -> bool:
    """Whether a service has it."""
    service, _, name = action.partition(":")
    return action in BESIDE or name in operations(service)


@functools.cache
def operations(service: str) -> frozenset[str]:
    """The calls of a service."""
    from botocore.session import Session

    return frozenset(Session().get_service_model(service).operation_names)


def listed(call: Call, name: str) -> list[str]:
    """The members of a list in a form."""
    start = f"{name}.member."
    return [value for key, value in call.form.items() if key.startswith(start)]
