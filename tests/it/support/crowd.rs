//! How many real gateways of tests run at once.
//!
//! Owns the room for them: each starts for half a minute on a core of its own, and the browsers that wait
//! for several at once wait longer than they do. First come, first served, so that a test of many is not
//! passed by those of one. Refuses nobody: whoever finds none waits.

use tokio::sync::{Semaphore, SemaphorePermit};

/// How many there are at most.
const MOST: u32 = 3;

static ROOM: Semaphore = Semaphore::const_new(MOST as usize);

/// Room for so many, until it is dropped.
pub async fn room(gateways: u32) -> SemaphorePermit<'static> {
    assert!(gateways <= MOST, "{gateways} never run at once");
    ROOM.acquire_many(gateways).await.expect("nobody closes it")
}
