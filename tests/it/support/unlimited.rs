//! A server in this process, which refuses nobody for coming too often, and carries nothing out.
//!
//! Owns how it is begun. Refuses to choose where: whoever begins one says it with the settings.

use std::path::Path;
use std::time::Duration;

use openclaw_pipeline::app::App;
use openclaw_pipeline::app::rate::RateLimits;
use openclaw_pipeline::config::{Settings, Sources};
use openclaw_pipeline::server::{Options, Running, Said};

use super::product::Product;
use super::server::API_TOKEN;

/// The settings of a server on a product's installation, with the operator's token.
pub fn sources(product: &Product) -> Sources {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    Sources::new(product.work())
        .env("HOME", path(&product.path("user")))
        .env("OPENCLAW_PIPELINE_HOME", path(&product.home()))
        .env("OPENCLAW_PIPELINE_KEY_FILE", path(&product.key_file()))
        .env("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN)
        .env("SERVER_PORT", "0")
}

/// Begins one.
pub async fn serve(sources: Sources) -> Running {
    let settings = Settings::resolve(&sources).expect("settings");
    let app = App::open(&settings).expect("opens");
    let options = Options {
        settings,
        said: Said::default(),
        grace: Duration::ZERO,
        rate: RateLimits::OFF,
        at_once: 0,
    };
    Running::begin(app, options).await.expect("begins")
}
