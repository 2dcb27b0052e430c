//! The settings: one value for each variable, with its origin, and what the values mean.
//!
//! Owns the precedence and the typed readings. Refuses a value when it is asked for, not before:
//! a wrong port in `.env` must not keep anybody from reading a log or destroying a deployment. The
//! same holds for a file with a broken line, which may be another project's: nothing of it is
//! used, and what it seems to set is refused when it is asked for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::gateway_env::{self, GatewayEnv};
use super::lookalike::suggestion;
use super::paths::{self, Places};
use super::rules;
use super::sources::{FileText, Origin, Sources};
use super::variables::{DefaultValue, Definition, OWN_PREFIX, VARIABLES, Variable};
use crate::domain::approval::{ApprovalMode, ApprovalPolicy};
use crate::domain::credential::{CREDENTIALS, Credential, Provider};
use crate::domain::model::{self, ModelChoice};
use crate::domain::{DeploymentName, ExecAsk, Failure};
use crate::secrets::envfile::{self, EnvFile};
use crate::secrets::{Secret, token};

/// How many unknown keys of a file a notice names.
const UNKNOWN_SHOWN: usize = 8;

/// A value that somebody gave.
#[derive(Debug, Clone)]
struct Given {
    text: Secret,
    origin: Origin,
}

/// A file that cannot be parsed.
#[derive(Debug, Clone)]
struct Broken {
    failure: Failure,
    /// Whether it is `.env`, or the configuration file, which is weaker.
    origin: Origin,
    /// The variables that it seems to set.
    mentions: Vec<Variable>,
}

/// Every setting of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    given: BTreeMap<Variable, Given>,
    broken: Vec<Broken>,
    gateway_flags: Vec<Secret>,
    places: Places,
    config_directory: Option<PathBuf>,
    notices: Vec<String>,
}

impl Settings {
    /// The settings of this process, with these sources' flags.
    pub fn resolve(sources: &Sources) -> Result<Self, Failure> {
        let mut notices = sources.notices.clone();
        let mut broken = Vec::new();
        let mut read = |file: Option<&FileText>, origin| match parsed(file, &mut notices) {
            Ok(parsed) => parsed,
            Err(failure) => {
                let mentions = file.map(mentioned).unwrap_or_default();
                broken.push(Broken { failure, origin, mentions });
                EnvFile::default()
            }
        };
        let dotenv = read(sources.dotenv.as_ref(), Origin::DotEnv { line: 0 });
        let config = read(sources.config.as_ref(), Origin::ConfigFile { line: 0 });
        unknown_in_environment(sources, &mut notices);
        let mut given = BTreeMap::new();
        for row in &VARIABLES {
            let found = sources
                .flags
                .get(&row.variable)
                .map(|text| (text.clone(), Origin::Flag))
                .or_else(|| in_environment(sources, row, &mut notices))
                .or_else(|| in_file(&dotenv, row, |line| Origin::DotEnv { line }))
                .or_else(|| in_file(&config, row, |line| Origin::ConfigFile { line }));
            if let Some((text, origin)) = found {
                given.insert(row.variable, Given { text, origin });
            }
        }
        Ok(Self {
            given,
            broken,
            gateway_flags: sources.gateway_flags.clone(),
            places: sources.places(),
            config_directory: sources
                .config
                .as_ref()
                .and_then(|file| file.path.parent())
                .map(Path::to_owned),
            notices,
        })
    }

    /// Where a variable's value comes from.
    pub fn origin(&self, variable: Variable) -> Origin {
        self.given.get(&variable).map_or(Origin::Default, |given| given.origin)
    }

    /// Why a file of settings cannot be read. Nothing of it is used.
    pub fn broken(&self) -> Option<&Failure> {
        self.broken.first().map(|broken| &broken.failure)
    }

    /// Whether somebody gave a value for a variable, or seems to have: then reading it fails.
    pub fn is_given(&self, variable: Variable) -> bool {
        self.given.contains_key(&variable) || self.not_hidden(variable).is_err()
    }

    /// What somebody gave for a variable, unchecked.
    pub(super) fn given(&self, variable: Variable) -> Option<&Secret> {
        self.given.get(&variable).map(|given| &given.text)
    }

    /// What the user should know, whatever the command does with the settings.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = self.notices.clone();
        if let Ok(Some(port @ 1..=1023)) = self.port() {
            notices.push(format!(
                "GATEWAY_PORT is {port}: ports below 1024 need a privilege that a gateway on this \
                 machine may not have"
            ));
        }
        if let Ok(address) = self.bind()
            && !address.is_loopback()
        {
            notices.push(format!(
                "GATEWAY_BIND is {address}: other machines can reach the gateway, over plain HTTP, \
                 where its link can be read on the way"
            ));
        }
        if let Ok((_, Some(notice))) = self.approval_mode() {
            notices.push(notice);
        }
        notices
    }

    /// The deployment's name.
    pub fn name(&self) -> Result<DeploymentName, Failure> {
        self.read(Variable::Name, |text| {
            DeploymentName::from_str(text).map_err(|error| {
                Failure::bad_input(format!("NAME: {error}")).remedy("choose a name within the rule")
            })
        })
        .map(|name| name.unwrap_or_else(DeploymentName::main))
    }

    /// The gateway's token, if one was given.
    pub fn gateway_token(&self) -> Result<Option<Secret>, Failure> {
        self.read(Variable::GatewayToken, token::check_token)
    }

    /// The token of the API that may do everything, if one was given.
    pub fn api_token(&self) -> Result<Option<Secret>, Failure> {
        self.bearer(Variable::ApiToken)
    }

    /// The token that is shown where an event is posted, if one was given.
    pub fn events_token(&self) -> Result<Option<Secret>, Failure> {
        self.bearer(Variable::EventsToken)
    }

    fn bearer(&self, variable: Variable) -> Result<Option<Secret>, Failure> {
        self.read(variable, |text| token::check_token_in(variable.name(), text))
    }

    /// The gateway's port, if one was given. Otherwise [`super::variables::DEFAULT_PORT`] or the
    /// next free one.
    pub fn port(&self) -> Result<Option<u16>, Failure> {
        self.read(Variable::GatewayPort, rules::port)
    }

    /// The address that the port is published on.
    pub fn bind(&self) -> Result<IpAddr, Failure> {
        self.read_or_default(Variable::GatewayBind, rules::bind)
    }

    /// The provider credentials that were given, in the order of their table.
    pub fn credentials(&self) -> Result<Vec<(Credential, Secret)>, Failure> {
        let mut out = Vec::new();
        for credential in CREDENTIALS {
            let variable = Variable::by_name(credential.variable)
                .expect("every credential is in the table; a test compares them");
            let secret = self.read(variable, |text| token::check_key(credential.variable, text))?;
            out.extend(secret.map(|secret| (credential, secret)));
        }
        Ok(out)
    }

    /// The model for a deployment that gets these settings' credentials.
    pub fn model(&self) -> Result<Option<ModelChoice>, Failure> {
        let providers: Vec<Provider> =
            self.credentials()?.iter().map(|(credential, _)| credential.provider).collect();
        self.model_with(&providers, &providers)
    }

    /// The model for a deployment that has credentials of these providers, in the order in which
    /// the first of those that have an effect as they are (`usable`) chooses. A model or provider
    /// that was chosen outright needs a credential, unless its provider is one whose credential
    /// the program does not know.
    pub fn model_with(
        &self,
        providers: &[Provider],
        usable: &[Provider],
    ) -> Result<Option<ModelChoice>, Failure> {
        let (model, provider) = (self.model_text(), self.provider()?);
        if let (None, Some(provider)) = (model, &provider)
            && !providers.iter().any(|known| known.id() == provider)
        {
            return Err(self.from(
                Variable::DefaultProvider,
                Failure::bad_input(format!(
                    "DEFAULT_PROVIDER is {provider}, without a credential of it or a DEFAULT_MODEL"
                ))
                .remedy(match credential_of(provider) {
                    Some(variable) => format!("set {variable}, or leave DEFAULT_PROVIDER out"),
                    None => "set DEFAULT_MODEL too".to_owned(),
                }),
            ));
        }
        let choice = self.choose(if provider.is_some() { providers } else { usable })?;
        if let (Some(choice), Some(_)) = (&choice, model)
            && let Some(id) = model::provider_of(&choice.model)
            && let Some(variable) = credential_of(id)
            && !providers.iter().any(|known| known.id() == id)
        {
            return Err(self.from(
                Variable::DefaultModel,
                Failure::bad_input(format!(
                    "DEFAULT_MODEL is {}, and no credential of {id} was given",
                    choice.model
                ))
                .remedy(format!(
                    "set {variable}, or choose a model of a provider whose credential you have"
                )),
            ));
        }
        Ok(choice)
    }

    /// How commands are run.
    pub fn exec_ask(&self) -> Result<ExecAsk, Failure> {
        self.read_or_default(Variable::ExecAsk, |text| {
            text.to_ascii_lowercase()
                .parse()
                .map_err(|failure: Failure| failure.remedy("set EXEC_ASK to on or off"))
        })
    }

    /// How often the idle agent thinks, as the gateway spells it: `0m` is never.
    pub fn heartbeat(&self) -> Result<String, Failure> {
        self.read_or_default(Variable::Heartbeat, rules::heartbeat)
    }

    /// Who may be let in without being asked.
    pub fn approval(&self) -> Result<ApprovalPolicy, Failure> {
        Ok(ApprovalPolicy {
            mode: self.approval_mode()?.0,
            window_s: self.read_or_default(Variable::ApprovalWindow, rules::window_s)?,
            devices: self.read_or_default(Variable::ApprovalDevices, rules::devices)?,
        })
    }

    /// The image, for targets that run one.
    pub fn image(&self) -> Result<String, Failure> {
        self.read_or_default(Variable::Image, super::image::image)
    }

    /// The `OpenClaw` version, for targets that install it.
    pub fn version(&self) -> Result<String, Failure> {
        self.read_or_default(Variable::Version, rules::version)
    }

    /// The gateway's memory limit, in mebibytes.
    pub fn memory_mib(&self) -> Result<u32, Failure> {
        self.read_or_default(Variable::Memory, rules::memory_mib)
    }

    /// The data directory, absolute.
    pub fn data_directory(&self) -> Result<PathBuf, Failure> {
        match self.path(Variable::Home)? {
            Some(path) => Ok(path),
            None => self.places.data_directory(),
        }
    }

    /// The sealing key's file, absolute, outside the data directory.
    pub fn key_file(&self) -> Result<PathBuf, Failure> {
        let key_file = match self.path(Variable::KeyFile)? {
            Some(path) => path,
            None => self.places.key_file()?,
        };
        paths::key_is_apart(&key_file, &self.data_directory()?)
            .map_err(|failure| self.from(Variable::KeyFile, failure))?;
        Ok(key_file)
    }

    /// Refuses a store elsewhere than in the data directory: there is none yet.
    pub fn database(&self) -> Result<(), Failure> {
        let home = self.data_directory()?;
        self.read(Variable::DatabaseUrl, |text| rules::database_url(text, &home)).map(drop)
    }

    /// What of the program's own log is shown.
    pub fn log(&self) -> Result<String, Failure> {
        self.read_or_default(Variable::Log, rules::log)
    }

    /// The configuration file, if the environment tells where it would be.
    pub fn config_file(&self) -> Option<PathBuf> {
        self.places.config_file()
    }

    /// The further variables for the gateway. Reads the file that `OPENCLAW_ENV_FILE` names.
    pub fn gateway_env(&self) -> Result<GatewayEnv, Failure> {
        let file = self.path(Variable::EnvFile)?;
        gateway_env::collect(file.as_deref(), &self.gateway_flags)
    }

    /// What is wrong with the values, one failure for each variable.
    pub fn problems(&self) -> Vec<(Variable, Failure)> {
        VARIABLES
            .iter()
            .filter_map(|row| Some((row.variable, self.check(row.variable).err()?)))
            .collect()
    }

    /// Whether a variable's value can be used.
    pub fn check(&self, variable: Variable) -> Result<(), Failure> {
        use Variable as V;
        match variable {
            V::Name => self.name().map(drop),
            V::GatewayToken => self.gateway_token().map(drop),
            V::ApiToken | V::EventsToken => self.bearer(variable).map(drop),
            V::GatewayPort => self.port().map(drop),
            V::GatewayBind => self.bind().map(drop),
            V::DefaultModel => self.choose(&[]).map(drop),
            V::DefaultProvider => self.provider().map(drop),
            V::ExecAsk => self.exec_ask().map(drop),
            V::Heartbeat => self.heartbeat().map(drop),
            V::EnvFile => self.gateway_env().map(drop),
            V::SkipApproval => {
                self.read(V::SkipApproval, |text| rules::boolean("SKIP_APPROVAL", text)).map(drop)
            }
            V::Approval => self.approval_mode().map(drop),
            V::ApprovalWindow => self.read(variable, rules::window_s).map(drop),
            V::ApprovalDevices => self.read(variable, rules::devices).map(drop),
            V::Image => self.image().map(drop),
            V::Version => self.version().map(drop),
            V::Memory => self.memory_mib().map(drop),
            V::Region => self.region().map(drop),
            V::Size => self.size().map(drop),
            V::Expose => self.expose().map(drop),
            V::Cloudflare => {
                self.read(variable, |text| rules::boolean(variable.name(), text)).map(drop)
            }
            // Of the two that go together, the one that was given is wrong without the other.
            V::TunnelHost | V::TunnelToken if self.given(variable).is_none() => Ok(()),
            V::TunnelHost | V::TunnelToken => self.named_tunnel().map(drop),
            V::TunnelImage => self.tunnel_image().map(drop),
            V::SshCidr => self.ssh_cidrs().map(drop),
            V::Kubeconfig => self.kubeconfig().map(drop),
            V::KubeContext => self.kube_context().map(drop),
            V::StorageClass => self.storage_class().map(drop),
            V::IngressClass => self.ingress_class().map(drop),
            V::GatewayClass => self.gateway_class().map(drop),
            V::IngressHost => self.ingress_host().map(drop),
            V::IngressTlsSecret => self.ingress_tls_secret().map(drop),
            V::IngressProxies => self.ingress_proxies().map(drop),
            V::TfBin => self.terraform().map(drop),
            V::PipelineDir => self.checkout().map(drop),
            V::TfDir => self.module_target().map(drop),
            V::TfState | V::StateRegion => self.state_place().map(drop),
            V::CheckIp => self.own_address().map(drop),
            V::BootWithin => self.boot_within().map(drop),
            V::DatabaseUrl => self.database(),
            V::Log => self.log().map(drop),
            V::Home => self.data_directory().map(drop),
            V::KeyFile => self.key_file().map(drop),
            V::ServerPort => self.server_port().map(drop),
            V::ServerBind => self.server_bind().map(drop),
            V::LocalTargets => self.local_targets().map(drop),
            V::Hosts => self.hosts().map(drop),
            V::TrustedImages => self.trusted_images().map(drop),
            V::CorsOrigins => self.cors_origins().map(drop),
            V::TlsCert | V::TlsKey => self.tls().map(drop),
            V::OwnServerCidr => self.own_server_cidrs().map(drop),
            V::OwnServerBinary | V::OwnServerTerraform => self.path(variable).map(drop),
            V::OwnServerTlsCert | V::OwnServerTlsKey => self.own_server_tls().map(drop),
            V::OwnServerAwsKeyId | V::OwnServerAwsSecret => self.own_server_aws().map(drop),
            V::OtlpEndpoint => self.otlp_endpoint().map(drop),
            V::FrontendUrl => self.frontend_url().map(drop),
            V::WebhookUrl => self.webhook_url().map(drop),
            V::WebhookSecret => self.webhook_secret().map(drop),
            V::WebhookRetry => self.webhook_retry().map(drop),
            V::ClaudeCodeOauthToken
            | V::AnthropicApiKey
            | V::GeminiApiKey
            | V::OpenAiApiKey
            | V::GroqApiKey
            | V::XaiApiKey
            | V::MistralApiKey
            | V::OpenRouterApiKey => {
                self.read(variable, |text| token::check_key(variable.name(), text)).map(drop)
            }
        }
    }

    fn model_text(&self) -> Option<&str> {
        self.given(Variable::DefaultModel).map(Secret::expose)
    }

    fn provider(&self) -> Result<Option<String>, Failure> {
        self.read(Variable::DefaultProvider, rules::provider)
    }

    fn choose(&self, providers: &[Provider]) -> Result<Option<ModelChoice>, Failure> {
        model::choose(self.model_text(), self.provider()?.as_deref(), providers).map_err(|error| {
            self.from(
                Variable::DefaultModel,
                Failure::bad_input(error.to_string())
                    .remedy("write the model as provider/model, or leave DEFAULT_MODEL out"),
            )
        })
    }

    /// The mode, from the two variables that say it, and a notice where one overrides the other.
    fn approval_mode(&self) -> Result<(ApprovalMode, Option<String>), Failure> {
        let skip = self
            .read(Variable::SkipApproval, |text| rules::boolean("SKIP_APPROVAL", text))?
            .unwrap_or(false);
        let mode = self.read(Variable::Approval, |text| {
            text.to_ascii_lowercase().parse::<ApprovalMode>().map_err(|failure| {
                failure
                    .context("OPENCLAW_PIPELINE_APPROVAL")
                    .remedy("set OPENCLAW_PIPELINE_APPROVAL to auto, ask or off")
            })
        })?;
        match (skip, mode) {
            (false, mode) => Ok((mode.unwrap_or(ApprovalMode::Auto), None)),
            (true, None) => Ok((ApprovalMode::Off, None)),
            (true, Some(mode @ (ApprovalMode::Ask | ApprovalMode::Off))) => Ok((mode, None)),
            (true, Some(ApprovalMode::Auto)) => self.settle_approval(),
        }
    }

    /// `SKIP_APPROVAL=true` and `OPENCLAW_PIPELINE_APPROVAL=auto`: the stronger place wins; in the
    /// same place nobody can tell what was meant.
    fn settle_approval(&self) -> Result<(ApprovalMode, Option<String>), Failure> {
        let skip = self.origin(Variable::SkipApproval);
        let mode = self.origin(Variable::Approval);
        if skip.same_place(mode) {
            return Err(Failure::bad_input(format!(
                "SKIP_APPROVAL=true says to let no browser in automatically, and \
                 OPENCLAW_PIPELINE_APPROVAL=auto says to do so ({skip}, {mode})"
            ))
            .remedy("keep one of the two"));
        }
        let (chosen, by) =
            if skip < mode { (ApprovalMode::Off, skip) } else { (ApprovalMode::Auto, mode) };
        let notice = format!(
            "SKIP_APPROVAL=true ({skip}) and OPENCLAW_PIPELINE_APPROVAL=auto ({mode}) say \
             opposite things; the {by} wins"
        );
        Ok((chosen, Some(notice)))
    }

    fn path(&self, variable: Variable) -> Result<Option<PathBuf>, Failure> {
        // What a file in another directory says is meant from there.
        let base = match self.origin(variable) {
            Origin::ConfigFile { .. } => self.config_directory.as_deref(),
            _ => None,
        };
        self.read(variable, |text| self.places.complete(variable, text, base))
    }

    /// The meaning of what somebody gave.
    fn read<T>(
        &self,
        variable: Variable,
        rule: impl FnOnce(&str) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        self.not_hidden(variable)?;
        self.given(variable)
            .map(|text| rule(text.expose()).map_err(|failure| self.from(variable, failure)))
            .transpose()
    }

    /// Refuses to go on with a weaker value where a broken file seems to set the variable: the
    /// deployment that is destroyed must not be another one because of a quote in `.env`.
    fn not_hidden(&self, variable: Variable) -> Result<(), Failure> {
        let hides = |broken: &&Broken| {
            broken.origin < self.origin(variable) && broken.mentions.contains(&variable)
        };
        match self.broken.iter().find(hides) {
            Some(broken) => Err(broken.failure.clone()),
            None => Ok(()),
        }
    }

    /// The meaning of what somebody gave, or of the table's default.
    fn read_or_default<T>(
        &self,
        variable: Variable,
        rule: impl FnOnce(&str) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.not_hidden(variable)?;
        let text = match (self.given(variable), variable.definition().default) {
            (Some(text), _) => text.expose(),
            (None, DefaultValue::Text(text)) => text,
            (None, _) => unreachable!("only variables with a default text are read so"),
        };
        rule(text).map_err(|failure| self.from(variable, failure))
    }

    /// Says where the value that broke a rule comes from.
    fn from(&self, variable: Variable, mut failure: Failure) -> Failure {
        failure.message = format!("{} (from: {})", failure.message, self.origin(variable));
        failure
    }
}

/// The first credential's variable of a provider that the program knows.
fn credential_of(provider: &str) -> Option<&'static str> {
    CREDENTIALS
        .iter()
        // The key, where there is a token too: it is what most people have.
        .rfind(|credential| credential.provider.id() == provider)
        .map(|credential| credential.variable)
}

/// The spellings of a variable. An alias comes first: `NAME` is preset on some systems, and
/// `name` never is.
fn spellings(row: &Definition) -> impl Iterator<Item = &'static str> {
    row.alias.into_iter().chain([row.name])
}

fn in_environment(
    sources: &Sources,
    row: &Definition,
    notices: &mut Vec<String>,
) -> Option<(Secret, Origin)> {
    let value = spellings(row).find_map(|key| {
        let value = sources.environment.get(key)?;
        if value.expose().is_empty() {
            return None;
        }
        if key == "NAME" && DeploymentName::from_str(value.expose()).is_err() {
            notices.push(format!(
                "NAME={:?} in the environment is no deployment name, so it is not used: some \
                 systems preset it. Give the name as an argument, or as name=…",
                crate::domain::text::clean(value.expose(), 60)
            ));
            return None;
        }
        Some(value.clone())
    })?;
    Some((value, Origin::Environment))
}

fn in_file(
    file: &EnvFile,
    row: &Definition,
    origin: impl Fn(usize) -> Origin,
) -> Option<(Secret, Origin)> {
    spellings(row)
        .filter_map(|key| file.get(key))
        .find(|entry| !entry.value.expose().is_empty())
        .map(|entry| (entry.value.clone(), origin(entry.line)))
}

/// Parses a file and notes what its reader should know about it.
fn parsed(file: Option<&FileText>, notices: &mut Vec<String>) -> Result<EnvFile, Failure> {
    let Some(file) = file else {
        return Ok(EnvFile::default());
    };
    if let Some(failure) = &file.failure {
        return Err(failure.clone());
    }
    let path = file.path.display().to_string();
    let parsed = envfile::parse(file.text.expose()).map_err(|failure| failure.context(&path))?;
    notices.extend(parsed.notices.iter().map(|notice| format!("{path}: {notice}")));
    let mut unknown = Vec::new();
    let mut secret = false;
    for entry in &parsed.entries {
        let line = entry.line;
        let key = &entry.key;
        if let Some(variable) = Variable::by_name(key) {
            secret |= variable.definition().secret && !entry.value.expose().is_empty();
        } else if let Some(meant) = suggestion(key) {
            notices
                .push(format!("{path} line {line}: {key} is not a setting; did you mean {meant}?"));
        } else {
            unknown.push(format!("{key} (line {line})"));
        }
    }
    if !unknown.is_empty() {
        let more = unknown.len().saturating_sub(UNKNOWN_SHOWN);
        unknown.truncate(UNKNOWN_SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        notices.push(format!(
            "{path}: not used, because they are no settings: {}{more}. What the gateway should \
             get stands in the file that OPENCLAW_ENV_FILE names",
            unknown.join(", ")
        ));
    }
    if file.shared && secret {
        notices.push(format!(
            "{path} holds secrets, and other users can read it; run: chmod 600 {path}"
        ));
    }
    Ok(parsed)
}

/// The variables that a file's lines begin with, whatever is wrong with the rest.
fn mentioned(file: &FileText) -> Vec<Variable> {
    let key = |line: &str| {
        let line = line.trim_start_matches('\u{feff}').trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        Variable::by_name(&line[..end.unwrap_or(line.len())])
    };
    file.text.expose().lines().filter_map(key).collect()
}

/// Names of the environment that can only be meant for this program.
fn unknown_in_environment(sources: &Sources, notices: &mut Vec<String>) {
    for key in sources.environment.keys() {
        if !key.starts_with(OWN_PREFIX) || Variable::by_name(key).is_some() {
            continue;
        }
        let meant = match suggestion(key) {
            Some(meant) => format!("; did you mean {meant}?"),
            None => String::new(),
        };
        notices.push(format!(
            "{} in the environment is not a setting{meant}",
            crate::domain::text::clean(key, 80)
        ));
    }
}

mod cluster;
mod events;
mod machine;
mod own_server;
mod request;
mod server;
mod tunnel;

pub use own_server::Travelling;
pub use server::TlsFiles;

#[cfg(test)]
mod tests;
