//! Building a gateway image on this machine, for those who cannot pull one.
//!
//! Its program is what the `process` target installs: Node.js and OpenClaw from npm, pinned by
//! lockfiles. The build's context is streamed to the engine and never stands on the disk.

use std::io::{self, PipeWriter};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::Work;
use super::super::container::{Engine, failure};
use crate::assets;
use crate::domain::Failure;
use crate::exec::command::Stream;

/// How long a build may take: the base image may have to be pulled first.
const DEADLINE: Duration = Duration::from_secs(3600);

/// What goes into the image.
#[derive(Debug)]
pub struct Program {
    /// The OpenClaw version.
    pub version: String,
    /// The Node.js binary.
    pub node: PathBuf,
    /// The directory with OpenClaw and the packages that it needs.
    pub modules: PathBuf,
}

/// Builds the image.
pub(super) async fn build(
    engine: &Engine,
    program: &Program,
    image: &str,
    base: Option<&str>,
    work: Work<'_>,
) -> Result<(), Failure> {
    let (reader, writer) = io::pipe()?;
    let (node, modules) = (program.node.clone(), program.modules.clone());
    let packing = tokio::task::spawn_blocking(move || pack(writer, &node, &modules));
    let mut cmd = engine.docker();
    cmd.args(["image", "build", "--tag", image]);
    cmd.args(["--build-arg", &format!("VERSION={}", program.version)]);
    if let Some(base) = base {
        cmd.args(["--build-arg", &format!("BASE={base}")]);
    }
    cmd.arg("-");
    cmd.stdin_from(reader).deadline(DEADLINE).cancel_on(work.cancel).hold(work.lock)?;
    let built = cmd
        .lines(|stream, line| {
            if stream == Stream::Stdout && line.starts_with("Step ") {
                work.progress.amount(0, 0, line);
            }
        })
        .await?;
    // When the engine gave up, that the context broke off says nothing new.
    let packed = packing.await.map_err(io::Error::other)?;
    if !built.success() {
        return Err(failure(&built).context(format!("the image {image} could not be built")));
    }
    packed.map_err(|error| Failure::failed(format!("the image's content: {error}")))
}

/// Writes the build's context: the Dockerfile, Node.js, and the installed packages. Modes, owners
/// and times are the same on every machine, and so is the image.
fn pack(into: PipeWriter, node: &Path, modules: &Path) -> io::Result<()> {
    let mut builder = tar::Builder::new(io::BufWriter::new(into));
    builder.follow_symlinks(false);
    builder.mode(tar::HeaderMode::Deterministic);
    let dockerfile = assets::GATEWAY_DOCKERFILE.as_bytes();
    let mut header = tar::Header::new_gnu();
    header.set_size(dockerfile.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, "Dockerfile", dockerfile)?;
    builder.append_path_with_name(node, "node")?;
    builder.append_dir_all("openclaw/node_modules", modules)?;
    builder.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error).map(drop)
}
