//! Ports for what tests start.
//!
//! Owns which ones are this process's. Refuses those that the system gives to connections, which
//! may be taken by the time that somebody listens.

use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use super::lab::Lab;

/// The first of all of them.
const FIRST: u16 = 20_000;
/// How many a process has, and how many processes have some at a time.
const EACH: u16 = 1000;
const PROCESSES: u16 = 12;

/// A port that nothing listens on. Tests that run side by side get different ones, in one process
/// and in others.
pub fn free_port() -> u16 {
    static OWN: OnceLock<(u16, File)> = OnceLock::new();
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let (first, _) = OWN.get_or_init(own);
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % EACH;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// The first of those that nobody else has while this process lives.
fn own() -> (u16, File) {
    let folder = Lab::cache().join("ports");
    std::fs::create_dir_all(&folder).expect("a folder in the lab's cache");
    loop {
        for turn in 0..PROCESSES {
            let first = FIRST + turn * EACH;
            let file = File::create(folder.join(first.to_string())).expect("a file for a lock");
            match file.try_lock() {
                Ok(()) => return (first, file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => panic!("a lock for ports: {error}"),
            }
        }
        thread::sleep(Duration::from_millis(200));
    }
}
