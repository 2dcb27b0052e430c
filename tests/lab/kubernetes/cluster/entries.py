"""The stand-in for a controller of ingresses and of the Gateway API.

Owns what leads where for each ingress of the class `lab`, and for each Gateway of a class whose
controller it is, with its route: their hosts, ports and certificates, and what a controller says of
them. Refuses to know addresses: they are those of load balancers (balancers.py).
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass

from . import api

CLASS = "lab"
CONTROLLER = "lab.test/gateway"
NETWORKING = "/apis/networking.k8s.io/v1"
GATEWAY_API = "/apis/gateway.networking.k8s.io/v1"
HTTP, HTTPS = 80, 443


@dataclass(frozen=True)
class Certificate:
    """Of a host, with its key, each PEM."""

    chain: str
    key: str


@dataclass
class Entry:
    """One of them: what its port leads to, ended there by TLS where it has a certificate."""

    uid: str
    host: str
    port: int
    to: str
    certificate: Certificate | None
    # Says in its status at which address it is.
    tell: Callable[[str], None]


def all_of(services: list[dict]) -> list[Entry]:
    """Those that there are, as far as they lead anywhere."""
    return of_ingresses(services) + of_gateways(services)


def known(path: str) -> list[dict]:
    """What there is of a kind, which the cluster may not know."""
    try:
        return api.items(path)
    except api.Refused as refused:
        if refused.status == 404:
            return []
        raise


def of_ingresses(services: list[dict]) -> list[Entry]:
    """The ingresses."""
    entries = []
    for ingress in api.items(f"{NETWORKING}/ingresses"):
        spec, about = ingress["spec"], ingress["metadata"]
        if spec.get("ingressClassName") != CLASS:
            continue
        rule = spec["rules"][0]
        backend = rule["http"]["paths"][0]["backend"]["service"]
        to = service(services, about["namespace"], backend["name"], backend["port"]["number"])
        tls = spec.get("tls")
        certificate = secret(about["namespace"], tls[0]["secretName"]) if tls else None
        if not to or (tls and not certificate):
            continue

        def tell(address: str, ingress: dict = ingress) -> None:
            said = {"loadBalancer": {"ingress": [{"ip": address}]}}
            say(f"{NETWORKING}/namespaces", "ingresses", ingress, said)

        port = HTTPS if tls else HTTP
        entries.append(Entry(about["uid"], rule["host"], port, to, certificate, tell))
    return entries


def of_gateways(services: list[dict]) -> list[Entry]:
    """The Gateways, each with its one listener and its one route."""
    classes = {
        it["metadata"]["name"]: it
        for it in known(f"{GATEWAY_API}/gatewayclasses")
        if it["spec"]["controllerName"] == CONTROLLER
    }
    for each in classes.values():
        said = {"conditions": [condition(each, "Accepted", True)]}
        say(f"{GATEWAY_API}/gatewayclasses", "", each, said)
    if not classes:
        return []
    routes = known(f"{GATEWAY_API}/httproutes")
    entries = []
    for gateway in known(f"{GATEWAY_API}/gateways"):
        if gateway["spec"]["gatewayClassName"] in classes:
            entries += of_gateway(gateway, routes, services)
    return entries


def of_gateway(gateway: dict, routes: list[dict], services: list[dict]) -> list[Entry]:
    """One, and what is said of it and of its route."""
    about, (listener,) = gateway["metadata"], gateway["spec"]["listeners"]
    mine = [
        it
        for it in routes
        if it["metadata"]["namespace"] == about["namespace"]
        and it["spec"]["parentRefs"][0]["name"] == about["name"]
        and listener["hostname"] in it["spec"]["hostnames"]
    ]
    certificate, is_resolved = None, True
    if listener["protocol"] == "HTTPS":
        named = listener["tls"]["certificateRefs"][0]["name"]
        certificate = secret(about["namespace"], named)
        is_resolved = certificate is not None
    to = None
    for route in mine:
        (backend,) = route["spec"]["rules"][0]["backendRefs"]
        to = service(services, about["namespace"], backend["name"], backend["port"])
        parent = {
            "parentRef": route["spec"]["parentRefs"][0], "controllerName": CONTROLLER,
            "conditions": [
                condition(route, "Accepted", True), condition(route, "ResolvedRefs", to is not None)
            ],
        }
        say(f"{GATEWAY_API}/namespaces", "httproutes", route, {"parents": [parent]})

    def tell(address: str | None) -> None:
        named = condition(gateway, "ResolvedRefs", is_resolved)
        if not is_resolved:
            named |= {"reason": "InvalidCertificateRef", "message": "the certificate is not there"}
        said = {
            "conditions": [
                condition(gateway, "Accepted", True),
                condition(gateway, "Programmed", address is not None),
            ],
            "listeners": [{
                "name": listener["name"], "attachedRoutes": len(mine), "conditions": [named],
                "supportedKinds": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}],
            }],
        }
        if address:
            said["addresses"] = [{"type": "IPAddress", "value": address}]
        say(f"{GATEWAY_API}/namespaces", "gateways", gateway, said)

    if not to or not is_resolved:
        tell(None)
        return []
    return [Entry(about["uid"], listener["hostname"], listener["port"], to, certificate, tell)]


def condition(thing: dict, kind: str, holds: bool) -> dict:
    """What a controller says of a thing as it is now."""
    return {
        "type": kind, "status": str(holds), "reason": kind if holds else "Pending", "message": "",
        "observedGeneration": thing["metadata"]["generation"],
        "lastTransitionTime": thing["metadata"]["creationTimestamp"],
    }


def say(root: str, plural: str, thing: dict, said: dict) -> None:
    """Puts it into a thing's status, unless it stands there."""
    about, status = thing["metadata"], thing.get("status", {})
    if any(status.get(key) != value for key, value in said.items()):
        place = f"{root}/{about['namespace']}/{plural}" if plural else root
        api.patch(f"{place}/{about['name']}/status", {"status": said})


def service(services: list[dict], namespace: str, name: str, port: int) -> str | None:
    """The address of a service and its port."""
    for one in services:
        if (one["metadata"]["namespace"], one["metadata"]["name"]) == (namespace, name):
            return f"{one['spec']['clusterIP']}:{port}"
    return None


def secret(namespace: str, name: str) -> Certificate | None:
    """The certificate in a secret."""
    try:
        data = api.call("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")["data"]
    except api.Refused as refused:
        if refused.status == 404:
            return None
        raise
    return Certificate(*(base64.b64decode(data[it]).decode() for it in ("tls.crt", "tls.key")))
