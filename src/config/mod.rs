//! Settings: every variable's name, where a value came from, and the rules for values.
//!
//! Owns the one table of variables and the one order of precedence: flag, environment, `.env` in
//! the working directory, configuration file, default. Refuses to be read behind its back: other
//! layers ask [`Settings`], never the process environment.
//!
//! The configuration file is `$XDG_CONFIG_HOME/openclaw-pipeline/config.env`, in the same format
//! as `.env`, so that there is one grammar to know.

pub mod example;
pub mod explain;
pub mod gateway_env;
pub mod image;
pub mod lookalike;
pub mod paths;
pub mod rules;
pub mod settings;
pub mod sources;
pub mod variables;

pub use explain::{Explained, explain};
pub use gateway_env::GatewayEnv;
pub use settings::{Settings, TlsFiles, Travelling};
pub use sources::{FileText, Origin, Sources, tool_variable};
pub use variables::{VARIABLES, Variable};
