//! The pipeline server on a machine of its own.
//!
//! Owns how its program and its settings get there, are put in force, proven, and put back. What is
//! shipped lies there by its digest, and each deploy is a release beside the last one: one link says
//! which is in force. Refuses a program that did not say its version there, and a secret in an
//! argument.

mod program;
mod proof;
mod release;

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::strays::INSTALLATION;
use super::{Cloud, MachineTarget, infra, reach};
use crate::assets::own_server::THERE;
use crate::domain::{Failure, Reach, ServerFacts, ServerSpec};
use crate::drivers::aws::Aws;
use crate::drivers::aws::sizes::Architecture;
use crate::drivers::aws::sweep::{Kind, Mark};
use crate::drivers::ssh::failure;
use crate::exec::{Cmd, Output, Place, wait};
use crate::secrets::{Secret, certificate};
use crate::targets::{LogOptions, Site, Work};

pub use program::Program;
use proof::Server;

/// The certificate chain that was given, among the sealed secrets.
pub const CERTIFICATE: &str = "file:certificate";
/// Its key.
pub const CERTIFICATE_KEY: &str = "file:certificate-key";
/// The AWS key of a server that no role can be given to.
pub const AWS_KEY_ID: &str = "aws:access-key-id";
/// Its secret.
pub const AWS_SECRET: &str = "aws:secret-access-key";

/// The server's data directory there. What is beside it in `/var/lib/openclaw-pipeline` is root's.
const DATA: &str = "/var/lib/openclaw-pipeline/server";
/// What programs lie in there.
const PROGRAMS: &str = "/usr/local/lib/openclaw-pipeline/programs";
/// How long a look, or a small change, may take.
const SHORT: Duration = Duration::from_secs(60);
/// How long a program may take to get there: 100 MB by a slow line.
const UPLOAD: Duration = Duration::from_secs(1800);
/// How long a server may take to stop, let its operations come to a step's end, and start.
const RESTART: Duration = Duration::from_secs(300);
/// How long it may take until it is proven once it runs.
const PROOF: Duration = Duration::from_secs(120);
/// The pause between two tries.
const AGAIN: Duration = Duration::from_millis(500);

/// A release to be.
#[derive(Debug)]
pub struct Release<'a> {
    /// Its name there: the operation that brings it.
    pub id: &'a str,
    /// The server's program.
    pub program: &'a Program,
    /// Terraform.
    pub terraform: &'a Program,
}

#[derive(Deserialize)]
struct Certified {
    fingerprint: String,
}

#[derive(Deserialize)]
struct Begun {
    token: Secret,
}

/// A gateway that the server there has.
#[derive(Debug, Clone, Deserialize)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub target: String,
}

#[derive(Deserialize)]
struct KeptAll {
    items: Vec<Kept>,
}

fn spec(site: &Site) -> Result<&ServerSpec, Failure> {
    let server = infra::spec(site)?.server.as_ref();
    server.ok_or_else(|| Failure::internal("a server's machine without a server in its record"))
}

impl MachineTarget {
    /// Refuses programs that the machine cannot run. AWS says what its size makes it.
    pub async fn refuse_unfit(&self, site: &Site, programs: &[&Program]) -> Result<(), Failure> {
        let machine = infra::spec(site)?;
        let architecture = match self.cloud {
            Cloud::Lightsail => Architecture::X86_64,
            Cloud::Ec2 => {
                let region = infra::region(site, machine)?;
                let aws = Aws::new(self.tools.aws.clone(), Some(&region))?;
                let users = super::files::Files::of(site).users_value("size");
                let wanted = users.or_else(|| machine.size.clone()).unwrap_or_default();
                aws.instance_type(&wanted).await?.architecture
            }
        };
        programs.iter().try_for_each(|program| program.fits(architecture))
    }

    /// The name of the release that is in force there; `None` where there is none.
    pub async fn release_in_force(&self, site: &Site) -> Result<Option<String>, Failure> {
        let output = told(there(site, &["current"])?.deadline(SHORT), site).await?;
        let name = output.stdout.trim();
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
        Ok((!name.is_empty() && name.chars().all(fits)).then(|| name.to_owned()))
    }

    /// Brings a release there, beside what runs. Its programs have said their versions there when
    /// this ends.
    pub async fn ship(
        &self,
        site: &Site,
        release: &Release<'_>,
        work: Work<'_>,
    ) -> Result<ServerFacts, Failure> {
        let server = spec(site)?;
        for program in [release.program, release.terraform] {
            program.unchanged()?;
            send(site, program, work).await?;
        }
        let version = said(site, release.program, "openclaw-pipeline ").await?;
        said(site, release.terraform, "").await?;
        for file in release::files(site, server)? {
            let mut cmd = there(site, &["file", release.id, file.name, file.mode])?;
            cmd.stdin(file.text.expose()).deadline(SHORT).cancel_on(work.cancel).hold(work.lock)?;
            told(&mut cmd, site).await?;
        }
        let names = [release.program.sha256.as_str(), release.terraform.sha256.as_str()];
        let mut cmd = there(site, &["prepare", release.id, names[0], names[1]])?;
        told(cmd.deadline(SHORT).hold(work.lock)?, site).await?;
        let fingerprint = match (server.reach, release::given_certificate(site)) {
            (Reach::Https, Some(chain)) => Some(certificate::fingerprint_of_chain(chain.expose())?),
            (Reach::Https, None) => Some(self.own_certificate(site, release, work).await?),
            (Reach::Http | Reach::Tunnel, _) => None,
        };
        let host = server.hosts.first().filter(|_| release::given_certificate(site).is_some());
        Ok(ServerFacts {
            release: release.id.to_owned(),
            version,
            reach: server.reach,
            host: host.cloned(),
            fingerprint,
        })
    }

    /// Has the server there make its certificate, unless it has one; answers its fingerprint.
    async fn own_certificate(
        &self,
        site: &Site,
        release: &Release<'_>,
        work: Work<'_>,
    ) -> Result<String, Failure> {
        let known = site.deployment.facts.server.as_ref();
        if let Some(known) = known.and_then(|it| it.fingerprint.clone()) {
            return Ok(known);
        }
        let address = reach::known(site)?.address.to_string();
        let dir = ["server", "certificate", "--json", "--dir", release::OWN_CERTIFICATE];
        let mut cmd = there(site, &["run", release.id])?;
        cmd.args(dir).arg(address).args(&spec(site)?.hosts);
        let output = told(cmd.deadline(SHORT).hold(work.lock)?, site).await?;
        let made: Certified = serde_json::from_str(output.stdout.trim()).map_err(|_| {
            Failure::failed("what the server there says of its certificate is none")
        })?;
        let is_one = |c: char| c.is_ascii_hexdigit() || c == ':';
        if made.fingerprint.len() == 32 * 3 - 1 && made.fingerprint.chars().all(is_one) {
            return Ok(made.fingerprint);
        }
        Err(Failure::failed("what the server there calls its certificate's fingerprint is none"))
    }

    /// Begins the server's installation under the id that it was given, and has it make its first
    /// token. One that an earlier run had it make, and lost, is revoked there.
    pub async fn begin_server(
        &self,
        site: &Site,
        release: &Release<'_>,
        work: Work<'_>,
    ) -> Result<Secret, Failure> {
        let mut cmd = there(site, &["run", release.id])?;
        cmd.args(["server", "begin", "--json", "--installation", &spec(site)?.installation]);
        let output = told(cmd.deadline(SHORT).hold(work.lock)?, site).await?;
        // The parser's message could quote what it read.
        let begun: Begun = serde_json::from_str(output.stdout.trim())
            .map_err(|_| Failure::failed("what the server there says of its token is none"))?;
        Ok(begun.token)
    }

    /// Puts a release in force, and waits until it takes work.
    pub async fn switch(&self, site: &Site, release: &str, work: Work<'_>) -> Result<(), Failure> {
        let mut cmd = there(site, &["switch", release])?;
        // What it changes belongs together: an interruption waits for its end.
        cmd.deadline(RESTART).hold(work.lock)?;
        let output = cmd.output().await?;
        if output.success() {
            return Ok(());
        }
        if output.unreached() {
            return Err(failure(&output));
        }
        let why = site.scrub(&output.last_line(), 400);
        Err(Failure::failed(format!("the server there does not start: {why}"))
            .remedy("openclaw-pipeline server logs shows what it said"))
    }

    /// Proves the server by the way that its user takes.
    pub async fn prove_server(
        &self,
        site: &Site,
        facts: &ServerFacts,
        work: Work<'_>,
    ) -> Result<(), Failure> {
        let server = Server::of(site, facts)?;
        let deadline = Instant::now() + PROOF;
        loop {
            let why = tokio::select! {
                why = server.unproven(&site.secrets.token) => why,
                () = work.cancel.cancelled() => return Err(Failure::interrupted()),
            };
            let Some(why) = why else { return Ok(()) };
            let why = site.scrub(&why, 300);
            if Instant::now() > deadline {
                return Err(Failure::failed(format!("the server is not reached: {why}")).remedy(
                    "port 4000 is open for OPENCLAW_PIPELINE_SERVER_CIDR, else for \
                     OPENCLAW_PIPELINE_SSH_CIDR: this machine has to be among these",
                ));
            }
            work.progress.amount(0, 0, &why);
            tokio::select! {
                () = wait::back_off(AGAIN) => {}
                () = work.cancel.cancelled() => return Err(Failure::interrupted()),
            }
        }
    }

    /// Whether the server takes work, by one look from outside.
    pub async fn server_answers(&self, site: &Site, facts: &ServerFacts) -> Result<bool, Failure> {
        Ok(Server::of(site, facts)?.get("/readyz", None).await == Ok(200))
    }

    /// Removes what no release needs any more but this one and the one before it.
    pub async fn prune_releases(
        &self,
        site: &Site,
        release: &str,
        previous: Option<&str>,
        work: Work<'_>,
    ) -> Result<(), Failure> {
        let mut cmd = there(site, &["prune", release, previous.unwrap_or(release)])?;
        told(cmd.deadline(SHORT).hold(work.lock)?, site).await.map(drop)
    }

    /// Stops the server: nothing begins any more.
    pub async fn stop_server(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        reach::machine(site)?.open().await?;
        let mut cmd = there(site, &["stop"])?;
        told(cmd.deadline(RESTART).hold(work.lock)?, site).await.map(drop)
    }

    /// A child that prints the server's log.
    pub async fn server_logs(&self, site: &Site, options: LogOptions) -> Result<Cmd, Failure> {
        let machine = reach::machine(site)?;
        machine.open().await?;
        let mut cmd = Place::There(machine.root()).cmd("journalctl");
        cmd.args(["--unit=openclaw-pipeline", "--no-pager", "--output=cat"]);
        cmd.arg(format!("--lines={}", options.tail));
        if options.follow {
            cmd.arg("--follow");
        }
        Ok(cmd)
    }

    /// What the server there has.
    pub async fn kept_by_server(&self, site: &Site, release: &str) -> Result<Vec<Kept>, Failure> {
        reach::machine(site)?.open().await?;
        let mut cmd = there(site, &["run", release, "list", "--json"])?;
        let output = told(cmd.deadline(SHORT), site).await?;
        let kept: KeptAll = serde_json::from_str(output.stdout.trim())
            .map_err(|_| Failure::failed("what the server there says that it has is no list"))?;
        Ok(kept.items)
    }

    /// What carries the id of an installation in the account, in words: what the server there made.
    pub async fn made_by(&self, installation: &str, region: &str) -> Result<Vec<String>, Failure> {
        let aws = Aws::new(self.tools.aws.clone(), Some(region))?;
        let mark = Mark {
            key: INSTALLATION.into(),
            value: installation.to_owned(),
            is_own_name: Arc::new(|_| false),
        };
        // Nobody makes a cluster there.
        let kinds = Kind::ALL.into_iter().filter(|it| !it.is_of_a_cluster());
        let sweep = aws.sweep(&mark, &kinds.collect::<Vec<_>>()).await;
        // Roles and Lightsail may be closed to whoever asks, or not there; machines on EC2 are not.
        if let Some((_, failure)) =
            sweep.unseen.into_iter().find(|(kind, _)| *kind == Kind::Instance)
        {
            return Err(failure.context("looking for what the server there made"));
        }
        Ok(sweep.found.iter().map(|found| format!("the {found}")).collect())
    }
}

/// A verb there, as root.
fn there(site: &Site, words: &[&str]) -> Result<Cmd, Failure> {
    let mut cmd = Place::There(reach::machine(site)?.root()).cmd("sh");
    cmd.args(["-c", THERE, "sh"]).args(words);
    Ok(cmd)
}

/// Runs a child there to a good end.
async fn told(cmd: &mut Cmd, site: &Site) -> Result<Output, Failure> {
    let output = cmd.output().await?;
    if output.success() {
        return Ok(output);
    }
    if output.unreached() {
        return Err(failure(&output));
    }
    let why = site.scrub(&output.last_line(), 300);
    Err(Failure::failed(format!("the machine says: {why}")))
}

/// A file whose reading is counted.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Sends a program, unless it is there.
async fn send(site: &Site, program: &Program, work: Work<'_>) -> Result<(), Failure> {
    let name = program.sha256.as_str();
    let has = there(site, &["has", name])?.deadline(SHORT).output().await?;
    if has.unreached() {
        return Err(failure(&has));
    }
    if has.success() {
        return Ok(());
    }
    let read = Arc::new(AtomicU64::new(0));
    let file = Counted { file: File::open(&program.path)?, read: Arc::clone(&read) };
    let mut cmd = there(site, &["program", name])?;
    cmd.stdin_from(file).deadline(UPLOAD).cancel_on(work.cancel).hold(work.lock)?;
    let what = program.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let metered = async {
        loop {
            let mib = |bytes: u64| bytes >> 20;
            let so_far = mib(read.load(Ordering::Relaxed));
            work.progress.amount(so_far, mib(program.bytes), &format!("MiB of {what}"));
            wait::back_off(AGAIN).await;
        }
    };
    tokio::select! {
        sent = told(&mut cmd, site) => sent.map(drop),
        () = metered => Ok(()),
    }
}

/// What a program says there when it is asked for its version: the proof that the machine can run
/// it, before anything depends on it.
async fn said(site: &Site, program: &Program, begins: &str) -> Result<String, Failure> {
    let machine = reach::machine(site)?;
    let mut cmd = machine.cmd(&format!("{PROGRAMS}/{}", program.sha256));
    let output = cmd.arg("--version").deadline(SHORT).output().await?;
    if output.unreached() {
        return Err(failure(&output));
    }
    let first = output.stdout.lines().next().unwrap_or_default();
    match first.strip_prefix(begins) {
        Some(version) if output.success() && !first.is_empty() => Ok(site.scrub(version, 40)),
        _ => Err(Failure::failed(format!(
            "the machine cannot run {}: {}",
            program.path.display(),
            site.scrub(&output.last_line(), 300)
        ))
        .remedy("name another one in OPENCLAW_PIPELINE_SERVER_BINARY (or _SERVER_TERRAFORM)")),
    }
}
