//! The generic harness: every registered operation, killed, failed and cancelled at every step.
//!
//! It walks `OperationKind::ALL` and the steps of each definition, so that no operation and no
//! step gets past it. Its measure is the same operation left alone: whoever goes on after a death
//! has to end where that one ended, in the world, in the store and in what was told. An executor
//! dies in two ways here: by a panic that nothing catches on its way, at the points where the
//! journal stands between two writes, and by never being polled again, in the midst of a target's
//! call, with no destructor run, as `kill -9` does it.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Mutex;

use futures_util::FutureExt;
use openclaw_pipeline::domain::status::next;
use openclaw_pipeline::domain::{
    Aftermath, Change, DeploymentStatus, EventType, FailureKind, Operation, OperationKind,
    OperationStatus, StepStatus, TargetKind,
};
use openclaw_pipeline::operations::{
    Ended, Engine, OperationDef, Sink, Told, definition, definition_of,
};
use openclaw_pipeline::targets::Progress;
use tokio_util::sync::CancellationToken;

use crate::support::bench::{Bench, NEW, OLD, Outcome};
use crate::support::fake_target::When;

/// A point between two writes of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// The intent is stored, nothing is done.
    Intent,
    /// It is done, the outcome is not stored.
    Effect,
    /// The outcome is stored, nothing came after it.
    Outcome,
}

const POINTS: [Point; 3] = [Point::Intent, Point::Effect, Point::Outcome];

/// How a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The first call of the target fails.
    Target(When),
    /// The store knows only the journal.
    Store,
}

const FAULTS: [Fault; 3] = [Fault::Target(When::Before), Fault::Target(When::After), Fault::Store];

/// What is done to the installation's own cluster.
const OF_CLUSTER: [OperationKind; 3] =
    [OperationKind::Launch, OperationKind::Update, OperationKind::Destroy];

/// What the store's tables are called while they are away.
const TABLES: [&str; 5] = ["deployments", "sealed", "backups", "approval_windows", "approvals"];

/// What is done to an execution, and what it told.
#[derive(Default)]
struct Script<'b> {
    bench: Option<&'b Bench>,
    die: Option<(String, Point)>,
    faults: Vec<(String, Fault)>,
    cancel: Option<(String, CancellationToken)>,
    began: Mutex<Vec<String>>,
    /// Steps whose fault found nothing to break.
    spared: Mutex<Vec<String>>,
}

impl<'b> Script<'b> {
    fn none() -> Self {
        Self::default()
    }

    fn failing(bench: &'b Bench, faults: &[(&str, Fault)]) -> Self {
        let faults = faults.iter().map(|(step, fault)| ((*step).to_owned(), *fault)).collect();
        Self { bench: Some(bench), faults, ..Self::default() }
    }

    fn dying(mut self, step: &str, point: Point) -> Self {
        self.die = Some((step.to_owned(), point));
        self
    }

    fn cancelling(mut self, step: &str, cancel: &CancellationToken) -> Self {
        self.cancel = Some((step.to_owned(), cancel.clone()));
        self
    }

    fn fault_of(&self, step: &str) -> Option<(&'b Bench, Fault)> {
        let fault = self.faults.iter().find(|(name, _)| name == step)?.1;
        Some((self.bench?, fault))
    }

    /// The executor is gone at this instant.
    fn pass(&self, step: &str, point: Point) {
        if self.die.as_ref().is_some_and(|(name, at)| name == step && *at == point) {
            resume_unwind(Box::new("killed"));
        }
    }
}

impl Progress for Script<'_> {
    fn amount(&self, _done: u64, _total: u64, _what: &str) {}

    fn note(&self, _line: &str) {}
}

impl Sink for Script<'_> {
    fn tell(&self, told: &Told<'_>) {
        match told {
            Told::StepBegins { name, .. } => {
                self.began.lock().expect("no panic").push((*name).to_owned());
                if let Some((step, cancel)) = &self.cancel
                    && step == name
                {
                    cancel.cancel();
                }
                self.pass(name, Point::Intent);
                match self.fault_of(name) {
                    Some((bench, Fault::Target(when))) => {
                        bench.target.fail_next(Some(when));
                    }
                    Some((bench, Fault::Store)) => rename_tables(bench, "", "_away"),
                    None => {}
                }
            }
            Told::StepActed { name } => {
                match self.fault_of(name) {
                    Some((bench, Fault::Target(_))) if bench.target.fail_next(None) => {
                        self.spared.lock().expect("no panic").push((*name).to_owned());
                    }
                    Some((bench, Fault::Store)) => rename_tables(bench, "_away", ""),
                    _ => {}
                }
                self.pass(name, Point::Effect);
            }
            Told::StepEnds { name, .. } => self.pass(name, Point::Outcome),
        }
    }

    fn progress(&self) -> &dyn Progress {
        self
    }
}

fn rename_tables(bench: &Bench, from: &str, to: &str) {
    let db = rusqlite::Connection::open(bench.home().join("pipeline.db")).expect("opens");
    for table in TABLES {
        db.execute_batch(&format!("ALTER TABLE {table}{from} RENAME TO {table}{to}"))
            .expect("the table is there");
    }
}

/// Begins an operation and executes it under a script. `None` when the executor died.
async fn perform(bench: &Bench, kind: OperationKind, script: &Script<'_>) -> Option<Ended> {
    let engine = bench.engine();
    let operation = bench.begin(&engine, kind).expect("begins");
    go_on(bench, &engine, &operation, script).await
}

async fn go_on(
    bench: &Bench,
    engine: &Engine,
    operation: &Operation,
    script: &Script<'_>,
) -> Option<Ended> {
    let cancel = script.cancel.as_ref().map(|(_, cancel)| cancel.clone()).unwrap_or_default();
    let execution = bench.execute(engine, operation, script, &cancel);
    match AssertUnwindSafe(execution).catch_unwind().await {
        Ok(ended) => Some(ended),
        Err(_) if script.die.is_some() => None,
        Err(panic) => resume_unwind(panic),
    }
}

/// The steps of a definition, recovery included.
fn steps(definition: &OperationDef) -> Vec<&'static str> {
    definition.steps.iter().chain(definition.recovery).map(|step| step.name).collect()
}

fn names(definition: &OperationDef) -> Vec<&'static str> {
    definition.steps.iter().map(|step| step.name).collect()
}

/// The events that end an operation.
fn terminal(definition: &OperationDef, events: &[EventType]) -> usize {
    let ends = [Some(definition.failed()), Some(EventType::Cancelled), definition.done];
    events.iter().filter(|event| ends.contains(&Some(**event))).count()
}

/// What holds after every operation, however it went.
fn assert_over(bench: &Bench, definition: &OperationDef, outcome: &Outcome, what: &str) {
    assert!(bench.active(&bench.engine()).is_none(), "{what}: something is active");
    assert_ne!(outcome.operation, OperationStatus::Running, "{what}");
    for (step, status) in &outcome.steps {
        let ended = [StepStatus::Succeeded, StepStatus::Skipped, StepStatus::FailedClean];
        assert!(ended.contains(status), "{what}: step {step} is {status:?}");
    }
    let succeeded = outcome.operation == OperationStatus::Succeeded;
    let told = usize::from(!succeeded || definition.done.is_some());
    assert_eq!(terminal(definition, &outcome.events), told, "{what}: {:?}", outcome.events);
    let unsealed = bench.files_named("archive.tar.gz");
    assert!(unsealed.is_empty(), "{what}: an archive lies about unsealed: {unsealed:?}");
}

/// Each operation with the bench where it begins and what it leads to when it is left alone.
async fn each(kinds: &[OperationKind]) -> Vec<(&'static OperationDef, Bench, Outcome)> {
    let mut all = Vec::new();
    for kind in kinds {
        let mut benches = vec![Bench::arranged(*kind).await];
        if *kind == OperationKind::Expose {
            // What led there, and what leads back.
            let there = benches[0].fork();
            there.succeed(*kind).await;
            benches.push(there);
        } else {
            // A gateway on a cluster is reached in one way for good.
            benches.push(Bench::on_cluster().at(*kind).await);
        }
        if OF_CLUSTER.contains(kind) {
            benches.push(Bench::of_cluster().at(*kind).await);
        }
        if *kind == OperationKind::Update {
            // The cluster that was left half made is gone on with as one that is there.
            let half = Bench::of_cluster();
            let fails = [("connect", Fault::Target(When::Before))];
            perform(&half, OperationKind::Launch, &Script::failing(&half, &fails)).await;
            assert_eq!(half.outcome().status, DeploymentStatus::Failed);
            benches.push(half);
        }
        for bench in benches {
            let alone = bench.fork();
            let begun = alone.fork();
            let operation = begun.begin(&begun.engine(), *kind).expect("begins");
            alone.succeed(*kind).await;
            let outcome = alone.outcome();
            all.push((definition_of(&operation), bench, outcome));
        }
    }
    all
}

#[tokio::test(start_paused = true)]
async fn left_alone_every_operation_succeeds_and_its_definition_is_sound() {
    for (definition, bench, outcome) in each(&OperationKind::ALL).await {
        let kind = definition.kind;
        assert_eq!(outcome.operation, OperationStatus::Succeeded, "{kind}");
        assert_over(&bench, definition, &outcome, kind.as_str());
        let mut unique = steps(definition);
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), steps(definition).len(), "{kind}: the journal goes by name");
        assert!(names(definition).contains(&definition.changes_from), "{kind}");
        let ran: Vec<&str> = outcome.steps.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(ran, names(definition), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn killed_between_two_writes_it_goes_on_and_ends_the_same() {
    for (definition, bench, alone) in each(&OperationKind::ALL).await {
        for step in names(definition) {
            for point in POINTS {
                let what = format!("{} killed at {step}, {point:?}", definition.kind);
                let run = bench.fork();
                let script = Script::none().dying(step, point);
                assert!(perform(&run, definition.kind, &script).await.is_none(), "{what}");
                // Given up instead: nothing stands in the way of what is done next.
                let given_up = run.fork();
                give_up(&given_up, definition, &what);
                destroyed(&given_up, &what).await;

                let ended = run.resume().await;
                assert!(ended.failure.is_none(), "{what}: {:?}", ended.failure);
                let outcome = run.outcome();
                assert_over(&run, definition, &outcome, &what);
                assert_eq!(outcome, alone, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn killed_twice_at_the_same_step_it_still_ends_the_same() {
    for (definition, bench, alone) in each(&OperationKind::ALL).await {
        for step in names(definition) {
            let what = format!("{} killed twice at {step}", definition.kind);
            let run = bench.fork();
            let script = Script::none().dying(step, Point::Effect);
            assert!(perform(&run, definition.kind, &script).await.is_none(), "{what}");
            let engine = run.engine();
            let operation = run.active(&engine).expect("it is still active");
            assert!(go_on(&run, &engine, &operation, &script).await.is_none(), "{what}");
            drop(engine);
            run.resume().await;
            assert_eq!(run.outcome(), alone, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn killed_within_a_step_it_goes_on_and_ends_the_same() {
    for (definition, bench, alone) in each(&OperationKind::ALL).await {
        for when in [When::Before, When::After] {
            for call in 0.. {
                let what = format!("{} killed in call {call}, {when:?}", definition.kind);
                let run = bench.fork();
                run.target.hang_at(call, when);
                if !run.killed_in_a_call(definition.kind).await {
                    // Some calls are only counted, and nobody dies in them.
                    if call >= run.target.calls() {
                        break;
                    }
                    continue;
                }
                let ended = run.resume().await;
                assert!(ended.failure.is_none(), "{what}: {:?}", ended.failure);
                let outcome = run.outcome();
                assert_over(&run, definition, &outcome, &what);
                assert_eq!(outcome, alone, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_step_ends_it_where_the_definition_says() {
    for (definition, bench, alone) in each(&OperationKind::ALL).await {
        let kind = definition.kind;
        for (position, step) in names(definition).into_iter().enumerate() {
            let mut failed_with = Vec::new();
            for fault in FAULTS {
                let what = format!("{kind} failing at {step}, {fault:?}");
                let run = bench.fork();
                let script = Script::failing(&run, &[(step, fault)]);
                let ended = perform(&run, kind, &script).await.expect("nobody died");
                if script.spared.lock().expect("no panic").iter().any(|spared| spared == step) {
                    // The step asks nothing of the target.
                    assert!(ended.failure.is_none(), "{what}: {:?}", ended.failure);
                    continue;
                }
                failed_with.push(fault);
                let outcome = run.outcome();
                assert_failed(definition, position, &ended, &outcome, true, &what);
                assert_over(&run, definition, &outcome, &what);
                assert_eq!(outcome.status, expected(definition, &run, position, true), "{what}");
                let recovered = position >= changes_from(definition);
                let expected_steps: Vec<&str> = names(definition)[..=position]
                    .iter()
                    .copied()
                    .chain(definition.recovery.iter().map(|it| it.name).filter(|_| recovered))
                    .collect();
                let ran: Vec<&str> = outcome.steps.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(ran, expected_steps, "{what}");

                destroyed(&run.fork(), &what).await;
                let launched = run.fork();
                launched.succeed(OperationKind::Launch).await;
                assert_eq!(launched.outcome().status, DeploymentStatus::Running, "{what}");
                let again = run.fork();
                let ended = again.run(kind).await;
                assert!(ended.failure.is_none(), "{what}, and again: {:?}", ended.failure);
                let again = again.outcome();
                assert_eq!(again.world.data, alone.world.data, "{what}, and again");
                assert_eq!(again.world.started, alone.world.started, "{what}, and again");
                assert_eq!(again.world.own_cluster, alone.world.own_cluster, "{what}, and again");
                assert_eq!(again.gateway, alone.gateway, "{what}, and again");
                assert_eq!(again.status, alone.status, "{what}, and again");
            }
            assert!(failed_with.contains(&Fault::Store), "{kind}: {step} was never made to fail");
        }
    }
}

fn changes_from(definition: &OperationDef) -> usize {
    names(definition)
        .iter()
        .position(|name| *name == definition.changes_from)
        .expect("it is one of them")
}

/// Where the state machine puts the deployment after a failure.
fn expected(
    definition: &OperationDef,
    run: &Bench,
    position: usize,
    recovery_works: bool,
) -> DeploymentStatus {
    let engine = run.engine();
    let last = engine.store().operations(Some(&run.name), 1).expect("reads").remove(0);
    let changed = position >= changes_from(definition);
    let left = match last.prior {
        Some(prior) if !changed => Aftermath::Unchanged(prior),
        _ if changed && !recovery_works => Aftermath::Broken,
        // Where nothing is put back, what did not work before does not now.
        Some(DeploymentStatus::Failed) if definition.recovery.is_empty() => Aftermath::Broken,
        Some(prior @ DeploymentStatus::Degraded) if definition.recovery.is_empty() => {
            Aftermath::Unchanged(prior)
        }
        _ => definition.recovered,
    };
    let kind = definition.kind;
    let begun = next(last.prior, Change::Begin(kind)).expect("it began");
    next(Some(begun), Change::Fail { kind, left }).expect("it failed")
}

fn assert_failed(
    definition: &OperationDef,
    position: usize,
    ended: &Ended,
    outcome: &Outcome,
    names_cause: bool,
    what: &str,
) {
    let step = definition.steps[position].name;
    assert_eq!(outcome.operation, OperationStatus::Failed, "{what}");
    let failure = ended.failure.as_ref().expect(what);
    assert_eq!(outcome.error.as_ref(), Some(failure), "{what}");
    assert!(failure.message.starts_with(&format!("step {step}: ")), "{what}: {failure}");
    let cause = ["the fake target fails", "no such table"];
    let named = failure.remedy.is_some() || cause.iter().any(|it| failure.message.contains(it));
    assert!(!names_cause || named, "{what}: neither cause nor remedy: {failure:?}");
    let tells = match definition.kind {
        OperationKind::Approve => EventType::ApproveFailed,
        _ => EventType::Failed,
    };
    let failed = outcome.events.iter().filter(|event| **event == tells).count();
    assert_eq!(failed, 1, "{what}: {:?}", outcome.events);
}

/// A destroy works from here.
async fn destroyed(run: &Bench, what: &str) {
    let ended = run.run(OperationKind::Destroy).await;
    assert!(ended.failure.is_none(), "{what}, then destroy: {:?}", ended.failure);
    let outcome = run.outcome();
    assert_eq!(outcome.status, DeploymentStatus::Destroyed, "{what}, then destroy");
    assert_eq!(outcome.world.placed, None, "{what}, then destroy");
    assert_eq!(outcome.world.own_cluster, None, "{what}, then destroy");
    assert_eq!(outcome.gateway.up, None, "{what}, then destroy");
    assert_eq!(outcome.tokens, [None, None, None], "{what}, then destroy");
}

/// Ends the active operation as cancelled.
fn give_up(run: &Bench, definition: &OperationDef, what: &str) {
    let engine = run.engine();
    let operation = run.active(&engine).expect("it is still active");
    engine.cancel(&operation).expect(what);
    drop(engine);
    let outcome = run.outcome();
    assert_eq!(outcome.operation, OperationStatus::Cancelled, "{what}");
    assert_eq!(outcome.tokens[1..], [None, None], "{what}: a next rotation would find these");
    let cancelled = outcome.events.iter().filter(|event| **event == EventType::Cancelled).count();
    assert_eq!(cancelled, 1, "{what}: {:?}", outcome.events);
    assert_eq!(terminal(definition, &outcome.events), 1, "{what}: {:?}", outcome.events);
    let engine = run.engine();
    assert!(run.active(&engine).is_none(), "{what}");
    // What the journal has at or after the first change may be half done.
    let from = changes_from(definition);
    let changed =
        operation.steps.iter().any(|step| !names(definition)[..from].contains(&step.name.as_str()));
    let left = match operation.prior {
        Some(prior) if !changed => Aftermath::Unchanged(prior),
        // What changes the cluster puts nothing back, and gateways go on there.
        Some(DeploymentStatus::Running)
            if definition.recovered == Aftermath::Serving && definition.recovery.is_empty() =>
        {
            Aftermath::Serving
        }
        Some(prior @ DeploymentStatus::Degraded)
            if definition.recovered == Aftermath::Serving && definition.recovery.is_empty() =>
        {
            Aftermath::Unchanged(prior)
        }
        _ => Aftermath::Broken,
    };
    let kind = definition.kind;
    let begun = next(operation.prior, Change::Begin(kind)).expect("it began");
    let status = next(Some(begun), Change::Fail { kind, left }).expect("it failed");
    assert_eq!(outcome.status, status, "{what}");
}

#[tokio::test(start_paused = true)]
async fn cancelled_at_any_step_it_waits_and_can_be_gone_on_with_or_given_up() {
    for (definition, bench, alone) in each(&OperationKind::ALL).await {
        let last = *names(definition).last().expect("it has steps");
        for (step, heeds) in names(definition).into_iter().flat_map(|it| [(it, true), (it, false)])
        {
            let what = format!("{} cancelled at {step}, heeds {heeds}", definition.kind);
            let run = bench.fork();
            run.target.heed_cancel(heeds);
            let cancel = CancellationToken::new();
            let script = Script::none().cancelling(step, &cancel);
            let ended = perform(&run, definition.kind, &script).await.expect("nobody died");
            let began = script.began.lock().expect("no panic").clone();
            assert_eq!(began.last().map(String::as_str), Some(step), "{what}: it went on");
            let Some(failure) = ended.failure else {
                // It was done before it noticed; nothing was left to interrupt.
                assert_eq!(step, last, "{what}");
                assert_eq!(run.outcome(), alone, "{what}");
                continue;
            };
            assert_eq!(failure.kind, FailureKind::Interrupted, "{what}: {failure}");
            assert!(failure.remedy.is_some_and(|it| it.contains(&ended.operation.id)), "{what}");
            assert_eq!(ended.operation.status, OperationStatus::Running, "{what}");
            let engine = run.engine();
            assert!(run.active(&engine).is_some(), "{what}");
            drop(engine);

            let given_up = run.fork();
            give_up(&given_up, definition, &what);
            destroyed(&given_up.fork(), &what).await;
            if given_up.outcome().status != DeploymentStatus::Destroyed
                && definition.kind != OperationKind::Update
                && definition.kind != OperationKind::Restore
            {
                given_up.succeed(OperationKind::Launch).await;
            }

            run.target.heed_cancel(true);
            let ended = run.resume().await;
            assert!(ended.failure.is_none(), "{what}: {:?}", ended.failure);
            let outcome = run.outcome();
            assert_over(&run, definition, &outcome, &what);
            assert_eq!(outcome, alone, "{what}");
        }
    }
}

/// The operations that put something back.
fn recovering() -> Vec<OperationKind> {
    OperationKind::ALL
        .into_iter()
        .filter(|kind| !definition(*kind, TargetKind::Process).recovery.is_empty())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_recovery_that_is_killed_or_cancelled_is_carried_on() {
    for (definition, bench, _) in each(&recovering()).await {
        let kind = definition.kind;
        for position in changes_from(definition)..definition.steps.len() {
            let failing = definition.steps[position].name;
            let fault = [(failing, Fault::Store)];
            let alone = bench.fork();
            perform(&alone, kind, &Script::failing(&alone, &fault)).await.expect("nobody died");
            let alone = alone.outcome();
            assert_eq!(alone.operation, OperationStatus::Failed);

            // From the last failure on every death, from the others the deadliest one.
            let last = position + 1 == definition.steps.len();
            let points = if last { &POINTS[..] } else { &[Point::Effect] };
            let mut deaths = vec![(failing, Point::Outcome)];
            for step in definition.recovery {
                deaths.extend(points.iter().map(|point| (step.name, *point)));
            }
            for (step, point) in deaths {
                let what = format!("{kind} failed at {failing}, killed at {step}, {point:?}");
                let run = bench.fork();
                let script = Script::failing(&run, &fault).dying(step, point);
                assert!(perform(&run, kind, &script).await.is_none(), "{what}");
                let ended = run.resume().await;
                let outcome = run.outcome();
                assert_failed(definition, position, &ended, &outcome, true, &what);
                assert_over(&run, definition, &outcome, &what);
                assert_eq!(outcome, alone, "{what}");
            }

            for step in definition.recovery.iter().filter(|_| last) {
                let what = format!("{kind} failed at {failing}, cancelled at {}", step.name);
                let run = bench.fork();
                let cancel = CancellationToken::new();
                let script = Script::failing(&run, &fault).cancelling(step.name, &cancel);
                let ended = perform(&run, kind, &script).await.expect("nobody died");
                let failure = ended.failure.expect(&what);
                if failure.kind == FailureKind::Interrupted {
                    let given_up = run.fork();
                    give_up(&given_up, definition, &what);
                    destroyed(&given_up, &what).await;
                    run.resume().await;
                }
                let outcome = run.outcome();
                assert_over(&run, definition, &outcome, &what);
                assert_eq!(outcome, alone, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_recovery_that_fails_says_both_failures_and_leaves_a_way_on() {
    for (definition, bench, _) in each(&recovering()).await {
        let kind = definition.kind;
        let position = definition.steps.len() - 1;
        let failing = definition.steps[position].name;
        for step in definition.recovery {
            for fault in FAULTS {
                let what = format!("{kind} failed at {failing}, and at {}, {fault:?}", step.name);
                let run = bench.fork();
                let faults = [(failing, Fault::Store), (step.name, fault)];
                let script = Script::failing(&run, &faults);
                let ended = perform(&run, kind, &script).await.expect("nobody died");
                if !script.spared.lock().expect("no panic").is_empty() {
                    continue;
                }
                let outcome = run.outcome();
                assert_failed(definition, position, &ended, &outcome, true, &what);
                assert_over(&run, definition, &outcome, &what);
                assert_eq!(outcome.status, expected(definition, &run, position, false), "{what}");
                let message = ended.failure.expect(&what).message;
                assert!(message.contains(&format!("at step {}: ", step.name)), "{what}: {message}");

                destroyed(&run.fork(), &what).await;
                // Data that a newer version wrote needs its backup; everything else a launch.
                let spec = outcome.spec.version.unwrap_or_default();
                let newer = outcome.world.data.is_some_and(|data| data.migrated_to > spec);
                let way = if newer { OperationKind::Restore } else { OperationKind::Launch };
                run.succeed(way).await;
                assert_eq!(run.outcome().status, DeploymentStatus::Running, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_never_starts_is_taken_back_with_the_data_of_before() {
    let bench = Bench::arranged(OperationKind::Update).await;
    let before = bench.outcome();
    bench.target.never_start(NEW);
    let run = bench.fork();
    let ended = run.run(OperationKind::Update).await;
    let failure = ended.failure.expect("it cannot be proven");
    assert!(failure.message.contains("does not stay up"), "{failure}");
    assert!(failure.message.contains("cannot start on this state"), "{failure}");
    let outcome = run.outcome();
    assert_eq!(outcome.status, DeploymentStatus::Running);
    assert_eq!(outcome.spec, before.spec);
    assert_eq!(outcome.facts, before.facts);
    assert_eq!(outcome.world.data, before.world.data);
    assert_eq!(outcome.gateway.up, before.gateway.up);

    // Killed anywhere on the way back, it comes back all the same.
    for step in definition(OperationKind::Update, TargetKind::Process).recovery {
        for point in POINTS {
            let run = bench.fork();
            let script = Script::none().dying(step.name, point);
            assert!(perform(&run, OperationKind::Update, &script).await.is_none());
            run.resume().await;
            assert_eq!(run.outcome(), outcome, "killed at {}, {point:?}", step.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_could_not_be_changed_is_not_said_to_have_gone_back() {
    let run = Bench::of_cluster().at(OperationKind::Update).await;
    let script = Script::failing(&run, &[("create_cluster", Fault::Target(When::Before))]);
    let ended = perform(&run, OperationKind::Update, &script).await.expect("nobody died");
    let message = ended.failure.expect("it failed").message;
    assert!(message.contains("nothing that gateways hang by was taken away"), "{message}");
    assert!(!message.contains("went back"), "{message}");
    assert_eq!(run.outcome().status, DeploymentStatus::Running);
}

/// Kills the executor of an operation when a step's outcome is stored.
async fn killed_after(bench: &Bench, kind: OperationKind, step: &str) -> Bench {
    let run = bench.fork();
    let script = Script::none().dying(step, Point::Outcome);
    assert!(perform(&run, kind, &script).await.is_none(), "{kind}: it has a step {step}");
    run
}

#[tokio::test(start_paused = true)]
async fn what_was_proven_before_a_reboot_is_proven_again() {
    for (definition, bench, alone) in each(&OperationKind::ALL).await {
        if !names(definition).contains(&"prove") {
            continue;
        }
        let run = killed_after(&bench, definition.kind, "prove").await;
        run.target.gateway().stop();
        run.target.world().started = None;
        run.resume().await;
        let outcome = run.outcome();
        assert_over(&run, definition, &outcome, definition.kind.as_str());
        assert_eq!(outcome, alone, "{}", definition.kind);
        assert!(outcome.gateway.up.is_some() && outcome.world.watched, "{}", definition.kind);
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_goes_back_to_the_newest_data_that_the_old_version_wrote() {
    let bench = Bench::arranged(OperationKind::Update).await;
    bench.target.never_start(NEW);
    let said = |run: &Bench| {
        run.target.world().data.as_mut().expect("it has data").marks.push("said since".into());
    };
    let marks = |run: &Bench| run.outcome().world.data.expect("it has data").marks;

    // Interrupted when the backup was made, and gone on with days later.
    let run = killed_after(&bench, OperationKind::Update, "backup").await;
    said(&run);
    assert!(run.resume().await.failure.is_some());
    assert_eq!(marks(&run), ["a conversation", "said since"]);
    assert_eq!(run.outcome().status, DeploymentStatus::Running);

    // Failed before the new version ran: what came after the backup is not taken back.
    let run = killed_after(&bench, OperationKind::Update, "stop").await;
    said(&run);
    let engine = run.engine();
    let operation = run.active(&engine).expect("it is still active");
    let script = Script::failing(&run, &[("switch", Fault::Store)]);
    let ended = go_on(&run, &engine, &operation, &script).await.expect("nobody died");
    assert!(ended.failure.is_some());
    assert_eq!(marks(&run), ["a conversation", "said since"]);
    assert_eq!(run.outcome().status, DeploymentStatus::Running);
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_does_not_prove_itself_is_taken_back() {
    let bench = Bench::arranged(OperationKind::Restore).await;
    let before = bench.outcome();
    bench.target.never_start(OLD);
    let ended = bench.run(OperationKind::Restore).await;
    assert!(ended.failure.is_some());
    let outcome = bench.outcome();
    assert_eq!(outcome.status, DeploymentStatus::Running);
    assert_eq!((outcome.spec, outcome.facts), (before.spec, before.facts));
    assert_eq!(outcome.world.data, before.world.data);
    assert_eq!(outcome.gateway.up, before.gateway.up);
}
