"""Which action is answered by what, in which region.

Owns the list of actions. Refuses those that it has not, so that a client that starts to need one is
seen.
"""

import json
import uuid
from collections.abc import Callable
from urllib.parse import parse_qs

from .. import wire
from .addons import Addons
from .clusters import Clusters
from .routes import MODEL, find, members


class Eks:
    """All regions."""

    def __init__(self) -> None:
        # What clusters made from now on say of themselves: `endpoint`, `certificate_authority`.
        self.real: dict[str, str] = {}
        self.regions: dict[str, Clusters] = {}

    def answer(self, call: wire.Call, method: str, path: str, query: str) -> wire.Answer:
        """Answers a request."""
        action, said = find(method, path)
        actions = self._region(call.region)
        if action not in actions:
            raise wire.Refused("InvalidRequestException", f"the lab's EKS has no {action}", 501)
        given, known_as = {**call.json(), **said}, members(action)
        for key, values in parse_qs(query).items():
            name, is_list = known_as.get(key, (key, False))
            given[name] = values if is_list else values[-1]
        # A number in the model, and of no use with so few.
        given.pop("maxResults", None)
        MODEL.check_request(action, given)
        answer = actions[action](given)
        MODEL.check_answer(action, answer)
        headers = [("content-type", "application/json"), ("x-amzn-requestid", str(uuid.uuid4()))]
        return wire.Answer(200, headers, json.dumps(answer).encode())

    def _region(self, region: str) -> dict[str, Callable[[dict], dict]]:
        clusters = self.regions.setdefault(region, Clusters(region, self.real))
        return actions(clusters, Addons(clusters))

    def clusters(self) -> list:
        """Every cluster of every region."""
        return [it for region in self.regions.values() for it in region.known.values()]

    def resources(self) -> list[dict]:
        """Everything that somebody made and that is still there."""
        found = []
        for cluster in self.clusters():
            about = cluster.about
            found.append(("cluster", about["arn"], about["name"], about["tags"]))
            for name, it in cluster.groups.items():
                found.append(("node-group", it["nodegroupArn"], name, it["tags"]))
        return [
            {"type": f"eks:{kind}", "id": identity, "name": name, "tags": dict(tags)}
            for kind, identity, name, tags in found
        ]


def actions(clusters: Clusters, addons: Addons) -> dict[str, Callable[[dict], dict]]:
    """Every action of a region."""

    def tagged(given: dict) -> dict:
        every = [it.about for it in clusters.known.values()]
        for cluster in clusters.known.values():
            for kind in (cluster.groups, cluster.addons, cluster.entries, cluster.identities):
                every.extend(kind.values())
        wanted = given["resourceArn"]
        keys = ("arn", "nodegroupArn", "addonArn", "accessEntryArn", "associationArn")
        for it in every:
            if wanted in [it.get(key) for key in keys]:
                return it["tags"]
        raise wire.Refused("NotFoundException", f"no {wanted}", 404)

    def tag(given: dict) -> dict:
        tagged(given).update(given["tags"])
        return {}

    def untag(given: dict) -> dict:
        tags = tagged(given)
        for key in given["tagKeys"]:
            tags.pop(key, None)
        return {}

    return {
        "AssociateAccessPolicy": clusters.associate,
        "CreateAccessEntry": clusters.create_entry,
        "CreateAddon": addons.create,
        "CreateCluster": clusters.create,
        "CreateNodegroup": clusters.create_group,
        "CreatePodIdentityAssociation": addons.create_identity,
        "DeleteAccessEntry": clusters.delete_entry,
        "DeleteAddon": addons.delete,
        "DeleteCluster": clusters.delete,
        "DeleteNodegroup": clusters.delete_group,
        "DeletePodIdentityAssociation": addons.delete_identity,
        "DescribeAccessEntry": clusters.describe_entry,
        "DescribeAddon": addons.describe,
        "DescribeAddonVersions": addons.versions,
        "DescribeCluster": clusters.describe,
        "DescribeNodegroup": clusters.describe_group,
        "DescribePodIdentityAssociation": addons.describe_identity,
        "DescribeUpdate": clusters.describe_update,
        "DisassociateAccessPolicy": clusters.disassociate,
        "ListAccessEntries": clusters.list_entries,
        "ListAddons": addons.list,
        "ListAssociatedAccessPolicies": clusters.list_associated,
        "ListClusters": clusters.list,
        "ListNodegroups": clusters.list_groups,
        "ListPodIdentityAssociations": addons.list_identities,
        "ListTagsForResource": lambda given: {"tags": tagged(given)},
        "TagResource": tag,
        "UntagResource": untag,
        "UpdateAddon": addons.update,
        "UpdateClusterConfig": clusters.set_config,
        "UpdateClusterVersion": clusters.set_version,
        "UpdateNodegroupConfig": clusters.set_group,
        "UpdateNodegroupVersion": clusters.set_group,
    }
