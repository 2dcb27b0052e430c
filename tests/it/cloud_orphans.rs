//! What a sweep of the cloud finds, removes and leaves alone.

use serde_json::Value;

use crate::support::cloud::Cloud;
use crate::support::lab::{Lab, Part};
use crate::support::machine_case::{Case, NAME};
use crate::support::real::Real;

/// Makes things as a launch that was forgotten would have left them, and things of others.
fn leave(cloud: &Cloud, installation: &str) {
    cloud.api(&format!(
        r#"
ec2 = boto3.client("ec2", region_name="us-east-1")
def tags(kind, installation):
    tag = {{"Key": "openclaw-pipeline:installation", "Value": installation}}
    return [{{"ResourceType": kind, "Tags": [tag]}}]
for name, owner in [("openclaw-lost", "{installation}"), ("openclaw-theirs", "another-installation")]:
    ec2.create_security_group(GroupName=name, Description="x",
        TagSpecifications=tags("security-group", owner))
    ec2.allocate_address(Domain="vpc", TagSpecifications=tags("elastic-ip", owner))
ec2.create_security_group(GroupName="somebodys", Description="x")
claim = [{{"Key": "kubernetes.io/created-for/pvc/" + key, "Value": value}}
         for key, value in [("namespace", "openclaw-gone"), ("name", "openclaw-workspace")]]
volume = tags("volume", "{installation}")
volume[0]["Tags"] += claim
ec2.create_volume(AvailabilityZone="us-east-1a", Size=10, TagSpecifications=volume)
"#
    ));
}

#[test]
fn a_sweep_finds_what_is_ours_and_in_no_deployment() {
    let Some(lab) = Lab::require(Part::Cloud) else { return };
    let Some(cloud) = Cloud::start() else { return };
    let real = Real::in_cloud(&lab, &cloud);
    let clean = real.json(&["doctor", "--orphans"]);
    assert_eq!(clean["ok"], true, "{clean}");
    assert_eq!(clean["sweep"]["regions"], serde_json::json!(["us-east-1"]));
    let installation = real.installation();
    leave(&cloud, &installation);
    let before = cloud.state().len();
    let output = real.run(&["--json", "doctor", "--orphans"]);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).expect("an object");
    let orphans = found["sweep"]["orphans"].as_array().expect("a list");
    assert_eq!(orphans.len(), 2, "{found:#}");
    assert!(orphans.iter().all(|it| it["removed"] == false), "{found:#}");
    assert_eq!(cloud.state().len(), before, "looking removes nothing");
    let asked = real.run(&["doctor", "--orphans", "--remove"]);
    assert_eq!(asked.status.code(), Some(2), "without a terminal and --yes it refuses");
    assert_eq!(cloud.state().len(), before);

    let removed = real.json(&["doctor", "--orphans", "--remove", "--yes"]);
    let orphans = removed["sweep"]["orphans"].as_array().expect("a list");
    assert!(orphans.iter().all(|it| it["removed"] == true), "{removed:#}");
    let left = cloud.state();
    assert_eq!(left.len(), before - 2, "{left:#?}");
    let is_ours = |it: &&crate::support::cloud::Resource| {
        it.tags.get("openclaw-pipeline:installation") == Some(&installation)
    };
    // What a gateway on a cluster kept its data on is named, and nobody's to remove but its owner's.
    let ours: Vec<_> = left.iter().filter(is_ours).collect();
    assert!(ours.len() == 1 && ours[0].kind == "ec2:volume", "{left:#?}");
    let kept = &real.json(&["doctor", "--orphans"])["sweep"]["kept"][0];
    assert!(kept["what"].to_string().contains("openclaw-gone/openclaw-workspace"), "{kept}");
    let removing = format!("--region us-east-1 --volume-id {}", ours[0].id);
    assert!(kept["removing"].to_string().contains(&removing), "{kept}");
}

/// What a sweep says, however it ends.
#[track_caller]
fn swept(case: &Case, args: &[&str]) -> Value {
    let run = case.product.run(["--json", "doctor", "--orphans"]);
    let done = args.iter().fold(run, |run, arg| run.arg(arg)).done();
    let said: Value = serde_json::from_str(&done.stdout).expect("an object");
    assert_eq!(done.code == 0, said["ok"] == true, "{said:#}");
    said["sweep"].clone()
}

#[test]
fn a_second_machine_of_a_deployment_is_found_and_its_own_is_left_alone() {
    let Some(case) = Case::start("ec2") else { return };
    case.launch_to_the_image();
    let (id, all) = (case.only().id, case.cloud.state().len());
    let clean = swept(&case, &[]);
    assert_eq!(
        (&clean["orphans"], &clean["unseen"]),
        (&Value::from(vec![0; 0]), &clean["orphans"])
    );
    assert_eq!(clean["accounted"], all, "{clean:#}");

    // The same in every way, but that no state has it.
    let stray = case.cloud.api(&format!(
        "ec2 = boto3.client('ec2')\n\
         own = ec2.describe_instances(InstanceIds=['{id}'])['Reservations'][0]['Instances'][0]\n\
         made = ec2.run_instances(ImageId=own['ImageId'], InstanceType='t3.micro', MinCount=1, \
         MaxCount=1, TagSpecifications=[{{'ResourceType': 'instance', 'Tags': own['Tags']}}])\n\
         print(made['Instances'][0]['InstanceId'])"
    ));
    let found = swept(&case, &[]);
    let orphans = found["orphans"].as_array().expect("a list");
    assert!(orphans.len() == 1 && orphans[0]["what"].to_string().contains(&stray), "{found:#}");
    assert_eq!(found["accounted"], all, "{found:#}");

    // Who cannot read what stands in the state, or works elsewhere, calls nothing an orphan.
    let state = case.file("terraform.tfstate");
    let text = case.text("terraform.tfstate");
    for worse in ["no state", ""] {
        std::fs::write(&state, worse).expect("written");
        let found = swept(&case, &["--remove", "--yes"]);
        assert_eq!(found["orphans"], Value::from(vec![0; 0]), "{found:#}");
        assert!(found["unseen"].to_string().contains(NAME), "{found:#}");
    }
    std::fs::write(&state, text).expect("written");
    let mut live = case.launch_at("create_machine");
    let found = swept(&case, &["--remove", "--yes"]);
    assert_eq!(found["orphans"], Value::from(vec![0; 0]), "{found:#}");
    while live.line().is_some() {}
    live.done().says("step fetch");
    assert_eq!(case.cloud.instances().len(), 2);

    let found = swept(&case, &["--remove", "--yes"]);
    assert_eq!(found["orphans"][0]["removed"], true, "{found:#}");
    assert_eq!(case.only().id, id, "the deployment's own");
    case.all_is_accounted_for();
    case.destroys_all();
}
