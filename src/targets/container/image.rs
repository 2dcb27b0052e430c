//! The image: finding it, pulling it with progress, and pinning it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::super::site::Site;
use super::super::{Artefact, Work};
use super::engine::{Engine, failure};
use crate::domain::{Failure, FailureKind};
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
    repo_tags: Vec<String>,
    #[serde(default)]
    config: Option<ImageConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageConfig {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

async fn inspect(engine: &Engine, image: &str) -> Result<Option<Image>, Failure> {
    let output = engine
        .docker()
        .args(["image", "inspect", "--format", "{{json .}}", image])
        .output()
        .await?;
    if !output.success() {
        return if output.stderr.to_lowercase().contains("no such image") {
            Ok(None)
        } else {
            Err(failure(&output))
        };
    }
    serde_json::from_str(output.stdout.trim())
        .map(Some)
        .map_err(|error| Failure::failed(format!("docker inspect answered nonsense: {error}")))
}

/// The image as it is here, pinned; `None` when it is not here.
pub(super) async fn present(engine: &Engine, image: &str) -> Result<Option<Artefact>, Failure> {
    let Some(found) = inspect(engine, image).await? else { return Ok(None) };
    let version = found
        .config
        .and_then(|config| config.labels)
        .and_then(|labels| labels.get("org.opencontainers.image.version").cloned());
    Ok(Some(Artefact { id: pinned(image, found.id, found.repo_digests), version }))
}

/// A digest names the same bytes on every machine: that of the repository which was asked for,
/// where the image is known in several. One that was never in a registry has only its id.
fn pinned(image: &str, id: String, digests: Vec<String>) -> String {
    let wanted = repository(image);
    let of_wanted =
        digests.iter().position(|digest| digest.split('@').next() == Some(wanted)).unwrap_or(0);
    digests.into_iter().nth(of_wanted).unwrap_or(id)
}

/// A reference without its tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    // A colon behind the last slash begins a tag; before it, a port.
    let name = image.rfind('/').map_or(0, |slash| slash + 1);
    image[name..].find(':').map_or(image, |colon| &image[..name + colon])
}

fn wanted(site: &Site) -> &str {
    site.deployment.spec.image.as_deref().unwrap_or(super::super::DEFAULT_IMAGE)
}

/// Makes sure that the deployment's image is here.
pub(super) async fn ensure(
    engine: &Engine,
    site: &Site,
    work: Work<'_>,
) -> Result<Artefact, Failure> {
    let image = wanted(site);
    if let Some(found) = present(engine, image).await? {
        return Ok(found);
    }
    pull(engine, image, work).await?;
    pulled(engine, image).await
}

/// Makes sure that an image which is not the deployment's own is here.
pub(super) async fn ensure_here(
    engine: &Engine,
    image: &str,
    work: Work<'_>,
) -> Result<(), Failure> {
    match present(engine, image).await? {
        Some(_) => Ok(()),
        None => pull(engine, image, work).await,
    }
}

/// Makes sure that what the deployment's image names today is here: a tag may have moved in its
/// registry since it was pulled. One that cannot be pulled and is here, because it was built here
/// or the registry is down, is used as it is, and that is said.
pub(super) async fn ensure_newest(
    engine: &Engine,
    site: &Site,
    work: Work<'_>,
) -> Result<Artefact, Failure> {
    let image = wanted(site);
    if is_fixed(image) {
        return ensure(engine, site, work).await;
    }
    match pull(engine, image, work).await {
        Ok(()) => pulled(engine, image).await,
        Err(failure) if failure.kind == FailureKind::Interrupted => Err(failure),
        Err(failure) => match present(engine, image).await? {
            Some(found) => {
                work.progress.note(&format!("{failure}; using the one that is here"));
                Ok(found)
            }
            None => Err(failure),
        },
    }
}

/// Whether a reference names the same image for ever.
fn is_fixed(image: &str) -> bool {
    image.contains('@') || image.starts_with("sha256:")
}

async fn pulled(engine: &Engine, image: &str) -> Result<Artefact, Failure> {
    present(engine, image)
        .await?
        .ok_or_else(|| Failure::failed(format!("the image {image} was pulled and is not there")))
}

/// Removes images that were superseded: those that a registry can give again, that nobody has
/// given another name, and that no container uses. Answers which.
pub(super) async fn prune(engine: &Engine, superseded: &[String]) -> Result<Vec<String>, Failure> {
    let mut removed = Vec::new();
    for image in superseded.iter().filter(|image| image.contains('@')) {
        let Some(found) = inspect(engine, image).await? else { continue };
        if !found.repo_tags.is_empty() {
            continue;
        }
        // Without force the engine refuses what any container uses.
        if engine.docker().args(["image", "rm", image]).output().await?.success() {
            removed.push(format!("the image {image}"));
        }
    }
    Ok(removed)
}

/// Whether a registry has the image, without pulling it.
pub(super) async fn can_be_pulled(engine: &Engine, image: &str) -> Result<(), Failure> {
    let output = engine
        .docker()
        .args(["manifest", "inspect", image])
        .deadline(Duration::from_secs(20))
        .output()
        .await?;
    if output.success() { Ok(()) } else { Err(pull_failure(image, &output)) }
}

/// The layers of a pull that were named so far, and whether each is there.
#[derive(Default)]
struct Layers(BTreeMap<String, bool>);

impl Layers {
    /// How many of them are there and how many there are, where a line tells of one.
    fn told(&mut self, line: &str) -> Option<(u64, u64)> {
        let (layer, status) = line.split_once(": ")?;
        if layer.len() != 12 || !layer.bytes().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        let is_there = status.starts_with("Pull complete") || status.starts_with("Already");
        self.0.insert(layer.to_owned(), is_there);
        let there = self.0.values().filter(|is_there| **is_there).count();
        Some((there as u64, self.0.len() as u64))
    }
}

async fn pull(engine: &Engine, image: &str, work: Work<'_>) -> Result<(), Failure> {
    let mut layers = Layers::default();
    let output = engine
        .docker()
        .args(["image", "pull", image])
        .deadline(PULL_DEADLINE)
        .cancel_on(work.cancel)
        .hold(work.lock)?
        .lines(|stream, line| {
            if let (Stream::Stdout, Some((done, total))) = (stream, layers.told(line)) {
                work.progress.amount(done, total, "layers");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_counted_as_they_come() {
        let mut layers = Layers::default();
        let said = [
            "latest: Pulling from openclaw/openclaw",
            "0123456789ab: Pulling fs layer",
            "ba9876543210: Already exists",
            "0123456789ab: Download complete",
            "0123456789ab: Pull complete",
            "Digest: sha256:0123",
            "Status: Downloaded newer image for openclaw:latest",
        ];
        let told: Vec<_> = said.into_iter().filter_map(|line| layers.told(line)).collect();
        assert_eq!(told, [(0, 1), (1, 2), (1, 2), (2, 2)]);
    }

    #[test]
    fn a_repository_is_a_reference_without_tag_and_digest() {
        for (image, expected) in [
            ("openclaw", "openclaw"),
            ("openclaw:1", "openclaw"),
            ("ghcr.io/openclaw/openclaw:latest", "ghcr.io/openclaw/openclaw"),
            ("localhost:5000/x", "localhost:5000/x"),
            ("localhost:5000/x:y", "localhost:5000/x"),
            ("localhost:5000/x:y@sha256:abc", "localhost:5000/x"),
        ] {
            assert_eq!(repository(image), expected);
        }
    }

    #[test]
    fn the_digest_of_the_repository_that_was_asked_for_is_taken() {
        let digests = || vec!["a/x@sha256:1".to_owned(), "b/x@sha256:1".to_owned()];
        assert_eq!(pinned("b/x:latest", "id".into(), digests()), "b/x@sha256:1");
        assert_eq!(pinned("c/x:latest", "id".into(), digests()), "a/x@sha256:1");
        assert_eq!(pinned("b/x:latest", "id".into(), Vec::new()), "id");
    }

    #[test]
    fn a_digest_and_an_id_are_not_pulled_again() {
        assert!(is_fixed("x@sha256:1") && is_fixed("sha256:1"));
        assert!(!is_fixed("x:latest") && !is_fixed("x"));
    }
}
