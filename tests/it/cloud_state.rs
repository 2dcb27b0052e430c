//! Where Terraform's state of a machine is kept: in a bucket, in a file that was named.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use crate::support::machine_case::{Case, NAME};
use crate::support::product::{send, until};

/// The keys of what is in the bucket.
fn keys(case: &Case) -> Vec<String> {
    let listed = case.cloud.api(
        "for it in boto3.client('s3').list_objects_v2(Bucket='states').get('Contents', []): \
         print(it['Key'])",
    );
    listed.lines().map(str::to_owned).collect()
}

fn object(case: &Case, key: &str) -> String {
    case.cloud.api(&format!(
        "print(boto3.client('s3').get_object(Bucket='states', Key='{key}')['Body'].read().decode())"
    ))
}

/// A machine whose state is in a bucket, and whose first run was killed with Terraform while it had
/// the lock; and the state's key.
fn gone_on_with(target: &'static str) -> Option<(Case, String)> {
    let mut case = Case::start(target)?;
    case.product.set("TF_STATE", "s3://states/of/");
    // What is not there is said before anything is made.
    let nowhere = case.launch().code(1);
    nowhere.says("s3://states/of/openclaw-m-").says("OPENCLAW_PIPELINE_STATE_REGION");
    case.cloud.assert_empty();
    case.cloud.api("boto3.client('s3').create_bucket(Bucket='states')");

    // Killed with Terraform, in the middle of an apply.
    let makes = if case.is_ec2() { "RunInstances" } else { "CreateInstances" };
    let live = case.launch_at("create_machine");
    case.cloud.fault(&json!({ "action": makes, "times": 1, "delay_ms": 60_000 }));
    until("the lock is there, and the machine asked for", || {
        let is_locked = keys(&case).iter().any(|key| key.ends_with(".tflock"));
        let is_begun = case.cloud.state().iter().any(|it| it.kind.ends_with(":key-pair"));
        (is_locked && is_begun).then_some(())
    });
    for process in case.product.processes() {
        send(process.pid, Signal::KILL);
    }
    live.done();
    case.cloud.heal();
    assert!(keys(&case).iter().any(|key| key.ends_with(".tflock")), "{:?}", keys(&case));
    // A Terraform that works on the same object, whoever started it, may be the lock's owner.
    let program = case.product.path("terraform");
    // By a child: a program that this process has open just now cannot be started.
    let copied = Command::new("/bin/cp").arg("/bin/sleep").arg(&program).status();
    assert!(copied.expect("run cp").success(), "no program of that name");
    let mut alive = Command::new(&program)
        .arg("600")
        .current_dir(case.file("terraform"))
        .spawn()
        .expect("it runs");
    case.launch_fails(4).says("another run holds the lock");
    alive.kill().expect("it ends");
    alive.wait().expect("it has ended");
    case.launch_to_the_image();
    let [key] = &keys(&case)[..] else { panic!("{:?}", keys(&case)) };
    assert!(key.starts_with("of/openclaw-m-") && key.ends_with(".tfstate"), "{key}");
    case.all_is_accounted_for_in(&object(&case, key));
    assert!(!case.file("terraform.tfstate").exists(), "there is one state, and it is not here");
    let key = key.clone();
    Some((case, key))
}

/// The machine is destroyed; what is left of its state holds nothing.
fn ends_empty(case: &Case, key: &str) {
    case.destroys_all();
    let left: serde_json::Value = serde_json::from_str(&object(case, key)).expect("a state");
    assert_eq!(left["resources"], json!([]), "the state is left, and holds nothing");
}

#[test]
fn a_state_of_lightsails_in_a_bucket_is_the_only_one_and_a_lock_that_was_left_is_broken() {
    let Some((case, key)) = gone_on_with("lightsail") else { return };
    ends_empty(&case, &key);
}

#[test]
fn a_state_of_ec2s_in_a_bucket_is_the_only_one_and_a_lock_that_was_left_is_broken() {
    let Some((mut case, key)) = gone_on_with("ec2") else { return };
    let (id, key) = (case.only().id, key.as_str());
    let shown = case.product.json(["infra", "show", NAME]);
    assert_eq!(shown["state"], format!("s3://states/{key}"));
    assert!(shown["resources"].to_string().contains(&id), "{shown}");
    case.product.run(["infra", "show", NAME]).ok().answers("aws_instance.gateway");

    // Whoever says another place is told, and one that was written down is kept.
    let elsewhere = case.launch().env("TF_STATE", "/var/tmp/x.tfstate").code(4);
    elsewhere.says("TF_STATE (environment)").says(key);
    case.destroy().env("TF_STATE", "s3://states/other").code(4).says(key);
    // Somebody else's lock is nobody's here to break.
    let lock = json!({
        "ID": "9db590f1-b6fe-c5f2-2678-8804f089deba", "Operation": "OperationTypeApply",
        "Info": "", "Who": "somebody@elsewhere", "Version": "1.13.4",
        "Created": "2026-01-01T00:00:00Z", "Path": format!("states/{key}"),
    });
    case.cloud.api(&format!(
        "boto3.client('s3').put_object(Bucket='states', Key='{key}.tflock', Body='{lock}')"
    ));
    case.launch_fails(4).says("another run holds the lock").says("somebody@elsewhere");
    case.cloud
        .api(&format!("boto3.client('s3').delete_object(Bucket='states', Key='{key}.tflock')"));

    case.product.unset("TF_STATE");
    // What a run could not write in the end is put there.
    let state = object(&case, key);
    let serial = |text: &str| -> u64 {
        let state: serde_json::Value = serde_json::from_str(text).expect("a state");
        state["serial"].as_u64().expect("a number")
    };
    let (was, is) = (format!("\"serial\": {}", serial(&state)), serial(&state) + 7);
    let later = state.replace(&was, &format!("\"serial\": {is}"));
    fs::write(case.file("terraform/errored.tfstate"), later).expect("written");
    case.product.json(["infra", "show", NAME]);
    assert!(!case.file("terraform/errored.tfstate").exists());
    assert!(serial(&object(&case, key)) >= is);
    ends_empty(&case, key);
}

#[test]
fn a_state_in_a_file_that_was_named_is_one_deployments_alone() {
    let Some(mut case) = Case::start("lightsail") else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("terraform-m.tfstate");
    let at = path.to_str().expect("a path").to_owned();
    // One that holds something already, one that is none, and one for a server.
    let others = json!({
        "version": 4, "serial": 3, "lineage": "an-earlier-one", "outputs": {}, "resources": [{
            "mode": "managed", "type": "aws_lightsail_instance", "name": "openclaw",
            "provider": "provider[\"registry.terraform.io/hashicorp/aws\"]",
            "instances": [{ "schema_version": 0, "attributes": { "id": "openclaw-old" } }],
        }],
    });
    fs::write(&path, others.to_string()).expect("written");
    case.product.set("TF_STATE", &at);
    let refused = case.launch().code(4);
    refused.says("holds the instance").says(&format!("adopt {NAME} --state {at}"));
    assert_eq!(fs::read_to_string(&path).expect("the file"), others.to_string());
    fs::write(&path, "no state").expect("written");
    case.launch().code(2).says("is no Terraform state");
    case.product.run(["serve", "--port", "0"]).code(2).says("names one state").says("ends in /");
    case.product.run(["plan", "x"]).env("TF_STATE", "s3://A/x").code(2).says("TF_STATE");
    case.cloud.assert_empty();
    fs::remove_file(&path).expect("removed");

    case.launch_to_the_image();
    let mode = fs::metadata(&path).expect("the state").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    case.all_is_accounted_for_in(&fs::read_to_string(&path).expect("the state"));
    assert!(!case.file("terraform.tfstate").exists());
    let second = case.product.run(["launch", "n", "--target", "lightsail", "--no-link"]).code(4);
    second.says("where the state of m is");
    case.destroys_all();
    let left = fs::read_dir(dir.path()).expect("the directory").count();
    assert_eq!(left, 0, "nothing is left of it");
}
