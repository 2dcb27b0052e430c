//! By which name the server is called, and from which pages.
//!
//! Owns the two questions that a browser's headers answer: is this one of the server's own names,
//! and whose page asks. Refuses a name that is not its own: another name that leads here is how a
//! web page gets a browser to talk to what it must not reach.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::problem::{Answer, Problem};
use super::state::Server;

/// Whose page asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// None, or one that the browser says nothing of.
    NoPage,
    /// The server's own.
    Own,
    /// One whose origin is allowed.
    Allowed(HeaderValue),
    /// Another one.
    Foreign,
}

/// Checks the name by which the server is called, and says whose page asks.
pub fn check(server: &Server, request: &Request) -> Answer<From> {
    let host = host(request)?;
    if !is_own(server, &host) {
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "this server has another name")
            .remedy("call it by its own name; OPENCLAW_PIPELINE_HOSTS lists further ones"));
    }
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(From::NoPage) };
    let text = origin.to_str().unwrap_or("null");
    let scheme = if server.is_tls() { "https" } else { "http" };
    if text.eq_ignore_ascii_case(&format!("{scheme}://{host}")) {
        return Ok(From::Own);
    }
    if server.live().cors_origins.iter().any(|it| it == text) {
        return Ok(From::Allowed(origin.clone()));
    }
    Ok(From::Foreign)
}

/// What the caller calls the server: exactly one name, with its port.
fn host(request: &Request) -> Answer<String> {
    let mut given = request.headers().get_all(header::HOST).iter();
    let (first, second) = (given.next(), given.next());
    let named = match (first, second) {
        (Some(host), None) => host.to_str().ok().map(str::to_ascii_lowercase),
        _ => None,
    };
    // A request that names a whole URL names the host there, too.
    let named = named.filter(|host| {
        request.uri().authority().is_none_or(|it| it.as_str().eq_ignore_ascii_case(host))
    });
    named.ok_or_else(|| Problem::bad_request("a request has exactly one Host header"))
}

fn is_own(server: &Server, host: &str) -> bool {
    let name = without_port(host);
    let address: Option<IpAddr> = name.trim_matches(['[', ']']).parse().ok();
    match address {
        // No name leads to an address: this is no page's trick. On loopback, that one alone.
        Some(address) => {
            !server.is_loopback()
                || address.is_loopback()
                || server.live().hosts.iter().any(|it| *it == address.to_string())
        }
        None => {
            name == "localhost"
                || server.own_names().iter().any(|it| it == name)
                || server.live().hosts.iter().any(|it| it == name)
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') && port.bytes().all(|c| c.is_ascii_digit()) => {
            name
        }
        _ => host,
    }
}

/// The answer to a browser that asks whether a page of an allowed origin may call.
pub fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, PATCH, DELETE"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, idempotency-key, last-event-id"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Lets a page of an allowed origin read the answer. Cookies are never part of that.
pub fn allow(headers: &mut HeaderMap, origin: &HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("x-request-id, retry-after, idempotency-replayed"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_taken_off() {
        for (host, name) in [
            ("localhost:4000", "localhost"),
            ("localhost", "localhost"),
            ("[::1]:4000", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("a:b", "a:b"),
        ] {
            assert_eq!(without_port(host), name);
        }
    }
}
