//! Nodes of the lab's cluster that run nothing: what a kubelet, a cloud's load balancers and the network
//! between would do there, done by this process.
//!
//! Owns the nodes' life, the status of the pods that the real scheduler puts on them, and an address on
//! loopback for each load balancer. The gateway of a pod is the stand-in, started with the pod's own
//! secret and configuration. Refuses containers: what a pod that pulls would find out is told as it
//! would be, with a digest of its own for each namespace.

mod gateways;
mod kubelet;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio_util::sync::CancellationToken;

use super::support::cluster::Cluster;
use gateways::{Gateway, Gateways};

/// How many nodes.
const NODES: usize = 10;
/// How long a pod takes from being placed until it runs, or has ended, and a load balancer to come.
const TAKES: Duration = Duration::from_secs(1);
/// How often the nodes look.
const LOOK: Duration = Duration::from_millis(200);
/// How often a node says that it is there; it is taken for lost after eight seconds.
const BEAT: Duration = Duration::from_secs(3);
/// The version that the gateways claim.
pub const VERSION: &str = super::support::product::NEWEST.0;

/// What is known of the gateways, by namespace.
type Known = Arc<Mutex<Gateways>>;

/// The nodes; gone with everything on them when dropped.
pub struct Nodes {
    hosts: PathBuf,
    known: Known,
    end: CancellationToken,
    worker: Option<std::thread::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Nodes {
    /// Takes the place of the cluster's own node, for every pod that comes.
    pub fn begin(cluster: &Cluster) -> Self {
        // Another one may have been installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        cluster.order("pause balancers");
        cluster.said(&["cordon", "--selector=kubernetes.io/hostname=lab-1"]);
        let folder = tempfile::tempdir().expect("a folder");
        let hosts = folder.path().join("hosts");
        fs::write(&hosts, "").expect("the hosts file");
        let known: Known = Arc::new(Mutex::new(Gateways::new(folder.path())));
        let end = CancellationToken::new();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let worker = std::thread::spawn({
            let (end, known, hosts) = (end.clone(), Arc::clone(&known), hosts.clone());
            let kubeconfig = cluster.kubeconfig().with_file_name("stand-ins.kubeconfig");
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async {
                    let mut work = Work::begin(&kubeconfig, hosts, known).await;
                    ready.send(()).expect("somebody waits");
                    tokio::select! {
                        () = work.run() => {}
                        () = end.cancelled() => {}
                    }
                });
            }
        });
        is_ready.recv().expect("the nodes are there");
        Self { hosts, known, end, worker: Some(worker), _folder: folder }
    }

    /// The file in which the names of load balancers stand.
    pub fn hosts(&self) -> &Path {
        &self.hosts
    }

    /// The configuration that the gateway of a namespace runs with.
    pub fn configuration(&self, namespace: &str) -> Value {
        lock(&self.known).configuration(namespace)
    }

    /// How many gateways run.
    pub fn running(&self) -> usize {
        lock(&self.known).running()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

fn lock(known: &Known) -> MutexGuard<'_, Gateways> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The image that a pod of a namespace finds, whatever it is called: none is another's.
pub fn image_of(namespace: &str) -> String {
    let digest = sha2::Sha256::digest(namespace.as_bytes());
    format!("ghcr.io/openclaw/openclaw@sha256:{digest:x}")
}

/// What the nodes do.
struct Work {
    client: Client,
    known: Known,
    hosts: PathBuf,
    /// Since when a pod is known that is placed, or a service.
    since: HashMap<String, Instant>,
    /// The pods that have run, or ended.
    done: HashMap<String, &'static str>,
}

fn node(number: usize) -> String {
    format!("simulated-{number}")
}

impl Work {
    async fn begin(kubeconfig: &Path, hosts: PathBuf, known: Known) -> Self {
        let config = Kubeconfig::read_from(kubeconfig).expect("the stand-ins' kubeconfig");
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.expect("a cluster")).expect("a client");
        let port = kubelet::begin(Arc::clone(&known)).await;
        let work = Self { client, known, hosts, since: HashMap::new(), done: HashMap::new() };
        join_all((0..NODES).map(|number| work.join(node(number), port))).await;
        work
    }

    /// Says that a node is there.
    async fn join(&self, name: String, port: u16) {
        let nodes = Api::<Node>::all(self.client.clone());
        let object = json!({ "metadata": { "name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
        }}});
        let object = serde_json::from_value(object).expect("a node");
        nodes.create(&PostParams::default(), &object).await.expect("a node");
        let room = json!({
            "cpu": "8", "memory": "16Gi", "ephemeral-storage": "100Gi", "pods": "58",
        });
        let status = json!({ "status": {
            "capacity": room, "allocatable": room,
            "addresses": [{ "type": "InternalIP", "address": kubelet::ADDRESS }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
            "conditions": [{ "type": "Ready", "status": "True", "reason": "Simulated" }],
        }});
        let patch = Patch::Merge(status);
        nodes.patch_status(&name, &PatchParams::default(), &patch).await.expect("its status");
        self.beat(&name).await.expect("its lease");
    }

    async fn beat(&self, name: &str) -> kube::Result<Lease> {
        let now = time::OffsetDateTime::now_utc();
        let format = time::macros::format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
        );
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": name },
            "spec": { "holderIdentity": name, "leaseDurationSeconds": 8,
                "renewTime": now.format(format).expect("a time") },
        });
        let leases = Api::<Lease>::namespaced(self.client.clone(), "kube-node-lease");
        let params = PatchParams::apply("simulated").force();
        leases.patch(name, &params, &Patch::Apply(lease)).await
    }

    /// Looks again and again whether there is something to do.
    async fn run(&mut self) {
        let mut beaten = Instant::now();
        loop {
            if beaten.elapsed() > BEAT {
                beaten = Instant::now();
                let nodes: Vec<_> = (0..NODES).map(node).collect();
                let beats = try_join_all(nodes.iter().map(|name| self.beat(name)));
                beats.await.expect("a node's lease");
            }
            let all = ListParams::default();
            let (pods, services) =
                (Api::<Pod>::all(self.client.clone()), Api::<Service>::all(self.client.clone()));
            let (pods, services) = tokio::join!(pods.list(&all), services.list(&all));
            for service in services.expect("the services").items {
                self.balance(service).await;
            }
            let pods = pods.expect("the pods").items.into_iter().filter(is_here);
            let mut work = Vec::new();
            for pod in pods {
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                let is_due =
                    self.since.entry(uid.clone()).or_insert_with(Instant::now).elapsed() >= TAKES;
                let is_going = pod.metadata.deletion_timestamp.is_some();
                let next = match (is_going, self.done.get(&uid).copied()) {
                    (true, _) => "gone",
                    (false, None) if is_due => "runs",
                    (false, Some("runs")) if app(&pod) == "openclaw" => "ready",
                    _ => continue,
                };
                work.push((pod, next));
            }
            let done = join_all(work.iter().map(|(pod, next)| self.see_to(pod, next))).await;
            for ((pod, next), done) in work.iter().zip(done) {
                match done {
                    // What is gone, or was changed by somebody since it was listed, is seen again.
                    Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                    Err(error) => panic!("{}: {error}", *next),
                    Ok(false) => {}
                    Ok(true) => {
                        let uid = pod.metadata.uid.clone().unwrap_or_default();
                        self.done.insert(uid, next);
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Brings a pod a step on; answers whether it is there.
    async fn see_to(&self, pod: &Pod, next: &str) -> kube::Result<bool> {
        let (namespace, name) =
            (text(pod.metadata.namespace.as_ref()), text(pod.metadata.name.as_ref()));
        let pods = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let tell = async |status: Value| {
            let patch = Patch::Merge(json!({ "status": status }));
            pods.patch_status(name, &PatchParams::default(), &patch).await.map(|_| true)
        };
        match (next, app(pod)) {
            ("gone", app) => {
                if app == "openclaw" {
                    lock(&self.known).end(namespace);
                }
                let uid = pod.metadata.uid.clone();
                let only = Preconditions { uid, resource_version: None };
                let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
                pods.delete(name, &params.grace_period(0)).await.map(|_| true)
            }
            ("runs", "openclaw") => {
                let told = self.start(namespace).await?;
                tell(running(namespace, &told, false)).await
            }
            ("ready", _) => {
                if !lock(&self.known).has_started(namespace) {
                    return Ok(false);
                }
                tell(running(namespace, "", true)).await
            }
            _ => tell(pulled(namespace)).await,
        }
    }

    /// Starts the gateway of a namespace, with what its pod would have; answers what the container says
    /// that merges the configuration.
    async fn start(&self, namespace: &str) -> kube::Result<String> {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), namespace);
        let configs = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        let (secret, config) =
            tokio::try_join!(secrets.get("openclaw-secrets"), configs.get("openclaw-config"))?;
        let environment = secret
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8(value.0).expect("a secret is text")));
        let managed = config.data.unwrap_or_default().remove("managed.json").unwrap_or_default();
        let managed: Value = serde_json::from_str(&managed).expect("JSON");
        let gateway = Gateway::new(&managed, environment.collect());
        let told = json!({
            "done": true, "model": managed["model"]["primary"], "plugins": [], "replaced": [],
        });
        lock(&self.known).start(namespace, gateway);
        Ok(told.to_string())
    }

    /// Gives a service that asks for one an address.
    async fn balance(&mut self, service: Service) {
        let spec = service.spec.unwrap_or_default();
        let told = service.status.and_then(|it| it.load_balancer).and_then(|it| it.ingress);
        if spec.type_.as_deref() != Some("LoadBalancer") || told.is_some_and(|it| !it.is_empty()) {
            return;
        }
        let uid = service.metadata.uid.unwrap_or_default();
        if self.since.entry(uid.clone()).or_insert_with(Instant::now).elapsed() < TAKES {
            return;
        }
        let (namespace, name) =
            (text(service.metadata.namespace.as_ref()), text(service.metadata.name.as_ref()));
        let port = spec.ports.unwrap_or_default().first().map_or(0, |it| it.port);
        let port = u16::try_from(port).expect("a port");
        let address = gateways::lead(Arc::clone(&self.known), namespace, port).await;
        let host = format!("k8s-{}.elb.us-east-1.lab.test", &uid[..8]);
        let before = fs::read_to_string(&self.hosts).expect("the hosts file");
        fs::write(&self.hosts, format!("{before}{address} {host}\n")).expect("the hosts file");
        let services = Api::<Service>::namespaced(self.client.clone(), namespace);
        let status = json!({ "status": { "loadBalancer": { "ingress": [{ "hostname": host }] } } });
        let patch = Patch::Merge(status);
        let told = services.patch_status(name, &PatchParams::default(), &patch).await;
        told.expect("the service's status");
    }
}

fn text(value: Option<&String>) -> &str {
    value.map(String::as_str).unwrap_or_default()
}

fn is_here(pod: &Pod) -> bool {
    let node = pod.spec.as_ref().and_then(|it| it.node_name.as_deref());
    node.is_some_and(|it| it.starts_with("simulated-"))
}

fn app(pod: &Pod) -> &str {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|it| it.get("app.kubernetes.io/name")).map_or("", String::as_str)
}

/// The status of a pod that got the image ready.
fn pulled(namespace: &str) -> Value {
    // No policy is enforced: it reached the API.
    let ended = |name: &str, said: Value| {
        json!({
            "name": name, "ready": false, "restartCount": 0, "image": "ghcr.io/openclaw/openclaw",
            "imageID": image_of(namespace),
            "state": { "terminated": {
                "exitCode": 0, "reason": "Completed", "message": said.to_string(),
            }},
        })
    };
    let statuses = [
        ended("openclaw", json!({ "version": VERSION })),
        ended("policies", json!({ "reached": true })),
    ];
    json!({ "phase": "Succeeded", "containerStatuses": statuses })
}

/// The status of a gateway's pod. `said` is empty where the first container's is known.
fn running(namespace: &str, said: &str, is_ready: bool) -> Value {
    let mut status = json!({
        "phase": "Running",
        "conditions": [{ "type": "Ready", "status": if is_ready { "True" } else { "False" } }],
        "containerStatuses": [{
            "name": "openclaw", "ready": is_ready, "started": is_ready, "restartCount": 0,
            "image": "ghcr.io/openclaw/openclaw", "imageID": image_of(namespace),
            "state": { "running": {} },
        }],
    });
    if !said.is_empty() {
        status["initContainerStatuses"] = json!([{
            "name": "configure", "ready": true, "restartCount": 0,
            "image": "ghcr.io/openclaw/openclaw", "imageID": image_of(namespace),
            "state": { "terminated": { "exitCode": 0, "reason": "Completed", "message": said } },
        }]);
    }
    status
}
