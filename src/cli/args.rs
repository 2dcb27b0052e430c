//! The arguments.

#![expect(clippy::doc_markdown, reason = "these are help texts, read as they stand")]

use clap::{Args, Parser, Subcommand};

mod access;
mod launch;
mod machines;
mod own_cluster;
mod own_server;
mod webhooks;

pub use access::{Audit, CreateToken, Tokens};
pub use launch::Launch;
pub use machines::{Adopt, Infra, OfMachine};
pub use own_cluster::{OfCluster, OwnCluster};
pub use own_server::{OfServer, OwnServer};
pub use webhooks::{ReplayArgs, Webhooks};

/// Launches OpenClaw gateways, proves that they work, lets your browser in, and keeps them.
#[derive(Debug, Parser)]
#[command(name = "openclaw-pipeline", version, max_term_width = 100)]
pub struct Cli {
    /// Answer with JSON on standard output: one object, or one a line where it streams
    /// (completions, shell, openclaw and logs --raw print what they print).
    #[arg(long, global = true)]
    pub json: bool,
    /// Refuse a deployment that is on another target (the make targets of ec2 and lightsail say so).
    #[arg(long, global = true, value_name = "TARGET")]
    pub on: Option<String>,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// A deployment's name.
#[derive(Debug, Args)]
pub struct Named {
    /// The deployment [default: NAME, or main].
    pub name: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Launch a gateway, or go on with an interrupted launch, and print a link to it.
    Launch(Box<Launch>),
    /// Bring a gateway on a machine (ec2, lightsail) to what the settings say now: machine,
    /// firewall, configuration; like a launch of it, and what runs is stopped for it.
    Deploy(Box<Launch>),
    /// Take over a machine on ec2 or lightsail that an earlier version made, by its Terraform state,
    /// and launch a gateway on it.
    Adopt(Box<Adopt>),
    /// Show what a launch would make or change on ec2 or lightsail, and what the machine costs per
    /// month; nothing is made.
    Plan(OfMachine),
    /// The parts of a machine (ec2, lightsail): key, values, Terraform's module, plan and state.
    #[command(subcommand)]
    Infra(Infra),
    /// List the deployments.
    List,
    /// Show one deployment: its status, steps, address and browsers let in.
    Status(Named),
    /// Print a gateway's log.
    Logs {
        /// The deployment [default: NAME, or main].
        name: Option<String>,
        /// Wait for more.
        #[arg(short, long)]
        follow: bool,
        /// How many lines from the end.
        #[arg(long, default_value_t = 200)]
        tail: u32,
        /// As the gateway wrote it: secrets and control characters included.
        #[arg(long)]
        raw: bool,
    },
    /// Open a shell where the gateway runs.
    Shell {
        /// The deployment [default: NAME, or main].
        name: Option<String>,
        /// On the machine itself, by SSH (ec2, lightsail).
        #[arg(long)]
        host: bool,
    },
    /// Print a link that lets your browser in.
    Open(Named),
    /// Print a link that lets your browser in, and nothing is opened (open does the same).
    Url {
        /// The deployment [default: NAME, or main].
        name: Option<String>,
        /// The link as it works through openclaw-pipeline tunnel (ec2, lightsail).
        #[arg(long)]
        tunnel: bool,
    },
    /// Forward a port of this machine to a gateway on ec2 or lightsail by SSH, until Ctrl-C; what
    /// goes through it can be read by nobody on the way.
    Tunnel {
        /// The deployment [default: NAME, or main].
        name: Option<String>,
        /// The port here, for a program that is no browser [default: the gateway's own].
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
        /// Do not open a browser.
        #[arg(long)]
        no_open: bool,
    },
    /// Let waiting browsers in.
    Approve {
        /// The deployment [default: NAME, or main].
        name: Option<String>,
        /// Exactly this request, whatever it asks for.
        #[arg(long)]
        request: Option<String>,
    },
    /// List a gateway's browsers and devices, or put one out.
    Devices {
        /// The deployment [default: NAME, or main].
        name: Option<String>,
        /// Put this device out (its id, or how it begins).
        #[arg(long, value_name = "DEVICE")]
        remove: Option<String>,
        /// Turn this waiting request away.
        #[arg(long, value_name = "REQUEST", conflicts_with = "remove")]
        reject: Option<String>,
    },
    /// Let a gateway drain and stop it; everything is kept.
    Stop(Named),
    /// Start a stopped gateway and prove it.
    Start(Named),
    /// Stop, start and prove a gateway.
    Restart(Named),
    /// Update a gateway: backup first, back to the old version if the new one does not prove
    /// itself.
    Update {
        /// The deployment [default: NAME, or main].
        name: Option<String>,
        /// The OpenClaw version.
        #[arg(long)]
        version: Option<String>,
        /// The image (docker).
        #[arg(long, conflicts_with = "version")]
        image: Option<String>,
    },
    /// Replace the gateway's token, or provider keys; the old token is shown refused.
    Rotate {
        /// The deployment [default: NAME, or main].
        name: Option<String>,
        /// Replace the token, by OPENCLAW_GATEWAY_TOKEN if that is set, else by a new one.
        /// [default unless --keys or --drop is given]
        #[arg(long)]
        token: bool,
        /// Take over the provider keys that are set in the environment or .env.
        #[arg(long)]
        keys: bool,
        /// Take this provider key, or further variable, out of the gateway; can be repeated.
        #[arg(long, value_name = "VARIABLE")]
        drop: Vec<String>,
    },
    /// Change who reaches a running gateway on a machine (ec2, lightsail): tunnel (everybody, over
    /// HTTPS; the plain port is closed), http (everybody, over plain HTTP), operator (whoever may
    /// reach SSH) or none.
    #[command(override_usage = "openclaw-pipeline expose [NAME] <WHO>")]
    Expose {
        /// The deployment [default: NAME, or main].
        #[arg(value_name = "NAME")]
        name: String,
        /// tunnel, http, operator or none.
        #[arg(value_name = "WHO")]
        who: Option<String>,
    },
    /// Make a verified, sealed backup of a gateway's state.
    Backup(Named),
    /// List a gateway's backups, or delete one.
    Backups {
        /// The deployment [default: NAME, or main].
        name: Option<String>,
        /// Delete the backup with this id instead.
        #[arg(long, value_name = "ID")]
        delete: Option<String>,
    },
    /// Go back to a backup, with the version that made it.
    Restore {
        /// The deployment [default: NAME, or main].
        name: Option<String>,
        /// The backup's id [default: the newest].
        #[arg(long)]
        backup: Option<String>,
    },
    /// Remove a gateway and all its data; its backups stay.
    Destroy {
        /// The deployment [default: NAME, or main].
        name: Option<String>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Make a last backup first.
        #[arg(long)]
        backup: bool,
        /// Leave its volumes, which the next launch of this name takes up: on a cluster.
        #[arg(long)]
        keep_volumes: bool,
        /// Forget it although its cluster is gone, or cannot be looked at: what is left there stays.
        #[arg(long)]
        unseen: bool,
        /// It is no failure when there is no such deployment.
        #[arg(long)]
        if_exists: bool,
    },
    /// Run the gateway's own command line in place: channels, plugins, log-ins.
    Openclaw {
        /// The deployment [default: NAME, or main].
        name: Option<String>,
        /// Its arguments, after --.
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Find what is wrong with this machine or a deployment, and say what to do.
    Doctor {
        /// The deployment [default: all].
        #[arg(conflicts_with = "orphans")]
        name: Option<String>,
        /// Look through the cloud for what carries this installation's id and is in no deployment.
        #[arg(long)]
        orphans: bool,
        /// Remove it.
        #[arg(long, requires = "orphans")]
        remove: bool,
        /// Remove without asking.
        #[arg(long, requires = "remove")]
        yes: bool,
    },
    /// Show the events of a deployment, or of all.
    Events {
        /// The deployment [default: all].
        name: Option<String>,
        /// Those after this sequence number, from there on [default: the last ones].
        #[arg(long)]
        after: Option<i64>,
        /// At most so many.
        #[arg(long, default_value_t = 200)]
        limit: usize,
    },
    /// Operations: list, show, go on with, or give up an interrupted one.
    #[command(subcommand)]
    Operations(Operations),
    /// Where events are sent: list, add or remove an endpoint, see what arrived, send it again.
    #[command(subcommand)]
    Webhooks(Webhooks),
    /// Tokens of the API: make, list or revoke one.
    #[command(subcommand)]
    Tokens(Tokens),
    /// Show who did what with the API and its tokens, and who was not let; newest first.
    Audit(Audit),
    /// Settings, and the gateway's own configuration.
    #[command(subcommand)]
    Config(Config),
    /// Check a part of a gateway now.
    #[command(subcommand)]
    Check(Check),
    /// Make a gateway image on this machine, where none can be pulled.
    #[command(subcommand)]
    Image(Image),
    /// Print an .env with every variable, its meaning and its default; or keep the one here.
    Env {
        /// What to do with the .env of the working directory [default: print an example].
        #[command(subcommand)]
        command: Option<Env>,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// The cluster on EKS that gateways are put on: make it, look, change, remove.
    #[command(subcommand)]
    Cluster(OwnCluster),
    /// The pipeline server on a machine of its own (ec2, lightsail): make it, deploy, look, remove.
    #[command(subcommand)]
    Server(OwnServer),
    /// Answer the HTTP API, carry out what it begins, and tell front ends what happens.
    Serve(Serve),
    /// Keep a deployment (started by the program itself).
    #[command(hide = true)]
    Keep {
        /// The deployment.
        name: String,
    },
    /// Get into a container of a pod (started by the program itself).
    #[command(hide = true)]
    InPod {
        /// Give what runs there a terminal.
        #[arg(short)]
        terminal: bool,
        /// Print its log instead, as much as this says.
        #[arg(long)]
        log: Option<String>,
        /// The container.
        container: String,
        /// What runs there, as a line of a shell.
        line: Option<String>,
    },
}

/// How to serve.
#[derive(Debug, Args)]
pub struct Serve {
    /// The port (SERVER_PORT); 0 is any free one.
    #[arg(long)]
    pub port: Option<String>,
    /// The address to listen on (OPENCLAW_PIPELINE_BIND).
    #[arg(long)]
    pub bind: Option<String>,
    /// The certificate chain, a PEM file (OPENCLAW_PIPELINE_TLS_CERT).
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// The certificate's key, a PEM file (OPENCLAW_PIPELINE_TLS_KEY).
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// A proxy before the server has the TLS, and says in X-Forwarded-For who calls.
    #[arg(long)]
    pub behind_tls_proxy: bool,
    /// Plain HTTP beyond this machine is meant: whoever is on the way can read tokens.
    #[arg(long)]
    pub insecure_http: bool,
    /// How long operations may go on when the server is told to stop, in seconds; what still runs
    /// is then interrupted, and gone on with at the next start.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    pub grace: u64,
}

/// Operations.
#[derive(Debug, Subcommand)]
pub enum Operations {
    /// List the last operations.
    List {
        /// Of this deployment.
        name: Option<String>,
    },
    /// Show one with its steps.
    Show {
        /// Its id.
        id: String,
    },
    /// Go on with an interrupted one.
    Resume {
        /// Its id.
        id: String,
    },
    /// Give an interrupted one up; what exists stays.
    Cancel {
        /// Its id.
        id: String,
    },
}

impl Command {
    /// The deployment that a command is for, as it was given; `None` for one that is for none.
    pub fn deployment(&self) -> Option<Option<&str>> {
        let name = match self {
            Self::Expose { name, who } => return Some(who.as_ref().map(|_| name.as_str())),
            Self::Launch(launch) | Self::Deploy(launch) => &launch.name,
            Self::Adopt(adopt) => &adopt.launch.name,
            Self::Plan(of) => &of.name,
            Self::Infra(infra) => infra.name(),
            Self::Status(named)
            | Self::Open(named)
            | Self::Stop(named)
            | Self::Start(named)
            | Self::Restart(named)
            | Self::Backup(named) => &named.name,
            Self::Logs { name, .. }
            | Self::Shell { name, .. }
            | Self::Url { name, .. }
            | Self::Tunnel { name, .. }
            | Self::Approve { name, .. }
            | Self::Devices { name, .. }
            | Self::Update { name, .. }
            | Self::Rotate { name, .. }
            | Self::Backups { name, .. }
            | Self::Restore { name, .. }
            | Self::Destroy { name, .. }
            | Self::Openclaw { name, .. } => name,
            _ => return None,
        };
        Some(name.as_deref())
    }
}

impl Operations {
    /// Whether it changes an operation.
    pub fn changes(&self) -> bool {
        matches!(self, Self::Resume { .. } | Self::Cancel { .. })
    }
}

/// Settings.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Show each setting, its value and where that came from; secrets masked.
    Explain,
    /// Put ./openclaw.json into the gateway in place of its own, managed settings kept, and prove
    /// it.
    Sync(Named),
}

/// The `.env` of the working directory.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Env {
    /// Make .env with a new gateway token; one that is there is kept.
    Init,
    /// Make .env anew; the old one becomes .env.old.
    Reset {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Make .env from ./openclaw.json; the old one becomes .env.old.
    Clone {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Put .env away as .env.old.
    Remove,
}

/// Images of the gateway.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Build one from npm's packages.
    Build {
        /// The OpenClaw version.
        #[arg(long)]
        version: Option<String>,
        /// The image's name and tag [default: the one that launches use].
        #[arg(long)]
        tag: Option<String>,
        /// The image to build on [default: debian:bookworm-slim].
        #[arg(long)]
        base: Option<String>,
    },
}

/// What to check of a gateway.
#[derive(Debug, Subcommand)]
pub enum Check {
    /// Prove it once more, by the way that its user takes.
    Gateway(Named),
    /// Check that the provider keys arrive in it.
    Auth(Named),
    /// Show its default model, and whether it can use it.
    Model(Named),
}
