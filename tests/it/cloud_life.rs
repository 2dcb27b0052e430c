//! What befalls a machine that was made: no later apply replaces it, nothing is sent to another one
//! in its place, and one that is gone is said to be.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::lab::command;
use crate::support::machine_case::{Case, KEY, NAME, patient};
use crate::support::product::{Run, TOKEN};
use crate::support::source::read;

/// Puts another host key in the place of the machine's own.
const OTHER_KEY: &str = "cd /etc/ssh && cp openclaw-own-host-key /var/tmp/kept && rm openclaw-own-host-key* \
                         && ssh-keygen -q -t ed25519 -N '' -f openclaw-own-host-key \
                         && systemctl restart ssh";
/// Puts the machine's own one back.
const OWN_KEY: &str = "cp /var/tmp/kept /etc/ssh/openclaw-own-host-key && systemctl restart ssh";

/// Every file below a directory.
fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

/// What lies in the deployment's directory is its owner's alone, and holds no secret.
fn its_files_are_private(case: &Case) {
    let place = case.product.deployment(NAME);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    for directory in [place.clone(), case.file("ssh")] {
        assert_eq!(mode(&directory), 0o700, "{}", directory.display());
    }
    let state = ["terraform.tfstate", "terraform.tfstate.backup"];
    for name in ["ssh/key", "ssh/known_hosts", "terraform.tfvars"].iter().chain(&state) {
        assert_eq!(mode(&case.file(name)), 0o600, "{name}");
    }
    for name in ["ssh/once", "ssh/once.pub", "once.tfvars.json", "plan"] {
        assert!(!case.file(name).exists(), "{name} is left");
    }
    // The sealing key lies elsewhere; nothing here is in clear.
    for path in files(&case.product.home()) {
        if path.components().any(|part| part.as_os_str() == "providers") {
            continue;
        }
        let bytes = fs::read(&path).unwrap_or_default();
        for secret in [TOKEN, KEY] {
            let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "a secret stands in {}", path.display());
        }
    }
}

/// Lightsail takes RSA alone, and the longest is made for it.
fn its_key_is_of_its_kind(case: &Case) {
    let output = command("ssh-keygen").arg("-lf").arg(case.file("ssh/key")).output();
    let said = String::from_utf8_lossy(&output.expect("ssh-keygen runs").stdout).into_owned();
    let (bits, kind) = if case.is_ec2() { ("256 ", "(ED25519)") } else { ("4096 ", "(RSA)") };
    assert!(said.starts_with(bits) && said.trim_end().ends_with(kind), "{said}");
}

/// The ports that the machine's firewall lets in.
fn open_ports(case: &Case, id: &str) -> Vec<u16> {
    let ports = if case.is_ec2() {
        "it = boto3.client('ec2', region_name='us-east-1')\n\
         rules = it.describe_security_group_rules()['SecurityGroupRules']\n\
         print(*[r['FromPort'] for r in rules if not r['IsEgress']])"
            .to_owned()
    } else {
        format!(
            "it = boto3.client('lightsail', region_name='us-east-1')\n\
             ports = it.get_instance_port_states(instanceName='{id}')['portStates']\n\
             print(*[p['fromPort'] for p in ports if p['state'] == 'open'])"
        )
    };
    let ports = case.cloud.api(&ports);
    let ports: Vec<u16> = ports.split_whitespace().filter_map(|it| it.parse().ok()).collect();
    assert!(ports.contains(&22), "{ports:?}");
    ports
}

/// Every call of a life is one that the server's role allows for something, but for asking who calls,
/// which needs no permission, and for asking IAM what is allowed, which decides nothing where it is
/// refused. What it is allowed for is the module's tests to say.
fn the_servers_role_covers(case: &Case) {
    let policy: serde_json::Value =
        serde_json::from_str(&read("terraform/ec2/tests/server-policy.json")).expect("JSON");
    let statements = policy["Statement"].as_array().expect("statements").iter();
    let allowed = statements.map(|it| it["Action"].to_string()).collect::<String>();
    let called = case.cloud.calls().into_iter().map(|it| format!("{}:{}", it.service, it.action));
    let free = ["sts:GetCallerIdentity", "iam:SimulatePrincipalPolicy"];
    let called: BTreeSet<String> = called.filter(|it| !free.contains(&it.as_str())).collect();
    assert!(called.contains("ec2:DescribeRegions"), "{called:?}");
    let lacking = called.iter().filter(|it| !allowed.contains(&format!("\"{it}\"")));
    assert_eq!(lacking.collect::<Vec<_>>(), Vec::<&String>::new());
}

fn life(target: &'static str) {
    let Some(case) = Case::start(target) else { return };
    case.launch_to_the_image();
    let id = case.only().id;
    its_files_are_private(&case);
    its_key_is_of_its_kind(&case);
    // One connection for everything, before and after the machine shows its own key.
    let logins = "journalctl --no-pager -u ssh | grep -c 'Accepted publickey'";
    assert_eq!(case.cloud.run(&id, logins).trim(), "2");
    assert!(!open_ports(&case, &id).contains(&4000), "that is the pipeline server's alone");
    let same = |what: &str| {
        case.launch_to_the_image();
        assert_eq!(case.only().id, id, "{what}");
        // Without the sweep, which the server's role need not be allowed.
        case.all_is_held_in(&case.text("terraform.tfstate"));
    };

    // A newer system, another size, another script: the machine stays.
    case.cloud.release_image();
    let users = case.text("terraform.tfvars");
    let (size, larger) =
        if case.is_ec2() { ("t3.medium", "t3.large") } else { ("medium_3_0", "large_3_0") };
    fs::write(case.file("terraform.tfvars"), users.replace(size, larger)).expect("written");
    let other = ["launch", NAME, "--target", target, "--image", "ghcr.io/openclaw/none:2"];
    case.product.run(other).arg("--no-link").code(1).says("step fetch");
    assert_eq!(case.only().id, id);
    fs::write(case.file("terraform.tfvars"), users.replace("us-east-1", "us-west-2"))
        .expect("written");
    let state = case.text("terraform.tfstate");
    case.launch().code(4).says("nothing was changed").says("us-west-2");
    assert_eq!((case.only().id, case.text("terraform.tfstate")), (id.clone(), state.clone()));
    fs::write(case.file("terraform.tfvars"), &users).expect("written");

    // What a run could not write in the end is its state.
    fs::rename(case.file("terraform.tfstate"), case.file("terraform/errored.tfstate"))
        .expect("moved");
    same("errored.tfstate");
    its_files_are_private(&case);

    // A state that is none, and one that is gone.
    fs::write(case.file("terraform.tfstate"), "no state").expect("written");
    case.launch().code(2).says("terraform.tfstate.backup").says(&format!(" destroy {NAME}"));
    case.destroy().code(2).says("terraform.tfstate.backup");
    fs::remove_file(case.file("terraform.tfstate")).expect("removed");
    case.launch().code(4).says("holds nothing").says(&format!(" destroy {NAME}"));
    assert_eq!(case.only().id, id);
    fs::write(case.file("terraform.tfstate"), state).expect("written");

    // What its state calls broken would be made anew, with what is on it.
    let state = case.text("terraform.tfstate");
    let mut broken: serde_json::Value = serde_json::from_str(&state).expect("a state");
    let kind = if case.is_ec2() { "aws_instance" } else { "aws_lightsail_instance" };
    let all = broken["resources"].as_array_mut().expect("resources");
    let machine = all.iter_mut().find(|it| it["type"] == kind).expect("the machine");
    machine["instances"][0]["status"] = "tainted".into();
    fs::write(case.file("terraform.tfstate"), broken.to_string()).expect("written");
    case.launch().code(4).says("would take away").says("replace").says("nothing was changed");
    assert_eq!(case.only().id, id);
    fs::write(case.file("terraform.tfstate"), state).expect("written");

    // Its key was opened to others.
    let opened = |mode| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(case.file("ssh/key"), permissions).expect("changed");
    };
    opened(0o644);
    case.close_connections();
    case.launch().code(2).says("can be read by others").says("chmod 600");
    opened(0o600);

    // Its set-up failed; somebody else stands there.
    let said = "/var/lib/openclaw-pipeline/boot.json";
    let failed = r#"{"state":"failed","step":"docker","message":"no package docker"}"#;
    case.cloud.run(&id, &format!("cp {said} {said}.kept; echo '{failed}' >{said}"));
    case.launch_fails(1).says("no package docker");
    case.cloud.run(&id, &format!("mv {said}.kept {said}"));
    case.cloud.run(&id, OTHER_KEY);
    case.close_connections();
    case.launch_fails(4).says("nothing was sent");
    case.cloud.run(&id, OWN_KEY);

    // Switched off, and gone: both are said, and nothing is made in its place.
    case.cloud.kill(&id, "stopped");
    case.close_connections();
    case.launch_fails(1).says("switched off");
    case.cloud.kill(&id, "terminated");
    for command in [case.launch(), case.product.run(["restart", NAME])] {
        command.code(3).says("is gone").says(&format!(" destroy {NAME}"));
    }
    assert!(case.cloud.instances().is_empty());
    case.destroys_all();
    the_servers_role_covers(&case);
}

#[test]
fn a_machine_on_ec2_outlives_every_apply() {
    life("ec2");
}

#[test]
fn a_machine_on_lightsail_outlives_every_apply() {
    life("lightsail");
}

/// A gateway that ends at once.
const BROKEN: &str = "ghcr.io/openclaw/openclaw:broken";

/// One that is up, and that its users do not reach, is not said to work.
fn is_not_reached(case: &Case, id: &str, launch: Run) {
    let closed = "iptables -t mangle -I PREROUTING -p tcp --dport 18789 -j DROP";
    case.cloud.run(id, closed);
    let done = patient(launch.arg("--json"));
    assert_eq!(done.code, 1, "{done:?}");
    done.says("the gateway runs, and is not reached by this route");
    let completed = done.objects().iter().any(|it| it["type"] == "completed");
    assert!(!completed && case.product.status(NAME) != "running", "{done:?}");
}

fn does_not_stay_up(target: &'static str) {
    let Some(case) = Case::start(target) else { return };
    let launch_of = |image: &str| {
        let args = ["launch", NAME, "--target", target, "--image", image, "--no-link"];
        case.product.run(args)
    };
    let launch = || launch_of(BROKEN);
    // The machine stands before its gateway's image comes, and its disk is full by then.
    let live = Case::at(launch(), "connect");
    let id = case.only().id;
    case.cloud.befall(&id, "fill_disk");
    let done = live.done();
    assert_eq!(done.code, 1, "{done:?}");
    done.says("no space left on device");
    case.tells_the_way(&done);
    case.cloud.befall(&id, "empty_disk");

    let done = launch().code(1);
    done.says("does not stay up").says("this image is broken on purpose");
    case.tells_the_way(&done);
    case.all_is_accounted_for();
    if let Some([image, _]) = case.cloud.standin() {
        is_not_reached(&case, &id, launch_of(&image));
    }

    // There is a gateway to stop, and nobody reaches it.
    case.cloud.befall(&id, "refuse_ssh");
    case.close_connections();
    case.destroys_all().says("was not stopped before its machine goes");
}

#[test]
fn a_gateway_on_ec2_that_does_not_stay_up_is_told_and_removed_with_its_machine() {
    does_not_stay_up("ec2");
}

#[test]
fn a_gateway_on_lightsail_that_does_not_stay_up_is_told_and_removed_with_its_machine() {
    does_not_stay_up("lightsail");
}
