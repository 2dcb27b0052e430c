//! The pipeline server on a machine of its own: making it, bringing releases there, looking after it.
//!
//! Owns what is asked for and what is recorded of it. Refuses to begin with a program that could not run there, and to
//! leave machines behind that cost and that nobody knows of any more.

mod there;

use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::App;
use super::launching::merge;
use super::orders::Order;
use crate::config::{Settings, Travelling, Variable};
use crate::domain::{
    Deployment, DeploymentName, DeploymentSpec, DeploymentStatus, EventType, Expose, Failure,
    MachineSpec, Operation, OperationKind, OperationStatus, Reach, ServerSpec, StepStatus,
    TargetKind,
};
use crate::exec::{Cmd, find_program};
use crate::operations::vault::Slot;
use crate::operations::{DestroyParams, ServerParams, Shipped, Sink};
use crate::secrets::{Secret, certificate};
use crate::store::{Begin, NewDeployment, NewEvent, new_id};
use crate::targets::machine::server::{
    AWS_KEY_ID, AWS_SECRET, CERTIFICATE, CERTIFICATE_KEY, Program,
};
use crate::targets::{GatewaySecrets, LogOptions, Site};

pub use there::certificate_here;

/// What the pipeline server's machine is asked for with.
#[derive(Debug)]
pub struct OwnServerRequest<'a> {
    /// On which cloud; `None` is where it is, or EC2.
    pub on: Option<TargetKind>,
    /// The machine's size, where one was named.
    pub size: Option<String>,
    /// How it is to be reached, where that was said.
    pub reach: Option<Reach>,
    /// Everything else.
    pub settings: &'a Settings,
}

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnServerWork {
    /// The machine alone.
    Setup,
    /// The machine, and the server on it.
    FullSetup,
    /// The server, on the machine that is there; both are brought to what the settings say.
    Deploy,
}

/// What it led to.
#[derive(Debug)]
pub struct OwnServer {
    /// The deployment.
    pub deployment: Deployment,
    /// The server's token, where it was made just now.
    pub token: Option<Secret>,
    /// Whether it ran already, so that nothing was done.
    pub ran_already: bool,
}

/// What would be left, and go on to cost, without the server that knows of it.
#[derive(Debug, Default, Serialize)]
pub struct LeftBehind {
    /// Deployments that the server there has.
    pub deployments: Vec<String>,
    /// What carries its installation's id in the account.
    pub resources: Vec<String>,
    /// Why one of the two could not be found out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

impl LeftBehind {
    /// Whether nothing is left behind, for certain.
    pub fn is_nothing(&self) -> bool {
        self.deployments.is_empty() && self.resources.is_empty() && self.unknown.is_empty()
    }

    /// Each as a line.
    pub fn lines(&self) -> Vec<String> {
        let deployments = self.deployments.iter().map(|it| format!("the deployment {it}"));
        let unknown = self.unknown.iter().map(|why| format!("not known: {why}"));
        deployments.chain(self.resources.iter().cloned()).chain(unknown).collect()
    }
}

impl App {
    /// Makes the server's machine, brings the server there, or both.
    pub async fn bring_server(
        &self,
        request: &OwnServerRequest<'_>,
        how: OwnServerWork,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<OwnServer, Failure> {
        let name = DeploymentName::server();
        self.refuse_wrong_way(request, how)?;
        // Whatever cannot be shipped is refused before anything is done.
        let shipped = match how {
            OwnServerWork::Setup => None,
            _ => Some(shipped(request.settings)?),
        };
        let finished = self.go_on(&name, sink, cancel).await?;
        let finished = finished.filter(|it| it.status == OperationStatus::Succeeded);
        let existing = self.living(&name)?;
        let (mut params, secrets) = self.plan_server(request, shipped, existing.as_ref(), sink)?;
        let id = existing.as_ref().map_or_else(new_id, |it| it.id.clone());
        self.as_kept((&name, &id), request.settings, existing.as_ref(), &mut params.spec)?;
        if let (Some(done), Some(deployment)) = (&finished, &existing)
            && serves(deployment)
        {
            let same = of(done).as_ref() == Some(&params) && self.are_kept(&id, &secrets)?;
            let is_launch = done.kind == OperationKind::Launch;
            if is_launch && !same && how != OwnServerWork::Setup {
                sink.progress().note(
                    "the interrupted launch was finished as it was asked for then: \
                     openclaw-pipeline server deploy brings what is asked for now",
                );
            }
            // A launch's token is told once, and now: what came next might fail, and tell nothing.
            if same || is_launch {
                return self.brought(done);
            }
        }
        if let Some(deployment) = existing.clone().filter(serves)
            && how != OwnServerWork::Deploy
        {
            return Ok(OwnServer { deployment, token: None, ran_already: true });
        }
        if existing.as_ref().is_some_and(|it| it.facts.proven_at.is_some())
            && how == OwnServerWork::Setup
        {
            return Err(Failure::conflict("the pipeline server was deployed to its machine")
                .remedy("openclaw-pipeline server deploy brings both to what the settings say"));
        }
        let update = existing.as_ref().is_some_and(|it| it.facts.proven_at.is_some());
        let kind = if update { OperationKind::Update } else { OperationKind::Launch };
        let lock = self.locked(&name, kind.as_str(), cancel).await?;
        let sealed = self.engine().vault().seal(&id, Slot::Current, &secrets)?;
        let sealed = vec![(Slot::Current.name().to_owned(), sealed)];
        let target = params.spec.target;
        let spec = params.spec.clone();
        let params = serde_json::to_value(&params)
            .map_err(|error| Failure::failed(format!("the operation's parameters: {error}")))?;
        let begin = if update {
            let event = NewEvent::new(EventType::Updating, "deploying the pipeline server");
            Begin { params, sealed, event: Some(event), ..Begin::new(kind, name.clone()) }
        } else {
            let text = format!("making the pipeline server's machine on the {target} target");
            let create = NewDeployment { id, spec, sealed, owner: None };
            let event = Some(NewEvent::new(EventType::Launching, text));
            Begin { params, create: Some(create), event, ..Begin::new(kind, name.clone()) }
        };
        let operation = self.store().begin(&begin)?;
        let operation = self.finish(&operation, lock, sink, cancel).await?;
        self.brought(&operation)
    }

    fn refuse_wrong_way(
        &self,
        request: &OwnServerRequest<'_>,
        how: OwnServerWork,
    ) -> Result<(), Failure> {
        if request.on.is_some_and(|on| !on.has_machine()) {
            return Err(Failure::bad_input("the server's own machine is on ec2 or lightsail"));
        }
        let Some(existing) = self.living(&DeploymentName::server())? else {
            if how == OwnServerWork::Deploy {
                return Err(Failure::not_found("the pipeline server has no machine yet")
                    .remedy("openclaw-pipeline server full-setup makes one, and deploys"));
            }
            return Ok(());
        };
        let has = existing.spec.target;
        match request.on {
            Some(on) if on != has => Err(Failure::conflict(format!(
                "the pipeline server's machine is on {has}"
            ))
            .remedy("say --on for that one, or remove it: openclaw-pipeline server destroy")),
            _ => Ok(()),
        }
    }

    /// Whether a server has these very secrets.
    fn are_kept(&self, id: &str, secrets: &GatewaySecrets) -> Result<bool, Failure> {
        let kept = self.engine().vault().peek(self.store(), id, Slot::Current)?;
        let plain = |it: &GatewaySecrets| -> Vec<(String, String)> {
            it.env.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect()
        };
        Ok(kept.is_some_and(|it| plain(&it) == plain(secrets)))
    }

    /// What an operation that ended well led to.
    fn brought(&self, operation: &Operation) -> Result<OwnServer, Failure> {
        let deployment = self.deployment(&operation.deployment)?;
        let operation = self.operation(&operation.id)?;
        let is_made = operation
            .steps
            .iter()
            .any(|it| it.name == "begin" && it.status == StepStatus::Succeeded);
        let token = if is_made {
            Some(self.engine().vault().open(self.store(), &deployment.id)?.token)
        } else {
            None
        };
        Ok(OwnServer { deployment, token, ran_already: false })
    }

    /// The specification, over what is recorded, and its secrets.
    fn plan_server(
        &self,
        request: &OwnServerRequest<'_>,
        shipped: Option<Shipped>,
        existing: Option<&Deployment>,
        sink: &dyn Sink,
    ) -> Result<(ServerParams, GatewaySecrets), Failure> {
        let settings = request.settings;
        let known = match existing {
            Some(it) => self.engine().vault().peek(self.store(), &it.id, Slot::Current)?,
            None => None,
        };
        let known = known.unwrap_or_else(|| GatewaySecrets::with_token(Secret::new("")));
        let target = existing.map(|it| it.spec.target).or(request.on).unwrap_or(TargetKind::Ec2);
        let machine = existing.and_then(|it| it.spec.machine.clone());
        let server = machine.as_ref().and_then(|it| it.server.clone());
        let travelling = settings.travelling()?;
        let server = server_spec(request, server, &travelling)?;
        let is_made = existing.is_some_and(|it| it.facts.machine.is_some());
        let size = || request.size.clone().or(target.server_size().map(str::to_owned));
        let machine = match machine {
            Some(known) => MachineSpec {
                size: if is_made {
                    known.size.clone()
                } else {
                    request.size.clone().or(known.size.clone())
                },
                ssh_cidrs: match settings.ssh_cidrs()? {
                    given if given.is_empty() => known.ssh_cidrs.clone(),
                    given => given,
                },
                server: Some(server),
                ..known
            },
            None => MachineSpec {
                region: settings.region()?,
                size: size(),
                expose: Expose::None,
                ssh_cidrs: settings.ssh_cidrs()?,
                state: None,
                tunnel_host: None,
                tunnel_image: None,
                server: Some(server),
            },
        };
        let mut spec = DeploymentSpec::without_gateway(target, machine);
        if !is_made {
            let mut notices = Vec::new();
            self.as_written(&DeploymentName::server(), settings, &mut spec, &mut notices)?;
            for notice in &notices {
                sink.progress().note(notice);
            }
        }
        let mut env = travelling.secrets;
        env.extend(certificate_files(settings)?);
        if target == TargetKind::Lightsail && shipped.is_some() {
            env.extend(self.aws_key(settings, &known, sink)?);
        }
        let secrets = GatewaySecrets { env: merge(known.env.clone(), env), ..known };
        Ok((ServerParams { spec, shipped }, secrets))
    }

    /// The AWS key of a server that no role can be given to.
    fn aws_key(
        &self,
        settings: &Settings,
        known: &GatewaySecrets,
        sink: &dyn Sink,
    ) -> Result<Vec<(String, Secret)>, Failure> {
        let pair = |(id, secret): (Secret, Secret)| {
            vec![(AWS_KEY_ID.to_owned(), id), (AWS_SECRET.to_owned(), secret)]
        };
        if let Some(named) = settings.own_server_aws()? {
            return Ok(pair(named));
        }
        if known.has(AWS_KEY_ID) {
            return Ok(Vec::new());
        }
        let remedy = "make a user in IAM that may do on EC2 and Lightsail what the server has to, and \
                      set OPENCLAW_PIPELINE_SERVER_AWS_ACCESS_KEY_ID and \
                      OPENCLAW_PIPELINE_SERVER_AWS_SECRET_ACCESS_KEY";
        let aws = self.engine().targets().aws();
        let own = |name: &str| aws.get(name).map(Secret::new);
        match (own("AWS_ACCESS_KEY_ID"), own("AWS_SECRET_ACCESS_KEY"), own("AWS_SESSION_TOKEN")) {
            (Some(id), Some(secret), None) => {
                sink.progress().note(&format!(
                    "a machine on Lightsail has no role: your own AWS key goes there, with all that \
                     it may do. Better: {remedy}"
                ));
                Ok(pair((id, secret)))
            }
            _ => Err(Failure::bad_input(
                "a machine on Lightsail has no role, and there is no AWS key here that lasts",
            )
            .remedy(remedy)),
        }
    }

    fn own_server(&self) -> Result<Site, Failure> {
        let existing = self.living(&DeploymentName::server())?.ok_or_else(|| {
            Failure::not_found("there is no pipeline server on a machine of its own")
                .remedy("openclaw-pipeline server full-setup makes one")
        })?;
        Ok(match self.engine().site(&existing) {
            Ok(site) => site,
            // Its secrets may be forgotten, by a removal that was given up.
            Err(_) => self.unopened(&existing),
        })
    }

    /// The server, as it is recorded.
    pub fn known_server(&self) -> Result<Deployment, Failure> {
        Ok(self.own_server()?.deployment)
    }

    /// What forwards the server's port to this machine's loopback, for a person to run.
    pub fn server_tunnel(&self) -> Result<String, Failure> {
        let site = self.own_server()?;
        let machine = self.maker(&site)?.ssh(&site)?;
        let quoted =
            |path: &Path| format!("'{}'", path.display().to_string().replace('\'', "'\\''"));
        Ok(format!(
            "ssh -N -L 4000:127.0.0.1:4000 -i {} -o UserKnownHostsFile={} -o HostKeyAlias={} -o \
             StrictHostKeyChecking=yes {}@{}",
            quoted(&machine.key),
            quoted(&machine.known_hosts),
            machine.alias,
            machine.user,
            machine.host
        ))
    }

    /// A child that prints the server's log, and what must not be shown of it.
    pub async fn server_logs(&self, options: LogOptions) -> Result<(Cmd, Vec<Secret>), Failure> {
        let site = self.own_server()?;
        if site.deployment.facts.server.is_none() {
            return Err(Failure::not_found("the pipeline server was not deployed yet")
                .remedy("openclaw-pipeline server deploy"));
        }
        let cmd = self.maker(&site)?.server_logs(&site, options).await?;
        Ok((cmd, site.secrets.all().into_iter().cloned().collect()))
    }

    /// Whether the server takes work; `None` where there is none to ask.
    pub(super) async fn server_answers(&self, deployment: &Deployment) -> Option<bool> {
        let facts = deployment.facts.server.as_ref()?;
        let site = self.unopened(deployment);
        self.maker(&site).ok()?.server_answers(&site, facts).await.ok()
    }

    /// What would be left without the server there.
    pub async fn left_behind(&self) -> Result<LeftBehind, Failure> {
        let site = self.own_server()?;
        let mut left = LeftBehind::default();
        let machine = site.deployment.spec.machine.as_ref();
        let (Some(server), Some(machine)) = (machine.and_then(|it| it.server.as_ref()), machine)
        else {
            return Ok(left);
        };
        // A server that never began has nothing.
        let Some(facts) = &site.deployment.facts.server else { return Ok(left) };
        let maker = self.maker(&site)?;
        match maker.kept_by_server(&site, &facts.release).await {
            Ok(kept) => left.deployments.extend(
                kept.into_iter().map(|it| site.scrub(&format!("{} ({})", it.name, it.target), 80)),
            ),
            Err(failure) => left.unknown.push(format!("what the server there has ({failure})")),
        }
        match maker.made_by(&server.installation, &machine.region).await {
            Ok(found) => left.resources = found,
            Err(failure) => left.unknown.push(format!("what it made ({failure})")),
        }
        Ok(left)
    }

    /// Removes the server's machine with everything on it.
    pub async fn destroy_server(
        &self,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Operation, Failure> {
        let order = Order::Destroy(DestroyParams::default());
        self.order(&DeploymentName::server(), order, sink, cancel).await
    }
}

fn of(operation: &Operation) -> Option<ServerParams> {
    serde_json::from_value(operation.params.clone()).ok()
}

/// Whether a server was proven there and is meant to run.
fn serves(deployment: &Deployment) -> bool {
    matches!(deployment.status, DeploymentStatus::Running | DeploymentStatus::Degraded)
        && deployment.facts.proven_at.is_some()
}

/// The programs to ship.
fn shipped(settings: &Settings) -> Result<Shipped, Failure> {
    let remedy = "make build-static makes one that runs on every machine: name it in \
                  OPENCLAW_PIPELINE_SERVER_BINARY";
    let own = match settings.own_server_binary()? {
        Some(path) => path,
        None => std::env::current_exe()?,
    };
    let program = Program::read(&own).and_then(|it| it.alone().map(|()| it));
    let program = program.map_err(|failure| failure.remedy(remedy))?;
    let terraform = match settings.own_server_terraform()? {
        Some(path) => Some(path),
        None => find_program(&settings.terraform()?),
    };
    let terraform: PathBuf = terraform.ok_or_else(|| {
        Failure::prerequisite("Terraform is not here, and the server needs one")
            .remedy("install Terraform 1.10 or newer, or name it in TF_BIN")
    })?;
    let terraform = Program::read(&terraform).map_err(|failure| {
        failure.remedy(
            "name the program itself, and no script that calls it, in \
             OPENCLAW_PIPELINE_SERVER_TERRAFORM",
        )
    })?;
    Ok(Shipped { program, terraform })
}

/// The certificate's files, as what is sealed.
fn certificate_files(settings: &Settings) -> Result<Vec<(String, Secret)>, Failure> {
    let Some(files) = settings.own_server_tls()? else { return Ok(Vec::new()) };
    let read = |path: &Path, variable: Variable| {
        std::fs::read_to_string(path).map(Secret::new).map_err(|error| {
            Failure::bad_input(format!(
                "{} ({}) cannot be read: {error}",
                path.display(),
                variable.name()
            ))
        })
    };
    let chain = read(&files.certificate, Variable::OwnServerTlsCert)?;
    certificate::fingerprint_of_chain(chain.expose())
        .map_err(|failure| failure.context(files.certificate.display().to_string()))?;
    let key = read(&files.key, Variable::OwnServerTlsKey)?;
    Ok(vec![(CERTIFICATE.to_owned(), chain), (CERTIFICATE_KEY.to_owned(), key)])
}

fn server_spec(
    request: &OwnServerRequest<'_>,
    known: Option<ServerSpec>,
    travelling: &Travelling,
) -> Result<ServerSpec, Failure> {
    let settings = request.settings;
    let mut server = known.unwrap_or_else(|| ServerSpec {
        installation: new_id(),
        cidrs: Vec::new(),
        reach: Reach::default(),
        hosts: Vec::new(),
        settings: Vec::new(),
    });
    if let Some(reach) = request.reach {
        server.reach = reach;
    }
    if settings.is_given(Variable::OwnServerCidr) {
        server.cidrs = settings.own_server_cidrs()?;
    }
    if settings.is_given(Variable::Hosts) {
        server.hosts = settings.hosts()?;
    }
    for (name, value) in &travelling.settings {
        match server.settings.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => known.clone_from(value),
            None => server.settings.push((name.clone(), value.clone())),
        }
    }
    Ok(server)
}
