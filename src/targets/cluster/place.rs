//! Putting a deployment in place: everything but its pods.

use std::io::Read;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{At, names};
use crate::domain::Failure;
use crate::secrets::Secret;
use crate::targets::container::{CONTAINER_PORT, WORKSPACE};
use crate::targets::rendering::{self, Bind, ManagedConfig};
use crate::targets::{DEFAULT_IMAGE, Placed, Work};

/// Where the gateway's configuration lies.
const CONFIGURATION: &str = "/home/node/.openclaw/openclaw.json";
/// The largest configuration that is read, in bytes.
const BOUND: usize = 4 << 20;

impl At<'_> {
    /// Applies what the gateway runs with. How many pods there are stays as it is; a deployment that is
    /// made has none.
    pub(super) async fn place(
        &self,
        managed: &ManagedConfig,
        work: Work<'_>,
    ) -> Result<Placed, Failure> {
        let mut managed = managed.clone();
        managed.bind = Bind::Lan;
        managed.port = CONTAINER_PORT;
        managed.workspace = WORKSPACE.into();
        let replicas = self.replicas().await?;
        if replicas.is_some() {
            // A launch that failed may have changed what is asked for.
            self.close_entries(work).await?;
        }
        let mut placed = self.foreseen(replicas.is_some(), &managed).await?;
        // The keys that are handed over depend on the plugins.
        let mut site = self.site.clone();
        site.deployment.facts.plugins.clone_from(&placed.plugins);
        let manifests = super::manifests::Manifests::new(&site, &self.target.checkout);
        let facts = site.deployment.facts.cluster.clone().unwrap_or_default();
        let spec = site.deployment.spec.image.as_deref();
        let image = site.deployment.facts.artefact.as_deref().or(spec).unwrap_or(DEFAULT_IMAGE);
        let instructions = managed.instructions(&site.deployment.updated_at);
        let mut objects = manifests.claims(&facts, &self.claims().await?)?;
        objects.extend(manifests.secrets()?);
        objects.push(manifests.config(&instructions)?);
        objects.extend(manifests.policies()?);
        objects.push(manifests.service(site.port()?)?);
        objects.extend(manifests.entry(site.port()?)?);
        let applied = objects.iter().map(|(kind, object)| self.cluster.apply(*kind, object));
        futures_util::future::try_join_all(applied).await?;
        if replicas.is_none()
            && let Some(class) = &facts.storage_class
            && let Some(worry) = self.unencrypted(class).await?
        {
            placed.notices.push(worry.to_string());
        }
        let (kind, deployment) = manifests.deployment(image, replicas.unwrap_or(0))?;
        self.cluster.apply(kind, &deployment).await?;
        Ok(placed)
    }

    /// What the configuration will be, as far as it can be told before the gateway's pod merges it.
    async fn foreseen(&self, is_there: bool, managed: &ManagedConfig) -> Result<Placed, Failure> {
        let users = self.site.secrets.user_config.as_ref().map(Secret::expose);
        let in_place = if is_there { self.configuration().await? } else { None };
        if is_there && in_place.is_none() {
            let facts = &self.site.deployment.facts;
            // Nobody reads the volume while nothing runs: as it was when it ran.
            let model = if managed.model_is_chosen { &managed.model } else { &facts.model };
            let (plugins, model) = (facts.plugins.clone(), model.clone());
            return Ok(Placed { notices: Vec::new(), plugins, model });
        }
        let placing = rendering::place(in_place, users, managed)
            .map_err(|failure| failure.context(format!("the gateway's {CONFIGURATION}")))?;
        Ok(Placed { notices: placing.notices, plugins: placing.plugins, model: placing.model })
    }

    /// The configuration in place, where the gateway's pod runs.
    async fn configuration(&self) -> Result<Option<String>, Failure> {
        let Some(pod) = super::state::running_pod(&self.cluster, &self.namespace).await? else {
            return Ok(None);
        };
        let mut cmd = self.inside(&pod, names::GATEWAY)?.cmd("cat");
        cmd.arg(CONFIGURATION).cancel_on(&CancellationToken::new());
        let (output, text) = cmd
            .read_by(|mut file| {
                let mut text = String::new();
                Read::by_ref(&mut file).take(BOUND as u64).read_to_string(&mut text).map(|_| text)
            })
            .await?;
        Ok(text.ok().filter(|_| output.success()))
    }

    /// Refuses a configuration in place that cannot be read.
    pub(super) async fn check_configuration(&self) -> Result<(), Failure> {
        let text = self.configuration().await?.unwrap_or_default();
        rendering::parse(&text)
            .map(|_: Value| ())
            .map_err(|failure| failure.context(format!("the gateway's {CONFIGURATION}")))
    }
}
