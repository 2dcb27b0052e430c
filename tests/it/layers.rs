//! The layers: a module names only what stands in its row of ARCHITECTURE.md's table.
//!
//! Owns the table in the form that a test can check. A row is changed in both places at once, with
//! a reason that a reviewer agrees with; an exception names one file and says what would end it.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::source::{code_of, read, rust_files};

/// The modules and what each may name, from the bottom to the top.
const LAYERS: [(&str, &[&str]); 16] = [
    ("domain", &[]),
    ("telemetry", &[]),
    ("assets", &[]),
    ("secrets", &["domain"]),
    ("config", &["domain", "secrets"]),
    ("exec", &["domain", "secrets"]),
    ("drivers", &["domain", "secrets", "exec"]),
    ("store", &["domain", "secrets"]),
    ("gateway", &["domain", "secrets"]),
    ("targets", &["domain", "assets", "secrets", "config", "exec", "drivers", "gateway"]),
    ("operations", &["domain", "secrets", "config", "exec", "store", "gateway", "targets"]),
    ("keeper", &["domain", "secrets", "exec", "store", "gateway", "targets", "operations"]),
    ("webhooks", &["domain", "secrets", "config", "exec", "store"]),
    (
        "app",
        &[
            "domain",
            "telemetry",
            "assets",
            "secrets",
            "config",
            "exec",
            "store",
            "drivers",
            "gateway",
            "targets",
            "operations",
            "keeper",
            "webhooks",
        ],
    ),
    ("server", &["domain", "telemetry", "assets", "secrets", "config", "app"]),
    ("cli", &["domain", "telemetry", "secrets", "config", "app", "server"]),
];

/// A file that names what its row does not have, and why it may for now.
const EXCEPTIONS: [(&str, &str, &str); 5] = [
    ("src/cli/progress.rs", "operations", "Sink and Told are not app's to give yet"),
    ("src/cli/progress.rs", "targets", "Progress is not app's to give yet"),
    ("src/cli/commands/logs.rs", "targets", "reading a log is no verb of app's yet"),
    ("src/cli/commands/logs.rs", "exec", "reading a log is no verb of app's yet"),
    ("src/operations/steps.rs", "assets", "the default version stands in config, too"),
];

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(text: &str) -> &str {
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

/// The first names behind a path's `crate::`: one, or those of a group in braces.
fn heads(rest: &str) -> Vec<String> {
    let rest = rest.trim_start();
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest).to_owned()] };
    let (mut depth, mut item, mut found) = (0, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(std::mem::take(&mut item)),
            _ => {}
        }
        if depth == 0 && c != ',' {
            item.push(c);
        }
    }
    found.push(item);
    found.iter().map(|item| word(item.trim_start()).to_owned()).filter(|w| !w.is_empty()).collect()
}

/// How deep a file's module lies below the crate's root.
fn depth(path: &str) -> usize {
    let parts = path.trim_start_matches("src/").split('/').count();
    if path.ends_with("/mod.rs") { parts - 1 } else { parts }
}

/// The modules of the crate that a file names.
fn named(path: &str, text: &str) -> BTreeSet<String> {
    let code = code_of(text);
    let mut found = BTreeSet::new();
    for (start, _) in code.match_indices("crate::") {
        if !code[..start].ends_with(is_word) {
            found.extend(heads(&code[start + "crate::".len()..]));
        }
    }
    // `super::super::…` leads to the crate's root as well.
    let climb = "super::".repeat(depth(path));
    for (start, _) in code.match_indices(&climb) {
        let mut rest = &code[start + climb.len()..];
        while let Some(further) = rest.strip_prefix("super::") {
            rest = further;
        }
        found.extend(heads(rest));
    }
    found.retain(|name| LAYERS.iter().any(|(module, _)| module == name));
    found
}

#[test]
fn a_module_names_only_what_its_row_has() {
    let rows: BTreeMap<&str, &[&str]> = LAYERS.into_iter().collect();
    let mut wrong = Vec::new();
    let mut excused = BTreeSet::new();
    for path in rust_files("src") {
        let module = word(path.trim_start_matches("src/"));
        let Some(row) = rows.get(module) else {
            assert!(["lib", "main"].contains(&module), "{path}: {module} has no row in the table");
            continue;
        };
        for name in named(&path, &read(&path)) {
            if name == module || row.contains(&name.as_str()) {
                continue;
            }
            let exception =
                EXCEPTIONS.iter().position(|(file, to, _)| *file == path && *to == name);
            match exception {
                Some(index) => _ = excused.insert(index),
                None => wrong.push(format!("{path} names {name}")),
            }
        }
    }
    assert!(wrong.is_empty(), "against the table in ARCHITECTURE.md:\n{}", wrong.join("\n"));
    let idle: Vec<_> = (0..EXCEPTIONS.len()).filter(|index| !excused.contains(index)).collect();
    assert!(idle.is_empty(), "no longer needed: {:?}", idle.iter().map(|i| EXCEPTIONS[*i]));
}

#[test]
fn a_target_does_not_know_another() {
    for path in rust_files("src/targets") {
        let code = code_of(&read(&path));
        for (here, other) in [("docker", "process"), ("process", "docker")] {
            let folder = format!("src/targets/{here}");
            let names = [format!("targets::{other}"), format!("super::{other}")];
            let hit = path.starts_with(&folder) && names.iter().any(|name| code.contains(name));
            assert!(!hit, "{path} names {other}");
        }
    }
}

#[test]
fn rows_only_name_what_stands_above_them() {
    let mut above = BTreeSet::new();
    for (module, row) in LAYERS {
        for name in row {
            assert!(above.contains(name), "{module} names {name}, which stands below it");
        }
        above.insert(module);
    }
}

#[test]
fn architecture_shows_the_same_table() {
    let text = read("ARCHITECTURE.md");
    let module = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let shown: Vec<(String, BTreeSet<String>)> = text
        .lines()
        .skip_while(|line| !line.starts_with("| module |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
            assert_eq!(cells.len(), 3, "{line}");
            let names = cells[2].split(',').map(module).filter(|name| !name.is_empty()).collect();
            (module(cells[0]), names)
        })
        .collect();
    let expected: Vec<(String, BTreeSet<String>)> = LAYERS
        .iter()
        .map(|(module, row)| {
            ((*module).to_owned(), row.iter().map(|name| (*name).to_owned()).collect())
        })
        .collect();
    assert_eq!(shown, expected);
}

#[test]
fn paths_are_read_as_the_compiler_reads_them() {
    let text = "use crate::{app::{self, App}, config, store::Store}; // crate::exec\n\
                fn f() { crate::domain::text::clean(\"crate::cli\"); }";
    let found = named("src/cli/x.rs", text);
    assert_eq!(Vec::from_iter(&found), ["app", "config", "domain", "store"]);
    let climbs = named("src/cli/commands/x.rs", "use super::super::super::store::Store;");
    assert_eq!(Vec::from_iter(&climbs), ["store"]);
    assert!(named("src/cli/commands/x.rs", "use super::super::store::Store;").is_empty());
}
