//! A front end's whole way on real parts: it launches the real OpenClaw by the API, follows it,
//! opens it in a real browser that is let in, and misses nothing although the server is killed in
//! the middle of the second launch.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::control_ui::{self, View};
use crate::support::engine::Engine;
use crate::support::lab::{Lab, Part};
use crate::support::netns::NetNs;
use crate::support::product::free_port;
use crate::support::real::{CURRENT, Real};
use crate::support::receiver::{Mode, Receiver, Request};
use crate::support::server::Call;

/// How long a page may take to show something, on busy cores.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a launch may take, on busy cores.
const LAUNCH: Duration = Duration::from_secs(300);
/// The front end's own token.
const API_TOKEN: &str = "the-front-ends-token-0123456789abcdef";

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

/// A server of the real program.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Calls block, and run their own runtime.
    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let call = Call::to(self.address, method, path).token(API_TOKEN);
        let call = call.header("accept", "application/json");
        let call = match body {
            Some(body) => call.json(&body),
            None => call,
        };
        let answer = tokio::task::spawn_blocking(move || call.send()).await.expect("no panic");
        (answer.status, answer.json())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl FrontEnd<'_> {
    async fn run(&self) {
        let receiver = Receiver::start();
        let name = if self.target == "docker" { Engine::name("front") } else { "front".into() };
        let second = format!("{name}1");
        let mut server = self.serve(&receiver);
        let (status, accepted) = server.call("POST", "/launch", Some(self.launch(&name))).await;
        assert_eq!(status, 202, "{accepted}");
        assert_eq!(accepted["name"], *name);
        self.completed(&server, &name).await;
        self.opened(&server, &name).await;

        // The same name once more: it gets a number. The server dies in the middle of it.
        let (status, accepted) = server.call("POST", "/launch", Some(self.launch(&name))).await;
        assert_eq!(status, 202, "{accepted}");
        assert_eq!(accepted["name"], *second);
        let operation = accepted["operation_id"].as_str().expect("an id").to_owned();
        self.in_step(&server, &operation, "prove").await;
        receiver.set(Mode::Refuse);
        drop(server);
        server = self.serve(&receiver);
        self.completed(&server, &second).await;
        receiver.set(Mode::Ok);
        self.opened(&server, &second).await;
        self.told_everything(&server, &receiver).await;
        for name in [&name, &second] {
            let path = format!("/v1/deployments/{name}");
            assert_eq!(server.call("DELETE", &path, None).await.0, 202);
            self.gone(&server, name).await;
        }
    }

    fn serve(&self, receiver: &Receiver) -> Server {
        let mut command = self.real.command(&["serve", "--json", "--port", "0"]);
        command
            .env("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN)
            .env("GATEWAY_BIND", self.netns.host().to_string())
            .env("FRONTEND_URL", receiver.url())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        output.read_line(&mut line).expect("it says where it is");
        let said: Value = serde_json::from_str(&line).expect("an object");
        let url = said["url"].as_str().and_then(|url| url.strip_prefix("http://"));
        let address = url.and_then(|it| it.parse().ok()).expect("an address");
        Server { child, address }
    }

    fn launch(&self, name: &str) -> Value {
        json!({ "name": name, "target": self.target, "port": free_port(),
                "anthropic_api_key": "sk-ant-a-key-that-only-looks-like-one" })
    }

    async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let end = Instant::now() + LAUNCH;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < end, "{what} does not come");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    async fn completed(&self, server: &Server, name: &str) {
        let path = format!("/v1/deployments/{name}");
        self.until("running", async || {
            let (_, deployment) = server.call("GET", &path, None).await;
            let operation = &deployment["operation"];
            assert_ne!(operation["status"], "failed", "{deployment:#}");
            (deployment["status"] == "running" && operation["status"] == "succeeded").then_some(())
        })
        .await;
    }

    async fn in_step(&self, server: &Server, operation: &str, step: &str) {
        let path = format!("/v1/operations/{operation}");
        self.until(step, async || {
            let (_, operation) = server.call("GET", &path, None).await;
            let steps = operation["steps"].as_array()?.clone();
            steps.iter().any(|it| it["name"] == step && it["status"] == "running").then_some(())
        })
        .await;
    }

    /// By the link that the access call gives, and once more by the policy.
    async fn opened(&self, server: &Server, name: &str) {
        let (status, access) =
            server.call("POST", &format!("/v1/deployments/{name}/access"), None).await;
        assert_eq!(status, 200, "{access}");
        assert_eq!(access["kind"], "one_time");
        let page = self.browser.stranger().await;
        page.goto(access["url"].as_str().expect("a link")).await.expect("opens the link");
        control_ui::wait_until(&page, PATIENCE, |view| *view == View::Connected)
            .await
            .expect("the link lets its browser in");
    }

    /// Everything of the stream has reached the front end, in order, once.
    async fn told_everything(&self, server: &Server, receiver: &Receiver) {
        let (_, page) = server.call("GET", "/v1/events?limit=200", None).await;
        let all: Vec<i64> = page["items"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| it["sequence"].as_i64().expect("a number"))
            .collect();
        let last = *all.last().expect("events");
        assert_eq!(all, (1..=last).collect::<Vec<i64>>(), "no gap");
        self.until("everything at the front end", async || {
            let taken: std::collections::BTreeSet<i64> =
                receiver.taken().iter().map(Request::sequence).collect();
            all.iter().all(|sequence| taken.contains(sequence)).then_some(())
        })
        .await;
    }

    async fn gone(&self, server: &Server, name: &str) {
        let path = format!("/v1/deployments/{name}");
        self.until("its end", async || {
            (server.call("GET", &path, None).await.0 == 404).then_some(())
        })
        .await;
    }
}
