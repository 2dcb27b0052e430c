//! AWS without its SDKs: the few calls that this program makes itself.
//!
//! Owns who is calling, what the account may do and has left, what a size is, the state of one
//! machine, what in the account is an installation's, and its removal. What makes machines is
//! Terraform, and this driver finds the same credentials, regions and endpoints as its AWS provider
//! does. Refuses to show a secret, to remove what is not marked, and to read the environment.
//!
//! Each subject has a file: what is asked and how the answer is read are functions without I/O, and
//! `client` sends them. `aws-config` and `aws-sigv4` would do the credentials and the signing, for
//! 31 crates more and minutes of everybody's first build; `credentials` and `sign` say what is
//! done instead. The clients for the services themselves (`aws-sdk-ec2` and the like) take several
//! times that.

pub mod address;
mod client;
mod clusters;
mod credentials;
pub mod environment;
pub mod error;
#[cfg(test)]
mod fake;
mod http;
pub mod identity;
mod keys;
pub mod machines;
mod metadata;
mod near;
pub mod permissions;
pub mod prices;
mod profile;
pub mod quotas;
pub mod regions;
mod roles;
mod service;
mod sign;
pub mod simulated;
pub mod sizes;
pub mod sweep;
mod xml;

pub use client::Aws;
pub use environment::{Environment, VARIABLES};
pub use error::{ApiError, CallError, Missing, Problem};
pub use keys::Origin;
pub use service::Service;
