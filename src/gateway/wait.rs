//! The pause between two probes.
//!
//! Owns the back-off. Refuses to be a fixed sleep: every pause is bounded by the caller's deadline
//! and stands between two looks at the real thing.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(50);
const CAP: Duration = Duration::from_millis(100);

/// Doubles from 50 ms to 100 ms: somebody waits for what comes next, and a probe costs little.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    deadline: Instant,
}

impl Backoff {
    pub(super) fn until(deadline: Instant) -> Self {
        Self { next: FIRST, deadline }
    }

    /// Pauses, at least `at_least` if the other side asked for it. False when the deadline would
    /// pass first: probing again after it is the caller's error to report, not to wait for.
    pub(super) async fn pause(&mut self, at_least: Option<Duration>) -> bool {
        let pause = self.next.max(at_least.unwrap_or_default());
        self.next = (self.next * 2).min(CAP);
        if Instant::now() + pause >= self.deadline {
            return false;
        }
        tokio::time::sleep_until(Instant::now() + pause).await;
        true
    }
}
