//! Looking at gateways on machines of their own: what a list costs, what a status does, and how
//! many at once the server looks at.
//!
//! Owns deployments that were never launched: their records say that they run on a machine, whose
//! address is this one's loopback, where the test itself answers as a gateway does.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use openclaw_pipeline::domain::{
    Change, DeploymentName, DeploymentSpec, Expose, Facts, MachineFacts, MachineSpec,
    OperationKind, OperationStatus, TargetKind,
};
use openclaw_pipeline::operations::vault::{Slot, Vault};
use openclaw_pipeline::secrets::{SealingKey, Secret};
use openclaw_pipeline::store::{Begin, Finish, NewDeployment, Store, new_id};
use openclaw_pipeline::targets::GatewaySecrets;
use serde_json::Value;

use crate::support::bench::{Bench, OLD};
use crate::support::product::{Product, until};
use crate::support::server::{API_TOKEN, Served};

/// Records deployments that run on machines, all of them at one address.
fn recorded(product: &Product, names: &[String], at: SocketAddr, expose: Expose) {
    let store = Store::open(&product.home()).expect("opens");
    let vault = Vault::new(SealingKey::load(&product.key_file()).expect("the key"));
    let secrets = GatewaySecrets::with_token(Secret::new("tok~0123456789abcdef"));
    let SocketAddr::V4(at) = at else { panic!("an IPv4 address") };
    let spec = DeploymentSpec {
        target: TargetKind::Ec2,
        version: None,
        image: Some("ghcr.io/openclaw/openclaw:latest".into()),
        bind: expose.published_on(),
        machine: Some(MachineSpec {
            region: "us-east-1".into(),
            size: Some("t3.medium".into()),
            expose,
            ssh_cidrs: Vec::new(),
            state: None,
            server: None,
            tunnel_host: None,
            tunnel_image: None,
        }),
        ..Bench::new().spec(OLD)
    };
    let facts = Facts {
        port: Some(at.port()),
        machine: Some(MachineFacts {
            address: *at.ip(),
            id: "i-0123456789abcdef0".into(),
            image: None,
            region: "us-east-1".into(),
            account: "123456789012".into(),
            user: "ec2-user".into(),
            resource_name: "openclaw-x".into(),
            made_by: "x".into(),
            ready: true,
        }),
        proven_at: Some("2026-01-31T12:00:00.000Z".into()),
        ..Facts::default()
    };
    for name in names {
        let name: DeploymentName = name.parse().expect("a name");
        let (id, slot) = (new_id(), Slot::Current);
        let sealed = vault.seal(&id, slot, &secrets).expect("sealed");
        let sealed = vec![(slot.name().to_owned(), sealed)];
        let create = NewDeployment { id, sealed, spec: spec.clone(), owner: None };
        let kind = OperationKind::Launch;
        let begin = Begin { create: Some(create), ..Begin::new(kind, name) };
        let operation = store.begin(&begin).expect("begins");
        let lease = store.acquire(&operation.id, "test").expect("takes it up");
        store.set_facts(&lease, &facts).expect("records");
        let (status, change) = (OperationStatus::Succeeded, Some(Change::Succeed(kind)));
        let finish = Finish { status, change, error: None, event: None };
        store.finish(&lease, &finish).expect("ends");
    }
}

/// Answers as a gateway that has started, for as long as it is not told to be silent.
struct Gateway {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    asked: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
    is_up: AtomicBool,
    held: Mutex<bool>,
    told: Condvar,
}

impl Seen {
    fn hold(&self, held: bool) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        self.told.notify_all();
    }

    fn answer(&self, mut stream: &TcpStream) {
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap_or_default();
        if length == 0 {
            return;
        }
        assert!(request.starts_with(b"GET /startupz "), "it only asks whether it has started");
        self.asked.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.told.wait_while(held, |held| *held));
        self.now.fetch_sub(1, Ordering::SeqCst);
        if self.is_up.load(Ordering::SeqCst) {
            let body = r#"{"ok":true,"status":"started"}"#;
            let start = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
            let _ = write!(stream, "{start}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
    }
}

impl Gateway {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Seen { is_up: true.into(), ..Seen::default() });
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.answer(&stream));
            }
        });
        Self { address, seen }
    }

    fn asked(&self) -> usize {
        self.seen.asked.load(Ordering::SeqCst)
    }
}

/// An installation on which `ssh` tells that somebody ran it.
fn installation() -> Product {
    let mut product = Product::bare();
    product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN);
    let ran = product.path("ssh-ran");
    product.tool("ssh", &format!("#!/bin/sh\n: > {}\nexit 255\n", ran.display()));
    // The data directory and the key, as the program makes them.
    product.run(["list"]).ok();
    product
}

fn statuses(answer: &Value) -> Vec<String> {
    let items = answer["items"].as_array().or_else(|| answer["deployments"].as_array());
    let items = items.expect("a list").iter();
    items.map(|it| it["status"].as_str().expect("a status").to_owned()).collect()
}

#[test]
fn a_list_of_a_thousand_machines_asks_none_of_them() {
    let (product, gateway) = (installation(), Gateway::start());
    let names: Vec<String> = (0..1000).map(|number| format!("m{number}")).collect();
    recorded(&product, &names, gateway.address, Expose::Http);
    let listed = product.json(["list"]);
    assert_eq!(statuses(&listed), vec!["running"; 1000]);
    assert_eq!(gateway.asked(), 0, "a list looks at what is recorded");
    assert!(!product.path("ssh-ran").exists(), "and opens no connection");
}

#[test]
fn a_status_asks_the_gateway_once_and_opens_no_shell() {
    let (product, gateway) = (installation(), Gateway::start());
    recorded(&product, &["main".to_owned()], gateway.address, Expose::Operator);
    assert_eq!(product.status("main"), "running");
    assert_eq!(gateway.asked(), 1);
    gateway.seen.is_up.store(false, Ordering::SeqCst);
    assert_eq!(product.status("main"), "degraded", "a gateway that says nothing does not work");
    gateway.seen.is_up.store(true, Ordering::SeqCst);
    assert_eq!(product.status("main"), "running", "it does again");
    assert_eq!(gateway.asked(), 3);
    assert!(!product.path("ssh-ran").exists());
}

#[test]
fn the_server_looks_at_a_few_at_a_time_and_not_where_only_a_shell_leads() {
    let (product, gateway) = (installation(), Gateway::start());
    let names: Vec<String> = (0..40).map(|number| format!("m{number}")).collect();
    recorded(&product, &names, gateway.address, Expose::Http);
    let hidden = ["hidden".to_owned()];
    recorded(&product, &hidden, gateway.address, Expose::None);
    gateway.seen.is_up.store(false, Ordering::SeqCst);
    gateway.seen.hold(true);
    let served = Served::on(product, &[]);
    until("as many are looked at as may", || {
        (gateway.seen.now.load(Ordering::SeqCst) >= 8).then_some(())
    });
    // The server answers meanwhile, with what is recorded.
    served.get("/v1/deployments").ok(200);
    gateway.seen.hold(false);
    let page = "/v1/deployments?limit=100";
    served.until("those that say nothing are degraded", || {
        let statuses = statuses(&served.get(page).ok(200));
        (statuses.iter().filter(|it| *it == "degraded").count() == 40).then_some(())
    });
    assert_eq!(gateway.seen.most.load(Ordering::SeqCst), 8);
    assert_eq!(served.get("/v1/deployments/hidden").ok(200)["status"], "running");
    assert!(!served.product().path("ssh-ran").exists());
    served.assert_well();
}
