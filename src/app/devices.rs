//! The browsers and other devices of a gateway.
//!
//! Owns the look at them, and turning one away by hand. Every decision is recorded, as those of
//! the policy are. Refuses to wait for a gateway that is not meant to run.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::App;
use crate::domain::{DeploymentName, EventType, Failure};
use crate::gateway::{PairedDevice, Pairing, PairingError, PairingList};
use crate::operations::approval;
use crate::secrets::Redactor;
use crate::store::{ApprovalRecord, NewEvent};
use crate::targets::{Observed, Site};

/// How long connecting to a gateway that should be up may take.
const CONNECT: Duration = Duration::from_secs(15);
/// The longest text of a device's that is shown, in characters.
const TEXT_CHARS: usize = 300;
/// The longest id of a request that somebody names; a gateway's own are shorter.
const REQUEST_ID_MAX: usize = 200;
/// The reason of what a person decided.
const BY_HAND: &str = "by hand";

/// Who waits to be let in, and who is in. Everything that a device says of itself is bounded and
/// clean, and holds no secret of the deployment.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Devices {
    /// Requests that wait, oldest first.
    pub pending: Vec<Waiting>,
    /// Devices that are in.
    pub paired: Vec<Device>,
    /// How many requests are left out because an id, a role or a scope of theirs is not plain.
    pub unreadable_pending: usize,
}

/// A device that waits to be let in.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = PendingDevice)]
pub struct Waiting {
    /// Names the request.
    pub request_id: String,
    /// The device.
    pub device_id: String,
    /// Where it connected from.
    #[schema(required)]
    pub address: Option<String>,
    /// What it says that it runs on.
    #[schema(required)]
    pub platform: Option<String>,
    /// What it calls itself.
    #[schema(required)]
    pub display_name: Option<String>,
    /// The roles that it asks for.
    pub roles: Vec<String>,
    /// The scopes that it asks for.
    pub scopes: Vec<String>,
    /// Whether the gateway has never let it in.
    pub is_new: bool,
    /// When it asked, RFC 3339 UTC, by the gateway's clock.
    #[schema(required)]
    pub requested_at: Option<String>,
}

/// A device that is in.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Device {
    /// The device.
    pub device_id: String,
    /// Where it connected from last.
    #[schema(required)]
    pub address: Option<String>,
    /// What it says that it runs on.
    #[schema(required)]
    pub platform: Option<String>,
    /// What it calls itself.
    #[schema(required)]
    pub display_name: Option<String>,
    /// Its roles.
    pub roles: Vec<String>,
    /// Its scopes.
    pub scopes: Vec<String>,
    /// How it was let in.
    #[schema(required)]
    pub approved_via: Option<String>,
    /// When, RFC 3339 UTC, by the gateway's clock.
    #[schema(required)]
    pub paired_at: Option<String>,
    /// Whether it is connected now.
    pub connected: bool,
}

impl Devices {
    fn of(list: &PairingList, hide: &Redactor) -> Self {
        let plain = |text: &str| hide.redact_line(text, TEXT_CHARS);
        let maybe = |text: &Option<String>| text.as_deref().map(plain);
        let each = |texts: &[String]| texts.iter().map(|text| plain(text)).collect();
        let pending = list.pending.iter().map(|it| Waiting {
            request_id: plain(&it.request_id),
            device_id: plain(&it.device_id),
            address: maybe(&it.remote_ip),
            platform: maybe(&it.platform),
            display_name: maybe(&it.display_name),
            roles: each(&it.distinct_roles()),
            scopes: each(&it.scopes),
            is_new: it.is_new_device(list),
            requested_at: moment(it.ts),
        });
        let paired = list.paired.iter().map(|it| Device {
            device_id: plain(&it.device_id),
            address: maybe(&it.remote_ip),
            platform: maybe(&it.platform),
            display_name: maybe(&it.display_name),
            roles: each(&it.roles),
            scopes: each(&it.scopes),
            approved_via: maybe(&it.approved_via),
            paired_at: it.approved_at_ms.and_then(moment),
            connected: it.connected,
        });
        Self {
            pending: pending.collect(),
            paired: paired.collect(),
            unreadable_pending: list.unreadable_pending,
        }
    }
}

/// Milliseconds since 1970 as RFC 3339 UTC.
fn moment(ms: u64) -> Option<String> {
    let seconds = i64::try_from(ms / 1000).ok()?;
    let at = time::OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    at.format(&time::format_description::well_known::Rfc3339).ok()
}

/// Refuses what can be no request's id, before anything is begun with it.
pub fn check_request_id(given: &str) -> Result<(), Failure> {
    let fits = (1..=REQUEST_ID_MAX).contains(&given.len());
    if fits && given.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Failure::bad_input(format!(
        "a request's id is 1 to {REQUEST_ID_MAX} printable ASCII characters without blanks"
    )))
}

impl App {
    /// Who waits and who is in, as it may be shown.
    pub async fn devices(&self, name: &DeploymentName) -> Result<Devices, Failure> {
        self.pairing(name, async |site, pairing| {
            let list = listed(site, pairing).await?;
            Ok(Devices::of(&list, &Redactor::new(site.secrets.all())))
        })
        .await
    }

    /// Puts the device with this id out, with its tokens.
    pub async fn remove_device(&self, name: &DeploymentName, device: &str) -> Result<(), Failure> {
        self.pairing(name, async |site, pairing| {
            let list = listed(site, pairing).await?;
            let found = list.paired.iter().find(|paired| paired.device_id == device);
            let found = found.ok_or_else(|| unknown(name, "device"))?;
            self.put_out(site, pairing, found).await
        })
        .await
    }

    /// Puts out the one device whose id begins so: who types it need not type all of it.
    pub async fn remove_device_beginning(
        &self,
        name: &DeploymentName,
        beginning: &str,
    ) -> Result<(), Failure> {
        self.pairing(name, async |site, pairing| {
            let list = listed(site, pairing).await?;
            let begins = |paired: &&PairedDevice| {
                !beginning.is_empty() && paired.device_id.starts_with(beginning)
            };
            let mut matching = list.paired.iter().filter(begins);
            let found = match (matching.next(), matching.next()) {
                (Some(found), None) => found,
                (Some(_), Some(_)) => {
                    let what = format!("more than one device begins with {beginning}");
                    return Err(Failure::bad_input(what).remedy("give more of its id"));
                }
                (None, _) => return Err(unknown(name, "device")),
            };
            self.put_out(site, pairing, found).await
        })
        .await
    }

    async fn put_out(
        &self,
        site: &Site,
        pairing: &Pairing<'_>,
        device: &PairedDevice,
    ) -> Result<(), Failure> {
        let removed = pairing.remove(&device.device_id).await;
        removed.map_err(|error| refused(site, "device", &error))?;
        // No event tells of a device that is put out; the record does.
        Ok(self.store().record_approval(&site.deployment.name, &removal(site, device), &[])?)
    }

    /// Turns a waiting browser away.
    pub async fn reject(&self, name: &DeploymentName, request: &str) -> Result<(), Failure> {
        check_request_id(request)?;
        self.pairing(name, async |site, pairing| {
            // What it asked for is gone with the request.
            let list = listed(site, pairing).await?;
            let asked = list.pending.iter().find(|pending| pending.request_id == request);
            let asked = asked.ok_or_else(|| unknown(name, "request"))?;
            let rejected = pairing.reject(request).await;
            rejected.map_err(|error| refused(site, "request", &error))?;
            let hide = Redactor::new(site.secrets.all());
            let record = approval::record(&hide, asked, "rejected", BY_HAND);
            let who = site.scrub(&approval::describe(asked), 300);
            let message = format!("{who} was turned away, {BY_HAND}");
            let told = NewEvent::new(EventType::ApproveFailed, message)
                .with(json!({ "request_id": record.request_id }));
            Ok(self.store().record_approval(name, &record, &[told])?)
        })
        .await
    }

    /// Refuses, at once, to ask a gateway that is stopped or gone.
    pub async fn refuse_asleep(&self, name: &DeploymentName) -> Result<Site, Failure> {
        let site = self.site(name)?;
        match self.target(&site).observe(&site).await? {
            Observed::Stopped | Observed::Absent => {
                Err(Failure::conflict(format!("{name} is stopped"))
                    .remedy(format!("openclaw-pipeline start {name}")))
            }
            _ => Ok(site),
        }
    }

    /// Does something with a connection that may see and decide who is let in. It is gone when
    /// this returns: how many there are at once is bounded.
    async fn pairing<T>(
        &self,
        name: &DeploymentName,
        work: impl AsyncFnOnce(&Site, &Pairing<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let site = self.refuse_asleep(name).await?;
        let dial = self.target(&site).loopback(&site)?;
        let client = approval::connect(&*dial, &site, CONNECT).await?;
        let done = work(&site, &Pairing(&client)).await;
        client.close().await;
        done
    }
}

async fn listed(site: &Site, pairing: &Pairing<'_>) -> Result<PairingList, Failure> {
    pairing.list().await.map_err(|error| refused(site, "list", &error))
}

fn removal(site: &Site, device: &PairedDevice) -> ApprovalRecord {
    let plain = |text: &str| site.scrub(text, 200);
    ApprovalRecord {
        request_id: String::new(),
        device_id: plain(&device.device_id),
        address: plain(device.remote_ip.as_deref().unwrap_or_default()),
        role: plain(&device.roles.join("+")),
        scopes: device.scopes.iter().map(|scope| plain(scope)).collect(),
        decision: "removed".into(),
        reason: BY_HAND.into(),
        decided_at: String::new(),
    }
}

fn unknown(name: &DeploymentName, what: &str) -> Failure {
    Failure::not_found(format!("{name} has no such {what}"))
        .remedy(format!("openclaw-pipeline devices {name} lists them"))
}

fn refused(site: &Site, what: &str, error: &PairingError) -> Failure {
    match error {
        PairingError::Unknown => unknown(&site.deployment.name, what),
        other => Failure::failed(site.scrub(&other.to_string(), 300)),
    }
}
