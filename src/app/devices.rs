//! The browsers and other devices of a gateway.

use std::time::Duration;

use super::App;
use crate::domain::{DeploymentName, Failure};
use crate::gateway::{Pairing, PairingError, PairingList};
use crate::operations::approval;

/// How long connecting to a gateway that should be up may take.
const CONNECT: Duration = Duration::from_secs(15);

impl App {
    /// Who waits and who is in.
    pub async fn devices(&self, name: &DeploymentName) -> Result<PairingList, Failure> {
        let site = self.site(name)?;
        let dial = self.target(&site).loopback(&site)?;
        let client = approval::connect(&*dial, &site, CONNECT).await?;
        approval::list(&Pairing(&client)).await
    }

    /// Puts a device out, with its tokens.
    pub async fn remove_device(&self, name: &DeploymentName, device: &str) -> Result<(), Failure> {
        let site = self.site(name)?;
        let dial = self.target(&site).loopback(&site)?;
        let client = approval::connect(&*dial, &site, CONNECT).await?;
        let pairing = Pairing(&client);
        let list = approval::list(&pairing).await?;
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
        pairing.remove(&found.device_id).await.map_err(|error| refused(name, "device", &error))
    }

    /// Turns a waiting browser away.
    pub async fn reject(&self, name: &DeploymentName, request: &str) -> Result<(), Failure> {
        let site = self.site(name)?;
        let dial = self.target(&site).loopback(&site)?;
        let client = approval::connect(&*dial, &site, CONNECT).await?;
        let pairing = Pairing(&client);
        pairing.reject(request).await.map_err(|error| refused(name, "request", &error))
    }
}

fn unknown(name: &DeploymentName, what: &str) -> Failure {
    Failure::not_found(format!("{name} has no such {what}"))
        .remedy(format!("openclaw-pipeline devices {name} lists them"))
}

fn refused(name: &DeploymentName, what: &str, error: &PairingError) -> Failure {
    match error {
        PairingError::Unknown => unknown(name, what),
        other => Failure::failed(crate::domain::text::clean(&other.to_string(), 300)),
    }
}
