//! A deployment's secrets, sealed in the store.
//!
//! Owns their names there and what binds each to its place. While a rotation is under way, the
//! new ones wait beside those in force until they are proven.

use crate::domain::Failure;
use crate::secrets::SealingKey;
use crate::store::Store;
use crate::targets::GatewaySecrets;

/// Which secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Those in force.
    Current,
    /// Those that a rotation is about to put in force.
    Next,
    /// Those that were in force before a rotation that is not proven yet.
    Previous,
}

impl Slot {
    /// The slot's name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Current => "secrets",
            Self::Next => "secrets.next",
            Self::Previous => "secrets.previous",
        }
    }
}

/// The sealing key, and what is done with it.
#[derive(Debug)]
pub struct Vault {
    key: SealingKey,
}

impl Vault {
    /// A vault with a key.
    pub fn new(key: SealingKey) -> Self {
        Self { key }
    }

    /// The key, for sealing files.
    pub fn key(&self) -> &SealingKey {
        &self.key
    }

    /// Seals secrets for a place in the store.
    pub fn seal(
        &self,
        deployment_id: &str,
        slot: Slot,
        secrets: &GatewaySecrets,
    ) -> Result<Vec<u8>, Failure> {
        Ok(self.key.seal(&context(deployment_id, slot), &secrets.to_bytes()?))
    }

    /// Seals secrets and keeps them.
    pub fn keep(
        &self,
        store: &Store,
        deployment_id: &str,
        slot: Slot,
        secrets: &GatewaySecrets,
    ) -> Result<(), Failure> {
        let sealed = self.seal(deployment_id, slot, secrets)?;
        Ok(store.put_sealed(deployment_id, slot.name(), &sealed)?)
    }

    /// The secrets in force.
    pub fn open(&self, store: &Store, deployment_id: &str) -> Result<GatewaySecrets, Failure> {
        self.peek(store, deployment_id, Slot::Current)?.ok_or_else(|| {
            Failure::failed("the deployment's secrets are not in the store")
                .remedy("destroy the deployment and launch it again")
        })
    }

    /// The secrets of a slot, if there are any.
    pub fn peek(
        &self,
        store: &Store,
        deployment_id: &str,
        slot: Slot,
    ) -> Result<Option<GatewaySecrets>, Failure> {
        let Some(sealed) = store.sealed(deployment_id, slot.name())? else { return Ok(None) };
        let plain = self.key.open(&context(deployment_id, slot), &sealed)?;
        GatewaySecrets::from_bytes(&plain).map(Some)
    }

    /// Forgets the secrets of a slot.
    pub fn forget(&self, store: &Store, deployment_id: &str, slot: Slot) -> Result<(), Failure> {
        Ok(store.delete_sealed(deployment_id, slot.name())?)
    }
}

fn context(deployment_id: &str, slot: Slot) -> Vec<u8> {
    format!("deployment/{deployment_id}/{}", slot.name()).into_bytes()
}
