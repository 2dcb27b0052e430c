//! A gateway image made on this machine.
//!
//! Owns putting the two targets together for it: what `process` installs is what `docker` builds
//! the image of.

use tokio_util::sync::CancellationToken;

use super::App;
use crate::domain::{Failure, OpenClawVersion};
use crate::exec::LockFile;
use crate::targets::docker::Program;
use crate::targets::{Progress, Work};

/// What is to be built.
#[derive(Debug)]
pub struct ImageRequest {
    /// The OpenClaw version.
    pub version: String,
    /// The name and tag that the image gets.
    pub image: String,
    /// The image that it is built on; the Dockerfile's own when `None`.
    pub base: Option<String>,
}

impl App {
    /// Builds a gateway image from npm's packages.
    pub async fn build_image(
        &self,
        request: &ImageRequest,
        progress: &dyn Progress,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        OpenClawVersion::refuse_old(Some(&request.version))?;
        let targets = self.engine().targets();
        targets.docker().engine().require().await?;
        let locks = self.layout().home().join("locks");
        std::fs::create_dir_all(&locks)?;
        // No deployment's name begins with a dot.
        let lock = LockFile::try_acquire(&locks.join(".image"), "image build")?;
        let lock = lock.ok_or_else(|| {
            Failure::conflict("another command is building an image")
                .remedy("wait until it has ended, then run this again")
        })?;
        let work = Work { cancel, lock: &lock, progress };
        progress.note(&format!("get OpenClaw {} from the npm registry", request.version));
        let installed = targets.process().install(&request.version, work).await?;
        let modules = installed.modules();
        let program = Program { version: installed.version, node: installed.node, modules };
        progress.note(&format!("build the image {}", request.image));
        targets.docker().build(&program, &request.image, request.base.as_deref(), work).await
    }
}
