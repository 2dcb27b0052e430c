//! A tunnel beside the gateway: `cloudflared` as a service of the deployment's own project.
//!
//! Owns the service, its network with the one address that the gateway takes for a proxy's, and
//! what is seen of its container. Refuses to hand it anything but its own token, which travels as
//! the gateway's secrets do, and to believe what it prints: that is a cause in words, no more.

use serde_json::{Value, json};

use super::super::Work;
use super::super::site::Site;
use super::compose::remove_labelled;
use super::engine::{Engine, failure};
use super::{CONTAINER_PORT, container, image, owner};
use crate::config::variables::DEFAULT_TUNNEL_IMAGE;
use crate::domain::Failure;

/// The service in the project.
pub(super) const SERVICE: &str = "cloudflared";
/// What marks its container, beside the deployment's own labels.
const MARK: (&str, &str) = ("io.openclaw.pipeline.helper", "tunnel");
/// The project's network. Fixed, so that one address in it is the tunnel's, and no other's: who
/// comes without one gets it from the upper half.
const SUBNET: &str = "192.168.213.0/28";
const FOR_OTHERS: &str = "192.168.213.8/29";
const BRIDGE: &str = "192.168.213.1";
/// The tunnel's address there: the only one whose word on a client's address the gateway takes.
pub const TUNNEL_ADDRESS: &str = "192.168.213.2";
/// The variable that carries a named tunnel's token.
pub(super) const TOKEN: &str = "OPENCLAW_PIPELINE_TUNNEL_TOKEN";
/// The port of its figures, which also tell its host name.
const METRICS_PORT: u16 = 20241;
/// After how many restarts it counts as not staying up.
const RESTARTS: u32 = 2;
/// How many lines from the end of its log are read.
const LINES: &str = "40";

/// The port of the machine's loopback that its figures are published on: never the gateway's.
pub fn metrics_port(gateway: u16) -> u16 {
    if gateway == METRICS_PORT { METRICS_PORT + 1 } else { METRICS_PORT }
}

/// The network of a deployment that has the engine to itself.
pub(super) fn network() -> Value {
    let range = json!({ "subnet": SUBNET, "ip_range": FOR_OTHERS, "gateway": BRIDGE });
    json!({ "driver": "default", "config": [range] })
}

/// The image of its program.
pub(super) fn wanted(site: &Site) -> &str {
    let machine = site.deployment.spec.machine.as_ref();
    machine.and_then(|it| it.tunnel_image.as_deref()).unwrap_or(DEFAULT_TUNNEL_IMAGE)
}

/// Whether it has a host name of its own.
fn is_named(site: &Site) -> bool {
    site.deployment.spec.machine.as_ref().is_some_and(|it| it.tunnel_host.is_some())
}

/// The third file of the project.
pub(super) fn service(site: &Site) -> Result<Value, Failure> {
    let metrics = format!("0.0.0.0:{METRICS_PORT}");
    let mut command = vec!["tunnel", "--no-autoupdate", "--metrics", &metrics];
    let gateway = format!("http://{}:{CONTAINER_PORT}", super::compose::SERVICE);
    let mut environment = json!({});
    if is_named(site) {
        // Where it leads to is said with the tunnel, at its owner's account.
        command.push("run");
        environment = json!({ "TUNNEL_TOKEN": format!("${{{TOKEN}}}") });
    } else {
        command.extend(["--url", &gateway]);
    }
    let (key, value) = MARK;
    let labels = json!({
        owner::NAME: site.deployment.name, owner::ID: site.deployment.id, key: value,
    });
    let published = format!("127.0.0.1:{}:{METRICS_PORT}", metrics_port(site.port()?));
    Ok(json!({ "services": { SERVICE: {
        "image": wanted(site),
        "container_name": name(site),
        "command": command,
        "environment": environment,
        "labels": labels,
        "ports": [published],
        "networks": { owner::NETWORK: { "ipv4_address": TUNNEL_ADDRESS } },
        "user": "65532:65532",
        "read_only": true,
        "security_opt": ["no-new-privileges:true"],
        "cap_drop": ["ALL"],
        "pids_limit": 128,
        "mem_limit": "256m",
        "restart": "unless-stopped",
        "logging": {
            "driver": "json-file", "options": { "max-size": "1m", "max-file": "2" },
        },
    } } }))
}

/// Its container.
fn name(site: &Site) -> String {
    format!("{}-tunnel", container(site))
}

/// What is seen of its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// None is there, or it was stopped.
    Off,
    /// It runs.
    On,
    /// It ends again and again.
    Failing,
}

impl Engine {
    /// Starts the tunnel's container, or leaves the one that runs as it should.
    pub async fn raise_tunnel(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        image::ensure_here(self, wanted(site), work)
            .await
            .map_err(|failure| failure.context("the tunnel's program"))?;
        self.compose().await?.raise(self, site, work).await
    }

    /// Removes it.
    pub async fn lower_tunnel(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        let (key, value) = MARK;
        remove_labelled(self, site, &[&format!("label={key}={value}")], work).await.map(drop)
    }

    /// What is seen of it.
    pub async fn tunnel(&self, site: &Site) -> Result<Seen, Failure> {
        let format = "{{.State.Status}} {{.RestartCount}}";
        let mut cmd = self.docker();
        let output =
            cmd.args(["container", "inspect", "--format", format, &name(site)]).output().await?;
        if !output.success() {
            let gone = output.stderr.to_lowercase().contains("no such container");
            return if gone { Ok(Seen::Off) } else { Err(failure(&output)) };
        }
        Ok(seen(output.stdout.trim()))
    }

    /// Why it does not lead anywhere, in its own words.
    pub async fn tunnel_says(&self, site: &Site) -> String {
        let mut cmd = self.docker();
        let output =
            cmd.args(["container", "logs", "--tail", LINES, &name(site)]).output().await.ok();
        let text = output.map(|it| format!("{}\n{}", it.stdout, it.stderr)).unwrap_or_default();
        site.scrub(cause(&text), 300)
    }
}

fn seen(inspected: &str) -> Seen {
    let (status, restarts) = inspected.split_once(' ').unwrap_or((inspected, "0"));
    let restarts: u32 = restarts.parse().unwrap_or(0);
    match status {
        "restarting" => Seen::Failing,
        _ if restarts >= RESTARTS => Seen::Failing,
        "running" | "paused" => Seen::On,
        _ => Seen::Off,
    }
}

/// The last error of a log, else its last line.
fn cause(log: &str) -> &str {
    let lines = || log.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let is_error = |line: &&str| line.contains(" ERR ") || line.contains("error");
    lines().find(is_error).or_else(|| lines().next()).unwrap_or("it says nothing")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::container::site_of_a_test;

    fn site(host: Option<&str>) -> Site {
        let dir = tempfile::tempdir().expect("a directory");
        let mut site = site_of_a_test(dir.path());
        let machine = json!({ "region": "us-east-1", "expose": "tunnel", "tunnel_host": host });
        site.deployment.spec.machine = serde_json::from_value(machine).expect("a machine");
        site
    }

    #[test]
    fn the_service_is_hardened_and_leads_to_the_gateway() {
        let file = service(&site(None)).expect("a service");
        let service = &file["services"][SERVICE];
        assert_eq!(
            service["command"],
            json!([
                "tunnel",
                "--no-autoupdate",
                "--metrics",
                "0.0.0.0:20241",
                "--url",
                "http://openclaw-gateway:18789"
            ])
        );
        assert_eq!(service["image"], DEFAULT_TUNNEL_IMAGE);
        assert_eq!(service["user"], "65532:65532");
        assert_eq!(service["read_only"], true);
        assert_eq!(service["cap_drop"], json!(["ALL"]));
        assert_eq!(service["security_opt"], json!(["no-new-privileges:true"]));
        assert_eq!(service["ports"], json!(["127.0.0.1:20241:20241"]));
        assert_eq!(service["networks"]["default"]["ipv4_address"], TUNNEL_ADDRESS);
        assert!(service["pids_limit"].is_number() && service["mem_limit"].is_string());
        assert_eq!(service["environment"], json!({}));
    }

    #[test]
    fn a_named_ones_token_stands_in_no_argument_and_no_file() {
        let mut site = site(Some("gateway.example.com"));
        site.secrets.tunnel_token = Some(crate::secrets::Secret::new("a-secret-tunnel-token"));
        let file = service(&site).expect("a service");
        assert!(!file.to_string().contains("a-secret"));
        let service = &file["services"][SERVICE];
        assert_eq!(service["command"].as_array().and_then(|it| it.last()), Some(&json!("run")));
        assert_eq!(service["environment"]["TUNNEL_TOKEN"], format!("${{{TOKEN}}}"));
    }

    #[test]
    fn its_address_is_nobody_elses() {
        let bits = |range: &str| {
            let (address, bits) = range.split_once('/').expect("a range");
            let address: std::net::Ipv4Addr = address.parse().expect("an address");
            (u32::from(address), 32 - bits.parse::<u32>().expect("bits"))
        };
        let within = |address: &str, range: &str| {
            let (first, free) = bits(range);
            let address: std::net::Ipv4Addr = address.parse().expect("an address");
            u32::from(address) >> free == first >> free
        };
        for address in [TUNNEL_ADDRESS, BRIDGE] {
            assert!(within(address, SUBNET) && !within(address, FOR_OTHERS), "{address}");
        }
        assert_eq!(metrics_port(18789), 20241);
        assert_eq!(metrics_port(20241), 20242);
    }

    #[test]
    fn what_is_seen_of_it() {
        assert_eq!(seen("running 0"), Seen::On);
        assert_eq!(seen("running 1"), Seen::On);
        assert_eq!(seen("running 2"), Seen::Failing);
        assert_eq!(seen("restarting 1"), Seen::Failing);
        assert_eq!(seen("exited 0"), Seen::Off);
        assert_eq!(seen(""), Seen::Off);
    }

    #[test]
    fn its_cause_is_its_last_error() {
        let log = "2026 INF Starting\n2026 ERR Register tunnel error\n2026 INF Retrying\n";
        assert_eq!(cause(log), "2026 ERR Register tunnel error");
        assert_eq!(cause("one\ntwo\n\n"), "two");
        assert_eq!(cause(""), "it says nothing");
    }
}
