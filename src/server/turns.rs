//! Turns: of those that would be about the same thing at once, one is at it at a time.
//!
//! Owns who is next. Refuses to keep anybody waiting for ever, to keep more than a few waiting, and to
//! remember what nobody is at.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

type Turn = tokio::sync::Mutex<()>;

/// How many may be at one thing, with whoever waits for it.
const CROWD: usize = 32;

/// Whose turn it is, for each thing that somebody is at or waits for.
#[derive(Debug)]
pub struct Turns<K> {
    of: Mutex<HashMap<K, Weak<Turn>>>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { of: Mutex::default() }
    }
}

impl<K: Eq + Hash + Clone> Turns<K> {
    /// The turn, once it comes; `None` where it does not within `at_most`, or too many wait.
    pub async fn wait(&self, at: &K, at_most: Duration) -> Option<OwnedMutexGuard<()>> {
        let turn = self.of(at);
        if Arc::strong_count(&turn) > CROWD {
            return None;
        }
        tokio::time::timeout(at_most, turn.lock_owned()).await.ok()
    }

    fn of(&self, at: &K) -> Arc<Turn> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody has or waits for are forgotten.
        of.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = of.get(at).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(Turn::default());
        of.insert(at.clone(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_sent_away() {
        let turns = Turns::default();
        let _first = turns.wait(&"main", PATIENCE).await.expect("the first");
        let begun = tokio::time::Instant::now();
        let others = (0..CROWD + 10).map(|_| async {
            assert!(turns.wait(&"main", PATIENCE).await.is_none());
            begun.elapsed() < PATIENCE
        });
        let away = futures_util::future::join_all(others).await;
        assert_eq!(away.into_iter().filter(|at_once| *at_once).count(), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn one_has_the_turn_and_the_others_wait_for_it_and_not_for_ever() {
        let turns = Arc::new(Turns::default());
        let first = turns.wait(&"main", PATIENCE).await.expect("the first");
        turns.wait(&"other", PATIENCE).await.expect("of another");
        assert!(turns.wait(&"main", PATIENCE).await.is_none(), "it waits no longer");
        let waits = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.wait(&"main", PATIENCE).await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waits.await.expect("no panic"), "it is the next one's");
        drop(turns.of(&"other"));
        assert_eq!(turns.of.lock().expect("unpoisoned").len(), 1, "the others are forgotten");
    }
}
