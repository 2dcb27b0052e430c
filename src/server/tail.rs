//! The end of the events, for whoever listens.
//!
//! Owns one reader of the store for all listeners: each event is read and written out once, however
//! many listen. Refuses to wait for a listener: one that is too slow reads on from the store.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::views::EventView;
use crate::app::{App, EventFilter};
use crate::domain::{Event, Failure};

/// How many events a listener may be behind before it reads on from the store.
const WAITING: usize = 1024;
/// How many events are read at once.
pub const BATCH: usize = 200;

/// An event, written out.
#[derive(Debug)]
pub struct Frame {
    /// The event.
    pub event: Event,
    /// As it is sent.
    pub text: Bytes,
    /// A number that rises when a token or a session ends: where it rose, who listens is looked at
    /// again before they get this.
    pub rights: i64,
}

impl Frame {
    /// Writes an event out, as server-sent events are.
    pub fn of(event: Event, rights: i64) -> Self {
        let data = serde_json::to_string(&EventView::from(&event)).unwrap_or_default();
        let text = format!("id: {}\nevent: {}\ndata: {data}\n\n", event.sequence, event.kind);
        Self { event, text: Bytes::from(text), rights }
    }
}

/// The end of the events.
#[derive(Debug, Clone)]
pub struct Tail {
    frames: broadcast::Sender<Arc<Frame>>,
    end: CancellationToken,
}

impl Tail {
    /// Follows the events of a store until `end`.
    pub fn of(app: App, end: CancellationToken) -> Result<Self, Failure> {
        let (frames, _) = broadcast::channel(WAITING);
        let tail = Self { frames, end: end.clone() };
        let last = app.store().last_sequence()?;
        tokio::spawn(follow(app, tail.frames.clone(), last, end));
        Ok(tail)
    }

    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Frame>> {
        self.frames.subscribe()
    }

    /// Waits until there is nothing more to listen to: the server ends.
    pub async fn ended(&self) {
        self.end.cancelled().await;
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.frames.receiver_count()
    }
}

async fn follow(
    app: App,
    frames: broadcast::Sender<Arc<Frame>>,
    mut last: i64,
    end: CancellationToken,
) {
    let store = app.store();
    let mut seen = store.version().unwrap_or_default();
    let mut rights = 0;
    loop {
        loop {
            let found = match store.events_page(&EventFilter::default(), last, BATCH) {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, "events could not be read");
                    break;
                }
            };
            last = found.seen;
            // Read after the events are: whoever lost a right before one of them was committed
            // does not get it.
            rights = store.access_generation().unwrap_or(rights);
            for event in found.events {
                // Nobody listens, perhaps.
                let _ = frames.send(Arc::new(Frame::of(event, rights)));
            }
            if !found.more {
                break;
            }
        }
        tokio::select! {
            now = store.changed(seen) => seen = now,
            () = end.cancelled() => return,
        }
    }
}
