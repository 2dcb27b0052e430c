//! Archives of a gateway's state: what both local targets share.
//!
//! Owns reading what the gateway's own backup tool says, and finding the state inside an archive
//! that it unpacked. Refuses an archive that was not verified.

use serde::Deserialize;

use crate::domain::Failure;
use crate::exec::Output;

/// What `openclaw backup create --json` says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    archive_path: String,
    #[serde(default)]
    verified: bool,
}

/// What `openclaw backup restore --json` says, or the manifest, as far as it is used.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    error: Option<ToldError>,
}

#[derive(Debug, Deserialize)]
struct ToldError {
    #[serde(default)]
    message: String,
}

/// The arguments that make a verified archive in a directory.
pub(super) fn create_args(directory: &str) -> [&str; 6] {
    ["backup", "create", "--verify", "--json", "--output", directory]
}

/// The path of the archive that was made and verified.
pub(super) fn created(output: &Output) -> Result<String, Failure> {
    if !output.success() {
        return Err(refused("the gateway could not make a backup", output));
    }
    let created: Option<Created> = last_object(&output.stdout);
    match created {
        Some(created) if created.verified => Ok(created.archive_path),
        Some(_) => Err(Failure::failed("the gateway's backup was not verified")),
        None => Err(Failure::failed("the gateway's backup tool answered nothing that can be read")
            .remedy("OpenClaw before 2026.8.1 cannot make verified backups: update it first")),
    }
}

/// Why the gateway's own tool failed.
pub(super) fn refused(what: &str, output: &Output) -> Failure {
    let told: Option<Told> = last_object(&output.stdout);
    let reason = told
        .and_then(|told| told.error)
        .map(|error| crate::domain::text::clean(&error.message, 300))
        .filter(|message| !message.is_empty())
        .unwrap_or_else(|| output.last_line());
    Failure::failed(format!("{what}: {reason}"))
}

/// The JSON object at the end of an output that may begin with other lines.
fn last_object<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    let starts = text.match_indices('{').map(|(at, _)| at).take(64);
    starts.into_iter().find_map(|at| serde_json::from_str(text[at..].trim()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_after_other_lines_is_found() {
        let text = "note: {x}\n{\n  \"archivePath\": \"/b/a.tar.gz\",\n  \"verified\": true\n}\n";
        let created: Created = last_object(text).expect("an object");
        assert!(created.verified);
        assert_eq!(created.archive_path, "/b/a.tar.gz");
    }
}
