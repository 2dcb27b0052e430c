//! The cold builds: what a first `make quick-start` waits for, and the release.
//!
//! Each builds into a directory of its own, with the crates downloaded already, so that the figure
//! is the compiler's. `cargo build --timings` says which crate takes how long; its report stays
//! beside the target directory's other output until the directory goes.

use std::process::{Command, Stdio};
use std::time::Instant;

pub fn run() {
    println!("cold builds, crates downloaded:");
    for (profile, allowed_min) in [("quick", 5), ("release", 12)] {
        let dir = tempfile::tempdir().expect("a directory");
        let begun = Instant::now();
        let status = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--bins", "--timings", "--profile", profile])
            .arg("--target-dir")
            .arg(dir.path())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("cargo runs");
        assert!(status.success(), "{profile}: {status}");
        let took_s = begun.elapsed().as_secs();
        println!("  {profile:<10} {took_s} s; allowed {} s", allowed_min * 60);
    }
    println!();
}
