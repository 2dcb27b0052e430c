//! Credentials of another account: to them every machine looks gone, and no machine is lost by them.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::machine_case::{Case, NAME};
use crate::support::product::until;

/// What has to stay: the state, the key, and what is in the cloud.
fn kept(case: &Case) -> (String, String, Vec<String>) {
    let mut ids: Vec<String> = case.cloud.state().into_iter().map(|it| it.id).collect();
    ids.sort();
    (case.text("terraform.tfstate"), case.text("ssh/key"), ids)
}

fn is_not_lost(target: &'static str) {
    let Some(case) = Case::start(target) else { return };
    let theirs = case.theirs();
    case.launch_to_the_image();
    let (id, before) = (case.only().id, kept(&case));
    let status = || case.product.json(["list"])["items"][0]["status"].clone();
    let stood = status();

    theirs.refused(case.launch());
    theirs.refused(case.product.run(["plan", NAME]));
    theirs.refused(case.destroy()).says(&format!(" destroy {NAME}"));
    // The same where Terraform's state says nothing any more.
    let state = case.file("terraform.tfstate");
    fs::rename(&state, case.file("elsewhere")).expect("moved");
    theirs.refused(case.destroy());
    fs::rename(case.file("elsewhere"), &state).expect("moved");
    // A machine that does not answer is not called gone.
    case.cloud.befall(&id, "refuse_ssh");
    case.close_connections();
    theirs.refused(case.product.run(["start", NAME]));
    case.cloud.befall(&id, "accept_ssh");
    // Nobody's credentials find nothing, either.
    let none = case.destroy().without("AWS_ACCESS_KEY_ID").without("AWS_SECRET_ACCESS_KEY");
    none.code(5).says("credentials").says(&format!(" destroy {NAME}"));
    assert_eq!((kept(&case), status()), (before, stood));
    assert_eq!(case.only().id, id);
    case.destroys_all();

    // Killed before anybody knows of the machine.
    let makes = if case.is_ec2() { "RunInstances" } else { "CreateInstances" };
    case.cloud.fault(&serde_json::json!({"action": makes, "delay_ms": 3000}));
    let live = case.launch_at("create_machine");
    until("something is made", || (!case.cloud.state().is_empty()).then_some(()));
    live.signal(Signal::KILL);
    assert_eq!(live.done().code, -9);
    theirs.refused(case.launch()).says("going on with the launch");
    theirs.refused(case.destroy());
    let values: Value = serde_json::from_str(&case.text("program.tfvars.json")).expect("values");
    assert!(values.get("account").is_none(), "Terraform is not asked: {values}");
    assert!(case.file("ssh/key").exists() && !case.cloud.state().is_empty());
    case.destroys_all();
}

#[test]
fn a_machine_on_ec2_is_not_lost_by_credentials_of_another_account() {
    is_not_lost("ec2");
}

#[test]
fn a_machine_on_lightsail_is_not_lost_by_credentials_of_another_account() {
    is_not_lost("lightsail");
}
