//! Whose a container, a volume or a network is.
//!
//! Owns the labels that bind a resource to one deployment of one installation, and the look at
//! what stands under a deployment's names. Refuses what lacks them: somebody else's is never
//! adopted, changed or removed, whatever it is called.

use std::collections::BTreeMap;

use super::super::site::Site;
use super::container;
use super::engine::{Engine, failure};
use crate::domain::Failure;
use crate::domain::text::clean;

/// The label with the deployment's own id, which no other installation has.
pub(in crate::targets) const ID: &str = "io.openclaw.pipeline.id";
/// The label with the deployment's name, for people.
pub(super) const NAME: &str = "io.openclaw.pipeline.deployment";
/// The label that compose finds a project's resources by.
const PROJECT: &str = "com.docker.compose.project";
/// The project's volumes, as the compose file names them.
pub(super) const VOLUMES: [&str; 3] = ["config", "settings", "workspace"];
/// The project's network, as compose names it.
pub(super) const NETWORK: &str = "default";

/// What the labels of a resource say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Owner {
    id: String,
    deployment: String,
    project: String,
}

impl Owner {
    /// From all labels of a resource.
    pub(super) fn of(labels: &BTreeMap<String, String>) -> Self {
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        Self { id: label(ID), deployment: label(NAME), project: label(PROJECT) }
    }

    /// Whether it is this deployment's.
    pub(super) fn is(&self, site: &Site) -> bool {
        self.id == site.deployment.id
    }

    /// In words.
    fn whose(&self) -> String {
        if !self.id.is_empty() {
            let (name, id) = (clean(&self.deployment, 60), clean(&self.id, 60));
            format!("it belongs to the deployment {name} of another installation ({id})")
        } else if !self.project.is_empty() {
            format!("it belongs to the compose project {}", clean(&self.project, 80))
        } else {
            "it carries no label of this program".to_owned()
        }
    }

    /// Why a resource that is not the deployment's is left alone.
    pub(super) fn refused(&self, kind: &str, name: &str) -> Failure {
        let name = clean(name, 120);
        Failure::conflict(format!(
            "the {kind} {name} is there and is not this deployment's: {}",
            self.whose()
        ))
        .remedy(format!(
            "launch under another name, or, if nobody needs it, remove it yourself: \
             docker {kind} rm {name}"
        ))
    }
}

/// What stands under a deployment's names, all of it the deployment's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Whether there is a container.
    pub(super) container: bool,
    /// Whether there is a volume.
    pub(super) volumes: bool,
}

/// Looks at everything that compose would take for the project's. Fails when any of it is not
/// the deployment's.
pub(super) async fn look(engine: &Engine, site: &Site) -> Result<Standing, Failure> {
    let project = container(site);
    let name = format!("name={project}");
    let label = format!("label={PROJECT}={project}");
    let (by_name, by_label, volumes, networks) = tokio::try_join!(
        listed(engine, &["container", "ls", "-a"], "{{.Names}}", &name),
        listed(engine, &["container", "ls", "-a"], "{{.Names}}", &label),
        listed(engine, &["volume", "ls"], "{{.Name}}", &name),
        listed(engine, &["network", "ls"], "{{.Name}}", &name),
    )?;
    let named = |found: Vec<(String, Owner)>, names: &[String]| -> Vec<(String, Owner)> {
        found.into_iter().filter(|(name, _)| names.contains(name)).collect()
    };
    let volume_names = VOLUMES.map(|volume| format!("{project}_{volume}"));
    let by_name = named(by_name, std::slice::from_ref(&project));
    let volumes = named(volumes, &volume_names);
    let networks = named(networks, &[format!("{project}_{NETWORK}")]);
    let standing = Standing { container: !by_name.is_empty(), volumes: !volumes.is_empty() };
    let all = [("container", by_name), ("container", by_label), ("volume", volumes)];
    for (kind, found) in all.into_iter().chain([("network", networks)]) {
        if let Some((name, owner)) = found.iter().find(|(_, owner)| !owner.is(site)) {
            return Err(owner.refused(kind, name));
        }
    }
    Ok(standing)
}

/// The resources that a filter finds, with their owners.
async fn listed(
    engine: &Engine,
    list: &[&str],
    name: &str,
    filter: &str,
) -> Result<Vec<(String, Owner)>, Failure> {
    let format = format!(
        "{name}\t{{{{.Label \"{ID}\"}}}}\t{{{{.Label \"{NAME}\"}}}}\t{{{{.Label \"{PROJECT}\"}}}}"
    );
    let output =
        engine.docker().args(list).args(["--filter", filter, "--format", &format]).output().await?;
    if !output.success() {
        return Err(failure(&output));
    }
    Ok(output.stdout.lines().map(row).collect())
}

fn row(line: &str) -> (String, Owner) {
    let mut cells = line.splitn(4, '\t').map(str::to_owned);
    let mut next = || cells.next().unwrap_or_default();
    (next(), Owner { id: next(), deployment: next(), project: next() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_whose_it_is_and_what_to_do() {
        let (name, theirs) = row("x_config\tabc\tmain\tx");
        let failure = theirs.refused("volume", &name);
        assert_eq!(failure.kind, crate::domain::FailureKind::Conflict);
        assert!(failure.message.contains("the volume x_config"), "{failure}");
        assert!(failure.message.contains("the deployment main of another installation (abc)"));
        assert!(failure.remedy.is_some_and(|remedy| remedy.contains("docker volume rm x_config")));
        let (_, users) = row("x\t\t\tblog");
        assert!(users.refused("container", "x").message.contains("the compose project blog"));
        let (_, nobodys) = row("x\t\t\t");
        assert!(nobodys.refused("container", "x").message.contains("no label of this program"));
    }

    #[test]
    fn what_a_label_holds_cannot_spoil_the_message() {
        let (_, owner) = row("x\t\t\tbad\x1b[2Jname");
        assert!(!owner.refused("container", "x").message.contains('\x1b'));
    }
}
