//! How many answers may last for as long as somebody listens.
//!
//! Owns the places of those who follow events and read logs: so many in all, and so many of one
//! caller, however slowly they come. A connection that is being answered gives way to nobody, so
//! that followers without a bound would shut everybody else out. Refuses whoever is beyond it, and
//! says when to try again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;

use super::listen::CONNECTIONS;
use super::problem::{Answer, Problem};

/// When whoever is refused may try again, in seconds.
const AGAIN_S: u64 = 5;
/// How many connections are left, at least, to those whose call is answered and over.
const LEFT: usize = 512;

/// How many there are at most.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// What is counted, as a refusal names it.
    what: &'static str,
    in_all: usize,
    of_one: usize,
}

/// A front end may hold a stream for each of its users, with one token.
const EVENT_STREAMS: Bounds = Bounds { what: "streams of events", in_all: 3072, of_one: 1024 };
/// Each is a child that stays.
const LOG_FOLLOWERS: Bounds = Bounds { what: "logs that are followed", in_all: 64, of_one: 16 };
/// Each is a child that is soon over.
const LOG_READERS: Bounds = Bounds { what: "logs that are read", in_all: 128, of_one: 32 };

const _: () = assert!(
    EVENT_STREAMS.in_all + LOG_FOLLOWERS.in_all + LOG_READERS.in_all + LEFT <= CONNECTIONS,
    "whoever only calls has room"
);

/// Those who follow something, by whose they are.
#[derive(Debug)]
pub struct Crowd {
    bounds: Bounds,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    of: HashMap<String, usize>,
}

/// The crowds that there are.
#[derive(Debug)]
pub struct Crowds {
    /// Who follows events.
    pub events: Arc<Crowd>,
    /// Who follows a log.
    pub log_followers: Arc<Crowd>,
    /// Who reads a log to its end.
    pub log_readers: Arc<Crowd>,
}

impl Default for Crowds {
    fn default() -> Self {
        Self {
            events: Crowd::of(EVENT_STREAMS),
            log_followers: Crowd::of(LOG_FOLLOWERS),
            log_readers: Crowd::of(LOG_READERS),
        }
    }
}

impl Crowd {
    fn of(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, counts: Mutex::default() })
    }

    /// A place for one more of a caller, by the id of their principal: the sessions of a token and
    /// the token itself are one.
    pub fn take(self: &Arc<Self>, whose: &str) -> Answer<Place> {
        let Bounds { what, in_all, of_one } = self.bounds;
        let mut counts = self.counts();
        let own = counts.of.get(whose).copied().unwrap_or_default();
        if own >= of_one {
            let detail = format!("there are {own} {what} of this caller already, and no more");
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
                .remedy("end one of them first, or let several share one")
                .retry_after(AGAIN_S));
        }
        if counts.all >= in_all {
            let detail = format!("there are {in_all} {what} already, and no room for more");
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
                .remedy("try again when others have left")
                .retry_after(AGAIN_S));
        }
        counts.all += 1;
        counts.of.insert(whose.to_owned(), own + 1);
        Ok(Place { crowd: Arc::clone(self), whose: whose.to_owned() })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a crowd, until it is dropped.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Crowd>,
    whose: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts();
        counts.all -= 1;
        if let Some(own) = counts.of.get_mut(&self.whose) {
            *own -= 1;
            if *own == 0 {
                counts.of.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_than_their_own_and_all_together_no_more_than_there_are() {
        let crowd = Crowd::of(Bounds { what: "things", in_all: 5, of_one: 2 });
        let take = |whose: &str| crowd.take(whose);
        let refused = |whose: &str| {
            let problem = take(whose).expect_err("refused");
            assert_eq!(problem.retry_after_s, Some(AGAIN_S));
            problem.status
        };
        let mut places: Vec<Place> =
            ["a", "a", "b", "b"].map(|whose| take(whose).expect("room")).into();
        assert_eq!((refused("a"), refused("b")), (429, 429));
        places.push(take("c").expect("room for others"));
        assert_eq!((refused("c"), refused("d"), refused("a")), (503, 503, 429));
        drop(places.swap_remove(0));
        places.push(take("d").expect("who left made room"));
        assert_eq!((refused("a"), refused("d")), (503, 503));
        drop(places);
        assert!(crowd.counts().of.is_empty() && crowd.counts().all == 0, "nobody is remembered");
    }
}
