//! The web console's files, and those of the page that shows the API's description.
//!
//! Owns the table of what is served as it is. A file that stands below `console/` and not in here
//! fails a test (tests/it/console.rs), and so does one of Swagger UI's that is not what its
//! `VERSION` says.

/// A file that is served as it is.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// Its path on the server.
    pub path: &'static str,
    /// What it is.
    pub content_type: &'static str,
    /// Whether its bytes are compressed with gzip.
    pub is_gzip: bool,
    /// Its bytes.
    pub bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! console {
    ($($kind:ident $path:literal,)*) => {
        [$(Asset {
            path: concat!("/console/", $path),
            content_type: $kind,
            is_gzip: false,
            bytes: include_bytes!(concat!("../../console/", $path)),
        },)*]
    };
}

/// The page that the console's own addresses answer with.
pub const CONSOLE_PAGE: Asset = Asset {
    path: "/",
    content_type: HTML,
    is_gzip: false,
    bytes: include_bytes!("../../console/index.html"),
};

/// What the console consists of beside that page.
pub const CONSOLE: [Asset; 40] = console![
    SVG "icon.svg",
    HTML "opening.html",
    CSS "parts.css",
    CSS "style.css",
    SCRIPT "js/actions.js",
    SCRIPT "js/api.js",
    SCRIPT "js/credentials.js",
    SCRIPT "js/describe.js",
    SCRIPT "js/dialog.js",
    SCRIPT "js/dom.js",
    SCRIPT "js/format.js",
    SCRIPT "js/forms.js",
    SCRIPT "js/guard.js",
    SCRIPT "js/key.js",
    SCRIPT "js/live.js",
    SCRIPT "js/machines.js",
    SCRIPT "js/main.js",
    SCRIPT "js/notify.js",
    SCRIPT "js/paging.js",
    SCRIPT "js/router.js",
    SCRIPT "js/rules.js",
    SCRIPT "js/session.js",
    SCRIPT "js/status.js",
    SCRIPT "js/stream.js",
    SCRIPT "js/text.js",
    SCRIPT "js/theme.js",
    SCRIPT "js/pages/audit.js",
    SCRIPT "js/pages/deliveries.js",
    SCRIPT "js/pages/deployment.js",
    SCRIPT "js/pages/deployments.js",
    SCRIPT "js/pages/endpoint.js",
    SCRIPT "js/pages/launch.js",
    SCRIPT "js/pages/signin.js",
    SCRIPT "js/pages/tokens.js",
    SCRIPT "js/sections/backups.js",
    SCRIPT "js/sections/devices.js",
    SCRIPT "js/sections/events.js",
    SCRIPT "js/sections/history.js",
    SCRIPT "js/sections/logs.js",
    SCRIPT "js/sections/overview.js",
];

macro_rules! swagger {
    ($($kind:ident $path:literal $file:literal $gzip:literal,)*) => {
        [$(Asset {
            path: $path,
            content_type: $kind,
            is_gzip: $gzip,
            bytes: include_bytes!(concat!("../../assets/swagger-ui/", $file)),
        },)*]
    };
}

/// The page that shows the API's description, with Swagger UI's own files.
pub const SWAGGER: [Asset; 5] = swagger![
    HTML "/swagger" "index.html" false,
    CSS "/swagger/page.css" "page.css" false,
    SCRIPT "/swagger/initializer.js" "initializer.js" false,
    CSS "/swagger/swagger-ui.css" "swagger-ui.css.gz" true,
    SCRIPT "/swagger/swagger-ui-bundle.js" "swagger-ui-bundle.js.gz" true,
];
