//! Every environment variable that the program reads, in one table.
//!
//! Owns the names, what they mean, their defaults and which are secret. Refuses names elsewhere:
//! `.env.example`, `config explain` and the notices about unknown keys are made from this table.
//! A variable stands here once it works, not before.

/// The `OpenClaw` version that is installed unless another one is asked for.
pub const DEFAULT_VERSION: &str = "2026.9.6";
/// The image that is run unless another one is asked for.
pub const DEFAULT_IMAGE: &str = "ghcr.io/openclaw/openclaw:latest";
/// The image of a tunnel's program unless another one is asked for.
pub const DEFAULT_TUNNEL_IMAGE: &str = "docker.io/cloudflare/cloudflared:2026.7.3@sha256:e39ee8da81ad5e05d77f38d2f51c60ca51bf2a8450ac3abab50c17fdb91d91bf";
/// The gateway's port, unless another one is asked for.
pub const DEFAULT_PORT: u16 = 18789;
/// The gateway's memory limit in mebibytes, unless another one is asked for.
pub const DEFAULT_MEMORY_MIB: u32 = 2048;
/// What the project's own variables start with.
pub const OWN_PREFIX: &str = "OPENCLAW_PIPELINE_";

mod cluster;
mod definition;
mod own_server;

pub use definition::{DefaultValue, Definition};

/// A variable of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the table says what each one means")]
pub enum Variable {
    ClaudeCodeOauthToken,
    AnthropicApiKey,
    GeminiApiKey,
    OpenAiApiKey,
    GroqApiKey,
    XaiApiKey,
    MistralApiKey,
    OpenRouterApiKey,
    Name,
    GatewayToken,
    GatewayPort,
    GatewayBind,
    DefaultModel,
    DefaultProvider,
    ExecAsk,
    Heartbeat,
    EnvFile,
    SkipApproval,
    Approval,
    ApprovalWindow,
    ApprovalDevices,
    Image,
    Version,
    Memory,
    Region,
    Size,
    Expose,
    Cloudflare,
    TunnelHost,
    TunnelToken,
    TunnelImage,
    SshCidr,
    Kubeconfig,
    KubeContext,
    StorageClass,
    IngressClass,
    GatewayClass,
    IngressHost,
    IngressTlsSecret,
    IngressProxies,
    OwnServerCidr,
    OwnServerBinary,
    OwnServerTerraform,
    OwnServerTlsCert,
    OwnServerTlsKey,
    OwnServerAwsKeyId,
    OwnServerAwsSecret,
    TfBin,
    TfDir,
    PipelineDir,
    TfState,
    StateRegion,
    CheckIp,
    BootWithin,
    Home,
    KeyFile,
    DatabaseUrl,
    Log,
    ServerPort,
    ServerBind,
    ApiToken,
    EventsToken,
    WebhookUrl,
    LocalTargets,
    Hosts,
    TrustedImages,
    CorsOrigins,
    TlsCert,
    TlsKey,
    OtlpEndpoint,
    FrontendUrl,
    WebhookSecret,
    WebhookRetry,
}

impl Variable {
    /// The variable's row.
    pub fn definition(self) -> &'static Definition {
        VARIABLES
            .iter()
            .find(|row| row.variable == self)
            .expect("the table has every variable; a test walks it")
    }

    /// The variable's name.
    pub fn name(self) -> &'static str {
        self.definition().name
    }

    /// The variable that is called so, by name or alias.
    pub fn by_name(name: &str) -> Option<Self> {
        VARIABLES
            .iter()
            .find(|row| row.name == name || row.alias == Some(name))
            .map(|row| row.variable)
    }
}

const CREDENTIAL: &str = "Provider credentials: give at least one. The first one given chooses \
                          the default model.";
const GATEWAY: &str = "The gateway";
const APPROVAL: &str = "Letting browsers in";
const ARTEFACT: &str = "What runs";
const MACHINE: &str = "Machines in a cloud";
const PLACES: &str = "Where things are kept";
const SERVER: &str = "The server (openclaw-pipeline serve)";
const EVENTS: &str = "Telling your front end what happens";

const fn credential(variable: Variable, name: &'static str, doc: &'static str) -> Definition {
    Definition {
        variable,
        name,
        alias: None,
        secret: true,
        default: DefaultValue::Unset(""),
        doc,
        group: CREDENTIAL,
    }
}

const fn row(
    group: &'static str,
    variable: Variable,
    name: &'static str,
    default: DefaultValue,
    doc: &'static str,
) -> Definition {
    Definition { variable, name, alias: None, secret: false, default, doc, group }
}

use DefaultValue::{Computed, Text, Unset};

/// Every variable, in the order in which people meet them. The credentials are
/// [`crate::domain::credential::CREDENTIALS`], in their order.
pub const VARIABLES: [Definition; 73] = [
    credential(
        Variable::ClaudeCodeOauthToken,
        "CLAUDE_CODE_OAUTH_TOKEN",
        "Claude Code OAuth token (Anthropic)",
    ),
    credential(Variable::AnthropicApiKey, "ANTHROPIC_API_KEY", "Anthropic API key"),
    credential(Variable::GeminiApiKey, "GEMINI_API_KEY", "Google Gemini API key"),
    credential(Variable::OpenAiApiKey, "OPENAI_API_KEY", "OpenAI API key"),
    credential(
        Variable::GroqApiKey,
        "GROQ_API_KEY",
        "Groq API key (has an effect with the plugin @openclaw/groq-provider only)",
    ),
    credential(Variable::XaiApiKey, "XAI_API_KEY", "xAI API key"),
    credential(
        Variable::MistralApiKey,
        "MISTRAL_API_KEY",
        "Mistral API key (has an effect with the plugin @openclaw/mistral-provider only)",
    ),
    credential(Variable::OpenRouterApiKey, "OPENROUTER_API_KEY", "OpenRouter API key"),
    Definition {
        alias: Some("name"),
        ..row(
            GATEWAY,
            Variable::Name,
            "NAME",
            Text("main"),
            "The deployment's name: 1 to 40 of a-z, 0-9 and -",
        )
    },
    Definition {
        secret: true,
        ..row(
            GATEWAY,
            Variable::GatewayToken,
            "OPENCLAW_GATEWAY_TOKEN",
            Unset("generated at launch"),
            "The gateway's token: 16 to 512 printable characters without blanks",
        )
    },
    row(
        GATEWAY,
        Variable::GatewayPort,
        "GATEWAY_PORT",
        Text("18789"),
        "The gateway's port, 1 to 65535; unless set, the next free one is taken when it is in use",
    ),
    row(
        GATEWAY,
        Variable::GatewayBind,
        "GATEWAY_BIND",
        Text("127.0.0.1"),
        "The address that the port is published on; 0.0.0.0 lets other machines reach it",
    ),
    row(
        GATEWAY,
        Variable::DefaultModel,
        "DEFAULT_MODEL",
        Unset("chosen by the first credential given"),
        "The model, as provider/model, or a name that tells its provider (claude-*, gemini-*, \
         gpt-*, o1-*, o3-*)",
    ),
    row(
        GATEWAY,
        Variable::DefaultProvider,
        "DEFAULT_PROVIDER",
        Unset("inferred from the model"),
        "The model's provider, where its name does not tell",
    ),
    row(
        GATEWAY,
        Variable::ExecAsk,
        "EXEC_ASK",
        Text("on"),
        "Whether the agent asks before it runs a command: on or off",
    ),
    row(
        GATEWAY,
        Variable::Heartbeat,
        "HEARTBEAT",
        Text("off"),
        "How often the idle agent thinks, and spends: off, or 30m, 1h and the like",
    ),
    row(
        GATEWAY,
        Variable::EnvFile,
        "OPENCLAW_ENV_FILE",
        Unset("no further variables"),
        "A file with further variables for the gateway: channel tokens, other providers' keys",
    ),
    row(
        APPROVAL,
        Variable::SkipApproval,
        "SKIP_APPROVAL",
        Text("false"),
        "true: let no browser in automatically",
    ),
    row(
        APPROVAL,
        Variable::Approval,
        "OPENCLAW_PIPELINE_APPROVAL",
        Text("auto"),
        "Browsers that ask to be let in: auto (within the window), ask (a person decides) or off",
    ),
    row(
        APPROVAL,
        Variable::ApprovalWindow,
        "OPENCLAW_PIPELINE_APPROVAL_WINDOW",
        Text("10m"),
        "How long browsers are let in after a launch: seconds, or 10m; at most 1h",
    ),
    row(
        APPROVAL,
        Variable::ApprovalDevices,
        "OPENCLAW_PIPELINE_APPROVAL_DEVICES",
        Text("3"),
        "How many browsers are let in within the window, 1 to 20",
    ),
    row(
        ARTEFACT,
        Variable::Image,
        "OPENCLAW_PIPELINE_IMAGE",
        Text(DEFAULT_IMAGE),
        "The image, for targets that run one",
    ),
    row(
        ARTEFACT,
        Variable::Version,
        "OPENCLAW_PIPELINE_VERSION",
        Text(DEFAULT_VERSION),
        "The OpenClaw version, for targets that install it",
    ),
    row(
        ARTEFACT,
        Variable::Memory,
        "OPENCLAW_PIPELINE_MEMORY",
        Text("2048"),
        "The gateway's memory limit in MiB, or 2g and the like; at least 1024",
    ),
    row(MACHINE, Variable::Region, "AWS_REGION", Text("us-west-2"), "The region of new machines"),
    row(
        MACHINE,
        Variable::Size,
        "OPENCLAW_PIPELINE_SIZE",
        Unset("t3.medium on EC2, medium_3_0 on Lightsail"),
        "The instance type or bundle of new machines",
    ),
    row(
        MACHINE,
        Variable::Expose,
        "EXPOSE",
        Text("http"),
        "Who reaches the gateway: http (everybody), tunnel (everybody, over HTTPS), operator \
         (whoever may reach SSH) or none",
    ),
    Definition {
        alias: Some("cloudflare"),
        ..row(
            MACHINE,
            Variable::Cloudflare,
            "CLOUDFLARE",
            Text("false"),
            "true: a Cloudflare tunnel in front of the gateway, as EXPOSE=tunnel",
        )
    },
    row(
        MACHINE,
        Variable::TunnelHost,
        "OPENCLAW_PIPELINE_TUNNEL_HOSTNAME",
        Unset("a quick tunnel, whose name is new at each start"),
        "The host name of a named Cloudflare tunnel; its token goes with it",
    ),
    Definition {
        secret: true,
        ..row(
            MACHINE,
            Variable::TunnelToken,
            "OPENCLAW_PIPELINE_TUNNEL_TOKEN",
            Unset("a quick tunnel"),
            "The token of a named Cloudflare tunnel that leads to http://openclaw-gateway:18789",
        )
    },
    row(
        MACHINE,
        Variable::TunnelImage,
        "OPENCLAW_PIPELINE_TUNNEL_IMAGE",
        Text(DEFAULT_TUNNEL_IMAGE),
        "The image of cloudflared",
    ),
    row(
        MACHINE,
        Variable::SshCidr,
        "OPENCLAW_PIPELINE_SSH_CIDR",
        Unset("your own address, found out"),
        "Who may reach the machine's port 22: IPv4 ranges, separated by commas; never the world",
    ),
    row(
        MACHINE,
        Variable::TfBin,
        "TF_BIN",
        Text("terraform"),
        "Terraform 1.10 or newer, or OpenTofu: a name in PATH, or a path",
    ),
    row(
        MACHINE,
        Variable::TfDir,
        "TF_DIR",
        Unset("terraform/ec2"),
        "Whose machines the scripts mean: terraform/ec2 or terraform/lightsail",
    ),
    row(
        MACHINE,
        Variable::PipelineDir,
        "PIPELINE_DIR",
        Unset("what the program carries"),
        "A checkout of the project, whose terraform/ec2, terraform/lightsail and docker-compose.yml \
         are used",
    ),
    row(
        MACHINE,
        Variable::TfState,
        "TF_STATE",
        Unset("in the data directory"),
        "Where Terraform's state is: a file, s3://BUCKET/KEY, or a folder of either that ends in /",
    ),
    row(
        MACHINE,
        Variable::StateRegion,
        "OPENCLAW_PIPELINE_STATE_REGION",
        Unset("the region of new machines"),
        "The region of the bucket that TF_STATE names",
    ),
    row(
        MACHINE,
        Variable::CheckIp,
        "OPENCLAW_PIPELINE_CHECKIP_URL",
        Unset("https://checkip.amazonaws.com/"),
        "Who tells your own address: a URL that answers with it and nothing else",
    ),
    row(
        MACHINE,
        Variable::BootWithin,
        "OPENCLAW_PIPELINE_BOOT_TIMEOUT",
        Text("10m"),
        "How long a new machine may take until SSH lets in, and on a cluster a pod, or what leads to it: \
         seconds, or a number with s, m or h",
    ),
    row(
        PLACES,
        Variable::Home,
        "OPENCLAW_PIPELINE_HOME",
        Computed("$XDG_DATA_HOME/openclaw-pipeline, or ~/.local/share/openclaw-pipeline"),
        "The data directory",
    ),
    row(
        PLACES,
        Variable::KeyFile,
        "OPENCLAW_PIPELINE_KEY_FILE",
        Computed("$XDG_CONFIG_HOME/openclaw-pipeline/sealing.key, or under ~/.config"),
        "The key that stored secrets are sealed with; it is made when there is none, and lives \
         outside the data directory",
    ),
    Definition {
        // Those of other databases hold passwords.
        secret: true,
        ..row(
            PLACES,
            Variable::DatabaseUrl,
            "OPENCLAW_PIPELINE_DATABASE_URL",
            Unset("sqlite: in the data directory"),
            "The store: sqlite: is the only one yet, and lies in the data directory",
        )
    },
    row(
        PLACES,
        Variable::Log,
        "OPENCLAW_PIPELINE_LOG",
        Text("warn"),
        "What of the program's own log goes to standard error: off, error, warn, info, debug or \
         trace (serve: info)",
    ),
    row(SERVER, Variable::ServerPort, "SERVER_PORT", Text("4000"), "The API's port"),
    row(
        SERVER,
        Variable::ServerBind,
        "OPENCLAW_PIPELINE_BIND",
        Text("127.0.0.1"),
        "The API's address; beyond loopback it needs a token, and TLS or a proxy that has it",
    ),
    Definition {
        secret: true,
        ..row(
            SERVER,
            Variable::ApiToken,
            "OPENCLAW_PIPELINE_API_TOKEN",
            Unset("only the tokens that were made with: openclaw-pipeline tokens create"),
            "A token of the API that may do everything: 16 to 512 printable characters without \
             blanks",
        )
    },
    Definition {
        secret: true,
        ..row(
            SERVER,
            Variable::EventsToken,
            "OPENCLAW_PIPELINE_EVENTS_TOKEN",
            Unset("none"),
            "What scripts/webhook-notify.sh shows: a token that may post one deployment's events",
        )
    },
    row(
        SERVER,
        Variable::WebhookUrl,
        "WEBHOOK_URL",
        Text("http://localhost:4000"),
        "Where scripts/webhook-notify.sh posts events: the address of a server",
    ),
    row(
        SERVER,
        Variable::LocalTargets,
        "OPENCLAW_PIPELINE_LOCAL_TARGETS",
        Unset("on where the API listens on loopback only"),
        "Whether the API launches on this machine: true or false",
    ),
    row(
        SERVER,
        Variable::Hosts,
        "OPENCLAW_PIPELINE_HOSTS",
        Unset("this machine's own names"),
        "Further names by which the API is called, separated by commas; others are refused",
    ),
    row(
        SERVER,
        Variable::TrustedImages,
        "OPENCLAW_PIPELINE_TRUSTED_IMAGES",
        Unset("the official one"),
        "Further repositories whose images get the server's own provider keys, separated by commas",
    ),
    row(
        SERVER,
        Variable::CorsOrigins,
        "OPENCLAW_PIPELINE_CORS_ORIGINS",
        Unset("none"),
        "Origins whose pages may call the API from a browser, separated by commas",
    ),
    row(
        SERVER,
        Variable::TlsCert,
        "OPENCLAW_PIPELINE_TLS_CERT",
        Unset("plain HTTP"),
        "The certificate chain for TLS, a PEM file",
    ),
    row(
        SERVER,
        Variable::TlsKey,
        "OPENCLAW_PIPELINE_TLS_KEY",
        Unset("plain HTTP"),
        "The certificate's key, a PEM file",
    ),
    row(
        SERVER,
        Variable::OtlpEndpoint,
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        Unset("no traces are sent"),
        "Where traces go, by OTLP over HTTP: http://localhost:4318 for example",
    ),
    cluster::KUBECONFIG,
    cluster::CONTEXT,
    cluster::STORAGE_CLASS,
    cluster::INGRESS_CLASS,
    cluster::GATEWAY_CLASS,
    cluster::INGRESS_HOST,
    cluster::INGRESS_TLS_SECRET,
    cluster::INGRESS_PROXIES,
    own_server::CIDR,
    own_server::BINARY,
    own_server::TERRAFORM,
    own_server::TLS_CERT,
    own_server::TLS_KEY,
    own_server::AWS_KEY_ID,
    own_server::AWS_SECRET,
    row(
        EVENTS,
        Variable::FrontendUrl,
        "FRONTEND_URL",
        Text("http://localhost:3000"),
        "Your front end: events go to FRONTEND_URL/api/webhook/pipeline. serve sends them; other \
         commands do so only where this is set",
    ),
    Definition {
        secret: true,
        ..row(
            EVENTS,
            Variable::WebhookSecret,
            "OPENCLAW_PIPELINE_WEBHOOK_SECRET",
            Unset("generated; shown once, at a terminal"),
            "What events to your front end are signed with: whsec_ and 24 to 64 bytes in base64",
        )
    },
    row(
        EVENTS,
        Variable::WebhookRetry,
        "OPENCLAW_PIPELINE_WEBHOOK_RETRY",
        Text("24h"),
        "How long an event is tried before it goes to the dead letters: 30m, 24h, 7d and the \
         like; at most 30d",
    ),
];

#[cfg(test)]
#[path = "variables_tests.rs"]
mod tests;
