"""The cluster's programs: with which settings each runs, and its life.

Owns their processes, which all end with this one. Refuses to know what runs on the cluster.
"""

import json
import os
import signal
import ssl
import subprocess
import time
import urllib.request

from . import images, places
from .identities import TOKENS

# It is asked whether it is there, and nothing is told to it.
UNVERIFIED = ssl._create_unverified_context()


def say(message: str) -> None:
    """A line for whoever reads the cluster's standard error."""
    os.write(2, f"kubernetes: {message}\n".encode())


def wait(what: str, done, within: float = 180) -> None:
    """Waits until something is so. Busy cores take their time."""
    end = time.monotonic() + within
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} is not so within {within:.0f} s")
        time.sleep(0.05)


class Part:
    """A program that runs until it is told to end, and again when it is told to."""

    def __init__(self, name: str, *arguments: object, ready=lambda: True):
        self.name = name
        self.command = [str(it) for it in arguments]
        self.ready = ready
        self.process: subprocess.Popen | None = None

    def start(self, wait_for_it: bool = True) -> None:
        """Starts it, and waits until it is ready."""
        with open(places.LOG / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"PATH": f"{places.BIN}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"},
            )
        if wait_for_it:
            wait(f"{self.name} is ready", self.is_up)

    def is_up(self) -> bool:
        """Whether it is ready; an end is an error."""
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}")
        return self.ready()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it, and waits for that."""
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def answers(url: str, token: str | None = None) -> bool:
    """Whether something answers there, and well."""
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=5, context=UNVERIFIED) as answer:
            return answer.status == 200
    except OSError:
        return False


def settings(name: str, content: dict) -> str:
    """A file of a program's settings: JSON, which is YAML."""
    path = places.ETC / name
    path.write_text(json.dumps(content))
    return str(path)


def etcd() -> Part:
    """The store. What it holds ends with the cluster, so it need not reach the disk."""
    return Part(
        "etcd", "etcd", "--name=lab", f"--data-dir={places.DISK}/etcd", "--unsafe-no-fsync",
        "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380", "--log-level=warn",
        ready=lambda: answers("http://127.0.0.1:2379/health"),
    )


def apiserver() -> Part:
    """The API. What was asked of it stands in its audit log."""
    etc = places.ETC
    policy = settings("audit.json", {
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [
            # The cluster's own programs talk all the time.
            {"level": "None", "userGroups": ["system:nodes"]},
            {"level": "None", "users": [
                "system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy",
                "system:apiserver", "lab-stand-ins",
            ]},
            {"level": "Metadata"},
        ],
    })
    identity = settings("identity.json", {
        "apiVersion": "v1", "kind": "Config", "current-context": "identity",
        "clusters": [{"name": "identity", "cluster": {"server": places.IDENTITY}}],
        "contexts": [{"name": "identity", "context": {"cluster": "identity", "user": "api"}}],
        "users": [{"name": "api", "user": {}}],
    })
    return Part(
        "kube-apiserver", places.BIN / "kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={places.NODE}", f"--bind-address={places.NODE}",
        f"--secure-port={places.PORT}", f"--service-cluster-ip-range={places.SERVICES}",
        f"--tls-cert-file={etc}/server.crt", f"--tls-private-key-file={etc}/server.key",
        f"--token-auth-file={etc}/tokens.csv",
        f"--authentication-token-webhook-config-file={identity}",
        "--authentication-token-webhook-version=v1",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://accounts.cluster.test",
        f"--service-account-key-file={etc}/accounts.pub",
        f"--service-account-signing-key-file={etc}/accounts.key",
        f"--audit-policy-file={policy}", f"--audit-log-path={places.AUDIT}",
        "--default-not-ready-toleration-seconds=5", "--default-unreachable-toleration-seconds=5",
        "--endpoint-reconciler-type=lease", "--profiling=false",
        "--kubelet-preferred-address-types=InternalIP",
        ready=lambda: answers(f"{places.SERVER}/readyz", TOKENS["admin"]),
    )


def controller_manager() -> Part:
    """What makes objects true. It takes a node that is silent for not ready soon."""
    etc = places.ETC
    return Part(
        "kube-controller-manager", places.BIN / "kube-controller-manager",
        f"--kubeconfig={etc}/controller-manager.kubeconfig", f"--root-ca-file={etc}/ca.crt",
        f"--service-account-private-key-file={etc}/accounts.key", "--leader-elect=false",
        "--node-monitor-grace-period=8s", "--node-monitor-period=1s",
        "--bind-address=127.0.0.1", "--profiling=false",
    )


def scheduler() -> Part:
    """What finds a node for each pod."""
    return Part(
        "kube-scheduler", places.BIN / "kube-scheduler", "--leader-elect=false",
        f"--kubeconfig={places.ETC}/scheduler.kubeconfig", "--bind-address=127.0.0.1",
    )


def containerd() -> Part:
    """What runs the containers. Its images come from the lab's registry."""
    mirrors = places.ETC / "registries" / "ghcr.io"
    mirrors.mkdir(parents=True, exist_ok=True)
    (mirrors / "hosts.toml").write_text(
        f'server = "http://{places.REGISTRY}"\n[host."http://{places.REGISTRY}"]\n'
        '  capabilities = ["pull", "resolve"]\n'
    )
    networks = places.ETC / "networks"
    networks.mkdir(exist_ok=True)
    (networks / "10-lab.conflist").write_text(json.dumps({
        "cniVersion": "1.0.0", "name": "lab", "plugins": [
            {
                "type": "bridge", "bridge": "pods0", "isGateway": True, "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local", "dataDir": f"{places.DISK}/addresses",
                    "ranges": [[{"subnet": places.PODS}]], "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }))
    config = places.ETC / "containerd.toml"
    config.write_text(f"""
version = 2
root = "{places.IMAGES}"
state = "{places.RUN}/containerd"
[grpc]
  address = "{places.CONTAINERD}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{places.PAUSE}"
  # The right to lower it is missing on such machines.
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{networks}"
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "{mirrors.parent}"
""")
    return Part(
        "containerd", "containerd", f"--config={config}", "--log-level=warn",
        ready=images.can_be_asked,
    )


def kubelet() -> Part:
    """The node."""
    config = settings("kubelet.json", {
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "address": places.NODE,
        "failCgroupV1": False, "cgroupDriver": "cgroupfs", "cgroupRoot": "/oclab-kubernetes",
        "cgroupsPerQOS": True, "enforceNodeAllocatable": [], "failSwapOn": False,
        "clusterDNS": [places.NODE], "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{places.CONTAINERD}",
        "nodeStatusUpdateFrequency": "1s", "nodeLeaseDurationSeconds": 4,
        "syncFrequency": "10s", "maxPods": 200, "registerNode": True,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%"},
        "imageGCHighThresholdPercent": 100, "serializeImagePulls": False,
        "podLogsDir": f"{places.DISK}/logs",
        "containerLogMaxSize": "5Mi",
    })
    return Part(
        "kubelet", places.BIN / "kubelet", f"--config={config}",
        f"--kubeconfig={places.ETC}/kubelet.kubeconfig", f"--root-dir={places.DISK}/kubelet",
        f"--hostname-override={places.NODE_NAME}", f"--node-ip={places.NODE}",
        "--node-labels=topology.kubernetes.io/zone=lab-a,topology.kubernetes.io/region=lab",
        ready=lambda: answers("http://127.0.0.1:10248/healthz"),
    )


def proxy() -> Part:
    """What leads a service's address to its pods."""
    config = settings("proxy.json", {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{places.ETC}/proxy.kubeconfig"},
        "mode": "iptables", "clusterCIDR": places.PODS, "hostnameOverride": places.NODE_NAME,
        # The kernel's own, which belong to the whole machine.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"minSyncPeriod": "100ms"},
    })
    return Part("kube-proxy", places.BIN / "kube-proxy", f"--config={config}")

