//! Connections that break in the middle of something: those to AWS and those to the machine. What was
//! under way is done once, and to its end.

use serde_json::json;

use crate::support::machine_case::Case;

/// Ends every session that somebody has on the machine.
const HANG_UP: &str = "pkill -KILL -f '[s]shd.*: ec2-user' || true";

fn goes_on(target: &'static str) {
    let Some(case) = Case::start(target) else { return };
    // The program's own question, Terraform's looks, and what it asks for: once unheard, and once
    // heard, without an answer.
    let (made, looked, address) = if case.is_ec2() {
        ("CreateSecurityGroup", "DescribeInstances", "AssociateAddress")
    } else {
        ("AllocateStaticIp", "GetOperation", "AttachStaticIp")
    };
    let cuts =
        [("GetCallerIdentity", false, 1), (made, false, 1), (looked, true, 2), (address, false, 1)];
    let cut = |(action, after, times): (&str, bool, u32)| {
        case.cloud.fault(&json!({"action": action, "cut": true, "after": after, "times": times}));
    };
    cuts.into_iter().for_each(cut);
    // What is asked for once more because no answer came is there twice then, or has its own name in
    // the way.
    let live = case.launch_at("create_machine");
    cut((if case.is_ec2() { "AllocateAddress" } else { "ImportKeyPair" }, true, 1));
    let live = Case::reaches(live, "connect");
    let id = case.only().id;
    case.cloud.run(&id, HANG_UP);
    let done = live.done();
    done.says("step fetch");
    case.tells_the_way(&done);
    case.cloud.heal();
    let calls = case.cloud.calls();
    for (action, ..) in cuts {
        assert!(calls.iter().any(|it| it.action == action && it.status == 500), "{action}");
    }
    case.only();
    case.all_is_accounted_for();
    assert!(
        done.stderr.contains("made and is in no state")
            || done.stdout.contains("made and is in no state"),
        "{done:?}"
    );

    // A removal is asked for once more, too.
    let removed = if case.is_ec2() { "TerminateInstances" } else { "DeleteInstance" };
    case.cloud.fault(&json!({"action": removed, "cut": true, "times": 1}));
    case.destroys_all();
}

#[test]
fn a_launch_on_ec2_survives_connections_that_break() {
    goes_on("ec2");
}

#[test]
fn a_launch_on_lightsail_survives_connections_that_break() {
    goes_on("lightsail");
}
