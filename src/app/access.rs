//! The access call: the one place that gives a link a browser can get in with.
//!
//! Where the version issues one-time owner links, the link is one. Where it does not, the link
//! carries the gateway's token, and says so. Refuses that one for any other reason: whoever has it
//! controls the gateway, so a full disk or a slow start must not be what hands it out.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::App;
use crate::domain::text::percent_encode;
use crate::domain::{Deployment, DeploymentName, DeploymentStatus, Failure, OpenClawVersion};
use crate::exec::Output;
use crate::secrets::Secret;
use crate::targets::Site;

/// How long making a one-time link may take: it costs a start of Node.js.
const LINK_DEADLINE: Duration = Duration::from_secs(90);

/// The first version that issues one-time links.
const FIRST_WITH_LINKS: OpenClawVersion = OpenClawVersion::new(2026, 8, 1);

/// What kind of link it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessKind {
    /// It lets one browser in, once, for ten minutes.
    OneTime,
    /// It carries the gateway's token.
    SharedToken,
}

/// A link that lets a browser in.
#[derive(Debug, Clone)]
pub struct Access {
    /// The link.
    pub url: Secret,
    /// When it ends, RFC 3339 UTC; `None` when it does not.
    pub expires_at: Option<String>,
    /// What kind it is.
    pub kind: AccessKind,
    /// Whether it goes over plain HTTP and beyond this machine.
    pub readable_on_its_way: bool,
}

/// What the gateway's one-time grant consists of.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Grant {
    token: String,
    expires_at_ms: i64,
}

/// Issues an owner's grant through the gateway's public plugin interface, with the profile that
/// its own `dashboard` command uses (the same from 2026.8.1 to 2026.9.6). It takes a quarter of
/// that command's time, and that command refuses to work for a gateway that listens on one
/// address.
const ISSUE: &str = r#"
const { pathToFileURL } = await import("node:url");
const root = pathToFileURL(process.argv[1] + "/");
const sdk = await import(new URL("dist/plugin-sdk/device-bootstrap.js", root).href);
const scopes = ["admin", "approvals", "pairing", "questions", "read", "talk.secrets", "write"];
const grant = await sdk.issueDeviceBootstrapToken({ profile: {
  roles: ["operator"],
  scopes: scopes.map((scope) => "operator." + scope),
  purpose: "control-ui-owner",
} });
console.log(JSON.stringify({ token: grant.token, expiresAtMs: grant.expiresAtMs }));
process.exit(0);
"#;

/// What `openclaw dashboard --json` says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dashboard {
    #[serde(default)]
    ok: bool,
    reason: Option<String>,
    browser_url: Option<String>,
    browser_bootstrap_expires_at_ms: Option<i64>,
}

impl App {
    /// A link for the owner's browser.
    pub async fn access(&self, name: &DeploymentName) -> Result<Access, Failure> {
        self.access_by(name, false).await
    }

    /// The same, for a browser that comes through a tunnel to this machine.
    pub async fn access_by(
        &self,
        name: &DeploymentName,
        by_tunnel: bool,
    ) -> Result<Access, Failure> {
        let deployment = Box::pin(self.look(&self.deployment(name)?)).await?;
        refuse_unless_running(&deployment)?;
        let site = self.engine().site(&deployment)?;
        let way = Way::of(&site, by_tunnel)?;
        if without_links(&deployment) {
            return Ok(shared(&site, &way));
        }
        // The interface of another version may be another one; its own command knows it.
        let cause = match self.issued(&site, &way).await {
            Ok(access) => return Ok(access),
            Err(failure) => failure,
        };
        match self.dashboard(&site, &way).await {
            Ok(Some(access)) => Ok(access),
            Ok(None) => Ok(shared(&site, &way)),
            Err(failure) => {
                tracing::debug!(%cause, "the plugin interface gave no link");
                Err(Failure::failed(format!("{name}: no link could be made: {failure}")).remedy(
                    format!(
                        "openclaw-pipeline doctor {name} looks for the cause; the log may say \
                         more: openclaw-pipeline logs {name}"
                    ),
                ))
            }
        }
    }

    /// A one-time link by the plugin interface.
    async fn issued(&self, site: &Site, way: &Way) -> Result<Access, Failure> {
        let mut cmd = self.target(site).script(site, ISSUE).await?;
        let output = cmd.deadline(LINK_DEADLINE).output().await?;
        let grant: Grant = answer(site, &output)?;
        let origin = &way.origin;
        let socket = percent_encode(&origin.replacen("http", "ws", 1));
        let token = percent_encode(&grant.token);
        Ok(Access {
            url: Secret::new(format!(
                "{origin}/#bootstrapToken={token}&bootstrapProfile=owner&gatewayUrl={socket}"
            )),
            expires_at: rfc3339(grant.expires_at_ms),
            kind: AccessKind::OneTime,
            readable_on_its_way: way.readable,
        })
    }

    /// A one-time link by the gateway's own command, where the interface is another one. `None`
    /// where the version answers, and knows no such link.
    async fn dashboard(&self, site: &Site, way: &Way) -> Result<Option<Access>, Failure> {
        let mut cmd = self.target(site).openclaw(site, &["dashboard", "--json"], false).await?;
        let output = cmd.deadline(LINK_DEADLINE).output().await?;
        let dashboard: Dashboard = answer(site, &output)?;
        if !dashboard.ok {
            let reason = dashboard.reason.unwrap_or_else(|| "the gateway says no reason".into());
            return Err(Failure::failed(site.scrub(&reason, 300)));
        }
        let Some(url) = dashboard.browser_url else { return Ok(None) };
        let url = rewritten(&url, &way.origin)
            .ok_or_else(|| Failure::failed("the gateway's link is of a form that is not known"))?;
        let expires_at = dashboard.browser_bootstrap_expires_at_ms.and_then(rfc3339);
        Ok(Some(Access {
            url: Secret::new(url),
            expires_at,
            kind: AccessKind::OneTime,
            readable_on_its_way: way.readable,
        }))
    }
}

/// A link to a gateway that does not answer leads nowhere.
fn refuse_unless_running(deployment: &Deployment) -> Result<(), Failure> {
    let name = &deployment.name;
    let remedy = match deployment.status {
        DeploymentStatus::Running => return Ok(()),
        DeploymentStatus::Stopped => format!("openclaw-pipeline start {name}"),
        DeploymentStatus::Degraded => {
            format!("openclaw-pipeline doctor {name} looks for the cause")
        }
        DeploymentStatus::Destroying | DeploymentStatus::Destroyed => {
            format!("openclaw-pipeline status {name} shows how it stands")
        }
        _ => format!(
            "openclaw-pipeline status {name} shows how it stands; openclaw-pipeline launch {name} \
             goes on with it"
        ),
    };
    Err(Failure::conflict(format!("{name} is {}", deployment.status)).remedy(remedy))
}

/// Whether the gateway said itself that it is of a version before one-time links.
fn without_links(deployment: &Deployment) -> bool {
    let version = deployment.facts.gateway_version.as_deref();
    version.and_then(OpenClawVersion::parse).is_some_and(|version| version < FIRST_WITH_LINKS)
}

/// The object that a child printed among its lines.
fn answer<T: DeserializeOwned>(site: &Site, output: &Output) -> Result<T, Failure> {
    let line = output.stdout.lines().rfind(|line| line.starts_with('{'));
    line.and_then(|line| serde_json::from_str(line).ok())
        .ok_or_else(|| Failure::failed(site.scrub(&output.last_line(), 300)))
}

/// The way that the link's browser takes.
struct Way {
    origin: String,
    readable: bool,
}

impl Way {
    fn of(site: &Site, by_tunnel: bool) -> Result<Self, Failure> {
        if by_tunnel {
            return Ok(Self {
                origin: format!("http://127.0.0.1:{}", site.port()?),
                readable: false,
            });
        }
        Ok(Self { origin: site.origin()?, readable: site.deployment.is_readable_on_its_way() })
    }
}

fn rfc3339(ms: i64) -> Option<String> {
    let at = time::OffsetDateTime::from_unix_timestamp(ms / 1000).ok()?;
    at.format(&time::format_description::well_known::Rfc3339).ok()
}

/// The link that carries the token.
fn shared(site: &Site, way: &Way) -> Access {
    let token = percent_encode(site.secrets.token.expose());
    Access {
        url: Secret::new(format!("{}/#token={token}", way.origin)),
        expires_at: None,
        kind: AccessKind::SharedToken,
        readable_on_its_way: way.readable,
    }
}

/// The gateway names itself by the address that it listens on; the user's browser takes another
/// route, and the page connects to the gateway that the link names.
fn rewritten(url: &str, origin: &str) -> Option<String> {
    let (_, fragment) = url.split_once('#')?;
    let mut parts: Vec<String> = fragment
        .split('&')
        .filter(|part| !part.starts_with("gatewayUrl="))
        .map(str::to_owned)
        .collect();
    if !parts.iter().any(|part| part.starts_with("bootstrapToken=")) {
        return None;
    }
    let socket = origin.replacen("http", "ws", 1);
    parts.push(format!("gatewayUrl={}", percent_encode(&socket)));
    Some(format!("{origin}/#{}", parts.join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_names_the_users_route() {
        let url = "http://127.0.0.1:18789/#bootstrapToken=abc&bootstrapProfile=owner\
                   &gatewayUrl=ws%3A%2F%2F127.0.0.1%3A18789";
        assert_eq!(
            rewritten(url, "http://203.0.113.1:19001").expect("a link"),
            "http://203.0.113.1:19001/#bootstrapToken=abc&bootstrapProfile=owner\
             &gatewayUrl=ws%3A%2F%2F203.0.113.1%3A19001"
        );
        assert_eq!(rewritten("http://x/#token=abc", "http://y"), None);
        assert_eq!(rewritten("http://x/", "http://y"), None);
    }
}
