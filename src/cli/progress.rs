//! Progress: steps with their times and a moving bar on a terminal, plain lines elsewhere, and
//! objects with `--json`. Where nothing moves, a step that takes long says now and then how far it
//! is.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::output::Output;
use super::terminal;
use crate::domain::TargetKind;
use crate::operations::{Sink, Told};
use crate::targets::Progress;

/// How often the spinner moves.
const TICK: Duration = Duration::from_millis(120);

/// A step that has said nothing for so long says how far it is.
const SILENCE: Duration = Duration::from_secs(10);

/// How far a step is that says so in lines: when it did last, and at which tenth.
#[derive(Debug)]
struct Pace {
    step: String,
    said: Instant,
    tenth: u64,
}

impl Pace {
    fn begin(step: &str) -> Self {
        Self { step: step.to_owned(), said: Instant::now(), tenth: 0 }
    }

    /// Whether a line is due: at every further tenth, and after a silence.
    fn is_due(&mut self, done: u64, total: u64, now: Instant) -> bool {
        let tenth = done.min(total).saturating_mul(10).checked_div(total).unwrap_or(0);
        let due = tenth > self.tenth || now.duration_since(self.said) >= SILENCE;
        if due {
            self.said = now;
            self.tenth = self.tenth.max(tenth);
        }
        due
    }
}

/// Progress on this process's standard error, or as objects on its standard output.
pub struct Shown {
    out: Output,
    bar: Option<Mutex<ProgressBar>>,
    pace: Mutex<Pace>,
    quiet: bool,
    /// What the phases of a launch on a machine are called, and the one that has begun.
    phases: Option<&'static [&'static str]>,
    /// Which of them a step is part of.
    phase_of: fn(&str) -> Option<usize>,
    phase: Mutex<Option<usize>>,
}

/// The phase that a step of a launch on a machine is part of.
fn phase_of(step: &str) -> Option<usize> {
    match step {
        // What comes before: a deploy stops what runs first.
        "stop" | "prepare" => None,
        "create_key" => Some(0),
        "create_config" => Some(1),
        "create_machine" | "connect" => Some(2),
        _ => Some(3),
    }
}

/// The phase that a step of bringing the pipeline server to its machine is part of.
fn server_phase_of(step: &str) -> Option<usize> {
    match step {
        "prepare" | "create_key" | "create_config" | "create_machine" | "connect" => Some(0),
        _ => Some(1),
    }
}

impl Shown {
    /// Progress as the terminal allows.
    pub fn new(out: Output) -> Self {
        let lively = !out.is_json() && terminal::is_lively();
        Self {
            out,
            bar: lively.then(|| Mutex::new(ProgressBar::hidden())),
            pace: Mutex::new(Pace::begin("")),
            quiet: false,
            phases: None,
            phase_of,
            phase: Mutex::new(None),
        }
    }

    /// The same for a launch on a target, whose phases have names where it makes machines.
    pub fn launching(out: Output, target: Option<TargetKind>) -> Self {
        let phases = match target {
            Some(TargetKind::Ec2) => {
                Some(["ec2-create-key", "ec2-config", "ec2-setup", "deploy-ec2"].as_slice())
            }
            Some(TargetKind::Lightsail) => {
                Some(["ls-create-key", "ls-config", "ls-setup", "deploy-ls"].as_slice())
            }
            _ => None,
        };
        let mut shown = Self::new(out);
        shown.phases = phases;
        shown
    }

    /// The same for the pipeline server's own machine.
    pub fn bringing_server(out: Output) -> Self {
        let mut shown = Self::new(out);
        shown.phases = Some(&["server-setup", "server-deploy"]);
        shown.phase_of = server_phase_of;
        shown
    }

    /// Progress of what is over in a moment: only notes are shown.
    pub fn quiet(out: Output) -> Self {
        Self {
            out,
            bar: None,
            pace: Mutex::new(Pace::begin("")),
            quiet: true,
            phases: None,
            phase_of,
            phase: Mutex::new(None),
        }
    }

    fn with_bar(&self, work: impl FnOnce(&mut ProgressBar)) -> bool {
        let Some(bar) = &self.bar else { return false };
        if let Ok(mut bar) = bar.lock() {
            work(&mut bar);
        }
        true
    }

    /// Says that a phase begins, where one does.
    fn heading(&self, step: &str) {
        let (Some(names), Some(phase)) = (self.phases, (self.phase_of)(step)) else { return };
        let Ok(mut begun) = self.phase.lock() else { return };
        if begun.replace(phase) != Some(phase) {
            self.out.say(&format!("[{}/{}] {}", phase + 1, names.len(), names[phase]));
        }
    }

    fn begins(&self, number: usize, of: usize, says: &str, again: bool) {
        let again = if again { " (again)" } else { "" };
        let line = match self.phases {
            Some(_) => format!("      {number}/{of} {says}{again}"),
            None => format!("[{number}/{of}] {says}{again}"),
        };
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

impl Shown {
    /// The amount in a line or an object, when one is due.
    fn line_of(&self, done: u64, total: u64, what: &str) {
        let Ok(mut pace) = self.pace.lock() else { return };
        if !pace.is_due(done, total, Instant::now()) {
            return;
        }
        if self.out.is_json() {
            let total = (total > 0).then_some(total);
            self.out.object(&json!({
                "step": pace.step, "progress": { "done": done, "total": total, "what": what },
            }));
        } else if total > 0 {
            self.out.say(&format!("      {done}/{total} {what}"));
        } else if done > 0 {
            self.out.say(&format!("      {done} {what}"));
        } else {
            self.out.say(&format!("      {what}"));
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Progress for Shown {
    fn amount(&self, done: u64, total: u64, what: &str) {
        let moved = self.with_bar(|bar| {
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
        if !moved && !self.quiet {
            self.line_of(done, total, what);
        }
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
                if let Ok(mut pace) = self.pace.lock() {
                    *pace = Pace::begin(name);
                }
                if self.out.is_json() {
                    self.out.object(&json!({
                        "step": name, "status": "running", "number": number, "of": of,
                        "message": says, "again": again,
                    }));
                } else {
                    self.heading(name);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_a_launch_on_a_machine_are_in_their_phases() {
        let steps = [
            "prepare",
            "create_key",
            "create_config",
            "create_machine",
            "connect",
            "fetch",
            "configure",
            "start",
            "prove",
            "open_window",
        ];
        let phases: Vec<_> = steps.iter().map(|step| phase_of(step)).collect();
        let all =
            [None, Some(0), Some(1), Some(2), Some(2), Some(3), Some(3), Some(3), Some(3), Some(3)];
        assert_eq!(phases, all);
    }

    #[test]
    fn a_line_is_due_at_each_tenth_and_after_a_silence() {
        let mut pace = Pace::begin("fetch");
        let begun = pace.said;
        let due: Vec<u64> = (0..=1000).filter(|done| pace.is_due(*done, 1000, begun)).collect();
        assert_eq!(due, [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]);
        // However long it takes, and where the total is not known: one every ten seconds.
        let mut pace = Pace::begin("prove");
        let begun = pace.said;
        let due: Vec<u64> =
            (0..35).filter(|s| pace.is_due(*s, 0, begun + Duration::from_secs(*s))).collect();
        assert_eq!(due, [10, 20, 30]);
    }
}
