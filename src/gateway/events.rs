//! The bounded queue between a connection and whoever reads its events.
//!
//! Owns what happens when the reader is slow: everything queued is dropped and the reader is told
//! once, so that it lists again. Refuses to grow.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::protocol::Event;

/// How many events wait for a slow reader. With the size bound on each, 4 MiB at most.
pub(super) const MAX_QUEUED: usize = 64;

/// What [`super::GatewayClient::next_event`] gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// An event.
    Event(Event),
    /// Events were lost, here or in the gateway: list again. Comes once per loss, before anything
    /// that arrived after it.
    Lagged,
    /// The connection ended, with the reason. Comes again at every further call.
    Closed(String),
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Event>,
    lagged: bool,
    closed: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct EventQueue {
    state: Mutex<State>,
    changed: Notify,
}

impl EventQueue {
    pub(super) fn push(&self, event: Event) {
        let mut state = self.state();
        if state.queue.len() >= MAX_QUEUED {
            state.queue.clear();
            state.lagged = true;
        } else {
            state.queue.push_back(event);
        }
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn lag(&self) {
        let mut state = self.state();
        state.queue.clear();
        state.lagged = true;
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn close(&self, reason: String) {
        self.state().closed.get_or_insert(reason);
        self.changed.notify_one();
    }

    pub(super) fn closed(&self) -> Option<String> {
        self.state().closed.clone()
    }

    pub(super) async fn next(&self) -> Next {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            self.changed.notified().await;
        }
    }

    fn try_next(&self) -> Option<Next> {
        let mut state = self.state();
        if std::mem::take(&mut state.lagged) {
            return Some(Next::Lagged);
        }
        if let Some(event) = state.queue.pop_front() {
            return Some(Next::Event(event));
        }
        state.closed.clone().map(Next::Closed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding the lock; should it, the queue is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> Event {
        Event { name: "e".into(), payload: serde_json::Value::Null, seq: Some(seq) }
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_once_and_goes_on() {
        let queue = EventQueue::default();
        for seq in 0..=MAX_QUEUED as u64 {
            queue.push(event(seq));
        }
        queue.push(event(1000));
        assert_eq!(queue.next().await, Next::Lagged);
        assert_eq!(queue.next().await, Next::Event(event(1000)));
        queue.close("gone".into());
        queue.close("later reason".into());
        assert_eq!(queue.next().await, Next::Closed("gone".into()));
        assert_eq!(queue.next().await, Next::Closed("gone".into()));
    }
}
