//! The arguments of what is about machines.

#![expect(clippy::doc_markdown, reason = "these are help texts, read as they stand")]

use clap::{Args, Subcommand};

use super::{Launch, Named};

/// Whose machine is meant, and what it should be.
#[derive(Debug, Args)]
pub struct OfMachine {
    /// The deployment, which need not be there yet [default: NAME, or main].
    pub name: Option<String>,
    /// ec2 or lightsail [default: the deployment's own, else ec2].
    #[arg(long)]
    pub target: Option<String>,
    /// The region of the machine (AWS_REGION).
    #[arg(long)]
    pub region: Option<String>,
    /// The instance type or bundle.
    #[arg(long)]
    pub size: Option<String>,
    /// Who reaches the gateway: http (everybody), operator or none (EXPOSE).
    #[arg(long)]
    pub expose: Option<String>,
    /// Who may reach SSH, as IPv4 ranges (OPENCLAW_PIPELINE_SSH_CIDR).
    #[arg(long)]
    pub ssh_cidr: Option<String>,
    /// The gateway's port (GATEWAY_PORT).
    #[arg(long)]
    pub port: Option<String>,
}

/// What is taken over.
#[derive(Debug, Args)]
pub struct Adopt {
    /// The state file of the earlier version (terraform-NAME.tfstate); it stays as it is.
    #[arg(long, value_name = "FILE")]
    pub state: String,
    /// The private key that the machine takes; it is copied.
    #[arg(long, value_name = "FILE")]
    pub key: String,
    /// The file in which SSH knows the machine [default: ~/.ssh/known_hosts].
    #[arg(long, value_name = "FILE")]
    pub known_hosts: Option<String>,
    /// The gateway on it.
    #[command(flatten)]
    pub launch: Launch,
}

/// The parts of a machine.
#[derive(Debug, Subcommand)]
pub enum Infra {
    /// Make the SSH key, unless it is there; a launch then uses it.
    CreateKey(OfMachine),
    /// Remove the SSH key of a machine that was never made.
    DeleteKey(OfMachine),
    /// Write what the machine is made with (terraform.tfvars), unless it is there, and print where;
    /// a launch then keeps what you changed.
    Config(OfMachine),
    /// Have Terraform get the provider, once for all deployments.
    Init(OfMachine),
    /// Show what a launch would make or change, and what the machine costs per month.
    Plan(OfMachine),
    /// Make the machine with its gateway, or bring both to what the settings say: launch and
    /// deploy.
    Apply(Box<Launch>),
    /// Show what Terraform's state holds, secrets left out.
    Show(Named),
    /// Remove the machine with its gateway: destroy.
    Destroy {
        /// The deployment [default: NAME, or main].
        name: Option<String>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

impl Infra {
    /// The deployment, as it was given.
    pub fn name(&self) -> &Option<String> {
        match self {
            Self::CreateKey(of)
            | Self::DeleteKey(of)
            | Self::Config(of)
            | Self::Init(of)
            | Self::Plan(of) => &of.name,
            Self::Apply(launch) => &launch.name,
            Self::Show(named) => &named.name,
            Self::Destroy { name, .. } => name,
        }
    }

    /// What the machine should be, where that is said.
    pub fn of_machine(&self) -> Option<&OfMachine> {
        match self {
            Self::CreateKey(of)
            | Self::DeleteKey(of)
            | Self::Config(of)
            | Self::Init(of)
            | Self::Plan(of) => Some(of),
            Self::Apply(_) | Self::Show(_) | Self::Destroy { .. } => None,
        }
    }
}
