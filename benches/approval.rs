//! From a browser's request to its approval, against a bare client that does only that.
//!
//! One real gateway; both clients are connected all the while. A device that asks for a scope
//! beyond the ceiling is left alone by the product's policy and approved by the bare client; the
//! others are the product's. An observer of its own takes the times from the gateway's events, so
//! both are measured from outside, by the same clock.

use std::time::{Duration, Instant};

use openclaw_pipeline::app::App;
use openclaw_pipeline::exec::{boot_id, boottime};
use openclaw_pipeline::gateway::{GatewayClient, Next, Pairing, PairingEvent};
use openclaw_pipeline::operations::approval;
use openclaw_pipeline::store::Window;

use super::stats::{Samples, ms};
use super::support::lab::Lab;
use super::support::private_client;
use super::support::real::{Real, TOKEN};

/// How many requests each client approves.
const EACH: usize = 100;
/// A scope that the policy does not grant by itself.
const BEYOND: &str = "operator.beyond";

pub fn run(lab: &Lab) {
    let real = Real::new(lab);
    real.ok(&["launch", "bench", "--target", "process", "--no-link", "--approval", "off"]);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (product, bare) = runtime.block_on(measured(&real));
    println!("from a request to its approval, connection up, interleaved:");
    println!("{}", product.line("product"));
    println!("{}", bare.line("bare client"));
    let (ours, theirs) = (product.percentile(99), bare.percentile(99));
    println!(
        "  p99 product {:.1} ms; allowed 1.2 x bare + 5 ms = {:.1} ms\n",
        ms(ours),
        ms(theirs) * 1.2 + 5.0
    );
}

async fn measured(real: &Real) -> (Samples, Samples) {
    let app = App::open_at(&real.data(), &real.key()).expect("the data directory");
    let mut site = app.site(&"bench".parse().expect("a name")).expect("the deployment");
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
