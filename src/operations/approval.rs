//! Letting browsers in: the connection to a gateway's pairing, decisions by the policy, and the
//! record of each.
//!
//! Owns the watch that a keeper (and later the server) holds while a window is open. Refuses to
//! approve what it did not read itself, under the exact id that it read it under.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::domain::approval::{self, ApprovalMode, Asked, Decision, WindowState};
use crate::domain::{Deployment, EventType, Failure};
use crate::exec::{boot_id, boottime, wait};
use crate::gateway::pairing::{EVENTS, SCOPES};
use crate::gateway::{
    ConnectOptions, Dial, GatewayClient, Next, Pairing, PairingEvent, PairingList, PendingRequest,
    connect_retrying,
};
use crate::store::{ApprovalRecord, NewEvent, Store};
use crate::targets::Site;

/// How long connecting to a gateway that runs may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(60);
/// The pause after a connection that ended, before the next one is tried.
const RECONNECT_AFTER: Duration = Duration::from_millis(500);
/// How often the list is read without an event: a slow connection may have dropped one.
const LIST_EVERY: Duration = Duration::from_secs(30);
/// How many decisions are looked through for those of an earlier run.
const RECENT: usize = 1000;

/// Connects to a gateway's own loopback, where pairing can be seen and decided.
pub async fn connect(
    dial: &dyn Dial,
    site: &Site,
    within: Duration,
) -> Result<GatewayClient, Failure> {
    let mut options = ConnectOptions::new(
        site.secrets.token.clone(),
        format!("127.0.0.1:{}", site.port()?),
        Instant::now() + within,
    )
    .scopes(&SCOPES);
    options.events = vec![EVENTS.to_owned()];
    connect_retrying(dial, &options, |_| {}).await.map_err(|error| {
        Failure::failed(format!(
            "{}: the gateway cannot be talked to: {}",
            site.deployment.name,
            site.scrub(&error.to_string(), 300)
        ))
        .remedy(format!("openclaw-pipeline doctor {}", site.deployment.name))
    })
}

/// Connects as [`connect`] does, with a minute's patience.
pub async fn connect_patiently(dial: &dyn Dial, site: &Site) -> Result<GatewayClient, Failure> {
    connect(dial, site, CONNECT_DEADLINE).await
}

/// What the window of a deployment allows now, and how long it is open. A reboot ends it.
pub fn window_now(
    store: &Store,
    deployment: &Deployment,
) -> Result<Option<(WindowState, Duration)>, Failure> {
    let Some(window) = store.window(&deployment.id)? else { return Ok(None) };
    let now = i64::try_from(boottime().as_secs()).unwrap_or(i64::MAX);
    let left = window.deadline_s.saturating_sub(now);
    // A boot time before the window's opening belongs to another boot, whatever its id says.
    let open = window.boot_id == boot_id()? && now >= window.opened_s && left > 0;
    let state =
        WindowState { mode: deployment.spec.approval.mode, open, remaining: window.remaining };
    let left = Duration::from_secs(if open { u64::try_from(left).unwrap_or(0) } else { 0 });
    Ok(Some((state, left)))
}

/// Whether anything is left to watch for.
pub fn is_worth_watching(state: WindowState) -> bool {
    state.open && state.mode != ApprovalMode::Off && state.remaining > 0
}

/// Watches a gateway while its window is open, and decides about every request. Returns when the
/// window is over.
pub async fn watch(store: &Store, site: &Site, dial: &dyn Dial) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    loop {
        let Some((state, left)) = window_now(store, &site.deployment)? else { return Ok(()) };
        if !is_worth_watching(state) {
            return Ok(());
        }
        let round = async {
            let client = connect_patiently(dial, site).await?;
            follow(store, site, &client, &mut seen).await
        };
        match tokio::time::timeout(left, round).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(failure)) => tracing::warn!(name = %site.deployment.name, "{failure}"),
        }
        wait::back_off(RECONNECT_AFTER).await;
    }
}

/// Follows one connection until it ends or the window is over.
async fn follow(
    store: &Store,
    site: &Site,
    client: &GatewayClient,
    seen: &mut HashSet<String>,
) -> Result<(), Failure> {
    let pairing = Pairing(client);
    loop {
        let list = list(&pairing).await?;
        for request in &list.pending {
            consider(store, site, &pairing, request, &list, seen).await?;
        }
        // A request that comes now is decided by what it says itself and the devices of the last
        // list, which every approval renews: reading the list again would double the wait.
        loop {
            match window_now(store, &site.deployment)? {
                Some((state, _)) if is_worth_watching(state) => {}
                _ => return Ok(()),
            }
            match tokio::time::timeout(LIST_EVERY, news(client)).await {
                Ok(News::Asked(request)) => {
                    consider(store, site, &pairing, &request, &list, seen).await?;
                }
                Ok(News::Changed) | Err(_) => break,
                Ok(News::Ended) => return Ok(()),
            }
        }
    }
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

/// Reads the list.
pub async fn list(pairing: &Pairing<'_>) -> Result<PairingList, Failure> {
    pairing.list().await.map_err(|error| Failure::failed(error.to_string()))
}

/// Decides about one request, once.
async fn consider(
    store: &Store,
    site: &Site,
    pairing: &Pairing<'_>,
    request: &PendingRequest,
    list: &PairingList,
    seen: &mut HashSet<String>,
) -> Result<(), Failure> {
    if !seen.insert(request.request_id.clone()) {
        return Ok(());
    }
    let Some((state, _)) = window_now(store, &site.deployment)? else { return Ok(()) };
    let roles = request.distinct_roles();
    let asked = Asked {
        roles: &roles,
        scopes: &request.scopes,
        is_new_device: request.is_new_device(list),
    };
    let name = &site.deployment.name;
    let who = describe(request);
    let required = NewEvent::new(EventType::PairingRequired, format!("{who} asks to be let in"))
        .with(json!({ "request_id": request.request_id }));
    match approval::decide(asked, state) {
        Decision::Leave { reason } => {
            let left = record(request, "left", &reason);
            store.record_approval(name, &left, &[required])?;
            Ok(())
        }
        Decision::Approve { reason } => {
            // The place is taken in the store before the gateway hears of it: two watchers
            // cannot let one device too many in.
            if !store.take_place(&site.deployment.id)? {
                return Ok(());
            }
            let approving = NewEvent::new(EventType::AutoApproving, format!("letting {who} in"))
                .with(json!({ "request_id": request.request_id }));
            let outcome = pairing.approve(&request.request_id).await;
            let (decision, told) = match &outcome {
                Ok(()) => ("approved", success(&who, &request.request_id)),
                Err(error) => {
                    // Where the gateway may have acted all the same, the place stays taken.
                    if !error.is_uncertain() {
                        store.give_back_place(&site.deployment.id)?;
                    }
                    ("failed", failed(&who, &request.request_id, &error.to_string()))
                }
            };
            let reason = match &outcome {
                Ok(()) => reason,
                Err(error) => crate::domain::text::clean(&error.to_string(), 200),
            };
            store.record_approval(
                name,
                &record(request, decision, &reason),
                &[required, approving, told],
            )?;
            Ok(())
        }
    }
}

fn success(who: &str, request_id: &str) -> NewEvent {
    NewEvent::new(EventType::ApproveSuccess, format!("{who} is in"))
        .with(json!({ "request_id": request_id }))
}

fn failed(who: &str, request_id: &str, why: &str) -> NewEvent {
    let why = crate::domain::text::clean(why, 200);
    NewEvent::new(EventType::ApproveFailed, format!("{who} could not be let in: {why}"))
        .with(json!({ "request_id": request_id }))
}

fn record(request: &PendingRequest, decision: &str, reason: &str) -> ApprovalRecord {
    ApprovalRecord {
        request_id: request.request_id.clone(),
        device_id: request.device_id.clone(),
        address: request.remote_ip.clone().unwrap_or_default(),
        role: request.distinct_roles().join("+"),
        scopes: request.scopes.clone(),
        decision: decision.into(),
        reason: reason.into(),
        decided_at: String::new(),
    }
}

/// A device in words. Everything in it is what the device says of itself, bounded and clean.
pub fn describe(request: &PendingRequest) -> String {
    let device = request.device_id.get(..8).unwrap_or(&request.device_id);
    let platform = request.platform.as_deref().map(|it| format!(" on {it}")).unwrap_or_default();
    let from = request.remote_ip.as_deref().unwrap_or("an unknown address");
    format!("device {device}{platform} from {from}")
}

/// What an approval by hand did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Approved {
    /// The requests that were approved, in words.
    pub approved: Vec<String>,
    /// The requests that wait on, with the reason.
    pub pending: Vec<Waiting>,
}

/// A request that was not approved.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Waiting {
    /// Its id.
    pub request_id: String,
    /// The device, in words.
    pub device: String,
    /// Why it waits.
    pub reason: String,
}

/// A request that is to be approved by hand, as it was read when it was chosen.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Chosen {
    request_id: String,
    device_id: String,
    address: String,
    role: String,
    scopes: Vec<String>,
    who: String,
}

impl Chosen {
    fn of(request: &PendingRequest) -> Self {
        let ApprovalRecord { request_id, device_id, address, role, scopes, .. } =
            record(request, "", "");
        Self { request_id, device_id, address, role, scopes, who: describe(request) }
    }

    fn record(&self, decision: &str, reason: &str) -> ApprovalRecord {
        ApprovalRecord {
            request_id: self.request_id.clone(),
            device_id: self.device_id.clone(),
            address: self.address.clone(),
            role: self.role.clone(),
            scopes: self.scopes.clone(),
            decision: decision.into(),
            reason: reason.into(),
            decided_at: String::new(),
        }
    }

    /// Whether the device is in with what it asked for, and the request is settled.
    fn is_in(&self, list: &PairingList) -> bool {
        let pending = list.pending.iter().any(|request| request.request_id == self.request_id);
        !pending
            && list.paired.iter().any(|device| {
                device.device_id == self.device_id
                    && self.role.split('+').all(|role| device.roles.iter().any(|it| it == role))
                    && self.scopes.iter().all(|scope| device.scopes.contains(scope))
            })
    }
}

/// What is to be approved by hand, and what is not.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Choice {
    chosen: Vec<Chosen>,
    pending: Vec<Waiting>,
}

/// Chooses what to approve by hand: the request named, whatever it asks for; or, without one,
/// every request that is within the ceiling.
pub async fn choose(
    site: &Site,
    pairing: &Pairing<'_>,
    request_id: Option<&str>,
) -> Result<Choice, Failure> {
    let list = list(pairing).await?;
    let name = &site.deployment.name;
    if let Some(id) = request_id
        && !list.pending.iter().any(|request| request.request_id == id)
    {
        return Err(Failure::not_found(format!("{name} has no pending request {id}")).remedy(
            "requests end after five minutes and get a new id when they change; see: \
                     openclaw-pipeline devices",
        ));
    }
    let mut choice = Choice::default();
    for request in &list.pending {
        let roles = request.distinct_roles();
        let asked = Asked {
            roles: &roles,
            scopes: &request.scopes,
            is_new_device: request.is_new_device(&list),
        };
        let refused = match request_id {
            Some(id) if request.request_id == id => None,
            Some(_) => Some("not the one that was named".to_owned()),
            None => approval::within_ceiling(asked)
                .err()
                .map(|reason| format!("{reason}; approve it by its id if it is yours")),
        };
        match refused {
            None => choice.chosen.push(Chosen::of(request)),
            Some(reason) => choice.pending.push(Waiting {
                request_id: request.request_id.clone(),
                device: describe(request),
                reason,
            }),
        }
    }
    Ok(choice)
}

/// Approves what was chosen. Running it again is safe: a device that an earlier run let in is
/// found in the record, or in the gateway's own list.
pub async fn by_hand(
    store: &Store,
    site: &Site,
    pairing: &Pairing<'_>,
    choice: Choice,
) -> Result<Approved, Failure> {
    let name = &site.deployment.name;
    let list = list(pairing).await?;
    let known = store.approvals(name, RECENT)?;
    let mut done = Approved { approved: Vec::new(), pending: choice.pending };
    for request in choice.chosen {
        let id = &request.request_id;
        let recorded = known.iter().any(|it| it.request_id == *id && it.decision == "approved");
        if recorded {
            done.approved.push(request.who);
            continue;
        }
        let outcome =
            if request.is_in(&list) { Ok(()) } else { pairing.approve(&request.request_id).await };
        let tell = |kind, message| {
            NewEvent::new(kind, message).with(json!({ "request_id": request.request_id }))
        };
        let who = &request.who;
        let triggered = tell(EventType::ApproveTriggered, format!("letting {who} in, by hand"));
        match outcome {
            Ok(()) => {
                let told = success(who, id);
                store.record_approval(
                    name,
                    &request.record("approved", "by hand"),
                    &[triggered, told],
                )?;
                done.approved.push(request.who);
            }
            Err(error) => {
                let why = crate::domain::text::clean(&error.to_string(), 200);
                let told = failed(who, id, &why);
                store.record_approval(name, &request.record("failed", &why), &[triggered, told])?;
                done.pending.push(Waiting {
                    request_id: request.request_id,
                    device: request.who,
                    reason: why,
                });
            }
        }
    }
    Ok(done)
}
