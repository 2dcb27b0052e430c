//! Gateways on machines of their own, on real parts: the real Terraform and its provider, a machine
//! behind the address, the real OpenClaw in its engine, a real browser from elsewhere. The tunnel is
//! the lab's: a stand-in for cloudflared (support/edge.rs).

use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::cloud::Cloud;
use crate::support::control_ui::{self, View};
use crate::support::edge::Edge;
use crate::support::lab::{Lab, Part};
use crate::support::life::{Ground, Life, PATIENCE};
use crate::support::netns::NetNs;
use crate::support::private_client;
use crate::support::real::{CURRENT, PREVIOUS, Real, TOKEN};

fn image(tag: &str) -> String {
    format!("ghcr.io/openclaw/openclaw:{tag}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ec2_gateway_lives_its_whole_life() {
    let Some(lab) = Lab::require(Part::Cloud) else { return };
    let Some(cloud) = Cloud::start() else { return };
    let Some(netns) = NetNs::create() else { return };
    let Some(browser) = Browser::launch(&netns).await else { return };
    let real = Real::in_cloud(&lab, &cloud);
    let life = Life {
        real: &real,
        netns: &netns,
        browser: &browser,
        name: "life".into(),
        first: ["--target", "ec2", "--image", &image(PREVIOUS)].map(str::to_owned).into(),
        broken: vec!["--image".into(), image("broken")],
        good: vec!["--image".into(), image(CURRENT)],
        killed_in: "create_machine",
        ground: Ground::Machine(&cloud),
        port: 18789,
    };
    life.run().await;
    cloud.assert_empty();
    assert!(!real.data().join("deployments/life").exists(), "its directory is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lightsail_gateway_lets_its_owner_in_by_https_and_leaves_nothing() {
    let Some(lab) = Lab::require(Part::Cloud) else { return };
    let Some(cloud) = Cloud::start() else { return };
    let Some(netns) = NetNs::create() else { return };
    // The machines' registry has the stand-in for cloudflared beside the real gateway.
    let Some(_) = cloud.standin() else { return };
    let edge = Edge::start();
    let Some(browser) = Browser::launch_before(&netns, &edge).await else { return };
    let real = Real::in_cloud(&lab, &cloud).before(&edge);
    let launch = ["launch", "shore", "--target", "lightsail", "--port", "18789"];
    // The policy lets one browser in; whoever comes after it is asked, and waits.
    let more = ["--expose", "tunnel", "--approval-devices", "1"];
    let launched = real.json(&[&launch[..], &more].concat());
    assert_eq!(launched["status"], "running", "{launched}");
    let link = launched["url"].as_str().expect("a link");
    assert!(link.starts_with("https://"), "{link}");
    let owner = browser.page().await;
    owner.goto(link).await.expect("opens the owner's link");
    control_ui::wait_until(&owner, PATIENCE, |view| *view == View::Connected)
        .await
        .expect("the owner's link lets a browser in");
    let secure = owner.eval("window.isSecureContext").await;
    assert_eq!(secure, Ok(Value::Bool(true)), "the page came over HTTPS");
    let address = real.json(&["status", "shore"])["url"].clone();
    let further = browser.stranger().await;
    let page = format!("{}#token={TOKEN}", address.as_str().expect("an address"));
    further.goto(&page).await.expect("opens the page");
    control_ui::wait_until(&further, PATIENCE, |view| *view == View::Connected)
        .await
        .expect("a further browser is let in by the policy");
    let devices = real.json(&["devices", "shore"]);
    assert_eq!(devices["paired"].as_array().map(Vec::len), Some(2), "{devices:#}");
    // The gateway knows whose browser it was, and who only claims to be its own.
    let status = real.json(&["status", "shore"]);
    assert_eq!(status["approvals"][0]["address"], netns.inside().to_string(), "{status:#}");
    let host = address.as_str().expect("an address");
    let host = host.trim_start_matches("https://").trim_end_matches('/');
    let asked = private_client::asks_through(edge.connect(host).await, host, TOKEN).await;
    assert_eq!(asked.answer, "NOT_PAIRED", "a forged local client was let in unasked");

    real.ok(&["restart", "shore"]);
    assert_eq!(real.json(&["status", "shore"])["status"], Value::from("running"));
    real.ok(&["destroy", "shore", "--yes"]);
    cloud.assert_empty();
}
