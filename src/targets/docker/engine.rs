//! The engine: reaching it, and what its refusals mean.

use std::time::Duration;

use crate::domain::Failure;
use crate::exec::{Cmd, ExecError, Output};

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

/// The Docker command line, which finds its engine by the user's own settings.
pub fn docker() -> Cmd {
    let mut cmd = Cmd::new("docker");
    cmd.allow(&SETTINGS);
    cmd
}

/// Fails, with a remedy, unless an engine answers.
pub(super) async fn require() -> Result<(), Failure> {
    let output = docker()
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
pub(super) async fn cpus() -> Result<String, Failure> {
    let output = docker().args(["system", "info", "--format", "{{.NCPU}}"]).output().await?;
    if !output.success() {
        return Err(failure(&output));
    }
    let there: u32 = output.stdout.trim().parse().unwrap_or(MOST_CPUS);
    Ok(there.clamp(1, MOST_CPUS).to_string())
}

/// What a failed call of the Docker command line means.
pub(super) fn failure(output: &Output) -> Failure {
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
