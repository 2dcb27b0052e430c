"""Where everything is: directories, addresses, names.

Owns what `run` hands over in the environment. Refuses to find anything out.
"""

import os
from pathlib import Path

RUN = Path(os.environ["KUBE_RUN"])
HOME = Path(os.environ["KUBE_HOME"])
LOG = Path(os.environ["LAB_LOG"] if "LAB_LOG" in os.environ else HOME.parent / "log") / "kubernetes"
BIN = HOME / "bin"
# Certificates and settings, which are gone with the cluster.
ETC = RUN / "etc"
# What the node writes, on a disk.
DISK = HOME / "run"
# The images, which the next cluster finds there.
IMAGES = HOME / "images"
VOLUMES = DISK / "volumes"

EDGE = os.environ["KUBE_EDGE"]
EDGE_ADDRESS = os.environ["KUBE_EDGE_ADDRESS"]
NODE = os.environ["KUBE_NODE"]
REGISTRY = os.environ["KUBE_REGISTRY"]
BALANCERS = os.environ["KUBE_BALANCERS"]
PAUSE = os.environ["LAB_REPOSITORY"] + ":pause"

PODS = "10.214.128.0/17"
SERVICES = "10.215.0.0/16"
API_SERVICE = "10.215.0.1"
PORT = 6443
# Who says whose a token of EKS is, while a test is there that does (support/eks_identity.rs).
IDENTITY = f"http://{os.environ['KUBE_HOST']}:6444/"
SERVER = f"https://{NODE}:{PORT}"
NODE_NAME = "lab-1"
CONTAINERD = RUN / "containerd.sock"
KUBECONFIG = RUN / "etc" / "admin.kubeconfig"
AUDIT = LOG / "audit.log"
