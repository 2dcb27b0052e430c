//! Looking again, until something has come about.
//!
//! Owns the pause between two looks, when it is too late, and for how long trouble is borne that may
//! pass by itself. Refuses to look on once the operation is interrupted.

use std::time::Duration;

use tokio::time::Instant;

use super::Work;
use crate::domain::Failure;
use crate::exec::wait;

/// The pause between two looks, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// How long something that may pass is waited for: a node is added, a volume made.
const PATIENCE: Duration = Duration::from_secs(120);

/// Looks that grow further apart.
pub(super) struct Looks<'a> {
    work: Option<Work<'a>>,
    pause: Duration,
    end: Instant,
    patience: Duration,
    troubled: Option<Instant>,
}

impl<'a> Looks<'a> {
    /// For so long. Without an operation, nobody is told and nothing interrupts.
    pub(super) fn new(within: Duration, work: impl Into<Option<Work<'a>>>) -> Self {
        let (work, end) = (work.into(), Instant::now() + within);
        Self { work, pause: PAUSES.0, end, patience: PATIENCE.min(within), troubled: None }
    }

    /// Whether it should have come about by now.
    pub(super) fn is_late(&self) -> bool {
        Instant::now() > self.end
    }

    /// Whether trouble that this look met may still pass.
    pub(super) fn bears(&mut self, may_pass: bool) -> bool {
        let since = self.troubled.get_or_insert_with(Instant::now);
        may_pass && since.elapsed() <= self.patience
    }

    /// Forgets trouble that has passed.
    pub(super) fn is_well(&mut self) {
        self.troubled = None;
    }

    /// Says what is waited for, and pauses until the next look; fails when the operation is interrupted.
    pub(super) async fn next(&mut self, what: &str) -> Result<(), Failure> {
        match self.work {
            Some(work) => {
                work.progress.amount(0, 0, what);
                tokio::select! {
                    () = wait::back_off(self.pause) => {}
                    () = work.cancel.cancelled() => return Err(Failure::interrupted()),
                }
            }
            None => wait::back_off(self.pause).await,
        }
        self.pause = (self.pause * 3 / 2).min(PAUSES.1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_looks_end_in_time() {
        let mut looks = Looks::new(Duration::from_secs(60), None);
        let mut count = 0;
        while !looks.is_late() {
            looks.next("a pod").await.expect("nothing interrupts");
            count += 1;
        }
        assert!((30..60).contains(&count), "{count}");
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_is_borne_while_it_may_pass() {
        let mut looks = Looks::new(Duration::from_secs(600), None);
        assert!(!looks.bears(false));
        assert!(looks.bears(true));
        wait::back_off(PATIENCE).await;
        assert!(looks.bears(true));
        looks.is_well();
        wait::back_off(Duration::from_secs(1)).await;
        assert!(looks.bears(true), "it passed between");
        wait::back_off(PATIENCE + Duration::from_secs(1)).await;
        assert!(!looks.bears(true));
    }
}
