//! Remedies for callers of the API.
//!
//! Owns the translation of a command that a remedy names into the call that does the same. What no
//! call does stays a command, for whoever sits at the server.

/// How a command of the program begins.
const PROGRAM: &str = "openclaw-pipeline ";

/// A remedy with calls in the place of commands.
pub fn for_callers(remedy: &str) -> String {
    let mut text = String::with_capacity(remedy.len());
    let mut rest = remedy;
    while let Some(at) = rest.find(PROGRAM) {
        text.push_str(&rest[..at]);
        let command = &rest[at + PROGRAM.len()..];
        if let Some((call, length)) = call(command) {
            text.push_str(&call);
            rest = &command[length..];
        } else {
            text.push_str(PROGRAM);
            rest = command;
        }
    }
    text.push_str(rest);
    text
}

/// The call that does what a command does, and how long the command's words are.
fn call(command: &str) -> Option<(String, usize)> {
    let mut words = Words { text: command, at: 0 };
    let verb = words.next()?;
    if verb == "operations" {
        let what = words.next()?;
        if what == "list" {
            return Some(("GET /v1/operations".into(), words.at));
        }
        let id = words.next()?;
        let call = match what {
            "show" => format!("GET /v1/operations/{id}"),
            "resume" | "cancel" => format!("POST /v1/operations/{id}/{what}"),
            _ => return None,
        };
        return Some((call, words.at));
    }
    if verb == "list" {
        return Some(("GET /v1/deployments".into(), words.at));
    }
    let name = words.next()?;
    let call = match verb {
        "start" | "stop" | "restart" | "update" | "rotate" | "approve" => {
            format!("POST /v1/deployments/{name}/{verb}")
        }
        // Going on with one that is there is no call: a launch by request makes a new one.
        "launch" if command[words.at..].starts_with(" --target") => return None,
        "launch" => "POST /launch".into(),
        "expose" => match words.next()? {
            "tunnel" => format!("POST /v1/deployments/{name}/tunnel"),
            "http" => format!("DELETE /v1/deployments/{name}/tunnel"),
            _ => return None,
        },
        "destroy" => format!("DELETE /v1/deployments/{name}"),
        "status" => format!("GET /v1/deployments/{name}"),
        "devices" | "logs" | "backups" => format!("GET /v1/deployments/{name}/{verb}"),
        "restore" => format!("POST /v1/deployments/{name}/backups/restore"),
        "open" => format!("POST /v1/deployments/{name}/access"),
        _ => return None,
    };
    Some((call, words.at))
}

/// The plain words that a text begins with: names, ids, verbs.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let from = self.text[self.at..].strip_prefix(' ').map_or(self.at, |_| self.at + 1);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let length = self.text[from..].find(|c| !plain(c)).unwrap_or(self.text.len() - from);
        let word = self.text.get(from..from + length)?;
        if word.is_empty() || word.starts_with('-') {
            return None;
        }
        self.at = from + length;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_become_calls_where_there_is_one() {
        for (remedy, expected) in [
            ("openclaw-pipeline start main", "POST /v1/deployments/main/start"),
            ("openclaw-pipeline expose main tunnel", "POST /v1/deployments/main/tunnel"),
            ("openclaw-pipeline expose main http", "DELETE /v1/deployments/main/tunnel"),
            ("openclaw-pipeline expose main none", "openclaw-pipeline expose main none"),
            (
                "openclaw-pipeline list shows what there is",
                "GET /v1/deployments shows what there is",
            ),
            (
                "wait for it, or go on with it: openclaw-pipeline operations resume 01a2-b3",
                "wait for it, or go on with it: POST /v1/operations/01a2-b3/resume",
            ),
            (
                "openclaw-pipeline update box --version 2026.9.6 makes a backup first",
                "POST /v1/deployments/box/update --version 2026.9.6 makes a backup first",
            ),
            (
                "openclaw-pipeline doctor main looks for the cause; openclaw-pipeline destroy main",
                "openclaw-pipeline doctor main looks for the cause; DELETE /v1/deployments/main",
            ),
            (
                "openclaw-pipeline launch main --target ec2 goes on, openclaw-pipeline destroy \
                 main removes it",
                "openclaw-pipeline launch main --target ec2 goes on, DELETE /v1/deployments/main \
                 removes it",
            ),
            ("openclaw-pipeline operations", "openclaw-pipeline operations"),
            ("openclaw-pipeline --help", "openclaw-pipeline --help"),
            ("free some space", "free some space"),
            ("openclaw-pipeline start ", "openclaw-pipeline start "),
        ] {
            assert_eq!(for_callers(remedy), expected);
        }
    }
}
