//! What a gateway on a cluster is there, and what can be done to it: the objects, the commands in its
//! pod, its log, the port here, stopping, backups, keys that change. The gateway is the stand-in.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, until};
use crate::support::cluster_case::{Case, KEY, works};
use crate::support::lab::command;
use crate::support::listeners;
use crate::support::netns::NetNs;
use crate::support::ports::free_port;
use crate::support::product::TOKEN;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A value of the gateway's secret.
fn secret(case: &Case, name: &str) -> String {
    use base64::Engine as _;
    let data = case.get(&["secret", "openclaw-secrets"])["data"][name].clone();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text(&data)).expect("base64");
    String::from_utf8(bytes).expect("text")
}

#[test]
fn it_is_what_the_manifests_say_and_nothing_else_can_read_its_keys() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "objects") else { return };
    let done = case.launched();
    assert!(!done.stderr.contains(KEY) && !done.stderr.contains(TOKEN), "{}", done.stderr);
    done.says("does not enforce network policies");
    let status = case.status();
    assert_eq!((&status["status"], &status["target"]), (&json!("running"), &json!("eks")));
    let service = case.get(&["service", "openclaw"]);
    let host = text(&service["status"]["loadBalancer"]["ingress"][0]["hostname"]);
    assert_eq!(status["url"], format!("http://{host}:18789/"));

    let deployment = case.get(&["deployment", "openclaw"]);
    let pod = &deployment["spec"]["template"]["spec"];
    let image = text(&pod["containers"][0]["image"]);
    assert!(image.starts_with("ghcr.io/openclaw/openclaw@sha256:"), "by its digest: {image}");
    assert_eq!(pod["initContainers"][0]["image"], image);
    // Whose it is stands on everything.
    let kinds = "deployment,service,secret,networkpolicy,poddisruptionbudget,pvc";
    let of = format!("--selector=pipeline.openclaw.io/name={}", case.name);
    let found = case.get(&[&format!("{kinds},configmap"), &of]);
    let found = found["items"].as_array().expect("a list");
    assert_eq!(found.len(), 8, "{found:#?}");
    let pods = case.get(&["pods", "--selector=app.kubernetes.io/name=openclaw"]);
    let namespace = cluster.get(&["namespace", case.namespace.name()]);
    for label in ["installation", "deployment", "name", "operation"] {
        let label = format!("pipeline.openclaw.io/{label}");
        let whose = &namespace["metadata"]["labels"][&label];
        assert!(whose.as_str().is_some_and(|it| !it.is_empty()), "{namespace:#}");
        for it in found.iter().chain([&pods["items"][0]]) {
            assert_eq!(it["metadata"]["labels"][&label], *whose, "{it:#}");
        }
    }
    let tags = "service.beta.kubernetes.io/aws-load-balancer-additional-resource-tags";
    let labels = &service["metadata"]["labels"];
    let (installation, id) = (
        text(&labels["pipeline.openclaw.io/installation"]),
        text(&labels["pipeline.openclaw.io/deployment"]),
    );
    let made_by = text(&labels["pipeline.openclaw.io/operation"]);
    let known = case.product.json(["operations", "list"])["items"].clone();
    let mut known = known.as_array().expect("a list").iter();
    let made = known.find(|it| it["kind"] == "launch" && it["deployment"] == case.name.as_str());
    assert_eq!(made.expect("a launch")["id"], made_by);
    assert!(!installation.is_empty() && !id.is_empty(), "{labels}");
    assert_eq!(
        service["metadata"]["annotations"][tags],
        format!(
            "openclaw-pipeline:installation={installation},openclaw-pipeline:deployment={id},\
             openclaw-pipeline:operation={made_by}"
        )
    );
    let managed = case.get(&["configmap", "openclaw-config", "--show-managed-fields"]);
    let managers = managed["metadata"]["managedFields"].as_array().expect("managers");
    assert_eq!(managers.len(), 1, "{managers:#?}");
    assert_eq!(
        (&managers[0]["manager"], &managers[0]["operation"]),
        (&json!("openclaw-pipeline"), &json!("Apply"))
    );
    // Its keys stand in its secret alone.
    assert_eq!(
        (secret(&case, "OPENCLAW_GATEWAY_TOKEN"), secret(&case, "ANTHROPIC_API_KEY")),
        (TOKEN.to_owned(), KEY.to_owned())
    );
    let rest = case.said(&["get", "all,configmaps,events", "--output=json"]);
    assert!(!rest.contains(KEY) && !rest.contains(TOKEN));
    // The page's origins are let in: the load balancer's, and those of a port forwarded here.
    let configured = case.configured();
    let origins = &configured["gateway"]["controlUi"]["allowedOrigins"];
    let expected =
        json!(
            [format!("http://{host}:18789"), "http://127.0.0.1:18789", "http://localhost:18789",]
        );
    assert_eq!(*origins, expected);
    assert_eq!(configured["gateway"]["nodes"]["pairing"]["autoApproveLocal"], false);

    // What it may reach, and who reaches it, is what is checked against a table of flows.
    let shipped = crate::manifests::policy(&cluster);
    let applied = case.get(&["networkpolicy", "openclaw"]);
    for way in ["ingress", "egress"] {
        assert_eq!(applied["spec"][way], shipped["spec"][way]);
    }

    // Nothing of whoever launched it is in there, and nothing of the cluster's.
    let inside =
        case.inside("env; ls /var/run/secrets 2>/dev/null || echo no secrets of the cluster");
    assert!(inside.contains("no secrets of the cluster"), "{inside}");
    for foreign in ["AWS_", "OPENCLAW_PIPELINE_", "KUBECONFIG"] {
        assert!(!inside.contains(foreign), "{foreign}: {inside}");
    }

    // Launched again, it says that it runs.
    let again = works(case.launch().arg("--json"));
    assert_eq!(again.json()["ran_already"], true);
    let removed = case.destroys_all();
    for what in ["the namespace openclaw-objects", host, "the volume of openclaw-config"] {
        removed.answers(what);
    }
}

#[test]
fn what_can_be_done_to_it_is_done_where_it_runs() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "verbs") else { return };
    case.launched();
    let name = case.name.as_str();

    // A command in place, its exit code, and no secret among the arguments meanwhile.
    let version = works(case.product.run(["openclaw", name, "--", "--version"]));
    version.answers("2026.9.6");
    let done = case.run(["shell"]).stdin("id -u; echo to-stderr >&2; exit 7\n").done();
    assert_eq!((done.code, done.stdout.trim()), (7, "1000"), "{done:?}");
    done.says("to-stderr");
    let mut live = case.run(["logs", "--follow"]).live();
    assert!(!live.line().expect("a line of the log").is_empty());
    case.no_secret_in_arguments();
    live.signal(Signal::INT);
    live.done();
    let shell = case.run(["shell"]).stdin("tty; id -un; exit 7\n");
    if let Some(shell) = shell.on_a_terminal() {
        shell.code(7).answers("/dev/pts/").answers("node");
    }

    // A port here, by the cluster's API; another one is for other programs.
    let port = free_port();
    let mut live = case.run(["tunnel", "--no-open", "--port", &port.to_string()]).live();
    let url = live.line().expect("its address");
    assert_eq!(url, format!("http://127.0.0.1:{port}/"));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    write!(stream, "GET /startupz HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n")
        .expect("asks");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a deadline");
    let mut answer = String::new();
    while !answer.contains('}') {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).expect("answers");
        assert!(read > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    assert!(answer.contains("\"started\""), "{answer}");
    live.signal(Signal::INT);
    assert_eq!(live.done().code, 0);

    // Stopped, its files are still got at, and its data stays.
    case.inside("echo kept >/home/node/.openclaw/note");
    works(case.run(["backup"]));
    works(case.run(["stop"]));
    let pods = case.get(&["pods", "--selector=app.kubernetes.io/name=openclaw"]);
    assert_eq!(pods["items"], json!([]));
    assert_eq!(case.status()["status"], "stopped");
    works(case.product.run(["openclaw", name, "--", "--version"])).answers("2026.9.6");
    let refused = case.run(["backup"]).code(4);
    refused.says("does not run");
    works(case.run(["start"]));
    assert_eq!(case.inside("cat /home/node/.openclaw/note").trim(), "kept");
    case.inside("echo changed >/home/node/.openclaw/note");
    works(case.run(["restore"]));
    assert_eq!(case.status()["status"], "running");
    assert_eq!(case.inside("cat /home/node/.openclaw/note").trim(), "kept");

    // Another key, by what `make k8s-secret` calls.
    let other = "sk-ant-another-key-that-only-looks-like-one";
    works(case.run(["deploy", "--no-link"]).env("ANTHROPIC_API_KEY", other));
    assert_eq!(secret(&case, "ANTHROPIC_API_KEY"), other);
    reached_by_its_operator_alone(&case);
    // Reached by nobody but through the cluster's API.
    // (By what `make k8s-apply` calls.)
    let host = case.get(&["service", "openclaw"])["status"]["loadBalancer"]["ingress"][0].clone();
    let address = case.cluster.address_of(text(&host["hostname"])).expect("its address");
    let comes = || connects(command("timeout"), &address);
    assert!(comes(), "its operator reaches it");
    let apply = ["infra", "apply", name, "--target", "eks", "--no-link", "--expose", "none"];
    works(case.product.run(apply));
    until("nobody reaches it", || if comes() { Err(String::new()) } else { Ok(()) });
    assert_eq!(case.get(&["service", "openclaw"])["spec"]["type"], "ClusterIP");
    let policy = case.get(&["networkpolicy", "openclaw"])["spec"].clone();
    assert!(policy["ingress"].is_null(), "nobody is let in: {policy}");
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(case.status()["url"], "http://127.0.0.1:18789/");
    let doctor = case.run(["doctor"]).done();
    doctor.answers("works at http://127.0.0.1:18789/");

    // Without a backup there is no update.
    let faults = "/home/node/.openclaw/standin.json";
    case.inside(&format!("echo '{{\"backup_exit_code\":1}}' >{faults}"));
    let refused = case.run(["update", "--image", &case.images[1]]).code(1);
    refused.says("step backup");
    assert_eq!(case.status()["status"], "running", "nothing was stopped for it");
    case.inside(&format!("rm {faults}"));
    // An update whose image is not there stops nothing; one that does not come up goes back.
    let previous = case.images[1].clone();
    let broken = "ghcr.io/openclaw/openclaw:no-such-tag";
    let refused = case.run(["update", "--image", broken]).code(1);
    refused.says("cannot be pulled").says("step fetch_new");
    assert_eq!(case.status()["status"], "running", "nothing was stopped for it");
    // The older version cannot read what the newer one wrote: backup and image go back as one.
    let refused = case.run(["update", "--image", &previous]).code(1);
    refused.says("step prove").says("verbs went back: OpenClaw 2026.9.6 works at");
    assert_eq!(case.status()["status"], "running");
    assert_eq!(case.inside("cat /home/node/.openclaw/note").trim(), "kept");
    case.destroys_all();
}

/// Whether somebody's `timeout` lets a shell connect to the gateway's port there.
fn connects(mut timeout: Command, address: &str) -> bool {
    let connect = format!("exec 3<>/dev/tcp/{address}/18789");
    let there = timeout.args(["3", "bash", "-c", &connect]).output().expect("bash runs");
    there.status.success()
}

/// A load balancer that everybody reaches becomes one for the operator's ranges.
fn reached_by_its_operator_alone(case: &Case) {
    let service = || case.get(&["service", "openclaw"]);
    let host = service()["status"]["loadBalancer"]["ingress"][0]["hostname"].clone();
    let address = case.cluster.address_of(text(&host)).expect("its address");
    let Some(stranger) = NetNs::create() else { return };
    let comes = || connects(stranger.command("timeout"), &address);
    assert!(comes(), "everybody reaches it");
    let only = ["deploy", "--no-link", "--expose", "operator", "--ssh-cidr", "10.214.0.0/24"];
    // Proven by the way that the operator takes.
    works(case.run(only));
    assert_eq!(service()["spec"]["loadBalancerSourceRanges"], json!(["10.214.0.0/24"]));
    // A port of a node leads past the balancer: the policy lets in the same ones.
    let policy = case.get(&["networkpolicy", "openclaw"]);
    let rules = json!([{
        "from": [{ "ipBlock": { "cidr": "10.214.0.0/24" } }],
        "ports": [{ "port": 18789, "protocol": "TCP" }],
    }]);
    assert_eq!(policy["spec"]["ingress"], rules);
    until("a stranger does not reach it", || if comes() { Err(String::new()) } else { Ok(()) });
}

#[test]
fn its_operator_is_who_launched_it_where_nobody_else_is_named() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "operator") else { return };
    let tells = format!("http://{}/", listeners::answering("text/plain", "203.0.113.77\n"));
    // It would not be proven from here: the lab's load balancer believes what it is told.
    let launch = case.launch().arg("--expose").arg("operator").arg("--json");
    let mut live = launch.env("OPENCLAW_PIPELINE_CHECKIP_URL", &tells).live();
    while let Some(line) = live.line() {
        if line.contains("\"step\":\"fetch\"") {
            break;
        }
    }
    live.signal(Signal::KILL);
    while live.line().is_some() {}
    live.done();
    let service = case.get(&["service", "openclaw"]);
    assert_eq!(service["spec"]["loadBalancerSourceRanges"], json!(["203.0.113.77/32"]));
    let policy = case.get(&["networkpolicy", "openclaw"]);
    let from = &policy["spec"]["ingress"][0]["from"];
    assert_eq!(*from, json!([{ "ipBlock": { "cidr": "203.0.113.77/32" } }]));
    case.destroys_all();
}

/// What the program's own merge makes of a configuration is what the pod's makes of it.
#[test]
fn a_users_configuration_is_merged_in_place() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "merged") else { return };
    let own =
        "{ ui: { seamColor: '#112233' }, gateway: { port: 1, trustedProxies: ['10.0.0.9'] } }";
    std::fs::write(case.product.work().join("openclaw.json"), own).expect("written");
    let done = case.launched();
    done.says("replaced, because they are managed: gateway.port");
    let read = || case.configured();
    let now = read();
    assert_eq!(
        (&now["ui"]["seamColor"], &now["gateway"]["port"]),
        (&json!("#112233"), &json!(18789))
    );
    assert_eq!(now["gateway"]["trustedProxies"], json!(["10.0.0.9"]));
    // What is changed in place counts, but for what is managed; the file here was for the first start.
    let edit = "sed -i -e 's/#112233/#445566/' -e 's/\"ask\"/\"full\"/' \
                /home/node/.openclaw/openclaw.json";
    case.inside(edit);
    let done = works(case.run(["restart"]));
    done.says("replaced, because they are managed: tools.exec.mode");
    let now = read();
    assert_eq!(now["ui"]["seamColor"], "#445566");
    assert_eq!(now["tools"]["exec"]["mode"], "ask");
    // One that cannot be read stops nothing, and is mended where it lies.
    case.inside("echo '{ broken' >/home/node/.openclaw/openclaw.json");
    let refused = case.run(["restart"]).code(2);
    refused.says("cannot be read as JSON5");
    assert_eq!(case.status()["status"], "running");
    works(case.run(["stop"]));
    let refused = case.run(["start"]).code(1);
    refused.says("the gateway's configuration cannot be merged").says("JSON5");
    let refused = case.run(["shell"]).code(4);
    refused.says("has its volumes").says("openclaw-pipeline stop");
    works(case.run(["stop"]));
    let mend = "echo '{}' >/home/node/.openclaw/openclaw.json\n";
    assert_eq!(case.run(["shell"]).stdin(mend).done().code, 0);
    works(case.run(["start"]));
    until("it is ready", || {
        (case.status()["status"] == "running").then_some(()).ok_or_else(String::new)
    });
    case.destroys_all();
}
