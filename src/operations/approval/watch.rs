//! The watch: deciding about every request while the window is open.
//!
//! Owns the order in which an approval is recorded, made and settled: what is about to be done is
//! stored first, and what a broken connection or a killed keeper left open is settled by looking.
//! Refuses to let a gateway, or whoever asks it, fill the store.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{
    MAX_CHARS, RECENT, connect_patiently, describe, failed, is_in, is_worth_watching, record,
    success, unreadable, window_now,
};
use crate::domain::approval::{self, Asked, Decision};
use crate::domain::{EventType, Failure};
use crate::exec::wait;
use crate::gateway::{
    Dial, GatewayClient, Next, Pairing, PairingError, PairingEvent, PairingList, PendingRequest,
};
use crate::secrets::Redactor;
use crate::store::{APPROVING, ApprovalEnd, ApprovalId, ApprovalRecord, NewEvent, Store};
use crate::targets::Site;

/// The pause after a connection that ended, before the next one is tried.
const RECONNECT_AFTER: Duration = Duration::from_millis(500);
/// How often the list is read without an event: a slow connection may have dropped one.
const LIST_EVERY: Duration = Duration::from_secs(30);
/// How often one approval is tried when connections break on the way.
const ATTEMPTS: u32 = 3;
/// How often a gateway is asked, after the window, how what was begun in it has ended.
const LAST_LOOKS: u32 = 3;
/// How many requests one watch decides about. A person has a few browsers; past this, somebody
/// fills the store, and what comes is left to the hand.
const MAX_REQUESTS: usize = 1000;

/// Watches a gateway while its window is open, and decides about every request. Returns when the
/// window is over and everything that was begun in it is settled.
pub async fn watch(store: &Store, site: &Site, dial: &dyn Dial) -> Result<(), Failure> {
    let mut watch = Watch::new(store, site)?;
    let mut last_looks = 0;
    loop {
        let Some((state, left)) = window_now(store, &site.deployment)? else { return Ok(()) };
        let open = is_worth_watching(state);
        if open {
            // Whom another window left waiting, this one may let in.
            watch.waiting.clear();
        } else {
            if store.approving(&site.deployment.name)?.is_empty() {
                return Ok(());
            }
            last_looks += 1;
            if last_looks > LAST_LOOKS {
                return watch.give_up();
            }
        }
        let until = open.then(|| Instant::now() + left);
        if let Err(failure) = watch.round(dial, until).await {
            tracing::warn!(name = %site.deployment.name, "{failure}");
        }
        wait::back_off(RECONNECT_AFTER).await;
    }
}

/// Does something that is over at a moment, where there is one.
async fn within<T>(until: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match until {
        Some(until) => tokio::time::timeout_at(until, work).await.ok(),
        None => Some(work.await),
    }
}

/// One watch over all its connections.
struct Watch<'a> {
    store: &'a Store,
    site: &'a Site,
    hide: Redactor,
    /// Requests that were decided about, by their ids.
    seen: HashSet<String>,
    /// Requests that were left because the window was over or used up.
    waiting: HashSet<String>,
    /// How often each approval was tried.
    attempts: HashMap<ApprovalId, u32>,
    /// How many requests that cannot be read were told of.
    unreadable: usize,
    /// How many requests this watch decided about.
    decided: usize,
    told_full: bool,
}

impl<'a> Watch<'a> {
    fn new(store: &'a Store, site: &'a Site) -> Result<Self, Failure> {
        // What an earlier watch decided about is not decided again, unless it was its window alone
        // that was in the way.
        let known = store.approvals(&site.deployment.name, RECENT)?;
        let decided = known.into_iter().filter(|it| {
            it.decision != APPROVING
                && !(it.decision == "left" && approval::left_for_the_window(&it.reason))
        });
        Ok(Self {
            store,
            site,
            hide: Redactor::new(site.secrets.all()),
            seen: decided.map(|it| it.request_id).collect(),
            waiting: HashSet::new(),
            attempts: HashMap::new(),
            unreadable: 0,
            decided: 0,
            told_full: false,
        })
    }

    /// Makes one connection, and follows it until it ends, or it is over. It is gone when this
    /// returns: how many there are at once is bounded.
    async fn round(&mut self, dial: &dyn Dial, until: Option<Instant>) -> Result<(), Failure> {
        let Some(client) = within(until, Box::pin(connect_patiently(dial, self.site))).await else {
            return Ok(());
        };
        let client = client?;
        let ended = within(until, Box::pin(self.follow(&client))).await;
        client.close().await;
        ended.unwrap_or(Ok(()))
    }

    /// Follows one connection until it ends or the window is over.
    async fn follow(&mut self, client: &GatewayClient) -> Result<(), Failure> {
        let pairing = Pairing(client);
        loop {
            let list = pairing.list().await.map_err(|error| self.failure(&error))?;
            self.settle(&pairing, &list).await?;
            self.tell_unreadable(&list)?;
            for request in &list.pending {
                self.consider(&pairing, request, &list).await?;
            }
            // A request that comes now is decided by what it says itself and the devices of the
            // last list, which every approval renews: reading the list again would double the wait.
            loop {
                match window_now(self.store, &self.site.deployment)? {
                    Some((state, _)) if is_worth_watching(state) => {}
                    _ => return Ok(()),
                }
                match tokio::time::timeout(LIST_EVERY, news(client)).await {
                    Ok(News::Asked(request)) => self.consider(&pairing, &request, &list).await?,
                    Ok(News::Changed) | Err(_) => break,
                    Ok(News::Ended) => return Ok(()),
                }
            }
        }
    }

    /// Decides about one request, once.
    async fn consider(
        &mut self,
        pairing: &Pairing<'_>,
        request: &PendingRequest,
        list: &PairingList,
    ) -> Result<(), Failure> {
        let key = self.plain(&request.request_id);
        if self.seen.contains(&key) || self.waiting.contains(&key) || self.is_full() {
            return Ok(());
        }
        let Some((state, _)) = window_now(self.store, &self.site.deployment)? else {
            return Ok(());
        };
        let roles = request.distinct_roles();
        let asked = Asked {
            roles: &roles,
            scopes: &request.scopes,
            is_new_device: request.is_new_device(list),
        };
        let name = &self.site.deployment.name;
        let who = self.plain(&describe(request));
        let decision = if self.store.is_turned_away(name, &self.plain(&request.device_id))? {
            Decision::Leave { reason: "it was turned away or put out by hand".into() }
        } else {
            approval::decide(asked, state)
        };
        match decision {
            Decision::Leave { reason } => {
                let left = record(&self.hide, request, "left", &reason);
                self.store.record_approval(name, &left, &[required(&who, &key)])?;
                if approval::left_for_the_window(&reason) {
                    self.decided += 1;
                    self.waiting.insert(key);
                } else {
                    self.decided(key);
                }
                Ok(())
            }
            Decision::Approve { reason } => {
                let record = record(&self.hide, request, APPROVING, &reason);
                // The one commit before the gateway hears of it: two watchers cannot let one
                // device too many in, and a kill loses no device's record.
                let id = &self.site.deployment.id;
                let Some(id) = self.store.begin_approval(id, name, &record)? else {
                    return Ok(());
                };
                self.decided(key);
                self.approve(pairing, &Begun { id, record, who }, request).await
            }
        }
    }

    /// Asks the gateway, and records the outcome. Where it may have acted or not, the record stays
    /// open, and the failure has the connection made again.
    async fn approve(
        &mut self,
        pairing: &Pairing<'_>,
        begun: &Begun,
        request: &PendingRequest,
    ) -> Result<(), Failure> {
        *self.attempts.entry(begun.id).or_default() += 1;
        match pairing.approve(&request.request_id).await {
            Ok(()) => self.ended(begun, Outcome::In),
            Err(error) if error.is_uncertain() => Err(self.failure(&error)),
            Err(error) => self.ended(begun, Outcome::Refused(&error.to_string())),
        }
    }

    /// Settles what an earlier connection, or a killed watch, left open.
    async fn settle(&mut self, pairing: &Pairing<'_>, list: &PairingList) -> Result<(), Failure> {
        for begun in self.begun()? {
            self.seen.insert(begun.record.request_id.clone());
            if is_in(&begun.record, list) {
                self.ended(&begun, Outcome::In)?;
                continue;
            }
            let waits = list.pending.iter().find(|request| {
                record(&self.hide, request, APPROVING, &begun.record.reason)
                    == ApprovalRecord { decided_at: String::new(), ..begun.record.clone() }
            });
            let window = window_now(self.store, &self.site.deployment)?;
            let open = window.is_some_and(|(state, _)| state.open);
            let tried = self.attempts.get(&begun.id).copied().unwrap_or_default();
            match waits {
                Some(request) if open && tried < ATTEMPTS => {
                    self.approve(pairing, &begun, request).await?;
                }
                Some(_) => self.ended(&begun, Outcome::Unknown("it still waits"))?,
                None => self.ended(&begun, Outcome::Unknown("it neither waits nor is in"))?,
            }
        }
        Ok(())
    }

    /// The gateway does not say how what was begun has ended.
    fn give_up(&self) -> Result<(), Failure> {
        for begun in self.begun()? {
            self.ended(&begun, Outcome::Unknown("the gateway could not be asked any more"))?;
        }
        Ok(())
    }

    /// What was begun, and has no outcome yet.
    fn begun(&self) -> Result<Vec<Begun>, Failure> {
        let begun = self.store.approving(&self.site.deployment.name)?.into_iter();
        Ok(begun.map(|(id, record)| Begun { id, who: in_words(&record), record }).collect())
    }

    fn ended(&self, begun: &Begun, outcome: Outcome<'_>) -> Result<(), Failure> {
        let Begun { id, record, who } = begun;
        let (decision, reason) = match outcome {
            Outcome::In => ("approved", record.reason.clone()),
            Outcome::Refused(why) | Outcome::Unknown(why) => ("failed", self.plain(why)),
        };
        let request_id = &record.request_id;
        let approving = NewEvent::new(EventType::AutoApproving, format!("letting {who} in"))
            .with(json!({ "request_id": request_id }));
        let told = match outcome {
            Outcome::In => success(who, request_id),
            _ => failed(who, request_id, &reason),
        };
        // A browser waited for the approval, and nobody for what tells of it: that comes after.
        let events = [required(who, request_id), approving, told];
        // Where the gateway may have acted all the same, the place stays taken.
        let refused = matches!(outcome, Outcome::Refused(_));
        let give_back_to = refused.then_some(self.site.deployment.id.as_str());
        let end = ApprovalEnd { decision, reason: &reason, give_back_to };
        Ok(self.store.end_approval(*id, &self.site.deployment.name, end, &events)?)
    }

    /// Tells of requests that cannot be read, when there are more than before.
    fn tell_unreadable(&mut self, list: &PairingList) -> Result<(), Failure> {
        let count = list.unreadable_pending;
        if count > self.unreadable && !self.is_full() {
            let who = unreadable(count);
            let left = ApprovalRecord {
                request_id: String::new(),
                device_id: String::new(),
                address: String::new(),
                role: String::new(),
                scopes: Vec::new(),
                decision: "left".into(),
                reason: who.clone(),
                decided_at: String::new(),
            };
            let told = NewEvent::new(EventType::PairingRequired, format!("requests wait: {who}"));
            self.store.record_approval(&self.site.deployment.name, &left, &[told])?;
            self.unreadable = count;
            self.decided += 1;
        }
        Ok(())
    }

    fn decided(&mut self, request_id: String) {
        self.seen.insert(request_id);
        self.decided += 1;
    }

    /// Whether so much was asked that nothing more is decided; says so once.
    fn is_full(&mut self) -> bool {
        let full = self.decided >= MAX_REQUESTS;
        if full && !self.told_full {
            self.told_full = true;
            tracing::warn!(
                name = %self.site.deployment.name,
                "{MAX_REQUESTS} requests were decided about; what comes now is left to the hand"
            );
        }
        full
    }

    fn plain(&self, text: &str) -> String {
        self.hide.redact_line(text, MAX_CHARS)
    }

    fn failure(&self, error: &PairingError) -> Failure {
        Failure::failed(self.plain(&error.to_string()))
    }
}

fn required(who: &str, request_id: &str) -> NewEvent {
    NewEvent::new(EventType::PairingRequired, format!("{who} asks to be let in"))
        .with(json!({ "request_id": request_id }))
}

/// An approval that was begun.
struct Begun {
    id: ApprovalId,
    record: ApprovalRecord,
    who: String,
}

/// How an approval ended.
#[derive(Clone, Copy)]
enum Outcome<'a> {
    /// The device is in.
    In,
    /// The gateway refused, and did not let it in.
    Refused(&'a str),
    /// It may be in, or have been.
    Unknown(&'a str),
}

/// A device in words, from its record.
fn in_words(record: &ApprovalRecord) -> String {
    let device = record.device_id.get(..8).unwrap_or(&record.device_id);
    let from = if record.address.is_empty() { "an unknown address" } else { &record.address };
    format!("device {device} from {from}")
}

/// What a connection tells.
enum News {
    /// A device asks to be let in.
    Asked(Box<PendingRequest>),
    /// Something else about devices changed, or an event was lost: the list has to be read again.
    Changed,
    /// The connection ended.
    Ended,
}

async fn news(client: &GatewayClient) -> News {
    loop {
        match client.next_event().await {
            Next::Lagged => return News::Changed,
            Next::Closed(_) => return News::Ended,
            Next::Event(event) => match PairingEvent::read(&event) {
                Some(PairingEvent::Requested(request)) => return News::Asked(request),
                Some(PairingEvent::Resolved { .. } | PairingEvent::Unreadable) => {
                    return News::Changed;
                }
                None => {}
            },
        }
    }
}
