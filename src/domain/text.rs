//! Untrusted text: what a gateway, a tool or a device printed.
//!
//! Owns bounding and cleaning. Refuses to pass a control character or an endless line on to a
//! log, an event, an error or a terminal.

/// The text without control characters and at most `max` characters long; `…` marks a cut.
/// Newlines and tabs become spaces.
pub fn clean(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max * 4));
    let mut count = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            skip_escape_sequence(&mut chars);
            continue;
        }
        let c = if c == '\n' || c == '\t' { ' ' } else { c };
        if c.is_control() || is_invisible(c) {
            continue;
        }
        if count == max {
            out.push('…');
            break;
        }
        out.push(c);
        count += 1;
    }
    out
}

/// The text as it may stand in a part of a URL.
pub fn percent_encode(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Skips what follows an escape character: a CSI sequence, an OSC string, or one character.
fn skip_escape_sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        Some('[') => {
            for c in chars.by_ref() {
                if ('@'..='~').contains(&c) {
                    break;
                }
            }
        }
        Some(']') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' {
                    break;
                }
                if c == '\u{1b}' {
                    chars.next_if_eq(&'\\');
                    break;
                }
            }
        }
        _ => {}
    }
}

/// Characters that change how a line reads without being seen: bidirectional overrides and
/// zero-width marks.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_controls_go() {
        assert_eq!(clean("\u{1b}[31mred\u{1b}[0m\u{7}!", 50), "red!");
        assert_eq!(clean("a\u{1b}]0;title\u{7}b\u{1b}]8;;x\u{1b}\\c", 50), "abc");
        assert_eq!(clean("one\ntwo\r\tthree", 50), "one two three");
        assert_eq!(clean("abc\u{202e}def", 50), "abcdef");
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(clean("äöüß", 3), "äöü…");
        assert_eq!(clean("äöü", 3), "äöü");
    }
}
