//! Gateways on machines of their own, on real parts: the real Terraform and its provider, a machine
//! behind the address, the real OpenClaw in its engine, a real browser from elsewhere. The tunnel is
//! the lab's: a stand-in for cloudflared (support/edge.rs).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::cloud::Cloud;
use crate::support::crowd;
use crate::support::edge::Edge;
use crate::support::lab::{Lab, Part};
use crate::support::life::{Ground, Life, let_in, link};
use crate::support::netns::NetNs;
use crate::support::private_client;
use crate::support::real::{CURRENT, PREVIOUS, Real, TOKEN};
use crate::support::real_server::RealServer;

/// The provider's key, which no provider is asked with.
const KEY: &str = "sk-ant-a-key-that-only-looks-like-one";

fn image(tag: &str) -> String {
    format!("ghcr.io/openclaw/openclaw:{tag}")
}

async fn lives_its_whole_life(target: &str) {
    let Some(lab) = Lab::require(Part::Cloud) else { return };
    let _room = crowd::room(1).await;
    let Some(cloud) = Cloud::start() else { return };
    let Some(netns) = NetNs::create() else { return };
    let Some(browser) = Browser::launch(&netns).await else { return };
    let real = Real::in_cloud(&lab, &cloud);
    let life = Life {
        real: &real,
        netns: &netns,
        browser: &browser,
        name: "life".into(),
        first: ["--target", target, "--image", &image(PREVIOUS)].map(str::to_owned).into(),
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
async fn an_ec2_gateway_lives_its_whole_life() {
    lives_its_whole_life("ec2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lightsail_gateway_lives_its_whole_life() {
    lives_its_whole_life("lightsail").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_targets_of_the_makefile_and_one_call_give_three_gateways_and_take_them_back() {
    let Some(lab) = Lab::require(Part::Cloud) else { return };
    let _room = crowd::room(3).await;
    let Some(cloud) = Cloud::start() else { return };
    let Some(netns) = NetNs::create() else { return };
    // The machines' registry has the stand-in for cloudflared beside the real gateway.
    let Some(_) = cloud.standin() else { return };
    let edge = Edge::start();
    let Some(browser) = Browser::launch_before(&netns, &edge).await else { return };
    let real = Real::in_cloud(&lab, &cloud).before(&edge);
    let server = RealServer::start(&real, |_| {});
    let launched = server.launch(json!({ "name": "c", "anthropic_api_key": KEY })).await;
    assert_eq!(launched["message"], "launching c on the ec2 target");
    let (a, b) = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let a = scope.spawn(|| link(&real.made(&["ec2-full-setup", "NAME=a"])));
            // Of those who come by the policy one is let in; whoever comes after it waits.
            let b = [
                "ls-full-setup",
                "NAME=b",
                "CLOUDFLARE=true",
                "OPENCLAW_PIPELINE_APPROVAL_DEVICES=1",
            ];
            let b = link(&real.made(&b));
            (a.join().expect("no panic"), b)
        })
    });
    server.completed("c").await;
    let c = server.link("c").await;
    assert_eq!(cloud.instances().len(), 3, "each has a machine of its own");
    let key = |name: &str| {
        let path = real.data().join("deployments").join(name).join("ssh/key.pub");
        std::fs::read_to_string(path).expect("its key")
    };
    let keys: std::collections::BTreeSet<_> = ["a", "b", "c"].map(key).into();
    assert_eq!(keys.len(), 3, "and a key of its own");
    assert!(a.starts_with("http://") && c.starts_with("http://"), "{a} {c}");
    for link in [&a, &c] {
        let_in(&browser, link).await;
    }
    by_https(&real, &browser, &netns, &edge, &b).await;

    a_terminal_shows(&real);
    real.made(&["ls-restart", "NAME=b"]);
    assert_eq!(real.json(&["status", "b"])["status"], Value::from("running"));
    assert!(real.made(&["ec2-plan", "NAME=a"]).contains("Nothing would change"));
    // The one with a tunnel is without one from now on, and lets browsers in all the same.
    real.made(&["ls-cloudflare-stop", "NAME=b"]);
    let plain = link(&real.made(&["ls-url", "NAME=b"]));
    assert!(plain.starts_with("http://"), "{plain}");
    for link in [&plain, &link(&real.made(&["ec2-url", "NAME=a"]))] {
        let_in(&browser, link).await;
    }
    real.made(&["ec2-destroy", "NAME=a", "YES=1"]);
    real.made(&["ls-destroy", "NAME=b", "YES=1"]);
    server.removed("c").await;
    cloud.assert_empty();
}

/// The log, a shell and a tunnel, by the targets that a user types.
fn a_terminal_shows(real: &Real) {
    real.made_until(&["ec2-logs", "NAME=a"], "[gateway]", |_| {});
    real.made_until(&["ls-logs", "NAME=b"], "[gateway]", |_| {});
    for named in [["ec2-shell", "NAME=a"], ["ls-shell", "NAME=b"]] {
        let mut shell = real.make(&named);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        let mut typed = shell.stdin.take().expect("its input");
        typed.write_all(b"sudo docker ps --format {{.Image}}\n").expect("typed");
        drop(typed);
        let output = shell.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("ghcr.io/openclaw/openclaw"), "{said}");
    }
    real.made_until(&["ec2-tunnel", "NAME=a"], "http://127.0.0.1:", |line| {
        let at = line.split("http://").nth(1).and_then(|it| it.split('/').next()).expect("where");
        let mut tcp = TcpStream::connect(at).expect("it listens");
        write!(tcp, "GET /healthz HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n")
            .expect("asked");
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    });
}

/// The owner of `b` is let in over HTTPS, one more by the policy, and nobody who only claims to be
/// the gateway's own.
async fn by_https(real: &Real, browser: &Browser, netns: &NetNs, edge: &Edge, link: &str) {
    assert!(link.starts_with("https://"), "{link}");
    let owner = let_in(browser, link).await;
    let secure = owner.eval("window.isSecureContext").await;
    assert_eq!(secure, Ok(Value::Bool(true)), "the page came over HTTPS");
    let status = real.json(&["status", "b"]);
    let address = status["url"].as_str().expect("an address");
    let_in(browser, &format!("{address}#token={TOKEN}")).await;
    let devices = real.json(&["devices", "b"]);
    assert_eq!(devices["paired"].as_array().map(Vec::len), Some(2), "{devices:#}");
    // The gateway knows whose browser it was.
    let status = real.json(&["status", "b"]);
    assert_eq!(status["approvals"][0]["address"], netns.inside().to_string(), "{status:#}");
    let origin = address.trim_end_matches('/');
    let stream = edge.connect(origin.trim_start_matches("https://")).await;
    let asked = private_client::asks_through(stream, origin, TOKEN).await;
    assert_eq!(asked.answer, "NOT_PAIRED", "a forged local client was let in unasked");
    assert!(real.made(&["ls-approve", "NAME=b"]).contains("is in"), "its owner lets it in");
    let devices = real.json(&["devices", "b"]);
    assert_eq!(devices["paired"].as_array().map(Vec::len), Some(3), "{devices:#}");
}
