//! The command line around machines in a cloud: what is looked at, prepared and refused before
//! anything is made, and the ways to a gateway there.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::cloud::Cloud;
use crate::support::lab::{cloud_search_path, search_path};
use crate::support::machine_case::{KEY, good};
use crate::support::product::{Live, Product, send, until};
use crate::support::real::CURRENT;

/// An installation whose AWS is the lab's.
fn on_aws(cloud: &Cloud) -> Product {
    let mut product = Product::bare();
    for (name, value) in cloud.environment() {
        product.set(name, value);
    }
    product.set("OPENCLAW_PIPELINE_SSH_CIDR", format!("{}/32", cloud.operator()));
    product.set("ANTHROPIC_API_KEY", KEY);
    with_tools(&mut product);
    product
}

fn with_tools(product: &mut Product) {
    let path = format!("{}:{}", product.path("bin").display(), cloud_search_path());
    product.set("PATH", path);
}

fn path_in(answer: &Value, member: &str) -> PathBuf {
    PathBuf::from(answer[member].as_str().expect("a path"))
}

#[test]
fn a_plan_says_what_would_be_made_and_what_it_costs_and_makes_nothing() {
    let Some(cloud) = Cloud::start() else { return };
    let product = on_aws(&cloud);
    let plan = product.json(["plan", "one", "--target", "ec2"]);
    assert_eq!((&plan["region"], &plan["size"]), (&"us-east-1".into(), &"t3.medium".into()));
    let changes = plan["changes"].as_array().expect("changes");
    assert!(changes.iter().all(|it| it["action"] == "create"), "{changes:?}");
    for what in ["the instance", "the address", "the SSH key", "the firewall"] {
        assert!(changes.iter().any(|it| it["what"] == what), "{what} is missing: {changes:?}");
    }
    let cost = &plan["cost"];
    assert_eq!(cost["parts"].as_array().map(Vec::len), Some(3), "{cost}");
    assert!(cost["per_month"].as_str().is_some_and(|it| it.starts_with("~$")), "{cost}");
    assert!(cost["usd_per_month"].as_f64().is_some_and(|it| it > 10.0), "{cost}");
    // A size without a row has no price, and none is guessed.
    let odd = product.run(["plan", "one", "--target", "ec2", "--size", "m5.large"]).ok();
    odd.answers("the instance").answers("\nm5.large").answers("\nin sum").answers("unknown\n");
    let bundle = product.run(["infra", "plan", "two", "--target", "lightsail"]).ok();
    bundle.answers("two on lightsail in us-east-1, medium_3_0").answers("~$");
    cloud.assert_empty();
    assert_eq!(product.json(["list"])["items"].as_array().map(Vec::len), Some(0));
    let left = fs::read_dir(product.home().join("looks")).expect("the directory").count();
    assert_eq!(left, 0, "a look leaves nothing");
    assert!(!product.deployment("one").exists());
}

/// What a checkout of the project has that is taken from it.
fn checkout(at: &Path) {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["terraform/ec2", "terraform/lightsail"] {
        fs::create_dir_all(at.join(folder)).expect("a folder");
        for entry in fs::read_dir(project.join(folder)).expect("the module").flatten() {
            if entry.file_type().is_ok_and(|it| it.is_file()) {
                let to = at.join(folder).join(entry.file_name());
                fs::copy(entry.path(), to).expect("copied");
            }
        }
    }
    fs::copy(project.join("docker-compose.yml"), at.join("docker-compose.yml")).expect("copied");
}

#[test]
fn a_checkout_is_what_machines_are_made_from_and_has_to_be_whole() {
    let Some(cloud) = Cloud::start() else { return };
    let mut product = on_aws(&cloud);
    let mine = product.work().join("mine");
    checkout(&mine);
    // A path is meant from the working directory.
    product.set("PIPELINE_DIR", "mine");
    let plan = || product.json(["plan", "one", "--target", "lightsail"])["changes"].clone();
    let has_own = |changes: &Value| {
        changes.as_array().expect("changes").iter().any(|it| it["what"] == "terraform_data")
    };
    let (main, script) = (mine.join("terraform/lightsail/main.tf"), "user-data.sh");
    let shipped = plan();
    assert!(!has_own(&shipped), "{shipped}");
    let text = fs::read_to_string(&main).expect("the module");
    fs::write(&main, format!("{text}\nresource \"terraform_data\" \"mine\" {{}}\n"))
        .expect("edited");
    let edited = plan();
    assert!(has_own(&edited), "{edited}");

    fs::remove_file(mine.join("terraform/lightsail").join(script)).expect("removed");
    let lacks = format!("terraform/lightsail/{script} is missing there");
    for args in [&["plan", "one"][..], &["launch", "one"], &["infra", "init"]] {
        let run = args[1..].iter().fold(product.run([args[0]]), |run, arg| run.arg(arg));
        let refused = run.arg("--target").arg("lightsail").code(2);
        refused
            .says("PIPELINE_DIR names ")
            .says(&lacks)
            .says("set PIPELINE_DIR to a whole checkout");
    }
    assert!(!product.deployment("one").join("terraform.tfstate").exists());
    assert!(!product.deployment("one").join("ssh").exists(), "not even a key is made");
    product.run(["plan", "two", "--target", "ec2"]).ok();
    product.run(["destroy", "one", "--yes"]).ok();
    fs::remove_file(mine.join("docker-compose.yml")).expect("removed");
    let refused = product.run(["plan", "two", "--target", "ec2"]).code(2);
    refused.says("docker-compose.yml is missing there");
    product.set("PIPELINE_DIR", "nowhere");
    let refused = product.run(["plan", "two", "--target", "ec2"]).code(2);
    refused.says("PIPELINE_DIR is a checkout").says("nowhere\" is no directory");
    cloud.assert_empty();
}

#[test]
fn what_is_prepared_before_a_launch_is_kept_and_counts() {
    let Some(cloud) = Cloud::start() else { return };
    let product = on_aws(&cloud);
    let made = product.json(["infra", "config", "one", "--target", "ec2"]);
    let path = path_in(&made, "path");
    assert_eq!(
        (&path, &made["kept"]),
        (&product.deployment("one").join("terraform.tfvars"), &false.into())
    );
    let text = fs::read_to_string(&path).expect("the values");
    assert!(text.contains("\"us-east-1\"") && text.contains("\"t3.medium\""), "{text}");
    let text = text.replace("t3.medium", "t3.large");
    fs::write(&path, &text).expect("written");
    assert_eq!(product.json(["infra", "config", "one"])["kept"], true);
    assert_eq!(fs::read_to_string(&path).expect("the values"), text);

    let key = path_in(&product.json(["infra", "create-key", "one"]), "key");
    let bytes = fs::read(&key).expect("the key");
    product.run(["infra", "create-key", "one"]).ok();
    assert_eq!(fs::read(&key).expect("the key"), bytes, "it is kept");
    product.run(["infra", "init", "--target", "ec2"]).ok();
    let plan = product.run(["plan", "one", "--size", "t3.small", "--json"]).ok();
    assert_eq!(plan.json()["size"], "t3.large");
    plan.answers("terraform.tfvars says t3.large");
    // A word that is no size is refused as a flag is, and says where it stands.
    fs::write(&path, text.replace("t3.large", "T3 large")).expect("written");
    product.run(["plan", "one"]).code(2).says("terraform.tfvars");
    fs::write(&path, &text).expect("written");

    let removed = product.json(["infra", "delete-key", "one"])["removed"].clone();
    assert_eq!(removed.as_array().map(Vec::len), Some(2), "{removed}");
    assert!(!key.exists() && path.exists());
    cloud.assert_empty();
}

#[test]
fn what_is_wrong_is_refused_before_anything_is_made() {
    let Some(cloud) = Cloud::start() else { return };
    let mut product = on_aws(&cloud);
    product.unset("ANTHROPIC_API_KEY");
    for target in ["ec2", "lightsail"] {
        let idle = product.run(["launch", "one", "--target", target]).code(2);
        idle.says("no credential of a provider").says("ANTHROPIC_API_KEY");
    }
    assert_eq!(product.json(["list"])["items"].as_array().map(Vec::len), Some(0));
    product.set("ANTHROPIC_API_KEY", KEY);
    let old = "#!/bin/sh\necho '{\"terraform_version\":\"1.5.7\"}'\n";
    product.tool("old-terraform", old);
    let plan = |args: &[&str]| {
        let run = product.run(["plan", "one", "--target", "ec2"]);
        args.iter().fold(run, |run, arg| run.arg(arg))
    };
    plan(&["--region", "us-west-22"]).code(2).says("AWS_REGION");
    plan(&["--region", "us-east-9"]).code(2).says("us-east-9");
    plan(&["--size", "t3.mediun"]).code(2).says("t3.mediun");
    plan(&["--ssh-cidr", "0.0.0.0/0"]).code(2).says("never open to the world");
    plan(&["--expose", "everybody"]).code(2).says("EXPOSE");
    for (port, whose) in [("22", "SSH"), ("4000", "the pipeline server")] {
        plan(&["--port", port]).code(2).says("GATEWAY_PORT").says(whose);
        let launch = product.run(["launch", "one", "--target", "lightsail", "--port", port]);
        launch.code(2).says("GATEWAY_PORT").says(whose).says("name another port");
    }
    plan(&[]).env("TF_BIN", "no-terraform").code(5).says("not installed").says("1.10");
    let path = search_path();
    let mut programs = std::env::split_paths(&path).map(|it| it.join("terraform"));
    let terraform = programs.find(|it| it.exists()).expect("Terraform is here");
    let alone = plan(&[]).env("TF_BIN", terraform).env("PATH", product.path("bin"));
    alone.code(5).says("install OpenSSH's client");
    plan(&[]).env("TF_BIN", "old-terraform").code(5).says("1.5.7");
    product.run(["plan", "one", "--target", "docker"]).code(2).says("makes no machines");
    product.run(["deploy", "one"]).code(3).says("launch one --target ec2");
    product.run(["infra", "show", "one"]).code(3);
    assert_eq!(product.json(["list"])["items"].as_array().map(Vec::len), Some(0));
    // A launch is recorded before it looks, and can be taken back.
    let launch = product.run(["launch", "one", "--target", "ec2", "--size", "t3.mediun"]).code(2);
    launch.says("step prepare").says("t3.mediun");
    // What was never made can be another one.
    product.tool("slow-terraform", "#!/bin/sh\nexec sleep 60\n");
    let args = ["launch", "one", "--target", "ec2", "--size", "t3.smal"];
    let mut live = product.run(args).arg("--json").env("TF_BIN", "slow-terraform").live();
    while let Some(line) = live.line() {
        if line.contains("\"step\":\"prepare\",\"status\":\"running\"") {
            break;
        }
    }
    live.signal(Signal::KILL);
    assert!(live.done().code < 0);
    // Whoever only looks does not end what a killed launch has left at work.
    product.run(["plan", "one"]).code(4).says("the launch of one has not come to its end");
    let other = product.run(["launch", "one", "--target", "ec2"]).code(2);
    other.says("t3.smal");
    assert!(!other.stderr.contains("t3.mediun"), "{}", other.stderr);
    product.run(["destroy", "one", "--yes"]).ok();
    cloud.assert_empty();
}

#[test]
fn what_is_for_machines_is_refused_elsewhere() {
    let mut product = Product::new();
    product.launch();
    for args in [
        &["tunnel"][..],
        &["shell", "--host"],
        &["deploy"],
        &["plan"],
        &["infra", "show"],
        &["infra", "config"],
        &["infra", "apply"],
        &["infra", "destroy", "--yes"],
    ] {
        let run = args[1..].iter().fold(product.run([args[0]]), |run, arg| run.arg(arg));
        run.code(4).says("main runs on this machine (the process target)").says("open main");
    }
    product.run(["url", "--tunnel"]).code(4).says("needs no tunnel");
    product.run(["url"]).ok().answers(&format!("http://127.0.0.1:{}/#", product.port()));
    product.run(["plan", "--target", "ec2"]).code(4).says("on the process target");

    let on = |args: [&str; 1]| product.run(["--on", "ec2"]).arg(args[0]);
    on(["url"]).code(4).says("main is on the process target, and this is for ec2");
    product.run(["--on", "process", "url"]).ok();
    on(["list"]).code(2).says("--on goes with a command for one deployment");
    let other = on(["url"]).env("TF_DIR", "terraform/lightsail").code(2);
    other.says("TF_DIR (environment) says the lightsail target");
    on(["url"]).env("TF_DIR", "terraform/ec2").code(4);
    product.set("TF_DIR", "elsewhere");
    product.run(["--on", "ec2", "url"]).code(2).says("TF_DIR is terraform/ec2 or");
    assert_eq!(product.status("main"), "running");
}

/// Reads on until a tunnel says that it is in a state.
fn says(live: &mut Live, state: &str) -> Value {
    while let Some(line) = live.line() {
        let said: Value = serde_json::from_str(&line).expect("an object");
        if said["state"] == state {
            return said;
        }
    }
    panic!("the tunnel was never {state}");
}

fn startupz(port: u16) -> String {
    let mut tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    tcp.set_read_timeout(Some(Duration::from_secs(20))).expect("a deadline");
    let host = format!("127.0.0.1:{port}");
    write!(tcp, "GET /startupz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    while !answer.contains('}') {
        let mut chunk = [0; 1024];
        let read = tcp.read(&mut chunk).expect("an answer");
        assert!(read > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    answer
}

fn is_reached_through_a_tunnel(target: &str) {
    let Some(cloud) = Cloud::start() else { return };
    let Some([image, _]) = cloud.standin() else { return };
    let mut product = on_aws(&cloud);
    product.set("EXPOSE", "none");
    product.set("OPENCLAW_PIPELINE_IMAGE", image);
    let launched = good(product.run(["launch", "one", "--target", target]));
    let prefix = if target == "ec2" { "ec2" } else { "ls" };
    for line in [
        format!("[1/4] {prefix}-create-key\n"),
        format!("[2/4] {prefix}-config\n"),
        format!("[3/4] {prefix}-setup\n"),
        format!("[4/4] deploy-{prefix}\n"),
    ] {
        launched.says(&line);
    }
    let counted =
        |line: &&str| line.trim_start().contains('/') && line.trim_end().ends_with(" resources");
    assert!(launched.stderr.lines().any(|line| counted(&line)), "{}", launched.stderr);
    launched.says("tunnel one").says("  logs    ").says("  shell   ").says("destroy one");
    assert!(!launched.stderr.contains("another machine"), "{}", launched.stderr);
    let port = product.port();
    launched.answers(&format!("http://127.0.0.1:{port}/#"));

    // Its own port is taken here: a page is let in from no other one.
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port");
    product.run(["tunnel", "one"]).code(4).says("is taken").says("--port ");
    drop(other);
    let mut tunnel = product.run(["tunnel", "one", "--json"]).live();
    let up = says(&mut tunnel, "up");
    assert_eq!(up["url"], format!("http://127.0.0.1:{port}/"));
    assert_eq!((&up["answers"], &up["for_browsers"]), (&true.into(), &true.into()));
    let answer = startupz(port);
    assert!(answer.contains("200 OK") && answer.contains("started"), "{answer}");
    // A connection that breaks is made again.
    let forward = format!("127.0.0.1:{port}:127.0.0.1:{port}");
    let client = until("the client runs", || {
        let all = product.processes();
        all.iter().find(|it| it.args.contains(&forward)).map(|it| it.pid)
    });
    send(client, Signal::KILL);
    says(&mut tunnel, "broken");
    says(&mut tunnel, "up");
    assert!(startupz(port).contains("started"));
    tunnel.signal(Signal::INT);
    assert_eq!(tunnel.done().code, 0);

    // On a terminal the desktop's browser is asked, here by what ends the tunnel then.
    product.tool("xdg-open", "#!/bin/sh\necho \"$1\" >\"${0%/*}/opened\"\nkill -INT $PPID\n");
    if let Some(tunnel) = product.run(["tunnel", "one"]).env("DISPLAY", ":9").on_a_terminal() {
        let done = good(tunnel);
        done.answers(&format!("http://127.0.0.1:{port}/"));
        let opened = fs::read_to_string(product.path("bin/opened")).expect("it was opened");
        assert_eq!(opened.trim(), format!("http://127.0.0.1:{port}/"));
    }

    let shell = product.run(["shell", "one", "--host"]).stdin("whoami; docker --version\n").ok();
    shell.answers("ec2-user").answers("Docker version");
    let log = product.run(["logs", "one", "--tail", "200"]).ok();
    log.answers("gateway");
    good(product.run(["stop", "one"]));
    assert_eq!(product.status("one"), "stopped");
    good(product.run(["start", "one"]));
    assert_eq!(product.status("one"), "running");
    product.run(["approve", "one"]).ok().answers("No browser is waiting");
    product.run(["openclaw", "one", "--", "--version"]).ok().answers(CURRENT);
    terminals(&product);
    let shown = product.run(["infra", "show", "one"]).ok();
    let kinds = match target {
        "ec2" => ["aws_instance", "aws_eip"],
        _ => ["aws_lightsail_instance", "aws_lightsail_static_ip"],
    };
    for kind in kinds {
        shown.answers(kind);
    }
    assert!(!shown.stdout.contains("PRIVATE KEY"), "{}", shown.stdout);
    let held = product.json(["infra", "show", "one"])["resources"].clone();
    assert!(held.as_array().is_some_and(|it| it.len() > 3), "{held}");
    product.run(["infra", "delete-key", "one"]).code(4).says("has a machine");
    product.run(["plan", "one"]).ok().answers("Nothing would change");
    // Others may reach it from now on.
    product.set("EXPOSE", "operator");
    let plan = product.json(["plan", "one"]);
    let changes = plan["changes"].as_array().expect("changes");
    let others = changes.iter().any(|it| !it["what"].to_string().contains("firewall"));
    assert!(!changes.is_empty() && !others, "{plan}");
    product.run(["launch", "one"]).ok().says("one runs with another EXPOSE");
    // The machine alone, first.
    good(product.run(["infra", "apply", "one"]));
    product.run(["plan", "one"]).ok().answers("Nothing would change");
    let deployed = good(product.run(["deploy", "one"]));
    let address = cloud.instances()[0].public.expect("an address");
    deployed.answers(&format!("http://{address}:{port}/#")).says("plain HTTP");
    product.run(["list"]).ok().says("plain HTTP").says("expose one tunnel");
    // A shared connection that is dead is not waited for in vain.
    let shared = shared_connection(&product);
    send(shared, Signal::STOP);
    product.run(["url", "one"]).ok().says("url one --tunnel");
    send(shared, Signal::KILL);
    // Terraform's work is seen where something can move.
    if let Some(destroy) = product.run(["infra", "destroy", "one", "--yes"]).on_a_terminal() {
        good(destroy).answers("resources").answers("\u{2588}");
    }
    cloud.assert_empty();
}

#[test]
fn a_gateway_on_ec2_that_nobody_else_reaches_is_reached_through_a_tunnel() {
    is_reached_through_a_tunnel("ec2");
}

#[test]
fn a_gateway_on_lightsail_that_nobody_else_reaches_is_reached_through_a_tunnel() {
    is_reached_through_a_tunnel("lightsail");
}

/// The process that holds the shared connection: it stands where the sockets are.
fn shared_connection(product: &Product) -> i32 {
    let sockets = product.home().join("ssh");
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let mut here =
        all.filter(|it| fs::read_link(it.path().join("cwd")).is_ok_and(|at| at == sockets));
    let name = here.next().expect("a shared connection").file_name();
    name.to_str().and_then(|it| it.parse().ok()).expect("a process")
}

/// A shell is a terminal's where there is one: on the machine and in the gateway's container.
fn terminals(product: &Product) {
    let there = product.run(["shell", "one", "--host"]);
    for (shell, who) in [(there, "ec2-user"), (product.run(["shell", "one"]), "node")] {
        if let Some(shell) = shell.stdin("tty; id -un; exit 7\n").on_a_terminal() {
            shell.code(7).answers("/dev/pts/").answers(who);
        }
    }
}
