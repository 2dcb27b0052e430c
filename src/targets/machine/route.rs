//! The way to a gateway that is published on its machine's loopback alone: SSH.

use std::io;

use async_trait::async_trait;

use crate::drivers::ssh::Machine;
use crate::gateway::{Dial, Duplex};

/// A dial through SSH, as a tunnel's user has it.
#[derive(Debug)]
pub(super) struct Forwarded {
    machine: Machine,
    port: u16,
}

impl Forwarded {
    pub(super) fn new(machine: Machine, port: u16) -> Self {
        Self { machine, port }
    }
}

#[async_trait]
impl Dial for Forwarded {
    async fn dial(&self) -> io::Result<Box<dyn Duplex>> {
        let relay = self.machine.dial(self.port).relay().map_err(io::Error::other)?;
        Ok(Box::new(relay))
    }
}
