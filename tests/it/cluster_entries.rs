//! Gateways to which something else of the cluster's leads than a load balancer of their own: an
//! ingress, or a Gateway of the Gateway API, over plain HTTP and HTTPS. The gateway is the stand-in, and
//! so is the controller; the Gateway API is the real one's definitions.

use std::fs;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::authority::Issued;
use crate::support::calls::Caller;
use crate::support::cluster::{Cluster, until};
use crate::support::cluster_case::{Case, works};
use crate::support::lab::{Lab, Part};
use crate::support::private_client;
use crate::support::product::{Run, TOKEN};
use crate::support::role::used;

/// The class that has a controller, of ingresses and of Gateways.
const CLASS: &str = "lab";
/// The secret with a certificate.
const SECRET: &str = "certificate";

/// What is there for the whole cluster until this is dropped.
struct Applied<'a>(&'a Cluster, String);

impl<'a> Applied<'a> {
    fn new(cluster: &'a Cluster, objects: &str) -> Self {
        cluster.told(&["apply", "--server-side", "-f", "-"], objects);
        Self(cluster, objects.to_owned())
    }

    fn class(
        cluster: &'a Cluster,
        version: &str,
        kind: &str,
        name: &str,
        controller: &str,
    ) -> Self {
        let key = if kind == "IngressClass" { "controller" } else { "controllerName" };
        let class = json!({
            "apiVersion": version, "kind": kind, "metadata": { "name": name },
            "spec": { key: controller },
        });
        Self::new(cluster, &class.to_string())
    }
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        // A test that failed says why itself.
        if !std::thread::panicking() {
            self.0.told(&["delete", "--ignore-not-found", "-f", "-"], &self.1);
        }
    }
}

/// Has the case ask with the documented role and no right beyond it, from now on.
fn limited<'a>(case: &mut Case<'a>, home: &str) -> Caller<'a> {
    let caller = Caller::of(case.cluster, home);
    case.product.set("KUBECONFIG", caller.kubeconfig());
    caller
}

/// That whoever asked needed these rights.
#[track_caller]
fn needed(case: &Case, home: &str, rights: &[&str]) {
    let used = used(case.cluster, &format!("{home}:caller"));
    for right in rights {
        assert!(used.contains(*right), "{right} is of no use: {used:?}");
    }
}

/// The case's own certificate for a host name, which the program believes from now on.
fn believed(case: &mut Case, host: &str) -> Value {
    let issued = Issued::of([host.to_owned()]);
    let path = case.product.path("work").join("authority.pem");
    fs::write(&path, &issued.authority).expect("written");
    case.product.set("SSL_CERT_FILE", path);
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "name": SECRET, "namespace": case.namespace.name() },
        "stringData": {
            "tls.crt": issued.certificate.pem(), "tls.key": issued.key.serialize_pem(),
        },
    })
}

/// That everybody reaches it at this origin, by nothing but its service.
#[track_caller]
fn is_at(case: &Case, origin: &str) {
    assert_eq!(case.status()["url"], format!("{origin}/"));
    let service = case.get(&["service", "openclaw"]);
    assert_eq!(service["spec"]["type"], "ClusterIP", "it has no load balancer of its own");
    // The page's own origin, by that name, is let in; the gateway was proven by it.
    let origins = case.configured()["gateway"]["controlUi"]["allowedOrigins"].to_string();
    assert!(origins.contains(&format!("\"{origin}\"")), "{origins}");
    case.run(["doctor"]).done().answers(&format!("works at {origin}/"));
}

/// The address that what leads there comes from: it says for whom a request comes, and a gateway that
/// was not told of it refuses that.
#[track_caller]
fn unknown(case: &Case, launch: Run) -> String {
    let words =
        ["runs, and refuses what comes through the proxy", "in OPENCLAW_PIPELINE_INGRESS_PROXIES"];
    let done = case.launch_fails(launch, 1, &words);
    let (_, from) = done.stderr.split_once("what leads there comes from ").expect("its address");
    from.split(':').next().expect("an address").to_owned()
}

/// Who comes by the proxy and says to be of the gateway's own machine is asked for approval.
fn a_forged_client_is_asked(case: &Case, host: &str) {
    let address = case.cluster.address_of(host).expect("its address");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let asked = runtime.block_on(async {
        let stream = TcpStream::connect((address.as_str(), 80)).await.expect("the proxy listens");
        private_client::asks_through(stream, &format!("http://{host}"), TOKEN).await
    });
    assert_eq!(asked.answer, "NOT_PAIRED", "a client through the proxy was let in unasked");
    let devices = works(case.run(["devices", "--json"])).json();
    // The window of the launch may have let it in meanwhile.
    let known = ["pending", "paired"].map(|it| devices[it].as_array().cloned().unwrap_or_default());
    assert!(known.concat().iter().any(|it| it["device_id"] == *asked.device), "{devices:#}");
}

/// What is in the namespace, of these kinds.
fn names(case: &Case, kinds: &str) -> Vec<String> {
    let said = case.said(&["get", kinds, "--output=name"]);
    said.lines().map(str::to_owned).collect()
}

#[test]
fn an_ingress_leads_to_it() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(mut case) = Case::of(&cluster, "entered") else { return };
    let version = "networking.k8s.io/v1";
    let _class = Applied::class(&cluster, version, "IngressClass", CLASS, "lab.test/ingress");
    let home = "openclaw-test-entered";
    let _caller = limited(&mut case, home);
    let by = |host| ["launch", "--target", "eks", "--ingress-class", CLASS, "--ingress-host", host];
    let host = "gateway.lab.test";
    let proxy = unknown(&case, case.run(by(host)));
    case.product.set("OPENCLAW_PIPELINE_INGRESS_PROXIES", &proxy);
    works(case.run(by(host)));
    assert_eq!(case.configured()["gateway"]["trustedProxies"], json!([proxy]));
    is_at(&case, "http://gateway.lab.test");
    a_forged_client_is_asked(&case, host);
    // Its browsers would come to another one that had its name.
    let other = ["launch", "other", "--target", "eks", "--ingress-class", CLASS];
    let other = case.product.run(other).arg("--ingress-host").arg(host);
    case.launch_fails(other, 4, &["entered is reached by the host name gateway.lab.test"]);
    let spec = case.get(&["ingress", "openclaw"])["spec"].clone();
    let rule = &spec["rules"][0];
    assert_eq!((&spec["ingressClassName"], &rule["host"]), (&json!(CLASS), &json!(host)));
    let backend = json!({ "service": { "name": "openclaw", "port": { "number": 18789 } } });
    assert_eq!(rule["http"]["paths"][0]["backend"], backend);
    assert_eq!(spec["tls"], Value::Null);

    // While it runs it stays as it is; once it was stopped, it is reached by HTTPS.
    let secret = believed(&mut case, "secure.lab.test");
    cluster.told(&["apply", "-f", "-"], &secret.to_string());
    let secured = |case: &Case| {
        case.run(by("secure.lab.test")).env("OPENCLAW_PIPELINE_INGRESS_TLS_SECRET", SECRET)
    };
    let done = works(secured(&case));
    done.says("runs with another OPENCLAW_PIPELINE_INGRESS_HOST");
    done.says("OPENCLAW_PIPELINE_INGRESS_TLS_SECRET");
    // What its user gives the ingress stays.
    case.said(&["annotate", "ingress", "openclaw", "example.com/mine=yes"]);
    works(case.run(["stop"]));
    works(secured(&case));
    is_at(&case, "https://secure.lab.test");
    let annotations = &case.get(&["ingress", "openclaw"])["metadata"]["annotations"];
    assert_eq!(annotations["example.com/mine"], "yes", "{annotations}");
    let tls = json!([{ "hosts": ["secure.lab.test"], "secretName": SECRET }]);
    assert_eq!(case.get(&["ingress", "openclaw"])["spec"]["tls"], tls);

    // Nobody is led there any more who is not to be.
    works(case.run(["stop"]));
    works(case.run(["launch", "--target", "eks", "--expose", "none"]));
    assert_eq!(names(&case, "ingress"), [""; 0]);
    assert_eq!(
        case.configured()["gateway"]["trustedProxies"],
        json!([]),
        "nobody is believed any more"
    );
    let done = case.destroys_all();
    done.answers("the namespace openclaw-entered");
    let rights = ["get ingressclasses", "patch ingresses", "delete ingresses"];
    needed(
        &case,
        home,
        &rights.map(|it| format!("{it}.networking.k8s.io")).each_ref().map(|it| &**it),
    );
}

#[test]
fn a_gateway_of_the_gateway_api_leads_to_it() {
    let Some(lab) = Lab::require(Part::Cluster) else { return };
    let Some(cluster) = Cluster::alone() else { return };
    let Some(mut case) = Case::of(&cluster, "gated") else { return };
    let home = "openclaw-test-gated";
    let _caller = limited(&mut case, home);
    let by = |class| {
        ["launch", "--target", "eks", "--gateway-class", class, "--ingress-host", "gated.lab.test"]
    };
    let words = ["no such class of Gateways", "it has no Gateway API"];
    case.launch_fails(case.run(by(CLASS)), 2, &words);
    let files = ["gatewayclasses", "gateways", "httproutes"]
        .map(|it| lab.home().join(format!("kubernetes/gateway-api/{it}.yaml")))
        .map(|it| fs::read_to_string(it).expect("the Gateway API's definitions"));
    let _definitions = Applied::new(&cluster, &files.join("\n---\n"));
    let wait = ["wait", "crd", "--all", "--for=condition=Established", "--timeout=60s"];
    cluster.said(&wait);
    let version = "gateway.networking.k8s.io/v1";
    let _idle = Applied::class(&cluster, version, "GatewayClass", "idle", "nobodys.test/any");
    let _class = Applied::class(&cluster, version, "GatewayClass", CLASS, "lab.test/gateway");
    let accepted = format!("gatewayclass/{CLASS}");
    cluster.said(&["wait", &accepted, "--for=condition=Accepted", "--timeout=60s"]);
    case.launch_fails(case.run(by("wrong")), 2, &["no such class of Gateways", "it has idle, lab"]);
    case.launch_fails(case.run(by("idle")), 5, &["no controller has accepted", "\"idle\""]);
    let both = case.run(by(CLASS)).env("OPENCLAW_PIPELINE_INGRESS_CLASS", CLASS);
    case.launch_fails(both, 2, &["both name what leads to the gateway", "set one of them alone"]);
    assert!(!case.namespace.is_there(), "something was made");
    let wide = case.run(by(CLASS)).env("OPENCLAW_PIPELINE_INGRESS_PROXIES", "10.214.128.0/17");
    case.launch_fails(wide, 2, &["OPENCLAW_PIPELINE_INGRESS_PROXIES", "is a range"]);
    assert!(!case.namespace.is_there(), "something was made");

    let proxy = unknown(&case, case.run(by(CLASS)));
    case.product.set("OPENCLAW_PIPELINE_INGRESS_PROXIES", &proxy);
    let done = works(case.run(by(CLASS)));
    done.says("the name gated.lab.test has to lead to 198.51.100.");
    is_at(&case, "http://gated.lab.test");
    let gateway = case.get(&["gateway", "openclaw-entry"])["spec"].clone();
    assert_eq!(gateway["gatewayClassName"], CLASS);
    let listener = &gateway["listeners"][0];
    assert_eq!((&listener["protocol"], &listener["port"]), (&json!("HTTP"), &json!(80)));
    let route = case.get(&["httproute", "openclaw-entry"])["spec"].clone();
    assert_eq!(route["hostnames"], json!(["gated.lab.test"]));
    let backend = &route["rules"][0]["backendRefs"][0];
    assert_eq!((&backend["name"], &backend["port"]), (&json!("openclaw"), &json!(18789)));

    // With a certificate that is not there yet, it is waited for.
    works(case.run(["stop"]));
    let secret = believed(&mut case, "guarded.lab.test");
    let mut run = case.launch().env("OPENCLAW_PIPELINE_INGRESS_TLS_SECRET", SECRET);
    for arg in ["--gateway-class", CLASS, "--ingress-host", "guarded.lab.test"] {
        run = run.arg(arg);
    }
    let launching = run.live();
    until("the Gateway lacks its certificate", || {
        let conditions =
            &case.get(&["gateway", "openclaw-entry"])["status"]["listeners"][0]["conditions"];
        let is_said = conditions.to_string().contains("InvalidCertificateRef");
        if is_said { Ok(()) } else { Err(conditions.to_string()) }
    });
    cluster.told(&["apply", "-f", "-"], &secret.to_string());
    let done = launching.done();
    assert_eq!(done.code, 0, "{}", done.stderr);
    is_at(&case, "https://guarded.lab.test");

    // A load balancer of its own takes its place.
    works(case.run(["stop"]));
    works(case.run([
        "launch",
        "--target",
        "eks",
        "--expose",
        "operator",
        "--ssh-cidr",
        "10.214.0.0/24",
    ]));
    assert_eq!(names(&case, "gateway,httproute"), [""; 0]);
    assert_eq!(case.get(&["service", "openclaw"])["spec"]["type"], "LoadBalancer");
    case.destroys_all();
    let rights = [
        "get gatewayclasses",
        "list gatewayclasses",
        "get gateways",
        "patch gateways",
        "delete gateways",
        "get httproutes",
        "patch httproutes",
        "delete httproutes",
    ];
    let rights = rights.map(|it| format!("{it}.gateway.networking.k8s.io"));
    needed(&case, home, &rights.each_ref().map(|it| &**it));
}
