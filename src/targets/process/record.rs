//! What the keeper of a gateway last knew of it, on disk.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::domain::Failure;
use crate::exec::ProcessId;
use crate::secrets::write_private;

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// What the gateway does.
    pub state: RunState,
    /// How often it was started again since the keeper began.
    pub restarts: u32,
}

/// What a gateway does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RunState {
    /// It runs.
    Running {
        /// The process.
        gateway: ProcessId,
    },
    /// It ended, and is started again after a pause.
    BackingOff {
        /// Its exit code.
        code: Option<i32>,
        /// Its own words.
        cause: String,
    },
    /// It exited with 78, and its own doctor is at work on its state.
    Mending {
        /// Its own words.
        cause: String,
    },
    /// It ended too often, and is left alone.
    GaveUp {
        /// Its last exit code.
        code: Option<i32>,
        /// Its own words.
        cause: String,
    },
    /// It exited with 78 again after it was mended, and is left alone.
    Held {
        /// Its own words.
        cause: String,
    },
    /// It was stopped.
    Stopped,
}

const FILE: &str = "run.json";

impl RunRecord {
    /// The record in a deployment's directory.
    pub fn read(dir: &Path) -> Result<Option<Self>, Failure> {
        match fs::read(dir.join(FILE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the record, whole or not at all.
    pub fn write(&self, dir: &Path) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(self)
            .map_err(|error| Failure::failed(format!("the run record: {error}")))?;
        write_private(&dir.join(FILE), &bytes)?;
        Ok(())
    }
}
