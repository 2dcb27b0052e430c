//! Who a token of EKS belongs to, as the lab's cluster asks: what AWS's own authenticator does before
//! a real one.
//!
//! Owns taking a token apart, and making the call that is in it, of the simulated cloud alone. Whoever
//! that cloud knows administers the cluster. Refuses a call to anybody else, one that is not bound to
//! the cluster's name, and one that holds for longer than it should.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::cloud::Cloud;
use super::cluster::Cluster;
use super::product::until;

/// Where the lab's cluster asks (`tests/lab/kubernetes/cluster/places.py`).
const ADDRESS: &str = "10.214.0.1:6444";

/// What it was asked, and what it thinks of it.
#[derive(Default)]
struct Seen {
    cloud: String,
    cluster: String,
    refused: Vec<String>,
    known: usize,
}

type Shared = Arc<Mutex<Seen>>;

/// There is one, which the lab's cluster asks.
static TURN: Mutex<()> = Mutex::new(());

/// The authenticator; gone when dropped.
pub struct Identity {
    _turn: MutexGuard<'static, ()>,
    seen: Shared,
    end: CancellationToken,
    worker: Option<std::thread::JoinHandle<()>>,
}

impl Identity {
    /// Has the lab's cluster stand for the one that is made in this cloud, and take whom that cloud
    /// knows.
    pub fn begin(cloud: &Cloud, cluster: &Cluster) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let config = cluster.said(&["config", "view", "--raw", "--flatten", "--output=json"]);
        let config: Value = serde_json::from_str(&config).expect("JSON");
        let lab = &config["clusters"][0]["cluster"];
        let told = |name: &str| lab[name].as_str().expect(name).to_owned();
        cloud.cluster_at(&told("server"), &told("certificate-authority-data"));
        // Another test may have installed one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let seen = Shared::default();
        lock(&seen).cloud = cloud.url();
        let end = CancellationToken::new();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let worker = std::thread::spawn({
            let (seen, end) = (Arc::clone(&seen), end.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async {
                    let listener = tokio::net::TcpListener::bind(ADDRESS).await.expect("its port");
                    let app = Router::new().route("/", post(review)).with_state(seen);
                    ready.send(()).expect("somebody waits");
                    let served = axum::serve(listener, app);
                    tokio::select! {
                        _ = served => {}
                        () = end.cancelled() => {}
                    }
                });
            }
        });
        is_ready.recv().expect("it listens");
        Self { _turn: turn, seen, end, worker: Some(worker) }
    }

    /// Takes tokens for the cluster of this name, and for no other.
    pub fn is_of(&self, cluster: &str) {
        cluster.clone_into(&mut lock(&self.seen).cluster);
    }

    /// Waits until the cluster is made in this cloud, and takes tokens for it; answers its name.
    pub fn learn(&self, cloud: &Cloud) -> String {
        let name = until("the cluster is made", || {
            let mut all = cloud.state().into_iter();
            all.find(|it| it.kind == "eks:cluster").map(|it| it.name)
        });
        self.is_of(&name);
        name
    }

    /// How many tokens were good.
    pub fn known(&self) -> usize {
        lock(&self.seen).known
    }

    /// Why tokens were refused.
    pub fn refused(&self) -> Vec<String> {
        lock(&self.seen).refused.clone()
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

fn lock(seen: &Shared) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn review(State(seen): State<Shared>, Json(asked): Json<Value>) -> Json<Value> {
    let token = asked["spec"]["token"].as_str().unwrap_or_default().to_owned();
    let status = match belongs_to(&seen, &token).await {
        Ok(arn) => {
            lock(&seen).known += 1;
            let user = json!({ "username": arn, "groups": ["system:masters"] });
            json!({ "authenticated": true, "user": user })
        }
        Err(why) => {
            lock(&seen).refused.push(why);
            json!({ "authenticated": false })
        }
    };
    Json(json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status,
    }))
}

async fn belongs_to(seen: &Shared, token: &str) -> Result<String, String> {
    let (cloud, cluster) = {
        let seen = lock(seen);
        (seen.cloud.clone(), seen.cluster.clone())
    };
    let url = token.strip_prefix("k8s-aws-v1.").ok_or("it is no token of EKS")?;
    let url = URL_SAFE_NO_PAD.decode(url).map_err(|error| error.to_string())?;
    let url = String::from_utf8(url).map_err(|error| error.to_string())?;
    let query = url.strip_prefix(&format!("{cloud}/?")).ok_or("it is a call to somebody else")?;
    let query: BTreeMap<&str, &str> =
        query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let has = |name: &str, value: &str| query.get(name) == Some(&value);
    if !has("Action", "GetCallerIdentity") || !has("X-Amz-SignedHeaders", "host%3Bx-k8s-aws-id") {
        return Err("it is another call".into());
    }
    if !has("X-Amz-Expires", "60") {
        return Err("it holds for too long".into());
    }
    let client = reqwest::Client::builder().no_proxy().build().map_err(|it| it.to_string())?;
    let answer = client.get(&url).header("x-k8s-aws-id", cluster).send().await;
    let answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| error.to_string())?;
    let arn = text.split("<Arn>").nth(1).and_then(|rest| rest.split("</Arn>").next());
    match arn {
        Some(arn) if status.is_success() => Ok(arn.to_owned()),
        _ => Err(format!("the cloud says {status}: {text}")),
    }
}
