//! The gateway's configuration inside its volume, read and written through the engine.
//!
//! `docker cp` reaches the volumes of a container that was made and not started, so the
//! configuration is there before the first start.

use std::io::Cursor;

use super::super::Work;
use super::super::site::Site;
use super::engine::{Engine, failure};
use super::{STATE, container, tarball};
use crate::domain::Failure;

/// The largest configuration that is read, in bytes.
const BOUND: u64 = 4 << 20;
/// The configuration's name.
pub(super) const FILE: &str = "openclaw.json";

/// Where the configuration lies, in words.
pub(super) fn place(site: &Site) -> String {
    format!("{}:{STATE}/{FILE}", container(site))
}

/// The configuration's text; `None` when there is none yet.
pub(super) async fn read(engine: &Engine, site: &Site) -> Result<Option<String>, Failure> {
    let from = place(site);
    let mut copy = engine.docker();
    let taken = tarball::take_out(copy.args(["container", "cp", &from, "-"]), BOUND, Vec::new());
    let Some(bytes) = taken.await.map_err(|failure| refused(site, failure))? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(|_| Failure::failed("it is no text"));
    text.map(Some).map_err(|failure| refused(site, failure))
}

fn refused(site: &Site, failure: Failure) -> Failure {
    let name = &site.deployment.name;
    let remedy = failure.remedy.clone().unwrap_or_else(|| {
        format!("look at it (openclaw-pipeline shell {name}), and move it away")
    });
    failure.context(format!("the gateway's configuration {STATE}/{FILE}")).remedy(remedy)
}

/// Writes a file beside the configuration, or that itself, as the gateway's own user.
pub(super) async fn write(
    engine: &Engine,
    site: &Site,
    name: &str,
    text: &str,
    work: Work<'_>,
) -> Result<(), Failure> {
    let content = Cursor::new(text.to_owned().into_bytes());
    let archive = tarball::of_file(name, text.len() as u64, content)
        .map_err(|error| Failure::failed(format!("the configuration cannot be packed: {error}")))?;
    let into = format!("{}:{STATE}", container(site));
    let output = engine
        .docker()
        .args(["container", "cp", "-", &into])
        .stdin_from(archive)
        .cancel_on(work.cancel)
        .hold(work.lock)?
        .output()
        .await?;
    if output.success() { Ok(()) } else { Err(failure(&output)) }
}
