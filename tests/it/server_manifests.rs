//! The manifests of the server in `k8s/server/`, read: what they hold the server to, and that the guide
//! says the same. What becomes of them on a cluster stands in `server_on_cluster`.
//!
//! The network policy is evaluated against a table of flows: the lab's cluster enforces none.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::manifests::lets_out_as_meant;
use crate::support::role::{documented, granted, objects};
use crate::support::source::{files, read};

/// Everything that is made, by kind and name.
fn all() -> BTreeMap<(String, String), Value> {
    let mut all = BTreeMap::new();
    for file in files("k8s/server") {
        for object in objects(&file) {
            let text = |it: &Value| it.as_str().expect("a text").to_owned();
            all.insert((text(&object["kind"]), text(&object["metadata"]["name"])), object);
        }
    }
    all
}

fn one(kind: &str) -> Value {
    let mut them = all().into_iter().filter(|((it, _), _)| it == kind);
    let (_, object) = them.next().expect("there is one");
    assert!(them.next().is_none(), "more than one {kind}");
    object
}

#[test]
fn its_role_is_the_documented_one() {
    let documented: Value = serde_saphyr::from_str(&documented()).expect("YAML");
    let role = one("ClusterRole");
    assert_eq!(role["rules"], documented["rules"]);
    assert_eq!(role["metadata"]["name"], documented["metadata"]["name"]);
    let everything = granted(&role);
    assert!(everything.iter().all(|it| !it.contains('*')), "{everything:?}");
    // Of what others keep secret it reads nothing, and it gives nobody rights.
    for word in ["get secrets", "list secrets", "bind", "escalate", "impersonate", "token", "node"]
    {
        assert!(!everything.iter().any(|it| it.contains(word)), "{word}: {everything:?}");
    }
    let binding = one("ClusterRoleBinding");
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    let account = one("ServiceAccount");
    assert_eq!(
        binding["subjects"],
        json!([{
            "kind": "ServiceAccount",
            "name": account["metadata"]["name"],
            "namespace": account["metadata"]["namespace"],
        }])
    );
}

#[test]
fn its_namespace_can_be_no_gateways() {
    let namespace = one("Namespace");
    let name = namespace["metadata"]["name"].as_str().expect("a name");
    // As `domain::cluster::namespace` makes them.
    assert!(name != "openclaw" && !name.starts_with("openclaw-"), "{name}");
    for ((kind, _), object) in all() {
        if !["Namespace", "ClusterRole", "ClusterRoleBinding"].contains(&kind.as_str()) {
            assert_eq!(object["metadata"]["namespace"], name, "{kind}");
        }
        assert_eq!(
            object["metadata"]["labels"]["app.kubernetes.io/part-of"], "openclaw-pipeline",
            "{kind}"
        );
    }
    let gateways = &objects("k8s/namespace.yaml")[0]["metadata"]["labels"];
    for mode in ["enforce", "warn", "audit"] {
        let label = format!("pod-security.kubernetes.io/{mode}");
        assert_eq!(namespace["metadata"]["labels"][&label], gateways[&label], "{label}");
        assert_eq!(gateways[&label], "restricted");
    }
}

#[test]
fn nothing_secret_ships_or_stands_in_an_argument() {
    for ((kind, name), object) in all() {
        for key in ["data", "stringData"] {
            assert!(kind != "Secret" || object.get(key).is_none(), "{name} ships with data");
        }
    }
    let pod = &one("Deployment")["spec"]["template"]["spec"];
    let server = &pod["containers"][0];
    assert_eq!(server["args"], json!(["serve", "--insecure-http"]));
    for variable in server["env"].as_array().expect("variables") {
        let name = variable["name"].as_str().expect("a name");
        assert!(!name.contains("TOKEN") && !name.contains("SECRET"), "{name}");
    }
    // The names by which its service is called, and no other.
    let service = one("Service");
    let about = &service["metadata"];
    let text = |it: &Value| it.as_str().expect("a text").to_owned();
    let (name, namespace) = (text(&about["name"]), text(&about["namespace"]));
    let names = ["", ".svc", ".svc.cluster.local"].map(|end| format!("{name}.{namespace}{end}"));
    let hosts = format!("{name},{}", names.join(","));
    let variables = server["env"].as_array().expect("variables");
    let given = variables.iter().find(|it| it["name"] == "OPENCLAW_PIPELINE_HOSTS");
    assert_eq!(given.expect("its names")["value"], hosts);
    // A service's own variables would be settings of the program's.
    assert_eq!(pod["enableServiceLinks"], false);
}

#[test]
fn its_account_is_in_its_pod_alone() {
    assert_eq!(one("ServiceAccount")["automountServiceAccountToken"], false);
    let pod = &one("Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], true);
    assert_eq!(pod["serviceAccountName"], one("ServiceAccount")["metadata"]["name"]);
    assert_eq!(one("Service")["spec"]["type"], "ClusterIP");
}

#[test]
fn the_network_policy_evaluated_against_a_table_of_flows_lets_through_what_it_should() {
    let policy = one("NetworkPolicy");
    let flows = [
        // Names.
        ("10.0.130.7", true, 53, true),
        ("10.0.130.7", true, 9153, false),
        ("10.0.130.7", false, 53, false),
        // The cluster's API, by its service and by its own address.
        ("172.20.0.1", false, 443, true),
        ("10.0.1.20", false, 6443, true),
        // Gateways: an inner load balancer, one of the internet.
        ("10.0.130.8", false, 18789, true),
        ("203.0.113.9", false, 18789, true),
        ("203.0.113.9", false, 8080, true),
        // Front ends on the internet.
        ("8.8.8.8", false, 443, true),
        ("8.8.8.8", false, 3000, true),
        // What is the instance's, the nodes', other pods', other networks'.
        ("169.254.169.254", false, 80, false),
        ("169.254.170.23", false, 80, false),
        ("169.254.169.254", false, 443, false),
        ("10.0.130.8", false, 10250, false),
        ("10.0.130.8", false, 22, false),
        ("172.31.0.2", false, 5432, false),
        ("192.168.1.1", false, 3000, false),
        ("100.64.0.10", false, 8080, false),
        ("224.0.0.251", false, 5353, false),
    ];
    lets_out_as_meant(&policy, &flows);
    // In: its port, from every namespace but those that gateways are in.
    let gateways = &objects("k8s/namespace.yaml")[0]["metadata"]["labels"];
    let others = json!({ "namespaceSelector": { "matchExpressions": [{
        "key": "app.kubernetes.io/part-of", "operator": "NotIn",
        "values": [gateways["app.kubernetes.io/part-of"]],
    }]}});
    let port = json!({ "port": 4000, "protocol": "TCP" });
    assert_eq!(policy["spec"]["ingress"], json!([{ "from": [others], "ports": [port] }]));
}

#[test]
fn the_guide_has_every_file() {
    let docs = read("docs/kubernetes.md");
    for file in files("k8s/server") {
        let name = file.rsplit('/').next().expect("a name");
        assert!(docs.contains(&format!("| `server/{name}` |")), "docs/kubernetes.md lacks {name}");
    }
}
