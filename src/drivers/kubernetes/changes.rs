//! Hearing that something changed, in the place of looking again and again.
//!
//! Owns a watch of a namespace's objects of one kind. Refuses to say what they are now, and to begin
//! anew when it ends: whoever hears nothing more looks by the clock.

use std::pin::Pin;

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use kube::api::{WatchEvent, WatchParams};

use super::{Cluster, Kind};

/// Changes, as they come.
pub struct Changes {
    events: Pin<Box<dyn Stream<Item = bool> + Send>>,
}

impl Cluster {
    /// The changes, from now on, of a namespace's objects of a kind that have a label. `None` where
    /// whoever asks may not hear of them.
    pub async fn changes(&self, kind: Kind, namespace: &str, label: &str) -> Option<Changes> {
        let api = self.api(kind, Some(namespace));
        // A cluster whose store is an older etcd refuses the marks of a watch that begins anywhere.
        let params = WatchParams::default().labels(label).disable_bookmarks();
        // What is there already is told first.
        let events = self.ask(|| api.watch_metadata(&params, "0")).await.ok()?;
        // An error of the cluster's comes as an event too.
        let events = events.map(|event| {
            !matches!(event, Err(_) | Ok(WatchEvent::Error(_) | WatchEvent::Bookmark(_)))
        });
        Some(Changes { events: Box::pin(events) })
    }
}

impl Changes {
    /// Waits for the next one, and takes with it what came meanwhile; answers whether there was one,
    /// which there is not once the cluster does not tell any more.
    pub async fn next(&mut self) -> bool {
        let is_heard = self.events.next().await == Some(true);
        while let Some(Some(true)) = self.events.next().now_or_never() {}
        is_heard
    }
}
