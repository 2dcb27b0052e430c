//! The web console.

use axum::Router;

use super::state::Server;

/// Whether a path is one of the console's own static files.
pub(super) fn is_public(_path: &str) -> bool {
    false
}

pub(super) fn routes() -> Router<Server> {
    Router::new()
}
