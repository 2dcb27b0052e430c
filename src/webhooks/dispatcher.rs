//! The dispatcher: takes what is due from the outbox, has it sent, and records what came of it.
//!
//! Owns what is under way: one try for each deployment and receiver, and so many at once to one
//! receiver that none of them is in another's way. What waits stands in the store and is not held
//! here, however much it is. Refuses to start anything once it is to stop.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::task::{self, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field};

use super::Options;
use super::address::Rule;
use super::message;
use super::receiver::Receiver;
use super::schedule::{Answer, Schedule, Tried, Verdict, in_words};
use super::sender::{Parcel, Sender};
use super::turn::{Plan, Turn};
use crate::domain::Failure;
use crate::exec::wait;
use crate::secrets::SealingKey;
use crate::store::{Due, Endpoint, Fate, Outcome, Store, now_ms};

/// The pause after the store failed: what is under way goes on meanwhile.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How often what is listed no longer is removed.
const CLEAN_EVERY: Duration = Duration::from_secs(60);

/// A try that is under way, without its message.
struct UnderWay {
    due: Due,
    /// The endpoint's id, for people.
    endpoint: String,
    enabled_ms: i64,
    began: Instant,
    span: Span,
}

/// The dispatcher of one data directory.
pub(super) struct Dispatcher {
    store: Store,
    key: SealingKey,
    schedule: Schedule,
    strangers: Rule,
    sender: Arc<Sender>,
    /// The one endpoint that it is for, if it is not for all.
    only: Option<i64>,
    tries: JoinSet<Answer>,
    under_way: HashMap<task::Id, UnderWay>,
    receivers: HashMap<i64, Receiver>,
    /// What is not recorded yet.
    ended: Vec<Outcome>,
    /// The version of the store that was looked at.
    seen: i64,
    began: Instant,
    cleaned: Option<Instant>,
}

impl Dispatcher {
    pub(super) fn new(store: Store, key: SealingKey, options: Options, only: Option<i64>) -> Self {
        let sender = Arc::new(Sender::new(&options.schedule, options.resolver));
        Self {
            store,
            key,
            schedule: options.schedule,
            strangers: options.strangers,
            sender,
            only,
            tries: JoinSet::new(),
            under_way: HashMap::new(),
            receivers: HashMap::new(),
            ended: Vec::new(),
            seen: i64::MIN,
            began: Instant::now(),
            cleaned: None,
        }
    }

    /// Sends what comes until it is cancelled.
    pub(super) async fn run(mut self, cancel: &CancellationToken) {
        while !cancel.is_cancelled() {
            match self.turn().await {
                Ok(pause) => self.wait(pause, cancel).await,
                Err(failure) => {
                    tracing::warn!("events wait, because the store failed: {failure}");
                    tokio::select! {
                        () = cancel.cancelled() => {}
                        () = wait::back_off(STORE_PAUSE) => {}
                    }
                }
            }
        }
        self.stop().await;
    }

    /// Sends what there is until nothing can be sent now, or until a deadline.
    pub(super) async fn drain(mut self, deadline: Instant) -> Result<(), Failure> {
        let never = CancellationToken::new();
        while Instant::now() < deadline {
            let pause = self.turn().await?;
            if self.under_way.is_empty() && !pause.is_zero() {
                break;
            }
            let _ = timeout_at(deadline, self.wait(pause, &never)).await;
        }
        self.stop().await;
        Ok(())
    }

    /// Records, takes and starts. Answers how long nothing happens by itself: zero means that there
    /// is more to do at once.
    async fn turn(&mut self) -> Result<Duration, Failure> {
        let now = Instant::now();
        let clean = self.cleaned.is_none_or(|at| now >= at + CLEAN_EVERY);
        let outcomes = std::mem::take(&mut self.ended);
        // Once these are recorded, their deployments are free; if they cannot be, nothing begins.
        self.count_busy();
        let mut turn = Turn {
            outcomes,
            only: self.only,
            clean,
            longest: self.schedule.longest,
            receivers: self
                .receivers
                .iter_mut()
                .map(|(number, receiver)| (*number, receiver.offer(&self.schedule, now)))
                .collect(),
            at_once: self.schedule.at_once,
        };
        let store = self.store.clone();
        let (turn, plan) = task::spawn_blocking(move || {
            let plan = turn.take(&store);
            (turn, plan)
        })
        .await
        .map_err(|error| Failure::failed(format!("the outbox: {error}")))?;
        self.ended = turn.outcomes;
        let plan = plan?;
        if clean {
            self.cleaned = Some(now);
        }
        self.seen = plan.seen;
        Ok(self.start(plan, now))
    }

    /// Counts the deployments of each receiver of which a try is under way.
    fn count_busy(&mut self) {
        for receiver in self.receivers.values_mut() {
            receiver.busy.clear();
        }
        for UnderWay { due, .. } in self.under_way.values() {
            let receiver = self.receivers.entry(due.endpoint).or_default();
            receiver.busy.insert(due.name.clone());
        }
    }

    /// Starts what was planned, with what the receivers offered at that moment.
    fn start(&mut self, plan: Plan, offered: Instant) -> Duration {
        let now = Instant::now();
        let known: BTreeSet<i64> = plan.endpoints.iter().map(|(it, _)| it.number).collect();
        self.receivers
            .retain(|number, receiver| known.contains(number) || !receiver.busy.is_empty());
        for (endpoint, due) in plan.endpoints {
            self.receivers.entry(endpoint.number).or_default();
            for due in due {
                self.start_one(&endpoint, due, now);
            }
        }
        let receivers = self.receivers.values();
        let next = receivers.filter_map(|it| it.next(&self.schedule, offered)).min();
        let next = next.map_or(self.schedule.look, |at| at.saturating_duration_since(now));
        if plan.more { Duration::ZERO } else { plan.pause.map_or(next, |pause| pause.min(next)) }
    }

    fn start_one(&mut self, endpoint: &Endpoint, mut due: Due, now: Instant) {
        let Some(receiver) = self.receivers.get_mut(&endpoint.number) else { return };
        receiver.busy.insert(due.name.clone());
        receiver.started = Some(now);
        let span = span(endpoint, &due);
        let parcel = match due.event.take() {
            None => Err(Answer::Never("the event is not in the history any more".into())),
            Some(event) => {
                let timestamp = OffsetDateTime::now_utc().unix_timestamp();
                let rule = if endpoint.is_frontend { Rule::Operator } else { self.strangers };
                receiver
                    .secrets(&self.key, endpoint)
                    .and_then(|secrets| {
                        let body = message::body(&event)?;
                        let signatures =
                            message::signatures(&secrets, &event.id, timestamp, &body)?;
                        let url = endpoint.url.clone();
                        Ok(Parcel { url, rule, id: event.id, timestamp, signatures, body })
                    })
                    .map_err(|failure| Answer::None(failure.message))
            }
        };
        let sender = self.sender.clone();
        let one = async move {
            match parcel {
                Ok(parcel) => sender.send(parcel).await,
                Err(answer) => answer,
            }
        };
        let task = self.tries.spawn(one.instrument(span.clone()));
        let (id, enabled_ms) = (endpoint.id.clone(), endpoint.enabled_ms);
        let under_way = UnderWay { due, endpoint: id, enabled_ms, began: now, span };
        self.under_way.insert(task.id(), under_way);
    }

    /// Waits until a try ends, something happens, or for so long.
    async fn wait(&mut self, pause: Duration, cancel: &CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            ended = self.tries.join_next_with_id(), if !self.tries.is_empty() => {
                self.note(ended);
            }
            _ = self.store.changed(self.seen) => {}
            () = wait::back_off(pause) => {}
        }
        // Whatever else has ended by now is recorded along with it.
        while let Some(ended) = self.tries.try_join_next_with_id() {
            self.note(Some(ended));
        }
    }

    /// Takes note of a try that has ended.
    fn note(&mut self, ended: Option<Result<(task::Id, Answer), task::JoinError>>) {
        let (id, answer) = match ended {
            None => return,
            Some(Ok(ended)) => ended,
            Some(Err(error)) => (error.id(), Answer::None("it could not be sent".into())),
        };
        let Some(tried) = self.under_way.remove(&id) else { return };
        let outcome = self.judge(tried, &answer);
        self.ended.push(outcome);
    }

    fn judge(&mut self, under_way: UnderWay, answer: &Answer) -> Outcome {
        let UnderWay { due, endpoint, enabled_ms, began, span } = under_way;
        let now = now_ms();
        let since = |ms: i64| Duration::from_millis(u64::try_from(now - ms).unwrap_or(0));
        let tried = Tried {
            tries: due.attempts + 1,
            age: since(due.created_ms.max(enabled_ms)),
            failing: due.failing_ms.map_or(Duration::ZERO, since).min(self.began.elapsed()),
        };
        let receiver = self.receivers.entry(due.endpoint).or_default();
        let was_away = receiver.is_away();
        let verdict = self.schedule.judge(answer, tried, random());
        let verdict = receiver.heed(answer.heard(), verdict, began, &self.schedule);
        let error = in_words(answer);
        let why = error.as_deref().unwrap_or_default();
        match (was_away, receiver.is_away()) {
            (false, true) => tracing::warn!(endpoint, "events wait for the receiver: {why}"),
            (true, false) => tracing::info!(endpoint, "the receiver answers again"),
            _ => {}
        }
        let fate = match verdict {
            Verdict::Delivered => Fate::Delivered,
            Verdict::Dead => {
                tracing::warn!(endpoint, name = %due.name, delivery = due.id, "given up: {why}");
                Fate::Dead
            }
            Verdict::Gone => {
                tracing::warn!(endpoint, "the endpoint is disabled: {why}");
                Fate::Gone
            }
            Verdict::Again { pause, away, held } => {
                let pause = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
                Fate::Again { next_ms: now.saturating_add(pause), away, held }
            }
        };
        let status = match answer {
            Answer::Status { status, .. } => Some(*status),
            Answer::None(_) | Answer::Never(_) => None,
        };
        span.record("outcome", in_a_word(fate)).record("status", status);
        if let Some(error) = &error {
            span.in_scope(|| tracing::debug!(?fate, "{error}"));
        }
        Outcome { id: due.id, endpoint: due.endpoint, name: due.name, fate, status, error }
    }

    /// Waits a little for what is under way, and records it. What is not done by then is sent again
    /// by whoever comes next.
    async fn stop(&mut self) {
        let end = Instant::now() + self.schedule.linger;
        while let Ok(Some(ended)) = timeout_at(end, self.tries.join_next_with_id()).await {
            self.note(Some(ended));
        }
        self.tries.abort_all();
        let (store, ended) = (self.store.clone(), std::mem::take(&mut self.ended));
        let recorded =
            task::spawn_blocking(move || store.record_outcomes(&ended, &BTreeSet::new())).await;
        if let Ok(Err(error)) = recorded {
            tracing::warn!("what was delivered at last will be sent again: {error}");
        }
    }
}

/// What traces and the log tell of a try. It belongs to no other span: what happened did so long
/// ago, perhaps, and elsewhere.
fn span(endpoint: &Endpoint, due: &Due) -> Span {
    let event = due.event.as_ref();
    tracing::info_span!(
        parent: None,
        "delivery",
        endpoint_id = endpoint.id,
        deployment = due.name,
        event_id = event.map(|it| it.id.as_str()),
        operation_id = event.and_then(|it| it.operation_id.as_deref()),
        attempt = due.attempts + 1,
        status = field::Empty,
        outcome = field::Empty,
    )
}

fn in_a_word(fate: Fate) -> &'static str {
    match fate {
        Fate::Delivered => "arrived",
        Fate::Again { .. } | Fate::Gone => "failed",
        Fate::Dead => "dead",
    }
}

/// A random number from 0 to 1.
fn random() -> f64 {
    // 53 bits are what a number of this kind holds.
    let bits = getrandom::u64().unwrap_or_default() >> 11;
    #[expect(clippy::cast_precision_loss, reason = "no bit is lost")]
    let drawn = bits as f64 / (1_u64 << 53) as f64;
    drawn
}
