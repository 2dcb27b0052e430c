//! The `OpenClaw` gateway from outside: probes, its WebSocket protocol, pairing, and the proof.
//!
//! Owns every byte exchanged with a gateway. Refuses to start processes, open tunnels or touch
//! stores: it is handed a [`dial::Dial`] and talks over that. Whatever a gateway or a device says
//! is untrusted; text from them passes [`text::clean_text`] before it leaves this module.

pub mod cause;
pub mod client;
pub mod connect;
pub mod devices;
pub mod dial;
mod events;
pub mod models;
pub mod pairing;
pub mod probe;
pub mod protocol;
pub mod prove;
pub mod refusal;
pub mod rpc;
pub mod text;
mod wait;

#[cfg(test)]
mod fake;

pub use client::GatewayClient;
pub use connect::{ConnectOptions, connect_retrying};
pub use devices::{PairedDevice, PairingList, PendingRequest, Standing};
pub use dial::{Dial, Duplex, TcpDial};
pub use events::Next;
pub use pairing::{Pairing, PairingError, PairingEvent};
pub use protocol::{Event, Hello};
pub use refusal::ConnectError;
pub use rpc::{Refusal, RpcError};
pub use text::clean_text;
