//! SIGKILL of the command at every step boundary: the next command carries the operation on to
//! its end, and what is there then is what an undisturbed run leaves.
//!
//! Every operation says on `--json` when a step's intent is stored and when its outcome is. Here
//! the command is killed on each of these lines in turn.

use serde_json::Value;

use crate::support::product::{NEWEST, OLDER, Product};

/// The words of a command.
type Args = [&'static str];

fn command(product: &Product, args: &Args) -> crate::support::product::Run {
    args.iter().skip(1).fold(product.run([args[0]]), |run, arg| run.arg(arg))
}

/// Kills the command on the `nth` line that tells of a step; `false` when it ended before.
fn kill_at(product: &Product, args: &Args, nth: usize) -> bool {
    let mut live = command(product, args).arg("--json").live();
    let mut seen = 0;
    while let Some(line) = live.line() {
        let value: Value = serde_json::from_str(&line).expect("an object a line");
        seen += usize::from(value.get("step").is_some());
        if seen == nth {
            live.signal(rustix::process::Signal::KILL);
            // At the last boundary it may end by itself before the signal comes.
            let done = live.done();
            assert!([-9, 0].contains(&done.code), "{done:?}");
            return true;
        }
    }
    let done = live.done();
    assert_eq!(done.code, 0, "{done:?}");
    false
}

/// Kills the command at every boundary. Each time `carry_on` is given to the next one, and
/// `check` looks at what there is then.
fn at_every_boundary(
    product: &Product,
    before: impl Fn(),
    args: &Args,
    check: impl Fn(usize),
) -> usize {
    let mut nth = 1;
    loop {
        before();
        let killed = kill_at(product, args, nth);
        if !killed {
            return nth - 1;
        }
        // By turns, the same command again, and going on with the operation by its id. The kill
        // may have come just when the operation had ended.
        let items = product.json(["operations", "list"])["items"].clone();
        let id = items[0]["id"].as_str().expect("an id").to_owned();
        if nth % 2 == 0 && items[0]["status"] == "running" {
            product.run(["operations", "resume", &id]).ok();
        } else if items[0]["status"] == "running" {
            command(product, args).ok();
        }
        let ended = product.json(["operations", "show", &id]);
        assert_eq!(ended["status"], "succeeded", "boundary {nth}: {ended}");
        check(nth);
        nth += 1;
    }
}

#[test]
fn a_launch_is_carried_on() {
    let product = Product::new();
    let args = ["launch", "--target", "process", "--no-link"];
    let clean = || {
        if product.json(["list"])["items"] != serde_json::json!([]) {
            product.run(["destroy", "--yes"]).ok();
        }
        product.assert_nothing_runs();
    };
    let boundaries = at_every_boundary(&product, clean, &args, |_| {
        product.assert_one_gateway("main");
        let status = product.json(["status"]);
        assert_eq!((&status["version"], &status["interrupted"]), (&NEWEST.0.into(), &false.into()));
    });
    assert_eq!(boundaries, 12);
}

#[test]
fn a_restart_is_carried_on() {
    let product = Product::new();
    product.launch();
    let boundaries = at_every_boundary(
        &product,
        || {},
        &["restart"],
        |_| {
            product.assert_one_gateway("main");
        },
    );
    assert_eq!(boundaries, 10);
}

#[test]
fn an_update_is_carried_on() {
    let product = Product::new();
    // Of one schema, so that each can read what the other wrote.
    product.install((OLDER.0, NEWEST.1));
    product.launch();
    std::fs::write(product.state("main").join("memory.md"), "mine").expect("written");
    let back = || {
        if product.json(["status"])["version"] != OLDER.0 {
            product.run(["update", "--version", OLDER.0]).ok();
        }
    };
    let boundaries = at_every_boundary(&product, back, &["update"], |nth| {
        product.assert_one_gateway("main");
        assert_eq!(product.json(["status"])["version"], NEWEST.0, "boundary {nth}");
        let kept = std::fs::read_to_string(product.state("main").join("memory.md"));
        assert_eq!(kept.expect("there"), "mine");
    });
    assert_eq!(boundaries, 16);
}

#[test]
fn a_failing_update_goes_back_whenever_it_is_killed() {
    let product = Product::new();
    product.install_faulty(("2026.9.7", NEWEST.1), Some("{exit_code: 78}"));
    product.launch();
    std::fs::write(product.state("main").join("memory.md"), "mine").expect("written");
    let args = ["update", "--version", "2026.9.7"];
    // From the failure on: prove's outcome, and the steps that put things back.
    for nth in (16..=28).step_by(2) {
        let mut live = command(&product, &args).arg("--json").live();
        let mut seen = 0;
        while let Some(line) = live.line() {
            let value: Value = serde_json::from_str(&line).expect("an object a line");
            seen += usize::from(value.get("step").is_some());
            if seen == nth {
                live.signal(rustix::process::Signal::KILL);
                break;
            }
        }
        drop(live.done());
        assert_eq!(seen, nth, "there are that many boundaries");
        let items = product.json(["operations", "list"])["items"].clone();
        let id = items[0]["id"].as_str().expect("an id").to_owned();
        if items[0]["status"] == "running" {
            product.run(["operations", "resume", &id]).code(1).says("held");
        }
        let ended = product.json(["operations", "show", &id]);
        assert_eq!(ended["status"], "failed");
        product.assert_one_gateway("main");
        assert_eq!(product.json(["status"])["version"], NEWEST.0, "boundary {nth}");
        let kept = std::fs::read_to_string(product.state("main").join("memory.md"));
        assert_eq!(kept.expect("there"), "mine");
    }
}

#[test]
fn a_rotation_is_carried_on() {
    let mut product = Product::new();
    product.launch();
    product.set("OPENCLAW_GATEWAY_TOKEN", "the-token-that-is-to-come");
    product.fault("main", "{no_owner_links: true}");
    let back = || {
        product.run(["rotate"]).env("OPENCLAW_GATEWAY_TOKEN", "the-token-that-was-there").ok();
    };
    let boundaries = at_every_boundary(&product, back, &["rotate"], |_| {
        product.assert_one_gateway("main");
        let url = product.json(["open"])["url"].as_str().expect("a link").to_owned();
        assert!(url.ends_with("#token=the-token-that-is-to-come"), "{url}");
    });
    assert_eq!(boundaries, 16);
}

#[test]
fn a_restore_is_carried_on() {
    let product = Product::new();
    product.launch();
    let memory = product.state("main").join("memory.md");
    std::fs::write(&memory, "backed up").expect("written");
    product.run(["backup"]).ok();
    let change = || std::fs::write(&memory, "changed").expect("written");
    let boundaries = at_every_boundary(&product, change, &["restore"], |_| {
        product.assert_one_gateway("main");
        assert_eq!(std::fs::read_to_string(&memory).expect("there"), "backed up");
    });
    assert_eq!(boundaries, 14);
}

#[test]
fn a_removal_is_carried_on() {
    let product = Product::new();
    let launch = || drop(product.launch());
    let boundaries = at_every_boundary(&product, launch, &["destroy", "--yes"], |_| {
        product.assert_nothing_runs();
        assert!(!product.deployment("main").exists());
        product.run(["status"]).code(3);
    });
    assert_eq!(boundaries, 8);
}

#[test]
fn what_was_interrupted_is_told() {
    let product = Product::new();
    assert!(kill_at(&product, &["launch", "--target", "process"], 3));
    let status = product.run(["status"]).ok();
    status.answers("main  launching").says("was interrupted").says("operations resume");
    assert_eq!(product.json(["status"])["interrupted"], true);
    product.run(["doctor", "main"]).code(1).answers("its launch was interrupted");
    product.run(["list"]).ok().answers("launching");
    let finished = product.launch();
    finished.says("going on with the launch that was interrupted").answers("#bootstrapToken=");
    product.assert_one_gateway("main");
}
