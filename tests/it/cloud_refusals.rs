//! What the cloud refuses a launch: most of it is found before anything is made, and the rest is
//! told with what exists and with the commands that go on and that clean up.

use serde_json::json;

use crate::support::machine_case::{Case, NAME};

/// Refused before anything is made: nothing exists, and nothing of Terraform's was run.
#[track_caller]
fn refused_in_time(case: &Case, run: crate::support::product::Run, code: i32, words: &[&str]) {
    let done = run.code(code);
    for words in words {
        done.says(words);
    }
    assert!(!case.file("terraform.tfstate").exists(), "{}", done.stderr);
    case.cloud.assert_empty();
}

fn before_anything_is_made(target: &'static str) {
    let Some(case) = Case::start(target) else { return };
    let none = case.launch().without("AWS_ACCESS_KEY_ID").without("AWS_SECRET_ACCESS_KEY");
    refused_in_time(&case, none, 5, &["credentials", "AWS_PROFILE"]);
    case.cloud.refuse("GetCallerIdentity", "InvalidClientTokenId", 1);
    refused_in_time(&case, case.launch(), 5, &["step prepare"]);
    case.cloud.refuse("GetCallerIdentity", "ExpiredToken", 1);
    refused_in_time(&case, case.launch(), 5, &["expired"]);
    case.destroys_all();

    let (size, near) =
        if case.is_ec2() { ("t3.mediun", "t3.medium") } else { ("medium_3_9", "medium_3_0") };
    let sized = case.launch().arg("--size").arg(size);
    refused_in_time(&case, sized, 2, &[size, near]);
    // What is not made yet can still be of another size.
    let other = case.launch().arg("--size").arg("enormous.9");
    refused_in_time(&case, other, 2, &["enormous.9"]);
    case.destroys_all();
    if !case.is_ec2() {
        let config = ["infra", "config", NAME, "--target", "lightsail"];
        case.product.run(config).ok();
        let users =
            format!("{}availability_zone = \"us-east-1z\"\n", case.text("terraform.tfvars"));
        std::fs::write(case.file("terraform.tfvars"), users).expect("written");
        refused_in_time(&case, case.launch(), 2, &["us-east-1z", "us-east-1a", "terraform.tfvars"]);
        case.destroys_all();
    }
    let away = case.launch().arg("--region").arg("us-wets-2");
    refused_in_time(&case, away, 2, &["us-wets-2", "us-west-2"]);
    case.destroys_all();
}

#[test]
fn what_ec2_would_refuse_is_found_before_anything_is_made() {
    before_anything_is_made("ec2");
}

#[test]
fn what_lightsail_would_refuse_is_found_before_anything_is_made() {
    before_anything_is_made("lightsail");
}

#[test]
fn permissions_and_quotas_are_found_before_anything_is_made() {
    let Some(case) = Case::start("ec2") else { return };
    case.cloud.fault(&json!({"action": "RunInstances", "code": "UnauthorizedOperation",
        "message": "You are not authorized to perform this operation. User: arn:aws:iam::1:user/x \
                    is not authorized to perform: ec2:RunInstances on resource: \
                    arn:aws:ec2:us-east-1:1:instance/* because no identity-based policy allows it"}));
    refused_in_time(&case, case.launch(), 5, &["ec2:RunInstances on arn:aws:ec2", ":instance/*"]);
    case.cloud.refuse("GetParameter", "AccessDeniedException", 1);
    refused_in_time(&case, case.launch(), 5, &["ssm:GetParameter"]);
    let large = case.launch().arg("--size").arg("t3.2xlarge");
    refused_in_time(&case, large, 5, &["vCPUs", "is 5 in this region", "8 more", "L-1216C47A"]);
    // What is not made yet can still be of another size.
    case.destroys_all();
    case.cloud.api("for _ in range(5): boto3.client('ec2').allocate_address(Domain='vpc')");
    case.launch().code(5).says("elastic IP");
    assert_eq!(case.cloud.state().iter().filter(|it| it.kind == "ec2:address").count(), 5);
    // None of these is ours.
    case.destroy().ok();
    assert_eq!(case.cloud.state().iter().filter(|it| it.kind == "ec2:address").count(), 5);
    assert_eq!(case.cloud.called("SimulatePrincipalPolicy"), 0, "a gateway's machine has no role");
}

#[test]
fn permissions_and_quotas_of_lightsail_are_found_before_anything_is_made() {
    let Some(case) = Case::start("lightsail") else { return };
    for action in ["GetBundles", "GetInstances", "GetKeyPairs", "GetStaticIps"] {
        case.cloud.refuse(action, "AccessDeniedException", 2);
        refused_in_time(&case, case.launch(), 5, &[&format!("lightsail:{action}"), "IAM"]);
        case.cloud.heal();
    }
    // What cannot be tried is asked of IAM; where that may not be asked, it refuses nothing.
    case.cloud.deny(&["lightsail:CreateInstances", "lightsail:ReleaseStaticIp"]);
    let words = ["do not allow lightsail:CreateInstances, lightsail:ReleaseStaticIp", "in IAM"];
    refused_in_time(&case, case.launch(), 5, &words);
    case.cloud.refuse("SimulatePrincipalPolicy", "AccessDenied", 100);
    case.cloud.quotas(&json!({ "L-4259AF9B": 1 }));
    let words = ["vCPUs", "is 1 in this region", "2 more", "L-4259AF9B"];
    refused_in_time(&case, case.launch(), 5, &words);
    case.cloud.quotas(&json!({ "L-4259AF9B": 20 }));
    case.cloud.api(
        "for it in range(5): boto3.client('lightsail').allocate_static_ip(staticIpName=f'a{it}')",
    );
    case.launch().code(5).says("static IPs is 5").says("L-BBF0F260");
    // None of these is ours.
    case.destroy().ok();
    let addresses = case.cloud.state().into_iter().filter(|it| it.kind == "lightsail:static-ip");
    assert_eq!(addresses.count(), 5);
}

#[test]
fn what_ec2_refuses_half_way_is_gone_on_with() {
    let Some(case) = Case::start("ec2") else { return };
    for (code, words) in [
        ("UnauthorizedOperation", "may not"),
        ("VcpuLimitExceeded", "quota"),
        ("InsufficientInstanceCapacity", "free there"),
    ] {
        let live = case.launch_at("create_machine");
        // The provider tries again where the status is one of a server's errors.
        case.cloud.refuse("RunInstances", code, 20);
        // With --json, why it failed is an event.
        let done = live.done();
        case.cloud.heal();
        assert_ne!(done.code, 0, "{done:?}");
        done.says(words);
        case.tells_the_way(&done);
        let made = case.all_is_accounted_for();
        assert!(made.iter().any(|it| it.kind == "ec2:security-group"), "{made:?}");
        case.says_what_exists(&done, &made);
        assert!(case.cloud.instances().is_empty());
    }
    let live = case.launch_at("create_machine");
    case.cloud.refuse("AllocateAddress", "RequestLimitExceeded", 2);
    case.cloud.refuse("AssociateAddress", "RequestLimitExceeded", 2);
    let done = live.done();
    done.says("step fetch");
    case.tells_the_way(&done);
    case.only();
    case.all_is_accounted_for();
    case.destroys_all();
}

#[test]
fn what_lightsail_refuses_half_way_is_gone_on_with() {
    let Some(case) = Case::start("lightsail") else { return };
    let limit = "Sorry, you've reached your maximum limit of Lightsail Instances : 2.";
    for (action, code, message, words) in [
        ("CreateInstances", "AccessDeniedException", "no", "may not"),
        ("CreateInstances", "InvalidInputException", limit, "the account's quota is used up"),
        ("AllocateStaticIp", "InvalidInputException", "no", "InvalidInputException"),
    ] {
        case.cloud.fault(&json!({"action": action, "code": code, "message": message, "times": 20}));
        let done = case.launch().done();
        case.cloud.heal();
        assert_ne!(done.code, 0);
        done.says(words);
        case.tells_the_way(&done);
        let made = case.all_is_accounted_for();
        case.says_what_exists(&done, &made);
        // What was made already would not be asked for again, and not be refused.
        case.destroys_all();
    }
    case.cloud.refuse("AllocateStaticIp", "ThrottlingException", 2);
    case.launch_to_the_image();
    case.only();
    case.all_is_accounted_for();
    case.destroys_all();
}

/// Somebody else's things have the names that a launch would give: they stay, whatever comes of it.
fn others_are_left_alone(target: &'static str, stopped_by: &[&str], others: &str, kinds: usize) {
    let Some(case) = Case::start(target) else { return };
    for action in stopped_by {
        case.cloud.fault(&json!({"action": action, "code": "InternalError", "times": 50,
                                 "status": 400}));
    }
    let live = case.launch_at("create_machine");
    case.tells_the_way(&live.done());
    case.cloud.heal();
    let own: serde_json::Value =
        serde_json::from_str(&case.text("program.tfvars.json")).expect("values");
    let name = format!("openclaw-{NAME}-{}", own["suffix"].as_str().expect("a suffix"));
    case.cloud.api(&others.replace("NAME", &name));
    let mut foreign = case.cloud.state();
    foreign.retain(|it| it.tags.is_empty());
    assert_eq!(foreign.len(), kinds, "{foreign:?}");
    let done = case.launch_fails(4);
    done.says("something else of this name");
    case.destroy().ok();
    assert_eq!(case.cloud.state(), foreign);
}

#[test]
fn what_others_made_on_ec2_under_the_same_name_is_left_alone() {
    others_are_left_alone(
        "ec2",
        &["ImportKeyPair", "CreateSecurityGroup"],
        "client = boto3.client('ec2')\nclient.create_key_pair(KeyName='NAME')\n\
         client.create_security_group(GroupName='NAME', Description='mine')",
        2,
    );
}

#[test]
fn what_others_made_on_lightsail_under_the_same_name_is_left_alone() {
    others_are_left_alone(
        "lightsail",
        &["ImportKeyPair", "AllocateStaticIp"],
        // A key and an address carry no tags there: theirs would be taken for one's own.
        "boto3.client('lightsail').create_instances(instanceNames=['NAME'], \
         availabilityZone='us-east-1a', blueprintId='amazon_linux_2023', bundleId='medium_3_0')",
        1,
    );
}
