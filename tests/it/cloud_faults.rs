//! A launch or a removal that is broken off while Terraform works: the next command goes on to the
//! end or cleans up, makes nothing twice and leaves nothing behind.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;

use rustix::process::Signal;
use serde_json::json;

use crate::support::machine_case::{Case, NAME, patient};
use crate::support::product::{Live, send, until};

/// What the cloud calls the making of a machine, and its removal.
fn verbs(case: &Case) -> (&'static str, &'static str) {
    if case.is_ec2() {
        ("RunInstances", "TerminateInstances")
    } else {
        ("CreateInstances", "DeleteInstance")
    }
}

/// A launch that has Terraform at work: what the machine needs is there, and the call that makes the
/// machine itself takes its time.
fn at_the_machine(case: &Case) -> Live {
    let live = case.launch_at("create_machine");
    case.cloud.fault(&json!({"action": verbs(case).0, "delay_ms": 5000}));
    until("the key is there", || {
        let made = case.cloud.state();
        made.iter().any(|it| it.kind.ends_with(":key-pair")).then_some(())
    });
    live
}

/// Terraform itself.
fn terraform(case: &Case) -> Option<i32> {
    let all = case.product.processes().into_iter();
    let mut own = all.filter(|it| it.args[0].ends_with("terraform") && it.args[1] == "apply");
    own.next().map(|it| it.pid)
}

#[track_caller]
fn ends_by_signal(live: Live, signal: Signal) {
    live.signal(signal);
    let done = live.done();
    assert_eq!(done.code, -9, "{done:?}");
}

fn killed(target: &'static str) {
    let Some(case) = Case::start(target) else { return };
    // Whoever launches again finds what the killed one had under way.
    ends_by_signal(at_the_machine(&case), Signal::KILL);
    case.launch_to_the_image();
    case.only();
    case.all_is_accounted_for();
    case.destroys_all();

    // Whoever destroys does not make the machine first.
    ends_by_signal(at_the_machine(&case), Signal::KILL);
    let made = case.cloud.called(verbs(&case).0);
    let done = case.destroys_all();
    done.says("giving up the launch that was interrupted");
    // The one that was under way may have been carried out since.
    assert!(case.cloud.called(verbs(&case).0) <= made + 1);
}

#[test]
fn a_killed_launch_on_ec2_is_gone_on_with_or_cleaned_up() {
    killed("ec2");
}

#[test]
fn a_killed_launch_on_lightsail_is_gone_on_with_or_cleaned_up() {
    killed("lightsail");
}

fn terraform_killed(target: &'static str) {
    let Some(mut case) = Case::start(target) else { return };
    let deep = case.product.path(&format!("data/{}", "deep".repeat(25)));
    case.product.set("OPENCLAW_PIPELINE_HOME", deep);
    let live = at_the_machine(&case);
    send(terraform(&case).expect("it is at work"), Signal::KILL);
    let done = live.done();
    assert_eq!(done.code, 1, "{done:?}");
    case.tells_the_way(&done);
    case.launch_to_the_image();
    // One connection for all commands, too long as its whole path is for a socket.
    let shared = || fs::read_dir(case.product.home().join("ssh")).expect("there").flatten().next();
    assert!(shared().expect("a connection").file_type().expect("a kind").is_socket());
    case.only();
    case.all_is_accounted_for();
    case.destroys_all();
    assert!(shared().is_none(), "it went with its machine");
}

#[test]
fn a_killed_terraform_on_ec2_is_gone_on_with_in_a_deep_directory() {
    terraform_killed("ec2");
}

#[test]
fn a_killed_terraform_on_lightsail_is_gone_on_with_in_a_deep_directory() {
    terraform_killed("lightsail");
}

fn interrupted(target: &'static str) {
    let Some(case) = Case::start(target) else { return };
    // Between the making of the instance and its being up. On EC2 Terraform knows it then, and not
    // how it is; on Lightsail it is found by its tags.
    let live = case.launch_at("create_machine");
    let looks = if case.is_ec2() { "DescribeInstances" } else { "GetOperation" };
    case.cloud.fault(&json!({"action": looks, "delay_ms": 4000, "times": 3}));
    until("the instance is made", || (!case.cloud.instances().is_empty()).then_some(()));
    live.signal(Signal::INT);
    let done = live.done();
    assert_eq!(done.code, 130, "{done:?}");
    done.says("part of the machine may be there");
    done.says("operations resume");
    done.says(&format!(" destroy {NAME}"));
    case.cloud.heal();
    if case.is_ec2() {
        case.all_is_accounted_for();
    } else {
        case.sweep_agrees(&case.cloud.state());
    }
    case.launch_to_the_image();
    case.only();
    case.all_is_accounted_for();
    case.destroys_all();
}

#[test]
fn an_interrupted_launch_on_ec2_is_gone_on_with() {
    interrupted("ec2");
}

#[test]
fn an_interrupted_launch_on_lightsail_is_gone_on_with() {
    interrupted("lightsail");
}

fn removed(target: &'static str) {
    let Some(case) = Case::start(target) else { return };
    // At first nobody lets it in, and then no registry answers.
    case.cloud.registry(false);
    let mut live = case.launch_at("create_machine");
    // Terraform does not see that the machine is there until it is set up and lets nobody in.
    let looks = if case.is_ec2() { "DescribeInstances" } else { "GetInstance" };
    case.cloud.fault(&json!({"action": looks, "held": true, "times": 100}));
    let machine = until("the machine runs", || {
        case.cloud.instances().into_iter().find(|it| it.state == "running")
    });
    let is_set_up = "grep -q done /var/lib/openclaw-pipeline/boot.json 2>/dev/null";
    case.cloud.run(&machine.id, &format!("until {is_set_up}; do sleep 0.1; done"));
    case.cloud.befall(&machine.id, "refuse_ssh");
    case.cloud.heal();
    let mut is_waiting = false;
    while let Some(line) = live.line() {
        case.no_secret_in_arguments();
        if !is_waiting && line.contains("waiting for SSH") {
            is_waiting = true;
            case.cloud.befall(&machine.id, "accept_ssh");
        }
    }
    let done = live.done();
    assert!(is_waiting, "{done:?}");
    done.says("step fetch");
    case.tells_the_way(&done);
    case.all_is_accounted_for();

    // A machine that does not take its key any more, and one that nobody gets through to, for as
    // long as it may take.
    let keys = "~ec2-user/.ssh/authorized_keys";
    let says_in_time = |what: &str| {
        case.close_connections();
        let done = patient(case.launch().env("OPENCLAW_PIPELINE_BOOT_TIMEOUT", "2s"));
        assert_eq!(done.code, 1, "{done:?}");
        done.says(what);
        case.tells_the_way(&done);
        case.all_is_accounted_for();
        case.only();
    };
    case.cloud.run(&machine.id, &format!("mv {keys} {keys}.kept"));
    says_in_time("does not take the deployment's SSH key");
    case.cloud.run(&machine.id, &format!("mv {keys}.kept {keys}"));
    case.cloud.befall(&machine.id, "refuse_ssh");
    says_in_time("OPENCLAW_PIPELINE_SSH_CIDR");

    // Refused once: what is left is said, and accounted for.
    let code = if case.is_ec2() { "UnauthorizedOperation" } else { "AccessDeniedException" };
    case.cloud.refuse(verbs(&case).1, code, 1);
    let done = case.destroy().code(5);
    done.says("may not do this");
    done.says(&format!(" destroy {NAME}"));
    case.all_is_accounted_for();
    case.only();

    // Killed half way, and done again.
    case.cloud.fault(&json!({"action": verbs(&case).1, "delay_ms": 3000}));
    let live = Case::at(case.destroy(), "remove");
    until("Terraform works", || {
        let mut all = case.product.processes().into_iter();
        let is_it = |args: &[String]| args[0].ends_with("terraform") && args[1] == "destroy";
        all.any(|it| is_it(&it.args)).then_some(())
    });
    ends_by_signal(live, Signal::KILL);
    case.destroys_all();
}

#[test]
fn a_machine_on_ec2_that_cannot_be_reached_is_removed() {
    removed("ec2");
}

#[test]
fn a_machine_on_lightsail_that_cannot_be_reached_is_removed() {
    removed("lightsail");
}
