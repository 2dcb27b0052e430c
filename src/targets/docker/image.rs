//! The image: finding it, pulling it with progress, and pinning it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::super::site::Site;
use super::super::{Artefact, Work};
use super::engine::{docker, failure};
use crate::domain::Failure;
use crate::exec::{Output, command::Stream};

/// How long a pull may take.
const PULL_DEADLINE: Duration = Duration::from_secs(3600);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    id: String,
    #[serde(default)]
    repo_digests: Vec<String>,
    #[serde(default)]
    config: Option<ImageConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageConfig {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

/// The image as it is here, pinned; `None` when it is not here.
pub(super) async fn present(image: &str) -> Result<Option<Artefact>, Failure> {
    let output =
        docker().args(["image", "inspect", "--format", "{{json .}}", image]).output().await?;
    if !output.success() {
        return if output.stderr.to_lowercase().contains("no such image") {
            Ok(None)
        } else {
            Err(failure(&output))
        };
    }
    let found: Image = serde_json::from_str(output.stdout.trim())
        .map_err(|error| Failure::failed(format!("docker inspect answered nonsense: {error}")))?;
    let version = found
        .config
        .and_then(|config| config.labels)
        .and_then(|labels| labels.get("org.opencontainers.image.version").cloned());
    // A digest names the same bytes on every machine; an image that was never in a registry has
    // only its id.
    let id = found.repo_digests.into_iter().next().unwrap_or(found.id);
    Ok(Some(Artefact { id, version }))
}

/// Makes sure that the deployment's image is here.
pub(super) async fn ensure(site: &Site, work: Work<'_>) -> Result<Artefact, Failure> {
    let image = site.deployment.spec.image.as_deref().unwrap_or(super::super::DEFAULT_IMAGE);
    if let Some(found) = present(image).await? {
        return Ok(found);
    }
    pull(image, work).await?;
    present(image)
        .await?
        .ok_or_else(|| Failure::failed(format!("the image {image} was pulled and is not there")))
}

/// Whether a registry has the image, without pulling it.
pub(super) async fn can_be_pulled(image: &str) -> Result<(), Failure> {
    let output = docker()
        .args(["manifest", "inspect", image])
        .deadline(Duration::from_secs(20))
        .output()
        .await?;
    if output.success() { Ok(()) } else { Err(pull_failure(image, &output)) }
}

async fn pull(image: &str, work: Work<'_>) -> Result<(), Failure> {
    let mut layers: BTreeMap<String, bool> = BTreeMap::new();
    let output = docker()
        .args(["image", "pull", image])
        .deadline(PULL_DEADLINE)
        .cancel_on(work.cancel)
        .hold(work.lock)?
        .lines(|stream, line| {
            if stream == Stream::Stdout
                && let Some((layer, status)) = line.split_once(": ")
                && layer.len() == 12
                && layer.bytes().all(|c| c.is_ascii_hexdigit())
            {
                let done = status.starts_with("Pull complete") || status.starts_with("Already");
                layers.insert(layer.to_owned(), done);
                let finished = layers.values().filter(|done| **done).count();
                work.progress.amount(finished as u64, layers.len() as u64, "layers");
            }
        })
        .await?;
    if output.success() { Ok(()) } else { Err(pull_failure(image, &output)) }
}

fn pull_failure(image: &str, output: &Output) -> Failure {
    let said = output.stderr.to_lowercase();
    let line = output.last_line();
    let remedy = if said.contains("manifest unknown") || said.contains("not found") {
        "check the image's name and tag"
    } else if said.contains("denied") || said.contains("unauthorized") {
        "log in to the registry (docker login), or check the image's name"
    } else if said.contains("no such host")
        || said.contains("connection refused")
        || said.contains("timeout")
        || said.contains("network is unreachable")
    {
        "the registry cannot be reached: check the network, or use the process target: \
         --target process"
    } else if said.contains("no space left") {
        "the engine's disk is full: docker system df shows what takes it"
    } else {
        return failure(output).context(format!("the image {image} could not be pulled"));
    };
    Failure::failed(format!("the image {image} could not be pulled: {line}")).remedy(remedy)
}
