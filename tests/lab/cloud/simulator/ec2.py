"""EC2 and its neighbours: moto answers, and what it says is made true.

Owns the parts of moto that are exchanged (public addresses, images), and the
comparison between the instances that moto has and the machines that run. Refuses
to start with a moto that has none of those parts: a silent miss would hand out
addresses that lead nowhere.
"""

import base64
import os
from collections.abc import Callable

from . import checks, firewall, images, wire
from .machines import Machine

CODES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
ACCOUNT = "123456789012"
GLOBAL = ("iam", "sts")


class Ec2:
    """moto, and the machines of its instances by their id."""

    def __init__(self, claim: Callable[..., str], changed: Callable[[Machine], None]) -> None:
        self.images = images.Images()
        self.machines: dict[str, Machine] = {}
        self.registry = True
        self._changed = changed
        self._regions: set[str] = set()
        self._tokens: dict[str, wire.Answer] = {}
        os.environ["MOTO_AMIS_PATH"] = file = self.images.file()
        os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"
        os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
        try:
            self._exchange(claim)
        finally:
            os.unlink(file)

    def _exchange(self, claim: Callable[..., str]) -> None:
        from moto.ec2.models import elastic_ip_addresses, elastic_network_interfaces, nat_gateways
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from moto.ssm import models as ssm

        exchange(elastic_ip_addresses, "random_ip", claim)
        exchange(elastic_network_interfaces, "random_public_ip", claim)
        addresses = elastic_ip_addresses.ElasticAddressBackend
        exchange(addresses, "associate_address", once(addresses.associate_address))
        gateways = nat_gateways.NatGatewayBackend
        exchange(gateways, "delete_nat_gateway", letting_go(gateways.delete_nat_gateway))
        real, known = ssm.load_resource, self.images
        exchange(
            ssm,
            "load_resource",
            lambda path: known.parameters() if "ami-amazon-linux-latest" in path else real(path),
        )
        self.application = DomainDispatcherApplication(create_backend_app)

    # What moto holds.

    def backend(self, region: str):
        """moto's EC2 of a region."""
        from moto.ec2.models import ec2_backends

        return ec2_backends[ACCOUNT][region]

    def backends(self) -> list:
        """Those of the regions that were asked about."""
        return [self.backend(region) for region in sorted(self._regions)]

    def instances(self) -> list:
        """Every instance, the terminated ones too."""
        return [
            instance
            for backend in self.backends()
            for reservation in list(backend.reservations.values())
            for instance in reservation.instances
        ]

    def release_image(self) -> list[dict]:
        """Makes newer images appear, everywhere."""
        from moto.ec2.models import amis
        from moto.ssm.models import ssm_backends

        new = self.images.release()
        for image in new:
            amis.AMIS.append(dict(image))
            for backend in self.backends():
                about = dict(image, owner_alias="amazon")
                about["creation_date"] = amis.parse_timestamp(image["creation_date"])
                backend.amis[image["ami_id"]] = amis.Ami(backend, **about)
        for region in self._regions:
            ssm_backends[ACCOUNT][region]._parameters.latest_amis_loaded = False
        return new

    # Around a call.

    def before(self, call: wire.Call) -> wire.Answer | None:
        """What is answered without moto: a repeated request by its token, and what moto
        would let pass."""
        if call.region and call.service not in GLOBAL:
            self._regions.add(call.region)
        if call.service != "ec2":
            return None
        if (token := call.form.get("ClientToken")) in self._tokens:
            return self._tokens[token]
        data = decode(call.form.get("UserData"))
        checks.before(call, self.backend(call.region), self.instances(), data)
        return None

    def after(self, call: wire.Call, answer: wire.Answer) -> None:
        """Makes the machines follow what moto now says."""
        if call.action == "RunInstances" and answer.status == 200:
            if token := call.form.get("ClientToken"):
                self._tokens[token] = answer
        if call.action == "RebootInstances" and answer.status == 200:
            for key, instance in call.form.items():
                if key.startswith("InstanceId.") and instance in self.machines:
                    self.machines[instance].reboot()
        if call.action in ("CreateLaunchTemplate", "CreateLaunchTemplateVersion"):
            self._part_tags(call.region)
        for instance in self.instances():
            self._follow(instance)
        # moto forgets over a stop and a start which address is an elastic one.
        for backend in self.backends():
            for address in backend.addresses:
                if address.eni is not None:
                    address.eni.public_ip = address.public_ip

    def _part_tags(self, region: str) -> None:
        """A template's own tags are none of what it makes; moto has them among those, too."""
        for template in self.backend(region).launch_templates.values():
            for version in template.versions:
                of = version.data.get("TagSpecifications", [])
                kept = [it for it in of if it.get("ResourceType") != "launch-template"]
                version.data["TagSpecifications"] = kept

    def _follow(self, instance) -> None:
        machine = self.machines.get(instance.id)
        wanted = instance.state
        if machine is None:
            if wanted == "running":
                self.machines[instance.id] = self._begin(instance)
        elif wanted == "terminated" and machine.state not in ("shutting-down", "terminated"):
            machine.remove()
        elif wanted == "stopped" and machine.state in ("running", "pending", "failed"):
            machine.stop()
        elif wanted == "running" and machine.state in ("stopped", "stopping"):
            machine.start()
        self.show(instance)

    def _begin(self, instance) -> Machine:
        pair = instance.ec2_backend.key_pairs.get(instance.key_name)
        keys = [pair.public_key.strip()] if pair else []
        name = f"ip-{(instance.private_ip or '10.0.0.1').replace('.', '-')}"
        data = decode(instance.user_data)
        volumes = instance.ec2_backend.volumes
        mapping = instance.get_block_device_mapping
        sizes = [int(volumes[disk.volume_id].size or 0) for _, disk in mapping]
        disk = max(sizes, default=0) or 8
        return Machine(instance.id, name, keys, data, disk, self.registry, self._changed)

    def show(self, instance) -> None:
        """Lets moto say what the machine really does."""
        machine = self.machines.get(instance.id)
        if machine is None:
            return
        state = "terminated" if machine.state == "failed" else machine.state
        ending = ("terminated", "shutting-down")
        if state in ending and instance.state not in ending:
            # Not by a call: moto has yet to let go of its volumes and addresses.
            instance.terminate()
            instance.state_reason.code = "Server.InternalError"
            instance.state_reason.message = machine.trouble or "Server.InternalError"
        instance._state.name, instance._state.code = state, CODES[state]
        if state in ending:
            for address in instance.ec2_backend.addresses:
                if address.instance is instance:
                    instance.ec2_backend.disassociate_address(address=address.public_ip)

    def machine_changed(self, machine: Machine) -> None:
        """Shows the new state of one of its machines."""
        for instance in self.instances():
            if self.machines.get(instance.id) is machine:
                self.show(instance)

    # What follows from it.

    def addresses(self) -> set[str]:
        """The public addresses that are given to somebody."""
        found = set()
        for backend in self.backends():
            found.update(address.public_ip for address in backend.addresses)
            found.update(eni.public_ip for eni in backend.enis.values() if eni.public_ip)
        for instance in self.instances():
            if instance.state != "terminated" and instance.nics:
                found.update(nic.public_ip for nic in instance.nics.values() if nic.public_ip)
        return found

    def routes(self) -> list[firewall.Route]:
        """What each of them lets through."""
        routes = {address: firewall.Route(address) for address in self.addresses()}
        for instance in self.instances():
            machine = self.machines.get(instance.id)
            if machine is None or machine.address is None or instance.state == "terminated":
                continue
            for nic in instance.nics.values():
                if route := routes.get(nic.public_ip):
                    route.machine = machine.address
                    for group in nic.group_set:
                        route.openings.extend(openings(group))
        return list(routes.values())


def openings(group) -> list[firewall.Opening]:
    """The IPv4 ranges that a security group lets in."""
    found = []
    for rule in group.ingress_rules:
        source = rule.ip_range.get("CidrIp") if rule.ip_range else None
        if source is None:
            continue
        protocol = {"6": "tcp", "17": "udp", "1": "icmp", "-1": "all"}.get(
            rule.ip_protocol, rule.ip_protocol
        )
        first = 0 if rule.from_port in (None, -1) else rule.from_port
        last = 65535 if rule.to_port in (None, -1) else rule.to_port
        found.append(firewall.Opening(protocol, first, last, source))
    return found


def decode(user_data) -> bytes:
    """User data as it was before it was put on the wire."""
    if not user_data:
        return b""
    encoded = str(user_data).encode()
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:
        return encoded


def exchange(module, name: str, new) -> None:
    """Puts something in the place of a function of moto's, which must be there."""
    if not hasattr(module, name):
        raise RuntimeError(f"this moto has no {module.__name__}.{name}")
    setattr(module, name, new)


def resources(ec2: Ec2) -> list[dict]:
    """Everything that somebody made and that is still there."""
    from moto.iam.models import iam_backends

    found = []

    def add(kind: str, name: str, identity: str, tags: dict | None) -> None:
        found.append({"type": kind, "id": identity, "name": name, "tags": tags or {}})

    def tags(resource) -> dict:
        return {tag["key"]: tag["value"] for tag in resource.get_tags()}

    for instance in ec2.instances():
        if instance.state != "terminated":
            about = tags(instance)
            add("ec2:instance", about.get("Name", ""), instance.id, about)
    for backend in ec2.backends():
        for pair in backend.key_pairs.values():
            add("ec2:key-pair", pair.key_name, pair.id, tags(pair))
        for groups in backend.groups.values():
            for group in groups.values():
                if group.name != "default":
                    add("ec2:security-group", group.name, group.id, tags(group))
        for address in backend.addresses:
            add("ec2:address", address.public_ip, address.allocation_id, tags(address))
        for volume in backend.volumes.values():
            add("ec2:volume", tags(volume).get("Name", ""), volume.id, tags(volume))
        for kind, resource in networks(backend):
            add(f"ec2:{kind}", tags(resource).get("Name", ""), resource.id, tags(resource))
        for kind, name, identity, about in kept_beside(backend.region_name):
            add(kind, name, identity, about)
    iam = iam_backends[ACCOUNT]["aws"]
    for role in iam.roles.values():
        add("iam:role", role.name, role.arn, dict(named(role.tags)))
    for profile in iam.instance_profiles.values():
        add("iam:instance-profile", profile.name, profile.arn, dict(named(profile.tags)))
    for policy in iam.managed_policies.values():
        if ACCOUNT in policy.arn:
            add("iam:policy", policy.name, policy.arn, dict(named(policy.tags)))
    return found


def once(associate):
    """AWS takes an address for an instance that has it for done; moto does it again, and what is
    known by the association's first id is gone."""

    def keeping(backend, instance=None, eni=None, address=None, allocation_id=None, **more):
        known = [
            it
            for it in backend.addresses
            if it.allocation_id == allocation_id and instance and it.instance is instance
        ]
        before = known[0].association_id if known else None
        found = associate(backend, instance, eni, address, allocation_id, **more)
        found.association_id = before or found.association_id
        return found

    return keeping


def letting_go(delete):
    """A NAT gateway that is gone has no address any more; moto keeps it."""

    def deleting(backend, nat_gateway_id):
        gateway = delete(backend, nat_gateway_id)
        for address in backend.addresses:
            if address.eni is not None and address.eni is gateway._eni:
                address.eni = address.association_id = None
        return gateway

    return deleting


def networks(backend) -> list[tuple[str, object]]:
    """What there is of networks that somebody made, and of templates."""
    own = {it.id for it in backend.vpcs.values() if not it.is_default}
    found = [("vpc", it) for it in backend.vpcs.values() if it.id in own]
    for zones in backend.subnets.values():
        found += [("subnet", it) for it in zones.values() if it.vpc_id in own]
    found += [("internet-gateway", it) for it in backend.internet_gateways.values()]
    found += [("nat-gateway", it) for it in backend.nat_gateways.values() if it.state != "deleted"]
    for table in backend.route_tables.values():
        if table.vpc_id in own and not table.main_association_id:
            found.append(("route-table", table))
    found += [("launch-template", it) for it in backend.launch_templates.values()]
    return found


def kept_beside(region: str) -> list[tuple[str, str, str, dict]]:
    """Keys that are nobody else's and not on their way out, and groups of logs."""
    from moto.kms.models import kms_backends
    from moto.logs.models import logs_backends

    kms, logs = kms_backends[ACCOUNT][region], logs_backends[ACCOUNT][region]
    found = []
    for key in kms.keys.values():
        # One that a service has of its own is moto's making.
        if not key.description.startswith("Default ") and key.key_state != "PendingDeletion":
            tags = kms.list_resource_tags(key.id)["Tags"]
            about = {tag["TagKey"]: tag["TagValue"] for tag in tags}
            found.append(("kms:key", "", key.id, about))
    for group in logs.groups.values():
        tags = logs.list_tags_for_resource(group.arn)
        found.append(("logs:group", group.name, group.arn, dict(tags)))
    return found


def named(tags) -> list[tuple[str, str]]:
    """IAM's tags, which moto keeps in several forms."""
    values = tags.values() if isinstance(tags, dict) else tags or []
    return [(tag["Key"], tag["Value"]) for tag in values if isinstance(tag, dict)]
