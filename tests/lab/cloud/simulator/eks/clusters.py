"""Clusters, their node groups and who may use them, of one region.

Owns their life. Refuses to make one twice, to find what is not there, and to remove a cluster that
still has nodes.
"""

import itertools
import time
import uuid
from dataclasses import dataclass, field

from ..wire import Refused

ACCOUNT = "123456789012"
# What AWS supports, the newest last.
VERSIONS = ("1.32", "1.33", "1.34", "1.35", "1.36")


def not_found(what: str, name: str) -> Refused:
    """That there is none."""
    return Refused("ResourceNotFoundException", f"No {what} found for name: {name}.", 404)


def in_use(message: str) -> Refused:
    """That something is there which is in the way."""
    return Refused("ResourceInUseException", message, 409)


@dataclass
class Cluster:
    """A cluster, with what hangs on it, each by its name."""

    about: dict
    groups: dict[str, dict] = field(default_factory=dict)
    addons: dict[str, dict] = field(default_factory=dict)
    entries: dict[str, dict] = field(default_factory=dict)
    policies: dict[str, dict[str, dict]] = field(default_factory=dict)
    identities: dict[str, dict] = field(default_factory=dict)
    updates: dict[str, dict] = field(default_factory=dict)

    def update(self, kind: str) -> dict:
        """A change, which is done at once."""
        name = str(uuid.uuid4())
        self.updates[name] = {
            "id": name, "status": "Successful", "type": kind, "params": [],
            "createdAt": time.time(), "errors": [],
        }
        return {"update": self.updates[name]}


class Clusters:
    """Those of one region."""

    def __init__(self, region: str, real: dict) -> None:
        self.region = region
        self.real = real
        self.known: dict[str, Cluster] = {}
        self._number = itertools.count(1)

    def arn(self, what: str) -> str:
        """The ARN of something of the region's."""
        return f"arn:aws:eks:{self.region}:{ACCOUNT}:{what}"

    def of(self, given: dict) -> Cluster:
        """The cluster that a request is about."""
        name = given.get("clusterName") or given["name"]
        if name not in self.known:
            raise not_found("cluster", name)
        return self.known[name]

    # The cluster.

    def create(self, given: dict) -> dict:
        """Makes one."""
        name = given["name"]
        if name in self.known:
            raise in_use(f"Cluster already exists with name: {name}")
        version = given.get("version", VERSIONS[-1])
        if version not in VERSIONS:
            raise Refused("InvalidParameterException", f"unsupported Kubernetes version {version}")
        network = dict(given["resourcesVpcConfig"])
        network.setdefault("endpointPublicAccess", True)
        network.setdefault("endpointPrivateAccess", False)
        network.setdefault("publicAccessCidrs", ["0.0.0.0/0"])
        network["clusterSecurityGroupId"] = f"sg-{uuid.uuid4().hex[:17]}"
        network["vpcId"] = "vpc-of-its-subnets"
        number = next(self._number)
        access = dict(given.get("accessConfig", {"authenticationMode": "CONFIG_MAP"}))
        access.setdefault("bootstrapClusterCreatorAdminPermissions", True)
        about = {
            "name": name, "arn": self.arn(f"cluster/{name}"), "createdAt": time.time(),
            "version": version, "roleArn": given["roleArn"], "resourcesVpcConfig": network,
            "endpoint": self.real.get("endpoint", f"https://{number:032x}.eks.test"),
            "certificateAuthority": {"data": self.real.get("certificate_authority", "bm9uZQ==")},
            "kubernetesNetworkConfig": {"serviceIpv4Cidr": "172.20.0.0/16", "ipFamily": "ipv4"},
            "logging": given.get("logging", {"clusterLogging": []}), "status": "ACTIVE",
            "platformVersion": "eks.1", "tags": given.get("tags", {}), "accessConfig": access,
            "encryptionConfig": given.get("encryptionConfig", []),
            "upgradePolicy": given.get("upgradePolicy", {"supportType": "EXTENDED"}),
            "identity": {"oidc": {"issuer": f"https://{number:032x}.oidc.test"}},
        }
        self.known[name] = Cluster(about)
        return {"cluster": about}

    def describe(self, given: dict) -> dict:
        """What there is of one."""
        return {"cluster": self.of(given).about}

    def list(self, _given: dict) -> dict:
        """Their names."""
        return {"clusters": list(self.known)}

    def delete(self, given: dict) -> dict:
        """Removes one."""
        cluster = self.of(given)
        if cluster.groups:
            raise in_use("Cluster has nodegroups attached")
        del self.known[cluster.about["name"]]
        return {"cluster": {**cluster.about, "status": "DELETING"}}

    def set_config(self, given: dict) -> dict:
        """Changes what may be changed."""
        cluster = self.of(given)
        about = cluster.about
        about["resourcesVpcConfig"].update(given.get("resourcesVpcConfig", {}))
        for key in ("logging", "upgradePolicy"):
            if key in given:
                about[key] = given[key]
        about["accessConfig"].update(given.get("accessConfig", {}))
        return cluster.update("EndpointAccessUpdate")

    def set_version(self, given: dict) -> dict:
        """Goes up by one minor version, and no other way."""
        cluster = self.of(given)
        now, wanted = cluster.about["version"], given["version"]
        if wanted not in VERSIONS or VERSIONS.index(wanted) != VERSIONS.index(now) + 1:
            raise Refused("InvalidParameterException", f"Unsupported Kubernetes minor version update from {now} to {wanted}")
        cluster.about["version"] = wanted
        return cluster.update("VersionUpdate")

    def describe_update(self, given: dict) -> dict:
        """What became of a change."""
        updates = self.of(given).updates
        if given["updateId"] not in updates:
            raise not_found("update", given["updateId"])
        return {"update": updates[given["updateId"]]}

    # Its nodes, of which there are none.

    def group(self, given: dict) -> dict:
        """A node group."""
        groups = self.of(given).groups
        if given["nodegroupName"] not in groups:
            raise not_found("node group", given["nodegroupName"])
        return groups[given["nodegroupName"]]

    def create_group(self, given: dict) -> dict:
        """Makes one."""
        cluster, name = self.of(given), given["nodegroupName"]
        if name in cluster.groups:
            raise in_use(f"NodeGroup already exists with name {name}")
        about = {
            "nodegroupName": name, "clusterName": cluster.about["name"],
            "nodegroupArn": self.arn(f"nodegroup/{cluster.about['name']}/{name}/{uuid.uuid4()}"),
            "version": given.get("version", cluster.about["version"]), "releaseVersion": "lab",
            "createdAt": time.time(), "modifiedAt": time.time(), "status": "ACTIVE",
            "capacityType": given.get("capacityType", "ON_DEMAND"),
            "scalingConfig": given["scalingConfig"], "subnets": given["subnets"],
            "instanceTypes": given.get("instanceTypes", ["t3.medium"]), "nodeRole": given["nodeRole"],
            "amiType": given.get("amiType", "AL2023_x86_64_STANDARD"),
            "labels": given.get("labels", {}), "taints": given.get("taints", []),
            "resources": {"autoScalingGroups": [{"name": f"eks-{name}-{uuid.uuid4()}"}]},
            "health": {"issues": []}, "updateConfig": given.get("updateConfig", {"maxUnavailable": 1}),
            "tags": given.get("tags", {}),
        }
        for key in ("launchTemplate", "diskSize"):
            if key in given:
                about[key] = given[key]
        cluster.groups[name] = about
        return {"nodegroup": about}

    def describe_group(self, given: dict) -> dict:
        """What there is of one."""
        return {"nodegroup": self.group(given)}

    def list_groups(self, given: dict) -> dict:
        """Their names."""
        return {"nodegroups": list(self.of(given).groups)}

    def delete_group(self, given: dict) -> dict:
        """Removes one."""
        about = self.group(given)
        del self.of(given).groups[given["nodegroupName"]]
        return {"nodegroup": {**about, "status": "DELETING"}}

    def set_group(self, given: dict) -> dict:
        """Changes what may be changed."""
        about = self.group(given)
        for key in ("scalingConfig", "updateConfig", "launchTemplate", "version"):
            if key in given:
                about[key] = given[key]
        return self.of(given).update("ConfigUpdate")

    # Who may use it.

    def entry(self, given: dict) -> dict:
        """An access entry."""
        entries = self.of(given).entries
        if given["principalArn"] not in entries:
            said = f"The specified principalArn could not be found: {given['principalArn']}"
            raise Refused("ResourceNotFoundException", said, 404)
        return entries[given["principalArn"]]

    def create_entry(self, given: dict) -> dict:
        """Lets somebody in."""
        cluster, who = self.of(given), given["principalArn"]
        if cluster.about["accessConfig"]["authenticationMode"] == "CONFIG_MAP":
            raise Refused("InvalidRequestException", "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation.")
        if who in cluster.entries:
            raise in_use("The specified access entry resource is already in use on this cluster.")
        cluster.entries[who] = {
            "clusterName": cluster.about["name"], "principalArn": who,
            "kubernetesGroups": given.get("kubernetesGroups", []),
            "accessEntryArn": self.arn(f"access-entry/{cluster.about['name']}/{uuid.uuid4()}"),
            "createdAt": time.time(), "modifiedAt": time.time(), "tags": given.get("tags", {}),
            "username": given.get("username", who), "type": given.get("type", "STANDARD"),
        }
        cluster.policies[who] = {}
        return {"accessEntry": cluster.entries[who]}

    def describe_entry(self, given: dict) -> dict:
        """What there is of one."""
        return {"accessEntry": self.entry(given)}

    def list_entries(self, given: dict) -> dict:
        """Whom they are about."""
        return {"accessEntries": list(self.of(given).entries)}

    def delete_entry(self, given: dict) -> dict:
        """Lets somebody in no more."""
        self.entry(given)
        cluster = self.of(given)
        del cluster.entries[given["principalArn"]]
        del cluster.policies[given["principalArn"]]
        return {}

    def associate(self, given: dict) -> dict:
        """Gives somebody the rights of a policy."""
        self.entry(given)
        cluster, who, policy = self.of(given), given["principalArn"], given["policyArn"]
        cluster.policies[who][policy] = {
            "policyArn": policy, "accessScope": {"namespaces": [], **given["accessScope"]},
            "associatedAt": time.time(), "modifiedAt": time.time(),
        }
        return {
            "clusterName": cluster.about["name"], "principalArn": who,
            "associatedAccessPolicy": cluster.policies[who][policy],
        }

    def list_associated(self, given: dict) -> dict:
        """Which rights somebody has."""
        self.entry(given)
        cluster, who = self.of(given), given["principalArn"]
        policies = list(cluster.policies[who].values())
        return {
            "clusterName": cluster.about["name"], "principalArn": who,
            "associatedAccessPolicies": policies,
        }

    def disassociate(self, given: dict) -> dict:
        """Takes rights away."""
        self.entry(given)
        self.of(given).policies[given["principalArn"]].pop(given["policyArn"], None)
        return {}
