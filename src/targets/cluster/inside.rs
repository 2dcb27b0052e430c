//! What is run in a deployment's pods: in the gateway's own, or, while that is stopped, in one that has
//! its volumes.

use std::time::Duration;

use super::reason::{self, Seen};
use super::{At, names, state};
use crate::domain::Failure;
use crate::drivers::kubernetes::{CLOUDS, Container, Kind, LogPart};
use crate::exec::{Cmd, Place, Remote};
use crate::targets::looks::Looks;
use crate::targets::{DEFAULT_IMAGE, LogOptions, Work};

/// The gateway's own command line.
pub(super) const OPENCLAW: [&str; 2] = ["node", "/app/openclaw.mjs"];
/// How long a command of the gateway's may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(300);
/// How long a pod beside the gateway's lives that nobody ends, in seconds.
const ASIDE_S: &str = "3600";
/// What the client that gets into pods is called as. [`crate::cli`] knows it.
pub const CLIENT: &str = "in-pod";

impl At<'_> {
    fn container(&self, pod: &str, container: &str) -> Container {
        Container {
            cluster: self.place.clone(),
            namespace: self.namespace.clone(),
            pod: pod.to_owned(),
            container: container.to_owned(),
        }
    }

    /// A command in a container; it is still to be named.
    pub(super) fn inside(&self, pod: &str, container: &str) -> Result<Inside, Failure> {
        let described = serde_json::to_string(&self.container(pod, container))
            .map_err(|error| Failure::failed(format!("the pod: {error}")))?;
        let program = super::super::keeper::own_program()?;
        let remote = Remote::new(&program.to_string_lossy(), [CLIENT, &described]);
        Ok(Inside { place: Place::There(remote.with_subcommand().telling_client(&CLOUDS)) })
    }

    /// The container that commands run in: the gateway's, or one beside it.
    async fn any(&self, work: Option<Work<'_>>) -> Result<Inside, Failure> {
        match state::running_pod(&self.cluster, &self.namespace).await? {
            Some(pod) => self.inside(&pod, names::GATEWAY),
            None => self.aside(work).await,
        }
    }

    /// A pod that has the volumes of a gateway that is stopped.
    pub(super) async fn aside(&self, work: Option<Work<'_>>) -> Result<Inside, Failure> {
        let name = &self.site.deployment.name;
        match self.replicas().await? {
            None => {
                return Err(Failure::not_found(format!("{name} has nothing on its cluster yet"))
                    .remedy(name.launching(None)));
            }
            Some(0) => {}
            Some(_) => {
                return Err(Failure::conflict(format!("{name} is not up, and has its volumes"))
                    .remedy(format!(
                        "openclaw-pipeline doctor {name} says why; openclaw-pipeline stop {name} \
                         lets commands get at its files"
                    )));
            }
        }
        let found = self.cluster.get(Kind::POD, Some(&self.namespace), names::ASIDE).await?;
        let is_up = |pod: &crate::drivers::kubernetes::Object| {
            !names::is_going(pod) && pod.data["status"]["phase"] == "Running"
        };
        if !found.as_ref().is_some_and(is_up) {
            self.remove_pod(names::ASIDE).await?;
            let facts = &self.site.deployment.facts;
            let image = facts.artefact.as_deref().unwrap_or(DEFAULT_IMAGE);
            let command = ["sleep", ASIDE_S];
            let (kind, pod) = self.manifests().pod(names::ASIDE, image, &command, true)?;
            self.cluster.create(kind, &pod).await?;
            self.aside_is_up(work, &is_up).await?;
        }
        self.inside(names::ASIDE, names::GATEWAY)
    }

    async fn aside_is_up(
        &self,
        work: Option<Work<'_>>,
        is_up: &impl Fn(&crate::drivers::kubernetes::Object) -> bool,
    ) -> Result<(), Failure> {
        let mut looks = Looks::new(self.target.within, work);
        loop {
            let found = self.cluster.get(Kind::POD, Some(&self.namespace), names::ASIDE).await?;
            let pod = found.ok_or_else(|| Failure::conflict("somebody removed the pod"))?;
            if is_up(&pod) {
                return Ok(());
            }
            let warnings = self.warnings().await?;
            if let Seen::Stuck(trouble) = reason::of_helper(&pod, &warnings)
                && (!trouble.may_pass || looks.is_late())
            {
                return Err(trouble.into());
            }
            if looks.is_late() {
                return Err(Failure::failed("the pod that has its volumes did not come up"));
            }
            looks.next("waiting for a pod that has its volumes").await?;
        }
    }

    /// The gateway's own command line, in place.
    pub(super) async fn openclaw(&self, args: &[&str], _terminal: bool) -> Result<Cmd, Failure> {
        let mut cmd = self.any(None).await?.cmd(OPENCLAW[0]);
        cmd.args(&OPENCLAW[1..]).args(args).deadline(COMMAND_DEADLINE);
        Ok(cmd)
    }

    /// A script for Node.js, in place.
    pub(super) async fn script(&self, script: &str) -> Result<Cmd, Failure> {
        let mut cmd = self.any(None).await?.cmd("node");
        cmd.args(["--input-type=module", "--eval", script, "/app"]);
        Ok(cmd)
    }

    /// A shell in place.
    pub(super) async fn shell(&self) -> Result<Cmd, Failure> {
        let mut cmd = self.any(None).await?.cmd("sh");
        cmd.args(["-c", "command -v bash >/dev/null && exec bash || exec sh"]);
        Ok(cmd)
    }

    /// A child that prints the log.
    pub(super) async fn logs(&self, options: LogOptions) -> Result<Cmd, Failure> {
        let name = &self.site.deployment.name;
        let pod = self.pod().await?.ok_or_else(|| {
            Failure::not_found(format!("{name} has no pod, and its log went with the last one"))
                .remedy(format!("openclaw-pipeline start {name}"))
        })?;
        let pod = pod.metadata.name.unwrap_or_default();
        let part = LogPart { tail: Some(options.tail), follow: options.follow, previous: false };
        let described = serde_json::to_string(&self.container(&pod, names::GATEWAY));
        let part = serde_json::to_string(&part);
        let described = described.and_then(|it| Ok((it, part?)));
        let (described, part) =
            described.map_err(|error| Failure::failed(format!("the pod: {error}")))?;
        let mut cmd = Cmd::new(super::super::keeper::own_program()?);
        for prefix in CLOUDS {
            cmd.allow_prefix(prefix);
        }
        cmd.args([CLIENT, "--log", &part, &described]);
        Ok(cmd)
    }
}

/// A container that commands can be run in.
pub(super) struct Inside {
    place: Place,
}

impl Inside {
    /// A command of it.
    pub(super) fn cmd(&self, program: &str) -> Cmd {
        self.place.cmd(program)
    }
}
