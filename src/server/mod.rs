//! The HTTP API and the web console.
//!
//! Owns what a request is, who may make it, and how it is answered. Refuses to decide anything
//! about a deployment: the verbs stand in [`crate::app`].
