//! Versions of `OpenClaw`, as far as it matters which one is newer.
//!
//! Owns their order and the oldest version that can be launched. Refuses suffixes: a beta has
//! what its version has.

use std::fmt;

use super::failure::Failure;

/// A version, `YEAR.MONTH.PATCH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenClawVersion {
    year: u16,
    month: u16,
    patch: u16,
}

impl OpenClawVersion {
    /// The oldest version whose page a browser can use over plain HTTP, and that says when it has
    /// started.
    pub const OLDEST: Self = Self::new(2026, 8, 1);

    /// A version.
    pub const fn new(year: u16, month: u16, patch: u16) -> Self {
        Self { year, month, patch }
    }

    /// Reads `YEAR.MONTH.PATCH[-SUFFIX]`; `None` for anything else, a tag like `latest` included.
    pub fn parse(text: &str) -> Option<Self> {
        let core = text.split_once('-').map_or(text, |(core, _)| core);
        let mut numbers = core.split('.').map(|part| {
            part.bytes().all(|c| c.is_ascii_digit()).then(|| part.parse::<u16>().ok()).flatten()
        });
        let version = Self::new(numbers.next()??, numbers.next()??, numbers.next()??);
        (numbers.next().is_none() && version.year >= 2000).then_some(version)
    }

    /// Refuses a version that is too old to be launched. One that cannot be read passes: the
    /// proof shows what it is worth.
    pub fn refuse_old(text: Option<&str>) -> Result<(), Failure> {
        match text.and_then(Self::parse) {
            Some(version) if version < Self::OLDEST => Err(Failure::bad_input(format!(
                "OpenClaw {version} is too old: its page lets no browser in over plain HTTP, and \
                 it does not tell when it has started (/startupz)"
            ))
            .remedy(format!("choose {} or newer", Self::OLDEST))),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for OpenClawVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.year, self.month, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_with_or_without_a_suffix() {
        for text in ["2026.9.6", "2026.9.6-slim", "2026.9.6-beta.1", "2026.9.6-1"] {
            assert_eq!(OpenClawVersion::parse(text), Some(OpenClawVersion::new(2026, 9, 6)));
        }
        for text in
            ["", "latest", "2026.9", "2026.9.6.1", "v2026.9.6", "1.2.3", "2026.+9.6", "2026..6"]
        {
            assert_eq!(OpenClawVersion::parse(text), None, "{text}");
        }
    }

    #[test]
    fn they_are_ordered_by_number() {
        let order = ["2026.7.1", "2026.8.1", "2026.9.5", "2026.9.6", "2026.9.10", "2026.12.0"];
        let parsed: Vec<_> = order.map(|text| OpenClawVersion::parse(text).expect(text)).into();
        assert!(parsed.is_sorted_by(|older, newer| older < newer));
        let texts: Vec<_> = parsed.iter().map(ToString::to_string).collect();
        assert_eq!(texts, order);
    }

    #[test]
    fn old_ones_are_refused_with_a_remedy() {
        for old in ["2026.7.1", "2026.7.9-beta.2", "2025.12.1"] {
            let failure = OpenClawVersion::refuse_old(Some(old)).expect_err(old);
            assert!(failure.message.contains("plain HTTP"), "{failure}");
            assert_eq!(failure.remedy.as_deref(), Some("choose 2026.8.1 or newer"));
        }
        for fine in [Some("2026.8.1"), Some("2026.9.6"), Some("latest"), None] {
            assert_eq!(OpenClawVersion::refuse_old(fine), Ok(()), "{fine:?}");
        }
    }
}
