//! What is seen of a deployment's container.
//!
//! Owns reading the engine's word on it, and the marks that the start command leaves in its log.
//! Only what the present run logged counts: what an earlier run said is history.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::Observed;
use super::super::site::Site;
use super::container;
use super::engine::{self, Engine};
use super::owner::Owner;
use crate::domain::Failure;
use crate::gateway::cause;

/// What the start command logs when it holds a container after exit 78.
const HELD: &str = "openclaw-pipeline: held after exit 78";
/// What it logs when it runs the gateway's own doctor after the first exit 78.
const MENDING: &str = "openclaw-pipeline: mending after exit 78";
/// What every line of the start command's own begins with.
const MARK: &str = "openclaw-pipeline: ";
/// The exit code that says that the state needs `doctor --fix`, which a held container that is
/// stopped keeps.
const NEEDS_DOCTOR: i32 = 78;
/// The exit code of what the kernel killed.
const KILLED: i32 = 137;
/// How many lines from the end of the log are read.
const LINES: usize = 200;

/// What the engine says of the container's process.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct State {
    pub(super) status: String,
    exit_code: i32,
    #[serde(rename = "OOMKilled", default)]
    oom_killed: bool,
    #[serde(default)]
    error: String,
    #[serde(default)]
    started_at: String,
    #[serde(default)]
    finished_at: String,
}

impl State {
    /// Whether commands can be executed in it.
    pub(super) fn takes_commands(&self) -> bool {
        self.status == "running"
    }

    /// Since when the log is that of the present run, or of the last one; `None` for all of it.
    /// The engine takes the time of a start after the process is there, so a running container's
    /// first words may be older than its start; they are never older than the last run's end.
    fn since(&self) -> Option<&str> {
        let at = if self.status == "running" { &self.finished_at } else { &self.started_at };
        // What never happened is in the year 1.
        (!at.is_empty() && !at.starts_with("0001-")).then_some(at)
    }

    /// What it means, without the log; `None` where only the log tells.
    fn plain(&self, memory_mib: u32) -> Option<Observed> {
        match self.status.as_str() {
            "paused" => Some(Observed::Running),
            "created" => Some(Observed::Stopped),
            "exited" if self.exit_code == 0 || self.exit_code == 143 => Some(Observed::Stopped),
            // The flag is set when the kernel killed anything in the container, a tool for one.
            "exited" | "restarting" | "dead" if self.oom_killed && self.exit_code == KILLED => {
                Some(Observed::Crashed {
                    code: Some(self.exit_code),
                    cause: format!(
                        "it was killed for using more than its {memory_mib} MiB of memory"
                    ),
                })
            }
            _ => None,
        }
    }

    /// What it means, with what the run logged.
    fn told(self, log: &str) -> Observed {
        let cause = || cause::of_log(log);
        if self.status == "running" {
            let last = log.lines().rev().find(|line| line.starts_with(MARK));
            return match last {
                Some(line) if line.starts_with(HELD) => Observed::Held { cause: cause() },
                Some(line) if line.starts_with(MENDING) => Observed::Mending { cause: cause() },
                _ => Observed::Running,
            };
        }
        if self.status == "exited" && self.exit_code == NEEDS_DOCTOR {
            return Observed::Held { cause: cause() };
        }
        let cause = if self.error.is_empty() { cause() } else { self.error };
        Observed::Crashed { code: Some(self.exit_code), cause }
    }
}

#[derive(Debug, Deserialize)]
struct Inspected {
    labels: Option<BTreeMap<String, String>>,
    state: State,
}

/// The container under the deployment's name, and whose it is.
async fn inspect(engine: &Engine, site: &Site) -> Result<Option<(Owner, State)>, Failure> {
    let format = r#"{"labels":{{json .Config.Labels}},"state":{{json .State}}}"#;
    let output = engine
        .docker()
        .args(["container", "inspect", "--format", format, &container(site)])
        .output()
        .await?;
    if !output.success() {
        return if output.stderr.to_lowercase().contains("no such container") {
            Ok(None)
        } else {
            Err(engine::failure(&output))
        };
    }
    let inspected: Inspected = serde_json::from_str(output.stdout.trim())
        .map_err(|error| Failure::failed(format!("docker inspect answered nonsense: {error}")))?;
    Ok(Some((Owner::of(&inspected.labels.unwrap_or_default()), inspected.state)))
}

/// The deployment's container; `None` when there is none, or one that is not its own.
pub(super) async fn own(engine: &Engine, site: &Site) -> Result<Option<State>, Failure> {
    let found = inspect(engine, site).await?;
    Ok(found.filter(|(owner, _)| owner.is(site)).map(|(_, state)| state))
}

/// The deployment's container, which has to be there.
pub(super) async fn require(engine: &Engine, site: &Site) -> Result<State, Failure> {
    let name = &site.deployment.name;
    match inspect(engine, site).await? {
        Some((owner, state)) if owner.is(site) => Ok(state),
        Some((owner, _)) => Err(owner.refused("container", &container(site))),
        None => Err(Failure::not_found(format!("{name} has no container"))
            .remedy(format!("openclaw-pipeline launch {name}"))),
    }
}

/// What is seen of the container.
pub(super) async fn observe(engine: &Engine, site: &Site) -> Result<Observed, Failure> {
    match own(engine, site).await? {
        Some(state) => meaning(engine, site, state).await,
        None => Ok(Observed::Absent),
    }
}

/// What a container's state means.
pub(super) async fn meaning(
    engine: &Engine,
    site: &Site,
    state: State,
) -> Result<Observed, Failure> {
    if let Some(observed) = state.plain(site.deployment.spec.memory_mib) {
        return Ok(observed);
    }
    let log = log(engine, site, state.since()).await?;
    Ok(state.told(&log))
}

/// The end of what the present run logged, or the last one.
pub(super) async fn log_of_run(engine: &Engine, site: &Site) -> Result<String, Failure> {
    match own(engine, site).await? {
        Some(state) => log(engine, site, state.since()).await,
        None => Ok(String::new()),
    }
}

async fn log(engine: &Engine, site: &Site, since: Option<&str>) -> Result<String, Failure> {
    let mut cmd = engine.docker();
    cmd.args(["container", "logs", "--timestamps", "--tail", &LINES.to_string()]);
    if let Some(since) = since {
        cmd.args(["--since", since]);
    }
    let output = cmd.arg(container(site)).output().await?;
    if output.success() {
        Ok(in_order(&output.stdout, &output.stderr))
    } else {
        Err(engine::failure(&output))
    }
}

/// The lines of both streams in the order in which they were written, without their time stamps,
/// which have one width and so sort as text.
fn in_order(stdout: &str, stderr: &str) -> String {
    let mut lines: Vec<&str> = stdout.lines().chain(stderr.lines()).collect();
    lines.sort_by_key(|line| line.split(' ').next());
    let mut text = String::new();
    for line in lines {
        text.push_str(line.split_once(' ').map_or("", |(_, said)| said));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assets::DOCKER_COMPOSE;

    fn state(status: &str, exit_code: i32) -> State {
        State { status: status.into(), exit_code, ..State::default() }
    }

    fn seen(state: State, log: &str) -> Observed {
        state.plain(2048).unwrap_or_else(|| state.told(log))
    }

    #[test]
    fn the_start_command_leaves_the_marks_that_are_looked_for() {
        for mark in [HELD, MENDING] {
            assert!(DOCKER_COMPOSE.contains(&format!("echo '{mark}")), "{mark}");
        }
    }

    #[test]
    fn the_last_mark_of_the_run_counts() {
        let held = format!("Error: x\n{MENDING}: y\ndoctor\n{MARK}mended\n{HELD}: z\n");
        assert!(matches!(seen(state("running", 0), &held), Observed::Held { .. }));
        let mending = format!("Error: x\n{MENDING}: y\nchecking\n");
        let cause = "Error: x".to_owned();
        assert_eq!(seen(state("running", 0), &mending), Observed::Mending { cause });
        let mended = format!("Error: x\n{MENDING}: y\n{MARK}mended\nlistening\n");
        assert_eq!(seen(state("running", 0), &mended), Observed::Running);
        // What only contains a mark is not one.
        let quoted = format!("[agent] {HELD}\n");
        assert_eq!(seen(state("running", 0), &quoted), Observed::Running);
    }

    #[test]
    fn a_held_container_that_was_stopped_is_held() {
        let held = Observed::Held { cause: "Error: x".into() };
        assert_eq!(seen(state("exited", 78), "Error: x\n"), held);
        assert_eq!(seen(state("exited", 143), ""), Observed::Stopped);
        assert_eq!(seen(state("exited", 0), ""), Observed::Stopped);
    }

    #[test]
    fn a_running_container_is_not_killed_because_a_tool_in_it_was() {
        let oom = |status: &str, code| State { oom_killed: true, ..state(status, code) };
        assert_eq!(seen(oom("running", 0), "listening\n"), Observed::Running);
        assert_eq!(seen(oom("exited", 0), ""), Observed::Stopped);
        let killed = seen(oom("exited", 137), "");
        assert!(
            matches!(&killed, Observed::Crashed { cause, .. } if cause.contains("2048 MiB")),
            "{killed:?}"
        );
    }

    #[test]
    fn the_log_is_read_since_the_last_run_ended_or_the_ended_one_began() {
        let never = "0001-01-01T00:00:00Z";
        let at = |status: &str, started: &str, finished: &str| State {
            started_at: started.into(),
            finished_at: finished.into(),
            ..state(status, 0)
        };
        assert_eq!(at("running", "2", never).since(), None);
        assert_eq!(at("running", "2", "1").since(), Some("1"));
        assert_eq!(at("exited", "1", "2").since(), Some("1"));
        assert_eq!(at("created", never, never).since(), None);
    }

    #[test]
    fn both_streams_are_one_log() {
        let stdout = "2026-11-01T00:00:00.000000001Z one\n2026-11-01T00:00:03.000000000Z four\n";
        let stderr = "2026-11-01T00:00:00.100000000Z two\n2026-11-01T00:00:01.000000000Z three\n";
        assert_eq!(in_order(stdout, stderr), "one\ntwo\nthree\nfour\n");
    }
}
