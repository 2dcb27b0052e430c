//! Removing versions that were superseded from the runtime directory.
//!
//! Refuses what may be somebody else's: a runtime directory that is a link is shared with another
//! installation, and a version that is being installed is in use.

use std::fs;

use super::super::site::Layout;
use crate::domain::{Failure, OpenClawVersion};
use crate::exec::LockFile;

/// Removes installed versions; answers which.
pub(super) fn prune(layout: &Layout, superseded: &[String]) -> Result<Vec<String>, Failure> {
    let runtime = layout.runtime();
    if fs::symlink_metadata(&runtime).is_ok_and(|it| it.is_symlink()) {
        return Ok(Vec::new());
    }
    let mut removed = Vec::new();
    for version in superseded.iter().filter(|it| OpenClawVersion::parse(it).is_some()) {
        let place = runtime.join(format!("openclaw-{version}"));
        if !place.exists() {
            continue;
        }
        let lock = runtime.join(format!(".{version}.lock"));
        let Some(_lock) = LockFile::try_acquire(&lock, "prune")? else { continue };
        // Moved first, so that one which is half removed is never taken for an installation; the
        // next installation of this version clears what is there.
        let away = runtime.join(format!(".openclaw-{version}.partial"));
        if away.exists() {
            fs::remove_dir_all(&away)?;
        }
        fs::rename(&place, &away)?;
        fs::remove_dir_all(&away)?;
        removed.push(format!("OpenClaw {version}"));
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(layout: &Layout, versions: &[&str]) {
        for version in versions {
            let package = layout.runtime().join(format!("openclaw-{version}/node_modules"));
            fs::create_dir_all(package).expect("a directory");
        }
    }

    #[test]
    fn superseded_versions_go_and_others_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::new(dir.path());
        runtime(&layout, &["2026.9.4", "2026.9.5", "2026.9.6"]);
        let busy = layout.runtime().join(".2026.9.5.lock");
        let _busy = LockFile::try_acquire(&busy, "install").expect("tries").expect("is free");
        let superseded =
            ["2026.9.4", "2026.9.5", "2026.9.3", "x@sha256:1", "../x"].map(str::to_owned);
        let removed = prune(&layout, &superseded).expect("prunes");
        assert_eq!(removed, ["OpenClaw 2026.9.4"]);
        let stands = |version: &str| layout.runtime().join(format!("openclaw-{version}")).exists();
        assert!(!stands("2026.9.4"));
        assert!(stands("2026.9.5"), "it is being installed");
        assert!(stands("2026.9.6"));
    }

    #[test]
    fn a_runtime_that_is_shared_is_left_alone() {
        let shared = tempfile::tempdir().expect("a directory");
        let dir = tempfile::tempdir().expect("a directory");
        let (theirs, ours) = (Layout::new(shared.path()), Layout::new(dir.path()));
        runtime(&theirs, &["2026.9.4"]);
        std::os::unix::fs::symlink(theirs.runtime(), ours.runtime()).expect("a link");
        assert!(prune(&ours, &["2026.9.4".to_owned()]).expect("looks").is_empty());
        assert!(theirs.runtime().join("openclaw-2026.9.4").exists());
    }
}
