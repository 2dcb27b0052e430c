//! A run of the installation's own cluster that is killed while AWS makes something: what no state
//! knows of is found by its tags, and nothing is left behind. The real Terraform, the simulated cloud.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::json;

use crate::support::authority::Issued;
use crate::support::listeners::Refusing;
use crate::support::machine_case::{Case, patient};
use crate::support::ports::free_port;
use crate::support::product::{Run, until};

/// Kills everything while a call is under way, which is carried out all the same.
fn killed_at(case: &Case, action: &str) {
    let (called, struck) = (case.cloud.called(action), case.cloud.struck(action));
    case.cloud.fault(&json!({ "action": action, "held": true }));
    let live = Case::at(case.product.run(["cluster", "apply"]), "create_cluster");
    until(action, || (case.cloud.struck(action) > struck).then_some(()));
    live.signal(Signal::KILL);
    let done = live.done();
    assert_eq!(done.code, -9, "{done:?}");
    case.cloud.heal();
    until("it is carried out", || (case.cloud.called(action) > called).then_some(()));
}

#[test]
fn what_a_killed_run_had_under_way_is_found_and_removed() {
    let Some(case) = Case::start("eks") else { return };
    killed_at(&case, "CreateVpc");
    killed_at(&case, "CreateCluster");
    assert_eq!(case.cloud.called("DeleteVpc"), 1, "the next run removed the first one's");
    killed_at(&case, "CreateNodegroup");
    assert_eq!(case.cloud.called("DeleteCluster"), 1, "and the one after that its cluster");
    let kinds: Vec<String> = case.cloud.state().into_iter().map(|it| it.kind).collect();
    for kind in ["ec2:vpc", "ec2:nat-gateway", "eks:cluster", "eks:node-group"] {
        assert_eq!(kinds.iter().filter(|it| *it == kind).count(), 1, "{kinds:?}");
    }
    let done = patient(case.product.run(["cluster", "destroy", "--yes"]));
    assert_eq!(done.code, 0, "{}", done.stderr);
    done.says("giving up the launch that was interrupted");
    done.says("removing the EKS node group");
    case.cloud.assert_empty();
}

#[test]
fn a_cluster_that_does_not_answer_is_removed_without_a_look_where_that_is_asked_for() {
    let Some(mut case) = Case::start("eks") else { return };
    // Nobody listens where its API is said to be.
    let nowhere = format!("https://127.0.0.1:{}", free_port());
    let authority = Issued::of(["127.0.0.1".to_owned()]).authority;
    case.cloud.cluster_at(&nowhere, &STANDARD.encode(authority));
    case.product.set("OPENCLAW_PIPELINE_BOOT_TIMEOUT", "60s");
    let run = |args: &[&str], code: i32| {
        let run = args.iter().fold(case.product.run(["cluster"]), |run, arg| run.arg(arg));
        let done = patient(run);
        assert_eq!(done.code, code, "{}", done.stderr);
        done
    };
    let made = run(&["apply"], 5);
    made.says("step connect").says("does not answer").says("cluster destroy");
    let before = case.cloud.state();
    let refused = run(&["destroy", "--yes"], 5);
    refused.says("nothing was removed").says("cluster destroy --unseen");
    assert_eq!(case.cloud.state(), before);
    // Half removed, it has no API any more that could be looked at, and nobody has to say so.
    case.cloud.refuse("DeleteVpc", "AccessDeniedException", 9);
    let half = run(&["destroy", "--yes", "--unseen"], 5);
    half.says("what hangs by the cluster could not be looked at").says("cluster destroy");
    case.cloud.heal();
    let done = run(&["destroy", "--yes"], 0);
    done.says("itself is gone already");
    done.answers("its volumes stay in the account, and nobody could say which they are");
    case.cloud.assert_empty();
    run(&["show"], 3);
}

#[test]
fn a_cluster_that_refuses_everything_takes_no_gateway_and_goes_where_that_is_asked_for() {
    let Some(mut case) = Case::start("eks") else { return };
    let api = Refusing::with(401);
    case.cloud.cluster_at(&api.url, &STANDARD.encode(&api.authority));
    case.product.set("OPENCLAW_PIPELINE_BOOT_TIMEOUT", "60s");
    let run = |run: Run, code: i32| {
        let done = patient(run);
        assert_eq!(done.code, code, "{}", done.stderr);
        done
    };
    let cluster = |args: &[&str], code: i32| {
        run(args.iter().fold(case.product.run(["cluster"]), |run, arg| run.arg(arg)), code)
    };
    cluster(&["apply"], 5).says("step connect").says("does not know who asks");
    // What was never whole is not by being tried at again.
    let live = Case::at(case.product.run(["cluster", "apply"]), "connect");
    live.signal(Signal::INT);
    let done = live.done();
    assert_eq!(done.code, 130, "{}", done.stderr);
    let id = case.product.json(["status", "cluster"])["operation"]["id"].clone();
    run(case.product.run(["operations", "cancel"]).arg(id.as_str().expect("an id")), 0);
    assert_eq!(case.product.json(["status", "cluster"])["status"], "failed");
    let launch = case.product.run(["launch", "late", "--target", "eks", "--no-link"]);
    run(launch, 4).says("was left half made").says("cluster apply").says("cluster destroy");
    case.product.run(["status", "late"]).code(3);
    let before = case.cloud.state();
    let refusals =
        [(503, 1, "refused with 503"), (401, 5, "who asks"), (403, 5, "refused with 403")];
    for (status, code, words) in refusals {
        api.says(status);
        cluster(&["destroy", "--yes"], code).says(words).says("cluster destroy --unseen");
        assert_eq!(case.cloud.state(), before, "{status}");
    }
    let done = cluster(&["destroy", "--yes", "--unseen"], 0);
    done.says("could not be looked at").says("refused with 403");
    done.answers("its volumes stay in the account, and nobody could say which they are");
    case.cloud.assert_empty();
}
