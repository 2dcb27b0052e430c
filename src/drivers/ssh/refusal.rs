//! What it means that the client did not get there.

use std::path::Path;

use crate::domain::Failure;
use crate::domain::text::clean;
use crate::exec::{ExecError, Output};

/// Why a machine was not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody answers there, or not yet.
    Unreachable(String),
    /// It shows another key than the one that is known.
    HostKey,
    /// It does not take the user's key, or not yet.
    KeyRefused,
    /// Others can read the private key.
    KeyIsOpen(String),
    /// Something else.
    Other(String),
}

impl Refusal {
    /// What the client said.
    pub fn of(stderr: &str) -> Self {
        let said = stderr.to_lowercase();
        let line = last(stderr);
        if stderr.trim().is_empty() {
            // That a connection was closed or reset in the middle of its set-up, the client says only
            // to whoever asks it to say more.
            return Self::Unreachable("the connection was closed".into());
        }
        if said.contains("host key verification failed")
            || said.contains("remote host identification has changed")
            || said.contains("no ed25519 host key is known")
        {
            return Self::HostKey;
        }
        if said.contains("unprotected private key file") || said.contains("bad permissions") {
            return Self::KeyIsOpen(line);
        }
        if said.contains("permission denied (") || said.contains("too many authentication failures")
        {
            return Self::KeyRefused;
        }
        let gone = [
            "connection refused",
            "timed out",
            "no route to host",
            "network is unreachable",
            "connection closed",
            "connection reset",
            "kex_exchange_identification",
            "broken pipe",
            "not responding",
            "could not resolve hostname",
        ];
        if gone.iter().any(|sign| said.contains(sign)) {
            return Self::Unreachable(line);
        }
        Self::Other(line)
    }

    /// That the client itself did not run to its end.
    pub(super) fn not_run(error: ExecError) -> Self {
        match error {
            ExecError::Deadline { .. } => Self::Unreachable("it took too long".into()),
            other => Self::Other(other.to_string()),
        }
    }

    /// Whether a machine that is starting says this, and takes commands a moment later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::KeyRefused)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unreachable(line) => Self::failed(format!("SSH does not get through: {line}"))
                .remedy(
                    "check that the machine runs and that its firewall lets this address reach \
                     port 22 (OPENCLAW_PIPELINE_SSH_CIDR)",
                ),
            Refusal::HostKey => Self::conflict(
                "the machine shows another SSH host key than the one that is known: it is another \
                 machine, or somebody stands between; nothing was sent to it",
            )
            .remedy(
                "if you changed the machine's key yourself, destroy and launch again, or put its \
                 new key into the deployment's known_hosts",
            ),
            Refusal::KeyRefused => {
                Self::failed("the machine does not take the deployment's SSH key")
                    .remedy("put the deployment's public key into its authorized_keys")
            }
            Refusal::KeyIsOpen(line) => {
                Self::bad_input(format!("the SSH key's file can be read by others: {line}"))
                    .remedy("chmod 600 it")
            }
            Refusal::Other(line) => Self::failed(format!("ssh: {line}")),
        }
    }
}

/// What a call whose machine was not reached means.
pub fn failure(output: &Output) -> Failure {
    Refusal::of(&output.stderr).into()
}

/// Why a private key cannot be used.
pub(super) fn of_key(path: &Path, stderr: &str) -> Failure {
    let place = path.display();
    let said = stderr.to_lowercase();
    if said.contains("unprotected") || said.contains("bad permissions") {
        return Failure::bad_input(format!("the SSH key {place} can be read by others"))
            .remedy(format!("chmod 600 {place}"));
    }
    if said.contains("incorrect passphrase") {
        return Failure::bad_input(format!("the SSH key {place} has a passphrase"))
            .remedy("give one without, or put it into your agent");
    }
    if said.contains("no such file") {
        return Failure::not_found(format!("the SSH key {place} is not there"));
    }
    Failure::bad_input(format!("{place} is no SSH private key: {}", last(stderr)))
}

fn last(stderr: &str) -> String {
    let mut lines = stderr.lines().map(|line| clean(line.trim(), 300));
    let line = lines.rfind(|line| !line.is_empty() && !line.starts_with('@'));
    line.unwrap_or_else(|| "it gave no reason".into())
}
