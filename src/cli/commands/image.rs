//! `image`.

use serde_json::json;

use super::super::args::Image;
use super::super::progress::Shown;
use super::Session;
use crate::app::image::ImageRequest;
use crate::config::{image::image, rules};
use crate::domain::Failure;

pub(super) async fn run(session: &Session<'_>, command: &Image) -> Result<u8, Failure> {
    let Image::Build { version, tag, base } = command;
    let request = ImageRequest {
        version: match version {
            Some(version) => rules::version(version)?,
            None => session.settings.version()?,
        },
        image: match tag {
            Some(tag) => image(tag).map_err(|failure| failure.context("--tag"))?,
            None => session.settings.image()?,
        },
        base: base
            .as_deref()
            .map(|base| image(base).map_err(|failure| failure.context("--base")))
            .transpose()?,
    };
    if request.image.contains('@') {
        return Err(Failure::bad_input(format!(
            "{} names an image by its digest, which one that is built cannot be given",
            request.image
        ))
        .remedy("name a tag: --tag"));
    }
    let app = session.app()?;
    session.interruptible()?;
    let shown = Shown::new(*session.out);
    app.build_image(&request, &shown, session.cancel).await?;
    drop(shown);
    let ImageRequest { version, image, .. } = request;
    session.out.answer(&json!({ "image": image, "version": version }), || {
        format!("{image} is built, with OpenClaw {version}; launches on docker use it")
    });
    Ok(0)
}
