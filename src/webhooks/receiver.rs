//! What is known of a receiver while it is sent something: who is being served, and whether it
//! seems to be away.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::message;
use super::schedule::{Heard, Schedule, Verdict};
use crate::domain::Failure;
use crate::secrets::{SealingKey, Secret};
use crate::store::{Endpoint, SealedSecrets, now_ms};

/// A receiver.
#[derive(Default)]
pub(super) struct Receiver {
    /// The deployments of which a try is under way.
    pub(super) busy: BTreeSet<String>,
    /// When the last try began.
    pub(super) started: Option<Instant>,
    away: bool,
    /// When it last answered.
    answered: Option<Instant>,
    /// When what waits because it was away is to be tried at once.
    wake_at: Option<Instant>,
    /// When that was done last.
    woken: Option<Instant>,
    /// Its secrets, opened, by what they were sealed as, and until when that holds.
    opened: Option<Opened>,
}

struct Opened {
    sealed: SealedSecrets,
    secrets: Vec<Secret>,
    until_ms: i64,
}

/// What a receiver can be sent in one turn.
#[derive(Debug)]
pub(super) struct Offer {
    /// The deployments that are left out.
    pub(super) busy: BTreeSet<String>,
    /// How many tries may begin.
    pub(super) free: usize,
    /// Whether it answers again: what could not be sent because it was away is due.
    pub(super) is_back: bool,
}

impl Receiver {
    /// What it can be sent now.
    pub(super) fn offer(&mut self, schedule: &Schedule, now: Instant) -> Offer {
        let is_back = self.wake_at.is_some_and(|at| at <= now);
        if is_back {
            self.wake_at = None;
            self.woken = Some(now);
        }
        let free = schedule.at_once.saturating_sub(self.busy.len());
        // One at a time is enough to find out whether it is back.
        let free = if self.spaced_until(schedule).is_some_and(|at| at > now) { 0 } else { free };
        let free = if self.away { free.min(1) } else { free };
        Offer { busy: self.busy.clone(), free, is_back }
    }

    /// Whether the last that was heard is that it cannot be reached.
    pub(super) fn is_away(&self) -> bool {
        self.away
    }

    /// When what it offered at a moment changes by itself. That may have passed by now.
    pub(super) fn next(&self, schedule: &Schedule, offered: Instant) -> Option<Instant> {
        let spaced = self.spaced_until(schedule).filter(|at| *at > offered);
        [spaced, self.wake_at].into_iter().flatten().min()
    }

    fn spaced_until(&self, schedule: &Schedule) -> Option<Instant> {
        self.started.filter(|_| self.away).map(|at| at + schedule.spacing)
    }

    /// Takes note of what was heard from it by a try that began then. What is to be tried again is
    /// so soon, where its reason is out of date.
    pub(super) fn heed(
        &mut self,
        heard: Heard,
        verdict: Verdict,
        began: Instant,
        schedule: &Schedule,
    ) -> Verdict {
        let now = Instant::now();
        match heard {
            Heard::Nothing => {}
            // It has answered others since this one began: its being away is old news.
            Heard::Silence if self.answered.is_some_and(|at| at >= began) => {
                if let Verdict::Again { pause, away, held } = verdict {
                    return Verdict::Again { pause: pause.min(schedule.first), away, held };
                }
            }
            Heard::Silence => self.away = true,
            Heard::Answer => {
                if std::mem::take(&mut self.away) {
                    // Somebody's event that makes it fall over time and again, between those of
                    // others that arrive, must not be tried more often for that.
                    let earliest = self.woken.map_or(now, |at| at + schedule.first);
                    self.wake_at = Some(earliest.max(now));
                }
                self.answered = Some(now);
            }
        }
        verdict
    }

    /// The secrets that sign now.
    pub(super) fn secrets(
        &mut self,
        key: &SealingKey,
        endpoint: &Endpoint,
    ) -> Result<Vec<Secret>, Failure> {
        let now_ms = now_ms();
        if let Some(opened) = &self.opened
            && opened.sealed == endpoint.secrets
            && now_ms < opened.until_ms
        {
            return Ok(opened.secrets.clone());
        }
        let secrets = message::open(key, &endpoint.id, &endpoint.secrets, now_ms)?;
        let before = endpoint.secrets.before.as_ref().map(|(_, until_ms)| *until_ms);
        let until_ms = before.filter(|until_ms| *until_ms > now_ms).unwrap_or(i64::MAX);
        let sealed = endpoint.secrets.clone();
        self.opened = Some(Opened { sealed, secrets: secrets.clone(), until_ms });
        Ok(secrets)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const AWAY: Verdict =
        Verdict::Again { pause: Duration::from_secs(600), away: true, held: false };

    #[tokio::test(start_paused = true)]
    async fn one_that_is_away_is_asked_now_and_then_and_woken_when_it_answers() {
        let schedule = Schedule::default();
        let mut receiver = Receiver::default();
        let step = Duration::from_millis(60);
        let offer = receiver.offer(&schedule, Instant::now());
        assert_eq!((offer.free, offer.is_back), (16, false));
        let began = Instant::now();
        receiver.started = Some(began);
        assert_eq!(receiver.heed(Heard::Silence, AWAY, began, &schedule), AWAY);
        assert_eq!(receiver.offer(&schedule, Instant::now()).free, 0);
        assert_eq!(receiver.next(&schedule, Instant::now()), Some(began + schedule.spacing));
        tokio::time::advance(2 * step).await;
        assert_eq!(receiver.offer(&schedule, Instant::now()).free, 1);

        let began = Instant::now();
        tokio::time::advance(step).await;
        receiver.heed(Heard::Answer, Verdict::Delivered, began, &schedule);
        let offer = receiver.offer(&schedule, Instant::now());
        assert_eq!((offer.free, offer.is_back), (16, true));
        assert!(!receiver.offer(&schedule, Instant::now()).is_back, "once");

        // One that began before it answered, and ends only now, does not make it away again.
        let late = receiver.heed(Heard::Silence, AWAY, began, &schedule);
        let soon = Verdict::Again { pause: schedule.first, away: true, held: false };
        assert_eq!(late, soon);
        assert_eq!(receiver.offer(&schedule, Instant::now()).free, 16);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_letter_of_one_that_is_away_is_no_answer() {
        let schedule = Schedule::default();
        let mut receiver = Receiver::default();
        for verdict in [AWAY, Verdict::Dead, AWAY] {
            receiver.heed(Heard::Silence, verdict, Instant::now(), &schedule);
            assert!(receiver.is_away());
            assert!(!receiver.offer(&schedule, Instant::now()).is_back);
        }
        // Nor is one that could never be sent.
        receiver.heed(Heard::Nothing, Verdict::Dead, Instant::now(), &schedule);
        assert!(receiver.is_away());
        receiver.heed(Heard::Answer, Verdict::Dead, Instant::now(), &schedule);
        assert!(!receiver.is_away());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_falls_over_now_and_then_is_not_woken_all_the_time() {
        let schedule = Schedule::default();
        let mut receiver = Receiver::default();
        let mut woken = 0;
        for _ in 0..100 {
            tokio::time::advance(Duration::from_millis(25)).await;
            receiver.heed(Heard::Silence, AWAY, Instant::now(), &schedule);
            tokio::time::advance(Duration::from_millis(25)).await;
            receiver.heed(Heard::Answer, Verdict::Delivered, Instant::now(), &schedule);
            woken += u32::from(receiver.offer(&schedule, Instant::now()).is_back);
        }
        assert!((4..=6).contains(&woken), "{woken} times in five seconds");
    }
}
