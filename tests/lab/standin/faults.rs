//! The faults that a test asks for, and what earlier starts left of them.
//!
//! Owns `standin.json` (in the state directory, else beside `openclaw.mjs`), the count of starts
//! that a fault has already spoiled, the doctor's mark, and the state schema's stamp. Refuses a
//! fault file that it cannot read: a test whose fault is silently absent proves nothing.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;

use crate::files::{self, log};
use crate::install::Install;

/// What `standin.json` may say. Everything is optional; unknown keys are an error.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    /// The gateway exits with this code…
    pub exit_code: Option<u8>,
    /// …this long after its start (at once, before it listens, when absent or 0)…
    #[serde(default)]
    pub exit_after_ms: u64,
    /// …at its first so many starts (at every one when absent)…
    pub times: Option<u64>,
    /// …until `doctor --fix` has run.
    #[serde(default)]
    pub until_doctor: bool,
    /// `doctor --fix` fails with this code and repairs nothing.
    pub doctor_exit_code: Option<u8>,
    /// `doctor --fix` takes this long.
    #[serde(default)]
    pub doctor_delay_ms: u64,
    /// The port opens only after this long.
    #[serde(default)]
    pub listen_delay_ms: u64,
    /// The port opens only once this file is there.
    pub listen_after: Option<PathBuf>,
    /// `/startupz` says `starting` for this long after the port is open.
    #[serde(default)]
    pub start_delay_ms: u64,
    /// `/startupz` says `starting` for ever.
    #[serde(default)]
    pub never_started: bool,
    /// What `/readyz` lists as failing once started.
    #[serde(default)]
    pub readyz_failing: Vec<String>,
    /// Turns that run: `gateway.restart.preflight` calls it unsafe and a drain waits for them.
    #[serde(default)]
    pub active_runs: u64,
    /// How long a drain takes after SIGTERM.
    #[serde(default)]
    pub drain_ms: u64,
    /// SIGTERM does nothing: only SIGKILL ends this gateway.
    #[serde(default)]
    pub ignore_sigterm: bool,
    /// It takes this much memory once it has started, and needs all of it.
    #[serde(default)]
    pub needs_mib: usize,
    /// It starts a tool in a session of its own, and another one that is nobody's child at once.
    #[serde(default)]
    pub detached_tools: bool,
    /// No model is available, whatever keys the environment has.
    #[serde(default)]
    pub models_unavailable: bool,
    /// `dashboard` issues no one-time owner links, as before 2026.8.
    #[serde(default)]
    pub no_owner_links: bool,
    /// What it prints at each start, as it is.
    #[serde(default)]
    pub says: Vec<String>,
    /// `backup create` fails with this code.
    pub backup_exit_code: Option<u8>,
    /// `backup create` begins only after this long.
    #[serde(default)]
    pub backup_delay_ms: u64,
    /// A schema that the state directory is stamped with, if it is newer than its own stamp.
    pub schema: Option<u64>,
}

/// The faults, and the file that they came from.
pub struct Loaded {
    /// What is asked for.
    pub faults: Faults,
    /// Names this fault file's content, so that a new one starts counting anew.
    identity: String,
    memory: PathBuf,
}

impl Loaded {
    /// Reads the state directory's fault file, or the package's.
    pub fn read(install: &Install) -> Result<Self, String> {
        let memory = install.state_dir.join("state/standin-faults.json");
        for directory in [&install.state_dir, &install.package_dir] {
            let path = directory.join("standin.json");
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            let faults = json5::from_str(&text)
                .map_err(|error| format!("standin-gateway: {}: {error}", path.display()))?;
            return Ok(Self { faults, identity: files::sha256_hex(text.as_bytes()), memory });
        }
        Ok(Self { faults: Faults::default(), identity: String::new(), memory })
    }

    /// The exit code that this start must end with, if any; counts the start.
    pub fn exit_of_this_start(&self) -> Option<u8> {
        let code = self.faults.exit_code?;
        let mut memory = files::read_json(&self.memory)
            .filter(|memory| memory["identity"] == self.identity.as_str())
            .unwrap_or_else(|| json!({"identity": self.identity, "starts": 0, "doctored": false}));
        if self.faults.until_doctor && memory["doctored"] == true {
            return None;
        }
        let starts = memory["starts"].as_u64().unwrap_or(0);
        if self.faults.times.is_some_and(|times| starts >= times) {
            return None;
        }
        memory["starts"] = json!(starts + 1);
        let _ = files::write_json(&self.memory, &memory);
        Some(code)
    }

    /// Remembers that the doctor has been here.
    pub fn mark_doctored(&self) {
        let memory = json!({"identity": self.identity, "starts": 0, "doctored": true});
        let _ = files::write_json(&self.memory, &memory);
    }
}

/// The state schema's stamp: absent in a new state directory.
pub fn schema_stamp(install: &Install, faults: &Faults) -> Option<u64> {
    let stamped = files::read_json(&stamp_path(install)).and_then(|stamp| stamp["schema"].as_u64());
    stamped.max(faults.schema)
}

/// The path that messages about the schema name.
pub fn database_path(install: &Install) -> PathBuf {
    install.state_dir.join("state/openclaw.sqlite")
}

/// Brings the state to this build's schema as the real start-up does, keeping a `.bak` copy.
pub fn migrate(install: &Install, faults: &Faults) -> std::io::Result<()> {
    let stamp = schema_stamp(install, faults);
    if stamp == Some(install.schema) {
        return Ok(());
    }
    let path = stamp_path(install);
    if let Some(old) = stamp {
        log(&format!("[state] migrating state schema {old} -> {}", install.schema));
        let backup = format!("openclaw.sqlite.pre-startup-migration-{old}.bak");
        std::fs::create_dir_all(install.state_dir.join("state"))?;
        std::fs::write(path.with_file_name(backup), format!("{{\"schema\":{old}}}\n"))?;
    }
    files::write_json(&path, &json!({"schema": install.schema, "version": install.version}))
}

fn stamp_path(install: &Install) -> PathBuf {
    install.state_dir.join("state/standin-schema.json")
}
