//! Reading a gateway's log.
//!
//! Owns the lines as they may be shown: bounded, without control characters, without a secret of
//! the deployment. Refuses to hold many of them for whoever reads slowly: the child that reads the
//! log waits for them.

use std::time::Duration;

use tokio::sync::mpsc;

use super::App;
use crate::domain::{DeploymentName, Failure};
use crate::exec::Cmd;
use crate::secrets::Redactor;
use crate::targets::LogOptions;

/// The longest line, in characters.
const LINE_CHARS: usize = 4000;
/// How many lines may wait for whoever reads: at their longest, a quarter of a megabyte.
const WAITING: usize = 16;
/// How long reading a log to its end may take; whoever reads may be slow.
const READING: Duration = Duration::from_secs(600);
/// Following ends when the reader says so.
const FOLLOWING: Duration = Duration::from_secs(u32::MAX as u64);

/// How long a child with nothing to say is waited for: one that fails says so at once.
const BEGINNING: Duration = Duration::from_millis(500);

/// A line of a log; the last one may be why reading ended.
pub type Line = Result<String, Failure>;

/// The lines of a log, as they come and as fast as they are taken. Reading ends when this is
/// dropped.
#[derive(Debug)]
pub struct Lines {
    first: Option<Line>,
    rest: mpsc::Receiver<Line>,
}

impl Lines {
    /// The next line; `None` at the end.
    pub async fn next(&mut self) -> Option<Line> {
        match self.first.take() {
            Some(first) => Some(first),
            None => self.rest.recv().await,
        }
    }
}

impl App {
    /// Reads the log of a deployment. A log that is not there, or whose reading fails before there
    /// was a line, is a failure; what fails later is the last line.
    pub async fn log_lines(
        &self,
        name: &DeploymentName,
        options: LogOptions,
    ) -> Result<Lines, Failure> {
        let site = self.site(name)?;
        let mut cmd = self.target(&site).logs(&site, options).await?;
        cmd.deadline(if options.follow { FOLLOWING } else { READING });
        let redactor = Redactor::new(site.secrets.all());
        let (sender, mut rest) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            tokio::select! {
                () = read(cmd, &redactor, &sender) => {}
                // The child ends with what waits for it.
                () = sender.closed() => {}
            }
        });
        let first = if options.follow {
            tokio::time::timeout(BEGINNING, rest.recv()).await.ok().flatten()
        } else {
            rest.recv().await
        };
        Ok(Lines { first: first.map(|first| first.map(Ok)).transpose()?, rest })
    }
}

async fn read(mut cmd: Cmd, redactor: &Redactor, lines: &mpsc::Sender<Line>) {
    let ended = cmd.lines_at_pace(|_, text| {
        let line = redactor.redact_line(text, LINE_CHARS);
        async move {
            // Nobody takes it any more: that ends this, too.
            let _ = lines.send(Ok(line)).await;
        }
    });
    let failure = match ended.await {
        Ok(output) if output.success() => return,
        Ok(output) => {
            // Redacted whole: a line that is cut before may keep the beginning of a secret.
            let said = output.stderr.lines().rfind(|line| !line.trim().is_empty());
            let said = redactor.redact_line(said.unwrap_or("its reader failed"), LINE_CHARS);
            Failure::failed(format!("the log cannot be read any further: {said}"))
        }
        Err(error) => error.into(),
    };
    let _ = lines.send(Err(failure)).await;
}
