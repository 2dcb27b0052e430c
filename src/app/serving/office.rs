//! The socket by which commands hand the server their work.
//!
//! Owns its place (a directory that only this user enters), its mode (0600) and who may speak (this
//! user, as the kernel says). One line of JSON asks, lines of JSON answer. Refuses anything else.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::super::App;
use super::super::handover::{Socket, line};
use super::super::reports::Report;
use super::executor::{Executor, stopping};
use crate::domain::{Failure, OperationStatus};

/// The longest line that asks for something, in bytes.
const LONGEST_LINE: u64 = 4096;

/// What a command asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::app) enum Asked {
    /// Carry this operation out, and tell how it goes.
    Follow(String),
    /// Give this operation up.
    GiveUp(String),
}

/// What it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::app) enum Answer {
    /// Progress.
    Report(Report),
    /// It was refused.
    Refused(Failure),
}

/// Makes the socket. The server's lock is held: what lies there is an earlier server's.
pub(super) fn bind(app: &App) -> Result<UnixListener, Failure> {
    let socket = Socket::of(app.layout())?;
    match fs::remove_file(socket.path()) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let listener = UnixListener::bind(socket.path())?;
    fs::set_permissions(socket.path(), fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers commands until the server ends.
pub(super) async fn attend(listener: UnixListener, executor: Executor, end: CancellationToken) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a command could not be answered");
                    crate::exec::wait::back_off(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = end.cancelled() => return,
        };
        let (executor, end) = (executor.clone(), end.clone());
        tokio::spawn(async move {
            tokio::select! {
                answered = answer(stream, &executor) => if let Err(failure) = answered {
                    tracing::debug!("a command went away: {failure}");
                },
                () = end.cancelled() => {}
            }
        });
    }
}

async fn answer(stream: UnixStream, executor: &Executor) -> Result<(), Failure> {
    let peer = stream.peer_cred()?;
    if peer.uid() != rustix::process::geteuid().as_raw() {
        return Err(Failure::failed("another user speaks at the socket"));
    }
    let (reader, writer) = stream.into_split();
    let mut text = String::new();
    BufReader::new(reader.take(LONGEST_LINE)).read_line(&mut text).await?;
    let asked: Asked = serde_json::from_str(&text).map_err(|error| {
        Failure::failed(format!("a command asks for what is not known: {error}"))
    })?;
    let mut caller = Caller { writer };
    match serve(executor, asked, &mut caller).await {
        Ok(()) => caller.say(&Answer::Report(Report::Over)).await,
        Err(failure) => caller.say(&Answer::Refused(failure)).await,
    }
}

/// The command at the other end.
struct Caller {
    writer: OwnedWriteHalf,
}

impl Caller {
    async fn say(&mut self, answer: &Answer) -> Result<(), Failure> {
        Ok(self.writer.write_all(&line(answer)?).await?)
    }
}

async fn serve(executor: &Executor, asked: Asked, caller: &mut Caller) -> Result<(), Failure> {
    let app = executor.app();
    let (id, give_up) = match &asked {
        Asked::Follow(id) => (id, false),
        Asked::GiveUp(id) => (id, true),
    };
    let operation = app.operation(id)?;
    if operation.status != OperationStatus::Running {
        return Ok(());
    }
    let mut reports = executor.follow(&operation).ok_or_else(stopping)?;
    if give_up {
        executor.give_up(&operation, &Vec::new())?;
    }
    loop {
        match reports.recv().await {
            Ok(Report::Over) | Err(RecvError::Closed) => return Ok(()),
            Ok(report) => caller.say(&Answer::Report(report)).await?,
            Err(RecvError::Lagged(_)) => {}
        }
    }
}
