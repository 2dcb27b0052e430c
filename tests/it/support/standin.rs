//! Where the stand-in gateway is, and a package directory for it.
//!
//! Owns the path of the example binary that `cargo test` builds (`tests/lab/standin/`) and the
//! making of an `openclaw.mjs` with the `package.json` that tells the stand-in what to claim.
//! Refuses to build it, and
//! to run one that is older than its sources.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::lab::{Lab, REPOSITORY, command, skip};

/// The stand-in for `node`.
///
/// `cargo test` builds it; `cargo test --test it` does not, and would run an older one.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let target = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/it-HASH");
    let path = target.join("examples/standin-gateway");
    let built = std::fs::metadata(&path).and_then(|data| data.modified()).ok();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/standin");
    let edited = std::fs::read_dir(sources)
        .into_iter()
        .flatten()
        .filter_map(|source| source.ok()?.metadata().ok()?.modified().ok())
        .max();
    assert!(
        built.is_some() && built >= edited,
        "{} is missing or older than its sources: run `cargo build --example standin-gateway`",
        path.display()
    );
    path
}

/// Sees that the lab's registry has the stand-in gateway, of the version that the lab has and of the
/// one before; returns the names of the two images. `None`, after `skipped: REASON`, where it is not
/// to be had.
pub fn images() -> Option<[String; 2]> {
    registry(&[OsStr::new("standin"), binary().as_os_str()])?;
    Some(["standin", "standin-previous"].map(|tag| format!("{REPOSITORY}:{tag}")))
}

/// Sees that a tag of the lab's registry is this image of its engine; returns that image's name there.
/// `None`, after `skipped: REASON`, where it is not to be had.
pub fn tagged(image: &str, tag: &str) -> Option<String> {
    registry(&["add", image, tag].map(OsStr::new))?;
    Some(format!("{REPOSITORY}:{tag}"))
}

fn registry(args: &[&OsStr]) -> Option<()> {
    let mut registry = command(Lab::script("cloud/registry"));
    let put = registry.args(args).output().expect("run it");
    let said = String::from_utf8_lossy(&put.stderr);
    assert!(put.status.success(), "tests/lab/cloud/registry {args:?}: {said}");
    if said.contains("skipped: ") { skip(&said) } else { Some(()) }
}

/// Writes a package of this version and state schema; returns the path of its `openclaw.mjs`.
pub fn package(directory: &Path, version: &str, schema: u64) -> PathBuf {
    std::fs::create_dir_all(directory).expect("the package's directory can be made");
    let package = serde_json::json!({
        "name": "openclaw", "version": version,
        "openclaw": {"schemaVersions": {"state": schema}},
    });
    std::fs::write(directory.join("package.json"), package.to_string())
        .expect("package.json can be written");
    let script = directory.join("openclaw.mjs");
    std::fs::write(&script, "").expect("openclaw.mjs can be written");
    script
}
