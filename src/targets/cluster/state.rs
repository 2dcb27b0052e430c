//! What is seen of a deployment's pods.
//!
//! Owns asking the cluster for them, and which of them is the gateway's present one. What it means
//! stands in [`super::reason`].

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::reason::{self, Seen};
use super::{At, names};
use crate::domain::Failure;
use crate::drivers::kubernetes::{ApiError, Cluster, Kind, LogPart, Object};
use crate::gateway::cause;
use crate::targets::{Learned, Observed};

/// How many lines from the end of a log are read.
const LINES: u32 = 200;
/// The most of a log that is read, in bytes.
const LOG_MAX: usize = 256 * 1024;

/// The name of the pod in which the gateway runs, if one does.
pub(super) async fn running_pod(
    cluster: &Cluster,
    namespace: &str,
) -> Result<Option<String>, ApiError> {
    let pods = cluster.list(Kind::POD, Some(namespace), names::OF_GATEWAY).await?;
    let running = pods.iter().find(|pod| !names::is_going(pod) && reason::runs(pod));
    Ok(running.and_then(|pod| pod.metadata.name.clone()))
}

/// The newest pod that is not going away; else one that is.
fn present(mut pods: Vec<Object>) -> Option<Object> {
    pods.sort_by_key(|pod| {
        let made = pod.metadata.creation_timestamp.as_ref().map(|it| it.0);
        (!names::is_going(pod), !names::has_ended(pod), made)
    });
    pods.pop()
}

impl At<'_> {
    /// Fails unless the namespace is there, and this deployment's.
    pub(super) async fn require_own(&self) -> Result<(), Failure> {
        let found = self.cluster.get(Kind::NAMESPACE, None, &self.namespace).await?;
        let name = &self.site.deployment.name;
        let Some(found) = found else {
            return Err(Failure::not_found(format!(
                "the cluster at {} has no namespace {}: it was removed, or this is another cluster",
                self.cluster.server(),
                self.namespace
            ))
            .remedy(format!(
                "check the context; if the namespace is gone for good, {} and launch again",
                name.destroying()
            )));
        };
        names::refuse_others(&found, self.site)
    }

    /// The gateway's present pod.
    pub(super) async fn pod(&self) -> Result<Option<Object>, Failure> {
        let pods = self.cluster.list(Kind::POD, Some(&self.namespace), names::OF_GATEWAY).await?;
        Ok(present(pods))
    }

    /// How many pods of the gateway there are to be; `None` where nothing of it is there.
    pub(super) async fn replicas(&self) -> Result<Option<u64>, Failure> {
        let found =
            self.cluster.get(Kind::DEPLOYMENT, Some(&self.namespace), names::GATEWAY).await?;
        Ok(found.map(|it| it.data["spec"]["replicas"].as_u64().unwrap_or(1)))
    }

    /// The warnings of the namespace that are not older than an hour, and what else tells why a pod
    /// does not come up, the newest last.
    pub(super) async fn warnings(&self) -> Result<Vec<Value>, Failure> {
        let events = self.cluster.list_events(&self.namespace).await?;
        let is_telling = |it: &Object| reason::TELLING.iter().any(|one| it.data["reason"] == *one);
        let mut warnings: Vec<(String, Value)> = events
            .into_iter()
            .filter(|it| it.data["type"] == "Warning" || is_telling(it))
            .map(|it| (reason::time_of(&it), it.data))
            .collect();
        warnings.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(warnings.into_iter().map(|(_, event)| event).collect())
    }

    /// What is seen of the gateway now, with the reason where it does not come up.
    pub(super) async fn seen(&self) -> Result<Seen, Failure> {
        self.look(reason::is_well, true, &mut Vec::new()).await
    }

    /// The same, of one that runs once its pod is like this; the warnings around it are asked for anew
    /// where nothing moves.
    pub(super) async fn look(
        &self,
        is_up: fn(&Object) -> bool,
        is_quiet: bool,
        warnings: &mut Vec<Value>,
    ) -> Result<Seen, Failure> {
        let pod = self.pod().await?;
        match pod.as_ref().filter(|it| !names::is_going(it)) {
            // While it comes up or is proven, it is asked for again and again.
            Some(pod) if is_up(pod) => return Ok(Seen::Running),
            Some(_) => {}
            // Somebody else may have stopped it.
            None => match self.replicas().await? {
                None => return Ok(Seen::Absent),
                Some(0) => return Ok(Seen::Stopped),
                Some(_) => {}
            },
        }
        if is_quiet {
            *warnings = self.warnings().await?;
        }
        Ok(reason::of(pod.as_ref(), warnings, self.site.deployment.spec.memory_mib))
    }

    /// What is seen of it, in the words of every target.
    pub(super) async fn observe(&self) -> Result<Observed, Failure> {
        let Some(found) = self.found().await? else { return Ok(Observed::Absent) };
        names::refuse_others(&found, self.site)?;
        Ok(match self.seen().await? {
            Seen::Absent => Observed::Absent,
            Seen::Stopped => Observed::Stopped,
            Seen::Running | Seen::Coming(_) => Observed::Running,
            Seen::Ended { code, why } => {
                let cause = match why {
                    Some(why) => why,
                    None => cause::of_log(&self.last_log().await?),
                };
                if code == Some(reason::NEEDS_DOCTOR) {
                    Observed::Held { cause }
                } else {
                    Observed::Crashed { code, cause }
                }
            }
            Seen::Stuck(trouble) => {
                Observed::Stuck { cause: trouble.what, remedy: trouble.remedy.to_owned() }
            }
        })
    }

    /// The end of what the present run logged, or the last one that ended.
    pub(super) async fn log_tail(&self) -> Result<String, Failure> {
        self.last_log().await
    }

    async fn last_log(&self) -> Result<String, Failure> {
        let Some(pod) = self.pod().await? else { return Ok(String::new()) };
        let Some(name) = pod.metadata.name.as_deref() else { return Ok(String::new()) };
        let previous = !reason::runs(&pod) && reason::ended_before(&pod);
        let part = LogPart { tail: Some(LINES), follow: false, previous };
        let read = async |part| {
            let log = self.cluster.log_text(&self.namespace, name, names::GATEWAY, part, LOG_MAX);
            log.await.unwrap_or_default()
        };
        let log = read(part).await;
        // The node says so in the place of a log that it has no more.
        let is_lost = log.is_empty() || log.starts_with("unable to retrieve container logs");
        Ok(if is_lost { read(LogPart { previous: !previous, ..part }).await } else { log })
    }

    /// What its configuration turned out to be, as the container said that merged it.
    pub(super) async fn learned(&self) -> Result<Option<Learned>, Failure> {
        let Some(pod) = self.pod().await? else { return Ok(None) };
        let Some(told) = reason::configured(&pod) else { return Ok(None) };
        let list = |key: &str| -> Vec<String> {
            let list = told[key].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(|it| self.site.scrub(it, 200)).take(100).collect()
        };
        let model = told["model"].as_str().map(|it| self.site.scrub(it, 200));
        let replaced = list("replaced");
        let notices = (!replaced.is_empty()).then(|| {
            format!("openclaw.json: replaced, because they are managed: {}", replaced.join(", "))
        });
        let notices = notices.into_iter().collect();
        Ok(Some(Learned { plugins: list("plugins"), model, notices }))
    }
}

/// A time as the API writes it, to sort by.
pub(super) fn sortable(text: &str) -> String {
    let read = OffsetDateTime::parse(text, &Rfc3339);
    read.map_or_else(|_| String::new(), |it| format!("{:020}", it.unix_timestamp_nanos()))
}
