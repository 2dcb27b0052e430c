//! What works in the deployment's place with the user's own terminal: `shell`, `openclaw`; and
//! `keep`, which the program starts itself.

use std::process::ExitStatus;

use super::Session;
use crate::domain::Failure;

pub(super) async fn shell(
    session: &Session<'_>,
    name: Option<&str>,
    host: bool,
) -> Result<u8, Failure> {
    let name = session.name(name)?;
    let app = session.app()?;
    if host {
        return Ok(code(app.machine_shell(&name).await?.interactive()?));
    }
    let site = app.site(&name)?;
    let status = app.target(&site).shell(&site).await?.interactive()?;
    Ok(code(status))
}

pub(super) async fn openclaw(
    session: &Session<'_>,
    name: Option<&str>,
    args: &[String],
) -> Result<u8, Failure> {
    let name = session.name(name)?;
    let app = session.app()?;
    let site = app.site(&name)?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let terminal = super::super::terminal::is_interactive();
    let status = app.target(&site).openclaw(&site, &args, terminal).await?.interactive()?;
    Ok(code(status))
}

pub(super) async fn keep(session: &Session<'_>, name: &str) -> Result<u8, Failure> {
    let name = session.name(Some(name))?;
    let kept = session.app()?.keeper(name).run().await;
    if let Err(failure) = &kept {
        // The command that started it reads this line, unless it was told "ready" already.
        session.out.line(&failure.message);
    }
    kept.map(|()| 0)
}

/// The child's own exit code.
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}
