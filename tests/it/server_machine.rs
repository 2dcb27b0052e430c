//! The pipeline server on a machine of its own, in the lab's cloud: made, reached, deployed again with
//! work under way, and gone without a trace. The simulator enforces no policy: what the role may do
//! is the module's tests' to say.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::engine::Engine;
use crate::support::lab::search_path;
use crate::support::machine_case::{Case, KEY, ends};
use crate::support::own_server::{Reached, answer, case, server, static_program, there};
use crate::support::product::{NEWEST, Product, Run, until};

/// Where the server there keeps what is its own.
const DATA: &str = "/var/lib/openclaw-pipeline/server";
/// An AWS key for the server alone: distinctive, so that a leak is found.
const AWS_KEY: [&str; 2] = ["AKIASERVERSOWN000001", "the-servers-own-secret-Zx81qQ01"];

/// No secret stands in a file there that others can read, in an argument, or in the journal; and
/// nowhere in clear on the operator's side.
fn secrets_are_nowhere(case: &Case, secrets: &[&str]) {
    for secret in secrets {
        let found = there(
            case,
            &format!(
                "find /etc /usr/local /var/lib/openclaw-pipeline /var/log /run /tmp -xdev -type f \
                 -perm /044 -exec grep -lF -e '{secret}' {{}} + 2>/dev/null; \
                 journalctl --no-pager | grep -cF -e '{secret}' | grep -v '^0$'; true"
            ),
        );
        assert_eq!(found, "", "there");
        let arguments = there(case, "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'");
        assert!(arguments.contains("serve") && !arguments.contains(secret), "{arguments}");
    }
    let mut open = vec![case.product.home()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let kind = entry.file_type().expect("a type");
            if kind.is_dir() && entry.file_name() != "providers" {
                open.push(entry.path());
            } else if kind.is_file() {
                let bytes = fs::read(entry.path()).unwrap_or_default();
                for secret in secrets {
                    let found = bytes.windows(secret.len()).any(|it| it == secret.as_bytes());
                    assert!(!found, "a secret stands in {}", entry.path().display());
                }
            }
        }
    }
}

/// A program that says its version and does nothing else.
fn broken_program(product: &Product) -> String {
    let (source, program) = (product.path("broken.c"), product.path("broken"));
    let text = "#include <stdio.h>\n#include <string.h>\n\
                int main(int n, char **args) {\n\
                if (n > 1 && !strcmp(args[1], \"--version\")) { puts(\"openclaw-pipeline 9.9.9\"); return 0; }\n\
                fputs(\"not today\\n\", stderr); return 7; }\n";
    fs::write(&source, text).expect("written");
    let built = Command::new("cc").arg("-static").arg("-o").args([&program, &source]).status();
    assert!(built.expect("a compiler").success());
    program.to_string_lossy().into_owned()
}

/// Puts an installed gateway, the stand-in, into the server's data directory: one that listens only
/// once a file is there.
fn lay_slow_gateway(case: &Case) {
    let engine = Engine::get().expect("it runs");
    let laid = Product::bare();
    let wait = json!({ "listen_after": format!("{DATA}/go") });
    laid.install_faulty(NEWEST, Some(&wait.to_string()));
    let from = laid.home().join("runtime");
    let to = format!("{}:{DATA}/runtime", case.only().container);
    engine.docker(&["cp", &from.to_string_lossy(), &to]);
    there(case, &format!("chown -R openclaw-pipeline: {DATA}/runtime && ls {DATA}/runtime"));
}

/// A launch that is under way there goes on, as the same operation in another process, while another
/// release takes this one's place.
fn outlives(case: &Case, reached: &Reached, token: &str, other: impl FnOnce() -> Run) {
    lay_slow_gateway(case);
    let launch = json!({ "name": "slow", "target": "process" }).to_string();
    let (status, begun) = reached.call("POST", "/launch", Some(token), &launch).expect("answered");
    assert_eq!(status, 202, "{begun}");
    let path = format!("/v1/operations/{}", begun["operation_id"].as_str().expect("an id"));
    let operation = || reached.get(&path, Some(token)).1;
    let step = |operation: &Value, name: &str| {
        let steps = operation["steps"].as_array().cloned().unwrap_or_default();
        steps.into_iter().find(|it| it["name"] == name).map(|it| it["status"].clone())
    };
    until("it waits for its gateway", || {
        let now = operation();
        assert_eq!(now["status"], "running", "{now}");
        (step(&now, "prove") == Some(json!("running"))).then_some(())
    });
    let process = "systemctl show -P MainPID openclaw-pipeline";
    let before = there(case, process);
    let other = answer(other());
    assert_eq!(other["token"], Value::Null);
    assert_ne!(there(case, process), before, "another process");
    assert_eq!(operation()["status"], "running");
    there(case, &format!("touch {DATA}/go"));
    until("the launch comes to its end", || (operation()["status"] != "running").then_some(()));
    let ended = operation();
    assert_eq!(ended["status"], "succeeded", "{ended}");
}

#[test]
fn a_server_on_ec2_is_made_deployed_again_and_removed() {
    let Some(mut case) = case("ec2") else { return };
    case.product.set("OPENCLAW_PIPELINE_LOCAL_TARGETS", "true");
    case.product.set("OPENCLAW_PIPELINE_WEBHOOK_RETRY", "30m");

    // The machine first, and the rest killed on its way.
    let made = answer(server(&case, ["setup"]));
    assert_eq!((&made["status"], &made["token"]), (&json!("stopped"), &Value::Null), "{made}");
    let machine = case.only();
    case.all_is_accounted_for_of("server");
    let sizes = "for it in boto3.client('ec2').describe_instances()['Reservations']:\n\
                 \tprint(it['Instances'][0]['InstanceType'])";
    assert_eq!(case.cloud.api(sizes).trim(), "t3.xlarge");
    let kinds: BTreeSet<String> = case.cloud.state().into_iter().map(|it| it.kind).collect();
    assert!(kinds.contains("iam:role") && kinds.contains("iam:instance-profile"), "{kinds:?}");
    ends(server(&case, ["url"]), 3);
    let killed_at = |run: Run, step: &str| {
        let live = Case::at(run, step);
        live.signal(Signal::KILL);
        live.done();
    };
    for step in ["ship", "begin", "switch", "prove"] {
        killed_at(server(&case, ["deploy"]), step);
    }
    // Asked for otherwise than what is gone on with, whose token is told.
    let other = || server(&case, ["deploy"]).env("FRONTEND_URL", "https://first.example");
    let gone_on = ends(other().arg("--json"), 0);
    gone_on.answers("finished as it was asked for then").answers("brings what is asked for now");
    let done = gone_on.objects().pop().expect("an answer");
    assert_eq!(case.only().id, machine.id, "the same machine");
    let env = || there(&case, "cat /etc/openclaw-pipeline/server.env");
    assert!(!env().contains("https://first.example"), "{}", env());
    // One that is gone on with brings another key, too, which stands in no parameter.
    killed_at(other(), "ship");
    answer(other().env("OPENAI_API_KEY", "sk-another-key-that-only-looks-like-one"));
    assert!(env().contains("https://first.example") && env().contains("sk-another-key"));
    let token = done["token"].as_str().expect("a token").to_owned();
    let reached = Reached::told(&done);
    assert_eq!(reached.get("/status", Some(&token)).0, 200);
    assert_eq!(reached.get("/status", None).0, 401);
    // A run that was killed may have had one made; whoever goes on takes that one back.
    let tokens = reached.get("/v1/tokens", Some(&token)).1;
    let all = tokens["items"].as_array().expect("tokens");
    let good = all.iter().filter(|it| it["revoked_at"].is_null()).count();
    assert_eq!(good, 1, "{tokens:#}");

    // What it is, for whoever looks; no gateway has its name.
    let list = case.product.json(["list"]);
    assert_eq!(list["items"][0]["name"], "server");
    assert_eq!(list["items"][0]["status"], "running");
    assert_eq!(list["items"][0]["url"], done["url"]);
    let status = case.product.run(["status", "server"]).ok();
    status.answers("ec2 (the pipeline server)").answers("running");
    case.product.run(["doctor"]).done().answers("the pipeline server takes work");
    case.product.run(["launch", "server"]).code(2).says("openclaw-pipeline server");
    case.product.run(["destroy", "server", "--yes"]).code(2);
    let again = answer(server(&case, ["full-setup"]));
    assert_eq!((&again["token"], &again["url"]), (&Value::Null, &done["url"]), "shown once");
    secrets_are_nowhere(&case, &[KEY, &token]);
    let swept = case.product.json(["doctor", "--orphans"]);
    assert_eq!(swept["sweep"]["orphans"], json!([]), "{swept}");

    // A launch is under way there while another release takes this one's place, whose deploy is
    // killed and done again.
    let other = || server(&case, ["deploy"]).env("FRONTEND_URL", "https://shop.example");
    outlives(&case, &reached, &token, || {
        killed_at(other(), "switch");
        other()
    });

    // One that does not come up.
    let broken = broken_program(&case.product);
    let failed = ends(server(&case, ["deploy"]).env("OPENCLAW_PIPELINE_SERVER_BINARY", broken), 1);
    failed.says("does not start").says("not today").says("went back");
    assert_eq!(reached.get("/status", Some(&token)).0, 200);
    // The same, and who reaches it would be another one: its port is open again.
    let broken = broken_program(&case.product);
    let closing = server(&case, ["deploy", "--tunnel-only"]);
    let failed = ends(closing.env("OPENCLAW_PIPELINE_SERVER_BINARY", broken), 1);
    failed.says("does not start").says("went back");
    assert_eq!(reached.get("/status", Some(&token)).0, 200);
    assert_eq!(case.product.json(["list"])["items"][0]["status"], "running");
    let url = answer(server(&case, ["url"]));
    assert_eq!(url["version"], env!("CARGO_PKG_VERSION"));
    let env = there(
        &case,
        "cat /etc/openclaw-pipeline/server.env; stat -L -c %a-%U /etc/openclaw-pipeline/server.env",
    );
    assert!(env.contains("https://shop.example") && env.ends_with("600-root"), "{env}");
    let logs = ends(server(&case, ["logs", "--tail", "400"]), 0);
    assert!(logs.stdout.contains("the server listens") && !logs.stdout.contains(&token));

    // It is not removed while it has something.
    let refused = ends(server(&case, ["destroy", "--yes"]), 4);
    refused.says("slow (process)").says("--leave-machines");
    let (status, gone) =
        reached.call("DELETE", "/v1/deployments/slow", Some(&token), "").expect("answered");
    assert_eq!(status, 202, "{gone}");
    let path = format!(
        "/v1/operations/{}",
        gone["id"].as_str().or(gone["operation_id"].as_str()).expect("an id")
    );
    until("it is removed there", || {
        (reached.get(&path, Some(&token)).1["status"] == "succeeded").then_some(())
    });
    ends(server(&case, ["destroy"]), 2).says("--yes");
    secrets_are_nowhere(&case, &[KEY, &token]);
    case.theirs().refused(server(&case, ["destroy", "--yes"]));
    assert_eq!(reached.get("/status", Some(&token)).0, 200, "it was not even stopped");
    ends(server(&case, ["destroy", "--yes"]), 0).answers("is destroyed");
    case.cloud.assert_empty();
    assert!(!case.product.deployment("server").exists(), "its files are left");
    assert_eq!(case.product.json(["list"])["items"], json!([]));
}

#[test]
fn a_server_on_lightsail_is_reached_by_ssh_alone_with_a_key_of_its_own() {
    let Some(mut case) = case("lightsail") else { return };
    case.product.set("OPENCLAW_PIPELINE_LOCAL_TARGETS", "true");
    for (name, value) in ["ACCESS_KEY_ID", "SECRET_ACCESS_KEY"].iter().zip(AWS_KEY) {
        case.product.set(&format!("OPENCLAW_PIPELINE_SERVER_AWS_{name}"), value);
    }
    let done = answer(server(&case, ["full-setup", "--tunnel-only"]));
    let size =
        "for it in boto3.client('lightsail').get_instances()['instances']: print(it['bundleId'])";
    assert_eq!(case.cloud.api(size).trim(), "xlarge_3_0");
    let token = done["token"].as_str().expect("a token");
    let tunnel = done["tunnel"].as_str().expect("a command");
    assert!(
        tunnel.starts_with("ssh -N -L 4000:127.0.0.1:4000 ")
            && !tunnel.contains("StrictHostKeyChecking=no")
    );
    assert_eq!(done["url"], "http://127.0.0.1:4000/");
    let ports = || {
        case.cloud.api(&format!(
            "it = boto3.client('lightsail', region_name='us-east-1')\n\
             ports = it.get_instance_port_states(instanceName='{}')['portStates']\n\
             print(sorted(p['fromPort'] for p in ports if p['state'] == 'open'))",
            case.only().id
        ))
    };
    assert_eq!(ports(), "[22]");
    assert!(there(&case, "ss -ltnH 'sport = :4000'").contains("127.0.0.1:4000"));
    // The service has the key as its credential, and no file that others can read has it.
    let key = there(
        &case,
        "cat /run/credentials/openclaw-pipeline.service/aws; \
         stat -c %a-%U /usr/local/lib/openclaw-pipeline/current/aws-credentials; \
         tr '\\0' '\\n' </proc/$(systemctl show -P MainPID openclaw-pipeline)/environ | grep ^AWS_",
    );
    assert!(
        key.contains(AWS_KEY[0]) && key.contains(AWS_KEY[1]) && key.contains("600-root"),
        "{key}"
    );
    assert!(key.contains("AWS_SHARED_CREDENTIALS_FILE=/run/credentials/"), "{key}");
    assert!(!key.contains("AWS_SECRET"), "{key}");
    secrets_are_nowhere(&case, &[KEY, token, AWS_KEY[1]]);

    // Said outright, it answers others, over plain HTTP.
    let open = answer(server(&case, ["deploy", "--insecure-http"]));
    assert_eq!((ports().as_str(), &open["tunnel"]), ("[22, 4000]", &Value::Null));
    let reached = Reached::told(&open);
    assert_eq!(reached.get("/status", Some(token)).0, 200);
    assert_eq!(reached.get("/status", None).0, 401);
    outlives(&case, &reached, token, || server(&case, ["deploy", "--insecure-http"]));

    // A server that nobody reaches may have anything.
    case.cloud.befall(&case.only().id, "refuse_ssh");
    case.close_connections();
    ends(server(&case, ["destroy", "--yes"]), 4).says("not known: ");
    let left = ends(server(&case, ["destroy", "--yes", "--leave-machines"]), 0);
    left.says("Left behind").says("was not stopped before its machine goes");
    case.cloud.assert_empty();
    assert!(!case.product.deployment("server").exists(), "its files are left");
}

#[test]
fn a_role_that_may_not_be_made_is_found_before_anything_is_made() {
    let Some(case) = case("ec2") else { return };
    case.cloud.deny(&["iam:CreateRole", "iam:PassRole"]);
    let refused = ends(server(&case, ["full-setup"]), 5);
    refused.says("the AWS credentials do not allow iam:CreateRole, iam:PassRole");
    refused.says("allow iam:CreateRole, iam:PassRole to this user or role in IAM");
    case.cloud.assert_empty();
    assert!(!case.product.deployment("server").join("terraform.tfstate").exists());
    ends(server(&case, ["destroy", "--yes"]), 0);
    assert_eq!(case.product.json(["list"])["items"], json!([]));
}

#[test]
fn what_cannot_be_shipped_is_refused_before_anything_is_made() {
    let mut product = Product::bare();
    let asked = |product: &Product, args: &[&str]| {
        args.iter().fold(product.run(["server"]), |run, arg| run.arg(arg))
    };
    // The tests' own program is linked with this machine's libraries.
    for how in ["full-setup", "deploy"] {
        let code = if how == "deploy" { 3 } else { 2 };
        let refused = asked(&product, &[how]).code(code);
        if code == 2 {
            refused.says("is linked with libraries").says("make build-static");
        }
    }
    product.set("OPENCLAW_PIPELINE_SERVER_BINARY", static_program());
    asked(&product, &["full-setup"]).code(5).says("Terraform is not here");
    product.tool("terraform", "#!/bin/sh\nexit 0\n");
    asked(&product, &["full-setup"]).code(2).says("OPENCLAW_PIPELINE_SERVER_TERRAFORM");
    product.unset("OPENCLAW_PIPELINE_SERVER_BINARY");
    let script = product.path("bin/terraform");
    product.set("OPENCLAW_PIPELINE_SERVER_BINARY", script);
    asked(&product, &["full-setup"]).code(2).says("no 64-bit program");
    for command in ["logs", "url", "destroy"] {
        asked(&product, &[command]).code(3);
    }
    product.run(["--on", "docker", "server", "setup"]).code(2);
    asked(&product, &["setup", "--tunnel-only", "--insecure-http"]).code(2);
    product.set("OPENCLAW_PIPELINE_SERVER_TLS_CERT", "/nowhere");
    asked(&product, &["setup"]).code(2).says("OPENCLAW_PIPELINE_SERVER_TLS_KEY");
    assert_eq!(product.json(["list"])["items"], json!([]));
}

/// An AWS that refuses whatever it is asked: its address.
fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("it listens");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            );
        }
    });
    url
}

#[test]
fn a_server_on_lightsail_gets_no_key_that_ends() {
    let mut product = Product::bare();
    product.set("PATH", search_path());
    product.set("OPENCLAW_PIPELINE_SERVER_BINARY", static_program());
    product.set("AWS_ACCESS_KEY_ID", "AKIA0123456789ABCDEF");
    product.set("AWS_SECRET_ACCESS_KEY", "some-secret-key");
    product.set("AWS_SESSION_TOKEN", "a-session");
    let refused = product.run(["--on", "lightsail", "server", "full-setup"]).code(2);
    refused.says("no AWS key here that lasts").says("OPENCLAW_PIPELINE_SERVER_AWS_ACCESS_KEY_ID");
    assert_eq!(product.json(["list"])["items"], json!([]));
    // One that lasts goes there, and that is said before anything is made.
    product.unset("AWS_SESSION_TOKEN");
    product.set("AWS_ENDPOINT_URL", refusing());
    let begun = product.run(["--on", "lightsail", "server", "full-setup"]).done();
    begun.says("your own AWS key goes there, with all that it may do");
    begun.says("OPENCLAW_PIPELINE_SERVER_AWS_ACCESS_KEY_ID");
    assert_ne!(begun.code, 0, "{begun:?}");
}
