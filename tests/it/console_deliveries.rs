//! Deliveries in the console: what was given up is sent again from its page, and arrives.

use std::collections::BTreeSet;

use openclaw_pipeline::store::{Fate, Outcome, Store};
use tokio::task::block_in_place;

use crate::support::browser::Browser;
use crate::support::console::Console;
use crate::support::product::Product;
use crate::support::receiver::{Mode, Receiver, Request};
use crate::support::server::{API_TOKEN, Served};

/// Gives up everything that waits, as a day without an answer does; answers how much.
fn give_up(product: &Product) -> usize {
    let store = Store::open(&product.home()).expect("opened");
    while store.fan_out(None).expect("fanned out") {}
    let [endpoint] = &store.endpoints().expect("read")[..] else { panic!("one endpoint") };
    let mut given_up = 0;
    loop {
        let waiting = store.waiting(endpoint.number, i64::MAX, &BTreeSet::new(), 1);
        let Some(due) = waiting.expect("read").due.pop() else { return given_up };
        let outcome = Outcome {
            id: due.id,
            endpoint: due.endpoint,
            name: due.name,
            fate: Fate::Dead,
            status: Some(500),
            error: Some("it answered 500".into()),
        };
        store.record_outcomes(&[outcome], &BTreeSet::new()).expect("recorded");
        given_up += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_sent_again_and_arrives() {
    let Some(browser) = Browser::here().await else { return };
    let receiver = Receiver::start();
    receiver.set(Mode::Status(500, Vec::new()));
    let (served, dead) = block_in_place(|| {
        let mut product = Product::new();
        product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN).set("FRONTEND_URL", receiver.url());
        let mut served = Served::on(product, &[]);
        served.put("main");
        served.put("other");
        assert_eq!(served.stop(), 0);
        let dead = give_up(served.product());
        assert!(dead > 2, "{dead}");
        served.start_again();
        (served, dead)
    });
    receiver.set(Mode::Ok);
    receiver.forget();
    let console = Console::signed_in(&browser, served.url(), "/deliveries").await;
    console.wait(&format!("document.querySelector('tbody b')?.textContent === '{dead}'")).await;
    console.follow_slowly(&receiver.url(), "tbody .badge").await;
    console.sees(&format!("{dead} dead deliveries")).await;

    // One, by its own button. The page shows that it arrived.
    console.click("Replay launching of main, number 1").await;
    console.sees("Replayed").await;
    console.wait("document.querySelector('tbody .badge.good')?.textContent === 'Delivered'").await;
    let arrived: Vec<i64> = receiver.taken().iter().map(Request::sequence).collect();
    assert_eq!(arrived, [1]);

    // All of them, after a question.
    console.click("Replay all dead").await;
    console.sees("Replay every dead delivery?").await;
    console.click("Replay").await;
    block_in_place(|| {
        served.until("all have arrived", || {
            let arrived: BTreeSet<i64> = receiver.taken().iter().map(Request::sequence).collect();
            (arrived.len() == dead).then_some(())
        });
    });
    console.hears("Replayed").await;
    assert_eq!(console.violations().await, Vec::<String>::new());
    block_in_place(|| served.assert_well());
}
