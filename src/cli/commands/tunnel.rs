//! `tunnel`.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::super::terminal;
use super::Session;
use crate::app::{TunnelTold, open_browser};
use crate::domain::Failure;

pub(super) async fn run(
    session: &Session<'_>,
    name: Option<&str>,
    port: Option<u16>,
    no_open: bool,
) -> Result<u8, Failure> {
    let name = session.name(name)?;
    let app = session.app()?;
    session.stoppable()?;
    let out = session.out;
    let again = AtomicBool::new(false);
    let told = |told: &TunnelTold| match told {
        TunnelTold::Up { url, answers, for_browsers } => {
            if out.is_json() {
                out.object(&json!({
                    "state": "up", "url": url, "answers": answers, "for_browsers": for_browsers,
                }));
                return;
            }
            let again = again.swap(true, Ordering::Relaxed);
            if again {
                out.say("The connection is there again.");
            } else {
                out.line(url);
            }
            if !answers {
                out.say(&format!(
                    "The gateway does not answer there: openclaw-pipeline status {name}"
                ));
            }
            if again {
                return;
            }
            if *for_browsers {
                out.say(&format!(
                    "A link that lets a browser in there: openclaw-pipeline url {name} --tunnel"
                ));
                if !no_open && terminal::is_interactive() {
                    open_browser(url);
                }
            } else {
                out.say(
                    "A browser's page is let in from the gateway's own port alone; this one is for \
                     other programs.",
                );
            }
            out.say("Ctrl-C ends it.");
        }
        TunnelTold::Broken { why, again_in } => {
            let seconds = again_in.as_secs();
            if out.is_json() {
                out.object(&json!({ "state": "broken", "why": why, "again_in_s": seconds }));
            } else {
                out.say(&format!("The connection broke ({why}); again in {seconds} s"));
            }
        }
    };
    app.tunnel(&name, port, &told, session.cancel).await?;
    Ok(0)
}
