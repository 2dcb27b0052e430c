//! Credentials that a program gives, as kubeconfig files name one (`exec`).
//!
//! Owns the program's run and the reading of what it says. It gets the variables that its entry names
//! and those of the clouds, and no other of this program's. Refuses one that would ask a person.

use std::time::Duration;

use kube::config::ExecConfig;
use secrecy::SecretString;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::domain::{Failure, text};
use crate::exec::command::Stream;
use crate::exec::{Cmd, ExecError};

/// How long it may take: it may ask its cloud.
const WITHIN: Duration = Duration::from_secs(30);
/// From how much on what it says is no credential, in bytes.
const SAID_MAX: usize = 1 << 20;
/// What the clouds' own tools are told by.
pub const CLOUDS: [&str; 4] = ["AWS_", "AZURE_", "CLOUDSDK_", "GOOGLE_"];

/// What it gave.
pub(super) struct Given {
    pub(super) token: Option<SecretString>,
    /// PEM.
    pub(super) certificate: Option<String>,
    /// PEM.
    pub(super) key: Option<SecretString>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    client_certificate_data: Option<String>,
    #[serde(default)]
    client_key_data: Option<String>,
}

/// Asks it.
pub(super) async fn ask(exec: &ExecConfig, cancel: &CancellationToken) -> Result<Given, Failure> {
    let Some(program) = &exec.command else {
        return Err(Failure::prerequisite("the kubeconfig's exec entry names no command")
            .remedy("correct the file, or make it anew"));
    };
    let named = text::clean(program, 80);
    let mut cmd = Cmd::new(program);
    for prefix in CLOUDS {
        cmd.allow_prefix(prefix);
    }
    cmd.allow(&["KUBECONFIG"]).args(exec.args.iter().flatten());
    for pair in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (pair.get("name"), pair.get("value")) {
            cmd.env(name, value);
        }
    }
    let version = exec.api_version.as_deref().unwrap_or("client.authentication.k8s.io/v1");
    let told = serde_json::json!({
        "apiVersion": version, "kind": "ExecCredential", "spec": { "interactive": false },
    });
    cmd.env("KUBERNETES_EXEC_INFO", told.to_string()).deadline(WITHIN).cancel_on(cancel);
    let mut said = String::new();
    let output = cmd
        .lines(|stream, line| {
            if stream == Stream::Stdout && said.len() < SAID_MAX {
                said.push_str(line);
            }
        })
        .await;
    let output = match output {
        Ok(output) => output,
        Err(ExecError::NotFound(_)) => {
            let hint = exec.install_hint.as_deref().map(|it| text::clean(it, 300));
            return Err(Failure::prerequisite(format!(
                "{named}, which the kubeconfig has the credentials from, is not installed"
            ))
            .remedy(hint.unwrap_or_else(|| "install it, or make the kubeconfig anew".into())));
        }
        Err(error) => return Err(error.into()),
    };
    let refused = |why: &str| {
        Failure::prerequisite(format!("{named} gives no credentials for the cluster: {why}"))
            .remedy("sign in with it, then try again")
    };
    if !output.success() {
        // What it printed may hold a secret; what it complained of is for people.
        let complaint = output.stderr.lines().rfind(|it| !it.trim().is_empty());
        return Err(refused(&text::clean(complaint.unwrap_or("it says nothing"), 300)));
    }
    // What it says holds a secret: no part of it is repeated.
    let answer: Answer =
        serde_json::from_str(&said).map_err(|_| refused("what it says is no ExecCredential"))?;
    let Some(Status { token, client_certificate_data, client_key_data }) = answer.status else {
        return Err(refused("what it says has no status"));
    };
    if token.is_none() && client_key_data.is_none() {
        return Err(refused("what it says has neither a token nor a key"));
    }
    Ok(Given {
        token: token.map(SecretString::from),
        certificate: client_certificate_data,
        key: client_key_data.map(SecretString::from),
    })
}
