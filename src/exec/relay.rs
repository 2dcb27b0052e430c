//! A byte stream through a child's standard input and output.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::command::{Cmd, ExecError};

/// A child that copies bytes between its standard streams and something only it can reach. It is
/// killed when the relay is dropped.
#[derive(Debug)]
pub struct Relay {
    stdin: ChildStdin,
    stdout: ChildStdout,
    _child: Child,
}

impl Cmd {
    /// Starts it as a relay.
    pub fn relay(&mut self) -> Result<Relay, ExecError> {
        let name = self.name();
        let mut child = self.spawn_relay()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        match stdin.zip(stdout) {
            Some((stdin, stdout)) => Ok(Relay { stdin, stdout, _child: child }),
            None => Err(ExecError::Io { program: name, source: io::ErrorKind::BrokenPipe.into() }),
        }
    }
}

impl AsyncRead for Relay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(cx, buf)
    }
}

impl AsyncWrite for Relay {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stdin).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(cx)
    }
}
