//! A machine as Terraform makes it.

use serde_json::Value;

use super::cloud::{Cloud, in_words};
use super::files::{Files, Own};
use super::meter::Meter;
use super::state::{Room, held, place};
use super::{Tools, account, adopted, reach, strays};
use crate::domain::{Failure, MachineFacts, MachineSpec};
use crate::drivers::aws::address::public_address;
use crate::drivers::ssh::{KeyKind, make_key, public_key};
use crate::drivers::terraform::{
    Message, Outputs, Run, State, Terraform, Workspace, is_name_taken,
};
use crate::targets::{Site, Work};

/// Writes the values that the machine is made with.
pub(super) async fn write_config(
    cloud: Cloud,
    tools: &Tools,
    site: &Site,
    operation: &str,
    work: Work<'_>,
) -> Result<(), Failure> {
    let files = Files::of(site);
    files.make()?;
    let machine = spec(site)?;
    let public_key = public_key(&files.key()).await?;
    let known = site.deployment.facts.machine.as_ref();
    let region = region(site, machine)?;
    if known.is_none_or(|machine| !machine.ready)
        && !adopted::is_adopted(site)
        && !held(&tools.terraform, site, work).await?.has_machine()
    {
        // By it alone the machine is known at the first connection.
        make_key(&files.once_key(), KeyKind::Ed25519, "one-time").await?;
        let private = std::fs::read_to_string(files.once_key())?;
        files.write_once(&private)?;
        let public = std::fs::read_to_string(files.once_key().with_extension("pub"))?;
        reach::expect(site, &[&public])?;
    }
    files.write_users(cloud, machine)?;
    let ssh_cidrs = operators(tools, machine, "port 22").await?;
    let made_by = known.map_or(operation, |machine| &machine.made_by);
    let own = Own {
        site,
        machine,
        public_key: &public_key,
        ssh_cidrs: &ssh_cidrs,
        operation: made_by,
        region: &region,
    };
    files.write_own(&own.values())
}

/// Who operates it, as ranges: those that were named, or the address that this machine has.
pub(in crate::targets) async fn operators(
    tools: &Tools,
    machine: &MachineSpec,
    what: &str,
) -> Result<Vec<String>, Failure> {
    if !machine.ssh_cidrs.is_empty() {
        return Ok(machine.ssh_cidrs.clone());
    }
    let own = public_address(tools.own_address.as_deref()).await.map_err(|failure| {
        failure.remedy(format!(
            "set OPENCLAW_PIPELINE_SSH_CIDR to the addresses that may reach {what}, such as \
             203.0.113.7/32"
        ))
    })?;
    Ok(vec![format!("{own}/32")])
}

/// The region of a deployment's machine: where an earlier run worked, and before that what the user
/// wrote down. What was made in one is found in no other.
pub(in crate::targets) fn region(site: &Site, machine: &MachineSpec) -> Result<String, Failure> {
    let files = Files::of(site);
    let (made, users) = (files.region_of_run(), files.users_value("region"));
    if let (Some(made), Some(users)) = (&made, &users)
        && made != users
    {
        let name = &site.deployment.name;
        return Err(Failure::conflict(format!(
            "the deployment's terraform.tfvars names the region {users}, and its machine is made in \
             {made}; nothing was changed"
        ))
        .remedy(format!(
            "write {made} there again; to begin anew elsewhere: {}, then {} --region {users}",
            name.destroying(),
            name.launching(None)
        )));
    }
    Ok(made.or(users).unwrap_or_else(|| machine.region.clone()))
}

/// That a machine which was made is there no more.
pub(super) fn gone(site: &Site, machine: &MachineFacts) -> Failure {
    let name = &site.deployment.name;
    let failure = Failure::not_found(format!(
        "the machine {} is gone from {} in {}, and the data on it; nothing was changed",
        machine.id, site.deployment.spec.target, machine.region
    ));
    let (removes, makes) = (name.destroying(), name.launching(None));
    if name.is_server() {
        return failure.remedy(format!(
            "{removes} removes what is left of it; after that, {makes} makes another one"
        ));
    }
    failure.remedy(format!(
        "{removes} removes what is left of it; after that, {makes} makes another one, and \
         openclaw-pipeline restore {name} puts a backup there"
    ))
}

pub(in crate::targets) fn spec(site: &Site) -> Result<&MachineSpec, Failure> {
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
    let region = region(site, spec(site)?)?;
    let account = account::of(tools, site, &region, work).await?;
    if !account::has_begun(site) {
        // Killed from here on, it is gone on with in this account alone.
        files.write_account(&account)?;
    }
    let module = tools.module(cloud.module(), &site.layout, work.cancel).await?;
    let meter = Meter::new(work.progress);
    let told = |message: &Message| meter.told(message);
    let run = Run { cancel: work.cancel, lock: work.lock, told: &told };
    let known = site.deployment.facts.machine.as_ref();
    // An earlier run began, and may have been killed with something under way.
    let went_before = known.is_none() && files.run().exists();
    if known.is_none() {
        adopted::place(cloud, terraform, site, work).await?;
    }
    let room = Room::of(site, module);
    let workspace = room.workspace();
    room.close()?;
    // How many things were there that were made, and no state knows of.
    let sweep = async || {
        let known = held(terraform, site, work).await?;
        let kinds = strays::of_machine(cloud, site);
        let found = strays::find(&tools.aws, site, &region, &kinds, &known).await?;
        Ok::<_, Failure>(strays::remove(&tools.aws, site, &region, found, work).await?.len())
    };
    if went_before {
        sweep().await?;
    }
    let applied = match apply(cloud, terraform, site, workspace, run, work).await {
        // What was asked for last has the name: by a run that was killed, and it came only after the
        // look; or by this one, whose answer was lost on its way.
        Err(failure) if known.is_none() && is_name_taken(&failure) => {
            if sweep().await? == 0 {
                return Err(failure);
            }
            apply(cloud, terraform, site, workspace, run, work).await
        }
        applied => applied,
    };
    let outputs = applied?;
    if known.is_none() {
        // What was asked for once more because no answer came is there twice.
        sweep().await?;
    }
    adopted::placed(site)?;
    facts(site, account, &outputs)
}

/// One apply. Where there is something already, what would become of it is looked at first.
async fn apply(
    cloud: Cloud,
    terraform: &Terraform,
    site: &Site,
    workspace: Workspace<'_>,
    run: Run<'_>,
    work: Work<'_>,
) -> Result<Outputs, Failure> {
    let known = site.deployment.facts.machine.as_ref();
    let before = held(terraform, site, work).await?;
    if before.held.is_empty() {
        if let Some(machine) = known {
            return Err(lost(site, machine));
        }
        return terraform.apply(workspace, run).await;
    }
    let file = Files::of(site).plan();
    let applied = async {
        let plan = terraform.plan(workspace, &file, run).await?;
        plan.keep(&kept_kinds(cloud, site, &before))?;
        if plan.creates(cloud.instance()) {
            if let Some(machine) = known {
                return Err(gone(site, machine));
            }
            if adopted::is_adopted(site) {
                return Err(adopted::gone(site));
            }
        }
        if plan.is_idle {
            return Ok(before.outputs);
        }
        terraform.apply_plan(workspace, &file, run).await
    };
    let applied = applied.await;
    let _ = std::fs::remove_file(&file);
    applied
}

/// What no apply takes away. Something whose making was broken off before anybody knew of the
/// machine holds nobody's data, and is made anew.
fn kept_kinds(cloud: Cloud, site: &Site, held: &State) -> Vec<&'static str> {
    let is_known = site.deployment.facts.machine.is_some();
    let is_whole = |kind: &str| held.held.iter().any(|it| it.kind == kind && !it.is_tainted);
    cloud.kept().iter().copied().filter(|kind| is_known || is_whole(kind)).collect()
}

/// That nobody knows any more what belongs to a machine which was made.
fn lost(site: &Site, machine: &MachineFacts) -> Failure {
    let name = &site.deployment.name;
    Failure::conflict(format!(
        "Terraform's state of {name} holds nothing, and the machine {} was made; nothing was changed",
        machine.id
    ))
    .remedy(format!(
        "put the state back (in {}, or its .backup); {} finds what was made by its tags, and \
         removes it",
        place(site),
        name.destroying()
    ))
}

/// What the module says that it made.
fn facts(site: &Site, account: String, outputs: &Outputs) -> Result<MachineFacts, Failure> {
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
        account,
        user: needed("ssh_user")?,
        resource_name: needed("resource_name")?,
        made_by: known.map(|it| it.made_by.clone()).unwrap_or_default(),
        ready: known.is_some_and(|it| it.ready && it.id == id),
        id,
    })
}

/// Where what is there of a deployment was made.
fn region_of_made(site: &Site) -> Result<String, Failure> {
    let known = site.deployment.facts.machine.as_ref().map(|machine| machine.region.clone());
    let region = known.or_else(|| Files::of(site).region());
    Ok(region.unwrap_or(spec(site)?.region.clone()))
}

/// Refuses credentials of another account than the one that the machine was made in: to them,
/// everything is gone. Where nothing was begun, nobody is asked.
pub(super) async fn refuse_other_account(
    tools: &Tools,
    site: &Site,
    work: Work<'_>,
) -> Result<(), Failure> {
    let has_begun =
        account::has_begun(site) || !held(&tools.terraform, site, work).await?.held.is_empty();
    if has_begun {
        account::of(tools, site, &region_of_made(site)?, work).await?;
    }
    Ok(())
}

/// Destroys everything that the state holds; says what it was.
pub(super) async fn destroy(
    cloud: Cloud,
    tools: &Tools,
    site: &Site,
    work: Work<'_>,
) -> Result<Vec<String>, Failure> {
    refuse_other_account(tools, site, work).await?;
    let mut removed = Vec::new();
    if !held(&tools.terraform, site, work).await?.held.is_empty() {
        removed = destroy_held(cloud, tools, site, work).await?;
    }
    if account::has_begun(site) {
        // What no state knows of, because a run was killed with it under way.
        let region = region_of_made(site)?;
        let nothing = State::default();
        let kinds = strays::of_machine(cloud, site);
        let found = strays::find(&tools.aws, site, &region, &kinds, &nothing).await?;
        removed.extend(strays::remove(&tools.aws, site, &region, found, work).await?);
    }
    Ok(removed)
}

async fn destroy_held(
    cloud: Cloud,
    tools: &Tools,
    site: &Site,
    work: Work<'_>,
) -> Result<Vec<String>, Failure> {
    let terraform = &tools.terraform;
    terraform.require().await?;
    let module = tools.module(cloud.module(), &site.layout, work.cancel).await?;
    let room = Room::of(site, module);
    let meter = Meter::new(work.progress);
    let told = |message: &Message| meter.told(message);
    let run = Run { cancel: work.cancel, lock: work.lock, told: &told };
    terraform.destroy(room.workspace(), run).await?;
    let left = held(terraform, site, work).await?.held;
    if let Some(first) = left.first() {
        return Err(Failure::failed(format!(
            "{} and {} more are still in the state in {}",
            in_words(&first.kind),
            left.len() - 1,
            place(site)
        )));
    }
    Ok(meter.ended())
}
