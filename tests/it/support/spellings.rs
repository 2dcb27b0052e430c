//! How a secret may be spelled where it must not be.
//!
//! Owns the spellings that are looked for, and that a text has none. Refuses to look for the text.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// That a text has none of these secrets, however spelled.
#[track_caller]
pub fn holds_none(what: &str, text: &str, secrets: &[&str]) {
    for spelling in spellings(secrets) {
        assert!(!text.contains(&spelling), "{what} holds {spelling}: {text}");
    }
}

/// Every spelling of these that is looked for: plain, base64 (both alphabets, at each offset), and as
/// in a URL.
fn spellings(secrets: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    for secret in secrets {
        all.push((*secret).to_owned());
        let percent = secret.bytes().map(|byte| match byte {
            b'/' | b'+' | b'=' => format!("%{byte:02X}"),
            other => char::from(other).to_string(),
        });
        all.push(percent.collect());
        for offset in 0..3 {
            let bytes = &secret.as_bytes()[offset..];
            let whole = &bytes[..bytes.len() / 3 * 3];
            all.push(STANDARD_NO_PAD.encode(whole));
            all.push(URL_SAFE_NO_PAD.encode(whole));
        }
    }
    all
}
