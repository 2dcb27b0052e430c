//! Who gives way when there are as many connections as there may be.
//!
//! Owns which connections wait for a request, and since when. The one that waits longest gives its
//! place to the next that comes, so that whoever only holds connections open shuts nobody out.
//! Refuses to end one that is being answered.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio_util::sync::CancellationToken;

/// The connections that wait, the one that waits longest first.
#[derive(Debug, Default)]
pub struct Seats {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    connections: BTreeMap<u64, CancellationToken>,
}

impl Seats {
    /// A place for a connection, which waits for its first request.
    pub fn take(self: &Arc<Self>) -> Arc<Seat> {
        let seat =
            Seat { seats: Arc::clone(self), at: Mutex::new(None), end: CancellationToken::new() };
        let seat = Arc::new(seat);
        seat.wait();
        seat
    }

    /// Ends the connection that waits longest; answers whether there was one.
    pub fn make_room(&self) -> bool {
        let longest = self.waiting().connections.pop_first();
        longest.map(|(_, end)| end.cancel()).is_some()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a connection.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    /// Where it stands among those that wait.
    at: Mutex<Option<u64>>,
    end: CancellationToken,
}

impl Seat {
    /// Waits until it has to give way.
    pub async fn given_up(&self) {
        self.end.cancelled().await;
    }

    /// A request is being answered until this is dropped.
    pub fn work(self: &Arc<Self>) -> Working {
        self.stand_up();
        Working(Arc::clone(self))
    }

    fn wait(&self) {
        let mut waiting = self.seats.waiting();
        waiting.next += 1;
        let number = waiting.next;
        waiting.connections.insert(number, self.end.clone());
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
    }

    fn stand_up(&self) {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(number) = at {
            self.seats.waiting().connections.remove(&number);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.stand_up();
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Working(Arc<Seat>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.wait();
    }
}

/// An answer; while it is being sent, its connection does not wait.
#[derive(Debug)]
pub struct Sending {
    body: Body,
    _working: Working,
}

impl Sending {
    /// The body of an answer.
    pub fn new(body: Body, working: Working) -> Self {
        Self { body, _working: working }
    }
}

impl hyper::body::Body for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ended(seat: &Seat) -> bool {
        seat.end.is_cancelled()
    }

    #[test]
    fn who_waits_longest_gives_way_and_nobody_who_is_being_answered() {
        let seats = Arc::new(Seats::default());
        let [first, second, third] = [(); 3].map(|()| seats.take());
        let answering = first.work();
        assert!(seats.make_room() && is_ended(&second) && !is_ended(&first));
        drop(answering);
        assert!(seats.make_room() && is_ended(&third), "it waits longer than the first does now");
        assert!(seats.make_room() && is_ended(&first));
        assert!(!seats.make_room(), "nobody is left");
        let fourth = seats.take();
        drop(fourth);
        assert!(!seats.make_room(), "who left holds no place");
    }
}
