//! A gateway on Lightsail through its versions: an update that does not come up goes back, a good
//! one keeps what there is, and back again by hand; and the way to it by SSH. On EC2 the real
//! gateway does the same (`real_cloud`, `cli_cloud`).

use rustix::process::Signal;
use serde_json::Value;

use crate::support::lab::{CURRENT, PREVIOUS};
use crate::support::machine_case::{Case, NAME, good, patient};
use crate::support::product::Product;

/// A gateway that ends at once.
const BROKEN: &str = "ghcr.io/openclaw/openclaw:broken";
/// Something of its user's.
const CONVERSATION: &str = "/home/node/.openclaw/a-conversation";

/// That it runs in this version.
#[track_caller]
fn runs(case: &Case, version: &str) {
    let status = case.product.json(["status", NAME]);
    let facts = (&status["status"], &status["version"]);
    assert_eq!(facts, (&Value::from("running"), &Value::from(version)), "{status:#}");
}

#[test]
fn a_gateway_on_lightsail_is_updated_goes_back_and_is_reached_by_ssh() {
    let Some(mut case) = Case::start("lightsail") else { return };
    // The port of the tunnel's own end is this machine's.
    let port = Product::bare().port().to_string();
    case.product.set("GATEWAY_PORT", port);
    let Some([newest, previous]) = case.cloud.standin() else { return };
    let launch = ["launch", NAME, "--target", case.target, "--image", &previous, "--no-link"];
    good(case.product.run(launch));
    runs(&case, PREVIOUS);
    let machine = case.only();
    let within = |command: &str| {
        let gateway = "$(docker ps -q | head -n 1)";
        case.cloud.run(&machine.id, &format!("docker exec {gateway} {command} {CONVERSATION}"))
    };
    within("touch");

    let update = |image: &str| case.product.run(["update", NAME, "--image", image]);
    let failed = patient(update(BROKEN));
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    failed.says("step prove");
    runs(&case, PREVIOUS);
    good(update(&newest));
    runs(&case, CURRENT);
    within("ls");
    let backups = case.product.json(["backups", NAME]);
    let backups = backups["items"].as_array().expect("backups");
    assert_eq!(backups.len(), 2, "one before each update");
    let id = backups[0]["id"].as_str().expect("the update's backup");
    good(case.product.run(["restore", NAME, "--backup", id]));
    runs(&case, PREVIOUS);
    within("ls");
    assert_eq!(case.only().id, machine.id, "all on the same machine");

    let mut tunnel = case.product.run(["tunnel", NAME, "--json"]).live();
    let up: Value = serde_json::from_str(&tunnel.line().expect("it says so")).expect("an object");
    assert_eq!((&up["state"], &up["answers"]), (&Value::from("up"), &Value::from(true)), "{up}");
    tunnel.signal(Signal::INT);
    assert_eq!(tunnel.done().code, 0);
    case.product.run(["shell", NAME, "--host"]).stdin("whoami\n").ok().answers("ec2-user");
    case.product.run(["infra", "show", NAME]).ok().answers("aws_lightsail_instance");
    good(case.product.run(["infra", "apply", NAME]));
    good(case.product.run(["infra", "destroy", NAME, "--yes"])).answers("the address");
    case.cloud.assert_empty();
}
