//! One request over HTTP, and its answer.
//!
//! Owns the clients. They use the system's certificates and the proxies of the environment, but for
//! what is near: loopback, and a cloud's own services on its machines. Refuses to follow a
//! redirect, and to read more of an answer than its bound.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Client, Method, Url, redirect};

use crate::domain::{Failure, text};
use crate::exec::wait;
use crate::secrets::Secret;

/// The largest answer, in bytes. The instances of a large account fit in it many times over.
const BODY_MAX: usize = 16 * 1024 * 1024;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection to what is near may take: where it is not, nobody answers.
const CONNECT_NEAR: Duration = Duration::from_secs(1);

/// How often those are asked who answer late, or not to the end: a service of a busy machine's, for
/// one.
const TRIES: u32 = 3;
/// The pause before the second try; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// What is asked.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(&'static str, Secret)>,
    pub(super) body: String,
    /// How long the answer may take.
    pub(super) within: Duration,
    /// Whether no proxy may stand between.
    pub(super) direct: bool,
}

impl Request {
    /// Asks for what stands at an address.
    pub(super) fn get(url: Url, within: Duration) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: Vec::new(),
            body: String::new(),
            within,
            direct: true,
        }
    }

    /// Adds a header.
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, Secret::new(value)));
        self
    }
}

/// What was answered.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// What kind of error it is, where the answer says so beside its body.
    pub(super) error_type: Option<String>,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) failure: Failure,
    /// Whether it may be another time: nobody was reached, or not to the end.
    pub(super) may_pass: bool,
    /// Whether nobody was reached.
    pub(super) nobody: bool,
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        trouble.failure
    }
}

/// The clients, made when they are needed: reading the certificates takes time and memory.
#[derive(Default)]
pub(super) struct Http(Mutex<HashMap<(bool, bool), Client>>);

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

impl Http {
    /// Sends a request once. The failure names the host, and nothing else of the address.
    pub(super) async fn send(&self, request: Request) -> Result<Reply, Trouble> {
        let lasting = |failure| Trouble { failure, may_pass: false, nobody: false };
        let host = host(&request.url);
        let client = self.client(request.direct || is_near(&request.url), &request.url);
        let client = client.map_err(lasting)?;
        let mut builder = client.request(request.method, request.url).timeout(request.within);
        for (name, value) in &request.headers {
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| {
                lasting(
                    Failure::prerequisite(
                        "the AWS credentials hold a character that none can have",
                    )
                    .remedy("check that they were copied as a whole, without a line break"),
                )
            })?;
            value.set_sensitive(true);
            builder = builder.header(*name, value);
        }
        let unreachable = |error: &reqwest::Error| {
            let reason = text::clean(&reason(error), 200);
            let failure = Failure::failed(format!("{host} cannot be reached: {reason}")).remedy(
                "check the network and the proxy, that the region exists, and AWS_ENDPOINT_URL if \
                 it is set",
            );
            Trouble { failure, may_pass: true, nobody: error.is_connect() }
        };
        let mut response =
            builder.body(request.body).send().await.map_err(|error| unreachable(&error))?;
        let status = response.status().as_u16();
        let error_type = response.headers().get("x-amzn-errortype");
        let error_type = error_type.and_then(|it| it.to_str().ok()).map(ToOwned::to_owned);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
            if body.len() + chunk.len() > BODY_MAX {
                let failure = Failure::failed(format!("{host} answers with more than 16 MiB"));
                return Err(lasting(failure));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, error_type, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Sends a request, and again where the answer was late or says that it is no final one. Where
    /// nobody is there at all, once is enough.
    pub(super) async fn send_patiently(&self, request: &Request) -> Result<Reply, Trouble> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.send(request.clone()).await {
                Err(trouble) if trouble.may_pass && !trouble.nobody => {}
                Ok(reply) if reply.status == 429 || reply.status >= 500 => {}
                answer => return answer,
            }
            wait::back_off(pause).await;
            pause *= 2;
        }
        self.send(request.clone()).await
    }

    fn client(&self, direct: bool, url: &Url) -> Result<Client, Failure> {
        let is_tls = url.scheme() == "https";
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&(direct, is_tls)) {
            return Ok(client.clone());
        }
        // Whoever was first may have installed another one, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .http1_only()
            .user_agent(concat!("openclaw-pipeline/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(if direct && !is_tls { CONNECT_NEAR } else { CONNECT });
        if direct {
            builder = builder.no_proxy();
        }
        // Through a proxy an address without TLS is reached without TLS as well.
        if !is_tls && direct {
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| {
            Failure::failed(format!("no connection can be made: {}", reason(&error)))
        })?;
        clients.insert((direct, is_tls), client.clone());
        Ok(client)
    }
}

/// The host and, if it is not the usual one, the port.
pub(super) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether an address leads to this machine.
fn is_near(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The last cause: the ones around it repeat it, and name the address.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let first: &(dyn Error + 'static) = error;
    match std::iter::successors(Some(first), |it| (*it).source()).skip(1).last() {
        Some(cause) => cause.to_string(),
        None => "the request could not be made".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_recognised() {
        for (url, near) in [
            ("http://127.0.0.1:5000/", true),
            ("http://localhost/", true),
            ("http://[::1]:1/", true),
            ("https://ec2.us-east-1.amazonaws.example/", false),
        ] {
            assert_eq!(is_near(&url.parse().expect("a url")), near, "{url}");
        }
    }

    #[tokio::test]
    async fn who_answers_late_is_asked_again_and_nobody_once() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let url: Url = format!("http://{}/", listener.local_addr().expect("an address"))
            .parse()
            .expect("a url");
        let served = tokio::spawn(async move {
            let (late, _) = listener.accept().await.expect("a connection");
            let (mut other, _) = listener.accept().await.expect("another");
            let mut request = [0; 1024];
            let _ = other.read(&mut request).await.expect("a request");
            let answer = b"HTTP/1.1 200 X\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
            other.write_all(answer).await.expect("is sent");
            drop(late);
        });
        let request = Request::get(url.clone(), Duration::from_millis(300));
        let reply = Http::default().send_patiently(&request).await.expect("an answer");
        assert_eq!(reply.body, "ok");
        served.await.expect("served");
        let trouble = Http::default().send_patiently(&request).await.expect_err("nobody there");
        assert!(trouble.nobody && trouble.may_pass, "{}", trouble.failure);
    }

    #[tokio::test]
    async fn a_host_that_does_not_answer_is_named_without_the_rest() {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
            listener.local_addr().expect("an address").port()
        };
        let url = format!("http://127.0.0.1:{port}/s3cr3t").parse().expect("a url");
        let request = Request::get(url, Duration::from_secs(5)).header("x-a", "s3cr3t");
        let failure = Http::default().send(request).await.expect_err("nobody there").failure;
        assert!(failure.message.contains(&format!("127.0.0.1:{port} cannot")), "{failure}");
        assert!(!failure.message.contains("s3cr3t") && failure.remedy.is_some(), "{failure}");
    }
}
