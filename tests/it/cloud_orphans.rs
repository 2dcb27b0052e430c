//! What a sweep of the cloud finds, removes and leaves alone.

use serde_json::Value;

use crate::support::cloud::Cloud;
use crate::support::lab::{Lab, Part};
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
    let is_ours = |it: &crate::support::cloud::Resource| {
        it.tags.get("openclaw-pipeline:installation") == Some(&installation)
    };
    assert!(!left.iter().any(is_ours), "{left:#?}");
    assert_eq!(real.json(&["doctor", "--orphans"])["ok"], true);
}
