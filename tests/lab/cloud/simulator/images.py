"""Machine images (AMIs), and the public parameters that name the newest.

Owns the list of Amazon Linux 2023 images that moto shows, in every region the
same. Refuses images of others: what a module asks for must be one of these.
"""

import json
import tempfile
from datetime import datetime, timedelta, timezone

from . import places

ARCHITECTURES = ("x86_64", "arm64")
FIRST_DAY = datetime(2026, 9, 1, tzinfo=timezone.utc)
PARAMETERS = "/aws/service/ami-amazon-linux-latest"


class Images:
    """The images there are, oldest first."""

    def __init__(self) -> None:
        self.known: list[dict] = []
        self.release()

    def release(self) -> list[dict]:
        """Makes the next release, of each architecture."""
        number = len(self.known) // len(ARCHITECTURES)
        day = FIRST_DAY + timedelta(days=14 * number)
        new = [describe(number, day, architecture) for architecture in ARCHITECTURES]
        self.known.extend(new)
        return new

    def newest(self) -> list[dict]:
        """The newest of each architecture."""
        return self.known[-len(ARCHITECTURES) :]

    def parameters(self) -> list[dict]:
        """What the parameter store says about the newest, as moto loads it."""
        version = len(self.known) // len(ARCHITECTURES)
        names = [
            (f"{PARAMETERS}/al2023-ami-kernel-{kernel}-{image['architecture']}", image["ami_id"])
            for image in self.newest()
            for kernel in ("default", "6.1")
        ]
        return [
            {
                "ARN": f"arn:aws:ssm:us-east-1::parameter{name}",
                "Name": name,
                "Value": ami,
                "Type": "String",
                "DataType": "text",
                "Version": version,
                "LastModifiedDate": FIRST_DAY.timestamp() + version,
            }
            for name, ami in names
        ]

    def file(self) -> str:
        """A file that moto reads the first ones from."""
        file = tempfile.NamedTemporaryFile(
            "w", prefix=places.tag(), suffix=".json", delete=False
        )
        with file:
            json.dump(self.known, file)
        return file.name


def describe(number: int, day: datetime, architecture: str) -> dict:
    """An image in the words of moto's list."""
    label = f"2023.9.{day:%Y%m%d}.0"
    return {
        "ami_id": f"ami-0{ARCHITECTURES.index(architecture)}1ab{number:012x}",
        "architecture": architecture,
        "creation_date": f"{day:%Y-%m-%d}T00:00:00.000Z",
        "description": f"Amazon Linux 2023 AMI {label} {architecture} HVM kernel-6.1",
        "hypervisor": "xen",
        "image_location": f"amazon/al2023-ami-{label}-kernel-6.1-{architecture}",
        "image_type": "machine",
        "name": f"al2023-ami-{label}-kernel-6.1-{architecture}",
        "owner_id": "137112412989",
        "platform": None,
        "public": True,
        "root_device_name": "/dev/xvda",
        "root_device_type": "ebs",
        "sriov": "simple",
        "state": "available",
        "tags": {},
        "virtualization_type": "hvm",
    }
