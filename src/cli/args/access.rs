//! The arguments of `tokens` and `audit`.

use clap::{Args, Subcommand};

/// Tokens of the API.
#[derive(Debug, Subcommand)]
pub enum Tokens {
    /// Make a token and print it, this once.
    Create(Box<CreateToken>),
    /// List the tokens; their text is not kept.
    List,
    /// Revoke a token; a server that runs refuses it at once.
    Revoke {
        /// Its id.
        id: String,
    },
}

/// A token to be.
#[derive(Debug, Args)]
pub struct CreateToken {
    /// What the token is for, such as "front end".
    #[arg(long)]
    pub label: String,
    /// What it may: read, deploy, connect, destroy or admin; can be repeated.
    #[arg(long, value_delimiter = ',')]
    pub scope: Vec<String>,
    /// Post events of this deployment; can be repeated.
    #[arg(long, value_name = "NAME")]
    pub events: Vec<String>,
    /// Reach only names that begin so.
    #[arg(long)]
    pub prefix: Option<String>,
    /// Have at most so many deployments at once.
    #[arg(long, value_name = "N")]
    pub max_deployments: Option<u32>,
    /// Have at most so many launches at once.
    #[arg(long, value_name = "N")]
    pub max_launches: Option<u32>,
    /// Launch on this target only; can be repeated.
    #[arg(long)]
    pub target: Vec<String>,
    /// Launch machines of this size only; can be repeated.
    #[arg(long, value_name = "SIZE")]
    pub size: Vec<String>,
    /// Launch machines in this region only; can be repeated.
    #[arg(long)]
    pub region: Vec<String>,
    /// Have machines that cost at most so much a month together, in US dollars.
    #[arg(long, value_name = "DOLLARS")]
    pub max_monthly_price: Option<u32>,
    /// Let what it launches have the server's own provider keys.
    #[arg(long)]
    pub server_credentials: bool,
    /// When it ends: 30d, 12h, or a moment such as 2031-01-31T00:00:00Z [default: never].
    #[arg(long)]
    pub expires: Option<String>,
}

/// What of the audit log to show.
#[derive(Debug, Args)]
pub struct Audit {
    /// About this deployment, or this token.
    #[arg(long)]
    pub name: Option<String>,
    /// By this token (its id), operator, or another principal.
    #[arg(long)]
    pub actor: Option<String>,
    /// That ended so: allowed, denied or failed.
    #[arg(long)]
    pub outcome: Option<String>,
    /// The last so many.
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
}
