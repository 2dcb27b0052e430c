//! Asking again: an API server that is restarted, or whose place another one takes, loses calls.
//!
//! Owns for how long a call that was lost is made again, and that a call is made again with another
//! token where the cluster no longer took the one it had. Refuses that for a cluster which never
//! answered: its address may be wrong, and whoever waits is to know at once. What is made again is of
//! no other effect the second time, or says itself what was there.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::Cluster;
use super::error::{ApiError, Problem};
use crate::exec::wait;

/// How long one may take.
const ANSWER: Duration = Duration::from_secs(30);
/// For how long.
const WITHIN: Duration = Duration::from_secs(60);
/// The pause before the second try, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));

impl Cluster {
    /// Makes a call until it is answered.
    pub(super) async fn ask<T, F>(&self, call: impl Fn() -> F) -> Result<T, ApiError>
    where
        F: Future<Output = kube::Result<T>>,
    {
        self.ask_while(ApiError::may_pass, call).await
    }

    /// Makes a call again for as long as nobody was there who took it: what it does is done once.
    pub(super) async fn ask_once<T, F>(&self, call: impl Fn() -> F) -> Result<T, ApiError>
    where
        F: Future<Output = kube::Result<T>>,
    {
        self.ask_while(|error| error.was_not_done, call).await
    }

    async fn ask_while<T, F>(
        &self,
        passes: impl Fn(&ApiError) -> bool,
        call: impl Fn() -> F,
    ) -> Result<T, ApiError>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let end = Instant::now() + WITHIN;
        let mut pause = PAUSES.0;
        let mut is_renewed = false;
        loop {
            let error = match tokio::time::timeout(ANSWER, call()).await {
                Ok(Ok(answer)) => {
                    self.has_answered();
                    return Ok(answer);
                }
                Ok(Err(error)) => ApiError::of(&error, &self.server),
                Err(_) => {
                    let words = format!("no answer within {} s", ANSWER.as_secs());
                    ApiError::new(Problem::Unreachable, &words, &self.server)
                }
            };
            if error.problem != Problem::Unreachable {
                self.has_answered();
            }
            // What was refused for its token alone was not done.
            if error.problem == Problem::Unauthenticated
                && !is_renewed
                && let Some(bearer) = &self.bearer
                && bearer.renew().await
            {
                is_renewed = true;
                continue;
            }
            let is_lost = passes(&error) && self.answered.load(Ordering::Relaxed);
            if !is_lost || Instant::now() + pause > end {
                return Err(error);
            }
            tracing::info!(server = %self.server, error = %error.words, "a call was lost, and is made again");
            wait::back_off(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Takes a cluster for one that answers.
    pub(super) fn has_answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use kube::client::{Body, ClientBuilder};
    use kube::{Client, Config};
    use serde_json::json;
    use tower::util::MapRequestLayer;

    use super::*;
    use crate::drivers::aws::Environment;
    use crate::drivers::kubernetes::bearer::Bearer;
    use crate::drivers::kubernetes::{Kind, MANAGER, Object, Whereabouts};

    /// What becomes of one call.
    #[derive(Clone, Copy)]
    enum Fate {
        /// Nobody listens.
        Refused,
        /// The connection ends before the answer.
        Lost,
        /// Nothing comes.
        Silent,
        /// So many, and this object.
        Answer(u16),
    }

    fn body(code: u16) -> serde_json::Value {
        let reason = match code {
            401 => "Unauthorized",
            404 => "NotFound",
            _ => "AlreadyExists",
        };
        if code == 200 {
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": {
                "name": "a", "uid": "1", "managedFields": [{ "manager": MANAGER }],
            } })
        } else {
            json!({ "status": "Failure", "code": code, "reason": reason, "message": "said" })
        }
    }

    /// A cluster that does this with one call after the other, and counts them.
    fn cluster(fates: &'static [Fate]) -> (Cluster, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let service = tower::service_fn(move |_: axum::http::Request<Body>| {
            let fate = fates[counted.fetch_add(1, Ordering::Relaxed)];
            async move {
                match fate {
                    Fate::Refused => Err(Error::from(ErrorKind::ConnectionRefused)),
                    Fate::Lost => Err(Error::from(ErrorKind::ConnectionReset)),
                    Fate::Silent => std::future::pending().await,
                    Fate::Answer(code) => Ok(axum::http::Response::builder()
                        .status(code)
                        .body(Body::from(body(code).to_string().into_bytes()))
                        .expect("an answer")),
                }
            }
        });
        let mut cluster = nobodys(None);
        cluster.client = Client::new(service, "default");
        (cluster, calls)
    }

    fn nobodys(bearer: Option<Bearer>) -> Cluster {
        let config = Config::new("http://127.0.0.1:1".parse().expect("an address"));
        Cluster::of(config, bearer).expect("a cluster")
    }

    /// A cluster that takes the token `two`, and the file in which the one stands that it is called with.
    fn taking_two() -> (Cluster, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        write(&file, "one");
        let place = Whereabouts::Kubeconfig { files: vec![file.path().to_owned()], context: None };
        let bearer = Bearer::new(&"one".into(), &place, &Environment::default()).expect("a token");
        let service = tower::service_fn(|call: axum::http::Request<Body>| async move {
            let code = if call.headers()["authorization"] == "Bearer two" { 200 } else { 401 };
            let body = Body::from(body(code).to_string().into_bytes());
            Ok::<_, Error>(axum::http::Response::builder().status(code).body(body).expect("one"))
        });
        let carried = MapRequestLayer::new(bearer.carried());
        let mut cluster = nobodys(Some(bearer));
        cluster.client = ClientBuilder::new(service, "default").with_layer(&carried).build();
        (cluster, file)
    }

    fn write(file: &tempfile::NamedTempFile, token: &str) {
        let text = json!({
            "clusters": [{ "name": "a", "cluster": { "server": "http://127.0.0.1:1" } }],
            "users": [{ "name": "a", "user": { "token": token } }],
            "contexts": [{ "name": "a", "context": { "cluster": "a", "user": "a" } }],
            "current-context": "a",
        });
        std::fs::write(file.path(), text.to_string()).expect("written");
    }

    fn pod() -> Object {
        let mut object = Object::new("a", &Kind::POD.resource());
        object.metadata.namespace = Some("n".into());
        object
    }

    async fn get(cluster: &Cluster) -> Result<Option<Object>, ApiError> {
        cluster.get(Kind::POD, Some("n"), "a").await
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_answered_is_not_asked_again() {
        let (cluster, calls) = cluster(&[Fate::Refused]);
        let error = get(&cluster).await.expect_err("nobody there");
        assert_eq!(error.problem, Problem::Unreachable);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_lost_is_made_again() {
        let fates = &[Fate::Answer(200), Fate::Lost, Fate::Refused, Fate::Answer(200)];
        let (cluster, calls) = cluster(fates);
        get(&cluster).await.expect("the first");
        assert!(get(&cluster).await.expect("the second").is_some());
        assert_eq!(calls.load(Ordering::Relaxed), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_for_an_answer() {
        let (silent, calls) = cluster(&[Fate::Silent]);
        let error = get(&silent).await.expect_err("no answer");
        assert!(error.problem == Problem::Unreachable && error.words.contains("30 s"), "{error:?}");
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        let (busy, _) = cluster(&[Fate::Answer(200), Fate::Silent, Fate::Answer(200)]);
        get(&busy).await.expect("the first");
        assert!(get(&busy).await.expect("the second, asked again").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn not_for_ever() {
        static FATES: [Fate; 1000] = {
            let mut fates = [Fate::Refused; 1000];
            fates[0] = Fate::Answer(200);
            fates
        };
        let (cluster, _) = cluster(&FATES);
        get(&cluster).await.expect("the first");
        let begun = Instant::now();
        get(&cluster).await.expect_err("never again");
        assert!(begun.elapsed() <= WITHIN);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_too_busy_is_asked_again_and_its_answer_is_told() {
        let (busy, calls) = cluster(&[Fate::Answer(503), Fate::Answer(429), Fate::Answer(200)]);
        assert!(get(&busy).await.expect("the third").is_some());
        assert_eq!(calls.load(Ordering::Relaxed), 3);
        let (broken, _) = cluster(&[Fate::Answer(503); 1000]);
        let error = get(&broken).await.expect_err("never");
        assert_eq!((error.problem, error.words.as_str()), (Problem::Busy, "said"));
        // What is to be done once may have been, unless the call was put away.
        let (one, calls) = cluster(&[Fate::Answer(429), Fate::Answer(503)]);
        let client = one.client.clone();
        let version = one.ask_once(|| async { client.apiserver_version().await });
        assert_eq!(version.await.expect_err("busy").problem, Problem::Busy);
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_has_expired_is_found_anew() {
        let (cluster, file) = taking_two();
        write(&file, "two");
        let error = get(&cluster).await.expect_err("it was found just now");
        assert_eq!(error.problem, Problem::Unauthenticated);
        wait::back_off(Duration::from_secs(61)).await;
        let (first, second) = tokio::join!(get(&cluster), get(&cluster));
        assert!(first.expect("with another").is_some() && second.expect("too").is_some());
        // One that nobody gives anew, or that is not taken either, ends the call.
        wait::back_off(Duration::from_secs(61)).await;
        let (cluster, file) = taking_two();
        wait::back_off(Duration::from_secs(61)).await;
        let error = get(&cluster).await.expect_err("the same as before");
        assert_eq!(error.problem, Problem::Unauthenticated);
        drop(file);
        wait::back_off(Duration::from_secs(61)).await;
        get(&cluster).await.expect_err("its file is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_made_before_the_answer_was_lost_is_that() {
        let fates = &[Fate::Answer(404), Fate::Lost, Fate::Answer(409), Fate::Answer(200)];
        let (cluster, _) = cluster(fates);
        assert_eq!(get(&cluster).await, Ok(None));
        let made = cluster.create(Kind::POD, &pod()).await.expect("made");
        assert_eq!(made.metadata.uid.as_deref(), Some("1"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_already_is_refused() {
        // Also by one that put the call away before.
        for fates in [&[Fate::Answer(409)][..], &[Fate::Answer(429), Fate::Answer(409)]] {
            let (cluster, _) = cluster(fates);
            let error = cluster.create(Kind::POD, &pod()).await.expect_err("there");
            assert_eq!(error.problem, Problem::Conflict);
        }
    }

    /// The client's own stack is between, too.
    #[tokio::test]
    async fn what_may_have_been_done_is_asked_for_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let place = format!("http://{}", listener.local_addr().expect("its address"));
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let busy = axum::Router::new().fallback(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async { (axum::http::StatusCode::SERVICE_UNAVAILABLE, body(503).to_string()) }
        });
        let serves = tokio::spawn(async move { axum::serve(listener, busy).await });
        let config = Config::new(place.parse().expect("an address"));
        let cluster = Cluster::of(config, None).expect("a cluster");
        let version = cluster.ask_once(|| cluster.client.apiserver_version());
        assert_eq!(version.await.expect_err("busy").problem, Problem::Busy);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        serves.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_to_be_done_once_is_made_again_only_if_nobody_took_it() {
        let fates = &[Fate::Answer(200), Fate::Refused, Fate::Lost];
        let (cluster, calls) = cluster(fates);
        get(&cluster).await.expect("the first");
        let pods = cluster.client.clone();
        let version = cluster.ask_once(|| async { pods.apiserver_version().await });
        assert_eq!(version.await.expect_err("lost").problem, Problem::Unreachable);
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }
}
