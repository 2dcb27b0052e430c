//! Letting browsers in: the connection to a gateway's pairing, the window, the hand, and the
//! record of each decision.
//!
//! The watch that a keeper (and later the server) holds while a window is open stands in `watch`.
//! Refuses to approve what it did not read itself, under the exact id that it read it under, and
//! to record a word of the gateway's that could hold a secret of the deployment.

mod watch;

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::domain::approval::{self, ApprovalMode, Asked, WindowState};
use crate::domain::{Deployment, EventType, Failure};
use crate::exec::{boot_id, boottime};
use crate::gateway::pairing::{EVENTS, SCOPES};
use crate::gateway::{
    ConnectOptions, Dial, GatewayClient, Pairing, PairingList, PendingRequest, connect_retrying,
};
use crate::secrets::Redactor;
use crate::store::{ApprovalRecord, NewEvent, Store};
use crate::targets::Site;

pub use watch::watch;

/// How long connecting to a gateway that runs may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(60);
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

/// Reads the list.
pub async fn list(pairing: &Pairing<'_>) -> Result<PairingList, Failure> {
    pairing.list().await.map_err(|error| Failure::failed(error.to_string()))
}

fn success(who: &str, request_id: &str) -> NewEvent {
    NewEvent::new(EventType::ApproveSuccess, format!("{who} is in"))
        .with(json!({ "request_id": request_id }))
}

fn failed(who: &str, request_id: &str, why: &str) -> NewEvent {
    NewEvent::new(EventType::ApproveFailed, format!("{who} could not be let in: {why}"))
        .with(json!({ "request_id": request_id }))
}

/// What a request says, without a secret of the deployment: a gateway may put one anywhere, an id
/// or a scope included.
pub fn record(
    hide: &Redactor,
    request: &PendingRequest,
    decision: &str,
    reason: &str,
) -> ApprovalRecord {
    let plain = |text: &str| hide.redact_line(text, MAX_CHARS);
    ApprovalRecord {
        request_id: plain(&request.request_id),
        device_id: plain(&request.device_id),
        address: plain(request.remote_ip.as_deref().unwrap_or_default()),
        role: plain(&request.distinct_roles().join("+")),
        scopes: request.scopes.iter().map(|scope| plain(scope)).collect(),
        decision: decision.into(),
        reason: plain(reason),
        decided_at: String::new(),
    }
}

/// The longest text of a gateway's that is recorded, in characters; its ids are no longer.
const MAX_CHARS: usize = 300;

/// Whether the device of a record is in with what it asked for, and the request is settled.
fn is_in(record: &ApprovalRecord, list: &PairingList) -> bool {
    let pending = list.pending.iter().any(|request| request.request_id == record.request_id);
    !pending
        && list.paired.iter().any(|device| {
            device.device_id == record.device_id
                && record.role.split('+').all(|role| device.roles.iter().any(|it| it == role))
                && record.scopes.iter().all(|scope| device.scopes.contains(scope))
        })
}

/// A device in words. Everything in it is what the device says of itself, bounded and clean.
pub fn describe(request: &PendingRequest) -> String {
    let device = request.device_id.get(..8).unwrap_or(&request.device_id);
    let platform = request.platform.as_deref().map(|it| format!(" on {it}")).unwrap_or_default();
    let from = request.remote_ip.as_deref().unwrap_or("an unknown address");
    format!("device {device}{platform} from {from}")
}

/// Requests whose ids, roles or scopes are not plain, in words.
fn unreadable(count: usize) -> String {
    format!("{count} that cannot be read: an id, a role or a scope is not plain")
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
    fn of(hide: &Redactor, request: &PendingRequest) -> Self {
        let who = hide.redact_line(&describe(request), MAX_CHARS);
        let ApprovalRecord { device_id, address, role, scopes, .. } = record(hide, request, "", "");
        // The gateway has to be asked under the exact id.
        Self { request_id: request.request_id.clone(), device_id, address, role, scopes, who }
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
        // The event of it goes to every front end: what somebody wrote for an id does not.
        return Err(Failure::not_found(format!("{name} has no pending request of this id"))
            .remedy(
                "requests end after five minutes and get a new id when they change; see: \
                     openclaw-pipeline devices",
            ));
    }
    let hide = Redactor::new(site.secrets.all());
    let mut choice = Choice::default();
    if list.unreadable_pending > 0 {
        choice.pending.push(Waiting {
            request_id: String::new(),
            device: unreadable(list.unreadable_pending),
            reason: format!("look at them with: openclaw-pipeline openclaw {name} -- devices list"),
        });
    }
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
            None => choice.chosen.push(Chosen::of(&hide, request)),
            Some(reason) => choice.pending.push(Waiting {
                request_id: hide.redact_line(&request.request_id, MAX_CHARS),
                device: hide.redact_line(&describe(request), MAX_CHARS),
                reason: hide.redact_line(&reason, MAX_CHARS),
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
        let settled = is_in(&request.record("", ""), &list);
        let outcome = if settled { Ok(()) } else { pairing.approve(id).await };
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
                let why = site.scrub(&error.to_string(), 200);
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
