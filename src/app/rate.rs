//! How often somebody may ask.
//!
//! Owns the buckets: one for each token or network and kind of call, as the moment at which it
//! would be full again. Refuses to grow: where there are more callers than buckets, the further
//! ones share one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most buckets of one kind. A bucket takes about a hundred bytes.
const BUCKETS_MAX: usize = 16_384;
/// How often, at most, full buckets are looked for when there is no room.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How many calls come after each other: `burst` at once, and one more each `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many at once.
    pub burst: u32,
    /// How long until one more.
    pub every: Duration,
}

impl Rate {
    /// So many a second.
    pub const fn per_second(rate: u32, burst: u32) -> Self {
        Self { burst, every: Duration::from_nanos(1_000_000_000 / rate as u64) }
    }

    /// So many a minute.
    pub const fn per_minute(rate: u32, burst: u32) -> Self {
        Self { burst, every: Duration::from_nanos(60_000_000_000 / rate as u64) }
    }
}

/// The limits. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// All calls of a token.
    pub token: Option<Rate>,
    /// All calls from a network, before it is known who calls.
    pub address: Option<Rate>,
    /// Calls that begin work, of a token.
    pub expensive: Option<Rate>,
    /// Calls from a network with a token that is not known: what slows guessing.
    pub failed: Option<Rate>,
    /// Events that a token posts for one deployment.
    pub events: Option<Rate>,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            token: Some(Rate::per_second(50, 200)),
            address: Some(Rate::per_second(100, 400)),
            expensive: Some(Rate::per_minute(30, 30)),
            failed: Some(Rate::per_minute(20, 20)),
            events: Some(Rate::per_second(10, 20)),
        }
    }
}

impl RateLimits {
    /// None at all, for measuring.
    pub const OFF: Self =
        Self { token: None, address: None, expensive: None, failed: None, events: None };
}

/// Who calls, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller<'a> {
    /// Anything, from an address.
    Address(IpAddr),
    /// Anything, with a token.
    Token(&'a str),
    /// What begins work, with a token.
    Expensive(&'a str),
    /// An event of a deployment, with a token.
    Event(&'a str, &'a str),
}

/// Too many calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests; the next one is taken in {retry_after_s} s")]
pub struct TooMany {
    /// When to come again, in whole seconds: what `Retry-After` says.
    pub retry_after_s: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Network(IpAddr),
    Token(Box<str>),
    Event(Box<str>, Box<str>),
}

/// The buckets of one kind of call.
#[derive(Debug, Default)]
struct Buckets {
    /// When each would be full again. One that is full says nothing and may be forgotten.
    full_at: HashMap<Key, Instant>,
    /// That of those who find no room.
    shared: Option<Instant>,
    swept: Option<Instant>,
}

/// Counts calls.
#[derive(Debug)]
pub struct RateLimiter {
    limits: RateLimits,
    token: Mutex<Buckets>,
    address: Mutex<Buckets>,
    expensive: Mutex<Buckets>,
    failed: Mutex<Buckets>,
    events: Mutex<Buckets>,
}

impl RateLimiter {
    /// One with these limits.
    pub fn new(limits: RateLimits) -> Self {
        Self {
            limits,
            token: Mutex::default(),
            address: Mutex::default(),
            expensive: Mutex::default(),
            failed: Mutex::default(),
            events: Mutex::default(),
        }
    }

    /// Counts a call; refuses it where there are too many, and then does not count it.
    pub fn take(&self, caller: Caller<'_>, now: Instant) -> Result<(), TooMany> {
        let (rate, buckets, key) = match caller {
            Caller::Address(address) => {
                (self.limits.address, &self.address, Key::Network(network(address)))
            }
            Caller::Token(token) => (self.limits.token, &self.token, Key::Token(token.into())),
            Caller::Expensive(token) => {
                (self.limits.expensive, &self.expensive, Key::Token(token.into()))
            }
            Caller::Event(token, name) => {
                (self.limits.events, &self.events, Key::Event(token.into(), name.into()))
            }
        };
        rate.map_or(Ok(()), |rate| lock(buckets).take(rate, key, now))
    }

    /// Whether a token may be shown from this address: not after too many that were not known.
    /// Call it before looking, or guessing would not be slowed.
    pub fn may_try(&self, address: IpAddr, now: Instant) -> Result<(), TooMany> {
        let Some(rate) = self.limits.failed else { return Ok(()) };
        lock(&self.failed).look(rate, &Key::Network(network(address)), now).map(drop)
    }

    /// Counts a token that was not known.
    pub fn failed(&self, address: IpAddr, now: Instant) {
        if let Some(rate) = self.limits.failed {
            // Whether it is one too many shows with the next try.
            let _ = lock(&self.failed).take(rate, Key::Network(network(address)), now);
        }
    }
}

fn lock(buckets: &Mutex<Buckets>) -> MutexGuard<'_, Buckets> {
    buckets.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Buckets {
    fn take(&mut self, rate: Rate, key: Key, now: Instant) -> Result<(), TooMany> {
        let full_at = self.look(rate, &key, now)? + rate.every;
        if let Some(bucket) = self.full_at.get_mut(&key) {
            *bucket = full_at;
        } else if self.has_room(now) {
            self.full_at.insert(key, full_at);
        } else {
            self.shared = Some(full_at);
        }
        Ok(())
    }

    /// When the bucket would be full again if nothing was taken; refuses where it is empty.
    fn look(&self, rate: Rate, key: &Key, now: Instant) -> Result<Instant, TooMany> {
        let bucket = match self.full_at.get(key) {
            Some(bucket) => Some(*bucket),
            None if self.full_at.len() >= BUCKETS_MAX => self.shared,
            None => None,
        };
        let full_at = bucket.map_or(now, |full_at| full_at.max(now));
        // One call takes `every`, and `burst` of them fit.
        let room = rate.every.saturating_mul(rate.burst);
        let over = (full_at + rate.every).saturating_duration_since(now + room);
        if over.is_zero() {
            return Ok(full_at);
        }
        let seconds = over.as_secs() + u64::from(over.subsec_nanos() > 0);
        Err(TooMany { retry_after_s: seconds.max(1) })
    }

    fn has_room(&mut self, now: Instant) -> bool {
        let rested =
            self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_EVERY);
        if self.full_at.len() >= BUCKETS_MAX && rested {
            self.swept = Some(now);
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        self.full_at.len() < BUCKETS_MAX
    }
}

/// The network that an address counts for: an IPv4 address itself, however it is written, and of
/// an IPv6 address the /64 that one client is given.
pub fn network(address: IpAddr) -> IpAddr {
    let IpAddr::V6(address) = address.to_canonical() else { return address.to_canonical() };
    let [a, b, c, d, ..] = address.segments();
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn limited(rate: Rate) -> RateLimiter {
        RateLimiter::new(RateLimits { token: Some(rate), address: Some(rate), ..RateLimits::OFF })
    }

    #[test]
    fn a_burst_is_taken_and_then_one_by_one() {
        let limiter = limited(Rate::per_second(2, 3));
        let begin = Instant::now();
        for _ in 0..3 {
            limiter.take(Caller::Token("a"), begin).expect("the burst");
        }
        let refused = limiter.take(Caller::Token("a"), begin).expect_err("one too many");
        assert_eq!(refused.retry_after_s, 1);
        limiter.take(Caller::Token("b"), begin).expect("somebody else");
        let later = begin + Duration::from_millis(500);
        limiter.take(Caller::Token("a"), later).expect("one more");
        limiter.take(Caller::Token("a"), later).expect_err("one too many");
    }

    #[test]
    fn whoever_waits_as_long_as_was_said_is_taken() {
        let limiter = limited(Rate::per_minute(1, 1));
        let begin = Instant::now();
        limiter.take(Caller::Token("a"), begin).expect("the first");
        let refused = limiter.take(Caller::Token("a"), begin).expect_err("the second");
        assert_eq!(refused.retry_after_s, 60);
        limiter
            .take(Caller::Token("a"), begin + Duration::from_secs(refused.retry_after_s))
            .expect("after what was said");
    }

    #[test]
    fn tokens_that_are_not_known_are_counted_and_known_ones_are_not() {
        let limiter = RateLimiter::new(RateLimits::default());
        let begin = Instant::now();
        for _ in 0..20 {
            for _ in 0..10 {
                limiter.may_try(HERE, begin).expect("looking counts nothing");
            }
            limiter.failed(HERE, begin);
        }
        let refused = limiter.may_try(HERE, begin).expect_err("too many guesses");
        assert_eq!(refused.retry_after_s, 3);
        limiter.may_try(IpAddr::from([192, 0, 2, 2]), begin).expect("somebody else");
        // However many go on, the way back is no longer.
        for _ in 0..1000 {
            limiter.failed(HERE, begin);
        }
        limiter.may_try(HERE, begin + Duration::from_secs(3)).expect("after what was said");
    }

    #[test]
    fn events_are_bounded_for_each_deployment_of_a_token() {
        let limiter = RateLimiter::new(RateLimits::default());
        let begin = Instant::now();
        let taken = |name, at| {
            (0..100).filter(|_| limiter.take(Caller::Event("t", name), at).is_ok()).count()
        };
        assert_eq!((taken("a", begin), taken("b", begin)), (20, 20));
        assert_eq!(taken("a", begin + Duration::from_secs(1)), 10);
    }

    #[test]
    fn an_ipv6_client_is_one_whatever_address_it_takes() {
        let parsed = |text: &str| text.parse::<IpAddr>().expect("an address");
        let of = |text: &str| network(parsed(text));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), parsed("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn memory_is_bounded_and_full_buckets_make_room() {
        let limiter = limited(Rate::per_second(1, 2));
        let begin = Instant::now();
        let address = |number: u32| Caller::Address(IpAddr::from(number.to_be_bytes()));
        let many = u32::try_from(BUCKETS_MAX).expect("fits");
        let taken = (0..3 * many).filter(|n| limiter.take(address(*n), begin).is_ok()).count();
        assert_eq!(taken, BUCKETS_MAX + 2, "the further ones share a bucket");
        assert_eq!(lock(&limiter.address).full_at.len(), BUCKETS_MAX);
        limiter.take(address(0), begin).expect("who has a bucket keeps it");
        let later = begin + Duration::from_secs(60);
        limiter.take(address(4 * many), later).expect("there is room again");
        assert_eq!(lock(&limiter.address).full_at.len(), 1);
    }

    #[test]
    fn no_limit_is_no_limit() {
        let limiter = RateLimiter::new(RateLimits::OFF);
        let now = Instant::now();
        for _ in 0..10_000 {
            limiter.take(Caller::Token("a"), now).expect("off");
            limiter.failed(HERE, now);
        }
        limiter.may_try(HERE, now).expect("off");
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_what_time_gives(
            burst in 1_u32..50, per_minute in 1_u32..6000,
            steps in proptest::collection::vec(0_u64..3000, 1..300),
        ) {
            let rate = Rate::per_minute(per_minute, burst);
            let limiter = limited(rate);
            let begin = Instant::now();
            let (mut now, mut taken) = (begin, 0_u64);
            for step in steps {
                now += Duration::from_millis(step);
                match limiter.take(Caller::Token("a"), now) {
                    Ok(()) => taken += 1,
                    Err(refused) => {
                        // What is said is enough, and no more than a second too much.
                        let look = |wait_s| {
                            let at = now + Duration::from_secs(wait_s);
                            lock(&limiter.token).look(rate, &Key::Token("a".into()), at).is_ok()
                        };
                        let said_s = refused.retry_after_s;
                        prop_assert!(look(said_s) && (said_s == 1 || !look(said_s - 1)));
                    }
                }
                let given = (now - begin).as_nanos() / rate.every.as_nanos();
                prop_assert!(u128::from(taken) <= u128::from(burst) + given);
            }
        }

        #[test]
        fn whoever_keeps_to_the_rate_is_never_refused(
            burst in 1_u32..50, per_minute in 1_u32..6000,
            jitter in proptest::collection::vec(0_u64..500, 1..100),
        ) {
            let rate = Rate::per_minute(per_minute, burst);
            let limiter = limited(rate);
            let mut now = Instant::now();
            for more in jitter {
                prop_assert!(limiter.take(Caller::Token("a"), now).is_ok());
                now += rate.every + Duration::from_millis(more);
            }
        }
    }
}
