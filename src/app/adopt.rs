//! Taking over a machine that an earlier version made.
//!
//! Owns what is asked before anything is written down; the launch that follows takes it over, and can
//! be gone on with like any other.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::App;
use super::infra::MachineRequest;
use super::launching::{LaunchRequest, Launched};
use crate::domain::{Failure, StatePlace};
use crate::operations::Sink;
use crate::targets::machine::Earlier;

/// What is to be taken over.
#[derive(Debug, Clone, Copy)]
pub struct Adopted<'a> {
    /// The state of the earlier version, absolute.
    pub state: &'a Path,
    /// A private key that the machine takes.
    pub key: &'a Path,
    /// The keys of hosts that the user's SSH knows.
    pub known_hosts: &'a Path,
}

impl App {
    /// Takes a machine over, and launches a gateway on it.
    pub async fn adopt(
        &self,
        request: LaunchRequest<'_>,
        adopted: Adopted<'_>,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Launched, Failure> {
        let (name, settings) = (request.name.clone(), request.settings);
        if let Some(existing) = self.living(&name)? {
            let target = existing.spec.target;
            return Err(Failure::conflict(format!("{name} is there already, on {target}")).remedy(
                format!(
                    "openclaw-pipeline launch {name} --target {target} goes on with it; or adopt \
                     the machine under another name"
                ),
            ));
        }
        if let Some(StatePlace::File { path }) = settings.state_place()?
            && Path::new(&path) == adopted.state
        {
            return Err(Failure::conflict(format!(
                "TF_STATE names {path}, which is the earlier version's and stays as it is"
            ))
            .remedy(
                "leave TF_STATE out, or name the place that the state is to have from now on",
            ));
        }
        let earlier = Earlier::read(adopted.state, adopted.known_hosts).await?;
        if let Some(other) = request.target.filter(|it| *it != earlier.target) {
            return Err(Failure::bad_input(format!(
                "the state holds a machine on {}, and --target says {other}",
                earlier.target
            ))
            .remedy("leave --target out"));
        }
        let request = LaunchRequest { target: Some(earlier.target), ..request };
        self.plan_launch(&request, None).await?.refuse_idle_machine()?;
        let machine = MachineRequest { name: name.clone(), target: request.target, settings };
        let mut site = self.machine_site(&machine, sink).await?;
        if let Some(machine) = &mut site.deployment.spec.machine {
            machine.region.clone_from(&earlier.region);
            machine.size = Some(earlier.size.clone());
        }
        let lock = self.lock_idle(&name).await?;
        // What a killed adoption left is written anew.
        let is_there = |name: &str| site.dir().join(name).exists();
        if is_there("terraform.tfvars") && !is_there("adopted.json") {
            return Err(Failure::conflict(format!(
                "{} is there, written for a machine that is to be made",
                site.dir().display()
            ))
            .remedy("move that directory away, or adopt the machine under another name"));
        }
        self.maker(&site)?.adopt(&site, &earlier, adopted.key).await?;
        drop(lock);
        sink.progress().note(&format!(
            "taking over the machine {} ({}); {} stays as it is, and is not to be used any more",
            earlier.id,
            earlier.address,
            adopted.state.display()
        ));
        self.launch(request, sink, cancel).await
    }
}
