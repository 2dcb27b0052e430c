//! Tools, not products: what stands between this program and something that it drives.
//!
//! Each driver owns one tool and splits into three: pure building of what is asked, pure reading of
//! what is answered, and running. Refuses to know a deployment, an operation or the store: a
//! driver does what it is told, once, and says what came of it.

pub mod aws;
pub mod kubernetes;
pub mod ssh;
pub mod terraform;
