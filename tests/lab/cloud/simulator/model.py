"""A service's own description, which requests and answers are held against.

Owns the check of both. Refuses an answer of the simulator's with a member that the
real service does not have: a client would rely on it in vain.
"""

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator

from .wire import Refused


class Model:
    """That of one service, and the error with which it refuses what does not fit."""

    def __init__(self, service: str, refusal: str) -> None:
        self.service = ServiceModel(Loader().load_service_model(service, "service-2"), service)
        self.refusal = refusal

    def check_request(self, action: str, given: dict) -> None:
        """Refuses what does not fit the action's input."""
        if action not in self.service.operation_names:
            raise Refused("InvalidAction", f"{self.service.service_name} has no action {action}")
        shape = self.service.operation_model(action).input_shape
        if shape is None:
            return
        report = ParamValidator().validate(given, shape)
        if report.has_errors():
            raise Refused(self.refusal, report.generate_report())
        self.check_values(given, shape)

    def check_values(self, given: object, shape: Shape) -> None:
        """Enumerations and unknown members, which botocore lets pass."""
        if shape.type_name == "structure":
            for name, value in given.items():
                if name in shape.members:
                    self.check_values(value, shape.members[name])
        elif shape.type_name == "list":
            for value in given:
                self.check_values(value, shape.member)
        elif getattr(shape, "enum", None) and given not in shape.enum:
            raise Refused(self.refusal, f"{given} is not one of {', '.join(shape.enum)}")

    def check_answer(self, action: str, answer: dict) -> None:
        """Fails where the answer has what the service's has not."""
        compare(action, answer, self.service.operation_model(action).output_shape)


def compare(where: str, value: object, shape: Shape) -> None:
    """Walks through an answer and its shape side by side."""
    if shape.type_name == "structure":
        if unknown := set(value) - set(shape.members):
            raise AssertionError(f"{where}: the real one answers no {', '.join(sorted(unknown))}")
        for name, member in value.items():
            compare(f"{where}.{name}", member, shape.members[name])
    elif shape.type_name == "list":
        for member in value:
            compare(where, member, shape.member)
    elif getattr(shape, "enum", None) and value not in shape.enum:
        raise AssertionError(f"{where}: {value} is not one of {', '.join(shape.enum)}")
