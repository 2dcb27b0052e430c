//! Launching a container again: it goes on with the image that it worked with, whatever its tag
//! names by then.

use crate::support::engine::Engine;
use crate::support::lab::{Lab, Part};
use crate::support::real::{CURRENT, PREVIOUS, Real};

#[test]
fn a_tag_that_moved_changes_nothing_before_an_update() {
    for tag in [CURRENT, PREVIOUS] {
        if Lab::require(Part::Image(tag)).is_none() {
            return;
        }
    }
    let Some(lab) = Lab::require(Part::Engine) else { return };
    let Some(engine) = Engine::get() else { return };
    let real = Real::with_engine(&lab, engine);
    let name = Engine::name("again");
    let (official, tag) = ("ghcr.io/openclaw/openclaw", format!("{name}:moving"));
    let point_at = |version: &str| engine.docker(&["tag", &format!("{official}:{version}"), &tag]);
    let version = || real.json(&["status", &name])["version"].clone();

    point_at(PREVIOUS);
    real.ok(&["launch", &name, "--target", "docker", "--image", &tag, "--no-link"]);
    assert_eq!(version(), PREVIOUS);
    real.ok(&["stop", &name]);
    point_at(CURRENT);
    real.ok(&["launch", &name, "--image", &tag, "--no-link"]);
    assert_eq!(version(), PREVIOUS);
    let other = real.run(&["launch", &name, "--image", official]);
    assert!(other.status.success(), "it runs, so that is a note");
    assert!(String::from_utf8_lossy(&other.stderr).contains("openclaw-pipeline update"));
    real.ok(&["destroy", &name, "--yes"]);
    engine.docker(&["rmi", &tag]);
}
