//! The arguments of a launch.

#![expect(clippy::doc_markdown, reason = "these are help texts, read as they stand")]

use clap::Args;

/// What to launch.
#[derive(Debug, Args)]
pub struct Launch {
    /// The deployment [default: NAME, or main].
    pub name: Option<String>,
    /// docker, process, ec2, lightsail or eks [default: docker where an engine answers and has the
    /// image, else process].
    #[arg(long)]
    pub target: Option<String>,
    /// The region of the machine (ec2, lightsail; AWS_REGION).
    #[arg(long)]
    pub region: Option<String>,
    /// The instance type or bundle (ec2, lightsail).
    #[arg(long)]
    pub size: Option<String>,
    /// Who reaches the gateway: http (everybody), tunnel (everybody, over HTTPS; ec2, lightsail),
    /// operator or none (ec2, lightsail, eks; EXPOSE).
    #[arg(long)]
    pub expose: Option<String>,
    /// Who may reach SSH, or with operator the gateway, as IPv4 ranges (ec2, lightsail, eks;
    /// OPENCLAW_PIPELINE_SSH_CIDR).
    #[arg(long)]
    pub ssh_cidr: Option<String>,
    /// The context of the kubeconfig whose cluster it goes on (eks; OPENCLAW_PIPELINE_KUBE_CONTEXT).
    #[arg(long)]
    pub context: Option<String>,
    /// The class of its volumes (eks; OPENCLAW_PIPELINE_STORAGE_CLASS).
    #[arg(long)]
    pub storage_class: Option<String>,
    /// The class of the ingress that leads to it (eks; OPENCLAW_PIPELINE_INGRESS_CLASS).
    #[arg(long)]
    pub ingress_class: Option<String>,
    /// The class of the Gateway (Gateway API) that leads to it (eks; OPENCLAW_PIPELINE_GATEWAY_CLASS).
    #[arg(long)]
    pub gateway_class: Option<String>,
    /// The host name by which browsers reach it there (eks; OPENCLAW_PIPELINE_INGRESS_HOST).
    #[arg(long)]
    pub ingress_host: Option<String>,
    /// The gateway's port (GATEWAY_PORT).
    #[arg(long)]
    pub port: Option<String>,
    /// The address to listen on (GATEWAY_BIND).
    #[arg(long)]
    pub bind: Option<String>,
    /// The model, as provider/model (DEFAULT_MODEL).
    #[arg(long)]
    pub model: Option<String>,
    /// The model's provider (DEFAULT_PROVIDER).
    #[arg(long)]
    pub provider: Option<String>,
    /// Ask before commands: on or off (EXEC_ASK).
    #[arg(long)]
    pub exec_ask: Option<String>,
    /// How often the idle agent thinks (HEARTBEAT).
    #[arg(long)]
    pub heartbeat: Option<String>,
    /// The image (docker, ec2, lightsail, eks).
    #[arg(long)]
    pub image: Option<String>,
    /// The OpenClaw version (process).
    #[arg(long)]
    pub version: Option<String>,
    /// The memory limit, in MiB or as 2g.
    #[arg(long)]
    pub memory: Option<String>,
    /// Browsers that ask to be let in: auto, ask or off.
    #[arg(long)]
    pub approval: Option<String>,
    /// How long auto and ask look, 10m for example.
    #[arg(long)]
    pub approval_window: Option<String>,
    /// How many browsers auto lets in.
    #[arg(long)]
    pub approval_devices: Option<String>,
    /// A file with further variables for the gateway (OPENCLAW_ENV_FILE).
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<String>,
    /// A further variable for the gateway. Others on this machine can see arguments: give secrets
    /// by --env-file.
    #[arg(long, value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Print the bare address instead of a link that lets a browser in.
    #[arg(long)]
    pub no_link: bool,
}
