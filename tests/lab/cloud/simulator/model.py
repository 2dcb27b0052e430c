"""The service's own description, which requests and answers are held against.

Owns the check of both. Refuses an answer of the simulator's with a member that the
real service does not have: a client would rely on it in vain.
"""

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator

from ..wire import Refused

SERVICE = ServiceModel(Loader().load_service_model("lightsail", "service-2"), "lightsail")


def check_request(action: str, given: dict) -> None:
    """Refuses what does not fit the action's input."""
    if action not in SERVICE.operation_names:
        raise Refused("InvalidAction", f"Lightsail has no action {action}")
    shape = SERVICE.operation_model(action).input_shape
    if shape is None:
        return
    report = ParamValidator().validate(given, shape)
    if report.has_errors():
        raise Refused("InvalidInputException", report.generate_report())
    check_values(given, shape)


def check_values(given: object, shape: Shape) -> None:
    """Enumerations and unknown members, which botocore lets pass."""
    if shape.type_name == "structure":
        for name, value in given.items():
            if name in shape.members:
                check_values(value, shape.members[name])
    elif shape.type_name == "list":
        for value in given:
            check_values(value, shape.member)
    elif getattr(shape, "enum", None) and given not in shape.enum:
        raise Refused("InvalidInputException", f"{given} is not one of {', '.join(shape.enum)}")


def check_answer(action: str, answer: dict) -> None:
    """Fails where the answer has what the service's has not."""
    shape = SERVICE.operation_model(action).output_shape
    compare(action, answer, shape)


def compare(where: str, value: object, shape: Shape) -> None:
    """Walks through an answer and its shape side by side."""
    if shape.type_name == "structure":
        if unknown := set(value) - set(shape.members):
            raise AssertionError(f"{where}: Lightsail answers no {', '.join(sorted(unknown))}")
        for name, member in value.items():
            compare(f"{where}.{name}", member, shape.members[name])
    elif shape.type_name == "list":
        for member in value:
            compare(where, member, shape.member)
    elif getattr(shape, "enum", None) and value not in shape.enum:
        raise AssertionError(f"{where}: {value} is not one of {', '.join(shape.enum)}")
