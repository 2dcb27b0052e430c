"""A cluster's add-ons, and the roles that its pods have.

Owns their life. Refuses an add-on that EKS does not have, and one twice.
"""

import time
import uuid

from ..wire import Refused
from .clusters import Clusters, in_use, not_found

# What EKS has, with the version that it puts in where none is named.
KNOWN = {
    "aws-ebs-csi-driver": "v1.53.0-eksbuild.1",
    "coredns": "v1.12.4-eksbuild.1",
    "eks-pod-identity-agent": "v1.3.10-eksbuild.1",
    "kube-proxy": "v1.35.0-eksbuild.2",
    "vpc-cni": "v1.20.5-eksbuild.1",
}


class Addons:
    """Those of the clusters of one region."""

    def __init__(self, clusters: Clusters) -> None:
        self.clusters = clusters

    def addon(self, given: dict) -> dict:
        """One of them."""
        addons = self.clusters.of(given).addons
        if given["addonName"] not in addons:
            raise not_found("addon", given["addonName"])
        return addons[given["addonName"]]

    def create(self, given: dict) -> dict:
        """Puts one in."""
        cluster, name = self.clusters.of(given), given["addonName"]
        if name not in KNOWN:
            raise Refused("InvalidParameterException", f"Addon {name} specified is not supported")
        if name in cluster.addons:
            raise in_use("Addon already exists.")
        of = cluster.about["name"]
        about = {
            "addonName": name, "clusterName": of, "status": "ACTIVE", "health": {"issues": []},
            "addonVersion": given.get("addonVersion", KNOWN[name]),
            "addonArn": self.clusters.arn(f"addon/{of}/{name}/{uuid.uuid4()}"),
            "createdAt": time.time(), "modifiedAt": time.time(), "tags": given.get("tags", {}),
        }
        for key in ("configurationValues", "serviceAccountRoleArn"):
            if key in given:
                about[key] = given[key]
        about["podIdentityAssociations"] = self.identities_of(given)
        cluster.addons[name] = about
        return {"addon": about}

    def identities_of(self, given: dict) -> list[str]:
        """Makes the associations that an add-on comes with."""
        found = []
        for it in given.get("podIdentityAssociations", []):
            wanted = {**it, "clusterName": given["clusterName"], "namespace": "kube-system"}
            found.append(self.create_identity(wanted)["association"]["associationArn"])
        return found

    def describe(self, given: dict) -> dict:
        """What there is of one."""
        return {"addon": self.addon(given)}

    def list(self, given: dict) -> dict:
        """Their names."""
        return {"addons": list(self.clusters.of(given).addons)}

    def update(self, given: dict) -> dict:
        """Changes one."""
        about = self.addon(given)
        for key in ("addonVersion", "configurationValues", "serviceAccountRoleArn"):
            if key in given:
                about[key] = given[key]
        return self.clusters.of(given).update("AddonUpdate")

    def delete(self, given: dict) -> dict:
        """Takes one out, with its associations."""
        about, cluster = self.addon(given), self.clusters.of(given)
        for name, it in list(cluster.identities.items()):
            if it["associationArn"] in about["podIdentityAssociations"]:
                del cluster.identities[name]
        del cluster.addons[given["addonName"]]
        return {"addon": {**about, "status": "DELETING"}}

    def versions(self, given: dict) -> dict:
        """What there is of each."""
        names = [given["addonName"]] if "addonName" in given else list(KNOWN)
        compatible = [{"clusterVersion": given.get("kubernetesVersion", "1.35"), "defaultVersion": True}]
        return {"addons": [
            {"addonName": it, "addonVersions": [
                {"addonVersion": KNOWN[it], "compatibilities": compatible},
            ]} for it in names if it in KNOWN
        ]}

    # The roles of pods.

    def identity(self, given: dict) -> dict:
        """One association."""
        identities = self.clusters.of(given).identities
        if given["associationId"] not in identities:
            raise not_found("association", given["associationId"])
        return identities[given["associationId"]]

    def create_identity(self, given: dict) -> dict:
        """Gives a service account's pods a role."""
        cluster = self.clusters.of(given)
        of, name = cluster.about["name"], f"a-{uuid.uuid4().hex[:17]}"
        account = (given["namespace"], given["serviceAccount"])
        if account in [(it["namespace"], it["serviceAccount"]) for it in cluster.identities.values()]:
            raise in_use(f"Association already exists: {account}")
        cluster.identities[name] = {
            "clusterName": of, "namespace": given["namespace"], "associationId": name,
            "serviceAccount": given["serviceAccount"], "roleArn": given["roleArn"],
            "associationArn": self.clusters.arn(f"podidentityassociation/{of}/{name}"),
            "createdAt": time.time(), "modifiedAt": time.time(), "tags": given.get("tags", {}),
        }
        return {"association": cluster.identities[name]}

    def describe_identity(self, given: dict) -> dict:
        """What there is of one."""
        return {"association": self.identity(given)}

    def list_identities(self, given: dict) -> dict:
        """All of a cluster's."""
        keys = ("clusterName", "namespace", "serviceAccount", "associationArn", "associationId")
        every = self.clusters.of(given).identities.values()
        return {"associations": [{key: it[key] for key in keys} for it in every]}

    def delete_identity(self, given: dict) -> dict:
        """Takes the role away."""
        about = self.identity(given)
        del self.clusters.of(given).identities[given["associationId"]]
        return {"association": about}
