//! What is sent to the pipeline server's own machine.

/// What is done there, verb by verb.
pub const THERE: &str = include_str!("../../assets/server/there.sh");
/// The server's unit.
pub const UNIT: &str = include_str!("../../packaging/openclaw-pipeline.service");
/// The user that it runs as.
pub const SYSUSERS: &str = include_str!("../../packaging/openclaw-pipeline.sysusers");
