//! The server on a cluster, by the manifests in `k8s/server/` as they stand: its own image, its own
//! account there, a gateway that it launches beside itself, and what its successor knows of it. The
//! gateway is the stand-in.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::client::{Answer, Call};
use crate::support::cluster::{Cluster, Namespace, until};
use crate::support::cluster_case::KEY;
use crate::support::lab::{Lab, Part, own_image};
use crate::support::role::{documented, granted, used};
use crate::support::source::{files, read, root};
use crate::support::standin;

const NAMESPACE: &str = "pipeline-openclaw";
const TOKEN: &str = "ocp-operator-0123456789abcdef0123456789abcdef";
/// Where the cluster finds the server's image.
const IMAGE: &str = "ghcr.io/openclaw/openclaw:server";
const NAME: &str = "beside";
/// What is told of a launch, in this order.
const TOLD: [&str; 7] = [
    "launching",
    "deploying_app",
    "pulling_image",
    "creating_config",
    "starting_app",
    "health_check",
    "completed",
];

/// The server's place there, which is gone with this.
struct Place<'a> {
    cluster: &'a Cluster,
    namespace: Namespace<'a>,
    manifests: tempfile::TempDir,
}

impl<'a> Place<'a> {
    /// With the manifests as they ship, but for the image's name.
    fn of(cluster: &'a Cluster) -> Self {
        let manifests = tempfile::tempdir().expect("a directory");
        for file in files("k8s/server") {
            let text = read(&file);
            // What a new one of this name is, the node is to look.
            let ours = format!("image: {IMAGE}\n          imagePullPolicy: Always\n");
            let text = text.replace("image: openclaw-pipeline\n", &ours);
            let name = file.rsplit('/').next().expect("a name");
            fs::write(manifests.path().join(name), text).expect("written");
        }
        Self { cluster, namespace: Namespace::of(cluster, NAMESPACE), manifests }
    }

    /// Applies them, in the way that is documented. Answers what `kubectl` says.
    fn apply(&self) -> String {
        let path = |it: &std::path::Path| it.to_string_lossy().into_owned();
        let class = path(&root().join("k8s/storageclass.yaml"));
        let namespace = path(&self.manifests.path().join("namespace.yaml"));
        let all = path(&self.manifests.path().join(""));
        let mut apply =
            self.cluster.kubectl(&["apply", "-f", &class, "-f", &namespace, "-f", &all]);
        let output = apply.output().expect("run kubectl");
        let said = String::from_utf8_lossy(&output.stderr);
        // Of a secret that was filled in between it says that it looks different now.
        let odd = said.lines().find(|line| !line.contains("last-applied-configuration"));
        assert!(output.status.success() && odd.is_none(), "{said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn kubectl(&self, args: &[&str]) -> Command {
        self.cluster.kubectl(&[&["--namespace", NAMESPACE], args].concat())
    }

    #[track_caller]
    fn said(&self, args: &[&str]) -> String {
        self.cluster.said(&[&["--namespace", NAMESPACE], args].concat())
    }

    /// What the server logged.
    fn log(&self) -> String {
        let log = self.kubectl(&["logs", "deployment/openclaw-pipeline"]).output();
        String::from_utf8_lossy(&log.expect("run kubectl").stdout).into_owned()
    }

    /// A secret of one file, as the comment in secret.yaml says.
    fn put_secret(&self, name: &str, from: &str, file: &str, text: &str) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(file);
        fs::write(&path, text).expect("written");
        let from = format!("{from}={}", path.display());
        let create = ["create", "secret", "generic", name, &from, "--dry-run=client", "-o=yaml"];
        let made = self.said(&create);
        let apply = ["apply", "--server-side", "--field-manager=secrets", "-f", "-"];
        self.cluster.told(&[&["--namespace", NAMESPACE], &apply[..]].concat(), &made);
    }

    /// The approval window that the server keeps of its one gateway, as it is recorded.
    fn window(&self) -> Vec<String> {
        let claims = self.cluster.get(&["pvc", "--namespace", NAMESPACE]);
        let volume = claims["items"][0]["spec"]["volumeName"].as_str().expect("a volume");
        let volume = self.cluster.get(&["persistentvolume", volume]);
        // The lab's volumes are directories of this machine.
        let home = Path::new(volume["spec"]["local"]["path"].as_str().expect("one")).join("home");
        let dir = tempfile::tempdir().expect("a directory");
        for part in ["pipeline.db", "pipeline.db-wal"] {
            fs::copy(home.join(part), dir.path().join(part)).expect("copied");
        }
        let store = rusqlite::Connection::open(dir.path().join("pipeline.db")).expect("opens");
        let mut rows = store.prepare("SELECT * FROM approval_windows").expect("prepares");
        let columns = rows.column_count();
        let row = rows.query_row([], |row| {
            (0..columns).map(|it| Ok(format!("{:?}", row.get_ref(it)?))).collect()
        });
        row.expect("one")
    }

    /// The one pod that is ready, by its name.
    fn ready(&self) -> String {
        until("the server is ready", || {
            let pods = self.cluster.get(&["pods", "--namespace", NAMESPACE]);
            let pods = pods["items"].as_array().expect("a list");
            let is_ready = |pod: &&Value| {
                pod["metadata"].get("deletionTimestamp").is_none()
                    && pod["status"]["containerStatuses"][0]["ready"] == true
            };
            if let ([_], Some(pod)) = (&pods[..], pods.iter().find(is_ready)) {
                return Ok(pod["metadata"]["name"].as_str().expect("a name").to_owned());
            }
            let events = self.said(&["get", "events"]);
            Err(format!("{events}\n{}", self.log()))
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        for kind in ["clusterrolebinding", "clusterrole"] {
            let delete = ["delete", kind, "openclaw-pipeline", "--ignore-not-found"];
            let _ = self.cluster.kubectl(&delete).output();
        }
    }
}

/// The server's API, by a port that `kubectl` forwards here.
struct Api {
    forward: Child,
    /// It tells of each connection, and ends where nobody reads that.
    _told: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Api {
    fn of(place: &Place<'_>) -> Self {
        let mut forward = place.kubectl(&["port-forward", "deployment/openclaw-pipeline", ":4000"]);
        forward.arg("--address=127.0.0.1").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut forward = forward.spawn().expect("run kubectl");
        let mut line = String::new();
        let mut told = BufReader::new(forward.stdout.take().expect("its output"));
        told.read_line(&mut line).expect("it says where");
        let port = line.split(' ').find_map(|it| it.strip_prefix("127.0.0.1:")?.parse().ok());
        let port: u16 = port.unwrap_or_else(|| panic!("no port: {line:?}"));
        Self { forward, _told: told, address: ([127, 0, 0, 1], port).into() }
    }

    fn call(&self, method: &str, path: &str) -> Call {
        Call::to(self.address, method, path).token(TOKEN)
    }

    fn get(&self, path: &str) -> Answer {
        self.call("GET", path).send()
    }

    /// Begins something, and waits until it is over, and well.
    #[track_caller]
    fn done(&self, call: &Call) -> Value {
        let begun = call.send().ok(202);
        let id = begun["operation_id"].as_str().or(begun["id"].as_str()).expect("an id");
        let ended = until("the operation ends", || {
            let operation = self.get(&format!("/v1/operations/{id}")).ok(200);
            let runs = operation["status"] == "running";
            if runs { Err(format!("{operation:#}")) } else { Ok(operation) }
        });
        assert_eq!(ended["status"], "succeeded", "{ended:#}");
        begun
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.forward.kill();
        let _ = self.forward.wait();
    }
}

#[test]
fn a_server_on_the_cluster_launches_a_gateway_beside_itself_and_its_successor_knows_it() {
    if Lab::require(Part::Server).is_none() {
        return;
    }
    let Some(images) = standin::images() else { return };
    let Some(cluster) = Cluster::shared() else { return };
    if standin::tagged(&own_image("server"), "server").is_none() {
        return;
    }
    let gateways = Namespace::of(&cluster, &format!("openclaw-{NAME}"));
    let place = Place::of(&cluster);
    place.apply();
    // Without a key it does not start, and says what it wants.
    until("it asks for its key", || {
        let log = place.log();
        let says = log.contains("the sealing key: /key/sealing.key cannot be written");
        says.then_some(()).ok_or(log)
    });
    place.put_secret(
        "openclaw-pipeline-secrets",
        "--from-env-file",
        "server.env",
        &format!("OPENCLAW_PIPELINE_API_TOKEN={TOKEN}\nANTHROPIC_API_KEY={KEY}\n"),
    );
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n";
    place.put_secret("openclaw-pipeline-key", "--from-file", "sealing.key", key);
    place.said(&["rollout", "restart", "deployment/openclaw-pipeline"]);
    let first = place.ready();

    // Whoever has no token gets nothing, nor whoever calls it by a name that is not its own.
    let api = Api::of(&place);
    assert_eq!(Call::to(api.address, "GET", "/readyz").send().status, 200);
    let body = json!({
        "name": NAME, "target": "eks", "image": images[0], "expose": "http",
    });
    assert_eq!(Call::to(api.address, "GET", "/status").send().status, 401);
    assert_eq!(Call::to(api.address, "POST", "/launch").json(&body).send().status, 401);
    assert_eq!(api.call("GET", "/status").header("host", "evil.example").send().status, 421);
    let own =
        api.call("GET", "/status").header("host", "openclaw-pipeline.pipeline-openclaw.svc:4000");
    assert_eq!(own.send().status, 200);

    // A gateway on this very cluster, proven by the way that its user takes.
    let begun = api.done(&api.call("POST", "/launch").json(&body));
    assert_eq!(begun["name"], NAME);
    let launched = api.get(&format!("/v1/deployments/{NAME}")).ok(200);
    let service = cluster.get(&["service", "openclaw", "--namespace", gateways.name()]);
    let host = service["status"]["loadBalancer"]["ingress"][0]["hostname"].as_str().expect("one");
    assert_eq!(
        (&launched["status"], &launched["target"], &launched["url"]),
        (&json!("running"), &json!("eks"), &json!(format!("http://{host}:18789/")))
    );
    let mut events = api.call("GET", &format!("/v1/events?name={NAME}&after=0")).stream();
    let mut told = Vec::new();
    while told.last().is_none_or(|it| it != "completed") {
        told.push(events.next().kind);
    }
    assert_eq!(told, TOLD);
    // What is run in the gateway's pod is run by children of the server's.
    api.done(&api.call("POST", &format!("/v1/deployments/{NAME}/backups")));
    let log = api.get(&format!("/v1/deployments/{NAME}/logs"));
    assert!(log.status == 200 && !log.text().is_empty(), "{log:?}");
    // And commands in its own pod hand it their work.
    let list =
        ["exec", "deployment/openclaw-pipeline", "--", "openclaw-pipeline", "list", "--json"];
    let listed: Value = serde_json::from_str(&place.said(&list)).expect("JSON");
    assert_eq!(listed["items"][0]["name"], NAME);
    let restart =
        ["exec", "deployment/openclaw-pipeline", "--", "openclaw-pipeline", "restart", NAME];
    place.said(&restart);
    let done = api.get(&format!("/v1/operations?deployment={NAME}")).ok(200)["items"][0].clone();
    assert_eq!((&done["kind"], &done["status"]), (&json!("restart"), &json!("succeeded")));
    let id = done["id"].as_str().expect("an id");
    assert!(place.said(&["logs", &first]).contains(id), "it was none of the server's");
    drop(api);

    // It is what was asked for, and applied again it stays as it is.
    for line in place.apply().lines() {
        assert!(line.ends_with(" unchanged") || line.starts_with("secret/"), "{line}");
    }
    let pod = cluster.get(&["pod", &first, "--namespace", NAMESPACE]);
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod:#}");
    let said = place.said(&["logs", &first]);
    for sign in [TOKEN, KEY, key.trim(), "panicked", "\"level\":\"ERROR\""] {
        let line = said.lines().find(|line| line.contains(sign));
        assert!(line.is_none(), "{line:?}");
    }

    // Its successor has its data, and the key to it; and opens no window again.
    let window = place.window();
    place.said(&["delete", "pod", &first, "--wait"]);
    assert_ne!(place.ready(), first);
    let api = Api::of(&place);
    let known = api.get(&format!("/v1/deployments/{NAME}")).ok(200);
    assert_eq!((&known["id"], &known["status"]), (&launched["id"], &json!("running")));
    assert_eq!(place.window(), window);
    let link = api.call("POST", &format!("/v1/deployments/{NAME}/access")).send().ok(200);
    let url = link["url"].as_str().expect("a link");
    assert!(url.starts_with(&format!("http://{host}:18789/")), "{link}");

    // Its volumes stay where that is asked for, and the next one of the name has them; one that nobody
    // reaches from outside, this time.
    api.done(&api.call("DELETE", &format!("/v1/deployments/{NAME}?keep_volumes=true")));
    assert_eq!(api.get(&format!("/v1/deployments/{NAME}")).status, 404);
    let claims = || {
        let claims = cluster.get(&["pvc", "--namespace", gateways.name()]);
        let claims = claims["items"].as_array().expect("a list").clone();
        claims.into_iter().map(|it| it["spec"]["volumeName"].clone()).collect::<Vec<_>>()
    };
    let kept = claims();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let body = json!({ "name": NAME, "target": "eks", "image": images[0], "expose": "none" });
    api.done(&api.call("POST", "/launch").json(&body));
    assert_eq!(claims(), kept, "taken up as they are");
    let service = cluster.get(&["service", "openclaw", "--namespace", gateways.name()]);
    assert_eq!(service["spec"]["type"], "ClusterIP");
    let what_is_wrong = [
        (json!({ "expose": "tunnel" }), "tunnel"),
        (json!({ "ingress_host": "a.example.com" }), "OPENCLAW_PIPELINE_INGRESS_CLASS"),
    ];
    for (wrong, words) in what_is_wrong {
        let mut body = json!({ "name": "wrong", "target": "eks", "image": images[0] });
        body.as_object_mut().expect("one").extend(wrong.as_object().expect("one").clone());
        let refused = api.call("POST", "/launch").json(&body).send();
        assert!(refused.status == 400 && refused.text().contains(words), "{refused:?}");
        assert_eq!(api.get("/v1/deployments/wrong").status, 404);
    }

    // By the same way it goes, and leaves nothing.
    api.done(&api.call("DELETE", &format!("/v1/deployments/{NAME}")));
    assert_eq!(api.get(&format!("/v1/deployments/{NAME}")).status, 404);
    assert!(!gateways.is_there(), "its namespace is left");
    let volumes = cluster.get(&["persistentvolumes"]);
    let volumes = volumes["items"].as_array().expect("a list");
    let of_it = volumes.iter().filter(|it| it["spec"]["claimRef"]["namespace"] == gateways.name());
    assert_eq!(of_it.count(), 0, "its volumes are left");

    // All of that as its own account, which tried nothing that it may not.
    let role: Value = serde_saphyr::from_str(&documented()).expect("YAML");
    let used = used(&cluster, &format!("{NAMESPACE}:openclaw-pipeline"));
    let all = granted(&role);
    let beyond: Vec<_> = used.difference(&all).collect();
    assert!(used.contains("create namespaces") && beyond.is_empty(), "{beyond:?} of {used:?}");
    assert!(place.namespace.is_there());
}
