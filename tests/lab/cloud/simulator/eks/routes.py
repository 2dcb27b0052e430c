"""Which action a request's method and path are.

Owns the routes, which are those of botocore's model. Refuses nothing: what is no route has no name.
"""

import re
from urllib.parse import unquote

from ..model import Model

MODEL = Model("eks", "InvalidParameterException")


def pattern(uri: str) -> re.Pattern:
    """What a path has to look like."""
    words = re.split(r"\{([A-Za-z]+)\+?\}", uri)
    # An ARN has slashes of its own, which have been unescaped by now.
    one = lambda name: f"(?P<{name}>{'.+' if 'Arn' in name else '[^/]+'})"  # noqa: E731
    parts = [one(it) if place % 2 else re.escape(it) for place, it in enumerate(words)]
    return re.compile(f"^{''.join(parts)}/?$")


# The longest first: what comes after an ARN would be taken for a part of it.
ROUTES = [
    (http["method"], pattern(http["requestUri"]), name)
    for name, http in sorted(
        ((name, MODEL.service.operation_model(name).http) for name in MODEL.service.operation_names),
        key=lambda it: -len(it[1]["requestUri"]),
    )
]


def members(action: str) -> dict[str, tuple[str, bool]]:
    """What a path or a query says, by its name there: the name in the model, and whether it is a
    list."""
    shape = MODEL.service.operation_model(action).input_shape
    return {
        member.serialization.get("name", name): (name, member.type_name == "list")
        for name, member in (shape.members if shape else {}).items()
        if member.serialization.get("location") in ("uri", "querystring")
    }


def find(method: str, path: str) -> tuple[str, dict[str, str]]:
    """The action, and what the path says."""
    for known, form, name in ROUTES:
        if known == method and (found := form.match(path)):
            known_as = members(name)
            said = found.groupdict().items()
            return name, {known_as[key][0]: unquote(value) for key, value in said}
    return f"{method} {path}", {}
