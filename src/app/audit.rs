//! Denials on their way to the audit log.
//!
//! Owns their bounds: those that are alike are one record a minute, and a flood from everywhere is
//! told as one. Refuses to keep a request waiting for the log, and to let anybody on the network
//! choose how much memory or disk it takes.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::App;
use super::rate::network;
use crate::domain::{Failure, Need, Principal, text};
use crate::exec::wait;
use crate::store::{AuditFilter, AuditOutcome, AuditRecord, Store};

/// How many different denials of a minute are told one by one, of principals and of nobody: who
/// has no token must not crowd out what a token tries.
const KNOWN_MAX: usize = 256;
const UNKNOWN_MAX: usize = 64;
/// Which part of these is told of one principal or network with the names of what they tried: who
/// tries many names must not crowd out what others try.
const NAMED_PART: usize = 4;
/// How long denials are gathered before they are written.
const GATHERED: Duration = Duration::from_secs(1);

/// Denials that are not written yet.
#[derive(Debug, Default)]
struct Pending {
    minute: i64,
    /// What was told one by one in this minute.
    known: BTreeSet<String>,
    unknown: BTreeSet<String>,
    records: HashMap<String, AuditRecord>,
}

/// The audit log, as far as nobody waits for it.
#[derive(Debug)]
pub struct Denials {
    store: Store,
    pending: Mutex<Pending>,
    gathers: tokio::sync::Notify,
}

impl Denials {
    /// Those of a store.
    pub fn new(store: Store) -> Self {
        Self { store, pending: Mutex::default(), gathers: tokio::sync::Notify::new() }
    }

    /// Notes a denial; it is written within a second.
    pub fn note(&self, record: AuditRecord) {
        self.note_at(record, OffsetDateTime::now_utc().unix_timestamp() / 60);
    }

    fn note_at(&self, record: AuditRecord, minute: i64) {
        self.pending().add(record, minute);
        self.gathers.notify_one();
    }

    /// Writes what was noted.
    pub fn flush(&self) -> Result<(), Failure> {
        let records: Vec<(String, AuditRecord)> = self.pending().records.drain().collect();
        if let Err(error) = self.store.append_denials(&records) {
            let mut pending = self.pending();
            for (alike, record) in records {
                pending.put(alike, record);
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// Writes what is noted, a second's worth at a time, until the server ends.
    pub async fn keep(&self, end: CancellationToken) {
        let mut ended = false;
        while !ended {
            tokio::select! {
                () = self.gathers.notified() => {}
                () = end.cancelled() => {}
            }
            tokio::select! {
                () = wait::back_off(GATHERED) => {}
                () = end.cancelled() => ended = true,
            }
            if let Err(failure) = self.flush() {
                tracing::warn!("denials are not in the audit log yet: {failure}");
            }
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn add(&mut self, mut record: AuditRecord, minute: i64) {
        // Who read the clock before the minute turned, and comes here after it did, begins no new one.
        let minute = if minute == self.minute - 1 { self.minute } else { minute };
        if minute != self.minute {
            self.minute = minute;
            self.known.clear();
            self.unknown.clear();
        }
        let (who, told, most) = if record.actor.is_empty() {
            (network_of(&record.address), &mut self.unknown, UNKNOWN_MAX)
        } else {
            (text::clean(&record.actor, 60), &mut self.known, KNOWN_MAX)
        };
        let action = text::clean(&record.action, 60);
        let of_theirs = format!("{minute} {who} ");
        let mut alike = format!("{of_theirs}{action} {}", record.outcome.as_str());
        if let Some(name) = &record.name {
            let named = format!("{alike} {}", text::clean(name, 60));
            let theirs = told.iter().filter(|it| it.starts_with(&of_theirs)).count();
            if told.contains(&named) || theirs < most / NAMED_PART {
                alike = named;
            } else {
                // The first name of many is not what the others were about.
                record.name = None;
                record.detail = "of more names than are told one by one".into();
            }
        }
        if told.contains(&alike) {
            self.put(alike, record);
        } else if told.len() < most {
            told.insert(alike.clone());
            self.put(alike, record);
        } else {
            alike = format!("{minute} others");
            let others = AuditRecord::of_nobody("others")
                .ended(AuditOutcome::Denied, record.status)
                .detail("more denials of this minute than are told one by one");
            self.put(alike, others);
        }
    }

    /// Counts a record in. What waits is bounded by what is told one by one in a minute, unless
    /// the store cannot be written: then what is new is dropped.
    fn put(&mut self, alike: String, record: AuditRecord) {
        let most = 4 * (KNOWN_MAX + UNKNOWN_MAX);
        let has_room = self.records.len() < most;
        match self.records.get_mut(&alike) {
            Some(there) => there.times = there.times.saturating_add(record.times),
            None if has_room => _ = self.records.insert(alike, record),
            None => {}
        }
    }
}

/// The network that an address is of: one client has many IPv6 addresses.
fn network_of(address: &str) -> String {
    match address.parse::<IpAddr>() {
        Ok(address) => network(address).to_string(),
        Err(_) => text::clean(address, 60),
    }
}

impl App {
    /// The audit log, newest first, and the place to go on from where there is more.
    pub fn audit(
        &self,
        by: &Principal,
        filter: &AuditFilter<'_>,
    ) -> Result<(Vec<AuditRecord>, Option<i64>), Failure> {
        by.may(Need::Admin)?;
        Ok(self.store().audit(filter)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::PrincipalKind;

    fn opened() -> (tempfile::TempDir, Denials) {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        (dir, Denials::new(store))
    }

    fn denial(actor: &str, address: &str, action: &str) -> AuditRecord {
        let principal = Principal::unlimited(actor, actor, PrincipalKind::Token);
        let record = match actor {
            "" => AuditRecord::of_nobody(action),
            _ => AuditRecord::of(&principal, action),
        };
        record.from_address(address).ended(AuditOutcome::Denied, 403)
    }

    fn written(denials: &Denials) -> Vec<AuditRecord> {
        denials.flush().expect("writes");
        let filter = AuditFilter { limit: 10_000, ..AuditFilter::default() };
        denials.store.audit(&filter).expect("reads").0
    }

    #[test]
    fn those_that_are_alike_are_one_record_a_minute() {
        let (_dir, denials) = opened();
        for round in 0..3 {
            for _ in 0..1000 {
                denials.note_at(denial("t", "192.0.2.1", "x"), 7);
                denials.note_at(denial("", "2001:db8::1", "x"), 7);
                denials.note_at(denial("", "2001:db8::ffff", "x"), 7);
            }
            let found = written(&denials);
            let mut times: Vec<u32> = found.iter().map(|record| record.times).collect();
            times.sort_unstable();
            assert_eq!(times, [(round + 1) * 1000, (round + 1) * 2000], "one network, one token");
        }
        denials.note_at(denial("t", "192.0.2.1", "x"), 8);
        denials.note_at(denial("t", "192.0.2.1", "y"), 8);
        assert_eq!(written(&denials).len(), 4);
    }

    #[test]
    fn those_that_come_late_to_a_minute_begin_no_new_one() {
        let (_dir, denials) = opened();
        for number in 0..20_000_u32 {
            // Each read the clock as the minute turned, one on either side.
            let address = IpAddr::from(number.to_be_bytes()).to_string();
            denials.note_at(denial("", &address, "x"), 8 - i64::from(number % 2));
        }
        let found = written(&denials);
        assert!(found.len() <= 2 * (UNKNOWN_MAX + 1), "{}", found.len());
        assert_eq!(found.iter().map(|it| it.times).sum::<u32>(), 20_000, "every one is counted");
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded_and_crowds_nobody_out() {
        let (_dir, denials) = opened();
        for round in 0..3_u32 {
            for number in 0..20_000_u32 {
                let address = IpAddr::from((number + 20_000 * round).to_be_bytes()).to_string();
                denials.note_at(denial("", &address, "x"), 7);
            }
            assert!(denials.pending().records.len() <= UNKNOWN_MAX + 1);
            assert!(written(&denials).len() <= UNKNOWN_MAX + 1);
        }
        denials.note_at(denial("t", "192.0.2.1", "x"), 7);
        let found = written(&denials);
        assert!(found.iter().any(|record| record.actor == "t"));
        let others = found.iter().find(|record| record.action == "others").expect("told as one");
        let told: u32 = found.iter().map(|record| record.times).sum();
        assert_eq!(told, 60_001, "none is lost");
        assert!(others.times > 59_000);
    }

    #[test]
    fn each_name_that_was_tried_is_told_and_too_many_crowd_nobody_out() {
        let (_dir, denials) = opened();
        let tried = |name: &str| denial("t", "192.0.2.1", "DELETE").about(name);
        for _ in 0..2 {
            for number in 0..50 {
                denials.note_at(tried(&format!("name-{number}")), 7);
            }
        }
        let found = written(&denials);
        let names: BTreeSet<&str> = found.iter().filter_map(|it| it.name.as_deref()).collect();
        assert_eq!((found.len(), names.len()), (50, 50));
        assert!(found.iter().all(|record| record.times == 2), "{found:#?}");
        for number in 0..10_000 {
            denials.note_at(tried(&format!("other-{number}")), 7);
        }
        denials.note_at(denial("u", "192.0.2.1", "DELETE").about("main"), 7);
        let found = written(&denials);
        assert!(found.len() <= KNOWN_MAX / NAMED_PART + 2, "{}", found.len());
        let rest = found.iter().find(|it| it.actor == "t" && it.name.is_none()).expect("the rest");
        assert!(rest.times > 9000 && rest.detail.contains("more names"), "{rest:?}");
        assert!(found.iter().any(|it| it.actor == "u" && it.name.as_deref() == Some("main")));
    }

    #[test]
    fn what_waits_while_the_store_cannot_be_written_is_bounded() {
        let mut pending = Pending::default();
        for minute in 0..1000 {
            for number in 0..100_u8 {
                pending.add(denial("", &IpAddr::from([10, 0, 0, number]).to_string(), "x"), minute);
            }
        }
        assert!(pending.records.len() <= 4 * (KNOWN_MAX + UNKNOWN_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_noted_is_written_within_a_second_and_at_the_end() {
        let (_dir, denials) = opened();
        let denials = std::sync::Arc::new(denials);
        let end = CancellationToken::new();
        let task = tokio::spawn({
            let (denials, end) = (std::sync::Arc::clone(&denials), end.clone());
            async move { denials.keep(end).await }
        });
        denials.note(denial("t", "192.0.2.1", "x"));
        let filter = AuditFilter { limit: 10, ..AuditFilter::default() };
        let found = || denials.store.audit(&filter).expect("reads").0;
        let seen =
            wait::until(Duration::from_secs(3), || async { (!found().is_empty()).then_some(()) });
        seen.await.expect("written");
        denials.note(denial("t", "192.0.2.1", "y"));
        end.cancel();
        task.await.expect("ends");
        assert_eq!(found().len(), 2);
    }
}
