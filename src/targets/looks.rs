//! Looking again, until something has come about.
//!
//! Owns the pause between two looks, when it is too late, and for how long trouble is borne that may
//! pass by itself. Refuses to look on once the operation is interrupted.

use std::time::Duration;

use tokio::time::Instant;

use super::Work;
use crate::domain::Failure;
use crate::drivers::kubernetes::Changes;
use crate::exec::wait;

/// The pause between two looks, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// The same where changes are heard of: not everything that is looked for is told by one.
const HEARING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3));
/// How long something that may pass is waited for: a node is added, a volume made.
const PATIENCE: Duration = Duration::from_secs(120);

/// Looks that grow further apart, and come at once when a change is heard of.
pub(super) struct Looks<'a> {
    work: Option<Work<'a>>,
    pauses: (Duration, Duration),
    pause: Duration,
    changes: Option<Changes>,
    /// Whether a change is what this look is for.
    is_for_change: bool,
    end: Instant,
    patience: Duration,
    troubled: Option<Instant>,
}

impl<'a> Looks<'a> {
    /// For so long. Without an operation, nobody is told and nothing interrupts.
    pub(super) fn new(within: Duration, work: impl Into<Option<Work<'a>>>) -> Self {
        Self {
            work: work.into(),
            pauses: PAUSES,
            pause: PAUSES.0,
            changes: None,
            is_for_change: false,
            end: Instant::now() + within,
            patience: PATIENCE.min(within),
            troubled: None,
        }
    }

    /// The same, of what these are the changes of, where they can be heard.
    pub(super) fn hearing(self, changes: Option<Changes>) -> Self {
        let pauses = if changes.is_some() { HEARING } else { PAUSES };
        Self { pauses, pause: pauses.0, changes, ..self }
    }

    /// Whether nothing changed since the last look: what is waited for may never come.
    pub(super) fn is_quiet(&self) -> bool {
        !self.is_for_change
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

    /// Looks until something that is being removed is there no more.
    pub(super) async fn until_gone<F>(
        &mut self,
        what: &str,
        is_there: impl Fn() -> F,
    ) -> Result<(), Failure>
    where
        F: Future<Output = Result<bool, Failure>>,
    {
        while is_there().await? {
            if self.is_late() {
                return Err(Failure::failed(format!("{what} is not gone yet"))
                    .remedy("kubectl describe says what holds it; then try again"));
            }
            self.next(&format!("the cluster removes {what}")).await?;
        }
        Ok(())
    }

    /// Says what is waited for, and pauses until the next look; fails when the operation is interrupted.
    pub(super) async fn next(&mut self, what: &str) -> Result<(), Failure> {
        if let Some(work) = self.work {
            work.progress.amount(0, 0, what);
        }
        let change = async {
            match &mut self.changes {
                Some(changes) => changes.next().await,
                None => std::future::pending().await,
            }
        };
        let end = async {
            match self.work {
                Some(work) => work.cancel.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let heard = tokio::select! {
            heard = change => Some(heard),
            () = wait::back_off(self.pause) => None,
            () = end => return Err(Failure::interrupted()),
        };
        self.is_for_change = heard == Some(true);
        match heard {
            Some(true) => {}
            // Nobody tells any more.
            Some(false) => (self.changes, self.pauses) = (None, PAUSES),
            None => self.pause = self.pause * 3 / 2,
        }
        self.pause = self.pause.min(self.pauses.1);
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
