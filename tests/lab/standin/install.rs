//! What one invocation stands on: the package beside the script, and the environment.
//!
//! Owns the reading of `package.json`, of the `OPENCLAW_*` variables and of the configuration
//! file. Refuses a script that is not `openclaw.mjs`, as Node would refuse one that is not there.

use std::path::{Path, PathBuf};

use serde_json::Value;

#[derive(Clone, Debug)]
/// The installation and the state directory that one invocation works with.
pub struct Install {
    /// The directory of `openclaw.mjs`, where the package and its faults stand.
    pub package_dir: PathBuf,
    /// The version that `package.json` claims.
    pub version: String,
    /// The newest state schema that this build opens.
    pub schema: u64,
    /// `OPENCLAW_STATE_DIR`, or `~/.openclaw`.
    pub state_dir: PathBuf,
    /// `OPENCLAW_CONFIG_PATH`, or `openclaw.json` in the state directory.
    pub config_path: PathBuf,
}

impl Install {
    /// Reads what stands beside the script and in the environment.
    pub fn open(script: &str) -> Result<Self, String> {
        let script = Path::new(script);
        let missing = || {
            format!(
                "node:internal/modules/cjs/loader\n  throw err;\n  ^\n\n\
                 Error: Cannot find module '{}'",
                script.display()
            )
        };
        if script.file_name().is_none_or(|name| name != "openclaw.mjs") {
            return Err(missing());
        }
        let package_dir = script.parent().map(Path::to_path_buf).unwrap_or_default();
        let package = std::fs::read_to_string(package_dir.join("package.json"))
            .ok()
            .and_then(|text| serde_json::from_str::<Value>(&text).ok())
            .ok_or_else(missing)?;
        let state_dir = variable("OPENCLAW_STATE_DIR").map_or_else(
            || PathBuf::from(variable("HOME").unwrap_or_default()).join(".openclaw"),
            PathBuf::from,
        );
        let config_path = variable("OPENCLAW_CONFIG_PATH")
            .map_or_else(|| state_dir.join("openclaw.json"), PathBuf::from);
        Ok(Self {
            version: package["version"].as_str().unwrap_or("0.0.0").to_owned(),
            schema: package
                .pointer("/openclaw/schemaVersions/state")
                .and_then(Value::as_u64)
                .unwrap_or(1),
            package_dir,
            state_dir,
            config_path,
        })
    }

    /// The configuration as it stands now: `None` where there is no file.
    pub fn config(&self) -> Option<Result<Value, String>> {
        let text = std::fs::read_to_string(&self.config_path).ok()?;
        Some(json5::from_str(&text).map_err(|error| error.to_string()))
    }

    /// The shared token: the environment's, else the configuration's.
    pub fn token(config: &Value) -> Option<String> {
        variable("OPENCLAW_GATEWAY_TOKEN").or_else(|| {
            config
                .pointer("/gateway/auth/token")
                .and_then(Value::as_str)
                .filter(|token| !token.is_empty())
                .map(str::to_owned)
        })
    }

    /// The port: the configuration's, else `OpenClaw`'s default.
    pub fn port(config: &Value) -> u16 {
        config
            .pointer("/gateway/port")
            .and_then(Value::as_u64)
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(18789)
    }
}

/// A variable of the environment that is set to something.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}
