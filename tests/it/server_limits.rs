//! What the server bounds, whoever asks: callers from one address, looks at a gateway, its disk.

use std::collections::HashMap;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::Call;
use crate::support::disk::{Tmpfs, fill};
use crate::support::netns::NetNs;
use crate::support::product::{Product, send};
use crate::support::server::{API_TOKEN, Served, flood};

/// A server that others reach at the address of a network, with the address.
fn reached_at(netns: &NetNs) -> (Served, SocketAddr) {
    let mut product = Product::new();
    product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN);
    let bind = netns.host().to_string();
    let served = Served::on(product, &["--bind", &bind, "--insecure-http"]);
    let address = served.address();
    assert_eq!(address.ip(), netns.host(), "it listens there alone");
    (served, address)
}

#[test]
fn one_address_holds_so_many_connections_and_no_more() {
    let Some(netns) = NetNs::create() else { return };
    let (served, address) = reached_at(&netns);
    let is_held_for = |stream: &mut TcpStream, so_long: Duration| {
        stream.set_read_timeout(Some(so_long)).expect("a deadline");
        // One that is not taken is closed without a word.
        !matches!(stream.read(&mut [0; 1]), Ok(0))
    };
    let is_held = |stream: &mut TcpStream| is_held_for(stream, Duration::from_millis(300));
    // Those before it are taken first.
    let is_closed = |mut stream: TcpStream| !is_held_for(&mut stream, Duration::from_secs(30));
    let mut held = netns.within(|| {
        let connect = || TcpStream::connect(address).expect("the kernel takes it");
        let held: Vec<TcpStream> = (0..512).map(|_| connect()).collect();
        assert!((0..4).all(|_| is_closed(connect())), "no further one is taken");
        held
    });
    assert!(held.iter_mut().rev().take(4).all(is_held), "those before stay");
    // The share of this address is another one.
    served.get("/status").ok(200);
    held.truncate(511);
    netns.within(|| {
        let again = || TcpStream::connect(address).expect("the kernel takes it");
        served.until("its place is free", || is_held(&mut again()).then_some(()));
    });
    served.assert_well();
}

#[test]
fn one_address_asks_so_often_and_no_more() {
    let Some(netns) = NetNs::create() else { return };
    let (served, address) = reached_at(&netns);
    let answers = netns.within(|| flood(address, "/livez", None, 1000));
    let mut of: HashMap<&str, usize> = HashMap::new();
    for answer in answers.split("HTTP/1.1 ").skip(1) {
        *of.entry(&answer[..3]).or_default() += 1;
    }
    assert!(of["200"] >= 400, "as many at once as there may be: {of:?}");
    assert!(of["429"] >= 1, "{of:?}");
    assert_eq!(of.values().sum::<usize>(), 1000, "each has its answer: {of:?}");
    assert!(answers.contains("retry-after: 1\r\n"), "it says when to come again");
    // Another address is answered all the while.
    let call = Call::to(address, "GET", "/status").token(API_TOKEN);
    call.send().ok(200);
    served.assert_well();
}

/// How many connections there are to a port of this machine.
fn connections_to(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let remote = format!("0100007F:{port:04X}");
    let to_it = table.lines().filter(|line| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next() == Some(&remote) && fields.next() == Some("01")
    });
    to_it.count()
}

#[test]
fn people_who_look_at_a_gateway_wait_for_each_other() {
    let served = Served::begin();
    let mut body = Served::launch_body("main");
    body["approval"] = json!("off");
    let port = u16::try_from(body["port"].as_u64().expect("a port")).expect("a port");
    served.ended(&served.post("/v1/deployments", &body).ok(202));
    let gateway = served.product().gateway("main").expect("it runs");
    let goes_on = AtomicBool::new(true);
    send(gateway, Signal::STOP);
    std::thread::scope(|scope| {
        let looks: Vec<_> = (0..40)
            .map(|_| scope.spawn(|| served.get("/v1/deployments/main/devices").ok(200)))
            .collect();
        let most = scope.spawn(|| {
            let mut most = 0;
            while goes_on.load(Ordering::SeqCst) {
                most = most.max(connections_to(port));
                std::thread::sleep(Duration::from_millis(2));
            }
            most
        });
        served.until("as many look as may", || (connections_to(port) >= 16).then_some(()));
        // Nothing shows from outside that others wait.
        std::thread::sleep(Duration::from_millis(500));
        send(gateway, Signal::CONT);
        for look in looks {
            look.join().expect("it is answered once it is its turn");
        }
        goes_on.store(false, Ordering::SeqCst);
        assert_eq!(most.join().expect("counted"), 16);
    });
    served.assert_well();
}

#[test]
fn on_a_full_disk_it_is_not_ready_and_says_so() {
    let mut product = Product::new();
    product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN);
    let home = product.home();
    let Some(_disk) = Tmpfs::on(&home, "size=300m,mode=700") else { return };
    let served = Served::on(product, &[]);
    let is_ready = || served.call("GET", "/readyz").without("authorization").send();
    is_ready().ok(200);
    let filler = fill(&home);
    let problem = is_ready().problem(503);
    assert!(problem["detail"].as_str().expect("a text").contains("disk"), "{problem}");
    // What it was asked for is refused before anything is begun, and it lives on.
    let refused = served.post("/launch", &Served::launch_body("main"));
    assert!(refused.status >= 400, "{refused:?}");
    assert_eq!(served.get("/v1/deployments").ok(200)["items"], json!([]));
    served.call("GET", "/livez").without("authorization").send().ok(200);
    std::fs::remove_file(filler).expect("removed");
    is_ready().ok(200);
    served.ended(&served.post("/launch", &Served::launch_body("main")).ok(202));
}
