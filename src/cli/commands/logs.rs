//! `logs`.

use super::Session;
use crate::domain::Failure;
use crate::secrets::Secret;
use crate::targets::LogOptions;

pub(super) async fn run(
    session: &Session<'_>,
    name: Option<&str>,
    follow: bool,
    tail: u32,
    raw: bool,
) -> Result<u8, Failure> {
    let name = session.name(name)?;
    let app = session.app()?;
    let site = app.site(&name)?;
    let mut cmd = app.target(&site).logs(&site, LogOptions { tail, follow }).await?;
    if raw {
        let status = cmd.interactive()?;
        return Ok(u8::from(!status.success()));
    }
    session.stoppable()?;
    let secrets: Vec<Secret> = site.secrets.all().into_iter().cloned().collect();
    shown(session, &mut cmd, &secrets, follow).await
}

/// Shows what a child prints, line by line, without these secrets.
pub(super) async fn shown(
    session: &Session<'_>,
    cmd: &mut crate::exec::Cmd,
    secrets: &[Secret],
    follow: bool,
) -> Result<u8, Failure> {
    cmd.cancel_on(session.cancel);
    if follow {
        // Following ends when the person says so.
        cmd.deadline(std::time::Duration::from_secs(u64::from(u32::MAX)));
    }
    let redactor = crate::secrets::Redactor::new(secrets);
    let out = session.out;
    let ended = cmd
        .lines(|_, line| {
            let line = redactor.redact_line(line, 4000);
            if out.is_json() {
                out.object(&serde_json::json!({ "line": line }));
            } else {
                out.line(&line);
            }
        })
        .await;
    match ended {
        Ok(output) => Ok(u8::from(!output.success())),
        Err(crate::exec::ExecError::Cancelled(_)) if follow => Ok(0),
        Err(error) => Err(error.into()),
    }
}
