"""Who the cluster's programs are to each other: an authority, a certificate, a token for each.

Owns files that are gone with the cluster. Refuses to let one of them be read by others.
"""

import json
import secrets
import subprocess

from . import places

# Each with the groups that its rights come from.
USERS = {
    "admin": ("lab-admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", "system:masters"),
    "scheduler": ("system:kube-scheduler", "system:masters"),
    "proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{places.NODE_NAME}", "system:nodes"),
    "stand-ins": ("lab-stand-ins", "system:masters"),
}
TOKENS: dict[str, str] = {}


def openssl(*arguments: str) -> None:
    """Runs it; it must succeed."""
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=places.ETC)


def make() -> None:
    """Makes all of them anew."""
    places.ETC.mkdir(mode=0o700, parents=True, exist_ok=True)
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(
        "req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=lab-cluster",
        "-days", "30",
    )
    openssl("req", *curve, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server")
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    addresses = [places.NODE, places.API_SERVICE, "127.0.0.1"]
    listed = [f"DNS:{it}" for it in names] + [f"IP:{it}" for it in addresses]
    extensions = places.ETC / "server.ext"
    extensions.write_text(f"subjectAltName={','.join(listed)}\n")
    openssl(
        "x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
        "-CAcreateserial", "-days", "30", "-extfile", "server.ext", "-out", "server.crt",
    )
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "accounts.key")
    openssl("pkey", "-in", "accounts.key", "-pubout", "-out", "accounts.pub")
    rows = []
    for program, (user, groups) in USERS.items():
        TOKENS[program] = secrets.token_hex(24)
        rows.append(f'{TOKENS[program]},{user},{program},"{groups}"\n')
        kubeconfig(program)
    (places.ETC / "tokens.csv").write_text("".join(rows))


def kubeconfig(program: str) -> None:
    """The file by which a program reaches the API as itself."""
    (places.ETC / f"{program}.kubeconfig").write_text(json.dumps({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": program}}],
        "clusters": [{"name": "lab", "cluster": {
            "server": places.SERVER, "certificate-authority": str(places.ETC / "ca.crt"),
        }}],
        "users": [{"name": program, "user": {"token": TOKENS[program]}}],
    }))
