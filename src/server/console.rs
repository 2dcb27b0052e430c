//! The web console, and the page that shows the API's description.
//!
//! Owns the addresses that answer with a page or a file of theirs, and under which policy browsers
//! show them: nothing from elsewhere, no script or style that stands in a page, no frame around it.
//! Refuses to guess: an address that is not one of the console's pages is left to the API.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::assets::console::{Asset, CONSOLE, CONSOLE_PAGE, SWAGGER};

/// The console's own pages. Each is the same document, which looks at its address itself.
const PAGES: [&str; 13] = [
    "/",
    "/audit",
    "/deliveries",
    "/deliveries/{id}",
    "/deployments/{name}",
    "/deployments/{name}/backups",
    "/deployments/{name}/devices",
    "/deployments/{name}/events",
    "/deployments/{name}/history",
    "/deployments/{name}/logs",
    "/new",
    "/sign-in",
    "/tokens",
];

/// What the console may do. The policy of trusted types makes markup out of data an error.
const CONSOLE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src \
     'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'";

/// What Swagger UI may do: the same, but that it makes markup of what it renders itself.
const SWAGGER_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src \
     'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'";

/// What no page of this server needs of the machine that it is shown on.
const PERMISSIONS: &str = "accelerometer=(), camera=(), clipboard-read=(), display-capture=(), \
     fullscreen=(), geolocation=(), gyroscope=(), microphone=(), midi=(), payment=(), \
     serial=(), usb=(), xr-spatial-tracking=()";

/// A file with what it is answered with.
#[derive(Debug)]
struct Served {
    asset: &'static Asset,
    etag: HeaderValue,
    policy: &'static str,
}

static FILES: LazyLock<HashMap<&'static str, Served>> = LazyLock::new(|| {
    let served = |asset: &'static Asset, policy| {
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(asset.bytes));
        let etag = HeaderValue::from_str(&format!("\"{hash}\"")).expect("letters and digits");
        (asset.path, Served { asset, etag, policy })
    };
    let console = std::iter::once(&CONSOLE_PAGE).chain(&CONSOLE);
    console
        .map(|asset| served(asset, CONSOLE_POLICY))
        .chain(SWAGGER.iter().map(|asset| served(asset, SWAGGER_POLICY)))
        .collect()
});

/// Whether a path is one of the console's own pages or files, which anybody may have.
pub(super) fn is_public(path: &str) -> bool {
    FILES.contains_key(path) || PAGES.iter().any(|page| matches(page, path))
}

/// Whether a path has the form of a page's.
fn matches(page: &str, path: &str) -> bool {
    let (mut of_page, mut of_path) = (page.split('/'), path.split('/'));
    loop {
        match (of_page.next(), of_path.next()) {
            (None, None) => return true,
            (Some(part), Some(given)) if part == given => {}
            (Some(part), Some(given)) if part.starts_with('{') && !given.is_empty() => {}
            _ => return false,
        }
    }
}

/// The console's pages and files.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let mut router = Router::new();
    for page in PAGES {
        router = router.route(page, get(async |headers: HeaderMap| answer("/", &headers)));
    }
    for path in FILES.keys().copied().filter(|path| *path != CONSOLE_PAGE.path) {
        router = router.route(path, get(async move |headers: HeaderMap| answer(path, &headers)));
    }
    router
}

/// A file, or that the browser has it already.
fn answer(path: &str, asked: &HeaderMap) -> Response<Body> {
    let Some(Served { asset, etag, policy }) = FILES.get(path) else {
        return status(StatusCode::NOT_FOUND);
    };
    let mut response = if has_it(asked, etag) {
        status(StatusCode::NOT_MODIFIED)
    } else {
        Response::new(Body::from(asset.bytes))
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag.clone());
    // The files belong together: none is used without asking whether it is still the one.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    if asset.is_gzip {
        // Every browser takes it, and nobody else shows this page.
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    for (name, value) in [
        ("content-security-policy", *policy),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", PERMISSIONS),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Whether the browser says that it has this version of a file.
fn has_it(asked: &HeaderMap, etag: &HeaderValue) -> bool {
    let given = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|it| it.to_str().ok());
    let mut tags = given.flat_map(|line| line.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || Some(tag.trim_start_matches("W/")) == etag.to_str().ok())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(path: &str, etag: Option<&str>) -> Response<Body> {
        let mut request = Request::get(path);
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let request = request.body(Body::empty()).expect("a request");
        routes::<()>().with_state(()).oneshot(request).await.expect("an answer")
    }

    fn text<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
        response.headers().get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
    }

    #[tokio::test]
    async fn every_page_is_the_same_document() {
        for path in ["/", "/new", "/sign-in", "/deployments/main", "/deployments/main/logs"] {
            let response = ask(path, None).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(text(&response, "content-type"), "text/html; charset=utf-8");
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            assert_eq!(body, CONSOLE_PAGE.bytes, "{path}");
        }
    }

    #[tokio::test]
    async fn other_addresses_are_left_to_the_api() {
        for path in
            ["/deployments", "/deployments/main/shell", "/deployments/main/", "/launch", "/v1/x"]
        {
            assert!(!is_public(path), "{path}");
            assert_eq!(ask(path, None).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
        for path in ["/console/js/main.js", "/deployments/a/logs", "/", "/swagger"] {
            assert!(is_public(path), "{path}");
        }
        for path in ["/console/", "/console/js/../index.html", "//", "/deployments//logs"] {
            assert!(!is_public(path), "{path}");
        }
    }

    #[tokio::test]
    async fn a_browser_that_has_a_file_is_not_sent_it_again() {
        let first = ask("/console/style.css", None).await;
        let etag = text(&first, "etag").to_owned();
        assert!(etag.len() > 20, "{etag}");
        for shown in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".into()] {
            let again = ask("/console/style.css", Some(&shown)).await;
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{shown}");
            assert_eq!(text(&again, "etag"), etag);
            let body = again.into_body().collect().await.expect("a body").to_bytes();
            assert!(body.is_empty());
        }
        assert_eq!(ask("/console/style.css", Some("\"old\"")).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn no_file_goes_without_its_policy() {
        for path in FILES.keys().copied().chain(["/new"]) {
            let response = ask(path, None).await;
            let policy = text(&response, "content-security-policy");
            assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{path}");
            assert!(!policy.contains("unsafe"), "{path}");
            let swagger = path.starts_with("/swagger");
            assert_eq!(policy.ends_with("require-trusted-types-for 'script'"), !swagger, "{path}");
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "no-referrer"),
                ("cross-origin-opener-policy", "same-origin"),
                ("cross-origin-resource-policy", "same-origin"),
                ("cache-control", "no-cache"),
            ] {
                assert_eq!(text(&response, name), value, "{path}");
            }
            assert!(text(&response, "permissions-policy").contains("camera=()"), "{path}");
        }
    }

    #[tokio::test]
    async fn what_is_compressed_says_so() {
        let response = ask("/swagger/swagger-ui-bundle.js", None).await;
        assert_eq!(text(&response, "content-encoding"), "gzip");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body[..2], [0x1f, 0x8b]);
        assert_eq!(text(&ask("/swagger", None).await, "content-encoding"), "");
    }
}
