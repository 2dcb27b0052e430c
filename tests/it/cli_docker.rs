//! Launching on the `docker` target where it cannot work: what is said, and that it can be taken
//! back.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Output, Stdio};

use crate::support::engine::Engine;
use crate::support::executable::executable;
use crate::support::lab::{Lab, Part, search_path};
use crate::support::product::{Product, turn_at_the_default_port, until};
use crate::support::real::{CURRENT, Real};

#[test]
fn a_launch_without_an_engine_says_so_and_can_be_taken_back() {
    let docker = search_path()
        .split(':')
        .map(|dir| std::path::Path::new(dir).join("docker"))
        .find(|path| path.exists());
    let Some(docker) = docker else {
        crate::support::skip("no docker command line");
        return;
    };
    let mut product = Product::new();
    product.tool("docker", &format!("#!/bin/sh\nexec '{}' \"$@\"\n", docker.display()));
    product.tool("docker-compose", "#!/bin/sh\nexit 1\n");
    product.set("DOCKER_HOST", format!("unix://{}", product.path("no.sock").display()));
    let failed = product.run(["launch", "--target", "docker"]).code(5);
    failed.says("step prepare: no Docker engine answers").says("--target process");
    assert_eq!(product.status("main"), "failed");
    let other = product.run(["launch", "--target", "process"]).code(4);
    other.says("main is there already, on the docker target").says("destroy main");
    product.run(["destroy", "--yes"]).ok();
    product.launch();
    product.assert_one_gateway("main");
}

#[test]
fn a_port_that_is_taken_and_an_image_that_is_nowhere_are_told_before_anything_is_made() {
    let Some(lab) = Lab::require(Part::Engine) else { return };
    let Some(engine) = Engine::get() else { return };
    let real = Real::with_engine(&lab, engine);
    let name = Engine::name("nowhere");
    let launch = |args: &[&str]| -> Output {
        real.run(&[&["launch", &name, "--target", "docker", "--no-link"], args].concat())
    };
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    let taken = launch(&["--port", &port]);
    assert_eq!(taken.status.code(), Some(4), "{}", said(&taken));
    assert!(
        said(&taken).contains(&format!("port {port} on 127.0.0.1 is taken")),
        "{}",
        said(&taken)
    );

    // Nothing listens on that port of this machine: the registry is down.
    drop(listener);
    let nowhere = launch(&["--image", &format!("127.0.0.1:{port}/openclaw:none")]);
    assert_eq!(nowhere.status.code(), Some(1), "{}", said(&nowhere));
    for words in ["step fetch: the image", "could not be pulled", "the registry cannot be reached"]
    {
        assert!(said(&nowhere).contains(words), "no {words:?} in {}", said(&nowhere));
    }
    let own = format!("label=io.openclaw.pipeline.deployment={name}");
    assert_eq!(engine.docker(&["container", "ls", "-aq", "--filter", &own]), "");
    assert_eq!(engine.docker(&["volume", "ls", "-q", "--filter", &own]), "");
    real.ok(&["destroy", &name, "--yes"]);
}

#[test]
fn a_port_lost_before_the_container_starts_gives_way_to_another_one() {
    let _turn = turn_at_the_default_port();
    if Lab::require(Part::Image(CURRENT)).is_none() {
        return;
    }
    let Some(lab) = Lab::require(Part::Engine) else { return };
    let Some(engine) = Engine::get() else { return };
    let real = Real::with_engine(&lab, engine);
    let name = Engine::name("moved");

    // A docker that starts no container before it is let.
    let tools = tempfile::tempdir().expect("a directory");
    let (starting, go) = (tools.path().join("starting"), tools.path().join("go"));
    let script = format!(
        "#!/bin/sh\nif [ \"$1 $2\" = 'container start' ]; then\n  : >'{}'\n  \
         until [ -e '{}' ]; do sleep 0.05; done\nfi\nPATH='{path}' exec docker \"$@\"\n",
        starting.display(),
        go.display(),
        path = search_path(),
    );
    executable(&tools.path().join("docker"), &script);

    let mut launch = real.command(&["launch", &name, "--target", "docker", "--no-link"]);
    launch.env("PATH", format!("{}:{}", tools.path().display(), search_path()));
    launch.env_remove("GATEWAY_PORT").stdout(Stdio::piped()).stderr(Stdio::piped());
    let launch = launch.spawn().expect("it starts");
    until("its container is about to start", || starting.exists().then_some(()));
    let port = || -> u16 {
        let url = real.json(&["status", &name])["url"].as_str().expect("an address").to_owned();
        url.trim_end_matches('/').rsplit(':').next().expect("a port").parse().expect("a number")
    };
    let lost = port();
    let _stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, lost)).expect("nobody is there yet");
    fs::write(&go, "").expect("a file");
    let launched = launch.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&launched.stderr);
    assert!(launched.status.success(), "{said}");
    let own = port();
    assert_ne!(own, lost);
    let note = format!("port {lost} was taken meanwhile; using {own}");
    assert!(said.contains(&note), "{said}");

    // All that is written down is of the new one, and there is one container.
    let label = format!("label=io.openclaw.pipeline.deployment={name}");
    let containers = engine.docker(&["container", "ls", "-aq", "--filter", &label]);
    assert_eq!(containers.lines().count(), 1, "{containers}");
    let container = containers.trim();
    let published = engine.docker(&["container", "port", container, "18789/tcp"]);
    assert_eq!(published.trim(), format!("127.0.0.1:{own}"));
    let config = ["exec", container, "cat", "/home/node/.openclaw/openclaw.json"];
    let config: serde_json::Value = serde_json::from_str(&engine.docker(&config)).expect("is JSON");
    let origins = [format!("http://127.0.0.1:{own}"), format!("http://localhost:{own}")];
    assert_eq!(config["gateway"]["controlUi"]["allowedOrigins"], serde_json::json!(origins));
    real.ok(&["check", "gateway", &name]);
    real.ok(&["destroy", &name, "--yes"]);
}
