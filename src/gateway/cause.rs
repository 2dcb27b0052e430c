//! The real cause of a gateway's end, found in its log.
//!
//! Owns the patterns of the gateway's own words. Refuses to guess: where nothing is known, the
//! last line that is an error, or the last line, is the answer.

use crate::domain::text::clean;

/// The longest cause, in characters: the gateway names whole paths before it says what is wrong.
const MAX_CHARS: usize = 400;

/// Words that mark a line as the cause, the most telling first: what is full or newer explains
/// everything that the gateway says after it (measured with 2026.7.1 to 2026.9.6).
const TELLING: [&str; 15] = [
    "ENOSPC",
    "no space left",
    "SQLITE_FULL",
    "this build supports",
    "are newer",
    "newer schema",
    "EADDRINUSE",
    "is already in use",
    "already listening",
    "openclaw.json:",
    "Invalid config",
    "existing config is missing",
    "Missing config",
    "Refusing to",
    "heap out of memory",
];

/// What the program's own lines in a gateway's log begin with, after the time.
pub const OURS: &str = "openclaw-pipeline: ";
/// The program's own line at each start of a gateway: what stands before it is over.
pub const STARTING: &str = "starting the gateway";

/// The words before the address from which a proxy came that the gateway was not told of.
const PROXY: &str = "unattributable proxy-shaped traffic from ";

/// The address of a proxy that the gateway was not told of, as its log has it.
pub fn proxy_of_log(log: &str) -> Option<std::net::IpAddr> {
    let (_, after) = log.rsplit_once(PROXY)?;
    after.split([';', ' ', '\n']).next()?.trim().parse().ok()
}

/// The cause, bounded and clean.
pub fn of_log(log: &str) -> String {
    let is_start =
        |line: &str| line.split_once(OURS).is_some_and(|(_, ours)| ours.trim_end() == STARTING);
    let mut lines: Vec<&str> = log.lines().rev().take_while(|line| !is_start(line)).collect();
    lines.reverse();
    let lines: Vec<&str> = lines
        .into_iter()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.contains(OURS.trim_end()))
        .collect();
    // The newest words count, so the search goes backwards.
    let recent = &lines[lines.len().saturating_sub(60)..];
    let telling =
        TELLING.iter().find_map(|words| recent.iter().rev().find(|line| line.contains(words)));
    let blocked = || {
        let words = ["Gateway failed to start", "Gateway start blocked", "refused startup"];
        recent.iter().rev().find(|line| words.iter().any(|words| line.contains(words)))
    };
    let error = || {
        recent.iter().rev().find(|line| {
            let lower = line.to_lowercase();
            lower.contains("error") || lower.contains("failed") || lower.contains("fatal")
        })
    };
    match telling.or_else(blocked).or_else(error).or(recent.last()) {
        Some(line) => clean(without_stamp(line), MAX_CHARS),
        None => "it said nothing".to_owned(),
    }
}

/// The line without its time stamp.
fn without_stamp(line: &str) -> &str {
    match line.split_once(' ') {
        Some((stamp, rest))
            if stamp.len() > 18 && stamp.as_bytes()[4] == b'-' && stamp.contains('T') =>
        {
            rest
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_telling_line_wins_over_the_last_one() {
        let log = "2026-11-23T02:03:04.449+00:00 [gateway] loading configuration…\n\
                   2026-11-23T02:03:05.000+00:00 Error: listen EADDRINUSE: port 19001\n\
                   bye\n";
        assert_eq!(of_log(log), "Error: listen EADDRINUSE: port 19001");
    }

    #[test]
    fn what_was_mended_before_the_last_start_is_no_cause() {
        let start = format!("2026-11-23T02:03:04.449Z {OURS}{STARTING}\n");
        let log = format!("{start}Error: ENOSPC: no space left\n{start}hello\nTypeError: x\n");
        assert_eq!(of_log(&log), "TypeError: x");
        assert_eq!(of_log(&format!("Error: ENOSPC\n{start}")), "it said nothing");
    }

    #[test]
    fn without_one_an_error_or_the_last_line_is_taken() {
        assert_eq!(of_log("hello\nTypeError: x\n  at y\n"), "TypeError: x");
        assert_eq!(of_log("hello\nbye\n"), "bye");
        assert_eq!(of_log(""), "it said nothing");
    }
}
