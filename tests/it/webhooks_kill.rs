//! SIGKILL of the process that delivers, at any moment: nothing that was told is lost.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use openclaw_pipeline::domain::{DeploymentName, EventType};
use openclaw_pipeline::secrets::SealingKey;
use openclaw_pipeline::store::{NewEvent, Store};
use openclaw_pipeline::webhooks::{Options, run};
use tokio_util::sync::CancellationToken;

use crate::support::outbox::{Outbox, quick, until};
use crate::support::receiver::{Mode, Receiver};

/// Names the data directory to a child.
const HOME: &str = "OUTBOX_HOME";
/// Names the sealing key to a child.
const KEY: &str = "OUTBOX_KEY";
/// How often it is killed.
const KILLS: usize = 12;

/// The process that is killed: it delivers, and tells of something all the time.
#[tokio::test]
async fn the_process_that_is_killed() {
    let (Some(home), Some(key)) = (std::env::var_os(HOME), std::env::var_os(KEY)) else { return };
    let store = Store::open(&PathBuf::from(home)).expect("opened");
    let key = SealingKey::load(&PathBuf::from(key)).expect("the key");
    let options = Options { schedule: quick(), ..Options::default() };
    let delivers = tokio::spawn(run(store.clone(), key, options, CancellationToken::new()));
    for number in 0_u32.. {
        let name: DeploymentName = format!("box-{}", number % 5).parse().expect("a name");
        store.append_event(&name, &NewEvent::new(EventType::Started, "x")).expect("told");
        tokio::task::yield_now().await;
        if delivers.is_finished() {
            break;
        }
    }
    panic!("it ended by itself: {:?}", delivers.await);
}

struct Killed(Child);

impl Killed {
    fn start(outbox: &Outbox, proxy: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "webhooks_kill::the_process_that_is_killed", "--nocapture"]);
        command.env(HOME, outbox.home()).env(KEY, outbox.key_file()).stdout(Stdio::null());
        // What other programs take for an order to go through a proxy.
        for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env(name, proxy);
        }
        Self(command.spawn().expect("it starts"))
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // SIGKILL, whatever it is doing.
        self.0.kill().expect("killed");
        self.0.wait().expect("waited for");
    }
}

#[tokio::test]
async fn whatever_was_told_arrives_in_order_however_often_the_process_is_killed() {
    let (outbox, receiver, proxy) = (Outbox::new(), Receiver::start(), Receiver::start());
    let (frontend, secret) = outbox.frontend(&receiver);
    receiver.set(Mode::Slow(Duration::from_millis(1)));
    for kill in 0..KILLS {
        let seen = receiver.count();
        let killed = Killed::start(&outbox, &proxy.url());
        // Each time at another moment of what it does over and over.
        until("it delivers", || receiver.count() > seen + 7 * (kill % 4)).await;
        drop(killed);
    }
    let _running = outbox.run(quick());
    outbox.drained(&frontend).await;
    let mut told: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for event in outbox.store.events(None, 0, 1_000_000).expect("read") {
        told.entry(event.name.to_string()).or_default().push(event.sequence);
    }
    assert!(told.values().map(Vec::len).sum::<usize>() > KILLS);
    let doubled = receiver.taken().len() - told.values().map(Vec::len).sum::<usize>();
    // Only what was under way at a kill may come again: one of each deployment.
    assert!(doubled <= KILLS * 5, "{doubled}");
    let mut orders = receiver.orders();
    for order in orders.values_mut() {
        order.dedup();
    }
    assert_eq!(orders, told);
    assert!(receiver.taken().iter().all(|it| it.is_signed_by(&secret)));
    assert_eq!(proxy.count(), 0, "no proxy is asked");
}
