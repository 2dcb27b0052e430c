//! The rows about Kubernetes clusters.

use super::DefaultValue::{Text, Unset};
use super::{DefaultValue, Definition, Variable};

const GROUP: &str = "Kubernetes clusters (the eks target)";

const fn row(
    variable: Variable,
    name: &'static str,
    default: DefaultValue,
    doc: &'static str,
) -> Definition {
    Definition { variable, name, alias: None, secret: false, default, doc, group: GROUP }
}

pub(super) const KUBECONFIG: Definition = row(
    Variable::Kubeconfig,
    "KUBECONFIG",
    Text("~/.kube/config"),
    "The files in which your clusters stand, as kubectl has them, separated by colons",
);

pub(super) const CONTEXT: Definition = row(
    Variable::KubeContext,
    "OPENCLAW_PIPELINE_KUBE_CONTEXT",
    Unset("the cluster that the program itself runs on; none elsewhere"),
    "The context in them whose cluster gateways are put on; whatever is current there is never taken",
);

pub(super) const STORAGE_CLASS: Definition = row(
    Variable::StorageClass,
    "OPENCLAW_PIPELINE_STORAGE_CLASS",
    Unset("gp3 where the cluster makes volumes of EBS, else its own default"),
    "The class of a gateway's volumes",
);

pub(super) const INGRESS_CLASS: Definition = row(
    Variable::IngressClass,
    "OPENCLAW_PIPELINE_INGRESS_CLASS",
    Unset("a load balancer for each gateway"),
    "The class of the ingress that leads to a gateway, which the cluster has already",
);

pub(super) const GATEWAY_CLASS: Definition = row(
    Variable::GatewayClass,
    "OPENCLAW_PIPELINE_GATEWAY_CLASS",
    Unset("a load balancer for each gateway"),
    "The class of the Gateway API's Gateway that leads to it, in the place of an ingress",
);

pub(super) const INGRESS_HOST: Definition = row(
    Variable::IngressHost,
    "OPENCLAW_PIPELINE_INGRESS_HOST",
    Unset("needed with a class of ingresses or Gateways"),
    "The host name by which browsers reach the gateway there: gateway.example.com for example",
);

pub(super) const INGRESS_TLS_SECRET: Definition = row(
    Variable::IngressTlsSecret,
    "OPENCLAW_PIPELINE_INGRESS_TLS_SECRET",
    Unset("plain HTTP"),
    "The secret in the gateway's namespace with the certificate for that name",
);

pub(super) const INGRESS_PROXIES: Definition = row(
    Variable::IngressProxies,
    "OPENCLAW_PIPELINE_INGRESS_PROXIES",
    Unset("none is believed, and what it forwards is refused"),
    "The addresses, separated by commas, that the controller's proxies come to the gateway from",
);
