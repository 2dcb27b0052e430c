//! The manifests in `k8s/`, used by hand as their comments say, on the lab's real cluster with the real
//! gateway; and what they say, read.
//!
//! The cluster enforces no network policy: those are checked by evaluating the objects against a table
//! of flows, and so each such test says.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Namespace, until};
use crate::support::role::objects;
use crate::support::source::root;

const TOKEN: &str = "a-token-of-the-manifests-0123456789abcdef";

/// Applies them, in the way that is documented.
fn apply(cluster: &Cluster) -> String {
    let folder = root().join("k8s");
    let (namespace, all) = (folder.join("namespace.yaml"), folder.join(""));
    let path = |it: &std::path::Path| it.to_string_lossy().into_owned();
    cluster.said(&["apply", "-f", &path(&namespace), "-f", &path(&all)])
}

/// What a path of the gateway's answers at an address.
fn answer(address: &str, path: &str) -> Result<Value, String> {
    let address = format!("{address}:18789").parse().expect("an address");
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))
        .map_err(|it| it.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a deadline");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
        .map_err(|it| it.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|it| it.to_string())?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no body")?;
    serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))
}

#[test]
fn a_real_gateway_comes_up_by_hand_and_keeps_what_its_user_wrote() {
    let Some(cluster) = Cluster::shared() else { return };
    let _namespace = Namespace::of(&cluster, "openclaw");
    apply(&cluster);

    // Without a token it does not start, and says what it wants.
    until("the configuration asks for a token", || {
        let pods = cluster.get(&["pods", "--namespace=openclaw"]);
        let state = &pods["items"][0]["status"]["initContainerStatuses"][0];
        let ended = [&state["lastState"], &state["state"]].map(|it| &it["terminated"]["message"]);
        let said = ended.into_iter().filter_map(Value::as_str).collect::<String>();
        said.contains("OPENCLAW_GATEWAY_TOKEN").then_some(()).ok_or(format!("{state:#}"))
    });

    // As the comment in secret.yaml says.
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("OPENCLAW_GATEWAY_TOKEN={TOKEN}\n")).expect("written");
    let from = format!("--from-env-file={}", file.path().display());
    let made = cluster.said(&[
        "--namespace=openclaw",
        "create",
        "secret",
        "generic",
        "openclaw-secrets",
        &from,
        "--dry-run=client",
        "--output=yaml",
    ]);
    cluster.told(&["apply", "--server-side", "--field-manager=secrets", "-f", "-"], &made);
    // And for the first start, a configuration of the user's own.
    let own = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(own.path(), "{ ui: { seamColor: '#112233' }, /* mine */ }").expect("written");
    let from = format!("--from-file=openclaw.json={}", own.path().display());
    let create = ["--namespace=openclaw", "create", "secret", "generic", "openclaw-file", &from];
    cluster.said(&create);
    let restart = ["--namespace=openclaw", "rollout", "restart", "deployment/openclaw"];
    cluster.said(&restart);
    until("the gateway is ready", || ready(&cluster));

    // By the load balancer, which is known by its name.
    let service = cluster.get(&["service", "openclaw", "--namespace=openclaw"]);
    let host =
        service["status"]["loadBalancer"]["ingress"][0]["hostname"].as_str().expect("a name");
    let address = cluster.address_of(host).expect("an address");
    let started = until("it answers", || answer(&address, "/startupz"));
    assert_eq!(started["status"], "started", "{started}");

    // What its user writes into their file stays, but for what is managed.
    let file = "/home/node/.openclaw/openclaw.json";
    let configured: Value = serde_json::from_str(&inside(&cluster, &["cat", file])).expect("JSON");
    assert_eq!(configured["gateway"]["nodes"]["pairing"]["autoApproveLocal"], false);
    assert_eq!(configured["ui"]["seamColor"], "#112233");
    let bound = json!({ "maxDiskBytes": 512 * 1024 * 1024, "mode": "enforce" });
    assert_eq!(configured["session"]["maintenance"], bound);
    let mut users = configured.clone();
    users["ui"] = json!({ "seamColor": "#336699" });
    users["tools"]["exec"]["mode"] = json!("full");
    let script = format!("require('fs').writeFileSync('{file}', JSON.stringify({users}))");
    inside(&cluster, &["node", "-e", &script]);
    // Applied again, nothing of the secret is lost.
    let secret = || {
        let secret = cluster.get(&["secret", "openclaw-secrets", "--namespace=openclaw"]);
        secret["data"].clone()
    };
    let before = secret();
    assert!(before["OPENCLAW_GATEWAY_TOKEN"].is_string(), "{before}");
    apply(&cluster);
    assert_eq!(secret(), before);
    cluster.said(&restart);
    until("the gateway is ready again", || ready(&cluster));
    let now: Value = serde_json::from_str(&inside(&cluster, &["cat", file])).expect("JSON");
    assert_eq!(
        (&now["ui"]["seamColor"], &now["tools"]["exec"]["mode"]),
        (&json!("#336699"), &json!("ask"))
    );

    // What it runs as.
    assert_eq!(inside(&cluster, &["id", "-u"]).trim(), "1000");
    let written = cluster
        .kubectl(&["--namespace=openclaw", "exec", "deployment/openclaw", "-c", "openclaw", "--"])
        .args(["touch", "/app/file"])
        .output()
        .expect("run kubectl");
    assert!(!written.status.success(), "its root can be written to");
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let script = format!("process.exit(require('fs').existsSync('{account}') ? 1 : 0)");
    inside(&cluster, &["node", "-e", &script]);
}

/// Whether the newest pod of the deployment is ready, and no other is left.
fn ready(cluster: &Cluster) -> Result<(), String> {
    let deployment = cluster.get(&["deployment", "openclaw", "--namespace=openclaw"]);
    let (about, status) = (&deployment["metadata"], &deployment["status"]);
    let is_seen = about["generation"] == status["observedGeneration"];
    let counts = ["replicas", "updatedReplicas", "readyReplicas"].map(|it| &status[it]);
    if is_seen && counts == [&json!(1); 3] {
        return Ok(());
    }
    let events = cluster.said(&["get", "events", "--namespace=openclaw"]);
    Err(format!("{status:#}\n{events}"))
}

fn inside(cluster: &Cluster, args: &[&str]) -> String {
    let exec =
        ["--namespace=openclaw", "exec", "deployment/openclaw", "--container=openclaw", "--"];
    cluster.said(&[&exec[..], args].concat())
}

#[test]
fn a_pod_that_asks_for_more_is_refused() {
    let Some(cluster) = Cluster::shared() else { return };
    let name = "openclaw-refusing";
    let _namespace = Namespace::of(&cluster, name);
    let manifest = std::fs::read_to_string(root().join("k8s/namespace.yaml")).expect("it is there");
    let manifest = manifest.replace("name: openclaw\n", &format!("name: {name}\n"));
    cluster.told(&["apply", "-f", "-"], &manifest);
    let run = ["run", "intruder", "--image=ghcr.io/openclaw/openclaw:pause"];
    let refused = cluster.kubectl(&run).args(["--namespace", name]).output().expect("run kubectl");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("violates PodSecurity"), "{said}");
}

// ------------------------------------------------------------------ who talks to whom

/// The manifest as the API would have it: read by the cluster's own tool, and sent nowhere.
pub fn policy(cluster: &Cluster) -> Value {
    let file = root().join("k8s/networkpolicy.yaml");
    let file = file.to_string_lossy();
    let read = ["create", "--dry-run=client", "--output=json", "-f", &file];
    serde_json::from_str(&cluster.said(&read)).expect("JSON")
}

/// Whether a policy lets a pod talk to an address, as Kubernetes says what its rules mean: each rule
/// adds what it lets through, and what no rule names is refused. No engine enforces it here.
fn lets_out(policy: &Value, to: Ipv4Addr, is_dns_pod: bool, port: u16) -> bool {
    let rules = policy["spec"]["egress"].as_array().expect("rules");
    rules.iter().any(|rule| {
        let ports = rule["ports"].as_array();
        let by_port = ports.is_none_or(|them| them.iter().any(|it| it["port"] == port));
        let peers = rule["to"].as_array().expect("whom it is about");
        by_port && peers.iter().any(|peer| is_meant(peer, to, is_dns_pod))
    })
}

/// That a policy is of all pods and of both ways, and lets out what a table of flows says: to whom,
/// whether that is a pod which knows names, by which port, and whether it is let through.
pub fn lets_out_as_meant(policy: &Value, flows: &[(&str, bool, u16, bool)]) {
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(policy["spec"]["podSelector"], json!({}));
    for (to, is_dns_pod, port, expected) in flows {
        let address = to.parse().expect("an address");
        assert_eq!(lets_out(policy, address, *is_dns_pod, *port), *expected, "{to}:{port}");
    }
}

fn is_meant(peer: &Value, to: Ipv4Addr, is_dns_pod: bool) -> bool {
    if peer.get("podSelector").is_some() {
        let labels = &peer["podSelector"]["matchLabels"];
        let namespace = &peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"];
        assert_eq!((labels, namespace), (&json!({ "k8s-app": "kube-dns" }), &json!("kube-system")));
        return is_dns_pod;
    }
    let block = &peer["ipBlock"];
    let within = |range: &Value| contains(range.as_str().expect("a range"), to);
    let except = block["except"].as_array().into_iter().flatten().any(within);
    within(&block["cidr"]) && !except
}

fn contains(range: &str, address: Ipv4Addr) -> bool {
    let (first, bits) = range.split_once('/').expect("a range");
    let (first, bits): (Ipv4Addr, u32) = (first.parse().expect("one"), bits.parse().expect("bits"));
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    u32::from(first) & mask == u32::from(address) & mask
}

#[test]
fn the_network_policy_evaluated_against_a_table_of_flows_lets_through_what_it_should() {
    let Some(cluster) = Cluster::shared() else { return };
    let policy = policy(&cluster);
    let flows = [
        // Names.
        ("10.0.130.7", true, 53, true),
        ("10.0.130.7", true, 9153, false),
        ("10.0.130.7", false, 53, false),
        // The internet.
        ("8.8.8.8", false, 443, true),
        ("203.0.113.9", false, 25, true),
        // What is the instance's, the nodes', other pods', other networks'.
        ("169.254.169.254", false, 80, false),
        ("169.254.170.23", false, 80, false),
        ("10.0.130.8", false, 18789, false),
        ("172.20.0.1", false, 443, false),
        ("172.31.0.2", false, 22, false),
        ("192.168.1.1", false, 80, false),
        ("100.64.0.10", false, 80, false),
        ("127.0.0.1", false, 80, false),
        ("0.0.0.0", false, 80, false),
        ("224.0.0.251", false, 5353, false),
        ("255.255.255.255", false, 67, false),
        // Beside what is private.
        ("9.255.255.255", false, 443, true),
        ("11.0.0.0", false, 443, true),
        ("172.15.255.255", false, 443, true),
        ("172.32.0.0", false, 443, true),
        ("192.167.255.255", false, 443, true),
        ("100.128.0.0", false, 443, true),
    ];
    lets_out_as_meant(&policy, &flows);
    // Names are asked for by either.
    let by = json!([{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }]);
    assert_eq!(policy["spec"]["egress"][0]["ports"], by);
    // In: the gateway's port, from everybody, and nothing else.
    let ingress = &policy["spec"]["ingress"];
    assert_eq!(*ingress, json!([{ "ports": [{ "port": 18789, "protocol": "TCP" }] }]));
}

#[test]
fn they_say_what_a_gateway_is_to_have() {
    let one = |file: &str| objects(&format!("k8s/{file}.yaml"))[0].clone();
    let secret = one("secret");
    assert!(secret.get("data").is_none() && secret.get("stringData").is_none(), "{secret:#}");
    let class = one("storageclass");
    assert_eq!(
        (
            &class["parameters"]["encrypted"],
            &class["parameters"]["type"],
            &class["allowVolumeExpansion"]
        ),
        (&json!("true"), &json!("gp3"), &json!(true))
    );
    let claims = objects("k8s/pvc.yaml");
    let sizes: Vec<_> =
        claims.iter().map(|it| &it["spec"]["resources"]["requests"]["storage"]).collect();
    assert_eq!(sizes, [&json!("1Gi"), &json!("10Gi")]);
    assert!(claims.iter().all(|it| it["spec"]["storageClassName"] == class["metadata"]["name"]));

    let deployment = &one("deployment")["spec"];
    assert_eq!(
        (&deployment["replicas"], &deployment["strategy"]),
        (&json!(1), &json!({ "type": "Recreate" }))
    );
    let pod = &deployment["template"]["spec"];
    // A gateway drains for up to 315 s.
    assert!(pod["terminationGracePeriodSeconds"].as_u64().is_some_and(|it| it > 315));
    let gateway = &pod["containers"][0];
    for kind in ["requests", "limits"] {
        for what in ["cpu", "memory", "ephemeral-storage"] {
            assert!(gateway["resources"][kind][what].is_string(), "{kind} of {what}");
        }
    }
    let asks = |probe: &str| gateway[probe]["exec"]["command"][2].clone();
    assert_eq!(
        ["startupProbe", "readinessProbe", "livenessProbe"].map(asks),
        ["/startupz", "/healthz", "/healthz"].map(|it| json!(it))
    );
    let service = &one("service")["spec"];
    // Who comes is told from its address: no node in between, and none of IPv6 that is translated.
    assert_eq!(
        (&service["externalTrafficPolicy"], &service["ipFamilies"]),
        (&json!("Local"), &json!(["IPv4"]))
    );
    let annotation = |name: &str| {
        let name = format!("service.beta.kubernetes.io/aws-load-balancer-{name}");
        one("service")["metadata"]["annotations"][name].clone()
    };
    assert_eq!(
        (&service["type"], annotation("type"), annotation("scheme")),
        (&json!("LoadBalancer"), json!("nlb"), json!("internet-facing"))
    );
    // A node may be emptied, whether the gateway on it is well or not.
    let budget = &one("poddisruptionbudget")["spec"];
    assert_eq!(
        (&budget["maxUnavailable"], &budget["unhealthyPodEvictionPolicy"], &budget["selector"]),
        (&json!(1), &json!("AlwaysAllow"), &deployment["selector"])
    );
}
