//! An operation's progress as it goes from the server to a command that follows it.
//!
//! Owns the form of it on the wire: one JSON object a line. What a sink is told borrows; this is
//! the same, owned.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::domain::OperationKind;
use crate::operations::{Sink, Told};
use crate::targets::Progress;
use crate::telemetry::metrics::Metrics;

/// One thing that a sink is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// A step begins.
    StepBegins {
        /// Its name.
        name: String,
        /// Its place, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// What it does.
        says: String,
        /// Whether it is run again after an interruption.
        again: bool,
    },
    /// A step ended, and its outcome is stored.
    StepEnds {
        /// Its name.
        name: String,
        /// How.
        status: String,
        /// How long it took, in milliseconds.
        took_ms: u64,
        /// What became of it.
        message: Option<String>,
    },
    /// So much of so much is done.
    Amount {
        /// So much.
        done: u64,
        /// Of so much; 0 while it is not known.
        total: u64,
        /// Of what.
        what: String,
    },
    /// Something worth a line.
    Note {
        /// The line.
        line: String,
    },
    /// Whoever executed it does so no longer; the store says how it stands.
    Over,
}

impl Report {
    /// Tells a sink the same.
    pub fn tell(&self, sink: &dyn Sink) {
        match self {
            Self::StepBegins { name, number, of, says, again } => {
                sink.tell(&Told::StepBegins {
                    name,
                    number: *number,
                    of: *of,
                    says,
                    again: *again,
                });
            }
            Self::StepEnds { name, status, took_ms, message } => sink.tell(&Told::StepEnds {
                name,
                status,
                took_ms: *took_ms,
                message: message.as_deref(),
            }),
            Self::Amount { done, total, what } => sink.progress().amount(*done, *total, what),
            Self::Note { line } => sink.progress().note(line),
            Self::Over => {}
        }
    }
}

/// How many reports may wait for a follower; one that is slower misses some, and no more.
const WAITING: usize = 256;

/// A sink that whoever follows listens to.
#[derive(Debug, Clone)]
pub(super) struct Reporter {
    /// Made for the first that follows: its room for reports is not small, nobody follows most
    /// operations, and thousands may wait for their turn.
    followers: Arc<OnceLock<broadcast::Sender<Report>>>,
    kind: OperationKind,
    metrics: Metrics,
}

impl Reporter {
    /// One that also counts how long the steps take.
    pub fn new(kind: OperationKind, metrics: Metrics) -> Self {
        Self { followers: Arc::default(), kind, metrics }
    }

    pub fn follow(&self) -> broadcast::Receiver<Report> {
        self.followers.get_or_init(|| broadcast::channel(WAITING).0).subscribe()
    }

    pub fn report(&self, report: Report) {
        if let Some(followers) = self.followers.get() {
            // The last of them may have gone.
            let _ = followers.send(report);
        }
    }
}

impl Progress for Reporter {
    fn amount(&self, done: u64, total: u64, what: &str) {
        self.report(Report::Amount { done, total, what: what.to_owned() });
    }

    fn note(&self, line: &str) {
        tracing::info!("{line}");
        self.report(Report::Note { line: line.to_owned() });
    }
}

impl Sink for Reporter {
    fn tell(&self, told: &Told<'_>) {
        match *told {
            Told::StepBegins { name, number, of, says, again } => {
                tracing::info!(step = name, again, "{says}");
                self.report(Report::StepBegins {
                    name: name.to_owned(),
                    number,
                    of,
                    says: says.to_owned(),
                    again,
                });
            }
            Told::StepActed { .. } => {}
            Told::StepEnds { name, status, took_ms, message } => {
                // One that was not needed, or was interrupted, says nothing about its length.
                if matches!(status, "succeeded" | "failed_clean") {
                    self.metrics.step(self.kind.as_str(), name, Duration::from_millis(took_ms));
                }
                tracing::info!(step = name, status, took_ms, "{}", message.unwrap_or("ended"));
                self.report(Report::StepEnds {
                    name: name.to_owned(),
                    status: status.to_owned(),
                    took_ms,
                    message: message.map(str::to_owned),
                });
            }
        }
    }

    fn progress(&self) -> &dyn Progress {
        self
    }
}
