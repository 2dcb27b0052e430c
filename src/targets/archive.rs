//! Archives of a gateway's state: what the targets share.
//!
//! Owns reading what the gateway's own backup tool says, and ending what a killed run left of it in a
//! container. Refuses an archive that was not verified.

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

/// Ends what makes an archive in a directory, and removes the directory: a command in a container
/// outlives whoever asked for it.
const CLEAR: &str = r#"for it in /proc/[0-9]*; do
  it=${it#/proc/}
  [ "$it" != $$ ] || continue
  2>/dev/null tr '\0' '\n' <"/proc/$it/cmdline" | grep -qxF -- "$1" || continue
  kill -KILL "$it" 2>/dev/null
done
rm -rf "$1""#;

/// The shell's arguments that have it do so.
pub(super) fn clear_args(directory: &str) -> [&str; 4] {
    ["-c", CLEAR, "sh", directory]
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
    use crate::exec::Cmd;

    #[tokio::test]
    async fn what_makes_an_archive_is_ended_and_nothing_else() {
        let made = tempfile::tempdir().expect("a directory");
        let (its, others) = (made.path().join("backup"), made.path().join("backup2"));
        std::fs::create_dir_all(its.join("tmp")).expect("made");
        std::fs::create_dir_all(&others).expect("made");
        let log = tempfile::tempfile().expect("a log");
        let begin = |directory: &std::path::Path| {
            let mut cmd = Cmd::new("sh");
            cmd.args(["-c", "kill -STOP $$", "sh", "backup", "--output"]).arg(directory);
            cmd.supervised(&log).expect("starts")
        };
        let (mut left, mut other) = (begin(&its), begin(&others));
        let clear = async || {
            let args = clear_args(its.to_str().expect("a path"));
            Cmd::new("sh").args(args).output().await.expect("runs").success()
        };
        assert!(clear().await);
        assert!(!its.exists() && others.exists());
        assert!(!left.wait().await.expect("ended").success());
        assert!(other.try_wait().expect("looks").is_none(), "another one was ended");
        other.kill().await.expect("ends");
        // What is not there is no failure.
        assert!(clear().await);
    }

    #[test]
    fn an_object_after_other_lines_is_found() {
        let text = "note: {x}\n{\n  \"archivePath\": \"/b/a.tar.gz\",\n  \"verified\": true\n}\n";
        let created: Created = last_object(text).expect("an object");
        assert!(created.verified);
        assert_eq!(created.archive_path, "/b/a.tar.gz");
    }
}
