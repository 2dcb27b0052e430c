//! Reading a gateway's log.
//!
//! Owns the lines as they may be shown: bounded, without control characters, without a secret of
//! the deployment. Refuses to hold many of them for whoever reads slowly: the child that reads the
//! log waits for them.

use std::time::Duration;

use tokio::sync::mpsc;

use super::App;
use crate::domain::{DeploymentName, Failure};
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

impl App {
    /// The lines of a log, as they come and as fast as they are taken. Reading ends when the
    /// receiver is dropped.
    pub fn log_lines(&self, name: &DeploymentName, options: LogOptions) -> mpsc::Receiver<String> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (app, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            let reading = app.read_log(&name, options, &sender);
            tokio::select! {
                ended = reading => if let Err(failure) = ended {
                    tracing::debug!(%name, "the log: {failure}");
                },
                // The child ends with what waits for it.
                () = sender.closed() => {}
            }
        });
        receiver
    }

    async fn read_log(
        &self,
        name: &DeploymentName,
        options: LogOptions,
        lines: &mpsc::Sender<String>,
    ) -> Result<(), Failure> {
        let site = self.site(name)?;
        let mut cmd = self.target(&site).logs(&site, options)?;
        cmd.deadline(if options.follow { FOLLOWING } else { READING });
        let redactor = Redactor::new(site.secrets.all());
        cmd.lines_at_pace(|_, text| {
            let line = redactor.redact_line(text, LINE_CHARS);
            async move {
                // Nobody takes it any more: that ends this, too.
                let _ = lines.send(line).await;
            }
        })
        .await?;
        Ok(())
    }
}
