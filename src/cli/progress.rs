//! Progress: steps with their times and a moving bar on a terminal, plain lines elsewhere, and
//! objects with `--json`.

use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::output::Output;
use super::terminal;
use crate::operations::{Sink, Told};
use crate::targets::Progress;

/// How often the spinner moves.
const TICK: Duration = Duration::from_millis(120);

/// Progress on this process's standard error, or as objects on its standard output.
pub struct Shown {
    out: Output,
    bar: Option<Mutex<ProgressBar>>,
    quiet: bool,
}

impl Shown {
    /// Progress as the terminal allows.
    pub fn new(out: Output) -> Self {
        let lively = !out.is_json() && terminal::is_lively();
        Self { out, bar: lively.then(|| Mutex::new(ProgressBar::hidden())), quiet: false }
    }

    /// Progress of what is over in a moment: only notes are shown.
    pub fn quiet(out: Output) -> Self {
        Self { out, bar: None, quiet: true }
    }

    fn with_bar(&self, work: impl FnOnce(&mut ProgressBar)) -> bool {
        let Some(bar) = &self.bar else { return false };
        if let Ok(mut bar) = bar.lock() {
            work(&mut bar);
        }
        true
    }

    fn begins(&self, number: usize, of: usize, says: &str, again: bool) {
        let again = if again { " (again)" } else { "" };
        let line = format!("[{number}/{of}] {says}{again}");
        let moved = self.with_bar(|bar| {
            bar.finish_and_clear();
            let spinner = ProgressBar::new_spinner();
            spinner.set_style(style("{spinner:.cyan} {prefix} {msg:.dim} {elapsed:.dim}"));
            spinner.set_prefix(line.clone());
            spinner.enable_steady_tick(TICK);
            *bar = spinner;
        });
        if !moved {
            self.out.say(&line);
        }
    }

    fn ends(&self, status: &str, took_ms: u64, message: Option<&str>) {
        let seconds = format!("{}.{} s", took_ms / 1000, took_ms % 1000 / 100);
        let mark = match status {
            "succeeded" => "✓",
            "skipped" => "-",
            _ => "✗",
        };
        let why = message.map(|why| format!(": {why}")).unwrap_or_default();
        let moved = self.with_bar(|bar| {
            let line = format!("{mark} {}  {seconds}{why}", bar.prefix());
            bar.finish_and_clear();
            self.out.say(&line);
        });
        if !moved {
            self.out.say(&format!("      {mark} {seconds}{why}"));
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Progress for Shown {
    fn amount(&self, done: u64, total: u64, what: &str) {
        self.with_bar(|bar| {
            if total > 0 && bar.length() != Some(total) {
                bar.set_length(total);
                bar.set_style(style(
                    "{spinner:.cyan} {prefix} [{bar:24.cyan}] {pos}/{len} {msg:.dim} {elapsed:.dim}",
                ));
            }
            if total > 0 {
                bar.set_position(done);
            }
            bar.set_message(if total == 0 && done > 0 {
                format!("{done} {what}")
            } else {
                what.to_owned()
            });
        });
    }

    fn note(&self, line: &str) {
        if self.out.is_json() {
            self.out.object(&json!({ "note": line }));
            return;
        }
        let moved = self.with_bar(|bar| bar.suspend(|| self.out.say(&format!("note: {line}"))));
        if !moved {
            self.out.say(&format!("note: {line}"));
        }
    }
}

impl Sink for Shown {
    fn tell(&self, told: &Told<'_>) {
        if self.quiet {
            return;
        }
        match *told {
            Told::StepBegins { name, number, of, says, again } => {
                if self.out.is_json() {
                    self.out.object(&json!({
                        "step": name, "status": "running", "number": number, "of": of,
                        "message": says, "again": again,
                    }));
                } else {
                    self.begins(number, of, says, again);
                }
            }
            Told::StepActed { .. } => {}
            Told::StepEnds { name, status, took_ms, message } => {
                if self.out.is_json() {
                    self.out.object(&json!({
                        "step": name, "status": status, "took_ms": took_ms, "message": message,
                    }));
                } else {
                    self.ends(status, took_ms, message);
                }
            }
        }
    }

    fn progress(&self) -> &dyn Progress {
        self
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.with_bar(|bar| bar.finish_and_clear());
    }
}
