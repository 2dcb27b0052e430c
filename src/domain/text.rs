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
        match c {
            '\u{1b}' => {
                let kind = chars.next();
                skip_escape_sequence(kind, &mut chars);
                continue;
            }
            // The same in one character.
            '\u{90}' | '\u{98}' | '\u{9b}' | '\u{9d}'..='\u{9f}' => {
                skip_escape_sequence(char::from_u32(u32::from(c) - 0x40), &mut chars);
                continue;
            }
            _ => {}
        }
        let c = if matches!(c, '\n' | '\t' | '\u{2028}' | '\u{2029}') { ' ' } else { c };
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

/// Skips what follows an escape character and the one behind it: a CSI sequence, a string such as
/// a title, a character set, or nothing.
fn skip_escape_sequence(kind: Option<char>, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match kind {
        Some('[') => {
            for c in chars.by_ref() {
                if ('@'..='~').contains(&c) {
                    break;
                }
            }
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' || c == '\u{9c}' {
                    break;
                }
                if c == '\u{1b}' {
                    chars.next_if_eq(&'\\');
                    break;
                }
            }
        }
        Some(' '..='/') => {
            while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
            chars.next();
        }
        _ => {}
    }
}

/// Characters that are not seen, or change how their neighbours are: direction marks, joiners,
/// fillers, tags.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
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
        assert_eq!(clean("a\u{9b}31mb\u{1b}(Bc\u{1b}Pq\u{1b}\\d\u{1b}", 50), "abcd");
        assert_eq!(clean("a\u{ad}b\u{fe0f}c\u{e0041}d\u{2028}e", 50), "abcd e");
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(clean("äöüß", 3), "äöü…");
        assert_eq!(clean("äöü", 3), "äöü");
    }
}
