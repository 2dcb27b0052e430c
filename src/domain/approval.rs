//! Who may be let in without a hand on it.
//!
//! Owns the policy: a pure function from a request and a window to a decision with its reason.
//! Refuses what it does not know: a scope outside the ceiling, another role, a device that is
//! known already and asks for more.

use serde::{Deserialize, Serialize};

/// How long the window is open after the route was proven, in seconds, unless said otherwise.
pub const DEFAULT_WINDOW_S: u32 = 600;
/// How many devices the window lets in, unless said otherwise.
pub const DEFAULT_DEVICES: u32 = 3;

/// The scopes that may be granted without a question: what the gateway's own page asks for.
/// A page that asks for anything else waits for a person.
pub const SCOPE_CEILING: [&str; 8] = [
    "operator.admin",
    "operator.approvals",
    "operator.pairing",
    "operator.questions",
    "operator.read",
    "operator.talk",
    "operator.talk.secrets",
    "operator.write",
];

/// What to do with a browser that asks to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalMode {
    /// Let it in, within the window and the ceiling.
    Auto,
    /// Tell that it asks, and wait for a person.
    Ask,
    /// Do not even look.
    Off,
}

impl std::str::FromStr for ApprovalMode {
    type Err = super::Failure;

    fn from_str(text: &str) -> Result<Self, super::Failure> {
        match text {
            "auto" => Ok(Self::Auto),
            "ask" => Ok(Self::Ask),
            "off" => Ok(Self::Off),
            other => Err(super::Failure::bad_input(format!(
                "approval is auto, ask or off; {:?} is none of them",
                super::text::clean(other, 40)
            ))),
        }
    }
}

/// The policy of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalPolicy {
    /// The mode.
    pub mode: ApprovalMode,
    /// How long the window is open, in seconds.
    pub window_s: u32,
    /// How many devices it lets in.
    pub devices: u32,
}

impl Default for ApprovalPolicy {
    fn default() -> Self {
        Self { mode: ApprovalMode::Auto, window_s: DEFAULT_WINDOW_S, devices: DEFAULT_DEVICES }
    }
}

/// What of a pairing request the policy looks at.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The roles that the device asks for.
    pub roles: &'a [String],
    /// The scopes that it asks for.
    pub scopes: &'a [String],
    /// Whether the gateway has never paired this device, under any key or role.
    pub is_new_device: bool,
}

/// What the window allows now.
#[derive(Debug, Clone, Copy)]
pub struct WindowState {
    /// The mode.
    pub mode: ApprovalMode,
    /// Whether the deadline is still ahead.
    pub open: bool,
    /// How many devices may still be let in.
    pub remaining: u32,
}

/// A decision. Every one is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Let it in.
    Approve {
        /// Why.
        reason: String,
    },
    /// Leave it to a person.
    Leave {
        /// Why.
        reason: String,
    },
}

/// Why a request waits that came after the window.
const OVER: &str = "the approval window is over";
/// Why a request waits that came after as many as the window lets in.
const USED_UP: &str = "the approval window has let in as many devices as it may";

/// Whether a request was left for the window's sake alone: another window may let it in.
pub fn left_for_the_window(reason: &str) -> bool {
    reason == OVER || reason == USED_UP
}

/// Decides about a request that arrived while a window is or was open.
pub fn decide(asked: Asked<'_>, window: WindowState) -> Decision {
    let leave = |reason: String| Decision::Leave { reason };
    match window.mode {
        ApprovalMode::Auto => {}
        ApprovalMode::Ask => return leave("the policy is to ask".into()),
        ApprovalMode::Off => return leave("automatic approval is off".into()),
    }
    if !window.open {
        return leave(OVER.into());
    }
    if window.remaining == 0 {
        return leave(USED_UP.into());
    }
    match within_ceiling(asked) {
        Err(reason) => leave(reason),
        Ok(()) => Decision::Approve {
            reason: format!(
                "new device, role operator, scopes within the ceiling, window open, {} left",
                window.remaining
            ),
        },
    }
}

/// Whether a request is one that may be granted without looking closer: a new device, the role
/// operator and nothing else, scopes within the ceiling.
pub fn within_ceiling(asked: Asked<'_>) -> Result<(), String> {
    if asked.roles.is_empty() || asked.roles.iter().any(|role| role != "operator") {
        return Err(format!(
            "it asks for the role {}; only operator is approved automatically",
            super::text::clean(&asked.roles.join("+"), 80)
        ));
    }
    if !asked.is_new_device {
        return Err("the device is known and asks for something new".into());
    }
    match asked.scopes.iter().find(|scope| !SCOPE_CEILING.contains(&scope.as_str())) {
        Some(scope) => Err(format!(
            "it asks for the scope {}, which is beyond the ceiling",
            super::text::clean(scope, 80)
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    fn decided(roles: &[&str], scopes: &[&str], new: bool, window: WindowState) -> bool {
        let (roles, scopes) = (texts(roles), texts(scopes));
        let asked = Asked { roles: &roles, scopes: &scopes, is_new_device: new };
        matches!(decide(asked, window), Decision::Approve { .. })
    }

    const OPEN: WindowState = WindowState { mode: ApprovalMode::Auto, open: true, remaining: 3 };

    #[test]
    fn a_browser_of_the_owner_is_let_in() {
        assert!(decided(&["operator"], &["operator.admin", "operator.pairing"], true, OPEN));
    }

    #[test]
    fn everything_else_waits_for_a_person() {
        let scopes = ["operator.admin"];
        assert!(!decided(&["operator"], &scopes, true, WindowState { open: false, ..OPEN }));
        assert!(!decided(&["operator"], &scopes, true, WindowState { remaining: 0, ..OPEN }));
        for mode in [ApprovalMode::Ask, ApprovalMode::Off] {
            assert!(!decided(&["operator"], &scopes, true, WindowState { mode, ..OPEN }));
        }
        assert!(!decided(&["operator"], &scopes, false, OPEN), "an upgrade");
        assert!(!decided(&["node"], &[], true, OPEN));
        assert!(!decided(&["operator", "node"], &scopes, true, OPEN));
        assert!(!decided(&[], &scopes, true, OPEN));
        assert!(!decided(&["operator"], &["operator.admin", "root"], true, OPEN));
    }
}
