//! What is to be known of a gateway that is meant to run: what it waits for, that it was restarted, that
//! a volume is nearly full, that its volumes are not said to be encrypted.
//!
//! Owns looking for it, in the pod's status and in the pod. Refuses to call it trouble.

use std::time::Duration;

use super::reason::Seen;
use super::{At, names, reason};
use crate::domain::Failure;
use crate::drivers::kubernetes::Object;
use crate::targets::container::{STATE, WORKSPACE};

/// From when on a volume is nearly full, in percent.
const NEARLY_FULL: u64 = 90;
/// How long asking in the pod may take.
const WITHIN: Duration = Duration::from_secs(20);

impl At<'_> {
    /// What its owner should know of one that runs.
    pub(super) async fn worries(&self) -> Result<Vec<Failure>, Failure> {
        if let Seen::Coming(words) = self.seen().await? {
            let namespace = &self.namespace;
            return Ok(
                vec![Failure::failed(format!("it does not run yet: {words}")).remedy(format!(
                "kubectl describe pods,pvc --namespace {namespace} says more, of the driver of its \
                 storage class, for one"
            ))],
            );
        }
        let Some(pod) = self.pod().await? else { return Ok(Vec::new()) };
        let (name, memory) =
            (self.site.deployment.name.as_str(), self.site.deployment.spec.memory_mib);
        let mut worries: Vec<Failure> = restarts(&pod, name, memory).into_iter().collect();
        if let Some(pod) = pod.metadata.name.as_deref() {
            let mut cmd = self.inside(pod, names::GATEWAY)?.cmd("df");
            let output = cmd.args(["-Pk", STATE, WORKSPACE]).deadline(WITHIN).output().await?;
            worries.extend(nearly_full(&output.stdout));
        }
        let facts = self.site.deployment.facts.cluster.as_ref();
        if let Some(class) = facts.and_then(|it| it.storage_class.as_deref()) {
            worries.extend(self.unencrypted(class).await?);
        }
        Ok(worries)
    }
}

/// That its node started it anew, and why the last time.
fn restarts(pod: &Object, name: &str, memory_mib: u32) -> Option<Failure> {
    let gateway = reason::container(pod, "containerStatuses", names::GATEWAY)?;
    let count = gateway["restartCount"].as_u64().filter(|it| *it > 0)?;
    let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
    let (code, why) = reason::ended(gateway, memory_mib)?;
    let is_memory = why.is_some();
    let why = match (why, code) {
        (Some(why), _) => why,
        (None, Some(code)) => format!("it ended with exit code {code}"),
        (None, None) => "nobody says why".to_owned(),
    };
    let failure =
        Failure::failed(format!("it runs, and was started anew {times}; the last time {why}"));
    Some(failure.remedy(if is_memory {
        format!("give it more memory: openclaw-pipeline deploy {name} --memory 4g")
    } else {
        format!("its log may say why: openclaw-pipeline logs {name}")
    }))
}

/// The volumes that are nearly full, as `df` prints them: of the state, then of the workspace.
fn nearly_full(said: &str) -> Vec<Failure> {
    let claims = names::CLAIMS.into_iter().zip(["state", "workspace"]);
    let full = said.lines().skip(1).zip(claims).filter_map(|(line, (claim, what))| {
        let used: u64 = line.split_whitespace().nth(4)?.strip_suffix('%')?.parse().ok()?;
        let failure = Failure::failed(format!("the volume of its {what} is {used} % full"));
        (used >= NEARLY_FULL).then(|| {
            failure.remedy(format!("raise the claim {claim} (docs/kubernetes.md says how)"))
        })
    });
    full.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(restarts: u64, last: &Value) -> Object {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "openclaw-a" },
            "status": { "containerStatuses": [{
                "name": names::GATEWAY, "restartCount": restarts,
                "state": { "running": {} }, "lastState": last,
            }] },
        }))
        .expect("a pod")
    }

    #[test]
    fn a_restart_is_told_with_its_reason() {
        let ended = |code: i32, reason: &str| json!({ "terminated": { "exitCode": code, "reason": reason } });
        let told = |pod: &Object| restarts(pod, "a", 2048).map(|it| it.to_string());
        assert_eq!(told(&pod(0, &json!({}))), None);
        let memory = told(&pod(7, &ended(137, "OOMKilled"))).expect("told");
        assert!(memory.contains("anew 7 times") && memory.contains("its 2048 MiB"), "{memory}");
        let crash = told(&pod(1, &ended(1, "Error"))).expect("told");
        assert!(crash.contains("anew once; the last time it ended with exit code 1"), "{crash}");
    }

    #[test]
    fn a_volume_that_is_nearly_full_is_told() {
        let said = |state: &str, workspace: &str| {
            format!(
                "Filesystem 1024-blocks Used Available Capacity Mounted on\n\
                 /dev/a 1000 1 1 {state} {STATE}\n/dev/b 1000 1 1 {workspace} {WORKSPACE}\n"
            )
        };
        assert_eq!(nearly_full(&said("89%", "3%")), []);
        let full = nearly_full(&said("97%", "90%"));
        assert!(full[0].message.contains("its state is 97 % full"), "{full:?}");
        let remedy = full[1].remedy.as_deref().expect("one");
        assert!(remedy.contains("openclaw-workspace"), "{remedy}");
        assert_eq!(nearly_full("df: no such directory"), []);
    }
}
