//! Exit codes. README.md documents them; a test compares.

use crate::domain::FailureKind;

/// Bad usage or bad input.
pub const BAD_USAGE: u8 = 2;

/// The exit code of a failure.
pub fn code(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::Failed | FailureKind::Forbidden | FailureKind::Internal => 1,
        FailureKind::BadInput => BAD_USAGE,
        FailureKind::NotFound => 3,
        FailureKind::Conflict | FailureKind::KeyReused => 4,
        FailureKind::Prerequisite => 5,
        FailureKind::Interrupted => 130,
    }
}
