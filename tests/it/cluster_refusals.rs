//! What a launch on a cluster refuses before it makes anything: a kubeconfig that leads nowhere, rights
//! that lack, what belongs to somebody else, what the cluster does not have.

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Namespace, until};
use crate::support::cluster_case::{Case, KEY, works};
use crate::support::listeners::{self, Proxy};
use crate::support::product::TOKEN;
use crate::support::role::{documented, granted, used};

/// What of the documented role that gateway's life need not show: newer clusters ask for a right to
/// create, too, where a WebSocket begins as a read; ingresses and Gateways are there where they are
/// asked for, and `cluster_entries` has the role then; and the class of EBS is made by whoever is
/// first.
const UNSHOWN: [&str; 16] = [
    "create pods/exec",
    "create pods/portforward",
    "create ingresses.networking.k8s.io",
    "patch ingresses.networking.k8s.io",
    "get ingressclasses.networking.k8s.io",
    "list ingressclasses.networking.k8s.io",
    "get gateways.gateway.networking.k8s.io",
    "create gateways.gateway.networking.k8s.io",
    "patch gateways.gateway.networking.k8s.io",
    "get httproutes.gateway.networking.k8s.io",
    "create httproutes.gateway.networking.k8s.io",
    "patch httproutes.gateway.networking.k8s.io",
    "get gatewayclasses.gateway.networking.k8s.io",
    "list gatewayclasses.gateway.networking.k8s.io",
    "create storageclasses.storage.k8s.io",
    "get csidrivers.storage.k8s.io",
];

/// That a launch is refused, and nothing was made by it.
#[track_caller]
fn refused(case: &Case, flags: &[&str], variables: &[(&str, &str)], code: i32, words: &[&str]) {
    let run = flags.iter().fold(case.launch(), |run, flag| run.arg(flag));
    let run = variables.iter().fold(run, |run, (name, value)| run.env(name, *value));
    case.launch_fails(run, code, words);
    assert!(!case.namespace.is_there(), "something was made");
}

#[test]
fn a_kubeconfig_that_leads_nowhere_is_refused() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "nowhere") else { return };
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let of = "OPENCLAW_PIPELINE_KUBE_CONTEXT";

    // It would cost money, and could answer nobody.
    let words = ["no credential of a provider was given", "on eks costs money"];
    refused(&case, &[], &[("ANTHROPIC_API_KEY", "")], 2, &words);
    // Whatever context happens to be current is not taken.
    let run = case.launch().without(of);
    case.launch_fails(run, 2, &["no cluster is named", "--context NAME"]);
    refused(&case, &["--context", "other"], &[], 2, &["has no context \"other\"", "it has lab"]);
    let missing = text(&case.product.path("work").join("none"));
    refused(&case, &[], &[("KUBECONFIG", &missing)], 5, &["no kubeconfig at", "set KUBECONFIG"]);
    let broken = case.product.path("work").join("broken");
    let secret = "a-token-beside-the-fault";
    let users =
        format!("apiVersion: v1\nusers:\n- name: a\n  user:\n    token: {secret}\n   - {{\n");
    std::fs::write(&broken, users).expect("written");
    let words = ["cannot be read: it is no kubeconfig from line", "make it anew"];
    let run = case.launch().env("KUBECONFIG", text(&broken));
    let done = case.launch_fails(run, 5, &words);
    assert!(!done.stderr.contains(secret), "{}", done.stderr);
    let nowhere = case.kubeconfig(|config| {
        config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:9");
    });
    let words = ["https://127.0.0.1:9/ does not answer", "kubectl cluster-info"];
    refused(&case, &[], &[("KUBECONFIG", &text(&nowhere))], 5, &words);
    let expired = case.kubeconfig(|config| {
        config["users"][0]["user"] = json!({ "token": "one-that-is-no-more" });
    });
    let words = ["does not know who asks", "update-kubeconfig"];
    refused(&case, &[], &[("KUBECONFIG", &text(&expired))], 5, &words);

    // Where a program gives the credentials, it is asked; and one that gives none is told by its name.
    let by = |program: &str, args: serde_json::Value| {
        case.kubeconfig(|config| {
            let exec = json!({
                "apiVersion": "client.authentication.k8s.io/v1", "command": program, "args": args,
                "interactiveMode": "Never",
            });
            config["users"][0]["user"] = json!({ "exec": exec });
        })
    };
    let lacking = by("no-such-program", json!([]));
    let words = ["no-such-program, which the kubeconfig has the credentials from"];
    refused(&case, &[], &[("KUBECONFIG", &text(&lacking))], 5, &words);
    let silent = by("sh", json!(["-c", "echo signed out >&2; exit 1"]));
    let words = ["sh gives no credentials", "signed out", "sign in with it"];
    refused(&case, &[], &[("KUBECONFIG", &text(&silent))], 5, &words);
    // It gets nothing of this program's that is none of its business.
    let list = case.product.path("work").join("its-environment");
    let looking = by("sh", json!(["-c", format!("export -p >{}; exit 1", text(&list))]));
    refused(&case, &[], &[("KUBECONFIG", &text(&looking))], 5, &["sh gives no credentials"]);
    let variables = std::fs::read_to_string(&list).expect("what it got");
    assert!(variables.contains("KUBERNETES_EXEC_INFO="), "{variables}");
    for foreign in ["ANTHROPIC", "OPENCLAW", KEY, TOKEN] {
        assert!(!variables.contains(foreign), "{foreign}: {variables}");
    }
    // Of what it says nothing is repeated.
    let odd = by("sh", json!(["-c", "echo a-secret-that-is-odd"]));
    let run = case.launch().env("KUBECONFIG", text(&odd));
    let done = case.launch_fails(run, 5, &["is no ExecCredential"]);
    assert!(!done.stderr.contains("a-secret-that-is-odd"), "{}", done.stderr);
}

#[test]
fn what_is_somebody_elses_is_never_touched() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "taken") else { return };
    let namespace = case.namespace.name();
    cluster.said(&["create", "namespace", namespace]);
    cluster.said(&[
        "--namespace",
        namespace,
        "create",
        "configmap",
        "theirs",
        "--from-literal=a=b",
    ]);
    until("the cluster's own part is there", || {
        let own = ["get", "configmap", "kube-root-ca.crt", "--ignore-not-found", "--output=name"];
        let said = case.said(&own);
        if said.is_empty() { Err(said) } else { Ok(()) }
    });
    let before = cluster.get(&["all,configmaps,secrets", "--namespace", namespace]);
    let words = ["is not this deployment's: it carries no label", "kubectl delete namespace"];
    case.launch_fails(case.launch(), 4, &words);
    // Nor is it removed with the deployment that never was there.
    works(case.run(["destroy", "--yes"]));
    let after = cluster.get(&["all,configmaps,secrets", "--namespace", namespace]);
    assert_eq!(before["items"], after["items"]);

    // One that is being removed is waited for by whoever launches.
    let held = json!({ "metadata": { "finalizers": ["lab.test/held"] } }).to_string();
    let theirs_in_it = ["--namespace", namespace, "patch", "configmap", "theirs", "--patch"];
    cluster.said(&[&theirs_in_it[..], &[&held]].concat());
    cluster.said(&["delete", "namespace", namespace, "--wait=false"]);
    let words = ["the namespace openclaw-taken is being removed", "try again when it is gone"];
    case.launch_fails(case.launch(), 4, &words);
    let free = json!({ "metadata": { "finalizers": null } }).to_string();
    cluster.said(&[&theirs_in_it[..], &[&free]].concat());
    until("it is gone", || if case.namespace.is_there() { Err(String::new()) } else { Ok(()) });

    // Another installation's, of the same name.
    let Some(theirs) = Case::of(&cluster, "taken") else { return };
    works(theirs.launch());
    let words = ["belongs to a deployment of another installation"];
    case.launch_fails(case.launch(), 4, &words);
    works(case.run(["destroy", "--yes"]));
    assert!(theirs.namespace.is_there());
    // One that is gone, or on another cluster, is not made anew: its volumes are where it was.
    cluster.said(&["delete", "namespace", namespace]);
    let words =
        ["taken has its volumes in a namespace openclaw-taken", "openclaw-pipeline destroy"];
    theirs.launch_fails(theirs.launch(), 4, &words);
    assert!(!theirs.namespace.is_there(), "it was made anew");
    theirs.destroys_all();
}

#[test]
fn what_runs_goes_on_where_something_else_is_refused() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(mut case) = Case::of(&cluster, "goes-on") else { return };
    // A file of its own, which is always the same.
    let file = case.kubeconfig(|_| ());
    case.product.set("KUBECONFIG", file);
    works(case.launch());
    let pods = || case.get(&["pods", "--selector=app.kubernetes.io/name=openclaw"]);
    let before = pods()["items"][0]["metadata"]["uid"].clone();
    for (flags, code, words) in [
        (&["--storage-class", "none-such"][..], 4, "cannot change"),
        (&["--ingress-class", "none-such", "--ingress-host", "a.example.com"], 2, "no such class"),
    ] {
        let run = flags.iter().fold(case.run(["deploy", "--no-link"]), |run, flag| run.arg(flag));
        case.launch_fails(run, code, &[words]);
        assert_eq!(case.status()["status"], "running");
        assert_eq!(pods()["items"][0]["metadata"]["uid"], before, "it was stopped for it");
    }
    // A cluster that does not answer is not recorded as the one that it is on.
    works(case.run(["stop"]));
    let nowhere = |config: &mut Value| {
        config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1");
    };
    case.kubeconfig(|config| {
        nowhere(config);
        config["contexts"][0]["name"] = json!("nowhere");
    });
    case.launch_fails(case.launch().arg("--context").arg("nowhere"), 5, &["does not answer"]);
    case.kubeconfig(|_| ());
    works(case.run(["start"]));

    // Where its own does not answer any more, it is forgotten, if that is asked for.
    case.kubeconfig(nowhere);
    case.launch_fails(case.run(["destroy", "--yes"]), 5, &["does not answer", "--unseen"]);
    case.launch_fails(case.run(["destroy", "--yes", "--keep-volumes"]), 5, &["does not answer"]);
    let done = works(case.run(["destroy", "--yes", "--unseen"]));
    done.answers("goes-on is forgotten")
        .answers("in the namespace openclaw-goes-on of its cluster");
    assert!(case.namespace.is_there());
    assert!(!case.product.deployment("goes-on").exists(), "its files are left");
}

#[test]
fn a_proxy_leads_to_the_cluster_and_its_password_is_told_nobody() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "proxied") else { return };
    let proxy = Proxy::start();
    let secret = "a-proxys-password";
    let url = format!("http://somebody:{secret}@{}", proxy.address);
    // It comes as far as the cluster, by the proxy, and is refused there.
    let words = ["OPENCLAW_PIPELINE_STORAGE_CLASS names \"none-such\""];
    let flags = ["--storage-class", "none-such"];
    refused(&case, &flags, &[("HTTPS_PROXY", &url)], 2, &words);
    let through = proxy.connections();
    assert!(through > 0, "nothing came by the proxy");
    let without = [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", "10.214.0.0/16")];
    refused(&case, &flags, &without, 2, &words);
    assert_eq!(proxy.connections(), through, "NO_PROXY does not count");
    // So does the kubeconfig's own, of either kind.
    let socks = Proxy::of_socks();
    for (its, url) in [(&proxy, url.clone()), (&socks, format!("socks5://{}", socks.address))] {
        let before = its.connections();
        let path = case.kubeconfig(|config| {
            config["clusters"][0]["cluster"]["proxy-url"] = json!(url);
        });
        refused(&case, &flags, &[("KUBECONFIG", &path.to_string_lossy())], 2, &words);
        assert!(its.connections() > before, "nothing came by {url}");
    }
    // Of one that is not there, or no proxy, nothing is repeated but that.
    for (scheme, words) in [("http", "does not answer"), ("ftp", "its proxy is of no kind")] {
        let url = format!("{scheme}://somebody:{secret}@127.0.0.1:1");
        let run = case.launch().env("HTTPS_PROXY", &url);
        let done = case.launch_fails(run, 5, &[words]);
        assert!(!done.stderr.contains(secret), "{}", done.stderr);
    }
    let events = case.run(["events"]).done();
    assert!(!events.stdout.contains(secret), "{}", events.stdout);
}

#[test]
fn what_the_cluster_does_not_have_is_refused() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "lacking") else { return };
    let words = ["OPENCLAW_PIPELINE_STORAGE_CLASS names \"none-such\"", "it has "];
    refused(&case, &["--storage-class", "none-such"], &[], 2, &words);
    let flags = ["--ingress-class", "none-such", "--ingress-host", "a.example.com"];
    refused(&case, &flags, &[], 2, &["OPENCLAW_PIPELINE_INGRESS_CLASS names", "it has "]);
    refused(&case, &["--ingress-class", "x"], &[], 2, &["OPENCLAW_PIPELINE_INGRESS_HOST too"]);
    refused(
        &case,
        &["--storage-class", "a/b"],
        &[],
        2,
        &["OPENCLAW_PIPELINE_STORAGE_CLASS is a name"],
    );
    refused(
        &case,
        &["--expose", "tunnel"],
        &[],
        2,
        &["none can be put in front of a gateway on the eks"],
    );
    refused(
        &case,
        &["--expose", "operator"],
        &[("OPENCLAW_PIPELINE_CHECKIP_URL", "http://127.0.0.1:1/")],
        5,
        &["own address on the internet", "OPENCLAW_PIPELINE_SSH_CIDR", "EXPOSE=none"],
    );
    let name = case.launch().arg("--context").arg("a\nb");
    case.launch_fails(name, 2, &["is the name of a context"]);

    // One that is too old for what is used, as its API says.
    let version = json!({
        "major": "1", "minor": "26+", "gitVersion": "v1.26.9", "gitCommit": "",
        "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
    });
    let answers = listeners::answering("application/json", &version.to_string());
    let server = format!("http://{answers}");
    let old = case.kubeconfig(|config| {
        config["clusters"][0]["cluster"] = json!({ "server": server });
    });
    let words = ["is Kubernetes 1.26, and 1.27 is the oldest", "update the cluster"];
    refused(&case, &[], &[("KUBECONFIG", &old.to_string_lossy())], 5, &words);
}

#[test]
fn rights_that_lack_are_named_before_anything_is_made() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(mut case) = Case::of(&cluster, "rights") else { return };
    let home = "openclaw-test-rights";
    let _home = Namespace::of(&cluster, home);
    cluster.said(&["create", "namespace", home]);
    cluster.said(&["--namespace", home, "create", "serviceaccount", "limited"]);
    // All of it, but for two verbs.
    let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| json!({ "apiGroups": groups, "resources": resources, "verbs": verbs });
    let every = ["get", "list", "create", "patch", "delete"];
    let most = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": home },
        "rules": [
            rule(&[""], &["namespaces", "services", "secrets", "configmaps", "pods", "events",
                "persistentvolumeclaims", "pods/log"], &every),
            rule(&[""], &["pods/portforward"], &["create"]),
            rule(&["apps"], &["deployments", "deployments/scale"], &every),
            rule(&["networking.k8s.io"], &["networkpolicies"], &["get"]),
            rule(&["policy"], &["poddisruptionbudgets"], &every),
            rule(&["storage.k8s.io"], &["storageclasses", "csidrivers"], &every),
        ],
    });
    cluster.told(&["apply", "-f", "-"], &most.to_string());
    let account = format!("--serviceaccount={home}:limited");
    let of = format!("--clusterrole={home}");
    cluster.said(&["create", "clusterrolebinding", home, &of, &account]);
    let token = cluster.said(&["--namespace", home, "create", "token", "limited"]);
    let limited = case.kubeconfig(|config| {
        config["users"][0]["user"] = json!({ "token": token.trim() });
    });
    let limited = limited.to_string_lossy().into_owned();
    let words = [
        "may not do this on the cluster",
        "patch networkpolicies",
        "create pods/exec",
        "docs/kubernetes.md has the role",
    ];
    refused(&case, &[], &[("KUBECONFIG", &limited)], 5, &words);

    // The documented role is enough, for all of a gateway's life.
    let guide = documented();
    let named = guide.replace("name: openclaw-pipeline", &format!("name: {home}"));
    cluster.told(&["apply", "-f", "-"], &named);
    case.product.set("KUBECONFIG", &*limited);
    case.launched();
    works(case.run(["restart"]));
    // The older version cannot read what the newer one wrote.
    case.run(["update", "--image", &case.images[1]]).code(1).says("rights went back");
    // Whoever may not leave volumes behind is told before anything is stopped.
    let fewer = named.replacen("verbs: [create, patch, delete]", "verbs: [create, patch]", 1);
    cluster.told(&["apply", "-f", "-"], &fewer);
    let keeps = ["destroy", "--yes", "--keep-volumes"];
    let words = ["may not do this", "delete secrets", "delete configmaps"];
    case.launch_fails(case.run(keeps), 5, &words);
    assert_eq!(case.status()["status"], "running");
    cluster.told(&["apply", "-f", "-"], &named);
    works(case.run(keeps));
    case.launched();
    works(case.run(["stop"]));
    works(case.product.run(["openclaw", &case.name, "--", "--version"]));
    case.destroys_all();
    // And there is nothing in it that is not used. Whoever applies something is seen to patch it, and has
    // to be able to create it.
    let guide: serde_json::Value = serde_saphyr::from_str(&guide).expect("YAML");
    let used = used(&cluster, &format!("{home}:limited"));
    let is_shown = |right: &str| {
        let applies = right.strip_prefix("create ").map(|it| format!("patch {it}"));
        used.contains(right) || applies.is_some_and(|it| used.contains(&it))
    };
    let idle: Vec<String> = granted(&guide)
        .into_iter()
        .filter(|right| !is_shown(right) && !UNSHOWN.contains(&right.as_str()))
        .collect();
    assert!(idle.is_empty(), "nobody needs {idle:?}");
    cluster.said(&["delete", "clusterrolebinding", home]);
    cluster.said(&["delete", "clusterrole", home]);
}
