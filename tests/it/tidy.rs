//! The house rules, as tests.
//!
//! Owns what a reviewer would otherwise have to say again and again. Every exception stands in a
//! list, with its reason, and one that is no longer needed fails, too. The layers have a file of
//! their own.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use clap::CommandFactory as _;
use openclaw_pipeline::cli::Cli;
use openclaw_pipeline::config::{VARIABLES, Variable};

use crate::support::lab;
use crate::support::source::{code_of, files, has_extension, read, root, rust_files};

/// A file past this is a question.
const LINES: usize = 500;

/// The files whose answer was that they belong together.
const LONG: [(&str, &str); 7] = [
    ("src/config/settings.rs", "one setting after the other, each a few lines"),
    ("src/config/variables.rs", "one table, a few lines for each row"),
    ("src/exec/command.rs", "a child's whole life, and its tests"),
    ("tests/it/operations_harness.rs", "one walk over every operation"),
    ("tests/it/standin_contract.rs", "one transcript, call by call"),
    ("tests/it/support/product.rs", "one vocabulary for driving the program"),
    ("tests/lab/standin/connect.rs", "one handshake, with every refusal"),
];

/// The hosts that texts of the repository may name, beside those that are nobody's: what anybody
/// can reach. The lockfiles' funding links are among them, and what Swagger UI's licences name.
const HOSTS: [&str; 18] = [
    "checkip.amazonaws.com",
    "docs.openclaw.ai",
    "dotenvx.com",
    "feross.org",
    "docs.aws.amazon.com",
    "ghcr.io",
    "github.com",
    "jedwatson.github.io",
    "keepachangelog.com",
    "liberapay.com",
    "opencollective.com",
    "paulmillr.com",
    "paypal.me",
    "rustup.rs",
    "semver.org",
    "www.apache.org",
    "www.patreon.com",
    // The name of a namespace: every drawing that stands in a file of its own has it.
    "www.w3.org",
];

/// Whether a host is loopback or one that documents use (RFC 2606, RFC 5737).
fn is_nobodys(host: &str) -> bool {
    let ranges = ["127.", "192.0.2.", "198.51.100.", "203.0.113."];
    let host = host.to_ascii_lowercase();
    let reserved = [".example", ".invalid", ".test"];
    reserved.iter().any(|end| host.ends_with(end))
        || ranges.iter().any(|range| host.starts_with(range))
}

fn sources() -> Vec<String> {
    let mut sources = rust_files("src");
    sources.extend(rust_files("tests"));
    sources
}

/// The files that hold text. Snapshots and lockfiles count: they are committed as well.
fn texts() -> Vec<(String, String)> {
    let paths = files("").into_iter();
    paths
        .filter_map(|path| {
            let bytes = std::fs::read(root().join(&path)).expect("a file of the repository");
            Some((path, String::from_utf8(bytes).ok()?))
        })
        .collect()
}

/// What browsers are sent: the console's files, and those beside Swagger UI's own.
fn pages() -> Vec<String> {
    let own = files("assets/swagger-ui").into_iter();
    let own = own.filter(|path| ["html", "css", "js"].iter().any(|it| has_extension(path, it)));
    files("console").into_iter().chain(own).collect()
}

fn refuse(rule: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}

/// The lines of a file's code that contain one of these.
fn hits(path: &str, needles: &[&str]) -> Vec<String> {
    code_of(&read(path))
        .lines()
        .filter(|line| needles.iter().any(|needle| line.contains(needle)))
        .map(|line| format!("{path}: {}", line.trim()))
        .collect()
}

// ---------------------------------------------------------------- the sources

#[test]
fn every_module_says_what_it_owns() {
    let silent = sources().into_iter().filter(|path| !read(path).starts_with("//!"));
    refuse("a module opens with a //! comment", &silent.collect::<Vec<_>>());
    let opens = [("js", "// "), ("css", "/* ")];
    let silent = pages().into_iter().filter(|path| {
        opens.iter().any(|(kind, sign)| has_extension(path, kind) && !read(path).starts_with(sign))
    });
    refuse("a script or style opens with a comment", &silent.collect::<Vec<_>>());
}

#[test]
fn no_file_is_long_without_a_reason() {
    let lengths: BTreeMap<String, usize> = sources()
        .into_iter()
        .chain(pages())
        .map(|path| (path.clone(), read(&path).lines().count()))
        .collect();
    let excused = |path: &str| LONG.iter().any(|(file, _)| *file == path);
    let long = lengths.iter().filter(|(path, lines)| **lines > LINES && !excused(path));
    refuse("past 500 lines", &long.map(|(path, n)| format!("{path}: {n}")).collect::<Vec<_>>());
    let short = LONG.iter().filter(|(path, _)| lengths.get(*path).is_none_or(|n| *n <= LINES));
    refuse("no longer past 500 lines", &short.map(|(p, _)| (*p).to_owned()).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_to_do() {
    let marks = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X:")];
    let mut wrong = Vec::new();
    for (path, text) in texts().iter().filter(|(path, _)| !path.ends_with("-lock.json")) {
        let marked = text.lines().filter(|line| marks.iter().any(|mark| line.contains(mark)));
        wrong.extend(marked.map(|line| format!("{path}: {}", line.trim())));
    }
    for path in sources() {
        wrong.extend(hits(&path, &["todo!(", "unimplemented!(", "dbg!("]));
    }
    refuse("left to do", &wrong);
}

#[test]
fn files_are_built_in_at_one_place() {
    let own = |path: &str| path.starts_with("src/assets/") || path == "src/store/open.rs";
    let others = rust_files("src").into_iter().filter(|path| !own(path));
    let wrong: Vec<_> =
        others.flat_map(|path| hits(&path, &["include_str!", "include_bytes!"])).collect();
    refuse("only assets builds files in, and store/open.rs its migrations", &wrong);
}

#[test]
fn processes_are_started_at_one_place() {
    let others = rust_files("src").into_iter().filter(|path| !path.starts_with("src/exec/"));
    let wrong: Vec<_> = others.flat_map(|path| hits(&path, &["Command::new"])).collect();
    refuse("exec is the one door to child processes", &wrong);
}

#[test]
fn nothing_waits_by_the_clock() {
    let clock = ["thread::sleep", "time::sleep("];
    let wrong: Vec<_> =
        rust_files("src").into_iter().flat_map(|path| hits(&path, &clock)).collect();
    refuse("a wait is a probe with a deadline (exec::wait)", &wrong);
}

#[test]
fn no_crate_is_one_that_deny_bans() {
    let (deny, lock) = (read("deny.toml"), read("Cargo.lock"));
    let quoted = |line: &str, before: &str| {
        let rest = line.split_once(before)?.1;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    let banned: Vec<String> =
        deny.lines().filter_map(|line| quoted(line, "{ crate = \"")).collect();
    assert!(banned.contains(&"openssl".to_owned()), "{banned:?}");
    let registry = quoted(&deny, "allow-registry = [\"").expect("a registry");
    let mut wrong = Vec::new();
    for line in lock.lines() {
        if let Some(name) = quoted(line, "name = \"").filter(|name| banned.contains(name)) {
            wrong.push(name);
        }
        if let Some(source) = quoted(line, "source = \"")
            && source != format!("registry+{registry}")
        {
            wrong.push(source);
        }
    }
    refuse("what deny.toml refuses", &wrong);
}

// ----------------------------------------------------------------- the console

/// The lines of a file that contain one of these.
fn lines_with(path: &str, needles: &[&str]) -> Vec<String> {
    read(path)
        .lines()
        .filter(|line| needles.iter().any(|needle| line.contains(needle)))
        .map(|line| format!("{path}: {}", line.trim()))
        .collect()
}

#[test]
fn the_console_makes_no_markup_of_data() {
    let doors = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "createContextualFragment",
        "DOMParser",
        "document.write",
        "srcdoc=",
        "eval(",
        "new Function",
        "javascript:",
        "cssText",
        "setAttribute(\"style\"",
        "createPolicy",
    ];
    let scripts = pages().into_iter().filter(|path| has_extension(path, "js"));
    let wrong: Vec<_> = scripts.flat_map(|path| lines_with(&path, &doors)).collect();
    refuse("elements are made by name, and data is their text (console/js/dom.js)", &wrong);
}

#[test]
fn no_script_or_style_stands_in_a_page() {
    let mut wrong = Vec::new();
    for path in pages().into_iter().filter(|path| has_extension(path, "html")) {
        wrong.extend(lines_with(&path, &["<style", " style=", "<base", "http-equiv", "<iframe"]));
        let text = read(&path);
        for tag in text.split('<').skip(1) {
            let tag = &tag[..tag.find('>').unwrap_or(tag.len())];
            let handler = tag.split_whitespace().skip(1).any(|it| it.starts_with("on"));
            if handler || tag.starts_with("script") && !tag.contains(" src=\"/") {
                wrong.push(format!("{path}: <{tag}>"));
            }
        }
    }
    refuse("the policy allows none", &wrong);
}

#[test]
fn pages_load_nothing_from_elsewhere() {
    let loads = ["src=\"", "href=\"", "from \"", "import(\"", "url(\"", "url(", "@import \""];
    let mut wrong = Vec::new();
    for path in pages().into_iter().filter(|path| !has_extension(path, "js")) {
        for line in read(&path).lines() {
            for load in loads {
                for (start, _) in line.match_indices(load) {
                    let to = &line[start + load.len()..];
                    if !to.starts_with(['/', '#', '.', '"']) || to.starts_with("//") {
                        wrong.push(format!("{path}: {}", line.trim()));
                    }
                }
            }
        }
    }
    for path in pages().into_iter().filter(|path| has_extension(path, "js")) {
        let imports = lines_with(&path, &["from \"", "import \"", "import("]);
        wrong.extend(imports.into_iter().filter(|line| {
            line.contains("import(") || line.contains("from \"") && !line.contains("from \".")
        }));
    }
    refuse("a file of the server's own, by its path", &wrong);
}

#[test]
fn the_console_keeps_nothing_but_the_theme_and_half_a_session() {
    let stores = ["localStorage", "sessionStorage", "indexedDB", "document.cookie", "caches."];
    let mut wrong = Vec::new();
    for path in pages().into_iter().filter(|path| has_extension(path, "js")) {
        let kept = lines_with(&path, &stores);
        let known = ["Item(\"theme\"", "Item(\"session-key\""];
        wrong.extend(kept.into_iter().filter(|line| !known.iter().any(|it| line.contains(it))));
    }
    refuse("a token that is kept can be stolen", &wrong);
}

// --------------------------------------------------------------- the whole tree

#[test]
fn no_text_knows_the_machine_it_was_written_on() {
    let homes = [concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/ho", "me/")];
    // The gateway's own user in its container, and a user of nowhere in tests.
    let known = ["/home/node", "/home/u"];
    let mut wrong = Vec::new();
    for (path, text) in texts() {
        for home in homes {
            for (start, _) in text.match_indices(home) {
                let rest = &text[start..];
                let end = rest.char_indices().find(|(i, c)| {
                    *i >= home.len() && !(c.is_alphanumeric() || "-_.".contains(*c))
                });
                let place = &rest[..end.map_or(rest.len(), |(i, _)| i)];
                if !known.contains(&place) && place != home {
                    wrong.push(format!("{path}: {place}"));
                }
            }
        }
    }
    refuse("a path of somebody's machine", &wrong);
}

#[test]
fn every_host_that_is_named_is_known() {
    let mut wrong = BTreeSet::new();
    for (path, text) in texts() {
        for (start, scheme) in text.match_indices("://") {
            let before = &text[..start];
            if !["http", "https", "ws", "wss"].iter().any(|s| before.ends_with(s)) {
                continue;
            }
            let rest = &text[start + scheme.len()..];
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
            let host = &rest[..rest.find(|c| !plain(c)).unwrap_or(rest.len())];
            // What is put together at run time, and a word alone in a test, names no host.
            let nowhere = !host.contains('.');
            let host = host.trim_end_matches('.');
            if !nowhere && !HOSTS.contains(&host) && !is_nobodys(host) {
                wrong.insert(format!("{path}: {host}"));
            }
        }
    }
    refuse("a host that the list in this file lacks", &wrong.into_iter().collect::<Vec<_>>());
}

#[test]
fn scripts_pass_shellcheck() {
    let is_script = |(_, text): &(String, String)| {
        text.starts_with("#!/bin/sh")
            || text.starts_with("#!/usr/bin/env bash")
            || text.starts_with("# shellcheck shell=")
    };
    let scripts: Vec<String> =
        texts().into_iter().filter(is_script).map(|(path, _)| path).collect();
    assert!(scripts.iter().any(|path| path == ".ci/run"), "{scripts:?}");
    let mut shellcheck = Command::new("shellcheck");
    let run = shellcheck.arg("--external-sources").args(&scripts).current_dir(root()).output();
    match run {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
        Err(error) => {
            lab::skip::<()>(&format!("shellcheck: {error}"));
        }
    }
}

// ------------------------------------------------------- what the documents say

/// The rows of the table under a heading: the cells, without the head.
fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    let rows = text
        .lines()
        .skip_while(|line| *line != heading)
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

fn bare(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

/// The make targets with a description, by group.
fn make_targets() -> Vec<(String, String)> {
    let text = read("Makefile");
    let mut group = String::new();
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("##@ ") {
            title.clone_into(&mut group);
        } else if let Some((head, _)) = line.split_once(" ## ")
            && let Some((target, _)) = head.split_once(':')
        {
            found.push((group.clone(), target.to_owned()));
        }
    }
    found
}

#[test]
fn readme_lists_the_make_targets() {
    let mut group = String::new();
    let mut listed = Vec::new();
    for row in table(&read("README.md"), "## Make targets") {
        if let Some(title) = row[0].strip_prefix("**") {
            title.trim_end_matches("**").clone_into(&mut group);
        } else {
            listed.push((group.clone(), bare(&row[0])));
        }
    }
    assert_eq!(listed, make_targets());
}

#[test]
fn every_make_target_is_phony_and_described() {
    let text = read("Makefile");
    let phony: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(".PHONY: ")).collect();
    let described: Vec<_> = make_targets().into_iter().map(|(_, target)| target).collect();
    assert_eq!(phony, described);
}

#[test]
fn readme_has_the_exit_codes() {
    let code = read("src/cli/exit.rs");
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u8>().ok()
    };
    let mut known: BTreeSet<u8> = [0].into();
    known.extend(code.split(" => ").skip(1).filter_map(number));
    known.extend(code.split("u8 = ").skip(1).filter_map(number));
    let shown: Vec<u8> = table(&read("README.md"), "## Exit codes")
        .iter()
        .map(|row| row[0].parse().expect("a number"))
        .collect();
    assert_eq!(shown, known.into_iter().collect::<Vec<_>>());
}

#[test]
fn the_example_names_known_variables_only() {
    let text = read(".env.example");
    let mut named = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim_start_matches("# ");
        let Some((name, _)) = line.split_once('=') else { continue };
        if !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
            // The line that explains the grammar.
            if name != "KEY" {
                assert!(Variable::by_name(name).is_some(), "{name} is unknown");
                named.insert(name.to_owned());
            }
        }
    }
    let known: BTreeSet<_> = VARIABLES.iter().map(|row| row.name.to_owned()).collect();
    assert_eq!(named, known);
}

#[test]
fn make_knows_which_variables_are_secret() {
    let text = read("Makefile").replace("\\\n", " ");
    let line = text.lines().find_map(|line| line.strip_prefix("SECRETS := ")).expect("SECRETS");
    let listed: BTreeSet<&str> = line.split_whitespace().collect();
    let secret: BTreeSet<_> = VARIABLES.iter().filter(|row| row.secret).map(|it| it.name).collect();
    assert_eq!(listed, secret);
}

#[test]
fn documents_name_commands_that_exist() {
    let known: BTreeSet<String> =
        Cli::command().get_subcommands().map(|it| it.get_name().to_owned()).collect();
    let mut wrong = Vec::new();
    let documents = texts().into_iter().filter(|(path, _)| {
        has_extension(path, "md") || path == "docker-compose.yml" || path == ".env.example"
    });
    for (path, text) in documents {
        for (start, program) in text.match_indices("openclaw-pipeline ") {
            if text[..start].ends_with(['/', '-']) {
                continue;
            }
            let rest = &text[start + program.len()..];
            let verb: String =
                rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            if !verb.is_empty() && !verb.starts_with('-') && !known.contains(&verb) {
                wrong.push(format!("{path}: openclaw-pipeline {verb}"));
            }
        }
    }
    refuse("no such command", &wrong);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for (path, text) in texts().into_iter().filter(|(path, _)| has_extension(path, "md")) {
        for (start, _) in text.match_indices("](") {
            let rest = &text[start + 2..];
            let to = &rest[..rest.find(')').unwrap_or(rest.len())];
            let beside = root().join(&path).with_file_name(to);
            if !to.contains("://") && !to.starts_with('#') && !beside.exists() {
                wrong.push(format!("{path}: {to}"));
            }
        }
    }
    refuse("a link to nothing", &wrong);
}
