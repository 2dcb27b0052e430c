//! How far a machine's first boot is: its own word.

use std::time::Duration;

use serde::Deserialize;

use crate::domain::Failure;
use crate::domain::text::clean;
use crate::drivers::ssh::{Machine, failure};
use crate::exec::wait;
use crate::targets::Work;

/// Where it says so.
const SAID: &str = "/var/lib/openclaw-pipeline/boot.json";
/// What it did, at length.
const LOG: &str = "/var/log/openclaw-pipeline/boot.log";
/// How long it may take.
const DEADLINE: Duration = Duration::from_secs(900);

#[derive(Debug, Default, Deserialize)]
struct Said {
    state: String,
    step: String,
    #[serde(default)]
    message: String,
}

/// Waits until the machine is ready; fails, with its own words, where it cannot be.
pub(super) async fn done(machine: &Machine, work: Work<'_>) -> Result<(), Failure> {
    let answer = wait::until(DEADLINE, || async move {
        match look(machine).await {
            Ok(Some(said)) if said.state == "done" => Some(Ok(())),
            Ok(Some(said)) if said.state == "failed" => Some(Err(failed(&said))),
            Ok(said) => {
                let said = said.unwrap_or_default();
                let what = if said.message.is_empty() { "it boots" } else { &said.message };
                work.progress.amount(0, 0, &format!("waiting for the machine: {what}"));
                None
            }
            Err(failure) => Some(Err(failure)),
        }
    });
    tokio::select! {
        answer = answer => answer.unwrap_or_else(|| {
            Err(Failure::failed("the machine does not get ready").remedy(format!(
                "its own log says more: {LOG} and /var/log/cloud-init-output.log there"
            )))
        }),
        () = work.cancel.cancelled() => {
            Err(Failure::interrupted())
        }
    }
}

/// What it says; `None` where it says nothing yet.
async fn look(machine: &Machine) -> Result<Option<Said>, Failure> {
    let mut cmd = machine.cmd("cat");
    let output = cmd.arg(SAID).deadline(Duration::from_secs(20)).output().await?;
    if output.unreached() {
        // It may restart its SSH server, or itself.
        return match machine.open().await {
            Err(refusal) if !refusal.may_pass() => Err(failure(&output)),
            _ => Ok(None),
        };
    }
    let Ok(said) = serde_json::from_str::<Said>(output.stdout.trim()) else { return Ok(None) };
    let Said { state, step, message } = said;
    Ok(Some(Said { state, step: clean(&step, 40), message: clean(&message, 300) }))
}

fn failed(said: &Said) -> Failure {
    let Said { step, message, .. } = said;
    Failure::failed(format!("the machine's set-up failed (step {step}): {message}")).remedy(format!(
        "mend it there (sudo sh /var/lib/cloud/instance/user-data.txt runs the set-up again; its log \
         is {LOG}), then go on"
    ))
}
