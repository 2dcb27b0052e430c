//! A deployment's namespace, and what it is reached by.

use serde_json::json;

use super::checks::Class;
use super::manifests::Manifests;
use super::{At, names};
use crate::domain::text::clean;
use crate::domain::{ClusterFacts, Expose, Failure, tunnel};
use crate::drivers::aws::address::public_address;
use crate::drivers::kubernetes::{Kind, Problem};
use crate::targets::Work;
use crate::targets::looks::Looks;

/// The annotation that keeps what a pod found out of network policies.
pub(super) const ENFORCES: &str = "pipeline.openclaw.io/enforces-network-policies";

impl At<'_> {
    /// The address that this machine has by now, as a range, where that is whom the gateway is for.
    pub(super) async fn operator(&self) -> Result<Option<String>, Failure> {
        let spec = self.site.deployment.spec.cluster.clone().unwrap_or_default();
        if spec.expose != Expose::Operator || !spec.source_ranges.is_empty() {
            return Ok(None);
        }
        let own = public_address(self.target.own_address.as_deref()).await.map_err(|failure| {
            failure.remedy(
                "name the ranges that may reach the gateway in OPENCLAW_PIPELINE_SSH_CIDR, or set \
                 EXPOSE=none and use openclaw-pipeline tunnel",
            )
        })?;
        Ok(Some(format!("{own}/32")))
    }

    /// Makes the namespace, and what the gateway is reached by.
    pub(super) async fn claim(
        &self,
        operation: &str,
        work: Work<'_>,
    ) -> Result<ClusterFacts, Failure> {
        let mut before = self.site.deployment.facts.cluster.clone().unwrap_or_default();
        if before.made_by.is_empty() {
            operation.clone_into(&mut before.made_by);
        }
        let operator = self.operator().await?;
        let mut site = self.site.clone();
        site.deployment.facts.cluster = Some(ClusterFacts { operator, ..before });
        let manifests = Manifests::new(&site, &self.target.checkout);
        let (kind, namespace) = manifests.namespace()?;
        let found = self.cluster.get(kind, None, &self.namespace).await?;
        names::refuse_lost(found.as_ref(), self.site)?;
        let was_there = found.is_some();
        let found = match found {
            Some(found) => found,
            // Not applied: nobody else's is taken over who was there in the meantime.
            None => match self.cluster.create(kind, &namespace).await {
                Ok(made) => made,
                Err(error) if error.problem == Problem::Conflict => {
                    let found = self.cluster.get(kind, None, &self.namespace).await?;
                    found.ok_or_else(|| Failure::from(error))?
                }
                Err(error) => return Err(error.into()),
            },
        };
        names::refuse_to_take(&found, self.site)?;
        self.cluster.apply(kind, &namespace).await?;
        if names::is_kept(&found) {
            let unmark = json!({ "metadata": { "labels": { names::KEPT: null } } });
            self.cluster.merge(kind, None, &self.namespace, &unmark).await?;
        }
        let class = self.storage_class().await?;
        let storage_class = match class {
            Class::There(name) => Some(name),
            Class::ToBeMade(name) => {
                let (kind, class) = manifests.storage_class()?;
                match self.cluster.create(kind, &class).await {
                    Err(error) if error.problem != Problem::Conflict => return Err(error.into()),
                    _ => Some(name),
                }
            }
            Class::Default => None,
        };
        if was_there {
            self.close_entries(work).await?;
        }
        let port = self.site.port()?;
        // The policies come before the first pod.
        let mut objects = manifests.policies()?;
        objects.push(manifests.service(port)?);
        objects.extend(manifests.entry(port)?);
        let applied = objects.iter().map(|(kind, object)| self.cluster.apply(*kind, object));
        futures_util::future::try_join_all(applied).await?;
        let before = site.deployment.facts.cluster.unwrap_or_default();
        Ok(ClusterFacts {
            namespace: self.namespace.clone(),
            uid: found.metadata.uid.unwrap_or_default(),
            cluster: self.identity().await?,
            server: self.cluster.server().to_owned(),
            storage_class,
            ..before
        })
    }

    /// Waits until the service has an address, where it is to have one of its own.
    pub(super) async fn address(&self, work: Work<'_>) -> Result<Option<String>, Failure> {
        let deployment = &self.site.deployment;
        if deployment.expose() == Some(Expose::None) || deployment.ingress().is_some() {
            self.entered(work).await?;
            return Ok(None);
        }
        let mut looks = Looks::new(self.target.within, work);
        loop {
            let found =
                self.cluster.get(Kind::SERVICE, Some(&self.namespace), names::GATEWAY).await?;
            if let Some(service) = &found {
                let given = &service.data["status"]["loadBalancer"]["ingress"][0];
                if let Some(host) = given["hostname"].as_str() {
                    return tunnel::host_name(host).map(Some);
                }
                if let Some(ip) = given["ip"].as_str() {
                    let ip: std::net::IpAddr = ip
                        .parse()
                        .map_err(|_| Failure::failed("the load balancer's address is none"))?;
                    return Ok(Some(match ip {
                        std::net::IpAddr::V4(ip) => ip.to_string(),
                        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
                    }));
                }
            }
            if looks.is_late() {
                let warnings = self.warnings().await?;
                let said =
                    warnings.iter().rev().find(|it| it["involvedObject"]["kind"] == "Service");
                let said = said.and_then(|it| it["message"].as_str()).map_or_else(
                    || {
                        "nobody says why: the cluster may have nothing that makes load balancers"
                            .to_owned()
                    },
                    |it| clean(it, 400),
                );
                return Err(Failure::failed(format!("its service got no address: {said}")).remedy(
                    "where load balancers take the port on the nodes themselves (k3s), another service \
                     may have it, and GATEWAY_PORT gives this one another; EXPOSE=none reaches the gateway through the cluster's API instead (openclaw-\
                     pipeline tunnel), OPENCLAW_PIPELINE_INGRESS_CLASS through an ingress, \
                     OPENCLAW_PIPELINE_GATEWAY_CLASS through a Gateway",
                ));
            }
            looks.next("waiting for the load balancer's address").await?;
        }
    }
}
