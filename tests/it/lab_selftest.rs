//! The lab, tested: what the other tests stand on does what it says.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::browser::{Browser, Page};
use crate::support::control_ui::{self, View};
use crate::support::engine::Engine;
use crate::support::lab::{self, Lab, Part};
use crate::support::netns::NetNs;
use crate::support::{is_gone, owner, tag};

#[test]
fn the_versions_of_the_scripts_are_the_tests_versions() {
    let shared = std::fs::read_to_string(Lab::script("common.sh")).expect("read common.sh");
    for line in [
        format!("LAB_CURRENT={}", lab::CURRENT),
        format!("LAB_PREVIOUS={}", lab::PREVIOUS),
        format!("LAB_REPOSITORY={}", lab::REPOSITORY),
    ] {
        assert!(shared.lines().any(|found| found == line), "common.sh lacks {line}");
    }
}

#[test]
fn a_name_leads_back_to_the_process_that_gave_it() {
    let name = Engine::name("gateway");
    assert!(name.starts_with(&tag()));
    assert_eq!(owner(&name), Some(std::process::id()));
    assert_eq!(owner(&format!("openclaw-{name}-1")), Some(std::process::id()));
    assert_eq!(owner("oclab0"), None);
    assert_eq!(owner("somebody-elses"), None);
    assert!(!is_gone(std::process::id()));
    assert!(is_gone(u32::MAX));
}

#[test]
fn the_engine_answers_and_is_the_labs_own() {
    let Some(engine) = Engine::get() else { return };
    assert_eq!(engine.docker(&["version", "--format", "{{.Server.Os}}"]), "linux");
    let root = engine.docker(&["info", "--format", "{{.DockerRootDir}}"]);
    assert!(root.ends_with("/engine"), "{root} is not in the lab's cache");
    assert!(!engine.has_image("ghcr.io/openclaw/openclaw:no-such-tag"));
}

#[test]
fn a_namespace_is_gone_when_dropped() {
    let Some(first) = NetNs::create() else { return };
    let second = NetNs::create().expect("a second one");
    assert_ne!(first.host(), second.host());
    assert_eq!(first.host().octets()[..3], [203, 0, 113]);
    let seen = first.command("ip").args(["-4", "addr", "show", "eth0"]).output().expect("run ip");
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(seen.contains(&first.inside().to_string()), "{seen}");

    // It is inside once it has said so: before that it is `ip`, outside.
    let mut sleeper = first
        .command("sh")
        .args(["-c", "echo inside; exec sleep 60"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("start a process inside");
    let said = sleeper.stdout.as_mut().expect("its output").read(&mut [0; 16]);
    assert_eq!(said.expect("read it"), "inside\n".len());
    let name = first.name().to_owned();
    drop(first);
    assert!(!sleeper.wait().expect("wait for it").success(), "it was killed");
    assert!(!Path::new("/run/netns").join(name).exists());
    drop(second);
}

#[tokio::test]
async fn a_browser_from_elsewhere_reads_a_page_of_this_host() {
    let Some(netns) = NetNs::create() else { return };
    let server = TcpListener::bind((netns.host(), 0)).expect("listen on the veth address");
    let port = server.local_addr().expect("its address").port();
    let visitor = netns.inside();
    std::thread::spawn(move || {
        // A thread each: a browser also opens connections that it never uses.
        for stream in server.incoming() {
            std::thread::spawn(move || greet(stream.expect("a connection")));
        }
    });

    let Some(browser) = Browser::launch(&netns).await else {
        return;
    };
    let page = browser.page().await;
    page.goto(&format!("http://{}:{port}/", netns.host())).await.expect("open the page");
    let text = page.text().await;
    assert!(text.contains(&format!("you are {visitor}")), "{text}");
    assert!(text.contains("in a shadow"), "{text}");
    assert!(!text.contains("unseen"), "{text}");
    page.wait_for_text("later", Duration::from_secs(5)).await.expect("the page changes");
    assert!(page.wait_for_text("never", Duration::from_millis(100)).await.is_err());
    assert_eq!(page.eval("Promise.resolve(6 * 7)").await, Ok(42.into()));
    assert!(page.eval("nothing.here").await.is_err());

    let shot = tempfile::NamedTempFile::new().expect("a file");
    page.screenshot(shot.path()).await.expect("take a screenshot");
    let png = std::fs::read(shot.path()).expect("read it");
    assert_eq!(png.get(1..4), Some(b"PNG".as_slice()));

    // The host's loopback is out of its reach.
    assert!(page.goto(&format!("http://127.0.0.1:{port}/")).await.is_err());

    let mine = "localStorage.setItem('who','me'); localStorage.getItem('who')";
    page.goto(&format!("http://{}:{port}/", netns.host())).await.expect("open the page");
    assert_eq!(page.eval(mine).await, Ok("me".into()));
    let stranger = browser.stranger().await;
    stranger.goto(&format!("http://{}:{port}/", netns.host())).await.expect("open the page");
    assert_eq!(stranger.eval("localStorage.getItem('who')").await, Ok(serde_json::Value::Null));
}

#[test]
fn an_owner_link_is_rewritten_in_both_places() {
    let link = "http://127.0.0.1:18789/#bootstrapToken=a-_b&bootstrapProfile=owner\
                &gatewayUrl=ws%3A%2F%2F127.0.0.1%3A18789";
    assert_eq!(
        control_ui::owner_link(link, "203.0.113.9:80").as_deref(),
        Some(
            "http://203.0.113.9:80/#bootstrapToken=a-_b&bootstrapProfile=owner\
             &gatewayUrl=ws%3A%2F%2F203.0.113.9%3A80"
        )
    );
    assert_eq!(control_ui::owner_link("nothing", "203.0.113.9:80"), None);
}

/// What the launches' tests rely on, shown once without any of the product: the
/// image starts hardened, a browser from elsewhere is asked for approval and
/// connects by itself, and an owner link works once.
#[tokio::test]
#[ignore = "starts a real gateway and its CLI thrice: two minutes"]
async fn a_real_gateway_lets_a_browser_in_once_it_is_approved() {
    if Lab::require(Part::Image("latest")).is_none() {
        return;
    }
    let Some(netns) = NetNs::create() else { return };
    let Some(browser) = Browser::launch(&netns).await else {
        return;
    };
    let authority = format!("{}:18789", netns.host());
    let gateway = RealGateway::start(&authority).await;

    let page = browser.page().await;
    page.goto(&format!("http://{authority}/#token={TOKEN}")).await.expect("open the page");
    let minute = Duration::from_secs(60);
    control_ui::wait_until(&page, minute, |view| matches!(view, View::AsksForApproval(_)))
        .await
        .expect("it asks for approval");
    shoot(&page, "asks").await;
    assert!(!control_ui::is_connected(&page).await);
    let request = control_ui::asks_for_approval(&page).await.expect("a request id");
    gateway.openclaw(&["devices", "approve", &request]);
    let took = control_ui::wait_until(&page, minute, |view| *view == View::Connected)
        .await
        .expect("it connects by itself");
    let label = "document.querySelector('.sidebar-identity-card').ariaLabel";
    note(&format!("connected {took:?} after the approval: {:?}", page.eval(label).await));
    shoot(&page, "connected").await;

    let printed = gateway.openclaw(&["dashboard", "--json"]);
    let printed: serde_json::Value = serde_json::from_str(&printed).expect("its JSON");
    let link = printed["browserUrl"].as_str().expect("an owner link");
    let link = control_ui::owner_link(link, &authority).expect("a link to rewrite");
    let owner = browser.stranger().await;
    owner.goto(&link).await.expect("open the owner link");
    let took = control_ui::wait_until(&owner, minute, |view| *view == View::Connected)
        .await
        .expect("the owner link lets a stranger in");
    note(&format!("owner link connected after {took:?}"));
    let second = browser.stranger().await;
    second.goto(&link).await.expect("open the owner link again");
    control_ui::wait_until(&second, minute, |view| {
        *view == View::Refused("Gateway secret rejected".to_owned())
    })
    .await
    .expect("but only once");

    gateway.stop();
    control_ui::wait_until(&page, minute, |view| *view == View::Reconnecting)
        .await
        .expect("a lost gateway is noticed");
    shoot(&page, "lost").await;
}

const TOKEN: &str = "tok0123456789abcdef0123456789abcdef";

/// A container of the gateway's image; removed with its volume when dropped.
struct RealGateway {
    engine: &'static Engine,
    name: String,
}

impl RealGateway {
    /// Starts one, published on `authority`, and waits until it has started.
    async fn start(authority: &str) -> Self {
        let engine = Engine::get().expect("the engine that holds the image");
        let gateway = Self { engine, name: Engine::name("gateway") };
        let name = gateway.name.as_str();
        let publish = format!("{authority}:18789");
        let state = format!("{name}:/home/node/.openclaw");
        let token = format!("OPENCLAW_GATEWAY_TOKEN={TOKEN}");
        let mut create = vec!["create", "--name", name, "--publish", &publish, "--volume", &state];
        create.extend(["--memory", "2g", "--pids-limit", "512", "--cap-drop", "ALL"]);
        create.extend(["--security-opt", "no-new-privileges", "--read-only"]);
        create.extend(["--tmpfs", "/tmp:mode=1777", "--tmpfs", "/home/node/.cache:uid=1000"]);
        for pair in [
            token.as_str(),
            "ANTHROPIC_API_KEY=sk-ant-test",
            "XDG_CACHE_HOME=/home/node/.openclaw/cache",
            "OPENCLAW_SUPERVISOR_MODE=external",
            "OPENCLAW_NO_RESPAWN=1",
            "OPENCLAW_NO_AUTO_UPDATE=1",
        ] {
            create.extend(["--env", pair]);
        }
        create.push("ghcr.io/openclaw/openclaw:latest");
        engine.docker(&create);
        gateway.configure(authority);

        let began = Instant::now();
        engine.docker(&["start", name]);
        while !gateway.started() {
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "not started: {}",
                engine.docker(&["logs", "--tail", "20", name])
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        note(&format!("gateway started in {:?}", began.elapsed()));
        gateway
    }

    /// Puts the configuration into the volume before the first start, as the
    /// archive's own uid 1000: `docker cp` keeps it, and must not be given `-a`
    /// (which looks the image's user up on the host).
    fn configure(&self, authority: &str) {
        let config = serde_json::json!({
            "gateway": {
                "mode": "local", "bind": "lan", "port": 18789, "auth": {"mode": "token"},
                "controlUi": {"allowedOrigins": [format!("http://{authority}")]},
                "nodes": {"pairing": {"autoApproveLocal": false}},
            },
            "agents": {"defaults": {
                "heartbeat": {"every": "0m"},
                "model": {"primary": "anthropic/claude-sonnet-5"},
            }},
            "tools": {"exec": {"mode": "ask"}},
        })
        .to_string();
        let mut header = tar::Header::new_gnu();
        header.set_size(config.len() as u64);
        header.set_uid(1000);
        header.set_gid(1000);
        header.set_mode(0o600);
        let mut archive = tar::Builder::new(Vec::new());
        archive
            .append_data(&mut header, "openclaw.json", config.as_bytes())
            .expect("put it into an archive");
        let archive = archive.into_inner().expect("close the archive");
        let mut copy = self
            .engine
            .command()
            .args(["cp", "-", &format!("{}:/home/node/.openclaw/", self.name)])
            .stdin(Stdio::piped())
            .spawn()
            .expect("run docker cp");
        copy.stdin.take().expect("its input").write_all(&archive).expect("hand the archive over");
        assert!(copy.wait().expect("wait for docker cp").success());
    }

    fn started(&self) -> bool {
        // Not with node, whose start would take the gateway's own time.
        let url = "http://127.0.0.1:18789/startupz";
        let body = self.engine.output(&["exec", &self.name, "curl", "-s", "-m", "5", url]);
        let body: serde_json::Value = serde_json::from_slice(&body.stdout).unwrap_or_default();
        body["status"] == "started"
    }

    fn openclaw(&self, args: &[&str]) -> String {
        self.engine.docker(&[&["exec", self.name.as_str(), "openclaw"], args].concat())
    }

    fn stop(&self) {
        self.engine.docker(&["kill", &self.name]);
    }
}

impl Drop for RealGateway {
    fn drop(&mut self) {
        self.engine.output(&["rm", "--force", &self.name]);
        self.engine.output(&["volume", "rm", "--force", &self.name]);
    }
}

/// Keeps a screenshot where `OPENCLAW_PIPELINE_SHOTS` names a folder.
async fn shoot(page: &Page, name: &str) {
    if let Some(folder) = std::env::var_os("OPENCLAW_PIPELINE_SHOTS") {
        let path = Path::new(&folder).join(format!("{name}.png"));
        page.screenshot(&path).await.expect("take a screenshot");
    }
}

/// Says what was measured, past the harness.
fn note(what: &str) {
    let _ = writeln!(std::io::stderr(), "lab_selftest: {what}");
}

/// Answers one request with a page that says who asks.
fn greet(mut stream: TcpStream) {
    let from = stream.peer_addr().expect("its address").ip();
    let _ = stream.read(&mut [0; 4096]);
    let page = format!(
        "<!doctype html><title>lab</title><p>you are {from}</p>\
         <p style='display:none'>unseen</p><div id=host></div><script>\
         host.attachShadow({{mode:'open'}}).innerHTML='<b>in a shadow</b>';\
         setTimeout(()=>document.body.append('later'),300)</script>"
    );
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{page}",
        page.len()
    );
}
