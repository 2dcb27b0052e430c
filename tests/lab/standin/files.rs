//! Small things about files, time and log lines.
//!
//! Owns the one way in which the stand-in writes a state file (whole or not at all, as the real
//! one's database does) and the shape of a log line. Refuses nothing.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;

/// Milliseconds since 1970, as the protocol counts.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// One line of the gateway's log: `2026-11-23T02:20:43.954+00:00 [gateway] ready`.
pub fn log(line: &str) {
    let stamp = OffsetDateTime::now_utc().format(format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+00:00"
    ));
    println!("{} {line}", stamp.unwrap_or_default());
}

/// The time in the form that an archive's name and manifest use.
pub fn iso_now() -> String {
    OffsetDateTime::now_utc()
        .format(format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        ))
        .unwrap_or_default()
}

/// A JSON file's content, or `None` where it is missing or broken.
pub fn read_json(path: &Path) -> Option<Value> {
    serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
}

/// Writes a JSON file so that a crash leaves the old content or the new.
pub fn write_json(path: &Path, value: &Value) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&draft, format!("{value:#}\n"))?;
    std::fs::rename(&draft, path)
}

/// `bytes` random bytes as unpadded base64url, the form of the gateway's tokens.
pub fn random_token(bytes: usize) -> String {
    use base64::Engine as _;
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).expect("the system has random numbers");
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(buffer)
}

/// The SHA-256 of some bytes in lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    use std::fmt::Write as _;
    sha2::Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
