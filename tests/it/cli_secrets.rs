//! Secrets stay where they belong: after a whole life, no output, event, log, database, file or
//! argument shows one, in no spelling.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::support::product::{Done, NEWEST, OLDER, Product, TOKEN};
use crate::support::spellings::holds_none;

const KEY: &str = "sk-ant-D1stinct/ve+key==0123456789";
const NEXT_KEY: &str = "sk-ant-N3xt/dist+inctive==9876543210";
const CHANNEL: &str = "channel/S3cret+value==5647382910";
const NEXT_TOKEN: &str = "next/T0ken+distinctive==19283746";
const SECRETS: [&str; 5] = [TOKEN, KEY, NEXT_KEY, CHANNEL, NEXT_TOKEN];

#[track_caller]
fn clean(what: &str, bytes: &[u8]) {
    // Every spelling is ASCII, so what is no text may be replaced.
    holds_none(what, &String::from_utf8_lossy(bytes), &SECRETS);
}

#[track_caller]
fn quiet(done: &Done) {
    clean("stdout", done.stdout.as_bytes());
    clean("stderr", done.stderr.as_bytes());
}

fn files(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            files(&entry.path(), into);
        } else if kind.is_file() {
            into.push(entry.path());
        }
    }
}

/// Looks at every file, argument, event and log there is now.
fn look(product: &Product) {
    let mut all = Vec::new();
    files(&product.path(""), &mut all);
    let gateways_own = product.home().join("deployments/main/state");
    assert!(all.len() > 10, "there is something to look at");
    for path in all.iter().filter(|path| !path.starts_with(&gateways_own)) {
        // The user's own file, which the values came from; and the large program that nobody
        // writes to.
        if path.ends_with("work/vars") || path.ends_with("bin/node") {
            continue;
        }
        clean(&path.display().to_string(), &fs::read(path).unwrap_or_default());
    }
    for process in product.processes() {
        clean(&format!("{process:?}"), process.args.join("\n").as_bytes());
    }
    for args in [
        vec!["status"],
        vec!["list"],
        vec!["events"],
        vec!["logs", "--tail", "1000"],
        vec!["operations", "list"],
        vec!["backups"],
        vec!["doctor"],
        vec!["config", "explain"],
        vec!["devices"],
    ] {
        for json in [false, true] {
            let run = args.iter().skip(1).fold(product.run([args[0]]), |run, arg| run.arg(arg));
            let run = run.env("ANTHROPIC_API_KEY", KEY);
            quiet(&if json { run.arg("--json") } else { run }.done());
        }
    }
}

#[test]
fn nothing_leaks_in_a_whole_life() {
    let product = Product::new();
    product.install(OLDER);
    product.install_faulty(("2026.9.7", 18), Some("{exit_code: 78}"));
    fs::write(product.work().join("vars"), format!("CHANNEL_TOKEN='{CHANNEL}'\n")).expect("it");
    fs::set_permissions(product.work().join("vars"), fs::Permissions::from_mode(0o600))
        .expect("a mode");
    let launch = product
        .run(["launch", "--target", "process", "--version", OLDER.0, "--env-file", "vars"])
        .arg("--json")
        .env("ANTHROPIC_API_KEY", KEY);
    quiet(&launch.ok());
    // The gateway has them, and says one of them in its log.
    let pid = product.gateway("main").expect("a gateway");
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).expect("readable");
    for secret in [TOKEN, KEY, CHANNEL] {
        assert!(environment.contains(secret), "the gateway has it");
    }
    look(&product);
    // A link that carries the token is the one place where it is shown, on the answer's line.
    product.fault("main", "{no_owner_links: true}");
    let open = product.run(["open"]).ok();
    clean("stderr", open.stderr.as_bytes());
    assert!(open.stdout.contains("#token="));
    fs::remove_file(product.state("main").join("standin.json")).expect("removed");

    quiet(&product.run(["restart"]).ok());
    quiet(&product.run(["backup"]).ok());
    quiet(&product.run(["update", "--version", NEWEST.0]).ok());
    quiet(&product.run(["update", "--version", "2026.9.7"]).code(1));
    quiet(&product.run(["restore"]).ok());
    look(&product);
    let rotate = product.run(["rotate", "--token", "--keys"]);
    let rotate = rotate.env("ANTHROPIC_API_KEY", NEXT_KEY);
    quiet(&rotate.env("OPENCLAW_GATEWAY_TOKEN", NEXT_TOKEN).ok());
    look(&product);
    // A gateway that prints what it knows: shown redacted, and raw only when asked for.
    let log = product.deployment("main").join("gateway.log");
    let mut text = fs::read_to_string(&log).expect("the log");
    let whole = text.clone();
    for secret in [NEXT_KEY, CHANNEL, NEXT_TOKEN] {
        text.extend(["gateway says ", secret, " and more\n"]);
    }
    fs::write(&log, text).expect("written");
    quiet(&product.run(["logs", "--tail", "20"]).ok());
    assert!(product.run(["logs", "--tail", "20", "--raw"]).ok().stdout.contains(NEXT_KEY));
    fs::write(&log, whole).expect("written");

    quiet(&product.run(["stop"]).ok());
    look(&product);
    quiet(&product.run(["destroy", "--yes"]).ok());
    look(&product);
}

#[test]
fn what_holds_secrets_is_its_owners_alone() {
    let product = Product::new();
    product.run(["launch", "--target", "process"]).env("ANTHROPIC_API_KEY", KEY).ok();
    product.run(["backup"]).ok();
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    let mut private = vec![
        product.key_file(),
        product.home().join("pipeline.db"),
        product.state("main").join("openclaw.json"),
        product.deployment("main").join("gateway.log"),
        product.deployment("main").join("run.json"),
        product.deployment("main").join("keeper.log"),
    ];
    files(&product.home().join("backups"), &mut private);
    files(&product.home().join("locks"), &mut private);
    for path in private {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    for part in ["pipeline.db-wal", "pipeline.db-shm"] {
        let path = product.home().join(part);
        assert!(!path.exists() || mode(&path) == 0o600, "{part}");
    }
    for path in [
        product.home(),
        product.home().join("deployments"),
        product.deployment("main"),
        product.state("main"),
        product.home().join("backups/main"),
    ] {
        assert_eq!(mode(&path), 0o700, "{}", path.display());
    }
}

#[test]
fn what_is_refused_is_not_shown() {
    let product = Product::new();
    let refused = product.run(["launch", "--target", "process"]);
    quiet(&refused.env("ANTHROPIC_API_KEY", format!("{KEY} x")).code(2));
    let refused = product.run(["launch", "--target", "process", "--env"]).arg(CHANNEL);
    quiet(&refused.code(2));
    let refused = product.run(["launch", "--target", "process"]);
    quiet(&refused.env("OPENCLAW_GATEWAY_TOKEN", format!("{NEXT_TOKEN}\n")).code(2));
}

/// What may stand in the environment of whoever runs the program, and is none of its children's
/// business.
const POISON: [(&str, &str); 14] = [
    ("AWS_SECRET_ACCESS_KEY", "P0ison-1"),
    ("AWS_SESSION_TOKEN", "P0ison-2"),
    ("SSH_AUTH_SOCK", "/tmp/P0ison-3"),
    ("DOCKER_PASSWORD", "P0ison-4"),
    ("DOCKER_AUTH_CONFIG", "P0ison-5"),
    ("GITHUB_TOKEN", "P0ison-6"),
    ("LD_LIBRARY_PATH", "/tmp/P0ison-7"),
    ("NODE_OPTIONS", "--require=/tmp/P0ison-8"),
    ("BASH_ENV", "/tmp/P0ison-9"),
    ("npm_config__auth", "P0ison-npm-auth"),
    ("NPM_CONFIG_USERCONFIG", "/tmp/P0ison-npm-rc"),
    ("HTTPS_PROXY", "http://user:P0ison-proxy-1@proxy.example:3128"),
    ("http_proxy", "http://user:P0ison-proxy-2@proxy.example:3128"),
    ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/tmp/P0ison-10"),
];

/// The variables of an environment that hold poison.
fn poisoned(environment: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(environment);
    assert!(text.contains("PATH="), "an environment: {text}");
    let found = text.split('\0').filter(|variable| variable.contains("P0ison"));
    found.map(|variable| variable.split('=').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn nothing_of_the_users_environment_reaches_what_is_started() {
    let mut product = Product::new();
    for (name, value) in POISON {
        product.set(name, value);
    }
    let seen = product.path("npm-environment");
    product.tool(
        "npm",
        &format!("#!/bin/sh\ncat /proc/$$/environ >'{}'\necho 11.0.0\n", seen.display()),
    );
    product.launch();
    let environment = |pid: i32| fs::read(format!("/proc/{pid}/environ")).expect("readable");
    let gateway = product.gateway("main").expect("a gateway");
    assert_eq!(poisoned(&environment(product.keepers()[0])), [""; 0], "the keeper");
    assert_eq!(poisoned(&environment(gateway)), [""; 0], "the gateway");
    // npm gets what it needs to reach the user's registry.
    product.run(["doctor"]).done();
    let mut npm = poisoned(&fs::read(seen).expect("npm was called"));
    npm.sort();
    let needed = ["HTTPS_PROXY", "NPM_CONFIG_USERCONFIG", "http_proxy", "npm_config__auth"];
    assert_eq!(npm, needed, "npm");
}
