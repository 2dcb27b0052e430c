//! The arguments of `cluster`.

#![expect(clippy::doc_markdown, reason = "these are help texts, read as they stand")]

use clap::{Args, Subcommand};

/// What the cluster should be.
#[derive(Debug, Args)]
pub struct OfCluster {
    /// The region of a new one (AWS_REGION).
    #[arg(long)]
    pub region: Option<String>,
    /// The instance type of a new one's nodes [default: t3.medium].
    #[arg(long)]
    pub size: Option<String>,
    /// Who reaches its API, as IPv4 ranges (OPENCLAW_PIPELINE_SSH_CIDR) [default: your own address].
    #[arg(long)]
    pub ssh_cidr: Option<String>,
}

/// This installation's own cluster on EKS: gateways on the eks target that name no other are put
/// on it.
#[derive(Debug, Subcommand)]
pub enum OwnCluster {
    /// Have Terraform get the provider.
    Init,
    /// Show what apply would make or change; nothing is.
    Plan(OfCluster),
    /// Make the cluster (a quarter of an hour), go on with making it, or bring it to what its
    /// terraform.tfvars and the settings say.
    Apply {
        /// What it should be.
        #[command(flatten)]
        of: OfCluster,
        /// Refuse first what a launch of the gateway NAME on it would be refused for, while nothing
        /// is made.
        #[arg(long)]
        for_launch: bool,
    },
    /// Print where its API is, and how kubectl gets to know it.
    Show,
    /// Remove the cluster with its network, once no gateway is on it; say which volumes stay.
    Destroy {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Remove the volumes, too, that gateways of this installation left there.
        #[arg(long)]
        volumes: bool,
        /// Remove it although its API does not answer: nobody sees what is on it, and what hangs by
        /// it may hold its network, or stay and cost.
        #[arg(long)]
        unseen: bool,
    },
}

impl OwnCluster {
    /// What the cluster should be, where that is said.
    pub fn of(&self) -> Option<&OfCluster> {
        match self {
            Self::Plan(of) | Self::Apply { of, .. } => Some(of),
            Self::Init | Self::Show | Self::Destroy { .. } => None,
        }
    }
}
