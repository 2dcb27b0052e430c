//! Redaction: untrusted text without the secrets of its deployment.
//!
//! Owns the list of a secret's spellings: as it is, in base64 (both alphabets, also in the midst
//! of something longer), escaped in JSON, and line by line; each of them with any of its bytes
//! percent-encoded. Refuses to leave a part of one secret visible because another one overlaps it,
//! or because the text was cut inside it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::{REDACTED, Secret};
use crate::domain::text;

/// Shorter secrets are left alone: replacing them would make every text unreadable.
pub const MIN_LENGTH: usize = 4;
/// Parts of a secret (a line, its beginning before a cut, the inside of a longer base64 text) are
/// replaced from here on.
const MIN_PART: usize = 8;
/// What marks that a text was cut.
const CUT: &[u8] = "…".as_bytes();

/// Replaces the secrets of a deployment.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    /// Every spelling by its first byte, the longest first.
    patterns: BTreeMap<u8, Vec<Secret>>,
}

impl Redactor {
    /// A redactor of these secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut spellings: Vec<String> = secrets
            .into_iter()
            .filter(|secret| secret.expose().chars().count() >= MIN_LENGTH)
            .flat_map(|secret| spellings(secret.expose()))
            .collect();
        spellings.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        spellings.dedup();
        let mut patterns: BTreeMap<u8, Vec<Secret>> = BTreeMap::new();
        for spelling in spellings {
            let first = spelling.as_bytes()[0];
            patterns.entry(first).or_default().push(Secret::new(spelling));
        }
        Self { patterns }
    }

    /// The text with `[redacted]` in the place of every secret. Secrets that overlap or touch are
    /// replaced as one.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let bytes = text.as_bytes();
        let mut out = String::new();
        let mut copied = 0;
        let mut at = 0;
        while at < bytes.len() {
            let Some(length) = self.match_at(bytes, at) else {
                at += 1;
                continue;
            };
            // The match goes on as long as another one begins inside it or right behind it.
            let mut end = at + length;
            let mut inside = at + 1;
            while inside <= end && inside < bytes.len() {
                if let Some(length) = self.match_at(bytes, inside) {
                    end = end.max(inside + length);
                }
                inside += 1;
            }
            out.push_str(&text[copied..at]);
            out.push_str(REDACTED);
            copied = end;
            at = end;
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        out.push_str(&text[copied..]);
        Cow::Owned(out)
    }

    /// A line of a log as it may be shown or kept: redacted, without control characters, at most
    /// `max` characters. Give it whole lines: the second half of a secret is not recognised.
    pub fn redact_line(&self, line: &str, max: usize) -> String {
        // Cleaning can join what an escape sequence kept apart, so it is looked at again; the
        // cut comes last, or it would leave the beginning of a secret.
        let redacted = self.redact(line);
        let cleaned = text::clean(&redacted, redacted.len());
        text::clean(&self.redact(&cleaned), max)
    }

    /// How long the longest spelling is that stands here.
    fn match_at(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let rest = &bytes[at..];
        let first = [Some(rest[0]), percent_decoded(rest), (rest[0] == b'+').then_some(b' ')];
        let patterns =
            first.iter().flatten().filter_map(|first| self.patterns.get(first)).flatten();
        patterns.filter_map(|pattern| match_length(pattern.expose().as_bytes(), rest)).max()
    }
}

/// How much of a text's beginning is this pattern, each byte as it is or percent-encoded in any
/// case, a space also as a form has it. What stands before a cut may be its beginning.
fn match_length(pattern: &[u8], text: &[u8]) -> Option<usize> {
    let mut at = 0;
    for (matched, byte) in pattern.iter().enumerate() {
        let rest = &text[at..];
        if matched >= MIN_PART
            && let Some(broken) = before_cut(rest)
        {
            return Some(at + broken);
        }
        let encoded = percent_decoded(rest) == Some(*byte);
        if rest.first() == Some(byte) {
            // A percent sign may stand for itself, or open its own encoding.
            if encoded && let Some(length) = match_length(&pattern[matched + 1..], &rest[3..]) {
                return Some(at + 3 + length);
            }
            at += 1;
        } else if encoded {
            at += 3;
        } else if *byte == b' ' && rest.first() == Some(&b'+') {
            at += 1;
        } else {
            return None;
        }
    }
    Some(at)
}

/// Whether a text was cut here, and how much of an encoded byte stands before the cut.
fn before_cut(text: &[u8]) -> Option<usize> {
    let digits = || text.iter().skip(1).take_while(|byte| byte.is_ascii_hexdigit()).count();
    let broken = if text.first() == Some(&b'%') { 1 + digits() } else { 0 };
    text[broken..].starts_with(CUT).then_some(broken)
}

/// The byte whose encoding a text begins with.
fn percent_decoded(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// Every spelling of a secret that is looked for.
fn spellings(secret: &str) -> Vec<String> {
    let mut out = vec![secret.to_owned()];
    for engine in [&STANDARD, &URL_SAFE] {
        let whole = engine.encode(secret);
        out.push(whole.trim_end_matches('=').to_owned());
        out.push(whole);
        for offset in 0..3 {
            out.extend(base64_inside(engine, secret.as_bytes(), offset));
        }
    }
    if let Ok(json) = serde_json::to_string(secret) {
        out.push(json[1..json.len() - 1].to_owned());
    }
    // Logs come line by line.
    if secret.contains('\n') {
        let lines = secret.lines().map(str::trim);
        out.extend(lines.filter(|line| line.len() >= MIN_PART).map(str::to_owned));
    }
    out
}

/// The characters of base64 that depend on the secret alone when it stands `offset` bytes (modulo
/// three) behind the beginning of something longer, such as `user:password`.
fn base64_inside(
    engine: &base64::engine::GeneralPurpose,
    secret: &[u8],
    offset: usize,
) -> Option<String> {
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(secret);
    let encoded = engine.encode(&bytes);
    // A character holds six bits: the first ones mix with what stands before, and the last one
    // with what follows, unless the boundary falls between two bytes and two characters.
    let start = (offset * 8).div_ceil(6);
    let end = bytes.len() * 8 / 6;
    (end.checked_sub(start)? >= MIN_PART).then(|| encoded[start..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new(*text)).collect();
        Redactor::new(&secrets)
    }

    fn percent_encoded(text: &str, unreserved: &str, lower: bool) -> String {
        let encode = |byte: u8| match char::from(byte) {
            c if c.is_ascii_alphanumeric() && !unreserved.is_empty() => c.to_string(),
            c if unreserved.contains(c) => c.to_string(),
            _ if lower => format!("%{byte:02x}"),
            _ => format!("%{byte:02X}"),
        };
        text.bytes().map(encode).collect()
    }

    #[test]
    fn a_secret_goes_wherever_it_stands() {
        let redactor = redactor(&["hunter2!x"]);
        assert_eq!(redactor.redact("a hunter2!x b hunter2!x"), "a [redacted] b [redacted]");
        assert!(matches!(redactor.redact("nothing"), Cow::Borrowed(_)));
        assert_eq!(redactor.redact(""), "");
    }

    #[test]
    fn its_encodings_go_too() {
        let secret = "p?ss w/rd>>\"\\ü~~??";
        let redactor = redactor(&[secret]);
        for text in [
            secret.to_owned(),
            STANDARD.encode(secret),
            STANDARD_NO_PAD.encode(secret),
            URL_SAFE.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
            percent_encoded(secret, "-._~", false),
            percent_encoded(secret, "-._~", true),
            percent_encoded(secret, "-._~!'()*", false),
            // encodeURI, and a form.
            percent_encoded(secret, "-._~!'()*;,/?:@&=+$#", false),
            percent_encoded(secret, "-._*", false).replace("%20", "+"),
            percent_encoded(secret, "", false),
            serde_json::to_string(secret).expect("json").trim_matches('"').to_owned(),
        ] {
            let line = format!("<{text}>");
            assert_eq!(redactor.redact(&line), "<[redacted]>", "{line}");
        }
    }

    #[test]
    fn base64_of_something_longer_gives_nothing_away() {
        let secret = "0123456789abcdef";
        let redactor = redactor(&[secret]);
        for before in ["", "u:", "us:", "use:"] {
            for after in ["", "!", "!!"] {
                let text = STANDARD.encode(format!("{before}{secret}{after}"));
                let redacted = redactor.redact(&text);
                assert!(redacted.contains(REDACTED), "{before:?} {after:?}");
                assert!(redacted.len() <= REDACTED.len() + 12, "{redacted}");
            }
        }
    }

    #[test]
    fn the_longest_goes_first_and_overlaps_go_whole() {
        assert_eq!(
            redactor(&["secret", "secret-longer"]).redact("secret-longer secret"),
            "[redacted] [redacted]"
        );
        assert_eq!(redactor(&["abcdef", "defghi"]).redact("abcdefghi"), REDACTED);
        assert_eq!(redactor(&["abcd", "efgh"]).redact("abcdefgh"), REDACTED);
    }

    #[test]
    fn the_beginning_of_a_secret_goes_where_the_text_was_cut() {
        let secret = "hunter2!hunter3/";
        let redactor = redactor(&[secret]);
        for text in [
            "hunter2!…",
            "hunter2!hunter3…",
            "hunter2%21hunter3%2…",
            "hunter2%21hunter3%…",
            &format!("{}…", &STANDARD.encode(secret)[..11]),
            &format!("{}…", &STANDARD.encode(format!("u:{secret}"))[3..13]),
        ] {
            let line = format!("why: {text}; see the log");
            assert_eq!(redactor.redact(&line), "why: [redacted]…; see the log", "{line}");
        }
        assert_eq!(redactor.redact("hunter2…"), "hunter2…", "too little to be one");
        assert_eq!(redactor.redact("hunter2!"), "hunter2!", "not cut");
        let cut = text::clean(&format!("{} {secret}", "x".repeat(290)), 300);
        assert!(!redactor.redact_line(&cut, 400).contains("hunter2"));
    }

    #[test]
    fn a_percent_sign_is_itself_or_its_encoding() {
        for secret in ["%25%25%25", "%%25%%", "100%2525"] {
            let redactor = redactor(&[secret]);
            for text in [secret.to_owned(), percent_encoded(secret, "-", true)] {
                assert_eq!(redactor.redact(&format!("<{text}>")), "<[redacted]>", "{text}");
            }
        }
    }

    #[test]
    fn short_secrets_are_left_alone() {
        assert_eq!(redactor(&["", "a", "abc"]).redact("a b abc"), "a b abc");
    }

    #[test]
    fn a_line_is_clean_and_bounded_and_no_cut_shows_a_beginning() {
        let redactor = redactor(&["hunter2!x", "first-line-of-key\nsecond-line-of-key"]);
        assert_eq!(redactor.redact_line("a \u{1b}[31mhunter2!x\u{1b}[0m\r", 80), "a [redacted]");
        assert_eq!(redactor.redact_line("hunt\u{1b}[0mer2!x", 80), REDACTED);
        assert_eq!(redactor.redact_line("12345 hunter2!x", 10), "12345 [red…");
        assert_eq!(redactor.redact_line("  second-line-of-key", 80), "  [redacted]");
    }

    /// What a terminal does not show, and cleaning takes out.
    const UNSEEN: [&str; 9] = [
        "\u{1b}[31m",
        "\u{1b}]0;title\u{7}",
        "\u{1b}]8;;x\u{1b}\\",
        "\u{1b}(B",
        "\u{9b}1;2H",
        "\u{200b}",
        "\u{ad}",
        "\u{7}",
        "\u{202e}",
    ];

    /// One of the ways in which a secret may stand in a text.
    fn spelled(secret: &str, how: usize, cases: &[bool], unseen: &[usize]) -> String {
        let percent = |(index, byte): (usize, u8)| {
            let c = char::from(byte);
            match (cases[index % cases.len()], cases[(index + 1) % cases.len()]) {
                (true, _) if c.is_ascii_graphic() && c != '%' => c.to_string(),
                (_, true) => format!("%{byte:02X}"),
                (_, false) => format!("%{byte:02x}"),
            }
        };
        match how {
            0 => secret.to_owned(),
            1..=3 => STANDARD.encode(format!("{}{secret}", &"u:"[..how - 1])),
            4..=6 => URL_SAFE_NO_PAD.encode(format!("{}{secret}", &"u:"[..how - 4])),
            7 => secret.bytes().enumerate().map(percent).collect(),
            _ => {
                let split = |(index, c): (usize, char)| {
                    format!("{c}{}", UNSEEN[unseen[index % unseen.len()]])
                };
                secret.chars().enumerate().map(split).collect()
            }
        }
    }

    proptest! {
        #[test]
        fn no_spelling_survives(
            before in "[ -~]{0,20}", after in "[ -~]{0,20}", secret in "[!-~äß]{12,40}",
            how in 0_usize..9, cases in proptest::collection::vec(any::<bool>(), 5),
            unseen in proptest::collection::vec(0..UNSEEN.len(), 1..4),
        ) {
            let redactor = redactor(&[&secret]);
            let spelled = spelled(&secret, how, &cases, &unseen);
            let line = redactor.redact_line(&format!("{before} {spelled} {after}"), 1000);
            prop_assert!(line.contains(REDACTED), "{line}");
            prop_assert!(!line.contains(&secret), "{line}");
            // Of a text in base64, the characters that mix with what stands around stay.
            let left = line.replace(REDACTED, "").len();
            prop_assert!(left <= before.len() + after.len() + 2 + 8, "{line}");
        }

        #[test]
        fn no_secret_survives(before in "\\PC{0,20}", secret in "[ -~äß]{4,40}", after in "\\PC{0,20}") {
            let redactor = redactor(&[&secret]);
            let text = format!("{before}{secret}{after}");
            let redacted = redactor.redact(&text);
            prop_assert!(redacted.contains(REDACTED));
            // What is put in may contain a secret such as "acte"; nothing else may.
            prop_assert!(!redacted.replace(REDACTED, "\0").contains(&secret));
        }
    }
}
