//! From a browser's request to its approval, against a bare client that does only that.
//!
//! One real gateway; both clients are connected all the while. A device that asks for a scope
//! beyond the ceiling is left alone by the product's policy and approved by the bare client; the
//! others are the product's. An observer of its own takes the times from the gateway's events, so
//! both are measured from outside, by the same clock.

use std::process::Command;
use std::time::{Duration, Instant};

use openclaw_pipeline::app::App;
use openclaw_pipeline::exec::{boot_id, boottime};
use openclaw_pipeline::gateway::{GatewayClient, Next, Pairing, PairingEvent};
use openclaw_pipeline::operations::approval;
use openclaw_pipeline::store::Window;

use super::stats::{Samples, ms};
use super::support::engine::Engine;
use super::support::lab::{Lab, Part};
use super::support::private_client;
use super::support::real::{Real, TOKEN};

/// How many requests each client approves.
const EACH: usize = 300;
/// A scope that the policy does not grant by itself.
const BEYOND: &str = "operator.beyond";

/// What a relay through the engine may cost, in milliseconds.
const RELAY_MS: f64 = 50.0;

pub fn process(lab: &Lab) {
    run(&Real::new(lab), "bench", "process", 5.0);
}

/// In a process of its own, whose environment names the lab's engine: the product finds the engine
/// there.
pub fn docker() {
    let Some(lab) = Lab::require(Part::Engine) else { return };
    let Some(engine) = Engine::get() else { return };
    if std::env::var_os("DOCKER_HOST").is_none_or(|host| host != engine.docker_host()) {
        let program = std::env::current_exe().expect("this program");
        let status = Command::new(program)
            .arg("approval-docker")
            .env("DOCKER_HOST", engine.docker_host())
            .status()
            .expect("runs");
        assert!(status.success(), "{status}");
        return;
    }
    run(&Real::with_engine(&lab, engine), &Engine::name("bench"), "docker", 5.0 + RELAY_MS);
}

fn run(real: &Real, name: &str, target: &str, allowance_ms: f64) {
    real.ok(&["launch", name, "--target", target, "--no-link", "--approval", "off"]);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (product, bare) = runtime.block_on(measured(real, name));
    println!("from a request to its approval, {target}, connection up, interleaved:");
    println!("{}", product.line("product"));
    println!("{}", bare.line("bare client"));
    let (ours, theirs) = (product.percentile(99), bare.percentile(99));
    println!(
        "  p99 product {:.1} ms; allowed 1.2 x bare + {allowance_ms} ms = {:.1} ms\n",
        ms(ours),
        ms(theirs) * 1.2 + allowance_ms
    );
}

async fn measured(real: &Real, name: &str) -> (Samples, Samples) {
    let app = App::open_at(&real.data(), &real.key()).expect("the data directory");
    let mut site = app.site(&name.parse().expect("a name")).expect("the deployment");
    // The gateway was launched without a keeper's window; this process holds one for it.
    site.deployment.spec.approval.mode = openclaw_pipeline::domain::approval::ApprovalMode::Auto;
    let now = i64::try_from(boottime().as_secs()).expect("a time");
    let window = Window {
        boot_id: boot_id().expect("a boot"),
        opened_s: now,
        deadline_s: now + 3600,
        remaining: u32::try_from(EACH * 2).expect("fits"),
    };
    app.store().open_window(&site.deployment.id, &window).expect("opens");

    let connected = || async {
        let dial = app.target(&site).loopback(&site).expect("a dial");
        approval::connect_patiently(&*dial, &site).await.expect("connects")
    };
    let observer = connected().await;
    let bare = connected().await;
    let watching = {
        let (app, site) = (app.clone(), site.clone());
        tokio::spawn(async move {
            let dial = app.target(&site).loopback(&site).expect("a dial");
            approval::watch(app.store(), &site, &*dial).await
        })
    };
    let approving = tokio::spawn(async move { approve_what_is_beyond(&bare).await });
    let authority = format!("127.0.0.1:{}", site.port().expect("a port"));
    let (mut product, mut bare) = (Samples(Vec::new()), Samples(Vec::new()));
    // Warm both up, then measure.
    for number in 0..(EACH + 3) * 2 {
        let beyond = number % 2 == 1;
        let scopes: &[&str] = if beyond { &["operator.read", BEYOND] } else { &["operator.read"] };
        let asks = private_client::asks_for(&authority, TOKEN, scopes);
        let (answer, took) = tokio::join!(asks, approved(&observer));
        // An approval that comes while the gateway still answers lets the device in at once.
        assert!(["NOT_PAIRED", "in"].contains(&answer.as_str()), "{answer}");
        if number >= 6 {
            if beyond { &mut bare } else { &mut product }.0.push(took);
        }
    }
    watching.abort();
    approving.abort();
    (product, bare)
}

/// The bare client: it hears of a request and approves it, and does nothing else.
async fn approve_what_is_beyond(client: &GatewayClient) {
    loop {
        match client.next_event().await {
            Next::Event(event) => {
                if let Some(PairingEvent::Requested(request)) = PairingEvent::read(&event)
                    && request.scopes.iter().any(|scope| scope == BEYOND)
                {
                    Pairing(client).approve(&request.request_id).await.expect("approves");
                }
            }
            Next::Lagged => {}
            Next::Closed(why) => panic!("the bare client lost the gateway: {why}"),
        }
    }
}

/// The time between the next request and its resolution, as an observer hears of them.
async fn approved(observer: &GatewayClient) -> Duration {
    let mut begun = None;
    loop {
        let next = tokio::time::timeout(Duration::from_secs(30), observer.next_event()).await;
        let Next::Event(event) = next.expect("an approval in time") else { continue };
        match PairingEvent::read(&event) {
            Some(PairingEvent::Requested(_)) => begun = Some(Instant::now()),
            Some(PairingEvent::Resolved { .. }) => {
                if let Some(begun) = begun {
                    return begun.elapsed();
                }
            }
            _ => {}
        }
    }
}
