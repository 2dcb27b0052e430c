//! What goes on in a pod: its log, commands in it, and connections to what listens there.
//!
//! Owns the streams and how a command ended. Refuses a shell of its own: a command is a list of words.

use std::pin::Pin;

use futures_util::SinkExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, LogParams, TerminalSize};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite};
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

use super::Cluster;
use super::error::ApiError;

/// How much of a stream is held until it is taken, in bytes.
const HELD: usize = 64 * 1024;

/// A command's standard streams.
pub struct Streams {
    process: kube::api::AttachedProcess,
}

/// What reads one of a command's streams.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// What writes a command's input.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// What a command is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// Whether it reads.
    pub stdin: bool,
    /// Whether it has a terminal.
    pub terminal: bool,
}

impl Streams {
    /// What writes its input, once.
    pub fn input(&mut self) -> Option<Writer> {
        self.process.stdin().map(|it| Box::new(it) as Writer)
    }

    /// What reads its output, and its errors, once each.
    pub fn outputs(&mut self) -> (Option<Reader>, Option<Reader>) {
        let output = self.process.stdout().map(|it| Box::new(it) as Reader);
        (output, self.process.stderr().map(|it| Box::new(it) as Reader))
    }

    /// What tells its terminal how large it is, as columns and rows.
    pub fn resizing(&mut self) -> Option<Resizing> {
        self.process.terminal_size().map(|sender| Resizing { sender })
    }

    /// The exit code that it ended with; `None` where it was lost.
    pub async fn ended(mut self) -> Option<i32> {
        let status = self.process.take_status()?.await?;
        if status.status.as_deref() == Some("Success") {
            return Some(0);
        }
        let causes = status.details.and_then(|it| it.causes).unwrap_or_default();
        let code = causes.into_iter().find(|it| it.reason.as_deref() == Some("ExitCode"))?;
        code.message?.parse().ok()
    }
}

/// What tells a terminal how large it is.
pub struct Resizing {
    sender: futures_channel::mpsc::Sender<TerminalSize>,
}

impl Resizing {
    /// Tells it.
    pub async fn tell(&mut self, columns: u16, rows: u16) {
        let _ = self.sender.send(TerminalSize { width: columns, height: rows }).await;
    }
}

/// A log, and how much of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPart {
    /// How many lines from the end. `None`: all that is kept.
    pub tail: Option<u32>,
    /// Whether to wait for more.
    pub follow: bool,
    /// Whether it is that of the run before.
    pub previous: bool,
}

impl Cluster {
    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Starts a command in a container.
    pub async fn run(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        command: &[String],
        attached: Attached,
    ) -> Result<Streams, ApiError> {
        let params = AttachParams::default()
            .container(container)
            .stdin(attached.stdin)
            .stdout(true)
            // A terminal has one stream for both.
            .stderr(!attached.terminal)
            .tty(attached.terminal)
            .max_stdin_buf_size(HELD)
            .max_stdout_buf_size(HELD)
            .max_stderr_buf_size(HELD);
        let pods = self.pods(namespace);
        let words = || command.iter().map(String::as_str);
        let process = self.ask_once(|| pods.exec(pod, words(), &params)).await?;
        Ok(Streams { process })
    }

    /// A connection to a port on a pod's own loopback.
    pub async fn connect(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, ApiError> {
        let (pods, ports) = (self.pods(namespace), [port]);
        let mut forwarder = self.ask(|| pods.portforward(pod, &ports)).await?;
        let stream = forwarder.take_stream(port).ok_or_else(|| self.nothing_there())?;
        Ok(stream)
    }

    /// A container's log, as it comes.
    pub async fn log(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        part: LogPart,
    ) -> Result<Pin<Box<dyn AsyncBufRead + Send>>, ApiError> {
        let params = LogParams {
            container: Some(container.to_owned()),
            follow: part.follow,
            previous: part.previous,
            tail_lines: part.tail.map(i64::from),
            ..LogParams::default()
        };
        let pods = self.pods(namespace);
        Ok(Box::pin(self.ask(|| pods.log_stream(pod, &params)).await?.compat()))
    }

    /// The end of a container's log, so many bytes of it at most.
    pub async fn log_text(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        part: LogPart,
        max: usize,
    ) -> Result<String, ApiError> {
        let params = LogParams {
            container: Some(container.to_owned()),
            previous: part.previous,
            tail_lines: part.tail.map(i64::from),
            limit_bytes: i64::try_from(max).ok(),
            ..LogParams::default()
        };
        let pods = self.pods(namespace);
        self.ask(|| pods.logs(pod, &params)).await
    }
}
