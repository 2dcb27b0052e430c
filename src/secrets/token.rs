//! Tokens and provider keys as their users give them.
//!
//! Owns the making of a token and the rules for those that come from outside. Refuses what
//! cannot be a token or a key before it reaches a file, a header or a command line, and names
//! the variable without echoing its value.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::Secret;
use super::seal::fill_random;
use crate::domain::Failure;

/// The variable that a gateway token is given by.
pub const TOKEN_VARIABLE: &str = "OPENCLAW_GATEWAY_TOKEN";
/// The shortest token that is taken from a user, in characters.
pub const TOKEN_MIN: usize = 16;
/// The longest token that is taken from a user, in characters.
pub const TOKEN_MAX: usize = 512;
/// The longest provider key, in characters.
pub const KEY_MAX: usize = 4096;

/// A new gateway token: 256 random bits in 43 characters that need no quoting anywhere.
pub fn generate_token() -> Secret {
    loop {
        let mut bytes = Zeroizing::new([0; 32]);
        fill_random(bytes.as_mut_slice());
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
        // A token that begins with a dash reads as an option wherever its owner pastes it.
        if !text.starts_with('-') {
            return Secret::new(text.as_str());
        }
    }
}

/// Checks a gateway token that a user gave.
pub fn check_token(text: &str) -> Result<Secret, Failure> {
    check_token_in(TOKEN_VARIABLE, text).map_err(|failure| {
        failure.remedy(format!(
            "leave {TOKEN_VARIABLE} out to have one generated, or make one: openssl rand -hex 32"
        ))
    })
}

/// Checks a token that a user gave by a variable.
pub fn check_token_in(variable: &str, text: &str) -> Result<Secret, Failure> {
    let refuse = |why: String| {
        Err(Failure::bad_input(format!(
            "{variable} is {TOKEN_MIN} to {TOKEN_MAX} printable ASCII characters without \
             blanks; the one given {why}"
        ))
        .remedy("make one: openssl rand -hex 32"))
    };
    if let Some(why) = foreign_character(text) {
        return refuse(why.to_owned());
    }
    if !(TOKEN_MIN..=TOKEN_MAX).contains(&text.len()) {
        return refuse(format!("has {}", text.len()));
    }
    Ok(Secret::new(text))
}

/// Checks a provider's key that a user gave.
pub fn check_key(variable: &str, text: &str) -> Result<Secret, Failure> {
    let refuse = |why: String, remedy: &str| {
        Err(Failure::bad_input(format!(
            "{variable} is 1 to {KEY_MAX} printable ASCII characters without blanks; the one \
             given {why}"
        ))
        .remedy(remedy))
    };
    let again = "copy the key again, without a line break or anything around it";
    if text.is_empty() {
        return refuse("is empty".to_owned(), "give the key, or leave the variable out");
    }
    if let Some(why) = foreign_character(text) {
        return refuse(why.to_owned(), again);
    }
    // What reads an environment file without taking the quotes off hands them over.
    if text.starts_with(['"', '\'']) || text.ends_with(['"', '\'']) {
        return refuse("has quotes around it".to_owned(), "remove the quotes");
    }
    if text.len() > KEY_MAX {
        return refuse(format!("has {}", text.len()), again);
    }
    Ok(Secret::new(text))
}

fn foreign_character(text: &str) -> Option<&'static str> {
    text.chars().find_map(|c| match c {
        '\n' | '\r' => Some("has a line break"),
        c if c.is_whitespace() => Some("has a blank"),
        c if c.is_control() => Some("has a control character"),
        c if !c.is_ascii() => Some("has a character that is not ASCII"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_tokens_are_long_different_and_acceptable() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let token = generate_token();
            // Six bits a character.
            assert!(token.expose().len() * 6 >= 192);
            assert!(!token.expose().starts_with('-'));
            check_token(token.expose()).expect("taken");
            assert!(seen.insert(token.expose().to_owned()));
        }
    }

    #[test]
    fn tokens_that_cannot_be_are_refused_without_an_echo() {
        for token in [
            "",
            "s3cr3t",
            "s3cr3t s3cr3t s3cr3t",
            "s3cr3ts3cr3ts3cr3t\n",
            "s3cr3ts3cr3t\r\ns3cr3t",
            "s3cr3ts3cr3ts3cr3t\0",
            "s3cr3ts3cr3ts3cr3t\u{1b}",
            "s3cr3ts3cr3ts3cr3tä",
            &"s3cr3t".repeat(100),
        ] {
            let failure = check_token(token).expect_err(token);
            assert!(failure.message.contains("OPENCLAW_GATEWAY_TOKEN"));
            assert!(!failure.message.contains("s3cr3t"), "{failure}");
            assert!(failure.remedy.is_some());
        }
        check_token(&"x".repeat(TOKEN_MAX)).expect("just short enough");
        check_token("!\"#$%&'()*+,-./:").expect("any printable character");
    }

    #[test]
    fn keys_that_cannot_be_are_refused_without_an_echo() {
        for key in [
            "",
            "sk-s3cr3t\n",
            " sk-s3cr3t",
            "sk s3cr3t",
            "sk-s3cr3t\0",
            "sk-s3cr3t…",
            "\"sk-s3cr3t\"",
            "'sk-s3cr3t'",
            &"s3cr3t".repeat(1000),
        ] {
            let failure = check_key("OPENAI_API_KEY", key).expect_err(key);
            assert!(failure.message.contains("OPENAI_API_KEY"));
            assert!(!failure.message.contains("s3cr3t"), "{failure}");
            assert!(failure.remedy.is_some());
        }
        assert_eq!(check_key("X", "sk-1").expect("taken").expose(), "sk-1");
    }
}
