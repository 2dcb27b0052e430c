//! A deployment's secrets, sealed in the store.
//!
//! Owns their names there and what binds each to its place. While an operation brings new ones, they
//! wait beside those in force, and those that were in force are kept until the new ones are proven.

use crate::domain::Failure;
use crate::secrets::SealingKey;
use crate::store::Store;
use crate::targets::GatewaySecrets;

/// Which secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Those in force.
    Current,
    /// Those that an operation is about to put in force.
    Next,
    /// Those that were in force before new ones that are not proven yet.
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

    /// Puts those in force that wait, keeps those that were, and answers the new ones; `None` where
    /// none wait. They wait until the caller forgets them, once all that belongs to it is done.
    pub fn take_over(
        &self,
        store: &Store,
        deployment_id: &str,
    ) -> Result<Option<GatewaySecrets>, Failure> {
        let Some(next) = self.peek(store, deployment_id, Slot::Next)? else { return Ok(None) };
        // Some that are there are this operation's own, of an earlier run: what ends one otherwise
        // forgets them.
        if self.peek(store, deployment_id, Slot::Previous)?.is_none() {
            let current = self.open(store, deployment_id)?;
            self.keep(store, deployment_id, Slot::Previous, &current)?;
        }
        self.keep(store, deployment_id, Slot::Current, &next)?;
        Ok(Some(next))
    }

    /// Puts those in force again that were before, and forgets the new ones.
    pub fn go_back(&self, store: &Store, deployment_id: &str) -> Result<(), Failure> {
        if let Some(previous) = self.peek(store, deployment_id, Slot::Previous)? {
            self.keep(store, deployment_id, Slot::Current, &previous)?;
            self.forget(store, deployment_id, Slot::Previous)?;
        }
        self.forget(store, deployment_id, Slot::Next)
    }

    /// Forgets the secrets of a slot.
    pub fn forget(&self, store: &Store, deployment_id: &str, slot: Slot) -> Result<(), Failure> {
        Ok(store.delete_sealed(deployment_id, slot.name())?)
    }
}

fn context(deployment_id: &str, slot: Slot) -> Vec<u8> {
    format!("deployment/{deployment_id}/{}", slot.name()).into_bytes()
}
