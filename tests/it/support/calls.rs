//! Who asks the lab's cluster, and how often.
//!
//! Owns a caller of its own, with the documented role and no right beyond it, so that its calls are
//! told from everybody else's in the API server's audit log. Refuses to count what another one asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::cluster::{Cluster, Namespace};
use super::role::documented;

/// The most calls that a launch makes which does not have to wait; docs/kubernetes.md names it too.
pub const MOST: usize = 95;
/// How many more where there is something already; named there, too.
pub const MORE: usize = 16;

/// Calls by what they are of: `get pods`, `patch deployments/scale`.
pub type Calls = BTreeMap<String, usize>;

/// Somebody who may do what docs/kubernetes.md says that a launch needs.
pub struct Caller<'a> {
    home: Namespace<'a>,
    cluster: &'a Cluster,
    kubeconfig: tempfile::NamedTempFile,
}

impl<'a> Caller<'a> {
    /// One with a namespace of this name for its account, gone with this.
    pub fn of(cluster: &'a Cluster, name: &str) -> Self {
        let home = Namespace::of(cluster, name);
        cluster.said(&["create", "namespace", name]);
        cluster.said(&["--namespace", name, "create", "serviceaccount", "caller"]);
        let role = documented().replace("name: openclaw-pipeline", &format!("name: {name}"));
        cluster.told(&["apply", "-f", "-"], &role);
        let (role, account) =
            (format!("--clusterrole={name}"), format!("--serviceaccount={name}:caller"));
        cluster.said(&["create", "clusterrolebinding", name, &role, &account]);
        let token = cluster.said(&["--namespace", name, "create", "token", "caller"]);
        let text = std::fs::read_to_string(cluster.kubeconfig()).expect("the administrator's");
        let mut config: Value = serde_json::from_str(&text).expect("JSON is YAML");
        config["users"][0]["user"] = json!({ "token": token.trim() });
        let kubeconfig = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(kubeconfig.path(), config.to_string()).expect("written");
        Self { home, cluster, kubeconfig }
    }

    /// The file by which it reaches the cluster.
    pub fn kubeconfig(&self) -> &Path {
        self.kubeconfig.path()
    }

    /// What it asked so far, each call once: one that lasts stands in the log at its beginning and at
    /// its end.
    pub fn calls(&self) -> Calls {
        let name = format!("system:serviceaccount:{}:caller", self.home.name());
        let log = std::fs::read_to_string(audit_log(self.cluster)).expect("the audit log");
        let (mut seen, mut calls) = (BTreeSet::new(), Calls::new());
        for line in log.lines().filter(|line| line.contains(&name)) {
            // The last one may be half written.
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            let id = event["auditID"].as_str().unwrap_or_default();
            if event["user"]["username"] == name && seen.insert(id.to_owned()) {
                *calls.entry(kind(&event)).or_default() += 1;
            }
        }
        calls
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        for kind in ["clusterrolebinding", "clusterrole"] {
            let remove = ["delete", kind, self.home.name(), "--ignore-not-found"];
            let _ = self.cluster.kubectl(&remove).output();
        }
    }
}

fn audit_log(cluster: &Cluster) -> PathBuf {
    cluster.log().join("audit.log")
}

fn kind(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (verb, about) = (text(&event["verb"]), &event["objectRef"]);
    let (resource, part) = (text(&about["resource"]), text(&about["subresource"]));
    match (resource.is_empty(), part.is_empty()) {
        (true, _) => format!("{verb} {}", text(&event["requestURI"])),
        (_, true) => format!("{verb} {resource}"),
        _ => format!("{verb} {resource}/{part}"),
    }
}

/// How many there are of all kinds.
pub fn sum(calls: &Calls) -> usize {
    calls.values().sum()
}
