//! A machine of an earlier version, taken over with its state: it stays, and what it was open to is
//! closed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::lab::command;
use crate::support::machine_case::{Case, NAME};
use crate::support::netns::NetNs;
use crate::support::product::{Run, until};

/// What such a version had a machine do at its first boot.
const USER_DATA: &str = "#!/bin/sh\ndnf install -y docker\nsystemctl enable --now docker\n";

/// A machine that somebody made with Terraform alone.
struct Earlier {
    folder: tempfile::TempDir,
    address: String,
}

impl Earlier {
    fn make(case: &Case, module: &Path, variables: &Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let kind = if case.is_ec2() { "ed25519" } else { "rsa" };
        let mut keygen = command("ssh-keygen");
        keygen.args(["-q", "-t", kind, "-N", "", "-C", "", "-f"]).arg(path("key.pem"));
        assert!(keygen.status().expect("ssh-keygen").success());
        fs::copy(module.join("main.tf"), path("main.tf")).expect("the module");
        let mut variables = variables.clone();
        variables["name"] = "old".into();
        variables["user_data"] = USER_DATA.into();
        variables["public_key"] = fs::read_to_string(path("key.pem.pub")).expect("the key").into();
        fs::write(path("v.auto.tfvars.json"), variables.to_string()).expect("its variables");
        let state = format!("-state={}", path("terraform-old.tfstate").display());
        let run = |args: &[&str]| {
            let mut terraform = case.cloud.command("terraform");
            let output = terraform.current_dir(folder.path()).args(args).output().expect("runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{args:?}: {said}{}", case.cloud.log());
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        run(&["init", "-input=false"]);
        run(&["apply", "-auto-approve", "-input=false", &state]);
        let address = run(&["output", "-raw", &state, "address"]);
        until("the machine shows its key", || {
            let mut scan = command("ssh-keyscan");
            let output = scan.args(["-t", "ed25519", &address]).output().expect("ssh-keyscan");
            (!output.stdout.is_empty()).then_some(())
        });
        Self { folder, address }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn state(&self) -> String {
        fs::read_to_string(self.path("terraform-old.tfstate")).expect("the state")
    }

    /// What the machine shows, as its owner may have it in a file.
    fn scan(&self) -> PathBuf {
        let mut scan = command("ssh-keyscan");
        let output = scan.args(["-t", "ed25519", &self.address]).output().expect("ssh-keyscan");
        let path = self.path("hosts");
        fs::write(&path, output.stdout).expect("written");
        path
    }

    fn adopt(&self, case: &Case) -> Run {
        let run = case.product.run(["adopt", NAME, "--no-link"]);
        let run = run.arg("--state").arg(self.path("terraform-old.tfstate").to_str().expect("one"));
        let run = run.arg("--key").arg(self.path("key.pem").to_str().expect("a path"));
        run.arg("--known-hosts").arg(self.path("hosts").to_str().expect("a path"))
    }
}

fn lab(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/cloud").join(folder)
}

#[test]
fn a_machine_on_ec2_is_taken_over_with_what_it_holds() {
    let Some(mut case) = Case::start("ec2") else { return };
    let Some([image, _]) = case.cloud.standin() else { return };
    case.product.set("OPENCLAW_PIPELINE_IMAGE", &image);
    let earlier = Earlier::make(&case, &lab("earlier/ec2"), &json!({}));
    let (id, before) = (case.only().id, earlier.state());
    // Any program will do: what counts is who has the port.
    let old = format!(
        "docker run -d --restart=always --name old -p 18789:18789 {image} sh -c 'while :; do sleep \
         60; done'"
    );
    until("the machine has Docker, and the earlier version's container runs", || {
        let run = format!("docker info >/dev/null 2>&1 && {{ {old} >/dev/null 2>&1 || true; }}");
        case.cloud.run(&id, &format!("{run} || true"));
        let there = case.cloud.run(&id, "docker ps -q --filter publish=18789 2>/dev/null || true");
        (!there.trim().is_empty()).then_some(())
    });

    // What is wrong is refused before anything is written or changed.
    let calls = case.cloud.called("CreateTags");
    earlier.adopt(&case).code(4).says("knows no key of").says("ssh-keyscan");
    earlier.scan();
    let key = earlier.path("key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("opened");
    earlier.adopt(&case).code(2).says("key.pem").says("chmod");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("closed");
    earlier.adopt(&case).arg("--target").arg("lightsail").code(2).says("on ec2");
    case.product.run(["adopt", NAME, "--state", "none", "--key", "none"]).code(2).says("no file");
    let own = earlier.path("terraform-old.tfstate");
    earlier.adopt(&case).env("TF_STATE", own.to_str().expect("a path")).code(4).says("TF_STATE");
    let theirs = case.theirs();
    theirs.refused(earlier.adopt(&case));
    assert_eq!(case.cloud.called("CreateTags"), calls);
    assert!(!case.product.deployment(NAME).exists());

    // The machine is taken over, and the gateway on it goes on as long as its owner lets it.
    let adopted = earlier.adopt(&case).arg("--image").arg(&image).code(4);
    adopted.says(&format!("taking over the machine {id}")).says("the container old has port 18789");
    adopted.says("docker stop old");
    case.tells_the_way(&adopted);
    assert_eq!((case.only().id, earlier.state()), (id.clone(), before));
    case.all_is_accounted_for();
    let state: Value = serde_json::from_str(&case.text("terraform.tfstate")).expect("a state");
    assert!(!state.to_string().contains("terraform_data"), "{state}");
    let rules = case.cloud.api(
        "for it in boto3.client('ec2').describe_security_group_rules()['SecurityGroupRules']:\n  \
         if not it['IsEgress'] and 'CidrIpv4' in it and it.get('Tags'): \
         print(it['FromPort'], it['CidrIpv4'])",
    );
    let mut rules: Vec<&str> = rules.lines().collect();
    rules.sort_unstable();
    let ssh = format!("22 {}/32", case.cloud.operator());
    assert_eq!(rules, ["18789 0.0.0.0/0", &ssh], "SSH is not open to the world any more");
    let open = case.cloud.api(
        "for it in boto3.client('ec2').describe_security_groups()['SecurityGroups']:\n  \
         if it['GroupName'] != 'default': print(sorted((p['FromPort'], \
         r['CidrIp']) for p in it['IpPermissions'] for r in p['IpRanges']))",
    );
    assert!(!open.contains("4000") && open.matches("0.0.0.0/0").count() == 1, "{open}");
    earlier.adopt(&case).code(4).says("is there already").says("launch m --target ec2");
    theirs.refused(case.destroy());

    case.cloud.run(&id, "docker update --restart=no old && docker stop old");
    let mut live = case.product.run(["launch", NAME, "--no-link", "--json"]).live();
    while live.line().is_some() {
        case.no_secret_in_arguments();
    }
    assert_eq!(live.done().code, 0);
    assert_eq!(case.product.status(NAME), "running");
    assert_eq!(case.only().id, id);
    // Another launch changes nothing of it, and removal leaves nothing.
    let Some(netns) = NetNs::create() else { return };
    case.plain_from(&netns).expect("everybody reaches it");
    case.product.set("EXPOSE", "operator");
    case.product.run(["deploy", NAME, "--no-link"]).ok();
    case.plain_from(&netns).expect_err("only the operator reaches it");
    assert_eq!(case.only().id, id);
    case.destroys_all();
}

#[test]
fn a_machine_on_lightsail_is_taken_over_into_a_bucket() {
    let Some(mut case) = Case::start("lightsail") else { return };
    let variables = json!({ "ssh_from": "0.0.0.0/0" });
    let earlier = Earlier::make(&case, &lab("earlier/lightsail"), &variables);
    let id = case.only().id;
    earlier.scan();
    case.cloud.api("boto3.client('s3').create_bucket(Bucket='states')");
    case.product.set("TF_STATE", "s3://states/m.tfstate");
    // Refused before anything is done: a plan knows what would be taken over.
    case.cloud.refuse("GetBundles", "AccessDeniedException", 2);
    earlier.adopt(&case).code(5).says("lightsail:GetBundles");
    case.cloud.heal();
    let plan = case.product.json(["plan", NAME]);
    let changes = plan["changes"].as_array().expect("changes").iter();
    let mut anew = changes.filter(|it| it["action"] == "create").map(|it| it["what"].clone());
    assert!(!anew.any(|it| it == "the instance" || it == "the address"), "{plan:#}");
    case.launch_to_the_image();
    assert_eq!(case.only().id, id);
    let text = case.cloud.api(
        "print(boto3.client('s3').get_object(Bucket='states', Key='m.tfstate')['Body'].read().decode())",
    );
    // A static IP carries no tag and keeps its earlier name: the state alone knows it.
    case.all_is_held_in(&text);
    // Gone before it could be used: nothing is made in its place.
    case.destroys_all();
}
