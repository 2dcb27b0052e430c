//! `adopt`.

use std::path::PathBuf;

use super::super::args::Adopt;
use super::super::progress::Shown;
use super::{Session, launch};
use crate::app::{Adopted, LaunchRequest};
use crate::domain::Failure;

pub(super) async fn run(session: &Session<'_>, args: &Adopt) -> Result<u8, Failure> {
    launch::refuse_broken(session)?;
    let name = session.name(args.launch.name.as_deref())?;
    let target = args.launch.target.as_deref().map(str::parse).transpose()?;
    let (state, key) = (path("--state", &args.state)?, path("--key", &args.key)?);
    let known_hosts = match &args.known_hosts {
        Some(given) => path("--known-hosts", given)?,
        None => session.settings.known_hosts()?,
    };
    let user_config = super::user_config()?;
    let app = session.app()?;
    session.interruptible()?;
    let shown = Shown::launching(*session.out, target);
    let request = LaunchRequest { name, target, settings: &session.settings, user_config };
    let adopted = Adopted { state: &state, key: &key, known_hosts: &known_hosts };
    let launched = app.adopt(request, adopted, &shown, session.cancel).await?;
    drop(shown);
    launch::end(session, &app, &launched, args.launch.no_link).await
}

fn path(flag: &str, given: &str) -> Result<PathBuf, Failure> {
    std::path::absolute(given).map_err(|error| {
        Failure::bad_input(format!("{flag} names a file: {error}")).remedy("name one that is there")
    })
}
