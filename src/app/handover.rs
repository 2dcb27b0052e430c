//! Handing work to a living server.
//!
//! Owns whether one holds the data directory, and following what it does for a command. The
//! operation is in the store by then: whatever happens to the server or the connection, nothing of
//! it is lost, and whoever comes next goes on with it.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::App;
use super::reports::Report;
use super::serving::{Answer, Asked};
use crate::domain::{Failure, FailureKind, Operation, OperationStatus};
use crate::exec::{LockFile, wait};
use crate::operations::Sink;
use crate::targets::Layout;

/// How long a server that begins or ends may take to answer or be gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// The socket's address. A data directory's path may be longer than a socket's address can be, so
/// it is named by way of the open directory.
pub(super) struct Socket {
    _directory: std::fs::File,
    path: PathBuf,
}

impl Socket {
    pub fn of(layout: &Layout) -> std::io::Result<Self> {
        let directory = std::fs::File::open(layout.server())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/socket", directory.as_raw_fd()));
        Ok(Self { _directory: directory, path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// An object as a line.
pub(super) fn line<T: Serialize>(value: &T) -> Result<Vec<u8>, Failure> {
    let mut line = serde_json::to_vec(value)
        .map_err(|error| Failure::failed(format!("a line for the socket: {error}")))?;
    line.push(b'\n');
    Ok(line)
}

impl App {
    /// Whether a server holds the data directory. The server itself has nobody to hand work to.
    pub(super) fn is_served(&self) -> Result<bool, Failure> {
        if self.is_server() {
            return Ok(false);
        }
        Ok(LockFile::is_held(&self.layout().server_lock())?)
    }

    /// Has the server carry an operation out, and follows it to its end. `None` when the server
    /// went away before that: it is this command's to go on with.
    pub(super) async fn handed_over(
        &self,
        operation: &Operation,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Option<Operation>, Failure> {
        self.ask_server(operation, Asked::Follow(operation.id.clone()), sink, cancel).await
    }

    /// Has the server give an operation up.
    pub(super) async fn have_given_up(
        &self,
        operation: &Operation,
        cancel: &CancellationToken,
    ) -> Result<Option<Operation>, Failure> {
        self.ask_server(operation, Asked::GiveUp(operation.id.clone()), &Unheard, cancel).await
    }

    async fn ask_server(
        &self,
        operation: &Operation,
        asked: Asked,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Option<Operation>, Failure> {
        loop {
            let Some(stream) = self.connected().await? else { return Ok(None) };
            tokio::select! {
                followed = follow(stream, &asked, sink) => followed?,
                () = cancel.cancelled() => return Err(left_to_the_server(operation)),
            }
            let now = self.operation(&operation.id)?;
            if now.status != OperationStatus::Running {
                return Ok(Some(now));
            }
        }
    }

    /// A connection to the server; `None` when there is none any more.
    async fn connected(&self) -> Result<Option<UnixStream>, Failure> {
        let tried = wait::until(PATIENCE, || async {
            match self.is_served() {
                Ok(true) => {}
                Ok(false) => return Some(Ok(None)),
                Err(failure) => return Some(Err(failure)),
            }
            // One that begins does not listen yet, and one that ends listens no more.
            let socket = Socket::of(self.layout()).ok()?;
            UnixStream::connect(socket.path()).await.ok().map(|stream| Ok(Some(stream)))
        });
        tried.await.unwrap_or_else(|| {
            Err(Failure::conflict("the server that holds the data directory does not answer")
                .remedy("see its log; stop it and start it again"))
        })
    }
}

/// Asks, and passes what is reported on until it is over, or the server goes away.
async fn follow(mut stream: UnixStream, asked: &Asked, sink: &dyn Sink) -> Result<(), Failure> {
    if stream.write_all(&line(asked)?).await.is_err() {
        return Ok(());
    }
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(text)) = lines.next_line().await {
        match serde_json::from_str(&text) {
            Ok(Answer::Report(Report::Over)) => return Ok(()),
            Ok(Answer::Report(report)) => report.tell(sink),
            Ok(Answer::Refused(failure)) => return Err(failure),
            // Another version's word.
            Err(_) => {}
        }
    }
    Ok(())
}

fn left_to_the_server(operation: &Operation) -> Failure {
    Failure::new(
        FailureKind::Interrupted,
        format!(
            "the server goes on with the {} of {}; it is only followed no longer",
            operation.kind, operation.deployment
        ),
    )
    .remedy(format!(
        "see how it stands: openclaw-pipeline operations show {0}; or give it up: \
         openclaw-pipeline operations cancel {0}",
        operation.id
    ))
}

/// For what reports nothing worth a line.
pub(super) struct Unheard;

impl crate::targets::Progress for Unheard {
    fn amount(&self, _: u64, _: u64, _: &str) {}
    fn note(&self, _: &str) {}
}

impl Sink for Unheard {
    fn tell(&self, _: &crate::operations::Told<'_>) {}

    fn progress(&self) -> &dyn crate::targets::Progress {
        self
    }
}
