//! What is printed where: answers on standard output, prose and progress on standard error. For a
//! person, the commands in a text are written as they can be pasted.

use std::io::Write;

use serde::Serialize;
use serde_json::json;

use super::hints::pasteable;
use crate::app::PlannedChange;
use crate::domain::Failure;

/// The two streams, and whether the answer is for a machine.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// Output for a person, or for a machine with `json`.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether the answer is for a machine.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The answer: one object for a machine, the text for a person.
    pub fn answer<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) {
        if self.json {
            self.object(value);
        } else {
            let text = text();
            if !text.is_empty() {
                self.line(&pasteable(text.trim_end_matches('\n')));
            }
        }
    }

    /// One object on a line, for a machine.
    pub fn object<T: Serialize>(&self, value: &T) {
        if let Ok(line) = serde_json::to_string(value) {
            self.line(&line);
        }
    }

    /// A line of an answer, as it stands.
    pub fn line(&self, line: &str) {
        // A reader that has seen enough and closed the pipe is no error.
        let _ = writeln!(std::io::stdout(), "{line}");
    }

    /// A line of prose.
    pub fn say(&self, line: &str) {
        let _ = writeln!(std::io::stderr(), "{}", pasteable(line));
    }

    /// A failure, with what to do next.
    pub fn failure(&self, failure: &Failure) {
        if self.json {
            self.object(&json!({ "error": failure }));
        }
        self.say(&format!("error: {}", failure.message));
        if let Some(remedy) = &failure.remedy {
            self.say(&format!("  to do: {remedy}"));
        }
    }
}

/// What a plan of Terraform's would change.
pub fn to_do(changes: &[PlannedChange]) -> String {
    let row = |it: &PlannedChange| vec![it.action.to_owned(), it.what.clone(), it.address.clone()];
    table(&["TO DO", "WHAT", "RESOURCE"], &changes.iter().map(row).collect::<Vec<_>>())
}

/// Rows in columns, with a heading.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(heading.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}
