//! A port that is lost to somebody else after it was chosen: before the gateway is started, and
//! while it starts. One that nobody named gives way in a first launch, and in nothing else.
//!
//! Nothing here goes by the clock: an npm that never answers holds a launch between the choice and
//! the start, and a gateway listens only once a file is there.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::product::{Live, NEWEST, Product, turn_at_the_default_port, until};
use crate::support::silent::{let_listen, silent};

/// A product where nobody names a port.
fn choosing(mut product: Product) -> Product {
    product.unset("GATEWAY_PORT");
    product
}

fn begin(product: &Product) -> Live {
    product.run(["launch", "--target", "process", "--json"]).live()
}

/// Reads on until a line has these words.
fn until_says(live: &mut Live, words: &str) -> String {
    while let Some(line) = live.line() {
        if line.contains(words) {
            return line;
        }
    }
    panic!("it never said {words:?}");
}

/// The port that is recorded.
fn port(product: &Product) -> u16 {
    let url = product.json(["status"])["url"].as_str().expect("an address").to_owned();
    url.trim_end_matches('/').rsplit(':').next().expect("a port").parse().expect("a number")
}

/// Somebody else who listens on a port.
fn stranger(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("nobody listens there yet")
}

/// The gateway that was started and does not listen yet.
fn started(product: &Product) -> i32 {
    until("the gateway is started", || product.gateway("main"))
}

/// Everything says that the gateway works on this port, and nothing speaks of another one.
#[track_caller]
fn assert_moved(product: &Product, lost: u16) {
    product.assert_one_gateway("main");
    let port = port(product);
    assert_ne!(port, lost);
    let config = fs::read_to_string(product.state("main").join("openclaw.json")).expect("there");
    let config: Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(config["gateway"]["port"], port);
    let origins = [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")];
    assert_eq!(config["gateway"]["controlUi"]["allowedOrigins"], serde_json::json!(origins));
    let gateway = product.gateway("main").expect("a gateway");
    let process = product.processes().into_iter().find(|it| it.pid == gateway).expect("it runs");
    assert!(process.args.contains(&port.to_string()), "{:?}", process.args);
    product.run(["check", "gateway"]).ok();
    assert_eq!(product.operation("main", "launch")["status"], "succeeded");
    let events = product.run(["events", "main", "--json"]).ok().objects();
    let event = events.last().expect("an event");
    assert_eq!(event["type"], "completed");
    let said = event["message"].as_str().expect("a message");
    assert!(said.contains(&format!(":{port}/")), "{said}");
    // From now on it is this deployment's.
    product.run(["restart"]).ok();
    assert_eq!(self::port(product), port);
}

/// A launch that was killed between the choice of its port and the start; answers the port.
fn killed_after_the_choice(product: &Product) -> u16 {
    product.tool(
        "npm",
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 11.0.0; exit; fi\nexec tail -f /dev/null\n",
    );
    let mut live = begin(product);
    until_says(&mut live, "\"step\":\"fetch\",\"status\":\"running\"");
    live.signal(Signal::KILL);
    drop(live.done());
    product.install(NEWEST);
    port(product)
}

#[test]
fn a_port_lost_before_the_start_gives_way_to_another_one() {
    let _turn = turn_at_the_default_port();
    let product = choosing(Product::bare());
    let lost = killed_after_the_choice(&product);
    let _stranger = stranger(lost);
    let done = product.launch();
    done.says(&format!("note: port {lost} was taken meanwhile; using "));
    assert!(!done.stderr.contains("openclaw.json"), "nothing of the user's: {}", done.stderr);
    assert_moved(&product, lost);
}

#[test]
fn a_port_lost_while_the_gateway_starts_gives_way_to_another_one() {
    let _turn = turn_at_the_default_port();
    // One that ends because it cannot listen, and one that waits until it can.
    for ends in [true, false] {
        let product = choosing(silent());
        let mut live = begin(&product);
        started(&product);
        let lost = port(&product);
        let _stranger = stranger(lost);
        if ends {
            let_listen(&product);
        }
        until_says(&mut live, &format!("port {lost} was taken meanwhile; using "));
        let_listen(&product);
        assert_eq!(live.done().code, 0);
        assert_moved(&product, lost);
    }
}

#[test]
fn two_installations_that_chose_the_same_port_both_come_up() {
    let _turn = turn_at_the_default_port();
    let (one, two) = (choosing(silent()), choosing(silent()));
    let mut first = begin(&one);
    started(&one);
    let mut second = begin(&two);
    started(&two);
    let both = port(&one);
    assert_eq!(port(&two), both, "nobody listens there yet");
    // The second one wins.
    let_listen(&two);
    until_says(&mut second, "\"step\":\"prove\",\"status\":\"succeeded\"");
    until_says(&mut first, &format!("port {both} was taken meanwhile; using "));
    let_listen(&one);
    assert_eq!((first.done().code, second.done().code), (0, 0));
    assert_eq!(port(&two), both);
    assert_moved(&one, both);
    two.assert_one_gateway("main");
}

#[test]
fn a_launch_killed_when_it_chose_another_port_is_carried_on() {
    let _turn = turn_at_the_default_port();
    let product = choosing(Product::bare());
    let lost = killed_after_the_choice(&product);
    let _stranger = stranger(lost);
    let mut live = begin(&product);
    until_says(&mut live, &format!("port {lost} was taken meanwhile; using "));
    live.signal(Signal::KILL);
    let done = live.done();
    assert!([-9, 0].contains(&done.code), "{done:?}");
    product.launch();
    assert_moved(&product, lost);
}

#[test]
fn a_port_that_was_named_is_never_replaced() {
    let lost_is_told = |product: &Product, code: i32, said: &str| {
        assert_eq!(code, 4, "{said}");
        let port = product.port();
        for words in [
            format!("port {port} on 127.0.0.1 "),
            format!("ss -ltnp 'sport = :{port}'"),
            "choose another GATEWAY_PORT".into(),
        ] {
            assert!(said.contains(&words), "no {words:?} in {said}");
        }
        product.assert_nothing_runs();
        assert_eq!((product.status("main").as_str(), self::port(product)), ("failed", port));
    };
    let product = Product::bare();
    let lost = killed_after_the_choice(&product);
    let taken = stranger(lost);
    let done = product.run(["launch", "--target", "process"]).done();
    lost_is_told(&product, done.code, &done.stderr);
    drop(taken);
    product.launch();
    product.assert_one_gateway("main");

    let product = silent();
    let live = begin(&product);
    started(&product);
    let _stranger = stranger(product.port());
    let done = live.done();
    lost_is_told(&product, done.code, &done.stderr);
}

#[test]
fn a_port_that_was_chosen_is_kept_once_the_gateway_worked() {
    let _turn = turn_at_the_default_port();
    let product = choosing(Product::new());
    product.launch();
    let own = port(&product);
    let kept = |done: &crate::support::product::Done| {
        assert_eq!(done.code, 4, "{done:?}");
        done.says(&format!("port {own} on 127.0.0.1 ")).says("another GATEWAY_PORT");
        assert_eq!(port(&product), own);
    };
    product.run(["stop"]).ok();
    let taken = stranger(own);
    kept(&product.run(["start"]).done());
    kept(&product.run(["restart"]).done());
    product.assert_nothing_runs();
    drop(taken);

    // Lost while it starts: it may have it back.
    let listen = product.path("listen");
    product.fault("main", &format!("{{listen_after: '{}'}}", listen.display()));
    let live = product.run(["start"]).live();
    started(&product);
    let taken = stranger(own);
    kept(&live.done());
    drop(taken);
    let_listen(&product);
    product.run(["start"]).ok();
    product.assert_one_gateway("main");
    assert_eq!(port(&product), own);
}
