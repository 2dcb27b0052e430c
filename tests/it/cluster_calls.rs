//! How often a launch asks the cluster's API, by the API server's own audit log. The gateway is the
//! stand-in.

use std::time::Instant;

use crate::support::calls::{Caller, MORE, MOST, sum};
use crate::support::cluster::Cluster;
use crate::support::cluster_case::{Case, works};
use crate::support::source::read;

#[test]
fn a_launch_asks_the_api_no_more_often_than_is_documented() {
    let docs = read("docs/kubernetes.md").replace('\n', " ");
    assert!(docs.contains(&format!("at most {MOST} calls")), "docs/kubernetes.md says another one");
    let words = ["two more for every second", "up to sixteen more"];
    assert!(words.iter().all(|it| docs.contains(it)), "docs/kubernetes.md says another one");
    let Some(cluster) = Cluster::shared() else { return };
    let caller = Caller::of(&cluster, "openclaw-test-calls");
    let Some(mut case) = Case::of(&cluster, "calls") else { return };
    case.product.set("KUBECONFIG", caller.kubeconfig());
    let begun = Instant::now();
    case.launched();
    // A gateway that takes its time is looked at meanwhile.
    let waited = usize::try_from(begun.elapsed().as_secs()).expect("a while");
    let calls = caller.calls();
    assert!(sum(&calls) <= MOST + 2 * waited, "{} calls: {calls:#?}", sum(&calls));

    // What may be done is asked once, and each object is made once.
    let count = |kind: &str| calls.get(kind).copied().unwrap_or_default();
    assert!(count("create selfsubjectaccessreviews") <= 31, "{calls:#?}");
    assert_eq!((count("create namespaces"), count("create pods")), (1, 1), "{calls:#?}");
    assert_eq!(count("patch persistentvolumeclaims"), 2, "{calls:#?}");
    // It is heard when a pod changes, in the place of asking again and again.
    assert_eq!(count("watch pods"), 2, "{calls:#?}");

    // One that is there already.
    works(case.run(["stop"]));
    let before = sum(&caller.calls());
    let begun = Instant::now();
    case.launched();
    let waited = usize::try_from(begun.elapsed().as_secs()).expect("a while");
    let calls = sum(&caller.calls()) - before;
    assert!(calls <= MOST + MORE + 2 * waited, "{calls} calls");
    case.destroys_all();
}
