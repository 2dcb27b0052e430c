//! Where Terraform's state of each deployment is kept, by `TF_STATE`.
//!
//! Owns that it is written down once, when the machine is not made yet, and that no two deployments
//! share one. Refuses to go on with another one than what was made stands in.

use super::App;
use crate::config::{Settings, Variable};
use crate::domain::{Deployment, DeploymentName, DeploymentSpec, Failure};
use crate::targets::machine::resource_name;

impl App {
    /// Puts the place of the state that the settings name into a specification.
    pub(super) fn as_kept(
        &self,
        (name, id): (&DeploymentName, &str),
        settings: &Settings,
        existing: Option<&Deployment>,
        spec: &mut DeploymentSpec,
    ) -> Result<(), Failure> {
        let Some(machine) = &mut spec.machine else { return Ok(()) };
        let Some(place) = settings.state_place()? else { return Ok(()) };
        let place = place.of(&resource_name(self.layout().installation(), id, name));
        if let Some(existing) = existing {
            self.refuse_other_state(existing, settings)?;
        }
        let is_others = |it: &Deployment| {
            let state = it.spec.machine.as_ref().and_then(|it| it.state.as_ref());
            it.id != id && state == Some(&place)
        };
        if let Some(other) = self.store().deployments(false)?.into_iter().find(is_others) {
            return Err(Failure::conflict(format!(
                "TF_STATE ({}) names {place}, where the state of {} is; each deployment has its own",
                settings.origin(Variable::TfState),
                other.name
            ))
            .remedy("name another file, or a folder for all of them: TF_STATE=…/"));
        }
        machine.state = Some(place);
        Ok(())
    }

    /// Refuses settings that name another state than the one that a deployment's machine stands in.
    pub fn refuse_other_state(
        &self,
        deployment: &Deployment,
        settings: &Settings,
    ) -> Result<(), Failure> {
        let Some(machine) = &deployment.spec.machine else { return Ok(()) };
        let Some(named) = settings.state_place()? else { return Ok(()) };
        let name = &deployment.name;
        let dir = self.layout().deployment(name);
        let facts = &deployment.facts;
        let is_made = facts.machine.is_some() || facts.own_cluster.is_some();
        let has_begun = is_made || dir.join("terraform").exists();
        let own = resource_name(self.layout().installation(), &deployment.id, name);
        let named = named.of(&own);
        if !has_begun || machine.state.as_ref() == Some(&named) {
            return Ok(());
        }
        let place = match &machine.state {
            Some(place) => place.to_string(),
            None => dir.join("terraform.tfstate").display().to_string(),
        };
        Err(Failure::conflict(format!(
            "TF_STATE ({}) names {named}, and the state of {name} is in {place}; nothing was changed",
            settings.origin(Variable::TfState)
        ))
        .remedy("take TF_STATE away: the place is written down with the deployment"))
    }
}
