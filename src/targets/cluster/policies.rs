//! Whether the cluster enforces network policies.
//!
//! Owns asking a pod that gets the image ready: it tries to reach the cluster's own API, which the
//! deployment's policy forbids where its address is a private one. Some networks begin to enforce a
//! policy a while after a pod did: it tries for as long as that takes, while the gateway starts. Refuses
//! to guess where it could not tell.

use std::time::Duration;

use serde_json::json;

use super::address::ENFORCES;
use super::{At, names, reason};
use crate::domain::{Failure, FailureKind};
use crate::drivers::kubernetes::{Kind, Object};
use crate::targets::Work;
use crate::targets::looks::Looks;

/// The container that finds it out.
const CONTAINER: &str = "policies";
/// How long it may take to say so: longer than it tries.
const WITHIN: Duration = Duration::from_secs(30);

/// Tries until it is kept from the API twice in a row, or was let through for six seconds.
const SCRIPT: &str = r"
const fs = require('fs'), net = require('net');
const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env;
const end = (reached) => {
  fs.writeFileSync('/dev/termination-log', JSON.stringify({ reached }));
  process.exit(0);
};
const until = Date.now() + 6000;
const attempt = (kept) => {
  const socket = net.connect({ host, port: Number(port), timeout: 2000 });
  let told = false;
  const next = (reached) => {
    if (told) return;
    told = true;
    socket.destroy();
    if (!reached && kept) end(false);
    else if (reached && Date.now() > until) end(true);
    else setTimeout(attempt, 500, !reached);
  };
  socket.on('connect', () => next(true));
  // Where this process had to wait for its turn, the answer may be there, and is heard first.
  socket.on('timeout', () => setImmediate(next, false));
  socket.on('error', (error) => next(error.code === 'ECONNREFUSED'));
};
const [a, b] = (host ?? '').split('.').map(Number);
const isForbidden = a === 10 || (a === 172 && b >= 16 && b < 32) || (a === 192 && b === 168)
  || (a === 100 && b >= 64 && b < 128);
if (isForbidden) attempt(false); else end(null);
";

/// Has a pod find it out beside what it is for.
pub(super) fn ask(pod: &mut Object) {
    let Some(containers) = pod.data["spec"]["containers"].as_array_mut() else { return };
    let Some(mut other) = containers.first().cloned() else { return };
    other["name"] = json!(CONTAINER);
    other["command"] = json!(["node", "-e", SCRIPT]);
    containers.push(other);
}

impl At<'_> {
    /// What the pod found out; what an earlier one did, where there is none. Whether a gateway can be
    /// launched does not depend on it: nothing fails here but by an interruption.
    pub(super) async fn enforces_policies(&self, work: Work<'_>) -> Result<Option<bool>, Failure> {
        match self.hear_policies(work).await {
            Err(failure) if failure.kind == FailureKind::Interrupted => return Err(failure),
            _ => {}
        }
        let Ok(found) = self.cluster.get(Kind::NAMESPACE, None, &self.namespace).await else {
            return Ok(None);
        };
        let annotations = found.and_then(|it| it.metadata.annotations).unwrap_or_default();
        Ok(annotations.get(ENFORCES).and_then(|it| it.parse().ok()))
    }

    /// Waits until the pod has said it, keeps that, and removes the pod.
    async fn hear_policies(&self, work: Work<'_>) -> Result<(), Failure> {
        let namespace = Some(self.namespace.as_str());
        // Most have said it by now: no change is waited for.
        let mut looks = Looks::new(WITHIN, work);
        let pod = loop {
            let found = self.cluster.get(Kind::POD, namespace, names::PULL).await?;
            let Some(pod) = found else { return Ok(()) };
            if looks.is_late() || reason::last_word(&pod, CONTAINER).is_some() {
                break pod;
            }
            looks.next("a pod tries what the network policy forbids").await?;
        };
        let told = reason::last_word(&pod, CONTAINER).unwrap_or_default();
        if let Some(reached) = told["reached"].as_bool() {
            let annotation =
                json!({ "metadata": { "annotations": { ENFORCES: (!reached).to_string() } } });
            self.cluster.merge(Kind::NAMESPACE, None, &self.namespace, &annotation).await?;
        }
        let uid = pod.metadata.uid.unwrap_or_default();
        Ok(self.cluster.remove(Kind::POD, namespace, names::PULL, &uid).await?)
    }
}
