//! How many runs there are at once: as many as the memory holds.
//!
//! Owns a run's place among those of this process. Refuses one while the machine has too little
//! memory for it. Where none runs here, that is another program's doing, or there will never be
//! enough: then it is tried after a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::Failure;
use crate::exec::wait;

/// What one run takes with the AWS provider, in mebibytes (measured: 620 to 690).
const RUN_MIB: u64 = 700;
/// What stays free beside it, in mebibytes.
const SPARE_MIB: u64 = 300;
/// How long a run takes to reach its full size: until then it counts, though it is not seen.
const GROWING: Duration = Duration::from_secs(15);
/// How long a run waits for memory while none of this process runs: those of other processes end.
const PATIENCE: Duration = Duration::from_secs(120);
/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Who lets runs in.
#[derive(Debug, Clone)]
pub struct Admission {
    running: Arc<AtomicUsize>,
    /// Those that are younger than [`GROWING`].
    growing: Arc<AtomicUsize>,
    available_mib: fn() -> Option<u64>,
}

/// A run that was let in.
#[derive(Debug)]
pub struct Admitted(Arc<AtomicUsize>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Admission {
    /// By this machine's memory.
    pub fn of_this_machine() -> Self {
        Self { running: Arc::default(), growing: Arc::default(), available_mib }
    }

    /// Waits until a run fits.
    pub async fn admit(&self, cancel: &CancellationToken) -> Result<Admitted, Failure> {
        let patience = Instant::now() + PATIENCE;
        while !self.try_admit(Instant::now() >= patience) {
            tokio::select! {
                () = wait::back_off(LOOK_EVERY) => {}
                () = cancel.cancelled() => {
                    return Err(Failure::interrupted());
                }
            }
        }
        let growing = Admitted(Arc::clone(&self.growing));
        tokio::spawn(async move {
            wait::back_off(GROWING).await;
            drop(growing);
        });
        Ok(Admitted(Arc::clone(&self.running)))
    }

    /// Whether there is room; the first of this process needs none once it may not wait any more.
    fn try_admit(&self, impatient: bool) -> bool {
        let growing = self.growing.load(Ordering::SeqCst) as u64;
        let needed = RUN_MIB * (growing + 1) + SPARE_MIB;
        let fits = (self.available_mib)().is_none_or(|there| there >= needed);
        let count = |count: usize| (fits || impatient && count == 0).then_some(count + 1);
        let order = Ordering::SeqCst;
        let is_in = self.running.fetch_update(order, order, count).is_ok();
        if is_in {
            self.growing.fetch_add(1, order);
        }
        is_in
    }
}

/// What the kernel says can be used without swapping; `None` where it does not say.
fn available_mib() -> Option<u64> {
    let table = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = table.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FailureKind;

    fn with(available_mib: fn() -> Option<u64>) -> Admission {
        Admission { available_mib, ..Admission::of_this_machine() }
    }

    #[tokio::test(start_paused = true)]
    async fn runs_wait_for_memory_and_the_first_one_for_a_while() {
        let small = with(|| Some(100));
        let (cancel, begun) = (CancellationToken::new(), Instant::now());
        let first = small.admit(&cancel).await.expect("it is tried");
        assert!(begun.elapsed() >= PATIENCE, "those of other processes may end");
        assert!(!small.try_admit(true), "another one runs");
        drop(first);
        assert!(!small.try_admit(false) && small.try_admit(true));
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_grow_are_counted() {
        let (of_three, cancel) = (with(|| Some(3 * RUN_MIB + SPARE_MIB)), CancellationToken::new());
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(of_three.admit(&cancel).await.expect("it fits"));
        }
        assert!(!of_three.try_admit(false));
        // What they took is seen by then, in a real machine's memory.
        wait::back_off(GROWING + LOOK_EVERY).await;
        assert!(of_three.try_admit(false));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_interrupted_waits_no_longer() {
        let (none, cancel) = (with(|| Some(0)), CancellationToken::new());
        let _first = none.admit(&cancel).await.expect("it is tried");
        cancel.cancel();
        let failure = none.admit(&cancel).await.expect_err("interrupted");
        assert_eq!(failure.kind, FailureKind::Interrupted);
    }

    #[test]
    fn this_machines_memory_is_known() {
        assert!(available_mib().is_some_and(|mib| mib > 0));
    }
}
