//! A machine as Terraform makes it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::cloud::{Cloud, in_words};
use super::files::{Files, Own, suffix};
use super::{Tools, account, reach};
use crate::domain::{Failure, MachineFacts, MachineSpec};
use crate::drivers::aws::address::public_address;
use crate::drivers::ssh::{KeyKind, make_key, public_key};
use crate::drivers::terraform::{Message, Outputs, Run, Said, State, Terraform, Workspace};
use crate::targets::{Progress, Site, Work};

/// Writes the values that the machine is made with.
pub(super) async fn write_config(
    cloud: Cloud,
    tools: &Tools,
    site: &Site,
    operation: &str,
) -> Result<(), Failure> {
    let files = Files::of(site);
    files.make()?;
    let machine = spec(site)?;
    let public_key = public_key(&files.key()).await?;
    let known = site.deployment.facts.machine.as_ref();
    if known.is_none_or(|machine| !machine.ready) && !State::read(&files.state())?.has_machine() {
        // By it alone the machine is known at the first connection.
        make_key(&files.once_key(), KeyKind::Ed25519, "one-time").await?;
        let private = std::fs::read_to_string(files.once_key())?;
        files.write_once(&private)?;
        let public = std::fs::read_to_string(files.once_key().with_extension("pub"))?;
        reach::expect(site, &[&public])?;
    }
    files.write_users(cloud, machine)?;
    let ssh_cidrs = if machine.ssh_cidrs.is_empty() {
        let own = public_address(tools.own_address.as_deref()).await.map_err(|failure| {
            failure.remedy(
                "set OPENCLAW_PIPELINE_SSH_CIDR to the addresses that may reach port 22, such as \
                 203.0.113.7/32",
            )
        })?;
        vec![format!("{own}/32")]
    } else {
        machine.ssh_cidrs.clone()
    };
    let made_by = known.map_or(operation, |machine| &machine.made_by);
    files.write_own(&Own {
        site,
        machine,
        public_key: &public_key,
        ssh_cidrs: &ssh_cidrs,
        operation: made_by,
    })
}

pub(super) fn spec(site: &Site) -> Result<&MachineSpec, Failure> {
    site.deployment
        .spec
        .machine
        .as_ref()
        .ok_or_else(|| Failure::internal("a deployment on a machine without one in its record"))
}

trait HasMachine {
    fn has_machine(&self) -> bool;
}

impl HasMachine for State {
    fn has_machine(&self) -> bool {
        self.has("aws_instance") || self.has("aws_lightsail_instance")
    }
}

/// Makes the machine, or brings what is there to what it should be.
pub(super) async fn make(
    cloud: Cloud,
    tools: &Tools,
    site: &Site,
    work: Work<'_>,
) -> Result<MachineFacts, Failure> {
    let (files, terraform) = (Files::of(site), &tools.terraform);
    let module = terraform.prepare(&site.layout.modules(), &cloud.module(), work.cancel).await?;
    let (dir, state, variables) = (files.run(), files.state(), files.variables());
    let workspace = Workspace { module: &module, dir: &dir, state: &state, variables: &variables };
    let meter = Meter::new(work.progress);
    let told = |message: &Message| meter.told(message);
    let run = Run { cancel: work.cancel, lock: work.lock, told: &told };
    files.close_state()?;
    let held = State::read(&state)?;
    if site.deployment.facts.machine.is_none() && dir.exists() {
        // An earlier run began, and may have been killed with something under way.
        let removed = account::remove_strays(&tools.aws, cloud, site, spec(site)?, &held).await?;
        for stray in removed {
            work.progress.note(&format!("removed {stray}, which a run that was killed had made"));
        }
    }
    let outputs = if held.held.is_empty() {
        terraform.apply(workspace, run).await?
    } else {
        let file = files.plan();
        let applied = async {
            let plan = terraform.plan(workspace, &file, run).await?;
            plan.keep(cloud.kept())?;
            terraform.apply_plan(workspace, &file, run).await
        };
        let applied = applied.await;
        let _ = std::fs::remove_file(&file);
        applied?
    };
    facts(site, &outputs)
}

/// What the module says that it made.
fn facts(site: &Site, outputs: &Outputs) -> Result<MachineFacts, Failure> {
    let text = |name: &str| outputs.get(name).and_then(Value::as_str).map(str::to_owned);
    let needed = |name: &str| {
        text(name).ok_or_else(|| Failure::failed(format!("the module does not say its {name}")))
    };
    let address = needed("public_ip")?;
    let known = site.deployment.facts.machine.as_ref();
    let id = needed("instance_id")?;
    Ok(MachineFacts {
        address: address.parse().map_err(|_| {
            Failure::failed(format!("{address:?} is no address that a machine can have"))
        })?,
        image: text("ami_id"),
        region: needed("region")?,
        user: needed("ssh_user")?,
        resource_name: needed("resource_name")?,
        made_by: known.map(|it| it.made_by.clone()).unwrap_or_default(),
        ready: known.is_some_and(|it| it.ready && it.id == id),
        id,
    })
}

/// Destroys everything that the state holds; says what it was.
pub(super) async fn destroy(
    cloud: Cloud,
    tools: &Tools,
    site: &Site,
    work: Work<'_>,
) -> Result<Vec<String>, Failure> {
    let (files, terraform) = (Files::of(site), &tools.terraform);
    let state = files.state();
    let mut removed = Vec::new();
    if !State::read(&state)?.held.is_empty() {
        removed = destroy_held(cloud, terraform, site, work).await?;
    }
    if files.run().exists() {
        // What no state knows of, because a run was killed with it under way.
        let nothing = State::default();
        removed
            .extend(account::remove_strays(&tools.aws, cloud, site, spec(site)?, &nothing).await?);
    }
    Ok(removed)
}

async fn destroy_held(
    cloud: Cloud,
    terraform: &Terraform,
    site: &Site,
    work: Work<'_>,
) -> Result<Vec<String>, Failure> {
    let files = Files::of(site);
    let state = files.state();
    terraform.require().await?;
    let module = terraform.prepare(&site.layout.modules(), &cloud.module(), work.cancel).await?;
    let (dir, variables) = (files.run(), files.variables());
    let workspace = Workspace { module: &module, dir: &dir, state: &state, variables: &variables };
    let meter = Meter::new(work.progress);
    let told = |message: &Message| meter.told(message);
    let run = Run { cancel: work.cancel, lock: work.lock, told: &told };
    terraform.destroy(workspace, run).await?;
    let left = State::read(&state)?.held;
    if let Some(first) = left.first() {
        return Err(Failure::failed(format!(
            "{} and {} more are still in the state of {}",
            first.kind,
            left.len() - 1,
            suffix(site)
        )));
    }
    Ok(meter.ended())
}

/// Terraform's messages as progress.
struct Meter<'a> {
    progress: &'a dyn Progress,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    done: u64,
    total: u64,
    /// The ids of what is worked on, by address.
    ids: BTreeMap<String, String>,
    ended: Vec<String>,
}

impl<'a> Meter<'a> {
    fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, seen: Mutex::default() }
    }

    fn told(&self, message: &Message) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let what = match &message.said {
            Said::Planned { add, change, remove } => {
                seen.total = add + change + remove;
                "resources".to_owned()
            }
            Said::Begins { address, action, id } => {
                if let Some(id) = id {
                    seen.ids.insert(address.clone(), id.clone());
                }
                let doing = match action.as_str() {
                    "create" => "making",
                    "delete" => "removing",
                    _ => "changing",
                };
                format!("resources: {doing} {}", words(address))
            }
            Said::GoesOn { address, elapsed_s } => {
                format!("resources: {} ({elapsed_s} s)", words(address))
            }
            Said::Ends { address, id, failed: false } => {
                seen.done += 1;
                let id = id.clone().or_else(|| seen.ids.get(address).cloned());
                if let (true, Some(id)) = (is_of_its_own(address), id) {
                    let ended = format!("{} {id}", words(address));
                    seen.ended.push(ended);
                }
                "resources".to_owned()
            }
            _ => return,
        };
        self.progress.amount(seen.done, seen.total, &what);
    }

    /// What work was done on.
    fn ended(self) -> Vec<String> {
        self.seen.into_inner().unwrap_or_else(PoisonError::into_inner).ended
    }
}

/// What a resource is, in words.
fn words(address: &str) -> &str {
    in_words(address.split('.').next().unwrap_or_default())
}

/// Whether a resource is something that people know, and no part of another one.
fn is_of_its_own(address: &str) -> bool {
    let kind = address.split('.').next().unwrap_or_default();
    !["_rule", "_association", "_attachment", "_public_ports"].iter().any(|it| kind.ends_with(it))
}
