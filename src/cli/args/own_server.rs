//! The arguments of `server`.

#![expect(clippy::doc_markdown, reason = "these are help texts, read as they stand")]

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What the server's machine should be, and how the server is reached.
#[derive(Debug, Args)]
pub struct OfServer {
    /// The region of the machine (AWS_REGION).
    #[arg(long)]
    pub region: Option<String>,
    /// The instance type or bundle [default: t3.xlarge, xlarge_3_0].
    #[arg(long)]
    pub size: Option<String>,
    /// Who may reach SSH, as IPv4 ranges (OPENCLAW_PIPELINE_SSH_CIDR).
    #[arg(long)]
    pub ssh_cidr: Option<String>,
    /// Who may reach the API, as IPv4 ranges (OPENCLAW_PIPELINE_SERVER_CIDR).
    #[arg(long)]
    pub server_cidr: Option<String>,
    /// The API by TLS, with your certificate or one that the server makes itself [the default].
    #[arg(long, conflicts_with_all = ["insecure_http", "tunnel_only"])]
    pub https: bool,
    /// The API over plain HTTP: whoever is on the way can read tokens.
    #[arg(long, conflicts_with = "tunnel_only")]
    pub insecure_http: bool,
    /// The API on the machine's loopback alone, reached by SSH.
    #[arg(long)]
    pub tunnel_only: bool,
}

/// The pipeline server on a machine of its own. --on says on which cloud [default: ec2, or where it
/// is].
#[derive(Debug, Subcommand)]
pub enum OwnServer {
    /// Make the machine, bring the server there, prove it, and print its address and its token.
    FullSetup(OfServer),
    /// Make the machine alone.
    Setup(OfServer),
    /// Bring this program and the settings to the server, and prove it; what it has under way goes
    /// on. Where the new one does not come up, the old one comes back.
    Deploy(OfServer),
    /// Print the server's log.
    Logs {
        /// Wait for more.
        #[arg(short, long)]
        follow: bool,
        /// How many lines from the end.
        #[arg(long, default_value_t = 200)]
        tail: u32,
    },
    /// Print the address of the server: its API and its console.
    Url,
    /// Remove the server's machine with everything on it.
    Destroy {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Leave what the server launched: the machines stay, cost, and are nobody's any more.
        #[arg(long)]
        leave_machines: bool,
    },
    /// On the server's machine: begin the installation (run by the program itself).
    #[command(hide = true)]
    Begin {
        /// Its id.
        #[arg(long)]
        installation: String,
    },
    /// On the server's machine: make its certificate (run by the program itself).
    #[command(hide = true)]
    Certificate {
        /// Where it lies.
        #[arg(long)]
        dir: PathBuf,
        /// What it is for.
        names: Vec<String>,
    },
}

impl OwnServer {
    /// What is said of the machine, where that is.
    pub fn of(&self) -> Option<&OfServer> {
        match self {
            Self::FullSetup(of) | Self::Setup(of) | Self::Deploy(of) => Some(of),
            _ => None,
        }
    }
}
