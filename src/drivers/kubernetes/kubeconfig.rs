//! Kubeconfig files: which cluster a context is, and how it is spoken to.
//!
//! Owns reading them, and the choice of the context. Where a program gives the credentials, it is
//! asked here, by the one door to children. Refuses a context that nobody named where none is current,
//! and what only older programs understand.

use std::path::{Path, PathBuf};

use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use tokio_util::sync::CancellationToken;

use super::credential;
use crate::domain::{Failure, text};

/// The largest file, in bytes.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// How a context's cluster is spoken to.
pub(super) async fn read(
    files: &[PathBuf],
    context: Option<&str>,
    cancel: &CancellationToken,
) -> Result<Config, Failure> {
    let mut config = merged(files)?;
    let name = choose(&config, context)?;
    let user = config
        .contexts
        .iter()
        .find(|it| it.name == name)
        .and_then(|it| it.context.as_ref()?.user.clone());
    for entry in &mut config.auth_infos {
        let is_its = user.as_ref() == Some(&entry.name);
        if let Some(info) = entry.auth_info.as_mut().filter(|_| is_its) {
            give_credentials(info, cancel).await?;
        }
    }
    let options = KubeConfigOptions { context: Some(name.clone()), ..Default::default() };
    let has_proxy = names_proxy(&config, &name);
    let found = Config::from_custom_kubeconfig(config, &options).await.map_err(|error| {
        // Of a proxy's address nothing is repeated: it may hold a password.
        let words = match &error {
            KubeconfigError::ParseProxyUrl(_) => "the proxy's address is none".to_owned(),
            error => text::clean(&error.to_string(), 300),
        };
        Failure::prerequisite(format!(
            "the context {name} of the kubeconfig cannot be used: {words}"
        ))
        .remedy("correct the file, or make it anew")
    });
    let mut found = found?;
    if !has_proxy {
        heed_no_proxy(&mut found);
    }
    Ok(found)
}

/// Takes the environment's proxy away from a cluster that `NO_PROXY` names: the library asks it of the
/// proxy.
pub(super) fn heed_no_proxy(config: &mut Config) {
    // One of another kind leads nowhere at all, and is refused later.
    let leads = |it: &mut hyper::Uri| matches!(it.scheme_str(), Some("http" | "https" | "socks5"));
    let cluster = &config.cluster_url;
    config.proxy_url.take_if(|it| leads(it) && Matcher::from_env().intercept(cluster).is_none());
}

/// Whether a context's cluster has a proxy of its own.
fn names_proxy(config: &Kubeconfig, context: &str) -> bool {
    let context = config.contexts.iter().find(|it| it.name == context);
    let name = context.and_then(|it| it.context.as_ref()).map(|it| &it.cluster);
    let cluster = config.clusters.iter().find(|it| Some(&it.name) == name);
    let proxy = cluster.and_then(|it| it.cluster.as_ref()?.proxy_url.as_ref());
    proxy.is_some_and(|it| !it.is_empty())
}

/// The files as one.
fn merged(files: &[PathBuf]) -> Result<Kubeconfig, Failure> {
    let mut all: Option<Kubeconfig> = None;
    // As kubectl does: one of several may be absent.
    for file in files.iter().filter(|it| files.len() == 1 || it.exists()) {
        let next = one(file)?;
        all = Some(match all {
            None => next,
            Some(all) => all.merge(next).map_err(|error| unreadable(file, &error.to_string()))?,
        });
    }
    all.ok_or_else(|| {
        let listed: Vec<String> = files.iter().map(|it| it.display().to_string()).collect();
        Failure::prerequisite(format!("there is no kubeconfig: none of {}", listed.join(", ")))
            .remedy("set KUBECONFIG to the file that knows your cluster")
    })
}

fn one(file: &Path) -> Result<Kubeconfig, Failure> {
    let size = std::fs::metadata(file).map(|it| it.len()).map_err(|error| {
        Failure::prerequisite(format!("there is no kubeconfig at {}: {error}", file.display()))
            .remedy("set KUBECONFIG to the file that knows your cluster")
    })?;
    if size > FILE_MAX {
        return Err(unreadable(file, "it is larger than 4 MiB"));
    }
    // What the parser says shows the lines around the place, and tokens stand in them.
    Kubeconfig::read_from(file).map_err(|error| match line_of(&error.to_string()) {
        Some(line) => unreadable(file, &format!("it is no kubeconfig from line {line} on")),
        None => unreadable(file, "it is no kubeconfig"),
    })
}

/// The line that a parser's error names.
fn line_of(error: &str) -> Option<u32> {
    let (_, rest) = error.split_once("line ")?;
    let digits = rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

fn unreadable(file: &Path, why: &str) -> Failure {
    let why = text::clean(why, 300);
    Failure::prerequisite(format!("the kubeconfig {} cannot be read: {why}", file.display()))
        .remedy("correct the file, or make it anew")
}

fn choose(config: &Kubeconfig, named: Option<&str>) -> Result<String, Failure> {
    let known: Vec<&str> = config.contexts.iter().map(|it| it.name.as_str()).collect();
    let current = config.current_context.as_deref().filter(|it| !it.is_empty());
    let Some(name) = named.or(current) else {
        return Err(Failure::bad_input("the kubeconfig has no current context, and none is named")
            .remedy(format!("name one with --context: {}", listed(&known))));
    };
    if known.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(Failure::bad_input(format!("the kubeconfig has no context {:?}", text::clean(name, 80)))
        .remedy(format!("it has {}", listed(&known))))
}

fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let mut words: Vec<String> = names.iter().take(SHOWN).map(|it| text::clean(it, 80)).collect();
    match names.len() {
        0 => return "none".into(),
        more if more > SHOWN => words.push(format!("{} more", more - SHOWN)),
        _ => {}
    }
    words.join(", ")
}

/// Puts what a program gives in the place of the program.
async fn give_credentials(info: &mut AuthInfo, cancel: &CancellationToken) -> Result<(), Failure> {
    if let Some(provider) = &info.auth_provider {
        return Err(Failure::prerequisite(format!(
            "the kubeconfig has an auth-provider ({}), which Kubernetes itself no longer knows",
            text::clean(&provider.name, 40)
        ))
        .remedy("make the kubeconfig anew with your provider's own tool"));
    }
    let Some(exec) = info.exec.take() else { return Ok(()) };
    let given = credential::ask(&exec, cancel).await?;
    info.token = given.token;
    info.client_certificate_data = given.certificate;
    info.client_key_data = given.key;
    Ok(())
}
