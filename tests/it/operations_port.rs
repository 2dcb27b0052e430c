//! A launch whose port is lost to somebody else, on a target in memory: killed in every call on its
//! way to another port, bounded, and only where nobody named the port.

use std::collections::BTreeSet;

use openclaw_pipeline::domain::{DeploymentStatus, FailureKind, OperationKind, OperationStatus};

use crate::support::bench::Bench;
use crate::support::fake_target::When;
use crate::support::product::turn_at_the_default_port;

const LAUNCH: OperationKind = OperationKind::Launch;
/// How often a launch gives way.
const MOST_MOVES: usize = 5;

/// One gateway works, at a port that was not lost, and all that is written down is of that port.
#[track_caller]
fn assert_works_elsewhere(bench: &Bench, lost: usize, what: &str) {
    let outcome = bench.outcome();
    assert_eq!(outcome.operation, OperationStatus::Succeeded, "{what}: {:?}", outcome.error);
    assert_eq!(outcome.status, DeploymentStatus::Running, "{what}");
    let port = outcome.facts.port.expect(what);
    assert_eq!(outcome.world.lost.len(), lost, "{what}");
    assert!(!outcome.world.lost.contains(&port), "{what}");
    assert_eq!(outcome.world.placed, Some(port), "{what}");
    assert!(outcome.gateway.up.is_some(), "{what}");
    let origins = ["127.0.0.1", "localhost"].map(|host| format!("http://{host}:{port}"));
    assert_eq!(outcome.facts.managed_origins, origins, "{what}");
    assert_eq!(BTreeSet::from_iter(outcome.gateway.origins), BTreeSet::from(origins), "{what}");
    assert_eq!(outcome.spec.port, None, "{what}: it is nobody's wish");
}

#[tokio::test(start_paused = true)]
async fn killed_in_any_call_a_launch_that_loses_its_port_comes_up() {
    let _turn = turn_at_the_default_port();
    for lost in [When::Before, When::After] {
        let mut killed = 0;
        for hang in [When::Before, When::After] {
            for call in 0.. {
                let what = format!("lost {lost:?}, killed in call {call}, {hang:?}");
                let bench = Bench::choosing();
                bench.target.lose_ports(2, lost);
                bench.target.hang_at(call, hang);
                if !bench.killed_in_a_call(LAUNCH).await {
                    assert_works_elsewhere(&bench, 2, &what);
                    // Some calls are only counted.
                    if call >= bench.target.calls() {
                        break;
                    }
                    continue;
                }
                killed += 1;
                let ended = bench.resume().await;
                assert!(ended.failure.is_none(), "{what}: {:?}", ended.failure);
                assert_works_elsewhere(&bench, 2, &what);
            }
        }
        // In each of: check, look, get, place, start, stop, place, start, stop, place, start.
        assert!(killed >= 2 * 11, "{lost:?}: {killed}");
    }
}

#[tokio::test(start_paused = true)]
async fn giving_way_is_bounded() {
    let _turn = turn_at_the_default_port();
    for lost in [When::Before, When::After] {
        let bench = Bench::choosing();
        bench.target.lose_ports(MOST_MOVES, lost);
        bench.succeed(LAUNCH).await;
        assert_works_elsewhere(&bench, MOST_MOVES, "as often as it may");

        let bench = Bench::choosing();
        bench.target.lose_ports(100, lost);
        let failure = bench.run(LAUNCH).await.failure.expect("every port is lost");
        assert_eq!(failure.kind, FailureKind::Conflict, "{failure}");
        assert!(failure.message.contains("is taken"), "{failure}");
        let outcome = bench.outcome();
        assert_eq!(outcome.status, DeploymentStatus::Failed);
        assert_eq!(outcome.world.lost.len(), MOST_MOVES + 1);
        assert_eq!((outcome.gateway.up, outcome.world.started), (None, None));
        // The next launch goes on from there.
        bench.target.lose_ports(0, lost);
        bench.succeed(LAUNCH).await;
        assert_works_elsewhere(&bench, MOST_MOVES + 1, "launched again");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_named_or_worked_does_not_move() {
    let _turn = turn_at_the_default_port();
    for lost in [When::Before, When::After] {
        let named = Bench::new();
        named.target.lose_ports(1, lost);
        let failure = named.run(LAUNCH).await.failure.expect("its port is lost");
        assert_eq!(failure.kind, FailureKind::Conflict, "{failure}");
        assert!(failure.remedy.expect("a remedy").contains("GATEWAY_PORT"));
        assert_eq!(named.outcome().facts.port, named.outcome().spec.port);

        for kind in [OperationKind::Start, OperationKind::Restart, OperationKind::Update] {
            let bench = Bench::choosing();
            bench.succeed(LAUNCH).await;
            let port = bench.outcome().facts.port;
            if kind == OperationKind::Start {
                bench.succeed(OperationKind::Stop).await;
            }
            bench.target.lose_ports(1, lost);
            let failure = bench.run(kind).await.failure.expect("its port is lost");
            assert_eq!(failure.kind, FailureKind::Conflict, "{kind}: {failure}");
            assert_eq!(bench.outcome().facts.port, port, "{kind}");
        }
    }
}
