//! Settings of machines in a cloud.

use super::Settings;
use crate::config::rules;
use crate::config::variables::Variable;
use crate::domain::{Expose, Failure, TargetKind};

impl Settings {
    /// The region.
    pub fn region(&self) -> Result<String, Failure> {
        self.read_or_default(Variable::Region, rules::region)
    }

    /// The instance type or bundle; `None` is the target's default.
    pub fn size(&self) -> Result<Option<String>, Failure> {
        self.read(Variable::Size, rules::size)
    }

    /// Who reaches the gateway.
    pub fn expose(&self) -> Result<Expose, Failure> {
        self.read_or_default(Variable::Expose, |text| {
            text.to_ascii_lowercase()
                .parse::<Expose>()
                .map_err(|failure| failure.remedy("set EXPOSE to http, operator or none"))
        })
    }

    /// Who may reach SSH; none is the operator's own address.
    pub fn ssh_cidrs(&self) -> Result<Vec<String>, Failure> {
        Ok(self.read(Variable::SshCidr, rules::ssh_cidrs)?.unwrap_or_default())
    }

    /// Who tells this machine's own address on the internet, where that is not the usual one.
    pub fn own_address(&self) -> Result<Option<String>, Failure> {
        self.read(Variable::CheckIp, rules::program)
    }

    /// Whose machines are meant, by the folder of their module.
    pub fn module_target(&self) -> Result<Option<TargetKind>, Failure> {
        self.read(Variable::TfDir, rules::module_target)
    }

    /// Terraform, or what stands in for it.
    pub fn terraform(&self) -> Result<String, Failure> {
        self.read_or_default(Variable::TfBin, rules::program)
    }
}
