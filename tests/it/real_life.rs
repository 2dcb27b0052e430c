//! The whole life of a gateway on real parts: the real OpenClaw, a real engine, a real browser
//! from elsewhere, for each local target.
//!
//! It is launched by a command that is killed on its way, goes on, lets browsers in after the
//! command has exited, survives an update that does not come up and a good one with its data, and
//! is destroyed without a trace.

use crate::support::browser::Browser;
use crate::support::crowd;
use crate::support::engine::Engine;
use crate::support::lab::{Lab, Part};
use crate::support::life::{Ground, Life};
use crate::support::netns::NetNs;
use crate::support::ports::free_port;
use crate::support::real::{BROKEN, CURRENT, PREVIOUS, Real};

#[tokio::test(flavor = "multi_thread")]
async fn a_process_gateway_lives_its_whole_life() {
    let Some(lab) = Lab::require(Part::Npm(CURRENT)) else { return };
    let _room = crowd::room(1).await;
    let Some(netns) = NetNs::create() else { return };
    let Some(browser) = Browser::launch(&netns).await else { return };
    let real = Real::new(&lab);
    let life = Life {
        real: &real,
        netns: &netns,
        browser: &browser,
        name: "life".into(),
        first: vec!["--target".into(), "process".into(), "--version".into(), PREVIOUS.into()],
        broken: vec!["--version".into(), BROKEN.into()],
        good: vec!["--version".into(), CURRENT.into()],
        killed_in: "prove",
        ground: Ground::Process,
        port: free_port(),
    };
    life.run().await;
    assert!(!real.data().join("deployments/life").exists(), "its directory is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_gateway_lives_its_whole_life() {
    let image = |tag: &str| format!("ghcr.io/openclaw/openclaw:{tag}");
    for tag in [CURRENT, PREVIOUS, "broken"] {
        if Lab::require(Part::Image(tag)).is_none() {
            return;
        }
    }
    let _room = crowd::room(1).await;
    let Some(lab) = Lab::require(Part::Engine) else { return };
    let Some(engine) = Engine::get() else { return };
    let Some(netns) = NetNs::create() else { return };
    let Some(browser) = Browser::launch(&netns).await else { return };
    let real = Real::with_engine(&lab, engine);
    let name = Engine::name("life");
    let life = Life {
        real: &real,
        netns: &netns,
        browser: &browser,
        name: name.clone(),
        first: vec!["--target".into(), "docker".into(), "--image".into(), image(PREVIOUS)],
        broken: vec!["--image".into(), image("broken")],
        good: vec!["--image".into(), image(CURRENT)],
        killed_in: "start",
        ground: Ground::Engine(engine),
        port: free_port(),
    };
    life.run().await;
    let own = format!("label=io.openclaw.pipeline.deployment={name}");
    for what in ["container", "volume", "network"] {
        let list: &[&str] = if what == "container" { &["ls", "-aq"] } else { &["ls", "-q"] };
        let left = engine.docker(&[&[what], list, &["--filter", &own]].concat());
        assert_eq!(left.trim(), "", "{what}s of it are left");
    }
}
