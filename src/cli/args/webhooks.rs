//! The arguments of `webhooks`.

use clap::{Args, Subcommand};

/// Endpoints, where events are sent.
#[derive(Debug, Subcommand)]
pub enum Webhooks {
    /// List the endpoints, and what is pending for each.
    List,
    /// Send events to a further address, and print the secret that they are signed with, this once.
    Add {
        /// The address: https, and reachable from the internet.
        url: String,
        /// Only events of these types [default: all].
        #[arg(long, value_delimiter = ',', value_name = "TYPES")]
        events: Option<Vec<String>>,
        /// Only those of deployments whose name begins so [default: all].
        #[arg(long, value_delimiter = ',', value_name = "PREFIXES")]
        names: Option<Vec<String>>,
    },
    /// Remove an endpoint, with what is pending for it.
    Remove {
        /// Its id.
        id: String,
    },
    /// Send an endpoint what waits for it; one that answers 410 is disabled.
    Enable {
        /// Its id.
        id: String,
    },
    /// Give an endpoint a new secret and print it, this once; the old one signs as well for a day.
    RotateSecret {
        /// Its id.
        id: String,
    },
    /// List what was sent to an endpoint, the newest first.
    Deliveries {
        /// Its id.
        id: String,
        /// Only those: pending, delivered or dead.
        #[arg(long)]
        status: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Send events to an endpoint again.
    Replay(Box<ReplayArgs>),
}

/// What is sent again.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The endpoint's id.
    pub id: String,
    /// The event with this id.
    #[arg(long, required_unless_present = "from")]
    pub event: Option<String>,
    /// From the event with this sequence number …
    #[arg(long, value_name = "N", conflicts_with = "event", requires = "to")]
    pub from: Option<i64>,
    /// … to the one with this.
    #[arg(long, value_name = "M", conflicts_with = "event", requires = "from")]
    pub to: Option<i64>,
    /// Only what stands in the dead letters.
    #[arg(long, conflicts_with = "event")]
    pub dead: bool,
}
