//! Keys that look like ours and are not.
//!
//! Owns the guess at what was meant. Refuses to guess about short names, which are near to
//! everything.

use super::variables::{OWN_PREFIX, VARIABLES};

/// The shortest name that is compared.
const MIN_LENGTH: usize = 8;
/// How many letters may differ.
const MAX_DISTANCE: usize = 2;

/// The variable that an unknown key probably means.
pub fn suggestion(key: &str) -> Option<&'static str> {
    // Half the world's programs call theirs so.
    let common = key == "DATABASE_URL";
    if common || key.len() < MIN_LENGTH || key.len() > 64 {
        return None;
    }
    let upper = key.to_ascii_uppercase();
    VARIABLES
        .iter()
        .map(|row| row.name)
        .filter(|name| name.len() >= MIN_LENGTH)
        .filter_map(|name| {
            let distance = distance(&upper, name);
            // GATEWAY_TOKEN for OPENCLAW_GATEWAY_TOKEN.
            let short = name.strip_prefix(OWN_PREFIX).or_else(|| name.strip_prefix("OPENCLAW_"));
            let named = distance <= MAX_DISTANCE || short == Some(&upper);
            named.then_some((distance, name))
        })
        .min()
        .map(|(_, name)| name)
}

/// How many letters have to be put in, taken out or replaced.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        for (key, meant) in [
            ("ANTHROPIC_APIKEY", "ANTHROPIC_API_KEY"),
            ("ANTROPIC_API_KEY", "ANTHROPIC_API_KEY"),
            ("anthropic_api_key", "ANTHROPIC_API_KEY"),
            ("GATEWAY_PROT", "GATEWAY_PORT"),
            ("GATEWAY_TOKEN", "OPENCLAW_GATEWAY_TOKEN"),
            ("OPENCLAW_PIPELINE_HOEM", "OPENCLAW_PIPELINE_HOME"),
        ] {
            assert_eq!(suggestion(key), Some(meant), "{key}");
        }
    }

    #[test]
    fn other_names_are_left_alone() {
        for key in ["PATH", "GAME", "DATABASE_URL", "TELEGRAM_BOT_TOKEN", "REDIS_PASSWORD", ""] {
            assert_eq!(suggestion(key), None, "{key}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "abc", 0), ("", "ab", 2), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a, b), expected);
        }
    }
}
