//! A run of the installation's own cluster that is killed while AWS makes something: what no state
//! knows of is found by its tags, and nothing is left behind. The real Terraform, the simulated cloud.

use rustix::process::Signal;
use serde_json::json;

use crate::support::machine_case::{Case, patient};
use crate::support::product::until;

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
