//! Which image a deployment goes on with.

use super::*;
use crate::domain::{Deployment, DeploymentStatus, Facts, TargetKind};

#[test]
fn an_image_that_worked_is_gone_on_with() {
    let pinned = |target, artefact: Option<&str>, proven: Option<&str>| {
        let facts = Facts {
            artefact: artefact.map(str::to_owned),
            proven_at: proven.map(str::to_owned),
            ..Facts::default()
        };
        let spec = serde_json::json!({
            "target": target, "bind": "127.0.0.1", "heartbeat": "0m", "image": "own:latest",
            "approval": crate::domain::approval::ApprovalPolicy::default(),
            "memory_mib": 2048,
        });
        let mut deployment = Deployment {
            id: "1".into(),
            name: crate::domain::DeploymentName::main(),
            status: DeploymentStatus::Stopped,
            spec: serde_json::from_value(spec).expect("a specification"),
            facts,
            owner: None,
            created_at: String::new(),
            updated_at: String::new(),
        };
        pin(&mut deployment);
        deployment.spec.image.expect("an image")
    };
    let (docker, then) = (TargetKind::Docker, Some("then"));
    assert_eq!(pinned(docker, Some("own@sha256:1"), then), "own@sha256:1");
    assert_eq!(pinned(docker, Some("own@sha256:1"), None), "own:latest");
    assert_eq!(pinned(docker, None, then), "own:latest");
    assert_eq!(pinned(TargetKind::Process, Some("2026.9.6"), then), "own:latest");
}
