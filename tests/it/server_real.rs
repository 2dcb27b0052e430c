//! A front end's whole way on real parts: it launches the real OpenClaw by the API, follows it,
//! opens it in a real browser that is let in, and misses nothing although the server is killed in
//! the middle of the second launch.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::control_ui::{self, View};
use crate::support::engine::Engine;
use crate::support::lab::{Lab, Part};
use crate::support::netns::NetNs;
use crate::support::ports::free_port;
use crate::support::real::{CURRENT, Real};
use crate::support::real_server::RealServer;
use crate::support::receiver::{Mode, Receiver, Request};

/// How long a page may take to show something, on busy cores.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_front_end_launches_follows_and_opens_process_gateways() {
    let Some(lab) = Lab::require(Part::Npm(CURRENT)) else { return };
    let Some(netns) = NetNs::create() else { return };
    let Some(browser) = Browser::launch(&netns).await else { return };
    let real = Real::new(&lab);
    FrontEnd { real: &real, netns: &netns, browser: &browser, target: "process" }.run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_end_launches_follows_and_opens_docker_gateways() {
    if Lab::require(Part::Image("latest")).is_none() {
        return;
    }
    let Some(lab) = Lab::require(Part::Engine) else { return };
    let Some(engine) = Engine::get() else { return };
    let Some(netns) = NetNs::create() else { return };
    let Some(browser) = Browser::launch(&netns).await else { return };
    let real = Real::with_engine(&lab, engine);
    FrontEnd { real: &real, netns: &netns, browser: &browser, target: "docker" }.run().await;
}

struct FrontEnd<'a> {
    real: &'a Real,
    netns: &'a NetNs,
    browser: &'a Browser,
    target: &'static str,
}

impl FrontEnd<'_> {
    async fn run(&self) {
        let receiver = Receiver::start();
        let name = if self.target == "docker" { Engine::name("front") } else { "front".into() };
        let second = format!("{name}1");
        let mut server = self.serve(&receiver);
        let accepted = server.launch(self.launch(&name)).await;
        assert_eq!(accepted["name"], *name);
        server.completed(&name).await;
        self.opened(&server, &name).await;

        // The same name once more: it gets a number. The server dies in the middle of it.
        let accepted = server.launch(self.launch(&name)).await;
        assert_eq!(accepted["name"], *second);
        let operation = accepted["operation_id"].as_str().expect("an id").to_owned();
        server.in_step(&operation, "prove").await;
        receiver.set(Mode::Refuse);
        drop(server);
        server = self.serve(&receiver);
        server.completed(&second).await;
        receiver.set(Mode::Ok);
        self.opened(&server, &second).await;
        self.told_everything(&server, &receiver).await;
        for name in [&name, &second] {
            server.removed(name).await;
        }
    }

    fn serve(&self, receiver: &Receiver) -> RealServer {
        RealServer::start(self.real, |command| {
            command
                .env("GATEWAY_BIND", self.netns.host().to_string())
                .env("FRONTEND_URL", receiver.url());
        })
    }

    fn launch(&self, name: &str) -> Value {
        json!({ "name": name, "target": self.target, "port": free_port(),
                "anthropic_api_key": "sk-ant-a-key-that-only-looks-like-one" })
    }

    /// By the link that the access call gives, and once more by the policy.
    async fn opened(&self, server: &RealServer, name: &str) {
        let page = self.browser.stranger().await;
        page.goto(&server.link(name).await).await.expect("opens the link");
        control_ui::wait_until(&page, PATIENCE, |view| *view == View::Connected)
            .await
            .expect("the link lets its browser in");
    }

    /// Everything of the stream has reached the front end, in order, once.
    async fn told_everything(&self, server: &RealServer, receiver: &Receiver) {
        let (_, page) = server.call("GET", "/v1/events?limit=200", None).await;
        let all: Vec<i64> = page["items"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| it["sequence"].as_i64().expect("a number"))
            .collect();
        let last = *all.last().expect("events");
        assert_eq!(all, (1..=last).collect::<Vec<i64>>(), "no gap");
        server
            .until("everything at the front end", async || {
                let taken: std::collections::BTreeSet<i64> =
                    receiver.taken().iter().map(Request::sequence).collect();
                all.iter().all(|sequence| taken.contains(sequence)).then_some(())
            })
            .await;
    }
}
