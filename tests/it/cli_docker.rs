//! Launching on the `docker` target where it cannot work: what is said, and that it can be taken
//! back.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Output;

use crate::support::engine::Engine;
use crate::support::lab::{Lab, Part, search_path};
use crate::support::product::Product;
use crate::support::real::Real;

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
