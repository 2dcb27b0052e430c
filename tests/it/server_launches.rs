//! The pipeline server on a machine of its own launches gateways in the cloud: with its role and no
//! key, within its hardened unit, by the Terraform that was put there; and another release that
//! takes its place ends none of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::machine_case::{Case, KEY, ends};
use crate::support::own_server::{Reached, answer, case, server, there};
use crate::support::product::until;

/// How long a launch may take on busy cores.
const PATIENCE: Duration = Duration::from_secs(300);

/// A server there, with its token.
struct There<'a> {
    case: &'a Case,
    server: Reached,
    token: String,
}

impl There<'_> {
    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &Value, status: u16) -> Value {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let said = self.server.call(method, path, Some(&self.token), &text).expect("answered");
        assert_eq!(said.0, status, "{method} {path}: {:#}", said.1);
        said.1
    }

    /// Begins to launch one; answers the operation's path.
    #[track_caller]
    fn launches(&self, name: &str, image: &str) -> String {
        let body = json!({ "name": name, "image": image, "anthropic_api_key": KEY });
        operation_of(&self.call("POST", "/launch", &body, 202))
    }

    /// As it is now. One address may ask so often and no more.
    fn operation(&self, path: &str) -> Value {
        std::thread::sleep(Duration::from_millis(400));
        self.call("GET", path, &Value::Null, 200)
    }

    /// The operation, which has succeeded.
    #[track_caller]
    fn succeeds(&self, path: &str) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let now = self.operation(path);
            if now["status"] != "running" && now["status"] != "pending" {
                // The log is long, and what comes last is read first.
                assert!(now["status"] == "succeeded", "{}\n{now:#}", self.log());
                return now;
            }
            assert!(Instant::now() < end, "it does not end: {now:#}{}", self.log());
        }
    }

    fn log(&self) -> String {
        self.run("journalctl --no-pager -u openclaw-pipeline | tail -n 40")
    }

    /// Runs a script on its machine, as root.
    fn run(&self, script: &str) -> String {
        let machine = self.server.address;
        self.case.cloud.run(&machine.to_string(), script).trim().to_owned()
    }
}

fn operation_of(begun: &Value) -> String {
    let id = begun["operation_id"].as_str().or(begun["id"].as_str()).expect("an operation");
    format!("/v1/operations/{id}")
}

/// What a machine of the lab's cannot know of itself: where this AWS is, who tells an address, and
/// where Terraform's provider lies.
fn tell_of_the_lab(case: &Case) {
    let inside = case.cloud.inside();
    let unit = format!(
        "[Service]\n\
         Environment=AWS_ENDPOINT_URL={inside}\n\
         Environment=OPENCLAW_PIPELINE_CHECKIP_URL={inside}/_lab/address\n\
         Environment=TF_CLI_CONFIG_FILE=/opt/openclaw-lab/terraform.rc"
    );
    let folder = "/etc/systemd/system/openclaw-pipeline.service.d";
    there(case, &format!("mkdir -p {folder} && echo '{unit}' >{folder}/lab.conf"));
}

#[test]
fn a_server_on_ec2_launches_with_its_role_and_goes_on_after_another_release() {
    let Some(case) = case("ec2") else { return };
    let Some([image, _]) = case.cloud.standin() else { return };
    answer(server(&case, ["setup"]));
    tell_of_the_lab(&case);
    let machine = case.only();
    let done = answer(server(&case, ["full-setup"]));
    let token = done["token"].as_str().expect("a token").to_owned();
    let there = There { case: &case, server: Reached::told(&done), token };
    let before = case.cloud.calls().len();

    // The front end's call, without a target.
    let launch = there.launches("web", &image);
    let user = "ps -C terraform -o user:32=,args= | head -n 1";
    let run = until("Terraform runs there", || {
        let operation = there.operation(&launch);
        assert_ne!(operation["status"], "failed", "{operation:#}{}", there.log());
        Some(there.run(user)).filter(|it| it.contains("apply"))
    });
    assert!(run.starts_with("openclaw-pipeline "), "{run}");
    there.succeeds(&launch);
    let web = there.call("GET", "/v1/deployments/web", &Value::Null, 200);
    assert_eq!(web["status"], "running", "{web:#}");
    let made = case.cloud.instances().into_iter().find(|it| it.id != machine.id).expect("it");
    assert_eq!(web["address"], made.public.expect("an address").to_string());

    // It found its own address out, and SSH there is open for that alone.
    let ssh = case.cloud.api(
        "it = boto3.client('ec2', region_name='us-east-1')\n\
         rules = it.describe_security_group_rules()['SecurityGroupRules']\n\
         print(*[r['CidrIpv4'] for r in rules if r['FromPort'] == 22 and not r['IsEgress']])",
    );
    let ssh: BTreeSet<String> = ssh.split_whitespace().map(str::to_owned).collect();
    let own =
        [Some(case.cloud.operator()), machine.public].map(|it| format!("{}/32", it.expect("it")));
    assert_eq!(ssh, own.into(), "the operator reaches the server, and the server what it made");

    // Another release takes its place while Terraform makes the next one. (That call is among the
    // last, and no permission is asked for by way of it.)
    case.cloud.fault(&json!({ "action": "AssociateAddress", "delay_ms": 12_000, "times": 1 }));
    let next = there.launches("next", &image);
    let is_making = |operation: &Value| {
        let steps = operation["steps"].as_array().cloned().unwrap_or_default();
        steps.iter().any(|it| it["name"] == "create_machine" && it["status"] == "running")
    };
    until("the next machine is being made", || {
        let operation = there.operation(&next);
        (is_making(&operation) && there.run(user).contains("apply")).then_some(())
    });
    let process = "systemctl show -P MainPID openclaw-pipeline";
    let first = there.run(process);
    let other = server(&case, ["deploy"]).env("FRONTEND_URL", "https://shop.example");
    ends(other.arg("--json"), 0);
    assert_ne!(there.run(process), first, "another process");
    there.succeeds(&next);
    let shown = there.call("GET", "/v1/deployments/next", &Value::Null, 200);
    assert_eq!(shown["status"], "running", "{shown:#}");
    assert_eq!(case.cloud.instances().len(), 3, "each has one machine");

    // It made them with its role, which was refused nothing.
    let calls = case.cloud.calls().split_off(before);
    for action in ["RunInstances", "ImportKeyPair", "CreateSecurityGroup", "AllocateAddress"] {
        let made = calls.iter().filter(|call| call.action == action && call.status == 200);
        let keys: Vec<_> = made.map(|call| call.key.as_str()).collect();
        let has_role = keys.iter().all(|key| key.starts_with("ASIA"));
        assert!(has_role && keys.len() == 2, "{action}: {keys:?}");
    }
    let refused: Vec<_> = calls.iter().filter(|it| matches!(it.status, 401 | 403)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    ends(server(&case, ["destroy", "--yes"]), 4).says("web (ec2)").says("next (ec2)");
    let gone = ["web", "next"].map(|name| {
        operation_of(&there.call("DELETE", &format!("/v1/deployments/{name}"), &Value::Null, 202))
    });
    for path in &gone {
        there.succeeds(path);
    }
    assert_eq!(case.only().id, machine.id);
    case.all_is_accounted_for_of("server");
}
