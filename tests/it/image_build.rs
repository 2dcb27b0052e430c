//! A gateway image that is built here from npm's packages, and a real gateway that runs in it.

use serde_json::Value;

use crate::support::engine::Engine;
use crate::support::lab::{CURRENT, Lab, Part, REPOSITORY, skip};
use crate::support::real::Real;

/// The lab's Debian root: it has every tool, so the build needs no network.
const BASE: &str = "openclaw-lab/base:bookworm";

#[test]
fn an_image_that_was_built_here_runs_a_gateway() {
    if Lab::require(Part::Npm(CURRENT)).is_none() {
        return;
    }
    let Some(lab) = Lab::require(Part::Engine) else { return };
    let Some(engine) = Engine::get() else { return };
    if !engine.has_image(BASE) {
        skip::<()>("no base image: run tests/lab/setup image 2026.9.6");
        return;
    }
    let real = Real::with_engine(&lab, engine);
    let image = format!("{REPOSITORY}:{}", Engine::name("built"));
    let built = real.json(&["image", "build", "--tag", &image, "--base", BASE]);
    assert_eq!((&built["image"], &built["version"]), (&image.clone().into(), &CURRENT.into()));

    let inspected = engine.docker(&["image", "inspect", "--format", "{{json .Config}}", &image]);
    let config: Value = serde_json::from_str(&inspected).expect("JSON");
    assert_eq!(config["User"], "node");
    assert_eq!(config["Labels"]["org.opencontainers.image.version"], CURRENT);
    let id = engine.docker(&["run", "--rm", &image, "id", "-u"]);
    assert_eq!(id, "1000");

    let name = Engine::name("built");
    let launch = ["launch", &name, "--target", "docker", "--image", &image, "--no-link"];
    let launched = real.json(&launch);
    assert_eq!((&launched["status"], &launched["version"]), (&"running".into(), &CURRENT.into()));
    real.ok(&["destroy", &name, "--yes"]);
    engine.docker(&["image", "rm", "--force", &image]);
}

#[test]
fn a_digest_and_nonsense_are_no_names_for_an_image() {
    let product = crate::support::product::Product::bare();
    let digest = format!("x@sha256:{}", "0a".repeat(32));
    let refused = product.run(["image", "build", "--tag", &digest]).code(2);
    assert!(refused.stderr.contains("--tag"), "{}", refused.stderr);
    product.run(["image", "build", "--tag", "-x"]).code(2);
    product.run(["image", "build", "--tag", "x:y", "--base", "a b"]).code(2);
    product.run(["image", "build", "--tag", "x:y", "--version", "latest"]).code(2);
}
