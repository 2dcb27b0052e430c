"""The stand-in for a driver of volumes: directories of the node's disk.

Owns the volumes of every class whose provisioner is that of EBS: it makes one when a pod that
needs it has a node, lets it grow, and removes it with its claim unless its class says otherwise.
A class may say how much its disks have, whatever is claimed. Refuses a class of another provisioner,
whose claims stay pending.
"""

import shutil
import subprocess

from . import api, places

PROVISIONER = "ebs.csi.aws.com"
# The parameter of a class that says how much each of its disks has.
SIZE = "lab.example/size"
CLAIMS = "/api/v1/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
DRIVERS = "/apis/storage.k8s.io/v1/csidrivers"


def register() -> None:
    """Says, as a driver does, that it is there."""
    driver = {
        "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver",
        "metadata": {"name": PROVISIONER}, "spec": {"attachRequired": False},
    }
    try:
        api.call("POST", DRIVERS, driver)
    except api.Refused as refused:
        if refused.status != 409:
            raise


def turn() -> None:
    """What there is to do now."""
    classes = {it["metadata"]["name"]: it for it in api.items(CLASSES)}
    for claim in api.items(CLAIMS):
        kind = classes.get(claim["spec"].get("storageClassName") or "")
        if kind and kind["provisioner"] == PROVISIONER:
            see_to(claim, kind)
    for volume in api.items(VOLUMES):
        # What another driver made is its own.
        released = volume.get("status", {}).get("phase") == "Released" and "local" in volume["spec"]
        if released and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete":
            api.call("DELETE", f"{VOLUMES}/{volume['metadata']['name']}")
            path = volume["spec"]["local"]["path"]
            subprocess.run(["umount", "--quiet", "--lazy", path], check=False)
            shutil.rmtree(path, ignore_errors=True)


def see_to(claim: dict, kind: dict) -> None:
    """Makes its volume, or lets it grow."""
    about, spec, status = claim["metadata"], claim["spec"], claim.get("status", {})
    wanted = spec["resources"]["requests"]["storage"]
    if "volumeName" not in spec:
        late = kind.get("volumeBindingMode") == "WaitForFirstConsumer"
        chosen = about.get("annotations", {}).get("volume.kubernetes.io/selected-node")
        if not late or chosen:
            make(claim, kind, wanted, chosen or places.NODE_NAME)
        return
    if status.get("phase") != "Bound" or status.get("capacity", {}).get("storage") == wanted:
        return
    if kind.get("allowVolumeExpansion"):
        size = {"capacity": {"storage": wanted}}
        api.patch(f"{VOLUMES}/{spec['volumeName']}", {"spec": size})
        path = f"/api/v1/namespaces/{about['namespace']}/persistentvolumeclaims/{about['name']}"
        api.patch(f"{path}/status", {"status": size})


def make(claim: dict, kind: dict, size: str, node: str) -> None:
    """A directory, and the volume that it is. A node that is simulated has it in name alone."""
    about, spec = claim["metadata"], claim["spec"]
    name = f"pvc-{about['uid']}"
    path = places.VOLUMES / name
    path.mkdir(parents=True, exist_ok=True)
    has = kind.get("parameters", {}).get(SIZE)
    if has and not path.is_mount():
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={has}", "tmpfs", path], check=True)
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER},
        },
        "spec": {
            "capacity": {"storage": size}, "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": kind.get("reclaimPolicy", "Delete"),
            "storageClassName": kind["metadata"]["name"], "local": {"path": str(path)},
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": about["name"],
                "namespace": about["namespace"], "uid": about["uid"],
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }
    try:
        api.call("POST", VOLUMES, volume)
    except api.Refused as refused:
        # Made by the turn before.
        if refused.status != 409:
            raise
