//! Settings of machines in a cloud.

use std::path::PathBuf;
use std::time::Duration;

use super::Settings;
use crate::config::rules;
use crate::config::variables::Variable;
use crate::domain::{Failure, StatePlace, TargetKind};

impl Settings {
    /// The port of a gateway on this target, if one was given.
    pub fn port_on(&self, target: TargetKind) -> Result<Option<u16>, Failure> {
        self.read(Variable::GatewayPort, |text| {
            let port = rules::port(text)?;
            if target.has_machine() { rules::port_of_machine(port) } else { Ok(port) }
        })
    }

    /// The region.
    pub fn region(&self) -> Result<String, Failure> {
        self.read_or_default(Variable::Region, rules::region)
    }

    /// The instance type or bundle; `None` is the target's default.
    pub fn size(&self) -> Result<Option<String>, Failure> {
        self.read(Variable::Size, rules::size)
    }

    /// Who may reach SSH; none is the operator's own address.
    pub fn ssh_cidrs(&self) -> Result<Vec<String>, Failure> {
        Ok(self.read(Variable::SshCidr, rules::ssh_cidrs)?.unwrap_or_default())
    }

    /// Who tells this machine's own address on the internet, where that is not the usual one.
    pub fn own_address(&self) -> Result<Option<String>, Failure> {
        self.read(Variable::CheckIp, rules::program)
    }

    /// How long a new machine may take until SSH lets in.
    pub fn boot_within(&self) -> Result<Duration, Failure> {
        self.read_or_default(Variable::BootWithin, rules::boot_within)
    }

    /// Whose machines are meant, by the folder of their module.
    pub fn module_target(&self) -> Result<Option<TargetKind>, Failure> {
        self.read(Variable::TfDir, rules::module_target)
    }

    /// Where Terraform's state is to be kept, where that is said.
    pub fn state_place(&self) -> Result<Option<StatePlace>, Failure> {
        let region = self.read(Variable::StateRegion, rules::region)?;
        let in_bucket = |text: &str| StatePlace::in_bucket(text).transpose();
        let Some(found) = self.read(Variable::TfState, in_bucket)? else { return Ok(None) };
        if let Some((bucket, key)) = found {
            let region = region.map_or_else(|| self.region(), Ok)?;
            return Ok(Some(StatePlace::S3 { bucket, key, region }));
        }
        let is_folder = self.given(Variable::TfState).is_some_and(|it| it.expose().ends_with('/'));
        let path = self.path(Variable::TfState)?.unwrap_or_default();
        let Some(path) = path.to_str().filter(|it| !it.chars().any(char::is_control)) else {
            return Err(Failure::bad_input("TF_STATE is no path that can be written down")
                .remedy("name a file or a folder with a plain name"));
        };
        // A folder that is there is one, however it is written.
        let slash = if is_folder || std::path::Path::new(path).is_dir() { "/" } else { "" };
        Ok(Some(StatePlace::File { path: format!("{path}{slash}") }))
    }

    /// The file in which the user's own SSH knows hosts.
    pub fn known_hosts(&self) -> Result<PathBuf, Failure> {
        self.places.complete(Variable::Home, "~/.ssh/known_hosts", None)
    }

    /// Terraform, or what stands in for it.
    pub fn terraform(&self) -> Result<String, Failure> {
        self.read_or_default(Variable::TfBin, rules::program)
    }

    /// The checkout that the modules and the compose file are taken from, where one is named.
    pub fn checkout(&self) -> Result<Option<PathBuf>, Failure> {
        let Some(dir) = self.path(Variable::PipelineDir)? else { return Ok(None) };
        let checked = rules::checkout(&dir);
        checked.map_err(|failure| self.from(Variable::PipelineDir, failure))?;
        Ok(Some(dir))
    }
}
