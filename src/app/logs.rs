//! Reading a gateway's log.
//!
//! Owns the lines as they may be shown: bounded, without control characters, without a secret of
//! the deployment.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::App;
use crate::domain::{DeploymentName, Failure};
use crate::exec::ExecError;
use crate::secrets::Redactor;
use crate::targets::LogOptions;

/// The longest line, in characters.
const LINE_CHARS: usize = 4000;
/// How many lines may wait for whoever reads.
const WAITING: usize = 256;

impl App {
    /// Reads the log of a deployment; with `follow` until `cancel`. Whether it could be read whole.
    pub async fn log(
        &self,
        name: &DeploymentName,
        options: LogOptions,
        cancel: &CancellationToken,
        mut line: impl FnMut(&str) + Send,
    ) -> Result<bool, Failure> {
        let site = self.site(name)?;
        let mut cmd = self.target(&site).logs(&site, options)?;
        cmd.cancel_on(cancel);
        if options.follow {
            // Following ends when the reader says so.
            cmd.deadline(Duration::from_secs(u64::from(u32::MAX)));
        }
        let redactor = Redactor::new(site.secrets.all());
        let ended = cmd.lines(|_, text| line(&redactor.redact_line(text, LINE_CHARS))).await;
        match ended {
            Ok(output) => Ok(output.success()),
            Err(ExecError::Cancelled(_)) if options.follow => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// The lines of a log, as they come. Reading ends when the receiver is dropped, or becomes too
    /// slow by far: the last line then says that lines are missing.
    pub fn log_lines(&self, name: &DeploymentName, options: LogOptions) -> mpsc::Receiver<String> {
        let room = usize::try_from(options.tail).unwrap_or(0) + WAITING;
        let (sender, receiver) = mpsc::channel(room);
        let (app, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            let cancel = CancellationToken::new();
            let reading = app.log(&name, options, &cancel, |line| {
                // A gateway must not be held up by a reader, nor fill the memory for one.
                if sender.try_send(line.to_owned()).is_err() {
                    cancel.cancel();
                }
            });
            tokio::select! {
                ended = reading => if let Err(failure) = ended {
                    tracing::debug!(%name, "the log: {failure}");
                },
                () = sender.closed() => cancel.cancel(),
            }
        });
        receiver
    }
}
