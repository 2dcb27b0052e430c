//! One turn of the dispatcher in the store: record what ended, fan out what happened, advance the
//! replays, and take what is due. It runs where waiting for the disk holds nobody up.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::receiver::Offer;
use crate::domain::Failure;
use crate::store::{Due, Endpoint, EndpointStatus, Outcome, Store, Waiting, now_ms};

/// What a turn is given.
#[derive(Debug)]
pub(super) struct Turn {
    /// What has ended; empty once it is recorded.
    pub(super) outcomes: Vec<Outcome>,
    /// The one endpoint that it is for, if it is not for all.
    pub(super) only: Option<i64>,
    /// Whether what is listed no longer is removed as well.
    pub(super) clean: bool,
    /// The longest pause that there is.
    pub(super) longest: Duration,
    /// What the receivers that are known can be sent.
    pub(super) receivers: HashMap<i64, Offer>,
    /// What any other one can be sent.
    pub(super) at_once: usize,
}

/// What comes of a turn.
#[derive(Debug)]
pub(super) struct Plan {
    /// The endpoints, and what is to be sent to each now.
    pub(super) endpoints: Vec<(Endpoint, Vec<Due>)>,
    /// Whether there is more to do at once.
    pub(super) more: bool,
    /// How long nothing is due.
    pub(super) pause: Option<Duration>,
    /// The store's version that all of this holds for.
    pub(super) seen: i64,
}

impl Turn {
    /// Takes the turn.
    pub(super) fn take(&mut self, store: &Store) -> Result<Plan, Failure> {
        let back: BTreeSet<i64> =
            self.receivers.iter().filter(|(_, it)| it.is_back).map(|(number, _)| *number).collect();
        if !self.outcomes.is_empty() || !back.is_empty() {
            store.record_outcomes(&self.outcomes, &back)?;
        }
        self.outcomes.clear();
        let mut more = false;
        if self.only.is_none() {
            more |= store.advance_replays()?;
            more |= store.sweep_endpoints()?;
        }
        if self.clean {
            store.tame_pauses(now_ms().saturating_add(millis(self.longest)))?;
            store.prune_deliveries()?;
        }
        // Once nothing is left to fan out, nothing has happened since the version was read but what
        // changes it.
        let mut seen = store.version()?;
        if store.fan_out(self.only)? {
            seen = store.version()?;
            more |= store.fan_out(self.only)?;
        }
        let mut plan = Plan { endpoints: Vec::new(), more, pause: None, seen };
        for endpoint in store.endpoints()? {
            if self.only.is_none_or(|only| only == endpoint.number) {
                self.take_due(store, endpoint, &mut plan)?;
            }
        }
        Ok(plan)
    }

    fn take_due(&self, store: &Store, endpoint: Endpoint, plan: &mut Plan) -> Result<(), Failure> {
        if endpoint.status == EndpointStatus::Disabled {
            plan.endpoints.push((endpoint, Vec::new()));
            return Ok(());
        }
        let now = now_ms();
        let held = endpoint.held_until_ms.filter(|until| *until > now);
        let nothing = BTreeSet::new();
        let (busy, free) = self
            .receivers
            .get(&endpoint.number)
            .map_or((&nothing, self.at_once), |offer| (&offer.busy, offer.free));
        // Of two moments, something could be due in between, and nobody would wait for it.
        let Waiting { due, next_ms } = match held {
            None => store.waiting(endpoint.number, now, busy, free)?,
            Some(until) => Waiting { next_ms: Some(until), ..Waiting::default() },
        };
        if let Some(next) = next_ms {
            // Rounded up, so that it is due by then.
            let pause = Duration::from_millis(u64::try_from(next - now).unwrap_or(0) + 1);
            plan.pause = Some(plan.pause.map_or(pause, |known| known.min(pause)));
        }
        plan.endpoints.push((endpoint, due));
        Ok(())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
