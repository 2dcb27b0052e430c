//! What can be done for a machine before its deployment is launched, and what can be looked at.
//!
//! Owns the parts of a launch that stand for themselves: the key, the values, the module made ready,
//! a plan, and what the state holds. What a look needs is written beside the deployment's own files,
//! never into them. Refuses to change anything in the cloud, and to remove the key of a machine that
//! is there.

use std::fs;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::files::{Files, write};
use super::state::{self, Room};
use super::{MachineTarget, account, adopted, infra, reach};
use crate::config::rules;
use crate::domain::{Failure, MachineSpec};
use crate::drivers::ssh::{Machine, make_key};
use crate::drivers::terraform::{Message, Plan, Run, State, StateAt, Workspace};
use crate::targets::{Layout, Site, Work};

/// What the user's file of values says of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// The region.
    pub region: Option<String>,
    /// The instance type or bundle.
    pub size: Option<String>,
    /// The disk, in GiB.
    pub disk_gib: Option<u32>,
}

impl Written {
    /// What stands in a deployment's directory; nothing, where there is no such file.
    pub fn read(dir: &Path) -> Result<Self, Failure> {
        let path = Files::at(dir).users();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let named = |failure: Failure| failure.context(path.display().to_string());
        let region = value(&text, "region").map(|it| rules::region(&it)).transpose();
        let size = value(&text, "size").map(|it| rules::size(&it)).transpose();
        Ok(Self {
            region: region.map_err(named)?,
            size: size.map_err(named)?,
            disk_gib: value(&text, "volume_gb").and_then(|it| it.parse().ok()),
        })
    }
}

/// The value that a line of the file gives a variable.
fn value(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (left, right) = line.split_once('=')?;
        let right = right.trim();
        (left.trim() == name).then(|| match right.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().unwrap_or_default().to_owned(),
            None => right.split(['#', ' ', '\t']).next().unwrap_or_default().to_owned(),
        })
    })
}

impl MachineTarget {
    /// The size of a machine unless another one is asked for.
    pub fn default_size(&self) -> &'static str {
        self.cloud.default_size()
    }

    /// Refuses credentials that are known to be of another account than the machine's.
    pub async fn refuse_known_other_account(&self, site: &Site) -> Result<(), Failure> {
        account::refuse_known_other(&self.tools.aws, site).await
    }

    /// How a deployment's machine is reached by SSH.
    pub fn ssh(&self, site: &Site) -> Result<Machine, Failure> {
        reach::machine(site)
    }

    /// Makes the key, unless it is there; answers its file.
    pub async fn key_ahead(&self, site: &Site) -> Result<PathBuf, Failure> {
        let files = Files::of(site);
        files.make()?;
        let comment = format!("openclaw-{}", site.deployment.name);
        make_key(&files.key(), self.cloud.key(), &comment).await?;
        Ok(files.key())
    }

    /// Removes the key of a machine that is not there; answers what it removed.
    pub async fn remove_key(&self, site: &Site, work: Work<'_>) -> Result<Vec<PathBuf>, Failure> {
        let (files, name) = (Files::of(site), &site.deployment.name);
        if site.deployment.facts.machine.is_some() || !self.held(site, work).await?.held.is_empty()
        {
            return Err(Failure::conflict(format!(
                "{name} has a machine, which is reached by this key alone"
            ))
            .remedy(format!("openclaw-pipeline destroy {name} removes both")));
        }
        let mut removed = Vec::new();
        for path in [files.key().with_extension("pub"), files.key()] {
            match fs::remove_file(&path) {
                Ok(()) => removed.push(path),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Where nothing else was kept, nothing of it is left. A directory with files in it stays.
        for dir in [files.ssh(), site.dir()] {
            let _ = fs::remove_dir(dir);
        }
        Ok(removed)
    }

    /// Writes the values that the user may change, unless they are there; answers their file, and
    /// whether it was there.
    pub fn values_ahead(&self, site: &Site) -> Result<(PathBuf, bool), Failure> {
        let files = Files::of(site);
        files.make()?;
        let kept = files.users().exists();
        files.write_users(self.cloud, machine(site)?)?;
        Ok((files.users(), kept))
    }

    /// Makes the module ready: its providers, once for all deployments.
    pub async fn init(
        &self,
        layout: &Layout,
        cancel: &CancellationToken,
    ) -> Result<PathBuf, Failure> {
        self.tools.terraform.require().await?;
        self.tools.module(self.cloud.module(), layout, cancel).await
    }

    /// What the state holds.
    pub async fn held(&self, site: &Site, work: Work<'_>) -> Result<State, Failure> {
        state::held(&self.tools.terraform, site, work).await
    }

    /// Where the state is.
    pub fn place_of_state(&self, site: &Site) -> String {
        state::place(site)
    }

    /// What a launch would change, found out in a directory of its own.
    pub async fn plan(&self, site: &Site, within: &Path, work: Work<'_>) -> Result<Plan, Failure> {
        let module = self.init(&site.layout, work.cancel).await?;
        let copy = self.copy(site, within, work).await?;
        let files = Files::of(&copy);
        self.key_ahead(&copy).await?;
        infra::write_config(self.cloud, &self.tools, &copy, "plan", work).await?;
        if site.deployment.facts.machine.is_none() {
            adopted::place(self.cloud, &self.tools.terraform, &copy, work).await?;
        }
        let room = Room::of(&copy, module);
        room.close()?;
        work.progress.amount(0, 0, "what would change");
        let told = |_: &Message| {};
        let run = Run { cancel: work.cancel, lock: work.lock, told: &told };
        self.tools.terraform.plan(room.workspace(), &files.plan(), run).await
    }

    /// The state as Terraform shows it, without a secret.
    pub async fn shown(
        &self,
        site: &Site,
        within: &Path,
        work: Work<'_>,
    ) -> Result<String, Failure> {
        let module = self.init(&site.layout, work.cancel).await?;
        let copy = self.copy(site, within, work).await?;
        let files = Files::of(&copy);
        let (dir, state) = (files.run(), files.state());
        let at = StateAt::File(&state);
        let workspace = Workspace { module: &module, dir: &dir, state: at, variables: &[] };
        let told = |_: &Message| {};
        let run = Run { cancel: work.cancel, lock: work.lock, told: &told };
        let text = self.tools.terraform.show(workspace, &state, run).await?;
        let lines =
            without_keys(&text).lines().map(|line| site.scrub(line, LINE)).collect::<Vec<_>>();
        Ok(lines.join("\n"))
    }

    /// The same deployment in another directory, with what a look needs of its files.
    async fn copy(&self, site: &Site, within: &Path, work: Work<'_>) -> Result<Site, Failure> {
        let layout = Layout::new(within).of_installation(site.layout.installation());
        let mut copy = Site { layout, ..site.clone() };
        if let Some(machine) = &mut copy.deployment.spec.machine {
            machine.state = None;
        }
        let (from, to) = (Files::of(site), Files::of(&copy));
        to.make()?;
        let public = |path: PathBuf| path.with_extension("pub");
        for (from, to) in [
            (from.users(), to.users()),
            (from.key(), to.key()),
            (public(from.key()), public(to.key())),
            (from.once_key(), to.once_key()),
            (public(from.once_key()), public(to.once_key())),
            (from.known_hosts(), to.known_hosts()),
            (from.adopted(), to.adopted()),
        ] {
            if from.exists() {
                write(&to, &fs::read(from)?)?;
            }
        }
        state::copy(&self.tools.terraform, site, &to.state(), work).await?;
        Ok(copy)
    }
}

/// The longest line that is shown, in characters.
const LINE: usize = 4000;

fn machine(site: &Site) -> Result<&MachineSpec, Failure> {
    infra::spec(site)
}

/// The text without a private key in it.
fn without_keys(text: &str) -> String {
    let (begins, ends) = ("-----BEGIN ", "PRIVATE KEY-----");
    let mut in_key = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.contains(begins) && line.contains(ends) {
            in_key = true;
            kept.push_str("(a private key)\n");
        } else if in_key {
            in_key = !(line.contains("-----END ") && line.contains(ends));
        } else {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_wrote_is_read_as_terraform_reads_it() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(Written::read(dir.path()).expect("nothing"), Written::default());
        let path = dir.path().join("terraform.tfvars");
        let text = "# region = \"x\"\nregion = \"eu-west-1\" # far\n  size=\"t3.large\"\n\
                    volume_gb = 40 # more\nsizes = \"no\"\n";
        fs::write(&path, text).expect("written");
        let written = Written::read(dir.path()).expect("read");
        assert_eq!(written.region.as_deref(), Some("eu-west-1"));
        assert_eq!((written.size.as_deref(), written.disk_gib), (Some("t3.large"), Some(40)));
        fs::write(&path, "region = \"Nowhere\"\n").expect("written");
        let failure = Written::read(dir.path()).expect_err("no region");
        assert!(failure.to_string().contains("terraform.tfvars"), "{failure}");
    }

    #[test]
    fn a_private_key_is_not_shown() {
        let text = "a\n  -----BEGIN OPENSSH PRIVATE KEY-----\n  AAAA\n  \
                    -----END OPENSSH PRIVATE KEY-----\nb\n";
        assert_eq!(without_keys(text), "a\n(a private key)\nb\n");
    }
}
