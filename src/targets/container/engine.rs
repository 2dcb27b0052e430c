//! The engine: reaching it, and what its refusals mean.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::super::checkout::Checkout;
use super::super::site::Site;
use super::compose::Compose;
use super::tarball;
use crate::domain::Failure;
use crate::drivers::ssh;
use crate::exec::{Cmd, ExecError, Output, Place, Remote};
use crate::secrets::private::create_private_directory;

/// Where the compose project's files lie on another machine.
const DIR_THERE: &str = "/var/lib/openclaw-pipeline/gateway";
/// Unpacks them there.
const UNPACK: &str = r#"umask 077 && mkdir -p "$1" && tar -x -f - -C "$1""#;
/// The most CPUs of a gateway.
const MOST_CPUS: u32 = 2;

/// How the user's own Docker finds its engine. Nothing else that begins with `DOCKER_` is let
/// through: passwords do as well.
pub const SETTINGS: [&str; 7] = [
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_TLS",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "DOCKER_API_VERSION",
];

/// The Docker command line, which finds its engine by the settings of the place's own user.
pub(super) fn docker(place: &Place) -> Cmd {
    let mut cmd = place.cmd("docker");
    cmd.allow(&SETTINGS);
    cmd
}

/// A Docker engine, here or on another machine.
#[derive(Debug, Default)]
pub struct Engine {
    place: Place,
    checkout: Checkout,
    compose: OnceCell<Compose>,
    cpus: OnceCell<String>,
}

impl Engine {
    /// That of this machine, or the one that the user's settings name.
    pub fn here() -> Self {
        Self::default()
    }

    /// That of another machine.
    pub fn there(remote: Remote) -> Self {
        Self { place: Place::There(remote), ..Self::default() }
    }

    /// The same, with the compose file of a checkout.
    pub fn made_from(self, checkout: Checkout) -> Self {
        Self { checkout, ..self }
    }

    /// Where the compose file comes from.
    pub(super) fn checkout(&self) -> &Checkout {
        &self.checkout
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its command line.
    pub fn docker(&self) -> Cmd {
        docker(&self.place)
    }

    pub(super) async fn compose(&self) -> Result<&Compose, Failure> {
        self.compose.get_or_try_init(|| Compose::find(self)).await
    }

    /// Fails, with a remedy, unless it answers.
    pub async fn require(&self) -> Result<(), Failure> {
        let output = self
            .docker()
            .args(["version", "--format", "{{.Server.Version}}"])
            .deadline(Duration::from_secs(10))
            .output()
            .await;
        match output {
            Ok(output) if output.success() => Ok(()),
            Ok(output) => Err(failure(&output)),
            Err(ExecError::NotFound(_)) => Err(Failure::prerequisite("docker is not installed")
                .remedy("install Docker, or use the process target: --target process")),
            Err(error) => Err(error.into()),
        }
    }

    /// How many CPUs a gateway may use: two, or all of an engine that has fewer; the engine refuses
    /// a limit beyond its own.
    pub(super) async fn cpus(&self) -> Result<&str, Failure> {
        let count = || async {
            let mut cmd = self.docker();
            let output = cmd.args(["system", "info", "--format", "{{.NCPU}}"]).output().await?;
            if !output.success() {
                return Err(failure(&output));
            }
            let there: u32 = output.stdout.trim().parse().unwrap_or(MOST_CPUS);
            Ok(there.clamp(1, MOST_CPUS).to_string())
        };
        self.cpus.get_or_try_init(count).await.map(String::as_str)
    }

    /// Puts files that hold no secret where the engine's command line finds them; answers where.
    pub(super) async fn put(
        &self,
        site: &Site,
        files: &[(&str, &str)],
    ) -> Result<PathBuf, Failure> {
        if matches!(self.place, Place::Here) {
            let dir = site.dir();
            create_private_directory(&dir)?;
            for (name, text) in files {
                fs::write(dir.join(name), text)?;
            }
            return Ok(dir);
        }
        let mut cmd = self.place.cmd("sh");
        cmd.args(["-c", UNPACK, "sh", DIR_THERE]).stdin(tarball::of_texts(files)?);
        let output = cmd.output().await?;
        if output.success() { Ok(DIR_THERE.into()) } else { Err(failure(&output)) }
    }

    #[cfg(test)]
    pub(super) fn with_cpus(cpus: &str) -> Self {
        Self { cpus: OnceCell::new_with(Some(cpus.to_owned())), ..Self::default() }
    }
}

/// What a failed call of the Docker command line means.
pub fn failure(output: &Output) -> Failure {
    if output.unreached() {
        return ssh::failure(output);
    }
    let said = output.stderr.to_lowercase();
    let line = output.last_line();
    if said.contains("permission denied") && said.contains("sock") {
        return Failure::prerequisite("this user may not talk to the Docker engine").remedy(
            "add the user to the docker group and log in again, or use the process target: \
             --target process",
        );
    }
    if said.contains("cannot connect to the docker daemon") || said.contains("failed to connect") {
        return Failure::prerequisite("no Docker engine answers").remedy(
            "start Docker (systemctl start docker, or Docker Desktop), or use the process target: \
             --target process",
        );
    }
    if said.contains("no space left on device") {
        return Failure::failed(format!("the engine's disk is full: {line}"))
            .remedy("free some space (docker system df shows what takes it), then try again");
    }
    Failure::failed(format!("docker: {line}"))
}
