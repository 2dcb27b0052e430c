//! A gateway on a Kubernetes cluster: which cluster, and who reaches it there.
//!
//! Owns what is asked of it and what is known of it. Neither holds a secret: how the cluster is spoken
//! to stands in the user's own kubeconfig, of which this keeps the place.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::machine::Expose;
use super::name::DeploymentName;
use super::text::clean;

/// What the namespaces of deployments begin with.
const NAMESPACE: &str = "openclaw";
/// The longest name of an object that is a DNS label, in characters.
const LABEL_MAX: usize = 63;
/// The longest name of an object that is a DNS subdomain, in characters.
const SUBDOMAIN_MAX: usize = 253;

/// A cluster of EKS: where its API is, and by which name AWS knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EksCluster {
    /// Its API.
    pub server: String,
    /// The authority of its API's certificate, PEM in base64.
    pub authority: String,
    /// Its name in AWS.
    pub name: String,
    /// Its region.
    pub region: String,
}

/// The installation's own cluster, as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnClusterFacts {
    /// Where it is.
    pub at: EksCluster,
    /// The account that it is in.
    pub account: String,
    /// The version of Kubernetes.
    pub version: String,
    /// The operation that made it.
    pub made_by: String,
}

/// Which cluster a gateway runs on, and how it should be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    /// The cluster that the installation made for itself, where it is that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<EksCluster>,
    /// The kubeconfig files, absolute. Empty, and no own one: the cluster that this program itself
    /// runs on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kubeconfig: Vec<PathBuf>,
    /// The context in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Who reaches the gateway.
    #[serde(default)]
    pub expose: Expose,
    /// Who may reach the load balancer of one that only its operator reaches, as IPv4 ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_ranges: Vec<String>,
    /// What leads to it in the place of a load balancer of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSpec>,
    /// The class of its volumes. `None`: encrypted ones of EBS where the cluster has these, or the
    /// cluster's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
}

impl ClusterSpec {
    /// The class of the way in, where that is asked for by this API.
    pub fn class_by(&self, api: IngressApi) -> Option<String> {
        self.ingress.as_ref().filter(|it| it.api == api).map(|it| it.class.clone())
    }
}

/// By which of the cluster's APIs the way in is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IngressApi {
    /// An `Ingress`.
    #[default]
    Ingress,
    /// A `Gateway` of the Gateway API, with an `HTTPRoute`.
    Gateway,
}

/// A way in by a class that the cluster has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressSpec {
    /// Which API the class is of.
    #[serde(default)]
    pub api: IngressApi,
    /// The class.
    pub class: String,
    /// The host name by which browsers reach the gateway.
    pub host: String,
    /// The secret with the certificate for that name. `None`: plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<String>,
    /// The addresses of what leads there, whose word on a browser's address is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxies: Vec<String>,
}

impl IngressSpec {
    /// The page's origin.
    pub fn origin(&self) -> String {
        let scheme = if self.tls_secret.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.host)
    }
}

/// What was made of a deployment on a cluster, and found there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// Its namespace.
    pub namespace: String,
    /// The namespace's own id: one of the same name on another cluster has another.
    pub uid: String,
    /// The cluster's own id, that of the namespace which every cluster has; empty where nobody could
    /// tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// The address of its API.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// The operation that made it; empty for one of an earlier release.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub made_by: String,
    /// The address or host name of its load balancer, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The class of its volumes; `None` is the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// The address of who launched it, as a range: whom it is for where it is the operator's and no
    /// ranges were named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Whether the cluster was seen to enforce network policies; `None` while nobody could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforces_policies: Option<bool>,
}

/// The namespace of a deployment.
pub fn namespace(name: &DeploymentName) -> String {
    if *name == DeploymentName::main() {
        NAMESPACE.to_owned()
    } else {
        format!("{NAMESPACE}-{name}")
    }
}

/// The name of an object that is a DNS subdomain, such as a storage class.
pub fn object_name(what: &str, text: &str) -> Result<String, Failure> {
    let is_name = text.len() <= SUBDOMAIN_MAX && text.split('.').all(is_label);
    if is_name {
        return Ok(text.to_owned());
    }
    Err(Failure::bad_input(format!(
        "{what} is a name of Kubernetes: small letters, digits and hyphens, with dots between; {:?} \
         is none",
        clean(text, 80)
    )))
}

fn is_label(text: &str) -> bool {
    (1..=LABEL_MAX).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_deployment_has_a_namespace_of_its_own() {
        let of = |name: &str| namespace(&name.parse().expect("a name"));
        assert_eq!((of("main").as_str(), of("a").as_str()), ("openclaw", "openclaw-a"));
        let longest = "x".repeat(40);
        assert!(is_label(&of(&longest)), "{longest}");
    }

    #[test]
    fn names_of_objects_are_held_to_the_rule() {
        for good in ["gp3", "a.b", "standard-rwo", "0"] {
            assert_eq!(object_name("x", good).expect("a name"), good);
        }
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", "../x", &"a".repeat(64), "a b"] {
            let failure = object_name("OPENCLAW_PIPELINE_STORAGE_CLASS", bad).expect_err(bad);
            assert!(failure.message.contains("OPENCLAW_PIPELINE_STORAGE_CLASS is a name"), "{bad}");
        }
    }
}
