//! What a launch is asked for with, and what it means as settings.

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::ToSchema;

use super::super::caller::Caller;
use super::super::problem::{Answer, FieldError, Problem};
use super::super::state::Server;
use crate::app::{LaunchOrder, is_trusted_image};
use crate::config::Variable;
use crate::config::rules::port_of_machine;
use crate::domain::{DeploymentName, Expose, TargetKind};
use crate::secrets::Secret;

/// The field of each variable.
type Fields = Vec<(Variable, &'static str)>;

/// How the name of a launch is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// Where the name is taken, the next free number is put behind it.
    #[default]
    Number,
    /// Where the name is taken, the launch is refused.
    Fail,
}

/// A launch.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LaunchRequest)]
pub struct LaunchForm {
    /// The deployment's name: 1 to 40 of a-z, 0-9 and -, starting and ending with a letter or
    /// digit. `main` when left out.
    #[schema(examples("main"), max_length = 40, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    pub name: Option<String>,
    /// Where it runs; `ec2` when left out. `docker` and `process` are the server's own machine, `eks`
    /// the cluster that the server is set to, or runs on.
    #[schema(value_type = Option<TargetKind>)]
    pub target: Option<String>,
    /// The gateway's token: 16 to 512 printable characters without blanks. One is made when it is
    /// left out.
    #[schema(value_type = Option<String>, min_length = 16, max_length = 512)]
    pub token: Option<Secret>,
    /// A Claude Code OAuth token (Anthropic).
    #[schema(value_type = Option<String>)]
    pub claude_code_oauth_token: Option<Secret>,
    /// An Anthropic API key.
    #[schema(value_type = Option<String>)]
    pub anthropic_api_key: Option<Secret>,
    /// A Google Gemini API key.
    #[schema(value_type = Option<String>)]
    pub gemini_api_key: Option<Secret>,
    /// An `OpenAI` API key.
    #[schema(value_type = Option<String>)]
    pub openai_api_key: Option<Secret>,
    /// A Groq API key; it has an effect with a plugin only.
    #[schema(value_type = Option<String>)]
    pub groq_api_key: Option<Secret>,
    /// An xAI API key.
    #[schema(value_type = Option<String>)]
    pub xai_api_key: Option<Secret>,
    /// A Mistral API key; it has an effect with a plugin only.
    #[schema(value_type = Option<String>)]
    pub mistral_api_key: Option<Secret>,
    /// An `OpenRouter` API key.
    #[schema(value_type = Option<String>)]
    pub openrouter_api_key: Option<Secret>,
    /// The model, as provider/model, or a name that tells its provider.
    #[schema(examples("anthropic/claude-sonnet-5"))]
    pub model: Option<String>,
    /// The model's provider, where its name does not tell.
    pub provider: Option<String>,
    /// Further variables for the gateway: channel tokens, other providers' keys.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub env: Option<BTreeMap<String, Secret>>,
    /// The image, for targets that run one.
    pub image: Option<String>,
    /// The `OpenClaw` version, for targets that install it.
    #[schema(examples("2026.9.6"))]
    pub version: Option<String>,
    /// Whether the agent asks before it runs a command: `on` or `off`.
    #[schema(examples("on"))]
    pub exec_ask: Option<String>,
    /// How often the idle agent thinks, and spends: `off`, or `30m`, `1h` and the like.
    #[schema(examples("off"))]
    pub heartbeat: Option<String>,
    /// The gateway's memory limit in MiB, or `2g` and the like; at least 1024.
    #[schema(examples("2g"))]
    pub memory: Option<String>,
    /// The gateway's port. When left out, the next free one of the server's machine, or 18789 of
    /// a machine of its own.
    #[schema(minimum = 1)]
    pub port: Option<u16>,
    /// The region of its machine, on `ec2` and `lightsail`; the server's setting when left out.
    #[schema(examples("us-west-2"))]
    pub region: Option<String>,
    /// The instance type of its machine on `ec2`, the bundle on `lightsail`; `t3.medium` and
    /// `medium_3_0` unless the server is set otherwise.
    #[schema(examples("t3.medium"))]
    pub size: Option<String>,
    /// Who reaches the gateway, on `ec2`, `lightsail` and `eks`: `http` is everybody, over plain
    /// HTTP; `tunnel` everybody, over HTTPS by a Cloudflare tunnel (not on `eks`); `operator` whoever
    /// may reach the machine's SSH; `none` nobody but who has a shell there, or the cluster's API.
    #[schema(value_type = Option<Expose>)]
    pub expose: Option<String>,
    /// Browsers that ask to be let in: `auto`, `ask` or `off`.
    #[schema(examples("auto"))]
    pub approval: Option<String>,
    /// Whether only an administrator may destroy it.
    #[serde(default)]
    pub protected: bool,
    /// Whether a Cloudflare tunnel is put in front of it, on `ec2` and `lightsail`: true is
    /// `"expose": "tunnel"`.
    pub cloudflare: Option<bool>,
    /// The host name of a named tunnel, with its token; a quick one when left out.
    #[schema(examples("ai.example.com"))]
    pub tunnel_hostname: Option<String>,
    /// The token of a named tunnel, which leads to `http://openclaw-gateway:18789`.
    #[schema(value_type = Option<String>)]
    pub tunnel_token: Option<Secret>,
    /// The host name by which browsers reach it, on `eks` where the server is set to a class of
    /// ingresses or Gateways.
    #[schema(examples("ai.example.com"))]
    pub ingress_host: Option<String>,
    /// What happens where the name is taken. `POST /v1/deployments` always refuses.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// Launches without a provider's credential, on targets that otherwise refuse that.
    #[serde(default)]
    pub allow_no_credential: bool,
}

impl LaunchForm {
    /// The order of a caller.
    pub fn order(self, server: &Server, caller: &Caller, counts_up: bool) -> Answer<LaunchOrder> {
        let name: DeploymentName = match self.name.as_deref() {
            None => DeploymentName::main(),
            Some(name) => {
                name.parse().map_err(|error| Problem::field("name", format!("{error}")))?
            }
        };
        if !caller.principal.reaches(&name) {
            let prefix = caller.principal.name_prefix.as_ref();
            return Err(Problem::new(
                axum::http::StatusCode::FORBIDDEN,
                format!(
                    "this token launches names that begin with {}",
                    prefix.map_or("", |prefix| prefix.as_str())
                ),
            ));
        }
        let live = server.live();
        let target = target(self.target.as_deref(), live.local_targets)?;
        self.refuse_what_the_target_lacks(target)?;
        let trusted = match &self.image {
            Some(image) => is_trusted_image(&live.settings, image)?,
            // The server's own choice.
            None => true,
        };
        let lends = caller.principal.server_credentials && trusted;
        let (named, env, fields) = self.settings();
        let settings = live.settings.for_request(named, env, lends);
        refuse_wrong(&settings, &fields)?;
        Ok(LaunchOrder {
            name,
            counts_up: counts_up && self.on_conflict == OnConflict::Number,
            target,
            settings,
            protected: self.protected,
            owner: caller.owner(),
            limits: caller.principal.limits.clone(),
            without_credential: self.allow_no_credential,
        })
    }

    /// Refuses what would have no effect on a target, and what is taken there.
    fn refuse_what_the_target_lacks(&self, target: TargetKind) -> Answer<()> {
        if self.cloudflare == Some(true) && !target.has_machine() {
            return Err(Problem::field(
                "cloudflare",
                format!("no tunnel can be put in front of a gateway on the {target} target"),
            ));
        }
        if let Some(port) = self.port.filter(|_| target.has_machine()) {
            port_of_machine(port).map_err(|failure| {
                let message = failure.message.replace(Variable::GatewayPort.name(), "port");
                let mut problem = Problem::field("port", message);
                problem.remedy = failure.remedy;
                problem
            })?;
        }
        let machine = (target.has_machine(), "makes no machine that has one");
        let address = (target.has_own_address(), "makes no machine that has one");
        let cluster = (target == TargetKind::Eks, "has neither ingress nor Gateway");
        let of_some = [
            ("region", &self.region, machine),
            ("size", &self.size, machine),
            ("expose", &self.expose, address),
            ("tunnel_hostname", &self.tunnel_hostname, machine),
            ("ingress_host", &self.ingress_host, cluster),
        ];
        let named = |given: &Option<String>| given.as_deref().is_some_and(|it| !it.is_empty());
        match of_some.into_iter().find(|(_, given, (has, _))| !has && named(given)) {
            Some((field, _, (_, why))) => {
                Err(Problem::field(field, format!("the {target} target {why}; leave it out")))
            }
            None => Ok(()),
        }
    }

    /// What is named, by variable; the further variables; and the field of each variable.
    fn settings(&self) -> (Vec<(Variable, Secret)>, Vec<Secret>, Fields) {
        use Variable as V;
        let text = |given: &Option<String>| given.clone().map(Secret::new);
        let fields = [
            (V::GatewayToken, "token", self.token.clone()),
            (
                V::ClaudeCodeOauthToken,
                "claude_code_oauth_token",
                self.claude_code_oauth_token.clone(),
            ),
            (V::AnthropicApiKey, "anthropic_api_key", self.anthropic_api_key.clone()),
            (V::GeminiApiKey, "gemini_api_key", self.gemini_api_key.clone()),
            (V::OpenAiApiKey, "openai_api_key", self.openai_api_key.clone()),
            (V::GroqApiKey, "groq_api_key", self.groq_api_key.clone()),
            (V::XaiApiKey, "xai_api_key", self.xai_api_key.clone()),
            (V::MistralApiKey, "mistral_api_key", self.mistral_api_key.clone()),
            (V::OpenRouterApiKey, "openrouter_api_key", self.openrouter_api_key.clone()),
            (V::DefaultModel, "model", text(&self.model)),
            (V::DefaultProvider, "provider", text(&self.provider)),
            (V::Image, "image", text(&self.image)),
            (V::Version, "version", text(&self.version)),
            (V::ExecAsk, "exec_ask", text(&self.exec_ask)),
            (V::Heartbeat, "heartbeat", text(&self.heartbeat)),
            (V::Memory, "memory", text(&self.memory)),
            (V::GatewayPort, "port", self.port.map(|port| Secret::new(port.to_string()))),
            (V::Region, "region", text(&self.region)),
            (V::Size, "size", text(&self.size)),
            (V::Expose, "expose", text(&self.expose)),
            (V::Cloudflare, "cloudflare", self.cloudflare.map(|it| Secret::new(it.to_string()))),
            (V::TunnelHost, "tunnel_hostname", text(&self.tunnel_hostname)),
            (V::TunnelToken, "tunnel_token", self.tunnel_token.clone()),
            (V::IngressHost, "ingress_host", text(&self.ingress_host)),
            (V::Approval, "approval", text(&self.approval)),
        ];
        let of_variables = fields.iter().map(|(variable, field, _)| (*variable, *field)).collect();
        let named = fields
            .into_iter()
            .filter_map(|(variable, _, given)| Some((variable, given?)))
            // Forms send what was left empty, too.
            .filter(|(_, given)| !given.expose().is_empty())
            .collect();
        let env = self.env.iter().flatten();
        let env = env.map(|(key, value)| Secret::new(format!("{key}={}", value.expose())));
        (named, env.collect(), of_variables)
    }
}

/// The target of a launch, among those that the server launches on.
fn target(named: Option<&str>, local: bool) -> Answer<TargetKind> {
    let there: Vec<&str> = TargetKind::ALL
        .into_iter()
        .filter(|kind| local || !kind.is_local())
        .map(TargetKind::as_str)
        .collect();
    let offered = format!("this server launches on {}", there.join(", "));
    let Some(named) = named else { return Ok(TargetKind::Ec2) };
    match named.parse::<TargetKind>() {
        Ok(kind) if there.contains(&kind.as_str()) => Ok(kind),
        _ => Err(Problem::field(
            "target",
            format!("{offered}, and not on {:?}", crate::domain::text::clean(named, 40)),
        )),
    }
}

/// Refuses settings that break a rule, each under the field that named it.
fn refuse_wrong(
    settings: &crate::config::Settings,
    fields: &[(Variable, &'static str)],
) -> Answer<()> {
    let mut errors = Vec::new();
    let mut problem: Option<Problem> = None;
    for (variable, failure) in settings.problems() {
        let field = match fields.iter().find(|(it, _)| *it == variable) {
            Some((_, field)) => *field,
            None if variable == Variable::EnvFile => "env",
            // The server's own: it does not begin with a wrong one.
            None => continue,
        };
        // One setting may be wrong for what another one says.
        let in_fields = |text: &str| {
            use Variable as V;
            let both =
                [V::Expose, V::Cloudflare, V::TunnelHost, V::TunnelToken, V::IngressHost, variable];
            let named = fields.iter().filter(|(it, _)| both.contains(it));
            named.fold(text.replace(variable.name(), field), |text, (variable, field)| {
                text.replace(variable.name(), field)
            })
        };
        let message =
            in_fields(&failure.message).replace(" (from: request)", "").replace("--env ", "");
        let remedy = failure.remedy.map(|it| in_fields(&it));
        problem.get_or_insert_with(|| {
            let mut problem = Problem::field(field, message.clone());
            problem.remedy = remedy;
            problem
        });
        errors.push(FieldError { field: field.to_owned(), message });
    }
    match problem {
        None => Ok(()),
        Some(mut problem) => {
            problem.errors = errors;
            Err(problem)
        }
    }
}
