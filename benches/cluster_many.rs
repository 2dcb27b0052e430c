//! What fifty launches at once on a cluster cost the server and the cluster's API, and that each of them
//! is right.
//!
//! The API server, its store, its controllers and its scheduler are real; the nodes are simulated
//! ([`super::nodes`]), and the gateways on them are stand-ins.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::nodes::{Nodes, image_of};
use super::support::calls::{Caller, Calls, MOST, sum};
use super::support::client::Call;
use super::support::cluster::Cluster;
use super::support::product::Product;
use super::support::server::Served;

/// How many launches at once.
const MANY: usize = 50;
/// How many a token may begin in a minute.
const OF_A_TOKEN: usize = 25;
/// The most memory that the program's processes may take together, in bytes.
const MEMORY: u64 = 64_000_000;
/// The image that is asked for; what it is found to be is another one for each.
const IMAGE: &str = "ghcr.io/openclaw/openclaw:standin";
/// The key that each is given.
const KEY: &str = "sk-ant-a-key-that-only-looks-like-one";
/// What the server's caller shows.
const API_TOKEN: &str = "a-token-for-measuring-0123456789";
/// How often the server is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// `many-eks`.
pub fn run() {
    let Some(cluster) = Cluster::alone() else { return };
    let caller = Caller::of(&cluster, "openclaw-caller");
    let nodes = Nodes::begin(&cluster);
    let mut product = Product::bare();
    product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN);
    product.set("KUBECONFIG", caller.kubeconfig());
    product.set("OPENCLAW_PIPELINE_KUBE_CONTEXT", "lab");
    product.unset("GATEWAY_PORT").unset("OPENCLAW_GATEWAY_TOKEN");
    product.with_hosts(nodes.hosts().to_path_buf());
    let served = Served::on(product, &[]);
    let tokens: Vec<String> =
        (0..MANY.div_ceil(OF_A_TOKEN)).map(|_| served.token(["--scope", "admin"]).text).collect();

    let begun = Instant::now();
    let all: Vec<Value> = std::thread::scope(|scope| {
        let launches: Vec<_> = (0..MANY)
            .map(|number| {
                let launch = Call::to(served.address(), "POST", "/launch")
                    .token(&tokens[number / OF_A_TOKEN])
                    .json(&json!({
                        "name": name(number), "target": "eks", "image": IMAGE, "approval": "off",
                        "token": token(number), "anthropic_api_key": KEY,
                    }));
                scope.spawn(move || launch.send().ok(202))
            })
            .collect();
        launches.into_iter().map(|it| it.join().expect("it is taken")).collect()
    });
    let (mut most, mut processes) = (0, 0);
    loop {
        let now = peaks(&served);
        (most, processes) = (most.max(now.iter().sum()), processes.max(now.len()));
        if served.get("/status").ok(200)["count"] == 0 {
            break;
        }
        std::thread::sleep(LOOK);
    }
    let took = begun.elapsed();
    let calls = caller.calls();
    for begun in &all {
        let ended = served.ended(begun);
        assert_eq!(ended["status"], "succeeded", "{}", ended["error"]);
    }
    assert_eq!(nodes.running(), MANY, "each has a gateway of its own");
    all_are_right(&cluster, &served, &nodes);

    println!("{MANY} launches at once on a cluster with simulated nodes, stand-in gateways:");
    println!("  all proven in {:.0} s, and all their objects are right", took.as_secs_f64());
    println!(
        "  the program's memory: {:.1} MB at most, in {processes} process(es); allowed {} MB",
        mb(most),
        MEMORY / 1_000_000
    );
    print_calls(&calls);
    assert!(most <= MEMORY, "it takes too much memory");
    assert!(sum(&calls) <= MOST * MANY, "it makes too many calls");
}

fn name(number: usize) -> String {
    format!("many{number}")
}

/// Each has a token of its own: one that is proven with another's would be refused.
fn token(number: usize) -> String {
    format!("a-gateways-own-token-{number:04}-0123456789abcdef")
}

fn mb(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1000).unwrap_or(u32::MAX)) / 1000.0
}

/// The most that each process of the program ever took, in bytes.
fn peaks(served: &Served) -> Vec<u64> {
    let processes = served.product().processes().into_iter();
    let own = processes.filter(|it| {
        it.args.first().is_some_and(|program| program.ends_with("/openclaw-pipeline"))
    });
    let peak = |pid| {
        let path = format!("/proc/{pid}/status");
        let kib = super::cloud::field_kib(&path, "VmHWM:").unwrap_or_default();
        kib * 1024
    };
    own.map(|it| peak(it.pid)).collect()
}

fn print_calls(calls: &Calls) {
    let each = |count: usize| {
        let hundredths = u32::try_from(count * 100 / MANY).unwrap_or(u32::MAX);
        f64::from(hundredths) / 100.0
    };
    println!("  calls to the cluster's API for a launch: {:.2}; allowed {MOST}", each(sum(calls)));
    for (kind, count) in calls {
        println!("    {kind:<50} {:>6.2}", each(*count));
    }
    println!();
}

/// Everything of a kind in the deployments' namespaces, by namespace and name.
fn all_of(cluster: &Cluster, kind: &str) -> BTreeMap<(String, String), Value> {
    let found = cluster.get(&[kind, "--all-namespaces"]);
    let items = found["items"].as_array().expect("a list").iter();
    items
        .map(|it| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            ((text(&it["metadata"]["namespace"]), text(&it["metadata"]["name"])), it.clone())
        })
        .collect()
}

fn all_are_right(cluster: &Cluster, served: &Served, nodes: &Nodes) {
    let kinds = [
        "deployments",
        "secrets",
        "services",
        "persistentvolumeclaims",
        "networkpolicies",
        "poddisruptionbudgets",
        "configmaps",
        "pods",
    ];
    let there: BTreeMap<&str, _> =
        kinds.iter().map(|kind| (*kind, all_of(cluster, kind))).collect();
    let namespaces = all_of(cluster, "namespaces");
    let mut ids = BTreeSet::new();
    for number in 0..MANY {
        let deployment = served.get(&format!("/v1/deployments/{}", name(number))).ok(200);
        let namespace = format!("openclaw-{}", name(number));
        let get = |kind: &str, name: &str| {
            let found = there[kind].get(&(namespace.clone(), name.to_owned()));
            found.unwrap_or_else(|| panic!("{namespace} has no {name} of {kind}")).clone()
        };
        let own = namespaces[&(String::new(), namespace.clone())]["metadata"]["labels"].clone();
        assert_eq!(own["pipeline.openclaw.io/name"], name(number));
        let id = own["pipeline.openclaw.io/deployment"].as_str().unwrap_or_default();
        assert!(!id.is_empty() && ids.insert(id.to_owned()), "{namespace}: {id:?}");
        assert_eq!(own["pod-security.kubernetes.io/enforce"], "restricted");
        let labelled = |object: &Value| {
            for label in ["installation", "deployment", "name"] {
                let label = format!("pipeline.openclaw.io/{label}");
                assert_eq!(object["metadata"]["labels"][&label], own[&label], "{object:#}");
            }
        };

        let object = get("deployments", "openclaw");
        labelled(&object);
        let pod = &object["spec"]["template"]["spec"];
        for container in [&pod["initContainers"][0], &pod["containers"][0]] {
            assert_eq!(container["image"], image_of(&namespace), "{namespace}");
        }
        assert_eq!(object["status"]["readyReplicas"], 1, "{namespace}");
        let object = get("secrets", "openclaw-secrets");
        labelled(&object);
        assert_eq!(object["data"]["OPENCLAW_GATEWAY_TOKEN"], BASE64.encode(token(number)));
        assert_eq!(object["data"]["ANTHROPIC_API_KEY"], BASE64.encode(KEY));
        for claim in ["openclaw-config", "openclaw-workspace"] {
            let object = get("persistentvolumeclaims", claim);
            labelled(&object);
            assert_eq!(object["status"]["phase"], "Bound", "{namespace}: {claim}");
            assert_eq!(object["spec"]["storageClassName"], "gp3", "{namespace}: {claim}");
        }
        let object = get("networkpolicies", "openclaw");
        labelled(&object);
        assert_eq!(object["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        labelled(&get("poddisruptionbudgets", "openclaw"));

        // Reached by its own name, which its own gateway lets in.
        let object = get("services", "openclaw");
        labelled(&object);
        let host = object["status"]["loadBalancer"]["ingress"][0]["hostname"].clone();
        let origin = format!("http://{}:18789", host.as_str().expect("a name"));
        assert_eq!(deployment["url"], format!("{origin}/"));
        let configured = get("configmaps", "openclaw-config")["data"]["managed.json"].clone();
        let configured: Value =
            serde_json::from_str(configured.as_str().expect("text")).expect("JSON");
        let origins = json!([origin, "http://127.0.0.1:18789", "http://localhost:18789"]);
        let added = &configured["lists"]["gateway.controlUi.allowedOrigins"]["add"];
        let runs_with = nodes.configuration(&namespace);
        assert_eq!(*added, origins);
        assert_eq!(runs_with["gateway"]["controlUi"]["allowedOrigins"], origins);
        // What got the image is gone, and nothing else runs.
        let left = there["pods"].keys().filter(|(of, _)| *of == namespace).count();
        assert_eq!(left, 1, "{namespace}");
    }
}
