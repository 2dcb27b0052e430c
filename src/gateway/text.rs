//! Untrusted text made fit for a screen, a log or an event.
//!
//! Owns bounding, stripping and hiding the gateway token. Refuses to interpret: a name that looks
//! like an instruction stays a name, only shorter and without control characters.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::domain::text::percent_encode;
use crate::secrets::{REDACTED, Secret};

/// The longest text, in characters, that leaves this module.
pub const MAX_TEXT_CHARS: usize = 200;

/// How much is looked at before the cut: hiding a token shortens the text, and what would move
/// up has to be there.
const SCAN_CHARS: usize = 16 * MAX_TEXT_CHARS;

/// One line of at most 200 characters, without control, direction or invisible characters.
///
/// Line breaks and tabs become spaces. A cut is marked with an ellipsis.
pub fn clean_text(text: &str) -> String {
    cut(&strip(text))
}

/// [`clean_text`], with every spelling of `secret` replaced (as it is, base64, percent-encoded).
pub(super) fn clean_without(text: &str, secret: &Secret) -> String {
    let mut text = strip(text);
    let exposed = secret.expose();
    if !exposed.is_empty() {
        let spellings = [
            exposed.to_owned(),
            percent_encode(exposed),
            STANDARD_NO_PAD.encode(exposed),
            URL_SAFE_NO_PAD.encode(exposed),
        ];
        for spelling in &spellings {
            text = text.replace(spelling.as_str(), REDACTED);
        }
    }
    cut(&text)
}

fn strip(text: &str) -> String {
    let spaced = text.chars().take(SCAN_CHARS).map(|c| if is_space(c) { ' ' } else { c });
    let kept: String = spaced.filter(|&c| !c.is_control() && !is_invisible(c)).collect();
    kept.trim().to_owned()
}

fn is_space(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}')
}

/// Characters that change how their neighbours are shown: direction marks, joiners, tags.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{180E}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
        | '\u{FFF0}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_TEXT_CHARS {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(MAX_TEXT_CHARS - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_reach_the_terminal_with_escapes() {
        let name = "\u{1b}]0;owned\u{7}Anna\u{202e}gnp.exe\r\nline\u{200b}two";
        assert_eq!(clean_text(name), "]0;ownedAnnagnp.exe  linetwo");
        assert_eq!(clean_text("Anna's iPhone 📱"), "Anna's iPhone 📱");
    }

    #[test]
    fn long_text_is_cut_by_characters() {
        let short = clean_text(&"ä".repeat(5000));
        assert_eq!(short.chars().count(), MAX_TEXT_CHARS);
        assert!(short.ends_with('…'));
    }

    #[test]
    fn the_token_is_hidden_in_every_spelling() {
        let token = Secret::new("pa ss/word+1");
        for text in [
            "x pa ss/word+1 y",
            "x pa%20ss%2Fword%2B1 y",
            "x cGEgc3Mvd29yZCsx y",
            "x pa \u{0}ss/word+1 y",
        ] {
            assert_eq!(clean_without(text, &token), "x [redacted] y");
        }
    }
}
