//! When a delivery is tried again, and when it is given up.
//!
//! Owns the back-off, the limits and what an answer means. Refuses to know what time it is: it is
//! told, and so every decision can be tested by asking for it.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// The longest that a receiver's `Retry-After` is heeded.
const HELD_AT_MOST: Duration = Duration::from_secs(3600);

/// The times and limits of delivery.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The longest pause after the first try; it doubles with each further one.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// How long a connection may take.
    pub connect: Duration,
    /// How long a try may take in all.
    pub attempt: Duration,
    /// How old a delivery is before it is given up.
    pub give_up: Duration,
    /// How often it is tried before it is given up, whatever its age.
    pub tries: u32,
    /// How long this process, and this queue's failing, go on before anything is given up:
    /// receiver and sender may have been away together, and the receiver comes back a little later.
    pub grace: Duration,
    /// How many deliveries are under way at once to one receiver: enough that deployments do not
    /// wait for each other, and no more than a small front end takes.
    pub at_once: usize,
    /// The pause between two tries of any kind while a receiver cannot be reached.
    pub spacing: Duration,
    /// How long deliveries that are under way are waited for at the end.
    pub linger: Duration,
    /// How long the outbox is not looked at, at most, when nothing is said to have changed.
    pub look: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(3600),
            connect: Duration::from_secs(5),
            attempt: Duration::from_secs(10),
            give_up: Duration::from_secs(24 * 3600),
            tries: 5,
            grace: Duration::from_secs(15 * 60),
            at_once: 16,
            spacing: Duration::from_millis(100),
            linger: Duration::from_secs(3),
            look: Duration::from_secs(10),
        }
    }
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The receiver answered.
    Status {
        /// With this.
        status: u16,
        /// Its `Retry-After`, read.
        retry_after: Option<Duration>,
    },
    /// There was no answer; the sentence says why.
    None(String),
    /// It cannot be sent at all, today or later.
    Never(String),
}

/// What an answer says of the receiver itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is there.
    Answer,
    /// It cannot be reached, or a proxy says so in its place.
    Silence,
    /// It was not asked.
    Nothing,
}

impl Answer {
    /// What it says of the receiver.
    pub fn heard(&self) -> Heard {
        match self {
            Self::Status { status: 503, retry_after: Some(_) } => Heard::Answer,
            Self::Status { status: 502..=504, .. } | Self::None(_) => Heard::Silence,
            Self::Status { .. } => Heard::Answer,
            Self::Never(_) => Heard::Nothing,
        }
    }
}

/// What is known of a delivery when it was tried.
#[derive(Debug, Clone, Copy)]
pub struct Tried {
    /// How often, this time included.
    pub tries: u32,
    /// How long it has been waiting to be delivered, while its receiver was enabled.
    pub age: Duration,
    /// How long its queue has been failing, this process watching.
    pub failing: Duration,
}

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It arrived.
    Delivered,
    /// It is tried again.
    Again {
        /// After this pause.
        pause: Duration,
        /// Whether the receiver seems to be away altogether: when it answers again, this is tried
        /// at once.
        away: bool,
        /// Whether the receiver asked to be left alone by everything for so long.
        held: bool,
    },
    /// It is given up, and its successor is next.
    Dead,
    /// The receiver wants nothing any more.
    Gone,
}

impl Schedule {
    /// What an answer means. The draw is a random number from 0 to 1.
    pub fn judge(&self, answer: &Answer, tried: Tried, draw: f64) -> Verdict {
        let held = match answer {
            Answer::Status { status: 200..=299, .. } => return Verdict::Delivered,
            Answer::Status { status: 410, .. } => return Verdict::Gone,
            Answer::Never(_) => return Verdict::Dead,
            Answer::Status { status: 429 | 503, retry_after: Some(after) } => {
                Some((*after).min(HELD_AT_MOST))
            }
            Answer::Status { .. } | Answer::None(_) => None,
        };
        // Nobody waits through more of a grace than of everything.
        let grace = self.grace.min(self.give_up);
        if tried.tries >= self.tries && tried.age >= self.give_up && tried.failing >= grace {
            return Verdict::Dead;
        }
        let pause = held.unwrap_or_else(|| self.pause(tried.tries, draw));
        let away = answer.heard() == Heard::Silence;
        Verdict::Again { pause, away, held: held.is_some() }
    }

    /// The pause after so many tries: anything up to a bound that doubles, so that queues that
    /// failed together do not come back together.
    pub fn pause(&self, tries: u32, draw: f64) -> Duration {
        let doubled = 1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX);
        let bound = self.first.saturating_mul(doubled).min(self.longest);
        bound.mul_f64(draw.clamp(0.0, 1.0))
    }
}

/// What an answer means for the one who reads the list of deliveries.
pub fn in_words(answer: &Answer) -> Option<String> {
    match answer {
        Answer::Status { status: 200..=299, .. } => None,
        Answer::Status { status: status @ 300..=399, .. } => {
            Some(format!("it answered {status}, and redirects are not followed"))
        }
        Answer::Status { status: 410, .. } => Some("it answered 410: it is gone".into()),
        Answer::Status { status, .. } => Some(format!("it answered {status}")),
        Answer::None(why) | Answer::Never(why) => Some(why.clone()),
    }
}

/// A `Retry-After`, which is a number of seconds or a date.
pub fn retry_after(text: &str, now: OffsetDateTime) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) {
        return Some(text.parse().map_or(HELD_AT_MOST, Duration::from_secs).min(HELD_AT_MOST));
    }
    let until = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    // A date that has passed asks for no pause.
    let left = Duration::try_from(until - now).unwrap_or_default();
    Some(left.min(HELD_AT_MOST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const FRESH: Tried = Tried { tries: 1, age: Duration::ZERO, failing: Duration::ZERO };

    fn status(status: u16) -> Answer {
        Answer::Status { status, retry_after: None }
    }

    fn no_answer() -> Answer {
        Answer::None("nobody listens".into())
    }

    #[test]
    fn answers_mean_what_they_mean() {
        let schedule = Schedule::default();
        let judge = |answer: &Answer| schedule.judge(answer, FRESH, 1.0);
        for fine in [200, 201, 202, 204, 299] {
            assert_eq!(judge(&status(fine)), Verdict::Delivered);
        }
        assert_eq!(judge(&status(410)), Verdict::Gone);
        assert_eq!(judge(&Answer::Never("no event".into())), Verdict::Dead);
        let pause = Duration::from_secs(1);
        for failed in [301, 302, 307, 308, 400, 401, 404, 409, 429, 500, 501] {
            let again = Verdict::Again { pause, away: false, held: false };
            assert_eq!(judge(&status(failed)), again, "{failed}");
        }
        for away in [status(502), status(503), status(504), no_answer()] {
            assert_eq!(judge(&away), Verdict::Again { pause, away: true, held: false });
        }
    }

    #[test]
    fn a_receiver_that_asks_for_a_pause_gets_it_within_bounds() {
        let schedule = Schedule::default();
        for (status, after, pause) in [(429, 7, 7), (503, 7, 7), (429, 9999, 3600), (503, 0, 0)] {
            let retry_after = Some(Duration::from_secs(after));
            let answer = Answer::Status { status, retry_after };
            let pause = Duration::from_secs(pause);
            let verdict = schedule.judge(&answer, FRESH, 0.0);
            assert_eq!(verdict, Verdict::Again { pause, away: false, held: true });
        }
        // Nobody else may ask for one.
        let answer = Answer::Status { status: 500, retry_after: Some(HOUR) };
        let verdict = schedule.judge(&answer, FRESH, 0.0);
        assert_eq!(verdict, Verdict::Again { pause: Duration::ZERO, away: false, held: false });
    }

    #[test]
    fn it_is_given_up_when_it_is_old_and_was_tried_and_not_in_the_first_moments() {
        let schedule = Schedule::default();
        let old = Tried { tries: 5, age: 24 * HOUR, failing: HOUR };
        let dead = |tried| schedule.judge(&no_answer(), tried, 0.5) == Verdict::Dead;
        assert!(dead(old));
        assert!(!dead(Tried { tries: 4, ..old }));
        assert!(!dead(Tried { age: 23 * HOUR, ..old }));
        assert!(!dead(Tried { failing: Duration::from_secs(60), ..old }));
        // A short limit is not held up by the grace of a long one.
        let short = Schedule { give_up: Duration::from_secs(2), ..Schedule::default() };
        let tried = Tried { tries: 5, age: 2 * HOUR, failing: Duration::from_secs(2) };
        assert_eq!(short.judge(&status(500), tried, 0.5), Verdict::Dead);
        assert_eq!(short.judge(&status(200), tried, 0.5), Verdict::Delivered);
    }

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now = time::macros::datetime!(2026-09-06 10:00:00 UTC);
        for (text, seconds) in [
            ("0", 0),
            (" 120 ", 120),
            ("999999999999999999999999", 3600),
            ("Sun, 06 Sep 2026 10:00:30 GMT", 30),
            ("Sun, 06 Sep 2026 09:00:00 GMT", 0),
            ("Sun, 06 Sep 2099 09:00:00 GMT", 3600),
        ] {
            assert_eq!(retry_after(text, now), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "soon", "-5", "1.5", "2026-09-06T10:00:30Z", "12:00", "\u{661}"] {
            assert_eq!(retry_after(text, now), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_pause_is_within_its_bound(tries in 1_u32..200, draw in 0.0_f64..=1.0) {
            let schedule = Schedule::default();
            let pause = schedule.pause(tries, draw);
            prop_assert!(pause <= schedule.longest);
            prop_assert!(pause <= schedule.first * 2_u32.pow(tries.min(13) - 1));
            prop_assert!(schedule.pause(tries, 1.0) >= pause);
        }

        #[test]
        fn no_header_makes_the_reading_panic(text in "\\PC{0,60}") {
            let now = time::macros::datetime!(2026-09-06 10:00:00 UTC);
            prop_assert!(retry_after(&text, now).is_none_or(|it| it <= HELD_AT_MOST));
        }
    }
}
