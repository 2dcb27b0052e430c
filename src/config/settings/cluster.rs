//! Settings of Kubernetes clusters.

use std::path::PathBuf;

use super::Settings;
use crate::config::variables::Variable;
use crate::domain::{ClusterSpec, Expose, Failure, IngressSpec, cluster, text, tunnel};

/// The longest name of a context, in characters.
const CONTEXT_MAX: usize = 253;

impl Settings {
    /// The files in which clusters stand, absolute.
    pub fn kubeconfig(&self) -> Result<Vec<PathBuf>, Failure> {
        self.read_or_default(Variable::Kubeconfig, |text| {
            let parts = text.split(':').filter(|part| !part.is_empty());
            parts.map(|part| self.places.complete(Variable::Kubeconfig, part, None)).collect()
        })
    }

    /// The context in them, if one was named.
    pub fn kube_context(&self) -> Result<Option<String>, Failure> {
        self.read(Variable::KubeContext, |name| {
            let is_name =
                name.chars().count() <= CONTEXT_MAX && !name.chars().any(char::is_control);
            if is_name {
                return Ok(name.to_owned());
            }
            Err(Failure::bad_input(format!(
                "{} is the name of a context; {:?} is none",
                Variable::KubeContext.name(),
                text::clean(name, 80)
            ))
            .remedy("kubectl config get-contexts lists yours"))
        })
    }

    /// The class of a gateway's volumes, if one was named.
    pub fn storage_class(&self) -> Result<Option<String>, Failure> {
        self.object_name(Variable::StorageClass)
    }

    /// The class of the ingress that leads to a gateway, if one was named.
    pub fn ingress_class(&self) -> Result<Option<String>, Failure> {
        self.object_name(Variable::IngressClass)
    }

    /// The secret with the certificate of its host name, if one was named.
    pub fn ingress_tls_secret(&self) -> Result<Option<String>, Failure> {
        self.object_name(Variable::IngressTlsSecret)
    }

    fn object_name(&self, variable: Variable) -> Result<Option<String>, Failure> {
        self.read(variable, |text| cluster::object_name(variable.name(), text))
    }

    /// Its host name, if one was named.
    pub fn ingress_host(&self) -> Result<Option<String>, Failure> {
        self.read(Variable::IngressHost, |text| {
            tunnel::host_name(text).map_err(|mut failure| {
                let name = Variable::IngressHost.name();
                failure.message = format!("{name}: {}", failure.message);
                failure
            })
        })
    }

    /// The ingress: its class and host name, or neither.
    pub fn ingress(&self) -> Result<Option<IngressSpec>, Failure> {
        let tls_secret = self.ingress_tls_secret()?;
        match (self.ingress_class()?, self.ingress_host()?) {
            (Some(class), Some(host)) => Ok(Some(IngressSpec { class, host, tls_secret })),
            (None, None) if tls_secret.is_none() => Ok(None),
            (class, _) => {
                let (lacks, has) = if class.is_none() {
                    (Variable::IngressClass, Variable::IngressHost)
                } else {
                    (Variable::IngressHost, Variable::IngressClass)
                };
                Err(Failure::bad_input(format!(
                    "{} goes with {}: an ingress has a class and a host name",
                    has.name(),
                    lacks.name()
                ))
                .remedy(format!("set {} too, or neither", lacks.name())))
            }
        }
    }

    /// The cluster that a gateway is put on.
    pub fn cluster(&self) -> Result<ClusterSpec, Failure> {
        let context = self.kube_context()?;
        let kubeconfig = match &context {
            Some(_) => self.kubeconfig()?,
            None => Vec::new(),
        };
        let (expose, source_ranges) = (self.expose()?, self.ssh_cidrs()?);
        let ingress = self.ingress()?;
        match expose {
            Expose::Tunnel => {
                return Err(Failure::bad_input(
                    "EXPOSE or CLOUDFLARE asks for a tunnel, and none can be put in front of a \
                     gateway on the eks target",
                )
                .remedy(
                    "an ingress with a certificate gives HTTPS there \
                     (OPENCLAW_PIPELINE_INGRESS_CLASS)",
                ));
            }
            Expose::Operator if source_ranges.is_empty() => {
                return Err(Failure::bad_input(
                    "EXPOSE=operator on the eks target lets in only the ranges of \
                     OPENCLAW_PIPELINE_SSH_CIDR, and there are none",
                )
                .remedy("name yours there, or set EXPOSE=none and use openclaw-pipeline tunnel"));
            }
            Expose::Http | Expose::Operator | Expose::None => {}
        }
        if ingress.is_some() && expose != Expose::Http {
            return Err(Failure::bad_input(format!(
                "OPENCLAW_PIPELINE_INGRESS_CLASS leads everybody to the gateway, and EXPOSE is \
                 {expose}"
            ))
            .remedy("set EXPOSE=http, or leave the ingress out"));
        }
        let storage_class = self.storage_class()?;
        let own = None;
        Ok(ClusterSpec { own, kubeconfig, context, expose, source_ranges, ingress, storage_class })
    }
}
