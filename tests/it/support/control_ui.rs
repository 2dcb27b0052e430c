//! What the Control UI shows, read from its page: whether a browser is asked for
//! approval, and whether it is connected.
//!
//! Seen with the real gateway, 2026.9.6 (2026.8.1 and 2026.9.5 carry the same
//! element and title):
//!
//! - **Not let in**: the page is one `openclaw-login-gate`, whose
//!   `.login-gate__failure-title` says why: "Approve this browser", "This
//!   Gateway expects its token" (token missing or wrong), "Gateway secret
//!   rejected" (an owner link that was used before). `.login-gate__failure-raw`
//!   holds the gateway's own words, such as "device pairing required (requestId:
//!   UUID)"; the text to run, "openclaw devices approve UUID", stands in the page.
//! - **Let in**: the gate is replaced by `openclaw-app-shell`, which is a
//!   skeleton without any text for seconds more (5 s on busy cores); then the
//!   sidebar's `.sidebar-identity-card` and the composer's `textarea` appear.
//!   Neither the shell nor the text "Connected" alone is proof: the shell stays
//!   when the connection is lost, and the word is in a tooltip.
//! - **Lost**: the shell stays, with `.gateway-status--reconnecting` and the
//!   identity card's label ending in "Reconnecting…".
//!
//! The fragment (`#token=…`) disappears from the address as soon as it is read.

use std::time::Duration;

use super::browser::Page;

/// What a page of the Control UI shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum View {
    /// Nothing to judge by yet.
    Loading,
    /// It asks to be approved, under that request id.
    AsksForApproval(String),
    /// It is refused for another reason, which is the gate's title.
    Refused(String),
    /// It was let in, and has lost the gateway.
    Reconnecting,
    /// It is let in and can be used.
    Connected,
}

const VIEW: &str = r"(() => {
  const text = (found) => found?.textContent.replace(/\s+/g, ' ').trim() ?? '';
  const gate = document.querySelector('openclaw-login-gate');
  if (gate) {
    const title = text(gate.querySelector('.login-gate__failure-title'));
    const request = /openclaw devices approve ([0-9a-f-]{36})/.exec(text(gate))?.[1] ?? '';
    return title ? ['gate', title, request] : ['loading'];
  }
  const card = document.querySelector('openclaw-app-shell .sidebar-identity-card');
  if (!card || !document.querySelector('openclaw-app-shell textarea')) return ['loading'];
  const status = card.querySelector('.gateway-status');
  return [status || /…$/.test(card.ariaLabel ?? '') ? 'reconnecting' : 'connected'];
})()";

/// What `page` shows now.
pub async fn view(page: &Page) -> View {
    let Ok(seen) = page.eval(VIEW).await else {
        return View::Loading;
    };
    let word = |at: usize| seen[at].as_str().unwrap_or_default();
    match word(0) {
        "connected" => View::Connected,
        "reconnecting" => View::Reconnecting,
        "gate" if word(1) == "Approve this browser" && !word(2).is_empty() => {
            View::AsksForApproval(word(2).to_owned())
        }
        "gate" => View::Refused(word(1).to_owned()),
        _ => View::Loading,
    }
}

/// Whether the page is let in and can be used.
pub async fn is_connected(page: &Page) -> bool {
    view(page).await == View::Connected
}

/// The request id, if the page asks for approval.
pub async fn asks_for_approval(page: &Page) -> Option<String> {
    match view(page).await {
        View::AsksForApproval(request) => Some(request),
        _ => None,
    }
}

/// Waits until the page shows what `wanted` accepts, and returns how long that
/// took. The error says what it shows instead.
pub async fn wait_until(
    page: &Page,
    deadline: Duration,
    wanted: impl Fn(&View) -> bool,
) -> Result<Duration, String> {
    let began = std::time::Instant::now();
    loop {
        let seen = view(page).await;
        if wanted(&seen) {
            return Ok(began.elapsed());
        }
        if began.elapsed() > deadline {
            let text = page.text().await;
            return Err(format!("{seen:?} after {deadline:?}; the page says:\n{text}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The one-time owner link of `openclaw dashboard --json` (`browserUrl`), which
/// names the gateway's loopback twice, as a browser at `authority` (host and
/// port) has to open it.
pub fn owner_link(browser_url: &str, authority: &str) -> Option<String> {
    let rest = browser_url.strip_prefix("http://")?;
    let (_, fragment) = rest.split_once("/#")?;
    let parts: Vec<_> = fragment
        .split('&')
        .map(|part| match part.split_once('=') {
            Some(("gatewayUrl", _)) => {
                format!("gatewayUrl=ws%3A%2F%2F{}", authority.replace(':', "%3A"))
            }
            _ => part.to_owned(),
        })
        .collect();
    Some(format!("http://{authority}/#{}", parts.join("&")))
}
