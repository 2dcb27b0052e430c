//! Archives of a `process` gateway's state.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::site::Site;
use super::super::{Target, Work, archive};
use super::ProcessTarget;
use crate::domain::Failure;

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
        .cancel_on(work.cancel)
        .hold(work.lock)?
        .output()
        .await?;
    fs::rename(archive::created(&output)?, into)?;
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
    let scratch = tempfile::tempdir_in(&dir)?;
    let (empty, unpacked) = (scratch.path().join("state"), scratch.path().join("unpacked"));
    fs::create_dir_all(&empty)?;
    let (archive, into) = (from.to_string_lossy(), unpacked.to_string_lossy());
    let output = target
        .openclaw(site, &["backup", "restore", &archive, "--target", &into, "--json"], false)
        .await?
        .env("OPENCLAW_STATE_DIR", &empty)
        .env("OPENCLAW_CONFIG_PATH", empty.join("openclaw.json"))
        .cancel_on(work.cancel)
        .hold(work.lock)?
        .output()
        .await?;
    if !output.success() {
        return Err(archive::refused("the backup could not be unpacked", &output));
    }
    let state = dir.join("state");
    let found = find(&unpacked, &state)?
        .ok_or_else(|| Failure::failed("the backup holds no state of this deployment"))?;
    swap(&found, &state, &scratch.path().join("replaced-state"))?;
    let workspace = dir.join("workspace");
    if let Some(found) = find(&unpacked, &workspace)? {
        swap(&found, &workspace, &scratch.path().join("replaced-workspace"))?;
    }
    Ok(())
}

/// Puts a directory in another's place; what was there goes with the scratch directory.
fn swap(found: &Path, place: &Path, replaced: &Path) -> Result<(), Failure> {
    if place.exists() {
        fs::rename(place, replaced)?;
    }
    fs::rename(found, place)?;
    Ok(())
}

/// A directory inside an unpacked archive: `ROOT/payload/posix/<its path>`. The archive names the
/// path that it had when it was made, so otherwise the end of the path has to do.
fn find(unpacked: &Path, place: &Path) -> Result<Option<PathBuf>, Failure> {
    let whole = place.strip_prefix("/").unwrap_or(place);
    let tail: PathBuf = place.iter().rev().take(2).collect::<Vec<_>>().iter().rev().collect();
    for root in fs::read_dir(unpacked)?.flatten() {
        let posix = root.path().join("payload/posix");
        if posix.join(whole).is_dir() {
            return Ok(Some(posix.join(whole)));
        }
        if let Some(found) = ending_with(&posix, &tail, 0) {
            return Ok(Some(found));
        }
    }
    Ok(None)
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
