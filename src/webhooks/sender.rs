//! One try: a request to a receiver, and what came of it.
//!
//! Owns the HTTP client. Refuses to follow a redirect, to ask a proxy, to connect to an address
//! that the rule refuses, whatever a name resolves to at that moment, and to read more of an answer
//! than it needs.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Response, Url, redirect};
use time::OffsetDateTime;

use super::address::{Refused, Rule, check_address, check_url};
use super::schedule::{Answer, Schedule, retry_after};
use crate::domain::{Failure, text};

/// How much of an answer is read, so that the connection can be used again.
const READ_AT_MOST: usize = 64 * 1024;
/// How long that may take. What the answer is stands in its first line, and is known by then.
const READ_FOR: Duration = Duration::from_secs(1);
/// How long a connection is kept that nothing is sent over.
const IDLE_FOR: Duration = Duration::from_secs(30);
/// How long a reason is, in characters.
const REASON_MAX: usize = 200;

/// What is sent.
#[derive(Debug)]
pub struct Parcel {
    /// Where to.
    pub url: String,
    /// Whose the receiver is.
    pub rule: Rule,
    /// The event's id.
    pub id: String,
    /// When it is sent, in seconds since 1970.
    pub timestamp: i64,
    /// Its signatures.
    pub signatures: String,
    /// What it says.
    pub body: String,
}

/// Sends parcels.
pub struct Sender {
    /// By the rule for addresses, and whether HTTPS is spoken: reading the system's certificates
    /// takes time and memory that an installation without any use for them is spared.
    clients: Mutex<HashMap<(Rule, bool), Client>>,
    resolver: Arc<dyn Resolve>,
    schedule: Schedule,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl Sender {
    /// A sender that asks the system where a name leads, or this resolver.
    pub fn new(schedule: &Schedule, resolver: Option<Arc<dyn Resolve>>) -> Self {
        // Whoever was first may have installed another one, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let resolver = resolver.unwrap_or_else(|| Arc::new(System));
        Self { clients: Mutex::default(), resolver, schedule: schedule.clone() }
    }

    /// Sends a parcel once.
    pub async fn send(&self, parcel: Parcel) -> Answer {
        // A literal address is connected to without a look-up, so it is checked here.
        let url = match check_url("its url", &parcel.url, parcel.rule) {
            Ok(url) => url,
            Err(failure) => return Answer::None(failure.message),
        };
        let client = match self.client(parcel.rule, &url) {
            Ok(client) => client,
            Err(failure) => return Answer::None(failure.message),
        };
        let sent = client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", parcel.id)
            .header("webhook-timestamp", parcel.timestamp)
            .header("webhook-signature", parcel.signatures)
            .body(parcel.body)
            .send()
            .await;
        match sent {
            Ok(response) => answer(response).await,
            Err(error) => Answer::None(self.reason(&error)),
        }
    }

    fn client(&self, rule: Rule, url: &Url) -> Result<Client, Failure> {
        let is_tls = url.scheme() == "https";
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&(rule, is_tls)) {
            return Ok(client.clone());
        }
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .http1_only()
            .user_agent(concat!("openclaw-pipeline/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.schedule.connect)
            .timeout(self.schedule.attempt)
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(self.schedule.at_once)
            .tcp_nodelay(true)
            .https_only(rule == Rule::Global)
            .dns_resolver(Checked { rule, resolver: self.resolver.clone() });
        if !is_tls {
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| {
            Failure::failed(format!("no connection can be made: {}", innermost(&error)))
        })?;
        clients.insert((rule, is_tls), client.clone());
        Ok(client)
    }

    /// Why there was no answer, in words that hold no address but the one that was refused.
    fn reason(&self, error: &reqwest::Error) -> String {
        let causes = || causes(error);
        if let Some(refused) = causes().find_map(|it| it.downcast_ref::<NoneAllowed>()) {
            return refused.to_string();
        }
        if error.is_timeout() {
            return if error.is_connect() {
                format!("no connection within {}", seconds(self.schedule.connect))
            } else {
                format!("no answer within {}", seconds(self.schedule.attempt))
            };
        }
        let io = causes().find_map(|it| it.downcast_ref::<std::io::Error>());
        if io.is_some_and(|it| it.kind() == std::io::ErrorKind::ConnectionRefused) {
            return "nobody listens there".into();
        }
        text::clean(&format!("no answer: {}", innermost(error)), REASON_MAX)
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// An error and its causes.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |it| (*it).source())
}

/// The last cause: the ones around it repeat it, and name the URL, which may be a secret.
fn innermost(error: &(dyn Error + 'static)) -> String {
    match causes(error).skip(1).last() {
        Some(cause) => cause.to_string(),
        None => "the request could not be made".into(),
    }
}

async fn answer(mut response: Response) -> Answer {
    let status = response.status().as_u16();
    let header = response.headers().get("retry-after");
    let retry_after = header
        .and_then(|value| value.to_str().ok())
        .and_then(|text| retry_after(text, OffsetDateTime::now_utc()));
    let drain = async {
        let mut left = READ_AT_MOST;
        while left > 0
            && let Ok(Some(chunk)) = response.chunk().await
        {
            left = left.saturating_sub(chunk.len());
        }
    };
    // Whatever becomes of the rest, the answer is there.
    let _ = tokio::time::timeout(READ_FOR, drain).await;
    Answer::Status { status, retry_after }
}

/// The system's own look-up.
struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

/// A look-up of which only those addresses come back that the rule allows. The connection is made
/// to these, and the name is not asked for again on the way there.
struct Checked {
    rule: Rule,
    resolver: Arc<dyn Resolve>,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (rule, host) = (self.rule, name.as_str().to_owned());
        let found = self.resolver.resolve(name);
        Box::pin(async move {
            let mut refused = None;
            let allowed: Vec<SocketAddr> = found
                .await?
                .filter(|it| match check_address(it.ip(), rule) {
                    Ok(()) => true,
                    Err(why) => {
                        refused = Some(why);
                        false
                    }
                })
                .collect();
            if allowed.is_empty() {
                return Err(NoneAllowed { host, refused }.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// A name that leads nowhere that events may be sent to.
#[derive(Debug)]
struct NoneAllowed {
    host: String,
    refused: Option<Refused>,
}

impl fmt::Display for NoneAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = text::clean(&self.host, 80);
        match self.refused {
            Some(refused) => write!(f, "{host} leads to an address that is not allowed: {refused}"),
            None => write!(f, "{host} has no address"),
        }
    }
}

impl Error for NoneAllowed {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every name with the same addresses.
    struct Stub(Vec<&'static str>);

    impl Resolve for Stub {
        fn resolve(&self, _name: Name) -> Resolving {
            let parse = |it: &&str| SocketAddr::new(it.parse().expect("an address"), 0);
            let found: Vec<SocketAddr> = self.0.iter().map(parse).collect();
            Box::pin(async move { Ok(Box::new(found.into_iter()) as Addrs) })
        }
    }

    async fn allowed(rule: Rule, found: &[&'static str]) -> Result<Vec<String>, String> {
        let checked = Checked { rule, resolver: Arc::new(Stub(found.to_vec())) };
        let name: Name = "app.example".parse().expect("a name");
        match checked.resolve(name).await {
            Ok(addresses) => Ok(addresses.map(|it| it.ip().to_string()).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[tokio::test]
    async fn of_mixed_answers_only_the_allowed_addresses_are_connected_to() {
        let mixed = ["127.0.0.1", "8.8.8.8", "::ffff:10.0.0.1", "2606:4700::1", "169.254.169.254"];
        let global = allowed(Rule::Global, &mixed).await;
        assert_eq!(global.expect("two of them"), ["8.8.8.8", "2606:4700::1"]);
        let own = allowed(Rule::Operator, &["127.0.0.1", "169.254.169.254"]).await;
        assert_eq!(own.expect("one of them"), ["127.0.0.1"]);
        let none = allowed(Rule::Global, &["10.0.0.1"]).await.expect_err("none of them");
        assert!(none.contains("app.example") && none.contains("a private address"), "{none}");
        let none = allowed(Rule::Global, &[]).await.expect_err("none at all");
        assert_eq!(none, "app.example has no address");
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_never_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let port = listener.local_addr().expect("an address").port();
        let stub: Arc<dyn Resolve> = Arc::new(Stub(vec!["127.0.0.1", "::1"]));
        let sender = Sender::new(&Schedule::default(), Some(stub));
        let answer =
            sender.send(parcel(format!("https://app.example:{port}/"), Rule::Global)).await;
        let Answer::None(why) = answer else { panic!("{answer:?}") };
        assert!(why.contains("a loopback address"), "{why}");
        let connected = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(connected.is_err(), "nobody connected");
        // Nor is an address that was written down before the rule was applied to it.
        let answer = sender.send(parcel(format!("https://127.0.0.1:{port}/"), Rule::Global)).await;
        assert!(matches!(answer, Answer::None(ref why) if why.contains("loopback")), "{answer:?}");
    }

    #[tokio::test]
    async fn reasons_name_no_url() {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
            listener.local_addr().expect("an address").port()
        };
        let sender = Sender::new(&Schedule::default(), None);
        let url = format!("http://127.0.0.1:{port}/s3cr3t");
        let answer = sender.send(parcel(url, Rule::Operator)).await;
        assert_eq!(answer, Answer::None("nobody listens there".into()));
    }

    fn parcel(url: String, rule: Rule) -> Parcel {
        let (id, signatures, body) = ("id".into(), "v1,x".into(), "{}".into());
        Parcel { url, rule, id, timestamp: 0, signatures, body }
    }
}
