//! The commands, one file each where there is more to one than a call.

mod adopt;
mod backups;
mod check;
mod config;
mod destroy;
mod devices;
mod env;
mod expose;
mod history;
mod image;
mod in_pod;
mod infra;
mod launch;
mod logs;
mod orphans;
mod own_cluster;
mod own_server;
mod place;
mod serve;
mod status;
mod tokens;
mod tunnel;
mod verbs;
mod webhooks;

use std::fs;

use tokio_util::sync::CancellationToken;

use super::args::{Cli, Command, Infra};
use super::output::Output;
use crate::app::App;
use crate::config::{Settings, Sources, Variable};
use crate::domain::{DeploymentName, Failure, FailureKind, TargetKind};
use crate::secrets::Secret;

/// The largest `openclaw.json` that is read, in bytes.
const BOUND: u64 = 1 << 20;

/// What every command is given.
pub(super) struct Session<'a> {
    pub out: &'a Output,
    pub cancel: &'a CancellationToken,
    pub settings: Settings,
}

impl Session<'_> {
    /// The program over the data directory.
    pub fn app(&self) -> Result<App, Failure> {
        App::open(&self.settings)
    }

    /// The deployment named, or the one that the settings name.
    pub fn name(&self, given: Option<&str>) -> Result<DeploymentName, Failure> {
        match given {
            Some(name) => name.parse().map_err(|error| Failure::bad_input(format!("{error}"))),
            None => self.settings.name(),
        }
    }

    /// The same for whoever only looks: the pipeline server's own machine can be meant, too.
    pub fn shown_name(&self, given: Option<&str>) -> Result<DeploymentName, Failure> {
        let reserved = [DeploymentName::server(), DeploymentName::cluster()];
        let named = reserved.into_iter().find(|it| given == Some(it.as_str()));
        named.map_or_else(|| self.name(given), Ok)
    }

    /// Lets Ctrl-C and SIGTERM interrupt the operation in a way that it can be gone on with. A
    /// step that changes something is finished first; who cannot wait says so once more.
    pub fn interruptible(&self) -> Result<(), Failure> {
        self.heed_signals(Some(
            "interrupted: finishing the step safely; once more to leave at once",
        ))
    }

    /// Lets Ctrl-C and SIGTERM end what only looks.
    pub fn stoppable(&self) -> Result<(), Failure> {
        self.heed_signals(None)
    }

    fn heed_signals(&self, says: Option<&'static str>) -> Result<(), Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (cancel, out) = (self.cancel.clone(), *self.out);
        tokio::spawn(async move {
            for again in [false, true] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                cancel.cancel();
                match says {
                    _ if again => leave(out),
                    Some(says) => {
                        if super::terminal::is_lively() {
                            // The bar stands on a line that it has not ended.
                            out.say("");
                        }
                        out.say(says);
                    }
                    None => {}
                }
            }
        });
        Ok(())
    }
}

/// Ends the program where it stands, as `kill -9` would: the journal has all that is needed to go
/// on, and children hold the deployment's lock until they are gone.
fn leave(out: Output) {
    let failure = Failure::new(FailureKind::Interrupted, "left at once; what was done is recorded")
        .remedy("openclaw-pipeline operations list shows it; operations resume goes on with it");
    out.failure(&failure);
    std::process::exit(i32::from(super::exit::code(failure.kind)));
}

/// The user's own configuration in the working directory.
pub(super) fn user_config() -> Result<Option<Secret>, Failure> {
    let path = std::path::Path::new("openclaw.json");
    match fs::metadata(path) {
        Ok(file) if file.len() > BOUND => {
            Err(Failure::bad_input("openclaw.json is larger than 1 MiB")
                .remedy("it is not a gateway's configuration; move it away"))
        }
        Ok(_) => {
            let text = fs::read_to_string(path).map_err(|error| {
                Failure::bad_input(format!("openclaw.json cannot be read: {error}"))
            })?;
            Ok(Some(Secret::new(text)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::bad_input(format!("openclaw.json cannot be read: {error}"))),
    }
}

/// The same, where there has to be one.
pub(super) fn required_user_config() -> Result<Secret, Failure> {
    user_config()?.ok_or_else(|| {
        Failure::not_found("there is no openclaw.json in the working directory")
            .remedy("change to the directory that has it")
    })
}

/// Runs a command; answers its exit code.
pub(super) async fn run(cli: Cli, out: &Output, cancel: &CancellationToken) -> Result<u8, Failure> {
    // These need no settings, and work where settings are broken.
    match &cli.command {
        Command::Env { command } => return env::run(out, *command),
        Command::Completions { shell } => return config::completions(*shell),
        Command::InPod { terminal, log, container, line } => {
            return Ok(in_pod::run(container, log.as_deref(), line.as_deref(), *terminal).await);
        }
        _ => {}
    }
    let mut sources = match &cli.command {
        Command::Keep { .. } => Sources::from_environment()?,
        _ => Sources::from_process()?,
    };
    match &cli.command {
        Command::Launch(launch)
        | Command::Deploy(launch)
        | Command::Infra(Infra::Apply(launch)) => sources = launch::flags(sources, launch),
        Command::Adopt(args) => sources = launch::flags(sources, &args.launch),
        Command::Plan(of) => sources = infra::flags(sources, of),
        Command::Infra(args) => {
            if let Some(of) = args.of_machine() {
                sources = infra::flags(sources, of);
            }
        }
        Command::Server(args) => {
            if let Some(of) = args.of() {
                sources = own_server::flags(sources, of);
            }
        }
        Command::Cluster(args) => {
            if let Some(of) = args.of() {
                sources = own_cluster::flags(sources, of);
            }
        }
        Command::Serve(args) => sources = serve::flags(sources, args),
        _ => {}
    }
    let settings = Settings::resolve(&sources)?;
    match &cli.command {
        // It has more to tell, and says so itself.
        Command::Serve(_) => {}
        _ => crate::telemetry::init(settings.log().ok().as_deref()),
    }
    // Who needs a setting of that file is refused when it asks; the others go on.
    if let Some(failure) = settings.broken()
        && !matches!(
            cli.command,
            Command::Launch(_)
                | Command::Deploy(_)
                | Command::Adopt(_)
                | Command::Serve(_)
                | Command::Doctor { .. }
        )
    {
        out.say(&format!("note: {failure}; nothing of that file is used"));
    }
    let session = Session { out, cancel, settings };
    let on = cli.on.as_deref().map(str::parse).transpose()?;
    if let Command::Server(args) = cli.command {
        let ended = own_server::run(&session, args, on).await;
        serve::tell_front_end(&session).await;
        return ended;
    }
    if let Command::Cluster(args) = cli.command {
        refuse_other_module(&session, TargetKind::Eks)?;
        let ended = Box::pin(own_cluster::run(&session, args)).await;
        serve::tell_front_end(&session).await;
        return ended;
    }
    if let Some(on) = on {
        refuse_other_target(&session, on, &cli.command)?;
    }
    let tells = tells(&cli.command);
    let ended = Box::pin(dispatch(&session, cli.command)).await;
    if tells {
        serve::tell_front_end(&session).await;
    }
    ended
}

/// Refuses a command for a deployment that is on another target than was said, and one whose
/// settings say another.
fn refuse_other_target(
    session: &Session<'_>,
    on: TargetKind,
    command: &Command,
) -> Result<(), Failure> {
    let name = command
        .deployment()
        .ok_or_else(|| Failure::bad_input("--on goes with a command for one deployment"))?;
    refuse_other_module(session, on)?;
    let name = session.name(name)?;
    match session.app()?.deployment(&name) {
        Ok(deployment) if deployment.spec.target != on => Err(Failure::conflict(format!(
            "{name} is on the {} target, and this is for {on}",
            deployment.spec.target
        ))
        .remedy("name another deployment; openclaw-pipeline list shows which is where")),
        _ => Ok(()),
    }
}

/// Refuses settings that say another target's module.
fn refuse_other_module(session: &Session<'_>, on: TargetKind) -> Result<(), Failure> {
    if let Some(other) = session.settings.module_target()?.filter(|it| *it != on) {
        return Err(Failure::bad_input(format!(
            "TF_DIR ({}) says the {other} target, and this is for {on}",
            session.settings.origin(Variable::TfDir)
        ))
        .remedy("take TF_DIR away, or call what is for that target"));
    }
    Ok(())
}

/// Whether a command makes events.
fn tells(command: &Command) -> bool {
    match command {
        Command::Launch(_)
        | Command::Deploy(_)
        | Command::Adopt(_)
        | Command::Infra(Infra::Apply(_) | Infra::Destroy { .. })
        | Command::Approve { .. }
        | Command::Devices { .. }
        | Command::Stop(_)
        | Command::Start(_)
        | Command::Restart(_)
        | Command::Update { .. }
        | Command::Rotate { .. }
        | Command::Expose { .. }
        | Command::Backup(_)
        | Command::Restore { .. }
        | Command::Destroy { .. } => true,
        Command::Operations(operations) => operations.changes(),
        Command::Config(config) => matches!(config, super::args::Config::Sync(_)),
        _ => false,
    }
}

async fn dispatch(session: &Session<'_>, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Launch(args) => Box::pin(launch::run(session, &args, launch::How::Launch)).await,
        Command::Deploy(args) => Box::pin(launch::run(session, &args, launch::How::Deploy)).await,
        Command::Adopt(args) => Box::pin(adopt::run(session, &args)).await,
        Command::Plan(args) => infra::plan(session, &args).await,
        Command::Infra(args) => Box::pin(infra::run(session, args)).await,
        Command::List => status::list(session).await,
        Command::Status(named) => status::show(session, named.name.as_deref()).await,
        Command::Logs { name, follow, tail, raw } => {
            logs::run(session, name.as_deref(), follow, tail, raw).await
        }
        Command::Shell { name, host } => place::shell(session, name.as_deref(), host).await,
        Command::Openclaw { name, args } => place::openclaw(session, name.as_deref(), &args).await,
        Command::Open(named) => Box::pin(launch::open(session, named.name.as_deref(), false)).await,
        Command::Url { name, tunnel } => {
            Box::pin(launch::open(session, name.as_deref(), tunnel)).await
        }
        Command::Tunnel { name, port, no_open } => {
            tunnel::run(session, name.as_deref(), port, no_open).await
        }
        Command::Approve { name, request } => {
            devices::approve(session, name.as_deref(), request).await
        }
        Command::Devices { name, remove, reject } => {
            devices::run(session, name.as_deref(), remove, reject).await
        }
        Command::Stop(named) => verbs::stop(session, named.name.as_deref()).await,
        Command::Start(named) => verbs::start(session, named.name.as_deref()).await,
        Command::Restart(named) => verbs::restart(session, named.name.as_deref()).await,
        Command::Update { name, version, image } => {
            verbs::update(session, name.as_deref(), version, image).await
        }
        Command::Rotate { name, token, keys, drop } => {
            verbs::rotate(session, name.as_deref(), token, keys, drop).await
        }
        Command::Expose { name, who } => expose::run(session, &name, who.as_deref()).await,
        Command::Backup(named) => verbs::backup(session, named.name.as_deref()).await,
        Command::Backups { name, delete: Some(id) } => {
            backups::delete(session, name.as_deref(), &id).await
        }
        Command::Backups { name, delete: None } => backups::list(session, name.as_deref()),
        Command::Restore { name, backup } => verbs::restore(session, name.as_deref(), backup).await,
        Command::Destroy { name, yes, backup, keep_volumes, unseen, if_exists } => {
            let how = destroy::How { yes, backup, keep_volumes, unseen, if_exists };
            destroy::run(session, name.as_deref(), how).await
        }
        Command::Doctor { orphans: true, remove, yes, .. } => {
            orphans::run(session, remove, yes).await
        }
        Command::Doctor { name, .. } => status::doctor(session, name.as_deref()).await,
        Command::Events { name, after, limit } => {
            history::events(session, name.as_deref(), after, limit)
        }
        Command::Operations(operations) => history::operations(session, operations).await,
        Command::Webhooks(args) => webhooks::run(session, args),
        Command::Tokens(tokens) => tokens::run(session, tokens),
        Command::Audit(args) => tokens::audit(session, &args),
        Command::Config(args) => config::run(session, &args).await,
        Command::Check(args) => check::run(session, &args).await,
        Command::Image(args) => image::run(session, &args).await,
        Command::Serve(args) => serve::run(session, &args).await,
        Command::Keep { name } => place::keep(session, &name).await,
        Command::Env { .. }
        | Command::Completions { .. }
        | Command::InPod { .. }
        | Command::Server(_)
        | Command::Cluster(_) => Ok(0),
    }
}
