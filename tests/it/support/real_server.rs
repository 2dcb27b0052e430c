//! The server of an installation on real parts, as a front end meets it.
//!
//! Owns one server's process and what a front end does with it: launch, wait, open, remove. Refuses
//! to judge events: whoever hears them does.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::real::Real;
use super::server::Call;

/// How long a launch may take, on busy cores.
const LAUNCH: Duration = Duration::from_secs(300);
/// The front end's own token.
const API_TOKEN: &str = "the-front-ends-token-0123456789abcdef";

/// A server of the real program.
pub struct RealServer {
    child: Child,
    address: SocketAddr,
}

impl RealServer {
    /// Starts one on an installation, with what is set beside what that sets.
    pub fn start(real: &Real, set: impl FnOnce(&mut Command)) -> Self {
        let mut command = real.command(&["serve", "--json", "--port", "0"]);
        command.env("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN).stdout(Stdio::piped());
        set(&mut command);
        let mut child = command.spawn().expect("it starts");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        output.read_line(&mut line).expect("it says where it is");
        let said: Value = serde_json::from_str(&line).expect("an object");
        let url = said["url"].as_str().and_then(|url| url.strip_prefix("http://"));
        let address = url.and_then(|it| it.parse().ok()).expect("an address");
        Self { child, address }
    }

    /// Calls block, and run their own runtime.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let call = Call::to(self.address, method, path).token(API_TOKEN);
        let call = call.header("accept", "application/json");
        let call = match body {
            Some(body) => call.json(&body),
            None => call,
        };
        let answer = tokio::task::spawn_blocking(move || call.send()).await.expect("no panic");
        (answer.status, answer.json())
    }

    /// Asks for a launch, which is taken; answers what it is known by.
    pub async fn launch(&self, body: Value) -> Value {
        let (status, accepted) = self.call("POST", "/launch", Some(body)).await;
        assert_eq!(status, 202, "{accepted}");
        accepted
    }

    /// Waits until a deployment is launched.
    pub async fn completed(&self, name: &str) {
        let path = format!("/v1/deployments/{name}");
        self.until("running", async || {
            let (_, deployment) = self.call("GET", &path, None).await;
            let operation = &deployment["operation"];
            assert_ne!(operation["status"], "failed", "{deployment:#}");
            (deployment["status"] == "running" && operation["status"] == "succeeded").then_some(())
        })
        .await;
    }

    /// Waits until a step of an operation runs.
    pub async fn in_step(&self, operation: &str, step: &str) {
        let path = format!("/v1/operations/{operation}");
        self.until(step, async || {
            let (_, operation) = self.call("GET", &path, None).await;
            let steps = operation["steps"].as_array()?.clone();
            steps.iter().any(|it| it["name"] == step && it["status"] == "running").then_some(())
        })
        .await;
    }

    /// The link that lets a deployment's owner in.
    pub async fn link(&self, name: &str) -> String {
        let (status, access) =
            self.call("POST", &format!("/v1/deployments/{name}/access"), None).await;
        assert_eq!(status, 200, "{access}");
        assert_eq!(access["kind"], "one_time");
        access["url"].as_str().expect("a link").to_owned()
    }

    /// Removes a deployment, and waits until it is gone.
    pub async fn removed(&self, name: &str) {
        let path = format!("/v1/deployments/{name}");
        // Whatever it is busy with ends first.
        self.until("its turn", async || {
            let (status, answer) = self.call("DELETE", &path, None).await;
            assert!(matches!(status, 202 | 409), "{status}: {answer}");
            (status == 202).then_some(())
        })
        .await;
        self.until("its end", async || {
            (self.call("GET", &path, None).await.0 == 404).then_some(())
        })
        .await;
    }

    /// Waits until there is an answer.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let end = Instant::now() + LAUNCH;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < end, "{what} does not come");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
