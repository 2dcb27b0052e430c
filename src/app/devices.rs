//! The browsers and other devices of a gateway.
//!
//! Owns the look at them, and turning one away by hand. Every decision is recorded, as those of
//! the policy are. Refuses to wait for a gateway that is not meant to run.

use std::time::Duration;

use serde_json::json;

use super::App;
use crate::domain::{DeploymentName, EventType, Failure};
use crate::gateway::{GatewayClient, PairedDevice, Pairing, PairingError, PairingList};
use crate::operations::approval;
use crate::secrets::Redactor;
use crate::store::{ApprovalRecord, NewEvent};
use crate::targets::{Observed, Site};

/// How long connecting to a gateway that should be up may take.
const CONNECT: Duration = Duration::from_secs(15);
/// The reason of what a person decided.
const BY_HAND: &str = "by hand";

impl App {
    /// Who waits and who is in.
    pub async fn devices(&self, name: &DeploymentName) -> Result<PairingList, Failure> {
        let (site, client) = self.pairing(name).await?;
        listed(&site, &Pairing(&client)).await
    }

    /// Puts a device out, with its tokens.
    pub async fn remove_device(&self, name: &DeploymentName, device: &str) -> Result<(), Failure> {
        let (site, client) = self.pairing(name).await?;
        let pairing = Pairing(&client);
        let list = listed(&site, &pairing).await?;
        let mut matching = list
            .paired
            .iter()
            .filter(|paired| !device.is_empty() && paired.device_id.starts_with(device));
        let found = match (matching.next(), matching.next()) {
            (Some(found), None) => found,
            (Some(_), Some(_)) => {
                return Err(Failure::bad_input(format!(
                    "more than one device begins with {device}"
                ))
                .remedy("give more of its id"));
            }
            (None, _) => return Err(unknown(name, "device")),
        };
        let removed = pairing.remove(&found.device_id).await;
        removed.map_err(|error| refused(&site, "device", &error))?;
        // No event tells of a device that is put out; the record does.
        Ok(self.store().record_approval(name, &removal(&site, found), &[])?)
    }

    /// Turns a waiting browser away.
    pub async fn reject(&self, name: &DeploymentName, request: &str) -> Result<(), Failure> {
        let (site, client) = self.pairing(name).await?;
        let pairing = Pairing(&client);
        // What it asked for is gone with the request.
        let list = listed(&site, &pairing).await?;
        let asked = list.pending.iter().find(|pending| pending.request_id == request);
        let asked = asked.ok_or_else(|| unknown(name, "request"))?;
        let rejected = pairing.reject(request).await;
        rejected.map_err(|error| refused(&site, "request", &error))?;
        let record =
            approval::record(&Redactor::new(site.secrets.all()), asked, "rejected", BY_HAND);
        let who = site.scrub(&approval::describe(asked), 300);
        let told =
            NewEvent::new(EventType::ApproveFailed, format!("{who} was turned away, {BY_HAND}"))
                .with(json!({ "request_id": record.request_id }));
        Ok(self.store().record_approval(name, &record, &[told])?)
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

    /// A connection that may see and decide who is let in.
    async fn pairing(&self, name: &DeploymentName) -> Result<(Site, GatewayClient), Failure> {
        let site = self.refuse_asleep(name).await?;
        let dial = self.target(&site).loopback(&site)?;
        let client = approval::connect(&*dial, &site, CONNECT).await?;
        Ok((site, client))
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
