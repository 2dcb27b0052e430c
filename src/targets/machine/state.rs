//! Terraform's state of a machine: where it is, and what it holds.
//!
//! Owns that each deployment has one of its own, for its owner alone, with the deployment's files
//! unless another place was named. Refuses one that holds what no run of this deployment made.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::adopted;
use super::files::{Files, suffix_of, write};
use crate::domain::{DeploymentName, Failure, FailureKind, StatePlace};
use crate::drivers::terraform::{
    Bucket, Message, Run, State, StateAt, Terraform, Workspace, before_recovery,
};
use crate::targets::{Site, Work};

/// The name that a deployment's resources have in an account, and its state in a folder.
pub fn resource_name(installation: &str, deployment: &str, name: &DeploymentName) -> String {
    format!("openclaw-{name}-{}", suffix_of(installation, deployment))
}

/// Where a deployment's state is.
#[derive(Debug)]
pub(in crate::targets) enum Kept {
    File(PathBuf),
    Bucket(Bucket),
}

impl Kept {
    pub(in crate::targets) fn of(site: &Site) -> Self {
        let place = site.deployment.spec.machine.as_ref().and_then(|it| it.state.clone());
        match place {
            None => Self::File(Files::of(site).state()),
            Some(StatePlace::File { path }) => Self::File(path.into()),
            Some(StatePlace::S3 { bucket, key, region }) => {
                Self::Bucket(Bucket { name: bucket, key, region })
            }
        }
    }

    pub(in crate::targets) fn at(&self) -> StateAt<'_> {
        match self {
            Self::File(path) => StateAt::File(path),
            Self::Bucket(bucket) => StateAt::S3(bucket),
        }
    }

    /// Makes a file and its backup ones for their owner alone, before Terraform makes them ones for
    /// everybody.
    pub(in crate::targets) fn close(&self) -> Result<(), Failure> {
        let Self::File(path) = self else { return Ok(()) };
        if let Some(within) = path.parent() {
            fs::create_dir_all(within)?;
        }
        for path in [path.clone(), backup(path)] {
            let mut open = fs::OpenOptions::new();
            let file = open.create(true).append(true).mode(0o600).open(path)?;
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        Ok(())
    }

    /// Removes a file that holds nothing any more, and what was left beside it: by Terraform, its
    /// backup and the lock of a run that was killed; and the state before one that a run could not
    /// write. An object in a bucket stays, and is empty.
    pub(in crate::targets) fn remove(&self) -> Result<(), Failure> {
        let Self::File(path) = self else { return Ok(()) };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let lock = path.with_file_name(format!(".{name}.lock.info"));
        for path in [path.clone(), backup(path), before_recovery(path), lock] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Where Terraform runs for a deployment, and with which values.
pub(in crate::targets) struct Room {
    module: PathBuf,
    dir: PathBuf,
    kept: Kept,
    variables: Vec<PathBuf>,
}

impl Room {
    /// With the module made ready, and the values as they are written by now.
    pub(in crate::targets) fn of(site: &Site, module: PathBuf) -> Self {
        let files = Files::of(site);
        let (dir, variables) = (files.run(), files.variables());
        Self { module, dir, kept: Kept::of(site), variables }
    }

    pub(in crate::targets) fn workspace(&self) -> Workspace<'_> {
        let Self { module, dir, kept, variables } = self;
        Workspace { module, dir, state: kept.at(), variables }
    }

    /// Makes its state one for its owner alone: [`Kept::close`].
    pub(in crate::targets) fn close(&self) -> Result<(), Failure> {
        self.kept.close()
    }
}

/// Where Terraform keeps the state before the last one.
fn backup(state: &Path) -> PathBuf {
    let mut name = state.to_owned().into_os_string();
    name.push(".backup");
    name.into()
}

/// Where a deployment's state is, in words.
pub(in crate::targets) fn place(site: &Site) -> String {
    match Kept::of(site) {
        Kept::File(path) => path.display().to_string(),
        Kept::Bucket(Bucket { name, key, .. }) => format!("s3://{name}/{key}"),
    }
}

/// What a deployment's state holds, once what an earlier run could not write to it is there.
pub(in crate::targets) async fn held(
    terraform: &Terraform,
    site: &Site,
    work: Work<'_>,
) -> Result<State, Failure> {
    read(terraform, site, work).await.map(|(state, _)| state)
}

/// Puts a deployment's state into a file, for somebody who only looks.
pub(in crate::targets) async fn copy(
    terraform: &Terraform,
    site: &Site,
    to: &Path,
    work: Work<'_>,
) -> Result<(), Failure> {
    let text = match read(terraform, site, work).await? {
        (_, Some(text)) => text,
        (_, None) => match Kept::of(site) {
            Kept::File(path) if path.exists() => fs::read_to_string(path)?,
            _ => return Ok(()),
        },
    };
    if text.trim().is_empty() { Ok(()) } else { write(to, text.as_bytes()) }
}

/// A state, and its text where it is not a file here.
async fn read(
    terraform: &Terraform,
    site: &Site,
    work: Work<'_>,
) -> Result<(State, Option<String>), Failure> {
    let (name, dir) = (&site.deployment.name, Files::of(site).run());
    match Kept::of(site) {
        Kept::File(path) => {
            let state = State::settled(&dir, &path).map_err(|failure| {
                if failure.kind != FailureKind::BadInput {
                    return failure;
                }
                failure.remedy(format!(
                    "put its last good form in its place ({}.backup beside it); or move it away, \
                     and {} removes what was made by its tags",
                    path.display(),
                    name.destroying()
                ))
            })?;
            Ok((state, None))
        }
        Kept::Bucket(bucket) => {
            // A place of its own: the run's own directory says that there was a run.
            let within = site.layout.look(&site.deployment.name)?;
            let told = |_: &Message| {};
            let run = Run { cancel: work.cancel, lock: work.lock, told: &told };
            let left = dir.join("errored.tfstate");
            if left.exists() {
                terraform.push(&bucket, within.path(), &left, run).await?;
                fs::remove_file(left)?;
            }
            let (state, text) = terraform.pull(&bucket, within.path(), run).await?;
            Ok((state, Some(text)))
        }
    }
}

/// Refuses a state that holds something before this deployment has made anything.
pub(in crate::targets) async fn refuse_others(
    terraform: &Terraform,
    site: &Site,
    work: Work<'_>,
) -> Result<(), Failure> {
    let has_begun = site.deployment.facts.machine.is_some()
        || Files::of(site).run().exists()
        || adopted::is_adopted(site);
    if has_begun {
        return Ok(());
    }
    let held = held(terraform, site, work).await?.held;
    let Some(first) = held.first() else { return Ok(()) };
    let (name, place) = (&site.deployment.name, place(site));
    Err(Failure::conflict(format!(
        "the state in {place} holds {} and {} more, which {name} has not made; nothing was changed",
        super::in_words(&first.kind),
        held.len() - 1
    ))
    .remedy(format!("name another place by TF_STATE, or take what is there over: openclaw-pipeline adopt {name} --state {place}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_its_owners_alone_and_nothing_of_it_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let within = dir.path().join("of");
        let path = within.join("m.tfstate");
        let kept = Kept::File(path.clone());
        // Made for everybody by somebody else.
        fs::create_dir(&within).expect("made");
        fs::write(&path, "").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        kept.close().expect("closed");
        for path in [path.clone(), backup(&path)] {
            let mode = fs::metadata(&path).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
        fs::write(before_recovery(&path), "").expect("written");
        fs::write(within.join(".m.tfstate.lock.info"), "").expect("written");
        fs::write(within.join("another.tfstate"), "").expect("written");
        kept.remove().expect("removed");
        let left: Vec<_> = fs::read_dir(&within).expect("there").flatten().collect();
        assert_eq!(left.len(), 1, "somebody else's alone: {left:?}");
    }
}
