//! The repository's own files, for tests that hold them to the house rules.

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file's text, by its path from the root.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder, by its path from the root, in order. What is built, what git keeps
/// for itself and what is the user's own are left out.
pub fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository").flatten() {
            let path = entry.path();
            if is_foreign(&path) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(relative(&path));
            }
        }
    }
    found.sort();
    found
}

/// The same, of Rust's sources alone.
pub fn rust_files(folder: &str) -> Vec<String> {
    files(folder).into_iter().filter(|path| has_extension(path, "rs")).collect()
}

/// Whether a path has this extension.
pub fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|it| it == extension)
}

fn relative(path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(root()).expect("below the root").components().collect();
    path.to_str().expect("plain names").to_owned()
}

/// What stands in the folder and is no part of the repository (`.gitignore` says the same).
fn is_foreign(path: &Path) -> bool {
    let path = relative(path);
    let own_environment = path == ".env" || path.starts_with(".env.") && path != ".env.example";
    let terraforms = [".terraform", ".tfstate", ".tfvars", "crash.log"];
    let of_terraform = path.starts_with("terraform/")
        && !path.ends_with(".example")
        && terraforms.iter().any(|it| path.contains(it));
    own_environment || of_terraform || ["target", ".git", "openclaw.json"].contains(&path.as_str())
}

/// Rust's text without its comments and without what stands in its strings, so that a path or a
/// call that is found in it is one.
pub fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut code = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let (here, next) = (at(i), at(i + 1));
        let in_a_word = i > 0 && (at(i - 1).is_alphanumeric() || at(i - 1) == '_');
        if here == '/' && next == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if here == '/' && next == '*' {
            i = end_of_block_comment(&chars, i);
        } else if here == 'r' && !in_a_word && raw_hashes(&chars, i + 1).is_some() {
            let hashes = raw_hashes(&chars, i + 1).unwrap_or_default();
            i += 2 + hashes;
            let closes = |i: usize| at(i) == '"' && (1..=hashes).all(|n| at(i + n) == '#');
            while i < chars.len() && !closes(i) {
                i += 1;
            }
            i += 1 + hashes;
            code.push_str("\"\"");
        } else if here == '"' {
            i += 1;
            while i < chars.len() && at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            i += 1;
            code.push_str("\"\"");
        } else if here == '\'' && (next == '\\' || at(i + 2) == '\'') {
            i += if next == '\\' { 3 } else { 2 };
            while i < chars.len() && at(i) != '\'' {
                i += 1;
            }
            i += 1;
            code.push_str("' '");
        } else {
            code.push(here);
            i += 1;
        }
    }
    code
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut i = start;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                i += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    break;
                }
            }
            _ => i += 1,
        }
    }
    i
}

/// How many `#` stand before the quote of a raw string, where one begins.
fn raw_hashes(chars: &[char], from: usize) -> Option<usize> {
    let hashes = chars.get(from..)?.iter().take_while(|c| **c == '#').count();
    (chars.get(from + hashes) == Some(&'"')).then_some(hashes)
}

#[test]
fn comments_and_strings_are_no_code() {
    let text = r##"
        let a = "// no \" comment"; // a comment
        /* one /* in another */ */ let b = '"'; let c = '\''; let d = '\u{7f}';
        let e = r#"raw "text" here"#; let f: &'static str = r"\"; call();
    "##;
    let code = code_of(text);
    for gone in ["no", "comment", "another", "raw", "text", "7f"] {
        assert!(!code.contains(gone), "{gone} in {code}");
    }
    for kept in ["let a", "let b", "let c", "let d", "let e", "&'static str", "call()"] {
        assert!(code.contains(kept), "{kept} in {code}");
    }
}
