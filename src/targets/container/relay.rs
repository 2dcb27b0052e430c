//! Reaching the gateway on its container's own loopback.
//!
//! Through the published port the gateway takes every scope away from a client of the program's
//! kind; on its own loopback it does not. A few lines of Node.js inside the container copy bytes.

use std::io;

use async_trait::async_trait;

use super::{CONTAINER_PORT, engine};
use crate::exec::Place;
use crate::gateway::{Dial, Duplex};

/// A dial that goes through `docker exec`.
#[derive(Debug)]
pub(super) struct ContainerDial {
    place: Place,
    container: String,
}

impl ContainerDial {
    pub(super) fn new(place: Place, container: String) -> Self {
        Self { place, container }
    }
}

#[async_trait]
impl Dial for ContainerDial {
    async fn dial(&self) -> io::Result<Box<dyn Duplex>> {
        let script = format!(
            "const s = require('net').connect({CONTAINER_PORT}, '127.0.0.1');\
             s.on('error', () => process.exit(1));\
             s.on('close', () => process.exit(0));\
             process.stdin.pipe(s); s.pipe(process.stdout);"
        );
        let relay = engine::docker(&self.place)
            .args(["container", "exec", "-i", &self.container, "node", "-e", &script])
            .relay()
            .map_err(io::Error::other)?;
        Ok(Box::new(relay))
    }
}
