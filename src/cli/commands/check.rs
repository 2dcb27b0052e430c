//! `check`: the gateway's route, its providers' keys, its default model. What does not work exits
//! with 1.

use serde_json::json;

use super::super::args::Check;
use super::super::progress::Shown;
use super::Session;
use crate::app::check::CheckedCredential;
use crate::domain::Failure;

pub(super) async fn run(session: &Session<'_>, args: &Check) -> Result<u8, Failure> {
    match args {
        Check::Gateway(named) => gateway(session, named.name.as_deref()).await,
        Check::Auth(named) => auth(session, named.name.as_deref()).await,
        Check::Model(named) => model(session, named.name.as_deref()).await,
    }
}

async fn gateway(session: &Session<'_>, name: Option<&str>) -> Result<u8, Failure> {
    let name = session.name(name)?;
    let app = session.app()?;
    session.interruptible()?;
    let shown = Shown::quiet(*session.out);
    let proof = app.check_gateway(&name, &shown, session.cancel).await?;
    let url = app.deployment(&name)?.url();
    let took_ms = u64::try_from(proof.elapsed.as_millis()).unwrap_or(u64::MAX);
    let value = json!({
        "name": name, "works": true, "url": url, "version": proof.server_version,
        "protocol": proof.protocol, "took_ms": took_ms,
    });
    session.out.answer(&value, || {
        let version = proof.server_version.as_deref().unwrap_or("of unknown version");
        let url = url.as_deref().unwrap_or("its address");
        format!("{name} works: OpenClaw {version} at {url}, proven in {took_ms} ms.")
    });
    Ok(0)
}

async fn auth(session: &Session<'_>, name: Option<&str>) -> Result<u8, Failure> {
    let name = session.name(name)?;
    let checked = session.app()?.check_auth(&name).await?;
    let works = checked.iter().all(|credential| credential.works);
    let value = json!({ "name": name, "works": works, "credentials": checked });
    session
        .out
        .answer(&value, || checked.iter().map(credential_line).collect::<Vec<_>>().join("\n"));
    if works && !session.out.is_json() {
        // The gateway counts a model as usable once its provider has a key, whatever the key.
        session.out.say("Whether a provider accepts its key shows with the first message.");
    }
    Ok(u8::from(!works))
}

fn credential_line(credential: &CheckedCredential) -> String {
    let CheckedCredential { variable, provider, models, why, .. } = credential;
    match why {
        None => format!("{variable}: arrived; {models} models of {provider} can be used"),
        Some(why) => format!("{variable}: does not work: {why}"),
    }
}

async fn model(session: &Session<'_>, name: Option<&str>) -> Result<u8, Failure> {
    let name = session.name(name)?;
    let checked = session.app()?.check_model(&name).await?;
    let value = json!({
        "name": name, "model": checked.model, "available": checked.available, "why": checked.why,
    });
    session.out.answer(&value, || match &checked.why {
        None => format!("{}: available", checked.model),
        Some(why) => format!("{}: not available: {why}", checked.model),
    });
    if !checked.available && !session.out.is_json() {
        session.out.say(
            "  to do: give its provider's key (openclaw-pipeline check auth shows them), or \
             choose another DEFAULT_MODEL and launch again",
        );
    }
    Ok(u8::from(!checked.available))
}
