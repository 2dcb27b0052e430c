//! HTTPS by a tunnel, in the simulated cloud: the real Terraform, a real machine, the stand-in
//! gateway, and a **stand-in for cloudflared** whose edge is the lab's (`support/edge.rs`): the real
//! one cannot reach its network here. What the product does is real: the service beside the
//! gateway, its host name, the page's origin, the proof over HTTPS with this system's roots, the
//! firewall.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::edge::{Edge, NAMED};
use crate::support::machine_case::{Case, NAME, NO_IMAGE};
use crate::support::netns::NetNs;
use crate::support::private_client;
use crate::support::product::{Done, Run, TOKEN, until};
use crate::support::server::{API_TOKEN, Served};

/// The gateway's port.
const PORT: u16 = 18789;

/// A case whose machines find the stand-ins, and whose product finds the edge's host names.
fn case(target: &'static str) -> Option<(Case, Edge, String)> {
    let mut case = Case::start(target)?;
    let [gateway, _] = case.cloud.standin()?;
    let edge = Edge::start();
    let image = gateway.replace(":standin", ":cloudflared");
    case.product.set("OPENCLAW_PIPELINE_TUNNEL_IMAGE", image);
    case.product.set("SSL_CERT_FILE", edge.authority());
    case.product.with_hosts(edge.hosts());
    Some((case, edge, gateway))
}

fn launch(case: &Case, image: &str) -> Run {
    case.product.run(["launch", NAME, "--target", case.target, "--image", image])
}

/// The bare address that is recorded.
fn url(case: &Case) -> String {
    case.product.json(["status", NAME])["url"].as_str().expect("a URL").to_owned()
}

fn count(case: &Case, kind: &str) -> usize {
    case.product.events(NAME).iter().filter(|it| *it == kind).count()
}

/// What the last `cloudflare_ready` tells.
fn announced(case: &Case) -> String {
    let done = case.product.run(["events", NAME, "--json"]).ok();
    let events = done.objects();
    let ready = events.iter().rfind(|it| it["type"] == "cloudflare_ready").expect("announced");
    assert_eq!(ready["source"], "pipeline");
    ready["data"]["url"].as_str().expect("its URL").to_owned()
}

fn is_quick(url: &str) -> bool {
    url.starts_with("https://lab-") && url.ends_with("-quick.trycloudflare.com/")
}

/// Who comes through the tunnel with headers of the gateway's own loopback is asked for approval.
fn a_forged_client_is_asked(edge: &Edge, url: &str) {
    let origin = url.trim_end_matches('/');
    let host = origin.trim_start_matches("https://");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let asked = runtime.block_on(async {
        private_client::asks_through(edge.connect(host).await, origin, TOKEN).await
    });
    assert_eq!(asked.answer, "NOT_PAIRED", "a client through the tunnel was let in unasked");
}

fn ok(done: Done) -> Done {
    assert_eq!(done.code, 0, "{}", done.stderr);
    done
}

#[test]
fn a_launch_with_a_tunnel_is_reached_over_https_alone() {
    let Some(netns) = NetNs::create() else { return };
    let Some((mut case, edge, image)) = case("lightsail") else { return };
    case.product.set("CLOUDFLARE", "true");
    let launched = ok(launch(&case, &image).done());
    let first = url(&case);
    assert!(is_quick(&first), "{first}");
    launched.answers(&format!("{first}#"));
    assert!(!launched.stderr.contains("plain HTTP"), "{}", launched.stderr);
    assert_eq!(announced(&case), first);
    let events = case.product.events(NAME);
    let at = |kind: &str| events.iter().position(|it| it == kind).expect(kind);
    assert!(at("setting_up_cloudflare") < at("cloudflare_ready"));
    assert!(at("cloudflare_ready") < at("completed"));
    case.plain_from(&netns).expect_err("the plain port was never open");
    a_forged_client_is_asked(&edge, &first);
    case.destroys_all();
    drop(edge);
}

/// The machine's engine.
fn docker(case: &Case, script: &str) -> String {
    case.cloud.run(&case.only().id, script)
}

/// The tunnel's container.
const TUNNEL: &str = "$(docker ps -aq --filter label=io.openclaw.pipeline.helper=tunnel)";
/// The gateway's container.
const GATEWAY: &str = "$(docker ps -q --filter publish=18789)";

fn expose(case: &Case, who: &str) -> Run {
    case.product.run(["expose", NAME, who])
}

/// What is there is what was there: the plain way, with its warning, and no tunnel.
fn is_plain(netns: &NetNs, case: &Case) {
    let address = case.only().public.expect("an address");
    assert_eq!(url(case), format!("http://{address}:{PORT}/"));
    let status = case.product.run(["status", NAME]).ok();
    status.says(&format!("expose {NAME} tunnel"));
    case.plain_from(netns).expect("the plain port is reached");
    assert_eq!(docker(case, &format!("echo -n {TUNNEL}")), "", "a tunnel is left");
}

#[test]
fn a_running_gateway_gets_a_tunnel_and_goes_back() {
    let Some(netns) = NetNs::create() else { return };
    let Some((mut case, edge, image)) = case("ec2") else { return };
    let launched = ok(launch(&case, &image).done());
    launched.says("plain HTTP can be read").says(&format!("expose {NAME} tunnel"));
    is_plain(&netns, &case);
    let id = case.only().id;
    docker(&case, &format!("docker exec {GATEWAY} touch /home/node/.openclaw/a-conversation"));

    what_fails_leaves_the_plain_way(&netns, &mut case);
    interrupted_and_killed_it_goes_on(&case, &edge);
    let first = url(&case);
    assert!(is_quick(&first), "{first}");
    assert_eq!((announced(&case), count(&case, "cloudflare_ready")), (first.clone(), 1));
    case.plain_from(&netns).expect_err("the plain port is closed");
    assert_eq!(case.only().id, id, "the machine is the same");
    a_forged_client_is_asked(&edge, &first);
    it_is_hardened(&case);
    let link = case.product.run(["url", NAME]).ok();
    link.answers(&format!("{first}#"));
    assert!(!link.stderr.contains("HTTP can be read"), "{}", link.stderr);

    a_new_name_is_followed(&case, &first);
    a_named_one_is_taken_over(&mut case, &edge);
    case.plain_from(&netns).expect_err("the plain port is closed");

    let back = ok(expose(&case, "http").done());
    back.says("plain HTTP can be read");
    case.product.run(["restart", NAME]).ok().says("plain HTTP can be read");
    is_plain(&netns, &case);
    let kept = format!("docker exec {GATEWAY} ls /home/node/.openclaw/a-conversation");
    docker(&case, &kept);
    assert_eq!(case.only().id, id);
    let config = format!("docker exec {GATEWAY} cat /home/node/.openclaw/openclaw.json");
    let config = docker(&case, &config);
    assert!(!config.contains("https://") && config.contains(r#""trustedProxies": []"#), "{config}");
    case.destroys_all();
}

fn what_fails_leaves_the_plain_way(netns: &NetNs, case: &mut Case) {
    // An image that nobody has.
    let none = case.product.run(["expose", NAME, "tunnel"]);
    let none = none.env("OPENCLAW_PIPELINE_TUNNEL_IMAGE", NO_IMAGE).code(1);
    none.says("step tunnel").says("could not be pulled").says("went back");
    is_plain(netns, case);
    // A token that is none.
    let wrong = case.product.run(["expose", NAME, "tunnel"]);
    let wrong = wrong
        .env("OPENCLAW_PIPELINE_TUNNEL_HOSTNAME", NAMED.0)
        .env("OPENCLAW_PIPELINE_TUNNEL_TOKEN", "eyJ-a-token-that-is-none")
        .code(1);
    wrong.says("Provided Tunnel token is not valid").says("OPENCLAW_PIPELINE_TUNNEL_TOKEN");
    assert!(!wrong.stderr.contains("eyJ-a-token"), "{}", wrong.stderr);
    is_plain(netns, case);
}

fn interrupted_and_killed_it_goes_on(case: &Case, edge: &Edge) {
    // The edge does not answer: it is waited for, and the wait can be broken off.
    edge.silence(true);
    let live = Case::at(expose(case, "tunnel"), "tunnel");
    until("its program runs", || {
        let runs = docker(case, "docker ps -q --filter label=io.openclaw.pipeline.helper=tunnel");
        (!runs.is_empty()).then_some(())
    });
    live.signal(Signal::INT);
    assert_eq!(live.done().code, 130);
    edge.silence(false);
    for step in ["prove_tunnel", "firewall", "configure"] {
        let live = Case::at(expose(case, "tunnel"), step);
        live.signal(Signal::KILL);
        assert_eq!(live.done().code, -9);
    }
    ok(expose(case, "tunnel").done());
}

fn it_is_hardened(case: &Case) {
    let format = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} \
                  {{.HostConfig.SecurityOpt}} {{.HostConfig.RestartPolicy.Name}}";
    let told = docker(case, &format!("docker inspect --format '{format}' {TUNNEL}"));
    assert_eq!(told.trim(), "65532:65532 true [ALL] [no-new-privileges:true] unless-stopped");
}

/// `cloudflared` is started anew by itself: the recorded name leads nowhere then. And with the
/// gateway.
fn a_new_name_is_followed(case: &Case, first: &str) {
    docker(case, &format!("docker restart -t 1 {TUNNEL}"));
    let second = until("the new name is followed", || {
        let now = url(case);
        (now != first).then_some(now)
    });
    assert!(is_quick(&second), "{second}");
    assert_eq!((announced(case), case.product.status(NAME).as_str()), (second.clone(), "running"));
    let config = format!("docker exec {GATEWAY} cat /home/node/.openclaw/openclaw.json");
    let config = docker(case, &config);
    assert!(!config.contains(first.trim_end_matches('/')), "the old page is let in: {config}");

    ok(case.product.run(["restart", NAME]).done());
    assert_eq!(url(case), second, "the tunnel was not touched");
    ok(case.product.run(["stop", NAME]).done());
    ok(case.product.run(["start", NAME]).done());
    let third = url(case);
    assert!(is_quick(&third) && third != second, "{third}");
    assert_eq!((announced(case), count(case, "cloudflare_ready")), (third, 3));
}

fn a_named_one_is_taken_over(case: &mut Case, edge: &Edge) {
    let quick = edge.given();
    let (host, token) = NAMED;
    let named = expose(case, "tunnel");
    let named = named
        .env("OPENCLAW_PIPELINE_TUNNEL_HOSTNAME", host)
        .env("OPENCLAW_PIPELINE_TUNNEL_TOKEN", token);
    ok(named.done());
    assert_eq!(url(case), format!("https://{host}/"));
    assert_eq!(announced(case), url(case));
    assert_eq!(edge.given(), quick, "no quick one was asked for");
    // It stands in no argument, in no file of this machine's and in no event.
    let args = docker(case, &format!("docker inspect --format '{{{{.Args}}}}' {TUNNEL}"));
    let files = docker(case, "grep -rl eyJhIjoibGFi /var/lib/openclaw-pipeline /etc || true");
    let events = case.product.run(["events", NAME, "--json"]).ok().stdout;
    for text in [args, files, events, case.text("program.tfvars.json")] {
        assert!(!text.contains(token), "{text}");
    }
    // Another one whose token is none takes nothing away: host name and token are the earlier ones.
    let wrong = expose(case, "tunnel");
    let wrong = wrong
        .env("OPENCLAW_PIPELINE_TUNNEL_HOSTNAME", "another.example.com")
        .env("OPENCLAW_PIPELINE_TUNNEL_TOKEN", "eyJ-a-token-that-is-none")
        .code(1);
    wrong.says("Provided Tunnel token is not valid").says("went back");
    assert_eq!(url(case), format!("https://{host}/"));
    assert_eq!(case.product.status(NAME), "running");
    let restarted = ok(case.product.run(["restart", NAME]).done());
    restarted.answers(host);
}

#[test]
fn a_server_follows_a_tunnel_and_takes_it_away() {
    let Some((case, _edge, image)) = case("lightsail") else { return };
    let Case { cloud, mut product, .. } = case;
    product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN);
    let served = Served::on(product, &[]);
    let body = json!({
        "name": NAME, "target": "lightsail", "image": image, "cloudflare": true,
        "anthropic_api_key": "sk-ant-of-a-test-0123456789",
    });
    let launched = served.ended_however_long(&served.post("/launch", &body).ok(202));
    assert_eq!(launched["status"], "succeeded", "{launched:#}");
    let path = format!("/v1/deployments/{NAME}");
    let shown = || served.get(&path).ok(200);
    let first = shown()["url"].as_str().expect("a URL").to_owned();
    assert!(is_quick(&first), "{first}");
    let facts = |it: &Value| json!([it["expose"], it["readable_on_its_way"], it["status"]]);
    assert_eq!(facts(&shown()), json!(["tunnel", false, "running"]));

    // The server's own round sees that the name leads nowhere any more.
    let [machine] = &cloud.instances()[..] else { panic!("one machine") };
    cloud.run(&machine.id, &format!("docker restart -t 1 {TUNNEL}"));
    let second = served.until("the server follows", || {
        let now = shown()["url"].as_str().map(str::to_owned)?;
        (now != first).then_some(now)
    });
    assert!(is_quick(&second), "{second}");
    served.until("it is proven", || (shown()["status"] == "running").then_some(()));

    let tunnel = format!("{path}/tunnel");
    served.post(&tunnel, &json!({ "hostname": "ai.example.com" })).names("hostname");
    served.post(&tunnel, &json!({ "hostname": "no host", "token": NAMED.1 })).names("hostname");
    let (host, token) = NAMED;
    let named = served.post(&tunnel, &json!({ "hostname": host, "token": token })).ok(202);
    let named = served.ended_however_long(&named);
    assert_eq!(named["status"], "succeeded", "{named:#}");
    assert_eq!(shown()["url"], format!("https://{host}/"));
    assert!(!named.to_string().contains(token) && !shown().to_string().contains(token));
    let gone = served.ended_however_long(&served.delete(&tunnel).ok(202));
    assert_eq!(gone["status"], "succeeded", "{gone:#}");
    let address = machine.public.expect("an address");
    assert_eq!(shown()["url"], format!("http://{address}:{PORT}/"));
    assert_eq!(facts(&shown()), json!(["http", true, "running"]));
    let ports = format!(
        "it = boto3.client('lightsail', region_name='us-east-1')\n\
         ports = it.get_instance_port_states(instanceName='{}')['portStates']\n\
         print(sorted(p['fromPort'] for p in ports if p['state'] == 'open'))",
        machine.id
    );
    assert_eq!(cloud.api(&ports).trim(), format!("[22, {PORT}]"));
    let destroyed = served.ended_however_long(&served.delete(&path).ok(202));
    assert_eq!(destroyed["status"], "succeeded", "{destroyed:#}");
    cloud.assert_empty();
    served.assert_well();
}
