//! The HTTP API and the web console.
//!
//! Owns what a request is, who may make it, and how it is answered. Refuses to decide anything
//! about a deployment: the verbs stand in [`crate::app`].

mod body;
mod cache;
mod caller;
mod console;
mod crowd;
mod gate;
mod json;
mod listen;
mod observe;
mod openapi;
mod options;
mod origin;
mod page;
mod problem;
mod remedy;
mod routes;
mod seats;
mod session;
mod start;
mod state;
mod tail;
mod tls;
mod turns;
mod views;

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use self::listen::{Listening, Tls};
use self::problem::Problem;
use self::state::{Parts, Server};
use crate::app::endpoints::Frontend;
use crate::app::rate::RateLimits;
use crate::app::{App, Authenticator, Serving};
use crate::config::Settings;
use crate::domain::Failure;
use crate::secrets::Secret;
use crate::telemetry::metrics::Metrics;

pub use options::{Reach, Said};

/// How long connections may take to end once the operations have.
const CONNECTIONS_GRACE: Duration = Duration::from_secs(5);

/// How a server is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// The settings.
    pub settings: Settings,
    /// What was said outright about how it is reached.
    pub said: Said,
    /// How long what runs may go on when the server is told to stop.
    pub grace: Duration,
    /// How often somebody may ask.
    pub rate: RateLimits,
    /// How many operations are carried out at once.
    pub at_once: usize,
}

/// A server that listens.
pub struct Running {
    server: Server,
    serving: Serving,
    tls: Option<Tls>,
    address: SocketAddr,
    grace: Duration,
    end: CancellationToken,
    stop_listening: CancellationToken,
    listening: tokio::task::JoinHandle<()>,
    frontend: Frontend,
    background: tokio_util::task::TaskTracker,
}

/// The description of the API.
pub fn description() -> OpenApi {
    openapi::complete(calls().split_for_parts().1)
}

/// The description as it is committed.
pub fn description_text() -> Result<String, Failure> {
    openapi::text(&description())
}

fn calls() -> OpenApiRouter<Server> {
    routes::all().merge(session::routes())
}

/// Everything that answers.
fn router(server: &Server) -> Result<Router, Failure> {
    let (calls, api) = calls().split_for_parts();
    let text = Bytes::from(openapi::text(&openapi::complete(api))?);
    let document =
        Router::new().route("/swagger.json", axum::routing::get(openapi::serve).with_state(text));
    Ok(calls
        .merge(document)
        .merge(console::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(server.clone(), gate::gate))
        .layer(axum::middleware::from_fn_with_state(server.clone(), observe::observe))
        .with_state(server.clone()))
}

async fn unknown() -> Problem {
    Problem::not_found("there is no such call").remedy("GET /swagger.json lists what there is")
}

async fn wrong_method(request: Request) -> impl IntoResponse {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("this is not answered to {}", request.method()),
    )
}

impl Running {
    /// Takes the data directory over, and listens.
    pub async fn begin(app: App, options: Options) -> Result<Self, Failure> {
        let token = options.settings.api_token()?;
        let authenticator = Arc::new(Authenticator::new(app.store().clone(), token.as_ref()));
        let reach = Reach::new(&options.settings, options.said, !authenticator.is_open()?)?;
        let tls = match &reach.tls {
            Some(files) => Some(Arc::new(RwLock::new(tls::config(files)?))),
            None => None,
        };
        app.check_frontend(&options.settings)?;
        let listener = bind(&reach).await?;
        let address = listener.local_addr()?;
        let metrics = Metrics::default();
        let serving = Serving::begin(app, &options.settings, metrics.clone(), options.at_once)?;
        let settings = options.settings.clone();
        let (end, stop_listening) = (CancellationToken::new(), CancellationToken::new());
        let tail = tail::Tail::of(serving.app().clone(), end.clone())?;
        let server = Server::new(Parts {
            app: serving.app().clone(),
            executor: serving.executor().clone(),
            tail,
            authenticator,
            metrics: metrics.clone(),
            settings: options.settings,
            rate: options.rate,
            is_loopback: reach.is_loopback(),
            is_tls: reach.is_tls(),
            behind_proxy: reach.behind_tls_proxy,
        })?;
        let router = router(&server)?;
        // Only the one that has the data directory moves the front end; and what it makes a secret
        // for begins, so that the secret is shown.
        let frontend = server.app().frontend_endpoint(&settings)?;
        let listening =
            Listening { router, tls: tls.clone(), behind_proxy: reach.behind_tls_proxy, metrics };
        let listening = tokio::spawn(listen::listen(
            listener,
            listening,
            stop_listening.clone(),
            CONNECTIONS_GRACE,
        ));
        let background = tokio_util::task::TaskTracker::new();
        let (noting, ending) = (server.clone(), end.clone());
        background.spawn(async move { noting.denials().keep(ending).await });
        let (using, ending) = (server.clone(), end.clone());
        background.spawn(async move { using.authenticator().keep_uses(ending).await });
        Ok(Self {
            server,
            serving,
            tls,
            address,
            grace: options.grace,
            end,
            stop_listening,
            listening,
            frontend,
            background,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Where the front end is told what happens, and the secret that was made for it just now.
    pub fn frontend(&self) -> (&str, Option<&Secret>) {
        (&self.frontend.endpoint.url, self.frontend.generated.as_ref())
    }

    /// Whether whoever reaches it needs no token.
    pub fn is_open(&self) -> Result<bool, Failure> {
        Ok(self.server.is_loopback() && self.server.authenticator().is_open()?)
    }

    /// Takes settings that were read anew, and the certificate's files. What is wrong is refused,
    /// and what was in force stays. The address and the port stay in any case.
    pub fn reload(&self, settings: &Settings) -> Result<(), Failure> {
        let app = self.server.app();
        app.check_frontend(settings)?;
        let renewed = match (&self.tls, settings.tls()?) {
            (Some(tls), Some(files)) => Some((tls, tls::config(&files)?)),
            _ => None,
        };
        self.server.reload(settings.clone())?;
        if let Some((tls, config)) = renewed {
            *tls.write().unwrap_or_else(PoisonError::into_inner) = config;
        }
        app.frontend_endpoint(settings).map(drop)
    }

    /// Stops: takes no more work, lets what runs come to its end or interrupts it in a way that it
    /// can be gone on with, and ends the connections.
    pub async fn end(self) {
        self.serving.end(self.grace).await;
        self.stop_listening.cancel();
        self.end.cancel();
        let _ = self.listening.await;
        self.background.close();
        self.background.wait().await;
    }
}

async fn bind(reach: &Reach) -> Result<TcpListener, Failure> {
    let address = SocketAddr::new(reach.address, reach.port);
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::conflict(format!("port {} is taken", reach.port))
            .remedy("end what listens there, or choose another SERVER_PORT"),
        std::io::ErrorKind::AddrNotAvailable => Failure::bad_input(format!(
            "OPENCLAW_PIPELINE_BIND is {}, which is no address of this machine",
            reach.address
        ))
        .remedy("name an address of this machine (ip address shows them), or 0.0.0.0"),
        std::io::ErrorKind::PermissionDenied => {
            Failure::bad_input(format!("port {} cannot be opened by this user", reach.port))
                .remedy("choose a SERVER_PORT from 1024 on")
        }
        _ => Failure::failed(format!("the server cannot listen on {address}: {error}")),
    })
}
