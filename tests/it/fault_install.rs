//! Installing: npm missing, the registry unreachable, versions that are not there, installations
//! that are not whole any more, and a disk that is full.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::disk::{Tmpfs, fill};
use crate::support::executable::executable;
use crate::support::product::{Live, NEWEST, NODE, Product, lay_node, turn_at_the_default_port};

/// An npm that answers its version, and otherwise fails with these words.
fn failing_npm(product: &Product, words: &str) {
    product.tool(
        "npm",
        &format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && echo 11.0.0 && exit 0\n\
             mkdir node_modules && echo half >node_modules/half\ncat >&2 <<'END'\n{words}\nEND\n\
             exit 1\n"
        ),
    );
}

/// An npm that installs: it copies what `shelf` holds for the package that it is asked for, and
/// notes how it was called.
fn working_npm(product: &Product) {
    let shelf = Product::bare();
    shelf.install(NEWEST);
    let from = product.path("shelf");
    fs::create_dir_all(&from).expect("a directory");
    lay_node(&from.join("node"));
    copy(&shelf.runtime(NEWEST.0).join("node_modules"), &from.join("openclaw/node_modules"));
    let calls = product.path("calls");
    product.tool(
        "npm",
        &format!(
            "#!/bin/sh\nPATH=/usr/bin:/bin\n[ \"$1\" = --version ] && echo 11.0.0 && exit 0\n\
             echo \"$@\" >>'{calls}'\n\
             if grep -q '\"openclaw\"' package.json; then what=openclaw; else what=node; fi\n\
             cp -r '{from}'/$what/node_modules .\necho npm http fetch GET 200 x >&2\n",
            calls = calls.display(),
            from = from.display(),
        ),
    );
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    let copied = Command::new("cp").arg("-rT").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success());
}

fn calls(product: &Product) -> String {
    fs::read_to_string(product.path("calls")).unwrap_or_default()
}

/// What lies in `runtime/`, but for locks.
fn installed(product: &Product) -> Vec<String> {
    let Ok(entries) = fs::read_dir(product.home().join("runtime")) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| Path::new(name).extension().is_none_or(|it| it != "lock")).collect();
    names.sort();
    names
}

#[test]
fn without_npm_there_is_a_remedy() {
    let product = Product::bare();
    let failed = product.run(["launch", "--target", "process"]).code(5);
    failed.says("the process target installs OpenClaw with npm: npm is not installed");
    failed.says("apt-get install npm").says("--target docker");
    assert_eq!(installed(&product), Vec::<String>::new());
    assert_eq!(product.status("main"), "failed");
    product.run(["doctor"]).code(1).answers("PROBLEM  npm").answers("apt-get install npm");
    product.assert_nothing_runs();
    // Once it is there, the same command works.
    working_npm(&product);
    product.launch();
    product.assert_one_gateway("main");
}

#[test]
fn without_a_target_the_process_target_is_chosen_and_said() {
    let product = Product::new();
    let done = product.run(["launch"]).ok();
    done.says("note: the process target is used, because: docker is not installed");
    product.assert_one_gateway("main");
}

#[test]
fn an_unreachable_registry_leaves_nothing_half_installed() {
    let product = Product::bare();
    failing_npm(
        &product,
        "npm error code ECONNREFUSED\nnpm error request to https://registry.example/ failed, \
         reason: connect ECONNREFUSED 127.0.0.1:9\nnpm error A complete log of this run",
    );
    let failed = product.run(["launch", "--target", "process"]).code(1);
    failed.says("step fetch: Node.js 24.21.0 could not be installed: request to");
    failed.says("the npm registry cannot be reached").says("npm config get registry");
    let doctor = product.run(["doctor"]).code(1);
    doctor.answers("its launch failed: step fetch").answers("the npm registry cannot be reached");
    assert_eq!(installed(&product), Vec::<String>::new());
    product.assert_nothing_runs();
    working_npm(&product);
    product.launch();
    let calls = calls(&product);
    let calls: Vec<&str> = calls.lines().collect();
    assert_eq!(calls.len(), 2, "Node.js, then OpenClaw, each by its lockfile: {calls:?}");
    assert!(calls[0].starts_with("--ignore-scripts ci") && calls[1].starts_with("ci "));
    assert_eq!(installed(&product), [format!("node-{NODE}"), format!("openclaw-{}", NEWEST.0)]);
}

#[test]
fn a_version_that_the_registry_lacks_is_bad_input() {
    let product = Product::new();
    failing_npm(&product, "npm error code ETARGET\nnpm error notarget No matching version found");
    let args = ["launch", "--target", "process", "--version", "2027.1.1"];
    let failed = product.run(args).code(2);
    failed.says("No matching version found").says("npm view openclaw versions");
    // A launch that works is not disturbed by an update that cannot be had.
    product.launch();
    let gateway = product.gateway("main");
    product.run(["update", "--version", "2027.1.1"]).code(2).says("step fetch_new");
    assert_eq!(product.gateway("main"), gateway);
    product.assert_one_gateway("main");
}

#[test]
fn a_broken_installation_is_found_and_repaired() {
    for (what, broken) in [
        ("a file is missing", "node_modules/openclaw/openclaw.mjs"),
        ("a file is cut short", "node_modules/openclaw/package.json"),
        ("the manifest is gone", "installed.json"),
    ] {
        let product = Product::new();
        working_npm(&product);
        let path = product.runtime(NEWEST.0).join(broken);
        if what.contains("short") {
            fs::write(&path, "{").expect("cut");
        } else {
            fs::remove_file(&path).expect("removed");
        }
        let done = product.launch();
        done.says("installing it again");
        assert_eq!(
            calls(&product).lines().count(),
            1,
            "{what}: OpenClaw alone: {}",
            calls(&product)
        );
        product.assert_one_gateway("main");
    }
}

#[test]
fn an_installation_that_was_killed_is_made_anew() {
    let product = Product::bare();
    let staging = product.home().join(format!("runtime/.openclaw-{}.partial", NEWEST.0));
    fs::create_dir_all(staging.join("node_modules/half")).expect("a directory");
    working_npm(&product);
    product.launch();
    assert_eq!(installed(&product), [format!("node-{NODE}"), format!("openclaw-{}", NEWEST.0)]);
}

#[test]
fn what_killed_installations_left_is_swept() {
    let product = Product::bare();
    let partial = |name: &str| product.home().join(format!("runtime/.{name}.partial"));
    let (left, made) = (partial("openclaw-2026.8.1"), partial("openclaw-2026.9.5"));
    for staging in [&left, &made] {
        fs::create_dir_all(staging.join("node_modules")).expect("a directory");
    }
    // Another command makes this one.
    let lock = fs::File::create(product.home().join("runtime/.2026.9.5.lock")).expect("a lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("locks");
    working_npm(&product);
    product.launch();
    assert!(!left.exists(), "nobody makes it");
    assert!(made.exists(), "somebody makes it");
}

#[test]
fn two_first_launches_of_different_versions_share_one_node() {
    let _turn = turn_at_the_default_port();
    let mut product = Product::bare();
    product.unset("GATEWAY_PORT");
    working_npm(&product);
    let launch = |name: &'static str, version: &'static str| {
        product.run(["launch", name, "--target", "process", "--version", version]).live()
    };
    let both = [launch("one", NEWEST.0), launch("two", "2026.9.5")];
    for done in both.map(Live::done) {
        // The shelf has one version only; it is enough that each was installed.
        assert!(!done.stderr.contains("could not be installed"), "{done:?}");
        assert!(!done.stderr.contains("cannot be removed"), "{done:?}");
    }
    let calls = calls(&product);
    let of_node = calls.lines().filter(|call| call.starts_with("--ignore-scripts")).count();
    assert_eq!(of_node, 1, "{calls}");
}

#[test]
fn a_start_repairs_what_is_gone() {
    let product = Product::new();
    product.launch();
    working_npm(&product);
    for broken in ["node_modules/openclaw/openclaw.mjs", "installed.json"] {
        product.run(["stop"]).ok();
        fs::remove_file(product.runtime(NEWEST.0).join(broken)).expect("removed");
        product.run(["start"]).ok();
        product.assert_one_gateway("main");
    }
    // Without npm, it says how to get it.
    product.run(["stop"]).ok();
    fs::remove_dir_all(product.runtime(NEWEST.0)).expect("removed");
    fs::remove_file(product.path("bin/npm")).expect("removed");
    product.run(["start"]).code(5).says("installs OpenClaw with npm").says("apt-get install npm");
}

#[test]
fn a_node_that_does_not_run_here_is_told() {
    let product = Product::bare();
    working_npm(&product);
    let shelf = product.path("shelf/node/node_modules");
    let package = fs::read_dir(&shelf).expect("a shelf").flatten().next().expect("a package");
    let node = package.path().join("bin/node");
    executable(&node, "#!/bin/sh\necho 'GLIBC_2.99 not found' >&2\nexit 1\n");
    let failed = product.run(["launch", "--target", "process"]).code(5);
    failed.says("does not run on this machine: GLIBC_2.99 not found").says("--target docker");
}

#[test]
fn a_full_disk_is_refused_before_anything_is_installed() {
    let product = Product::bare();
    let Some(_disk) = Tmpfs::on(&product.home(), "size=160m,mode=700") else { return };
    working_npm(&product);
    let failed = product.run(["launch", "--target", "process"]).code(5);
    failed.says("MiB free; installing OpenClaw takes 1600 MiB").says("free some space");
    assert_eq!(calls(&product), "");
    product.run(["doctor"]).code(1).answers("PROBLEM  disk").answers("free some space");
}

#[test]
fn a_disk_that_fills_up_is_told_as_such() {
    let product = Product::bare();
    let Some(_disk) = Tmpfs::on(&product.home(), "size=2m,mode=700") else { return };
    product.run(["list"]).ok();
    let filler = fill(&product.home());
    let failed = product.run(["launch", "--target", "process"]).done();
    assert!(failed.code == 1 || failed.code == 5, "{failed:?}");
    assert!(failed.stderr.contains("full") || failed.stderr.contains("space"), "{failed:?}");
    fs::remove_file(filler).expect("removed");
    product.run(["list"]).ok();
}

#[test]
fn a_data_directory_that_cannot_be_written_is_told() {
    let product = Product::bare();
    let Some(_disk) = Tmpfs::on(&product.home(), "ro,size=1m") else { return };
    let failed = product.run(["launch", "--target", "process"]).code(5);
    failed.says("the data directory").says("cannot be used: Read-only file system");
    failed.says("name a writable directory in OPENCLAW_PIPELINE_HOME");
    product.run(["doctor"]).code(1).answers("PROBLEM  data");
}
