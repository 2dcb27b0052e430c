//! The cluster that this program runs on, as its pod is told of it.
//!
//! Owns where a pod finds that. Refuses to read the token itself: it is exchanged while the pod runs,
//! and read anew for each call.

use std::path::PathBuf;

use kube::Config;
use kube::config::AuthInfo;
use serde::{Deserialize, Serialize};

use crate::domain::Failure;

/// Where a pod finds its service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A pod's way to its own cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pod {
    host: String,
    port: String,
    account: PathBuf,
}

impl Pod {
    /// What the environment says, where this is a pod with a service account.
    pub fn told(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let host = variable("KUBERNETES_SERVICE_HOST")?;
        let port = variable("KUBERNETES_SERVICE_PORT")?;
        let account = PathBuf::from(ACCOUNT);
        account.join("token").exists().then_some(Self { host, port, account })
    }

    pub(super) fn config(&self) -> Result<Config, Failure> {
        let Self { host, port, account } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let url = format!("https://{host}:{port}").parse().map_err(|_| {
            Failure::prerequisite(
                "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are no address",
            )
        })?;
        let mut config = Config::new(url);
        config.root_cert_file = Some(account.join("ca.crt"));
        let token = account.join("token").to_string_lossy().into_owned();
        config.auth_info = AuthInfo { token_file: Some(token), ..AuthInfo::default() };
        Ok(config)
    }
}
