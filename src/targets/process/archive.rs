//! Archives of a `process` gateway's state.
//!
//! Owns the order in which a state is put in another one's place: what was there is kept under a
//! known name until all of it is done, and whoever comes after a killed restore puts it back first.
//! Refuses an archive that does not lie where it was asked for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::site::Site;
use super::super::{Target, Work, archive};
use super::ProcessTarget;
use crate::domain::Failure;

/// How long making or unpacking an archive may take: a state may have gigabytes.
const DEADLINE: Duration = Duration::from_secs(1800);
/// Where a restore works, in the deployment's directory: on the file system of what it replaces.
const SCRATCH: &str = ".restore";
/// What that is called once there is nothing to put back any more.
const DONE: &str = ".restore-done";
/// What an archive replaces.
const PARTS: [&str; 2] = ["state", "workspace"];

/// Makes a verified archive with the gateway's own tool; the gateway may run.
pub(super) async fn create(
    target: &ProcessTarget,
    site: &Site,
    into: &Path,
    work: Work<'_>,
) -> Result<(), Failure> {
    let directory = into.parent().unwrap_or(into);
    let output = target
        .openclaw(site, &archive::create_args(&directory.to_string_lossy()), false)
        .await?
        .deadline(DEADLINE)
        .cancel_on(work.cancel)
        .hold(work.lock)?
        .output()
        .await?;
    take(Path::new(&archive::created(&output)?), into)
}

/// Takes the archive that the tool names. The tool is the gateway's: what it names may be anything.
fn take(named: &Path, into: &Path) -> Result<(), Failure> {
    let elsewhere = || Failure::failed("the gateway's backup lies where it was not asked for");
    let name = named.file_name().ok_or_else(elsewhere)?;
    let directory = into.parent().ok_or_else(elsewhere)?;
    let made = directory.join(name);
    let same = named.parent().is_some_and(|parent| {
        matches!((parent.canonicalize(), directory.canonicalize()), (Ok(a), Ok(b)) if a == b)
    });
    // Not followed: a link would have another file sealed and kept.
    if !same || !fs::symlink_metadata(&made)?.is_file() {
        return Err(elsewhere());
    }
    fs::rename(made, into)?;
    Ok(())
}

/// Unpacks an archive beside the state and puts the state that is in it in place.
///
/// The tool is given an empty state directory of its own: it refuses to work beside a state that
/// a newer version wrote, which is just when it is needed.
pub(super) async fn restore(
    target: &ProcessTarget,
    site: &Site,
    from: &Path,
    work: Work<'_>,
) -> Result<(), Failure> {
    let dir = site.dir();
    undo(&dir)?;
    let scratch = dir.join(SCRATCH);
    let (empty, unpacked) = (scratch.join("empty"), scratch.join("unpacked"));
    super::make_private_dir(&empty)?;
    let (archive, into) = (from.to_string_lossy(), unpacked.to_string_lossy());
    let output = target
        .openclaw(site, &["backup", "restore", &archive, "--target", &into, "--json"], false)
        .await?
        .env("OPENCLAW_STATE_DIR", &empty)
        .env("OPENCLAW_CONFIG_PATH", empty.join("openclaw.json"))
        .deadline(DEADLINE)
        .cancel_on(work.cancel)
        .hold(work.lock)?
        .output()
        .await;
    let put = match output {
        Ok(output) if output.success() => put(&dir, &unpacked),
        Ok(output) => Err(archive::refused("the backup could not be unpacked", &output)),
        Err(error) => Err(error.into()),
    };
    match put {
        Ok(()) => clear(&dir),
        Err(failure) => {
            undo(&dir)?;
            Err(failure)
        }
    }
}

/// Puts what was unpacked in place; what was there is kept in the scratch directory.
fn put(dir: &Path, unpacked: &Path) -> Result<(), Failure> {
    let mut found = Vec::new();
    for part in PARTS {
        match find(unpacked, &dir.join(part))? {
            Some(path) => found.push((part, path)),
            None if part == "state" => {
                return Err(Failure::failed("the backup holds no state of this deployment"));
            }
            None => {}
        }
    }
    for (part, found) in found {
        let place = dir.join(part);
        if place.exists() {
            fs::rename(&place, replaced(dir, part))?;
        }
        fs::rename(found, place)?;
    }
    Ok(())
}

/// Where what was replaced is kept.
fn replaced(dir: &Path, part: &str) -> PathBuf {
    dir.join(SCRATCH).join(format!("replaced-{part}"))
}

/// Puts back what a restore that was killed, or failed, had replaced. Killed itself, it goes on
/// where it stopped.
fn undo(dir: &Path) -> Result<(), Failure> {
    for part in PARTS {
        let (place, replaced) = (dir.join(part), replaced(dir, part));
        if !replaced.exists() {
            continue;
        }
        if place.exists() {
            let discarded = dir.join(SCRATCH).join(format!("discarded-{part}"));
            gone(fs::remove_dir_all(&discarded))?;
            fs::rename(&place, discarded)?;
        }
        fs::rename(replaced, place)?;
    }
    clear(dir)
}

/// Removes the scratch directory. It gets another name first: one that is half removed must not
/// be taken for what is to be put back.
fn clear(dir: &Path) -> Result<(), Failure> {
    let (scratch, done) = (dir.join(SCRATCH), dir.join(DONE));
    gone(fs::remove_dir_all(&done))?;
    gone(fs::rename(scratch, &done))?;
    gone(fs::remove_dir_all(&done))
}

fn gone(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// A directory inside an unpacked archive: `ROOT/payload/posix/<its path>`. The archive names the
/// path that it had when it was made, so otherwise the end of the path has to do.
fn find(unpacked: &Path, place: &Path) -> Result<Option<PathBuf>, Failure> {
    let whole = place.strip_prefix("/").unwrap_or(place);
    let tail: PathBuf = place.iter().rev().take(2).collect::<Vec<_>>().iter().rev().collect();
    for root in fs::read_dir(unpacked)?.flatten() {
        let posix = root.path().join("payload/posix");
        if is_inside(&posix.join(whole), unpacked) {
            return Ok(Some(posix.join(whole)));
        }
        if let Some(found) = ending_with(&posix, &tail, 0) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether a path is a directory inside of another one, without a link on the way: what is in an
/// archive was the gateway's to make.
fn is_inside(path: &Path, root: &Path) -> bool {
    let (Ok(real), Ok(root)) = (path.canonicalize(), root.canonicalize()) else { return false };
    real.starts_with(root) && fs::symlink_metadata(path).is_ok_and(|it| it.is_dir())
}

fn ending_with(dir: &Path, tail: &Path, depth: usize) -> Option<PathBuf> {
    if dir.ends_with(tail) {
        return Some(dir.to_owned());
    }
    if depth > 24 {
        return None;
    }
    let entries = fs::read_dir(dir).ok()?;
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .find_map(|entry| ending_with(&entry.path(), tail, depth + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir_with(parts: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, what) in parts {
            fs::create_dir_all(dir.path().join(path)).expect("a directory");
            fs::write(dir.path().join(path).join("what"), what).expect("written");
        }
        dir
    }

    fn what(dir: &tempfile::TempDir, path: &str) -> Option<String> {
        fs::read_to_string(dir.path().join(path).join("what")).ok()
    }

    #[test]
    fn a_restore_killed_anywhere_is_undone() {
        for there in [
            // Before anything was moved.
            vec![("state", "old"), ("workspace", "old"), (".restore/unpacked/x", "new")],
            // Between the two moves of the state: it is nowhere else.
            vec![(".restore/replaced-state", "old"), ("workspace", "old")],
            // After them.
            vec![("state", "new"), (".restore/replaced-state", "old"), ("workspace", "old")],
            // After all of them.
            vec![
                ("state", "new"),
                (".restore/replaced-state", "old"),
                ("workspace", "new"),
                (".restore/replaced-workspace", "old"),
            ],
            // In the midst of undoing, a second time.
            vec![
                (".restore/discarded-state", "new"),
                (".restore/replaced-state", "old"),
                ("workspace", "old"),
            ],
            // While what was replaced was removed: all was done.
            vec![("state", "old"), ("workspace", "old"), (".restore-done/replaced-state", "half")],
        ] {
            let dir = dir_with(&there);
            undo(dir.path()).expect("undone");
            for part in PARTS {
                assert_eq!(what(&dir, part).as_deref(), Some("old"), "{part} of {there:?}");
            }
            let left = fs::read_dir(dir.path()).expect("lists").count();
            assert_eq!(left, PARTS.len(), "nothing else: {there:?}");
        }
    }

    #[test]
    fn what_was_unpacked_takes_the_place_of_both() {
        let dir = dir_with(&[("state", "old"), ("workspace", "old")]);
        let unpacked = dir.path().join(".restore/unpacked");
        for part in PARTS {
            let whole = dir.path().join(part);
            let inside = unpacked
                .join("made/payload/posix")
                .join(whole.strip_prefix("/").expect("an absolute path"));
            fs::create_dir_all(&inside).expect("a directory");
            fs::write(inside.join("what"), "new").expect("written");
        }
        put(dir.path(), &unpacked).expect("put");
        clear(dir.path()).expect("cleared");
        assert_eq!(PARTS.map(|part| what(&dir, part)), [Some("new".into()), Some("new".into())]);
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 2);
    }

    #[test]
    fn a_link_in_an_archive_is_no_state() {
        let dir = dir_with(&[("state", "old"), ("elsewhere/state", "another's")]);
        let whole = dir.path().join("state");
        let inside = dir
            .path()
            .join(".restore/unpacked/made/payload/posix")
            .join(whole.strip_prefix("/").expect("an absolute path"));
        fs::create_dir_all(inside.parent().expect("a parent")).expect("a directory");
        std::os::unix::fs::symlink(dir.path().join("elsewhere/state"), &inside).expect("a link");
        assert!(put(dir.path(), &dir.path().join(".restore/unpacked")).is_err());
        assert_eq!(what(&dir, "state").as_deref(), Some("old"));
    }

    #[test]
    fn only_a_file_in_the_directory_that_was_named_is_taken() {
        let dir = dir_with(&[("into", "")]);
        let (into, secret) = (dir.path().join("into/archive"), dir.path().join("secret"));
        fs::write(&secret, "another's").expect("written");
        let link = dir.path().join("into/link");
        std::os::unix::fs::symlink(&secret, &link).expect("a link");
        let climbing = dir.path().join("into/../secret");
        for named in [&secret, &link, &climbing, &dir.path().join("into"), Path::new("/")] {
            assert!(take(named, &into).is_err(), "{}", named.display());
        }
        assert!(secret.exists() && !into.exists());
        let made = dir.path().join("into/made.tar.gz");
        fs::write(&made, "an archive").expect("written");
        take(&made, &into).expect("taken");
        assert_eq!(fs::read_to_string(&into).expect("there"), "an archive");
    }
}
