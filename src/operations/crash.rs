//! Whether a gateway that is to come up has ended for good, or cannot come up.
//!
//! Owns how often that is looked at, and after how many looks it is certain. Refuses to end the wait of a
//! gateway that runs: whether it works is the proof's.

use std::time::Duration;

use crate::domain::Failure;
use crate::exec::wait;
use crate::targets::{Observed, Progress, Site, Target};

/// How often a starting gateway is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(1500);
/// How often a starting gateway is seen crashed before it is given up: one crash may be bad luck.
const CRASHES: u32 = 3;
/// How many looks in a row something may stand that may pass: two minutes.
const STUCK: u32 = 80;

/// Waits for a starting gateway to crash for good. Never ends when it does not.
pub(super) async fn crashed(target: &dyn Target, site: &Site, progress: &dyn Progress) -> Failure {
    let (mut crashes, mut stuck) = (0, 0);
    loop {
        wait::back_off(LOOK_EVERY).await;
        // An engine that does not answer now is no crash of the gateway; the proof's own
        // deadline ends the wait.
        let Ok(observed) = target.observe(site).await else { continue };
        let name = &site.deployment.name;
        let logs = format!("openclaw-pipeline logs {name}");
        match observed {
            Observed::Held { cause } => {
                return Failure::failed(format!(
                    "the gateway exited with 78 and is held: {}",
                    site.scrub(&cause, 400)
                ))
                .remedy(format!(
                    "its state needs mending: openclaw-pipeline openclaw {name} -- doctor --fix; \
                     the log says more: {logs}"
                ));
            }
            Observed::Crashed { code, cause } => {
                crashes += 1;
                if crashes < CRASHES {
                    continue;
                }
                let code = code.map_or_else(String::new, |code| format!(" (exit code {code})"));
                return Failure::failed(format!(
                    "the gateway does not stay up{code}: {}",
                    site.scrub(&cause, 400)
                ))
                .remedy(format!("the log says more: {logs}"));
            }
            // That may pass: a node is added, a load balancer learns where it is.
            Observed::Stuck { cause, remedy } => {
                stuck += 1;
                if stuck >= STUCK {
                    return Failure::failed(site.scrub(&cause, 400)).remedy(remedy);
                }
                progress.amount(0, 0, &site.scrub(&cause, 200));
            }
            Observed::Absent | Observed::Stopped => {
                return Failure::failed("the gateway was stopped while it was being proven")
                    .remedy(format!("openclaw-pipeline start {name}"));
            }
            Observed::Mending { .. } => {
                crashes = 0;
                progress.amount(0, 0, "openclaw doctor mends its state");
            }
            Observed::Running => stuck = 0,
        }
    }
}
