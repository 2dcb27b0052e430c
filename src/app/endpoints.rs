//! Endpoints: where events are sent, what became of them, and sending them again.
//!
//! Owns the verbs, the rules for what may be an endpoint, and the front end's own one, which the
//! settings name. Refuses to show a secret but in the answer to whoever had it made.

mod asked;

use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::App;
use crate::config::{Settings, Variable};
use crate::domain::{Failure, Need, Principal, text};
use crate::secrets::Secret;
use crate::secrets::webhook::generate_webhook_secret;
use crate::store::{NewEndpoint, NewReplay, StoreError, new_id, now_ms, time_of};
use crate::webhooks::address::{Rule, check_url};
use crate::webhooks::{self, Options, Schedule, message};

pub use crate::store::{
    AskedOnce, Counts, Delivery, DeliveryStatus, Endpoint, EndpointChange, EndpointStatus, Filter,
    Replay, ReplayStatus, Scope,
};
pub use asked::{AskedFilter, ReplayWanted, read_events, read_names};

use crate::store::{AuditRecord, IdempotencyKey};
use asked::{range, reached, reaches};

/// Where events go at a front end.
const FRONTEND_PATH: &str = "/api/webhook/pipeline";
/// How long the secret before signs as well.
const BOTH_SIGN_MS: i64 = 24 * 3600 * 1000;

/// An endpoint, and how its deliveries stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointReport {
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// How many deliveries are pending.
    pub pending: i64,
    /// Since when the oldest of them waits, RFC 3339 UTC.
    pub oldest_pending_at: Option<String>,
    /// How many dead letters there are.
    pub dead: i64,
    /// The same and more, for figures.
    #[serde(skip)]
    pub counts: Counts,
}

/// The front end's endpoint, and its secret where that was made just now: it is shown once.
#[derive(Debug, Clone)]
pub struct Frontend {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its secret.
    pub generated: Option<Secret>,
}

fn frontend_url(settings: &Settings) -> Result<String, Failure> {
    let url = format!("{}{FRONTEND_PATH}", settings.frontend_url()?);
    check_url(Variable::FrontendUrl.name(), &url, Rule::Operator)?;
    Ok(url)
}

impl App {
    /// Refuses settings from which no front end's endpoint can be made.
    pub fn check_frontend(&self, settings: &Settings) -> Result<(), Failure> {
        settings.webhook_secret()?;
        frontend_url(settings).map(drop)
    }

    /// The endpoint that `FRONTEND_URL` names: made if it is not there, moved if the settings say
    /// another address (what is pending goes there, then), and with the secret that they give.
    pub fn frontend_endpoint(&self, settings: &Settings) -> Result<Frontend, Failure> {
        let url = frontend_url(settings)?;
        let given = settings.webhook_secret()?;
        if let Some(known) = self.store().frontend()? {
            return self.update_frontend(known, url, given.as_ref());
        }
        let generated = given.is_none().then(generate_webhook_secret);
        let id = new_id();
        let secret = given.as_ref().or(generated.as_ref()).map(|it| self.seal(&id, it));
        let new = NewEndpoint {
            id,
            url: url.clone(),
            filter: Filter::default(),
            is_frontend: true,
            owner: None,
            secret: secret.unwrap_or_default(),
        };
        match self.store().put_endpoint(&new, None, None) {
            Ok(endpoint) => Ok(Frontend { endpoint, generated }),
            // Another process was first.
            Err(error) => match self.store().frontend()? {
                Some(known) => self.update_frontend(known, url, given.as_ref()),
                None => Err(error.into()),
            },
        }
    }

    fn update_frontend(
        &self,
        known: Endpoint,
        url: String,
        given: Option<&Secret>,
    ) -> Result<Frontend, Failure> {
        let store = self.store();
        if known.url != url {
            let change = EndpointChange { url: Some(url), ..EndpointChange::default() };
            store.change_endpoint(&known.id, &change, None)?;
            if known.status == EndpointStatus::Disabled {
                // What was wrong was wrong with the address before.
                store.enable_endpoint(&known.id, None)?;
            }
        }
        if let Some(given) = given {
            let key = self.engine().vault().key();
            let in_force = message::open(key, &known.id, &known.secrets, now_ms())?;
            if in_force.first().is_none_or(|it| it.expose() != given.expose()) {
                let sealed = self.seal(&known.id, given);
                store.rotate_endpoint(&known.id, &sealed, both_sign_until(), None, None)?;
            }
        }
        let endpoint = store.endpoint(&known.id)?.unwrap_or(known);
        Ok(Frontend { endpoint, generated: None })
    }

    /// Delivers events until it is cancelled.
    pub async fn deliver(
        &self,
        settings: &Settings,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        let (store, key) = (self.store().clone(), self.engine().vault().key().clone());
        webhooks::run(store, key, options(settings)?, cancel).await
    }

    /// Delivers what waits for the front end, if the settings name one outright: as far as that can
    /// be done now, and within a bound. Answers the front end's secret where it was made just now.
    pub async fn deliver_now(
        &self,
        settings: &Settings,
        deadline: Duration,
    ) -> Result<Option<Secret>, Failure> {
        // Where a server delivers, its settings say where to, and not those of a command beside it.
        if !settings.is_given(Variable::FrontendUrl) || webhooks::is_delivering(self.store())? {
            return Ok(None);
        }
        let Frontend { endpoint, generated } = self.frontend_endpoint(settings)?;
        let (store, key) = (self.store().clone(), self.engine().vault().key().clone());
        webhooks::deliver_now(store, key, options(settings)?, &endpoint, deadline).await?;
        Ok(generated)
    }

    /// Every endpoint, the oldest first.
    pub fn endpoints(&self, by: &Principal) -> Result<Vec<EndpointReport>, Failure> {
        by.may(Need::Admin)?;
        let all = self.store().endpoints()?.into_iter();
        all.filter(|it| reaches(by, it)).map(|it| self.report(it)).collect()
    }

    /// The same for figures that are nobody's secret.
    pub fn endpoint_figures(&self) -> Result<Vec<EndpointReport>, Failure> {
        self.store().endpoints()?.into_iter().map(|it| self.report(it)).collect()
    }

    /// The endpoint with this id.
    pub fn endpoint(&self, by: &Principal, id: &str) -> Result<EndpointReport, Failure> {
        self.report(self.reached_endpoint(by, id)?)
    }

    /// Makes an endpoint; its secret is given this once. A request that was sent before is a
    /// conflict that names what it made.
    pub fn add_endpoint(
        &self,
        by: &Principal,
        url: &str,
        filter: Filter,
        record: &AuditRecord,
        key: Option<&IdempotencyKey>,
    ) -> Result<(EndpointReport, Secret), Failure> {
        by.may(Need::Admin)?;
        let url = check_url("url", url, Rule::Global)?.to_string();
        let filter = Filter { names: reached(by, filter.names)?, ..filter };
        let (id, secret) = (new_id(), generate_webhook_secret());
        let owner = (*by != Principal::operator()).then(|| by.id.clone());
        let sealed = self.seal(&id, &secret);
        let new = NewEndpoint { id, url, filter, is_frontend: false, owner, secret: sealed };
        let made = self.store().put_endpoint(&new, Some(record), key).map_err(once)?;
        Ok((self.report(made)?, secret))
    }

    /// Changes an endpoint. Where the front end's own is, the settings say.
    pub fn change_endpoint(
        &self,
        by: &Principal,
        id: &str,
        change: &EndpointChange,
        record: &AuditRecord,
    ) -> Result<EndpointReport, Failure> {
        let known = self.reached_endpoint(by, id)?;
        let mut change = change.clone();
        if let Some(url) = &change.url {
            refuse_frontend(&known, "moved")?;
            change.url = Some(check_url("url", url, Rule::Global)?.to_string());
        }
        if let Some(names) = change.names.take() {
            change.names = Some(reached(by, names)?);
        }
        match self.store().change_endpoint(id, &change, Some(record))? {
            Some(endpoint) => self.report(endpoint),
            None => Err(unknown_endpoint(id)),
        }
    }

    /// Sends an endpoint what waits for it, from now on.
    pub fn enable_endpoint(
        &self,
        by: &Principal,
        id: &str,
        record: &AuditRecord,
    ) -> Result<EndpointReport, Failure> {
        self.reached_endpoint(by, id)?;
        if !self.store().enable_endpoint(id, Some(record))? {
            return Err(unknown_endpoint(id));
        }
        self.endpoint(by, id)
    }

    /// Keeps what comes for an endpoint until it is enabled.
    pub fn disable_endpoint(
        &self,
        by: &Principal,
        id: &str,
        record: &AuditRecord,
    ) -> Result<EndpointReport, Failure> {
        self.reached_endpoint(by, id)?;
        if !self.store().disable_endpoint(id, "it was disabled by hand", Some(record))? {
            return Err(unknown_endpoint(id));
        }
        self.endpoint(by, id)
    }

    /// Removes an endpoint with what is pending for it. Its rows go in the background where a
    /// server runs; [`App::sweep_endpoints`] takes them otherwise.
    pub fn remove_endpoint(
        &self,
        by: &Principal,
        id: &str,
        record: &AuditRecord,
    ) -> Result<Endpoint, Failure> {
        let known = self.reached_endpoint(by, id)?;
        refuse_frontend(&known, "removed")?;
        if !self.store().remove_endpoint(id, Some(record))? {
            return Err(unknown_endpoint(id));
        }
        Ok(known)
    }

    /// Takes what removed endpoints have left.
    pub fn sweep_endpoints(&self) -> Result<(), Failure> {
        while self.store().sweep_endpoints()? {}
        Ok(())
    }

    /// Gives an endpoint a new secret, which is shown this once. The one before signs as well for a
    /// day.
    pub fn rotate_endpoint_secret(
        &self,
        by: &Principal,
        id: &str,
        record: &AuditRecord,
        key: Option<&IdempotencyKey>,
    ) -> Result<Secret, Failure> {
        self.reached_endpoint(by, id)?;
        let secret = generate_webhook_secret();
        let (sealed, until) = (self.seal(id, &secret), both_sign_until());
        let rotated = self.store().rotate_endpoint(id, &sealed, until, Some(record), key);
        if rotated.map_err(once)? { Ok(secret) } else { Err(unknown_endpoint(id)) }
    }

    /// The deliveries of an endpoint, the newest first: those before a place, of one status when
    /// named. Answers the place to go on from where there are more.
    pub fn deliveries(
        &self,
        by: &Principal,
        id: &str,
        status: Option<DeliveryStatus>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<Delivery>, Option<i64>), Failure> {
        let endpoint = self.reached_endpoint(by, id)?;
        let mut found = self.store().deliveries(&endpoint, status, before, limit + 1)?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).and_then(|it| it.id.parse().ok());
        Ok((found, next))
    }

    /// Begins to send something again.
    pub fn replay(
        &self,
        by: &Principal,
        id: &str,
        wanted: &ReplayWanted,
        record: &AuditRecord,
        once: Option<AskedOnce<'_>>,
    ) -> Result<Replay, Failure> {
        let endpoint = self.reached_endpoint(by, id)?;
        let (from_sequence, to_sequence, scope) = self.replayed(by, &endpoint, wanted)?;
        let record = Some(record);
        let endpoint = &endpoint;
        let new = NewReplay { endpoint, from_sequence, to_sequence, scope, record, once };
        Ok(self.store().begin_replay(&new)?)
    }

    fn replayed(
        &self,
        by: &Principal,
        endpoint: &Endpoint,
        wanted: &ReplayWanted,
    ) -> Result<(i64, i64, Scope), Failure> {
        let store = self.store();
        let exact = |sequence| (sequence, sequence, Scope::Exact);
        match wanted {
            ReplayWanted::Event(event) => {
                let found = store.place_of(event)?.filter(|(_, name)| by.reaches(name));
                found.map(|(sequence, _)| exact(sequence)).ok_or_else(|| {
                    Failure::not_found(format!("there is no event {}", text::clean(event, 60)))
                        .remedy("openclaw-pipeline events --json lists them")
                })
            }
            ReplayWanted::Delivery(delivery) => {
                let found = store.delivery(endpoint, delivery)?;
                found.map(|it| exact(it.sequence)).ok_or_else(|| {
                    let delivery = text::clean(delivery, 60);
                    Failure::not_found(format!("the endpoint has no delivery {delivery}"))
                        .remedy("openclaw-pipeline webhooks deliveries lists them")
                })
            }
            ReplayWanted::Range { from, to, dead } => {
                let (first, last) = range(*from, *to, store.extent()?)?;
                Ok((first, last, if *dead { Scope::Dead } else { Scope::All }))
            }
        }
    }

    /// The replay with this id.
    pub fn replay_status(&self, by: &Principal, id: &str) -> Result<Replay, Failure> {
        by.may(Need::Admin)?;
        let known = self.store().replay(id)?.filter(|it| self.reaches_replay(by, it));
        known.ok_or_else(|| unknown_replay(id))
    }

    /// The last replays to an endpoint, the newest first.
    pub fn replays(&self, by: &Principal, id: &str, limit: usize) -> Result<Vec<Replay>, Failure> {
        Ok(self.store().replays(&self.reached_endpoint(by, id)?, limit)?)
    }

    /// Gives a replay up: what it has not sent yet is not sent.
    pub fn cancel_replay(
        &self,
        by: &Principal,
        id: &str,
        record: &AuditRecord,
        once: Option<AskedOnce<'_>>,
    ) -> Result<Replay, Failure> {
        self.replay_status(by, id)?;
        self.store().cancel_replay(id, Some(record), once)?.ok_or_else(|| unknown_replay(id))
    }

    fn report(&self, endpoint: Endpoint) -> Result<EndpointReport, Failure> {
        let counts = self.store().counts(&endpoint)?;
        Ok(EndpointReport {
            endpoint,
            pending: counts.pending,
            oldest_pending_at: counts.oldest_pending_ms.map(time_of),
            dead: counts.dead,
            counts,
        })
    }

    /// Whether a replay exists for somebody. One whose endpoint is gone does so for those alone who
    /// reach everything.
    fn reaches_replay(&self, by: &Principal, replay: &Replay) -> bool {
        by.name_prefix.is_none() || self.reached_endpoint(by, &replay.endpoint).is_ok()
    }

    fn reached_endpoint(&self, by: &Principal, id: &str) -> Result<Endpoint, Failure> {
        by.may(Need::Admin)?;
        let known = self.store().endpoint(id)?.filter(|it| reaches(by, it));
        known.ok_or_else(|| unknown_endpoint(id))
    }

    fn seal(&self, id: &str, secret: &Secret) -> Vec<u8> {
        message::seal(self.engine().vault().key(), id, secret)
    }
}

fn options(settings: &Settings) -> Result<Options, Failure> {
    let schedule = Schedule { give_up: settings.webhook_retry()?, ..Schedule::default() };
    Ok(Options { schedule, ..Options::default() })
}

fn both_sign_until() -> i64 {
    now_ms().saturating_add(BOTH_SIGN_MS)
}

fn refuse_frontend(endpoint: &Endpoint, what: &str) -> Result<(), Failure> {
    if !endpoint.is_frontend {
        return Ok(());
    }
    Err(Failure::conflict(format!("the front end's own endpoint cannot be {what} by hand"))
        .remedy("set FRONTEND_URL to another address, and start the server again"))
}

fn unknown_endpoint(id: &str) -> Failure {
    Failure::not_found(format!("there is no endpoint {}", text::clean(id, 60)))
        .remedy("openclaw-pipeline webhooks list shows what there is")
}

fn unknown_replay(id: &str) -> Failure {
    Failure::not_found(format!("there is no replay {}", text::clean(id, 60)))
}

/// A request that was sent before made something that is not shown again.
fn once(error: StoreError) -> Failure {
    match error {
        StoreError::Answered(answer) => answer.not_again(),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests;
