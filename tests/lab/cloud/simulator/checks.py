"""What EC2 refuses and moto lets pass, as far as a module could run into it.

Owns those refusals, with their real codes. Refuses nothing that AWS would take: a
check that is in doubt is left out.
"""

from .wire import Call, Refused

USER_DATA_BYTES = 16 * 1024


def before(call: Call, backend, instances: list, user_data: bytes) -> None:
    """Refuses a call that moto would wrongly carry out."""
    match call.action:
        case "RunInstances":
            run_instances(call, backend, user_data)
        case "DeleteSecurityGroup":
            delete_security_group(call, instances)
        case "ReleaseAddress":
            release_address(call, backend)


def run_instances(call: Call, backend, user_data: bytes) -> None:
    """Keys, sizes, zones and user data."""
    from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

    key = call.form.get("KeyName")
    if key and key not in backend.key_pairs:
        raise Refused("InvalidKeyPair.NotFound", f"The key pair '{key}' does not exist")
    if len(user_data) > USER_DATA_BYTES:
        raise Refused("InvalidParameterValue", "User data is limited to 16384 bytes")
    kind = call.form.get("InstanceType", "m1.small")
    if kind not in INSTANCE_TYPES:
        raise Refused(
            "InvalidParameterValue", f"Invalid value '{kind}' for InstanceType."
        )
    image = backend.amis.get(call.form.get("ImageId", ""))
    able = INSTANCE_TYPES[kind]["ProcessorInfo"]["SupportedArchitectures"]
    if image is not None and image.architecture not in able:
        raise Refused(
            "InvalidParameterValue",
            f"The architecture '{','.join(able)}' of the specified instance type does not match "
            f"the architecture '{image.architecture}' of the specified AMI. Specify an instance "
            "type and an AMI that have matching architectures, and try again.",
        )
    zone = zone_of(call, backend)
    offered = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(call.region, [])
    zones = [it["Location"] for it in offered if it["InstanceType"] == kind]
    if zone and zone not in zones:
        raise Refused(
            "Unsupported",
            f"Your requested instance type ({kind}) is not supported in your requested "
            f"Availability Zone ({zone}). Please retry your request by not specifying an "
            f"Availability Zone or choosing {', '.join(zones)}.",
        )


def zone_of(call: Call, backend) -> str | None:
    """The zone that the subnet is in, or that is asked for."""
    subnet = call.form.get("SubnetId") or call.form.get("NetworkInterface.1.SubnetId")
    for zones in backend.subnets.values():
        if subnet in zones:
            return zones[subnet].availability_zone
    return call.form.get("Placement.AvailabilityZone")


def delete_security_group(call: Call, instances: list) -> None:
    """A group stays as long as an instance has it, to the instance's very end."""
    group = call.form.get("GroupId")
    for instance in instances:
        if instance.state == "terminated":
            continue
        if any(it.id == group for it in instance.security_groups):
            raise Refused("DependencyViolation", f"resource {group} has a dependent object")


def release_address(call: Call, backend) -> None:
    """An address stays as long as it leads somewhere."""
    wanted = call.form.get("AllocationId")
    for address in backend.addresses:
        if address.allocation_id == wanted and address.association_id:
            raise Refused(
                "InvalidIPAddress.InUse",
                f"Address {address.public_ip} is in use.",
            )
