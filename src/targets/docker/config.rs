//! The gateway's configuration inside its volume, read and written through the engine.
//!
//! `docker cp` reaches the volumes of a container that was made and not started, so the
//! configuration is there before the first start.

use std::io::Read;

use super::super::Work;
use super::super::site::Site;
use super::engine::{docker, failure};
use super::{STATE, container};
use crate::domain::Failure;

/// The largest configuration that is read, in bytes.
const BOUND: u64 = 4 << 20;
/// The configuration's name.
pub(super) const FILE: &str = "openclaw.json";
/// The user that the gateway runs as.
const NODE_UID: u64 = 1000;

/// Where the configuration lies, in words.
pub(super) fn place(site: &Site) -> String {
    format!("{}:{STATE}/{FILE}", container(site))
}

/// The configuration's text; `None` when there is none yet.
pub(super) async fn read(site: &Site) -> Result<Option<String>, Failure> {
    let from = place(site);
    let dir = tempfile::tempdir_in(site.dir())?;
    let into = dir.path().join(FILE);
    let output = docker().args(["container", "cp", &from]).arg(&into).output().await?;
    if !output.success() {
        let said = output.stderr.to_lowercase();
        let absent = said.contains("could not find the file") || said.contains("no such file");
        return if absent { Ok(None) } else { Err(failure(&output)) };
    }
    let mut text = String::new();
    std::fs::File::open(&into)?.take(BOUND).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Writes a file beside the configuration, or that itself, as the gateway's own user.
pub(super) async fn write(
    site: &Site,
    name: &str,
    text: &str,
    work: Work<'_>,
) -> Result<(), Failure> {
    let archive = tarball(name, text)
        .map_err(|error| Failure::failed(format!("the configuration cannot be packed: {error}")))?;
    let into = format!("{}:{STATE}", container(site));
    let output = docker()
        .args(["container", "cp", "-", &into])
        .stdin(archive)
        .cancel_on(work.cancel)
        .hold(work.lock)?
        .output()
        .await?;
    if output.success() { Ok(()) } else { Err(failure(&output)) }
}

fn tarball(name: &str, text: &str) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o600);
    header.set_uid(NODE_UID);
    header.set_gid(NODE_UID);
    header.set_mtime(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    );
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, name, text.as_bytes())?;
    builder.into_inner()
}
