//! Waiting: a probe with a deadline, a back-off, and nothing by the clock.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// The pause after the first probe.
const FIRST: Duration = Duration::from_millis(20);
/// The longest pause between two probes.
const LONGEST: Duration = Duration::from_millis(500);

/// Probes until there is an answer; `None` when the deadline passes first.
pub async fn until<T, F: Future<Output = Option<T>>>(
    deadline: Duration,
    mut probe: impl FnMut() -> F,
) -> Option<T> {
    let end = Instant::now() + deadline;
    let mut pause = FIRST;
    loop {
        if let Some(answer) = probe().await {
            return Some(answer);
        }
        if Instant::now() + pause > end {
            return None;
        }
        tokio::time::sleep_until(Instant::now() + pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// Pauses between two tries of something that failed: a back-off, not a wait for an outcome.
pub async fn back_off(pause: Duration) {
    tokio::time::sleep_until(Instant::now() + pause).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_answer_or_the_deadline_ends_it() {
        let mut tries = 0;
        let answer = until(Duration::from_secs(60), || {
            tries += 1;
            let answer = (tries == 5).then_some(tries);
            async move { answer }
        });
        assert_eq!(answer.await, Some(5));
        let started = Instant::now();
        let none: Option<()> = until(Duration::from_secs(5), || async { None }).await;
        assert_eq!(none, None);
        assert!(started.elapsed() <= Duration::from_secs(5));
    }
}
