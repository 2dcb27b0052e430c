//! Settings of Kubernetes clusters.

use std::path::PathBuf;

use super::Settings;
use crate::config::rules;
use crate::config::settings::Origin;
use crate::config::variables::Variable;
use crate::domain::{ClusterSpec, Expose, Failure, IngressApi, IngressSpec, cluster, text, tunnel};

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

    /// The class of the Gateway that leads to a gateway, if one was named.
    pub fn gateway_class(&self) -> Result<Option<String>, Failure> {
        self.object_name(Variable::GatewayClass)
    }

    /// The secret with the certificate of its host name, if one was named.
    pub fn ingress_tls_secret(&self) -> Result<Option<String>, Failure> {
        self.object_name(Variable::IngressTlsSecret)
    }

    /// Where the proxies of what leads to a gateway come from, if that was said.
    pub fn ingress_proxies(&self) -> Result<Vec<String>, Failure> {
        Ok(self.read(Variable::IngressProxies, rules::proxies)?.unwrap_or_default())
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

    /// The way in by a class: the class and a host name, or neither.
    pub fn ingress(&self) -> Result<Option<IngressSpec>, Failure> {
        use Variable::{GatewayClass, IngressClass, IngressHost, IngressTlsSecret};
        let (host, tls_secret) = (self.ingress_host()?, self.ingress_tls_secret()?);
        let proxies = self.ingress_proxies()?;
        let (api, class, named) = match (self.ingress_class()?, self.gateway_class()?) {
            (Some(_), Some(_)) => {
                return Err(Failure::bad_input(format!(
                    "{} and {} both name what leads to the gateway, and one thing does",
                    IngressClass.name(),
                    GatewayClass.name()
                ))
                .remedy("set one of them alone"));
            }
            (class, None) => (IngressApi::Ingress, class, IngressClass),
            (None, class) => (IngressApi::Gateway, class, GatewayClass),
        };
        let (has, lacks, remedy) = match (class, host, &tls_secret) {
            (Some(class), Some(host), _) => {
                return Ok(Some(IngressSpec { api, class, host, tls_secret, proxies }));
            }
            (None, None, None) => return Ok(None),
            (Some(_), None, _) => {
                (named, IngressHost, "set OPENCLAW_PIPELINE_INGRESS_HOST too, or neither")
            }
            (None, host, _) => {
                let has = if host.is_some() { IngressHost } else { IngressTlsSecret };
                let remedy = "set OPENCLAW_PIPELINE_INGRESS_CLASS or OPENCLAW_PIPELINE_GATEWAY_CLASS, \
                              and OPENCLAW_PIPELINE_INGRESS_HOST; or none of them";
                (has, IngressClass, remedy)
            }
        };
        Err(Failure::bad_input(format!(
            "{} goes with {}: what leads to a gateway has a class and a host name",
            has.name(),
            lacks.name()
        ))
        .remedy(remedy))
    }

    /// Whether somebody said who reaches a gateway nearer than what leads everybody there was said: a
    /// request to a server that is set to a class, for one.
    fn is_without_ingress(&self, expose: Expose) -> bool {
        let nearest = |one, other| self.origin(one).min(self.origin(other));
        let said = nearest(Variable::Expose, Variable::Cloudflare);
        let class = nearest(Variable::IngressClass, Variable::GatewayClass);
        let is_class = class != Origin::Default;
        is_class && expose != Expose::Http && said < class && !said.same_place(class)
    }

    /// The cluster that a gateway is put on.
    pub fn cluster(&self) -> Result<ClusterSpec, Failure> {
        let context = self.kube_context()?;
        let kubeconfig = match &context {
            Some(_) => self.kubeconfig()?,
            None => Vec::new(),
        };
        let (expose, source_ranges) = (self.expose()?, self.ssh_cidrs()?);
        let ingress = if self.is_without_ingress(expose) { None } else { self.ingress()? };
        match expose {
            Expose::Tunnel => {
                return Err(Failure::bad_input(
                    "EXPOSE or CLOUDFLARE asks for a tunnel, and none can be put in front of a \
                     gateway on the eks target",
                )
                .remedy(
                    "an ingress or a Gateway with a certificate gives HTTPS there \
                     (OPENCLAW_PIPELINE_INGRESS_CLASS, OPENCLAW_PIPELINE_GATEWAY_CLASS)",
                ));
            }
            Expose::Http | Expose::Operator | Expose::None => {}
        }
        if let Some(ingress) = ingress.as_ref().filter(|_| expose != Expose::Http) {
            let (named, noun) = match ingress.api {
                IngressApi::Ingress => (Variable::IngressClass, "ingress"),
                IngressApi::Gateway => (Variable::GatewayClass, "Gateway"),
            };
            return Err(Failure::bad_input(format!(
                "{} leads everybody to the gateway, and EXPOSE is {expose}",
                named.name()
            ))
            .remedy(format!("set EXPOSE=http, or leave the {noun} out")));
        }
        let storage_class = self.storage_class()?;
        let own = None;
        Ok(ClusterSpec { own, kubeconfig, context, expose, source_ranges, ingress, storage_class })
    }
}
