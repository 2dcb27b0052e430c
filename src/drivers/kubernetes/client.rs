//! The client that children get into a pod with, as `ssh` is the one that they get to a machine with.
//!
//! Owns this process's own streams while a command runs in a container, or while its log is read, and
//! the terminal while that is one. Its exit code is the command's; 255 says that the command was not
//! reached, or lost. Refuses a secret in what it is called with: it has the place of the kubeconfig.

use std::io::{IsTerminal as _, Read as _};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Attached, Cluster, LogPart, Resizing, Whereabouts, Writer};
use crate::domain::Failure;
use crate::drivers::aws::Environment;

/// Says that the command was not reached, as an SSH client says it.
pub const UNREACHED: u8 = 255;
/// How much is copied at once, in bytes.
const CHUNK: usize = 16 * 1024;

/// A container of a cluster's.
#[expect(
    clippy::unsafe_derive_deserialize,
    reason = "no unsafe stands here: what a macro of an awaited select makes does"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// The cluster.
    pub cluster: Whereabouts,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container in it.
    pub container: String,
}

impl Container {
    /// Runs a line of a shell in it with this process's own streams; answers its exit code.
    pub async fn run(
        &self,
        line: &str,
        terminal: bool,
        credentials: &Environment,
    ) -> Result<u8, Failure> {
        let cluster = self.find(credentials).await?;
        let command = ["sh".to_owned(), "-c".to_owned(), line.to_owned()];
        // As ssh has it: where there is none here, none is made there.
        let terminal = terminal && std::io::stdin().is_terminal();
        let attached = Attached { stdin: true, terminal };
        let Self { namespace, pod, container, .. } = self;
        let mut streams = cluster.run(namespace, pod, container, &command, attached).await?;
        let _raw = if terminal { Raw::set() } else { None };
        if let Some(resizing) = streams.resizing() {
            tokio::spawn(follow_size(resizing));
        }
        if let Some(input) = streams.input() {
            tokio::spawn(feed(input));
        }
        let (output, error) = streams.outputs();
        let (output, error) = tokio::join!(
            copy(output, || std::io::stdout().lock()),
            copy(error, || std::io::stderr().lock())
        );
        output.and(error)?;
        let code = streams.ended().await;
        Ok(code.map_or(UNREACHED, |code| u8::try_from(code).unwrap_or(1)))
    }

    /// Its cluster. Whoever starts this one saw the pod there.
    async fn find(&self, credentials: &Environment) -> Result<Cluster, Failure> {
        let cancel = CancellationToken::new();
        let cluster = Box::pin(Cluster::find(&self.cluster, credentials, &cancel)).await?;
        cluster.has_answered();
        Ok(cluster)
    }

    /// Prints its log.
    pub async fn log(&self, part: LogPart, credentials: &Environment) -> Result<u8, Failure> {
        let cluster = self.find(credentials).await?;
        let log = cluster.log(&self.namespace, &self.pod, &self.container, part).await?;
        copy(Some(log), || std::io::stdout().lock()).await?;
        Ok(0)
    }
}

/// Hands on what comes until it ends. Whoever reads it may have gone.
async fn copy<W: std::io::Write>(
    reader: Option<impl tokio::io::AsyncRead + Unpin>,
    into: impl Fn() -> W,
) -> std::io::Result<()> {
    let Some(mut reader) = reader else { return Ok(()) };
    let mut chunk = vec![0; CHUNK];
    loop {
        match reader.read(&mut chunk).await? {
            0 => return Ok(()),
            read => {
                let mut into = into();
                into.write_all(&chunk[..read])?;
                into.flush()?;
            }
        }
    }
}

/// Hands on what this process reads, and its end. A thread reads it: nobody waits for that when the
/// command has ended.
async fn feed(mut input: Writer) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        let mut chunk = vec![0; CHUNK];
        loop {
            match std::io::stdin().lock().read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(read) => {
                    if sender.blocking_send(chunk[..read].to_vec()).is_err() {
                        return;
                    }
                }
            }
        }
    });
    while let Some(bytes) = receiver.recv().await {
        if input.write_all(&bytes).await.is_err() {
            return;
        }
        let _ = input.flush().await;
    }
    let _ = input.shutdown().await;
}

/// Tells the terminal over there how large this one is, now and whenever it changes.
async fn follow_size(mut resizing: Resizing) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
    loop {
        if let Ok(size) = tcgetwinsize(std::io::stdin()) {
            resizing.tell(size.ws_col, size.ws_row).await;
        }
        if changes.recv().await.is_none() {
            return;
        }
    }
}

/// The terminal, handing on every key as it is; as it was before when this is dropped.
struct Raw(Termios);

impl Raw {
    /// `None` where the input is no terminal.
    fn set() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Drain, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.0);
    }
}
