//! The machine: its disk, its engine, its npm and Node.js, and the Node.js that gateways run on.

use super::super::App;
use super::{Finding, Verdict};
use crate::assets;
use crate::domain::Failure;
use crate::domain::text::clean;
use crate::exec::{Cmd, free_bytes};
use crate::targets::process;

/// Less free space than this is a problem, in bytes.
const FLOOR_BYTES: u64 = 1 << 30;
/// The oldest npm that reads lockfiles of version 3.
const OLDEST_NPM: u32 = 7;
/// The oldest Node.js that npm releases of today still run on.
const OLDEST_NODE: u32 = 18;

/// Examines the machine.
pub(super) async fn examine(app: &App) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    let home = app.layout().home();
    let free = free_bytes(home)?;
    findings.push(if free < FLOOR_BYTES {
        Finding::from(
            Verdict::Problem,
            "disk",
            Failure::failed(format!("{} has {} MiB free", home.display(), free >> 20))
                .remedy("free some space: gateways stop working on a full disk"),
        )
    } else {
        Finding::ok("disk", format!("{} MiB free in {}", free >> 20, home.display()))
    });
    let docker = app.engine().targets().docker().engine().require().await;
    let npm = process::npm_version().await;
    // Either target is enough, so the lack of one is worth a note and the lack of both a problem.
    let lacking = |other: bool| if other { Verdict::Note } else { Verdict::Problem };
    let (has_docker, has_npm) = (docker.is_ok(), npm.is_ok());
    findings.push(match docker {
        Ok(()) => Finding::ok("docker", "an engine answers"),
        Err(failure) => Finding::from(lacking(has_npm), "docker", failure),
    });
    findings.push(match npm {
        Ok(version) if major(&version).is_some_and(|major| major < OLDEST_NPM) => Finding::from(
            lacking(has_docker),
            "npm",
            Failure::prerequisite(format!(
                "{version} cannot read the lockfiles that gateways are installed from"
            ))
            .remedy(format!("install npm {OLDEST_NPM} or newer")),
        ),
        Ok(version) => Finding::ok("npm", version),
        Err(failure) => Finding::from(lacking(has_docker), "npm", failure),
    });
    findings.push(node().await);
    findings.extend(runtime(app).await);
    Ok(findings)
}

/// The machine's own Node.js. It runs npm and nothing else, so no version of it fails a gateway.
async fn node() -> Finding {
    let note = |seen: String, remedy: &str| {
        Finding::from(Verdict::Note, "node", Failure::failed(seen).remedy(remedy))
    };
    let Ok(output) = Cmd::new("node").arg("--version").output().await else {
        return note(
            "this machine has no node in PATH; npm needs one to run".into(),
            "install Node.js; gateways themselves run on one of their own",
        );
    };
    let version = clean(output.stdout.trim(), 40);
    match major(&version) {
        _ if !output.success() => note(
            format!("the node in PATH does not run: {}", output.last_line()),
            "install Node.js again: npm needs it; gateways run on one of their own",
        ),
        Some(major) if major < OLDEST_NODE => note(
            format!("{version} is older than what npm is made for today"),
            "install a newer Node.js if npm fails; gateways run on one of their own",
        ),
        _ => Finding::ok(
            "node",
            format!("{version} (gateways run on their own {})", assets::NODE_VERSION),
        ),
    }
}

/// The Node.js that gateways run on, once it is installed.
async fn runtime(app: &App) -> Option<Finding> {
    let (dir, binary) = process::own_node(app.layout())?;
    let answer = Cmd::bare(&binary).arg("--version").output().await;
    let seen = match answer {
        Ok(output) if output.success() => clean(output.stdout.trim(), 40),
        Ok(output) => format!("an error: {}", output.last_line()),
        Err(error) => format!("an error: {error}"),
    };
    if seen == format!("v{}", assets::NODE_VERSION) {
        return Some(Finding::ok("runtime", format!("Node.js {seen}")));
    }
    let wrong = Failure::failed(format!(
        "the Node.js that gateways run on should be v{} and answers {seen}",
        assets::NODE_VERSION
    ));
    let remedy = format!(
        "remove {} and launch again: that installs it anew (openclaw-pipeline launch NAME)",
        dir.display()
    );
    Some(Finding::from(Verdict::Problem, "runtime", wrong.remedy(remedy)))
}

/// The first number of a version.
fn major(version: &str) -> Option<u32> {
    version.trim_start_matches('v').split('.').next()?.parse().ok()
}
